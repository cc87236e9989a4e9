"""The reason why records are not a valid measurement, and helpers of the checks that find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.suite.record import Process
    from bench.verdict.observations import AcceptedRecord

#: How the suite begins the message of a process that refused to start.
NOT_REQUESTED = "not what was requested: "


@dataclass(frozen=True)
class InvalidMeasurement:
    """Why a group of processes is not a valid measurement."""

    status: Status
    reason: str


def mismatch(reason: str) -> InvalidMeasurement:
    """Return that something else ran than was requested."""
    return InvalidMeasurement(Status.MISMATCH, f"{NOT_REQUESTED}{reason}")


def processes_of(group: Iterable[AcceptedRecord]) -> list[Process]:
    """Return the processes of some records."""
    return [process for accepted in group for process in accepted.record.processes]


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping of a record; empty if a damaged record has something else."""
    return value if isinstance(value, dict) else {}


def shorten(text: str) -> str:
    """Return at most 60 characters of a text."""
    limit = 60
    return text if len(text) <= limit else text[: limit - 3] + "..."
