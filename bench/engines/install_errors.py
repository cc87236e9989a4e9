"""What a failed installation means, read from the words of uv and BuildKit: one sentence and a way out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_STEP = re.compile(r"^#\d+ (?:\d+\.\d+ )?")
_NOISE = re.compile(
    r"^(-+$|> \[|executor failed running|ERROR: |Dockerfile:\d+|\d+ \||sha256:|Expected:|Computed:|.*did not complete)"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an installation ran, and the way out of what can go wrong there."""

    disk: str
    disk_hint: str
    python: str
    python_hint: str
    network_hint: str


DOCKER = Place(
    disk="the disk of the Docker engine is full",
    disk_hint="free some with 'docker system df' and 'docker builder prune'",
    python="the base image has no Python {}",
    python_hint="name a base with that Python in matrix.toml",
    network_hint="set TFREPRO_BUILD_NETWORK=host where only the host's own network works",
)
VENV = Place(
    disk="the disk is full",
    disk_hint="free some, or name another folder with TFREPRO_CACHE",
    python="this host has no Python {}",
    python_hint="install it, or let uv bring one: uv python install {}",
    network_hint="check the network, and UV_DEFAULT_INDEX and HTTPS_PROXY if yours needs them",
)


def explain(lines: Iterable[str], lock: str, log: Path, place: Place) -> tuple[str, str]:
    """What a failed installation says, as (message, hint); ``lock`` is the lock file's name."""
    # BuildKit repetitions the commands of the Dockerfile: their words are no messages.
    texts = [text for text in map(message, lines) if "RUN --mount" not in text and "/bin/sh -c" not in text]
    whole = "\n".join(texts)
    wrong = re.search(r"Hash mismatch for `([^`]+)`", whole)
    if wrong:
        return (
            f"{wrong[1]} is not the file that {lock} promises (wrong hash)",
            f"if you trust the index, make {lock} anew; the hashes stand in {log}",
        )
    if re.search(r"no space left on device", whole, re.IGNORECASE):
        return (place.disk, place.disk_hint)
    missing = re.search(r"No interpreter found for (?:Python )?([\w.]+)", whole)
    if missing:
        return (place.python.format(missing[1]), place.python_hint.format(missing[1]))
    reason = _last_word(texts)
    if re.search(
        r"dns error|failed to lookup|connection refused|network is unreachable|timed out", whole, re.IGNORECASE
    ):
        return (
            f"the installation reached no package index: {reason}",
            f"{place.network_hint}; the full output is in {log}",
        )
    if re.search(r"invalid peer certificate|UnknownIssuer|certificate verify failed", whole, re.IGNORECASE):
        return (f"the index's certificate is not trusted: {reason}", "set SSL_CERT_FILE to the bundle of your network")
    return (f"the installation failed: {reason}", f"the full output is in {log}")


def _last_word(texts: Sequence[str]) -> str:
    """The error of uv with its innermost cause, else the last line that says something."""
    for index, text in enumerate(texts):
        if re.match(r"(error: |\u00d7 |Error: )", text):
            causes = [match[1] for later in texts[index:] if (match := re.match(r"(?:cause: |[╰├]─▶ )(.+)", later))]
            head = re.sub(r"^(error: |\u00d7 |Error: )", "", text)
            return f"{head} ({causes[-1]})" if causes else head
    spoken = [text for text in texts if text and not _NOISE.match(text)]
    return spoken[-1] if spoken else "no output"


def message(line: str) -> str:
    """A line of BuildKit's plain output without its step and clock."""
    return _STEP.sub("", line).strip()
