"""Run ``run-cells.sh`` on hosts over the ssh client of this host, several hosts at a time."""

from __future__ import annotations

import io
import shlex
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from bench.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Result = TypeVar("Result")

#: The script with everything that is done on a host.
SCRIPT = Path(__file__).with_name("run-cells.sh")
#: Seconds that a short command may take.
CALL_S = 60.0
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15")
_HOSTS_AT_ONCE = 8
#: Exit code of ssh where the connection failed, and not the command.
_NO_CONNECTION = 255
#: Seconds in which the last errors of a command that has ended arrive.
_END_S = 10.0
_MOST_ANSWER, _MOST_ERRORS, _BLOCK = 1 << 20, 1 << 14, 1 << 16


class HostError(EngineError):
    """A host does not answer, or a command failed there; the message begins with its name, without a full stop."""


class Client:
    """Runs commands on hosts; ``config`` is a configuration file of ssh, "" for the user's own."""

    def __init__(self, config: str = "") -> None:
        self._config = ["-F", config] if config else []
        self._children: set[subprocess.Popen[bytes]] = set()
        self._ended = threading.Event()

    def call(
        self,
        host: str,
        *words: str,
        limit_s: float = CALL_S,
        send: Callable[[IO[bytes]], object] | None = None,
        into: IO[bytes] | None = None,
        most: int = _MOST_ANSWER,
    ) -> bytes:
        """Run the script on a host, and return what it prints.

        Args:
            host: its name for ssh.
            words: action and arguments of the script.
            limit_s: seconds after which it is given up.
            send: writes the standard input of the command.
            into: gets what the command prints, instead of the caller.
            most: bytes that it may print.

        Raises:
            HostError: the host does not answer, the command fails there, or prints too much.
            EngineError: this host has no ssh.
        """
        target, late = into or io.BytesIO(), threading.Event()
        child = self._start(host, words, piped=send is not None)

        def give_up() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(limit_s, give_up)
        timer.start()
        try:
            with child:
                said, complete = _exchange(child, send, target, most)
        finally:
            timer.cancel()
            self._children.discard(child)
        if late.is_set():
            what = f"does not answer: it has not ended within {limit_s:.0f} s"
        elif not complete:
            what = f"was not read to the end: it sends more than {most} bytes"
        elif child.returncode != 0:
            what = "does not answer: " if child.returncode == _NO_CONNECTION else "says: "
            what += said or f"exit code {child.returncode}"
        else:
            return target.getvalue() if isinstance(target, io.BytesIO) else b""
        raise HostError(f"{host} {what}", f"Check it with: {shlex.join(['ssh', *self._config, host, 'true'])}")

    def _start(self, host: str, words: tuple[str, ...], *, piped: bool) -> subprocess.Popen[bytes]:
        if self._ended.is_set():
            raise HostError(f"{host} was not contacted, because this command was interrupted", "Run the command again")
        command = shlex.join(["sh", "-c", SCRIPT.read_text(encoding="utf-8"), SCRIPT.name, *words])
        options = [word for option in _OPTIONS for word in ("-o", option)]
        try:
            child = subprocess.Popen(
                ["ssh", *self._config, *options, "-T", "--", host, command],
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            message = f"ssh cannot be started: {error.strerror}."
            raise EngineError(message, "Install the client of OpenSSH on this host.") from error
        self._children.add(child)
        if self._ended.is_set():  # the interruption came before this child was known, so nothing else ends it
            child.kill()
        return child

    def each(
        self, hosts: Collection[str], work: Callable[[str], Result]
    ) -> tuple[dict[str, Result], dict[str, HostError]]:
        """Do the same for several hosts side by side; returns the results, and the errors of the other hosts."""
        results: dict[str, Result] = {}
        errors: dict[str, HostError] = {}

        def one(host: str) -> None:
            try:
                results[host] = work(host)
            except HostError as error:
                errors[host] = error

        with ThreadPoolExecutor(_HOSTS_AT_ONCE) as pool:
            try:
                list(pool.map(one, hosts))
            except BaseException:
                self._ended.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for child in tuple(self._children):
                    child.kill()
                raise
        return results, errors


def _exchange(
    child: subprocess.Popen[bytes], send: Callable[[IO[bytes]], object] | None, target: IO[bytes], most: int
) -> tuple[str, bool]:
    """Write a command's input and read its output to the end; returns its errors, and whether the output was read."""
    if child.stdout is None or child.stderr is None:
        raise TypeError("no pipes")
    errors: list[bytes] = []
    reader = threading.Thread(target=_keep_end, args=(child.stderr, errors), daemon=True)
    reader.start()
    try:
        if send and child.stdin:
            with suppress(BrokenPipeError):  # the command may not need it, or has failed and says why
                send(child.stdin)
            with suppress(BrokenPipeError):
                child.stdin.close()
        while most >= 0 and (block := child.stdout.read1(_BLOCK)):  # type: ignore[attr-defined] # it is buffered
            most -= len(block)
            target.write(block)
        if most < 0:
            child.kill()
    except BaseException:
        child.kill()
        raise
    finally:
        reader.join(_END_S)
    text = b"".join(errors).decode("utf-8", "replace")
    plain = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(plain.split())[-400:].rstrip("."), most >= 0


def _keep_end(stream: IO[bytes], kept: list[bytes]) -> None:
    """Read a stream to its end, and keep its last bytes."""
    last = b""
    while block := stream.read1(_BLOCK):  # type: ignore[attr-defined] # it is buffered
        last = (last + block)[-_MOST_ERRORS:]
    kept.append(last)
