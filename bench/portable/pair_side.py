"""One side of a pair: its process, the conversation with it, and what happens when it fails."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench.suite.driver import START_LIMIT_S
from bench.suite.record import line

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from bench.portable.session import Session
    from bench.suite.record import Request

#: Seconds that a side may take to end when it is asked to.
END_LIMIT_S = 30.0


class SideError(Exception):
    """One side could not measure a kernel. ``gone`` says that its process must be replaced."""

    def __init__(self, outcome: str, message: str, *, gone: bool) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.gone = gone


class StartError(SideError):
    """A side could not be started, so that no kernel can be measured."""


class Side:
    """The process of one side, started when it is needed and replaced when it has become useless."""

    def __init__(
        self,
        name: str,
        open_session: Callable[[str, Request], AbstractContextManager[Session]],
        begin: Callable[[str, dict[str, Any]], int],
        write: Callable[[str], None],
    ) -> None:
        self.name = name
        self._open = open_session
        self._begin = begin
        self._write = write
        self._stack = ExitStack()
        self._session: Session | None = None
        self._process = 0
        self.no_gpu = ""
        self.used = False

    @property
    def running(self) -> bool:
        """Whether there is a process that takes commands."""
        return self._session is not None

    def launch(self, request: Request) -> None:
        """Start a process for a request if there is none; ``wait_until_ready`` waits until it is ready."""
        if self._session is None:
            self._session = self._stack.enter_context(self._open(self.name, request))
            self.used, self._process = False, 0

    def wait_until_ready(self) -> None:
        """Wait until the process is ready, and write its line to the record.

        Raises:
            StartError: It is not what was requested, or did not start within its limit.
        """
        if self._process:
            return
        try:
            row = self.answer(time.monotonic() + START_LIMIT_S, START_LIMIT_S)
        except SideError as error:
            self.kill()
            raise StartError(error.outcome, str(error), gone=True) from error
        self.no_gpu = str(row.pop("no_gpu"))
        self._process = self._begin(self.name, row)

    def ask(self, deadline: float, limit_s: float, **command: Any) -> dict[str, Any]:
        """Send a command and return the fields of its answer.

        Raises:
            SideError: The command failed, or the process died or exceeded the limit; it was killed then.
        """
        self.send(**command)
        return self.answer(deadline, limit_s)

    def send(self, **command: Any) -> None:
        """Send a command, whose answer must be read with ``answer``."""
        if self._session is not None:
            self._session.send(json.dumps(command) + "\n")

    def answer(self, deadline: float, limit_s: float) -> dict[str, Any]:
        """Return the fields of the answer to the last command; raises SideError as ``ask`` does."""
        if self._session is None:
            raise SideError("crashed", "its process is gone", gone=True)
        try:
            text = self._session.read(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            self.kill()
            raise SideError("timeout", f"side {self.name} exceeded the limit of {limit_s:g} s", gone=True) from None
        row = _parsed(text)
        if row is None:
            outcome, message = self._session.outcome()
            self.kill()
            raise SideError(outcome, f"side {self.name}: {message}", gone=True)
        if row.pop("line") == "failed":
            if not row["usable"]:
                self.kill()
            raise SideError(str(row["outcome"]), f"side {self.name}: {row['message']}", gone=not row["usable"])
        return row

    def end(self) -> None:
        """End the process and write which libraries it had loaded; one that does not answer is killed."""
        if self._session is not None and self._process:
            try:
                row = self.ask(time.monotonic() + END_LIMIT_S, END_LIMIT_S, do="end")
                self._write(line("loaded", {"process": self._process, **row}))
            except SideError:
                pass  # its kernels are measured; only the libraries stay unknown
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._session, self._process = None, 0
        self._stack.close()


def _parsed(text: str | None) -> dict[str, Any] | None:
    """Return the answer of a side; None where it has ended, or was cut off while it wrote."""
    if text is None:
        return None
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "line" in row else None
