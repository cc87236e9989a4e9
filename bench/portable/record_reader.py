"""Follow a record while its driver writes it, and complete it where the driver died."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.suite.record import Request

#: The outcome of a kernel in a GPU column where TensorFlow sees no GPU.
NO_GPU = "gpu-not-visible"


#: Seconds: no round takes as long.
_MOST_SECONDS = 10**9
#: What a line must have so that the host can follow a round: the fields that are read here, and by those who follow.
_NEEDED: dict[str, dict[str, Any]] = {
    "header": {"suite_hash": str},
    "process": {"process": int, "settings": dict},
    "kernel": {"kernel": str},
    "kept": {"kernel": str, "digest": str},
    "sample": {"process": int, "kernel": str, "role": str, "repetition": int},
    "outcome": {"kernel": str, "outcome": str},
    "end": {"seconds": (int, float)},
}


class RecordReader:
    """Takes the lines of one request as they come, and keeps the driver's progress.

    ``suite`` is the expected suite hash, ``strange`` whether the header has another. ``process`` is the number of the
    last process that began, ``outcomes`` the kernels that have ended, ``seconds`` the duration from the end line.
    ``no_gpu`` is why TensorFlow saw no GPU, "" where no kernel ended for that reason.
    """

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.header = self.strange = self.ended = False
        self.process = 0
        self.seconds = 0.0
        self.outcomes: set[str] = set()
        self.no_gpu = ""

    def parse_line(self, text: str) -> tuple[str, dict[str, Any]]:
        """Take one line; return its kind and content.

        There is no kind for the truncated last line of a killed driver, and for a line without what the host needs.
        """
        try:
            row: Any = json.loads(text)
            kind = row["line"]
            needed = _NEEDED.get(kind, {}) if isinstance(kind, str) else {"line": str}
            if not all(isinstance(row.get(name), types) for name, types in needed.items()):
                return "", {}
        except (ValueError, KeyError, TypeError, RecursionError):
            return "", {}
        if kind == "header":
            self.header, self.strange = True, row["suite_hash"] != self.suite
        elif kind == "process":
            self.process = row["process"]
        elif kind == "outcome":
            self.outcomes.add(row["kernel"])
            if row["outcome"] == NO_GPU:
                self.no_gpu = str(row.get("message") or "TensorFlow saw no GPU")
        elif kind == "end":
            self.ended, self.seconds = True, float(min(max(row["seconds"], 0), _MOST_SECONDS))
        return kind, row

    def missing(self, request: Request, outcome: str, message: str) -> list[dict[str, Any]]:
        """Return an outcome line's fields for every kernel whose end the driver did not write."""
        body = {"outcome": outcome, "seconds": 0.0, "error_class": "", "message": message}
        unfinished = [name for name in request.kernels if name not in self.outcomes]
        return [{**body, "process": max(self.process, 1), "kernel": name} for name in unfinished]
