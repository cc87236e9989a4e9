"""A record while it is written: how far its driver has come, and what a dead one leaves open."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.suite.record import Request

#: How a kernel of a GPU column ends where TensorFlow sees no GPU.
NO_GPU = "gpu-not-visible"


class RecordReader:
    """Takes the lines of one request as they come.

    ``suite`` is the hash that the header must say, ``strange`` whether it says another. ``process`` is the last one
    that began, ``outcomes`` names the kernels that have ended, ``seconds`` are those of the end line. ``no_gpu`` is
    why TensorFlow saw no GPU, "" where no kernel ended so.
    """

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.header = self.strange = self.ended = False
        self.process = 0
        self.seconds = 0.0
        self.outcomes: set[str] = set()
        self.no_gpu = ""

    def follow(self, text: str) -> tuple[str, dict[str, Any]]:
        """Take one line: its kind and content; no kind for the torn last line of a killed driver."""
        try:
            row: dict[str, Any] = json.loads(text)
            kind = str(row["line"])
        except (ValueError, KeyError, TypeError):
            return "", {}
        if kind == "header":
            self.header, self.strange = True, row["suite_hash"] != self.suite
        elif kind == "process":
            self.process = int(row["process"])
        elif kind == "outcome":
            self.outcomes.add(str(row["kernel"]))
            if row["outcome"] == NO_GPU:
                self.no_gpu = str(row.get("message") or "TensorFlow saw no GPU")
        elif kind == "end":
            self.ended, self.seconds = True, float(row["seconds"])
        return kind, row

    def missing(self, request: Request, outcome: str, message: str) -> list[dict[str, Any]]:
        """The outcomes that a dead driver could not write: one for every kernel without."""
        body = {"outcome": outcome, "seconds": 0.0, "error_class": "", "message": message}
        left = [name for name in request.kernels if name not in self.outcomes]
        return [{**body, "process": max(self.process, 1), "kernel": name} for name in left]
