"""An app whose spans go to a file that the environment names, from every process."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from kathikon_actors import App, Fail, Queue, worker


class ToFile(SpanExporter):
    """Appends each span as a line."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        path = os.environ.get("KATHIKON_TEST_SPANS")
        if path:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for span in spans:
                os.write(descriptor, (json.dumps(json.loads(span.to_json()), separators=(",", ":")) + "\n").encode())
            os.close(descriptor)
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ToFile()))
if os.environ.get("KATHIKON_TEST_SPANS"):
    trace.set_tracer_provider(provider)


@worker(max_attempts=1)
async def outer_work(what: str) -> str:
    with provider.get_tracer("shop").start_as_current_span("inside"):
        return what


@worker(max_attempts=1)
def plain_work(how: str) -> object:
    if how == "raise":
        raise ValueError("boom: 4111")
    return Fail("no use") if how == "fail" else how


app = App([Queue("default")], workers=[outer_work, plain_work], tracing=True)
sealed_app = App([Queue("default")], workers=[plain_work, outer_work], tracing=True, encryption_keys=["11" * 32])
