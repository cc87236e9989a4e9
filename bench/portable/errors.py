"""The error that portable code reports, with the exit codes of ``bench.errors``, which bundles do not contain."""

from __future__ import annotations

CONFIG, NOTHING, ENGINE, NO_GPU, INTERRUPTED = 2, 3, 4, 5, 130


class PortableError(Exception):
    """A failure that ends the command. ``hint`` says what to do about it, ``code`` is the exit code."""

    def __init__(self, message: str, hint: str = "", code: int = ENGINE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
