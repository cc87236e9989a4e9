"""Run installations within a time limit, and explain a failed one by its output: one sentence and a hint."""

from __future__ import annotations

import re
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

#: Seconds that an installation may take: enough for 4 GB at 600 kB/s.
LIMIT_S = 2 * 3600.0
#: Seconds that verifying the files of an environment may take.
VERIFY_LIMIT_S = 1800.0
#: Seconds between asking an installation to end and killing it.
_END_S = 10.0

_STEP = re.compile(r"^#\d+ (?:\d+\.\d+ )?")
_NOISE = re.compile(
    r"^(-+$|> \[|executor failed running|ERROR: |Dockerfile:\d+|\d+ \||sha256:|Expected:|Computed:|.*did not complete)"
)


@dataclass(frozen=True, kw_only=True)
class Messages:
    """Texts that depend on where an installation ran."""

    disk: str
    disk_hint: str
    python: str
    python_hint: str
    network_hint: str


DOCKER = Messages(
    disk="the disk of the Docker engine is full",
    disk_hint="See 'docker system df' and free some space, for instance with 'docker builder prune'.",
    python="the base image has no Python {}",
    python_hint="Set a base image with that Python in matrix.toml.",
    network_hint="Set TFREPRO_BUILD_NETWORK=host if only the network of the host itself works.",
)
VENV = Messages(
    disk="the disk is full",
    disk_hint="Free some space, or set TFREPRO_CACHE to another folder.",
    python="this host has no Python {}",
    python_hint="Install it, for instance with: uv python install {}",
    network_hint="Check the network, and set UV_DEFAULT_INDEX and HTTPS_PROXY if it needs them.",
)


def too_slow(what: str, limit_s: float) -> BuildError:
    """Return the error of an installation that was ended because it exceeded its time limit."""
    message = f"{what} has not finished after {limit_s / 60:g} min, and was ended."
    return BuildError(message, "The package index or the disk is probably very slow: check them, then run again.")


def run(what: str, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run an installer, and return its exit code and what it printed.

    Raises:
        BuildError: it exceeded ``LIMIT_S``, or could not be started.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False, env=dict(environment), timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise too_slow(what, LIMIT_S) from None
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be started: {error.strerror}.") from error
    return done.returncode, done.stdout


@contextmanager
def limited(process: subprocess.Popen[str], what: str) -> Iterator[None]:
    """End a process that exceeds ``LIMIT_S`` while its output is read; raises BuildError then."""
    expired = threading.Event()

    def end() -> None:
        expired.set()
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()

    timer = threading.Timer(LIMIT_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if expired.is_set():
        raise too_slow(what, LIMIT_S)


def explain(lines: Iterable[str], lock: str, log: Path, messages: Messages) -> tuple[str, str]:
    """Return message and hint for the output of a failed installation; ``lock`` is the name of the lock file."""
    # BuildKit echoes the commands of the Dockerfile, whose text must not be taken for an error.
    texts = [text for text in map(message, lines) if "RUN --mount" not in text and "/bin/sh -c" not in text]
    whole = "\n".join(texts)
    mismatch = re.search(r"Hash mismatch for `([^`]+)`", whole)
    if mismatch:
        return (
            f"{mismatch[1]} is not the file that {lock} pins (wrong hash)",
            f"If you trust the index, create {lock} again; the hashes are in {log}.",
        )
    if re.search(r"no space left on device", whole, re.IGNORECASE):
        return (messages.disk, messages.disk_hint)
    missing = re.search(r"No interpreter found for (?:Python )?([\w.]+)", whole)
    if missing:
        return (messages.python.format(missing[1]), messages.python_hint.format(missing[1]))
    reason = _error_line(texts)
    if re.search(
        r"dns error|failed to lookup|connection refused|network is unreachable|timed out", whole, re.IGNORECASE
    ):
        return (
            f"the installation could not reach the package index: {reason}",
            f"{messages.network_hint} The full output is in {log}.",
        )
    if re.search(r"invalid peer certificate|UnknownIssuer|certificate verify failed", whole, re.IGNORECASE):
        return (
            f"the index's certificate is not trusted: {reason}",
            "Set SSL_CERT_FILE to the CA bundle of your network.",
        )
    return (f"the installation failed: {reason}", f"The full output is in {log}.")


def _error_line(texts: Sequence[str]) -> str:
    """Return uv's error with its innermost cause, else the last informative line."""
    for index, text in enumerate(texts):
        if re.match(r"(error: |\u00d7 |Error: )", text):
            causes = [match[1] for later in texts[index:] if (match := re.match(r"(?:cause: |[╰├]─▶ )(.+)", later))]
            head = re.sub(r"^(error: |\u00d7 |Error: )", "", text)
            return f"{head} ({causes[-1]})" if causes else head
    informative = [text for text in texts if text and not _NOISE.match(text)]
    return informative[-1] if informative else "no output"


def message(line: str) -> str:
    """Return a line of BuildKit's plain output without step number and time."""
    return _STEP.sub("", line).strip()
