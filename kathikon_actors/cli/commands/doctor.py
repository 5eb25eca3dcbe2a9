"""`doctor`: whether this machine and this store have what a node needs."""

from __future__ import annotations

import click

from kathikon_actors.cli.exit_codes import ExitCode
from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import run_async

__all__ = ["doctor"]


@click.command()
@common_options
@click.pass_obj
def doctor(session: Session) -> int:
    """Look for what keeps a node from running here.

    Python, packages, Postgres, directories, the store.
    """
    from kathikon_actors.cli.health import examine

    findings = run_async(examine, session.url)
    output = session.output
    failed = [finding for finding in findings if finding.status == "failed"]
    if output.json:
        checks = [{"check": f.check, "status": f.status, "detail": f.detail, "next": f.next_step} for f in findings]
        output.data({"ok": not failed, "checks": checks})
    else:
        output.table(("check", "status", "detail"), [(f.check, f.status, f.detail) for f in findings])
    for finding in findings:
        if finding.next_step:
            output.say(f"{finding.check}: {finding.next_step}")
    return failed[0].code if failed else ExitCode.OK
