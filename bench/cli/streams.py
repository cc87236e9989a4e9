"""Standard output and error that cannot make a finished run fail: by a full disk, or a character they cannot show."""

from __future__ import annotations

import errno
import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

_STANDARD_OUTPUT = 1


class _Output(io.FileIO):
    """A descriptor whose writes go on after an error; ``problem`` is the first error.

    That the reader of the standard output has left is no such error: it ends the command.
    """

    problem: OSError | None = None

    def write(self, content: object, /) -> int:
        """Write, or count as written what could not be; raises BrokenPipeError where the reader left."""
        size = memoryview(content).nbytes  # type: ignore[arg-type]
        try:
            return size if self.problem else super().write(content)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno == errno.EPIPE and self.fileno() == _STANDARD_OUTPUT:
                raise
            self.problem = error
            return size


class Streams:
    """Replaces ``sys.stdout`` and ``sys.stderr`` where they are those of the process, not those of a test."""

    def __init__(self) -> None:
        self._outputs: list[_Output] = []
        sys.stdout = self._tolerant(sys.stdout, sys.__stdout__)
        sys.stderr = self._tolerant(sys.stderr, sys.__stderr__)

    @property
    def problem(self) -> OSError | None:
        """Why something printed to the standard output was lost, None where nothing was."""
        return next((output.problem for output in self._outputs if output.fileno() == _STANDARD_OUTPUT), None)

    def _tolerant(self, stream: TextIO, own: TextIO | None) -> TextIO:
        """Return a stream with the same descriptor that shows unknown characters as ``?`` and never fails."""
        if not isinstance(stream, io.TextIOWrapper) or stream is not own:
            return stream
        stream.flush()
        output = _Output(stream.fileno(), "wb", closefd=False)
        self._outputs.append(output)
        buffered = io.BufferedWriter(output)
        return io.TextIOWrapper(
            buffered, encoding=stream.encoding, errors="replace", line_buffering=stream.line_buffering,
            write_through=own is sys.__stderr__,
        )  # fmt: skip
