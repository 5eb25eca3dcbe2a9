"""Tools for the tests of programs that use Kathikon: faults at named points, chaos, and an audit of every job."""

from kathikon_actors.faults import UnknownFaultPoint
from kathikon_actors.testing.audit import AuditFailed, Verdict, audit
from kathikon_actors.testing.chaos import Chaos, Strike
from kathikon_actors.testing.enqueued import all_enqueued, assert_enqueued, refute_enqueued
from kathikon_actors.testing.fault import POINTS, Fault, fault
from kathikon_actors.testing.node import Mode, drain, open_test_node
from kathikon_actors.testing.perform import perform_job
from kathikon_actors.testing.victims import UnknownVictim

__all__ = [
    "POINTS",
    "AuditFailed",
    "Chaos",
    "Fault",
    "Mode",
    "Strike",
    "UnknownFaultPoint",
    "UnknownVictim",
    "Verdict",
    "all_enqueued",
    "assert_enqueued",
    "audit",
    "drain",
    "fault",
    "open_test_node",
    "perform_job",
    "refute_enqueued",
]
