"""What can go wrong away from home, told in one sentence. The exit codes are those of the root."""

from __future__ import annotations

CONFIG, NOTHING, ENGINE, NO_GPU, INTERRUPTED = 2, 3, 4, 5, 130


class PortableError(Exception):
    """Something that ends the work. ``hint`` is what to do about it, ``code`` the exit code."""

    def __init__(self, message: str, hint: str = "", code: int = ENGINE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
