"""A run folder that is being written away from home, in the layout that ``bench.store`` reads.

A record is streamed to a ``.part`` file and gets its name when its round has ended, so what has a name is whole and is
kept when the same command is started again.
"""

from __future__ import annotations

import json
import lzma
import os
import secrets
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TextIO

from bench.portable.errors import PortableError
from bench.suite.record import RecordError, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.suite.record import Request

#: Of run.json; ``bench.store.run`` has the same number.
_PRESET = 6
#: Outcomes that are results, whoever asks again.
_RESULTS = frozenset({"ok", "error", "gpu-not-visible"})


def now() -> str:
    """This moment in UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 - Python 3.9 has no datetime.UTC


def stamp() -> str:
    """This moment as it stands in the names of runs and archives."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")  # noqa: UP017


@dataclass(frozen=True)
class Recording:
    """The two streams of a round that is being measured."""

    lines: TextIO
    kept: TextIO


class Folder:
    """One run below ``<out>/runs/``; ``plan`` is the hash of all that it is to measure."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, out: Path, plan: str) -> tuple[Folder, bool]:
        """The unfinished run of this plan, or a new one, and whether it was there already.

        Raises PortableError where the folder cannot be written.
        """
        for known in sorted((out / "runs").glob("*/plan"), reverse=True):
            found = cls(known.parent)
            if known.read_text(encoding="utf-8") == plan and not found.info().get("finished"):
                return found, True
        fresh = cls(out / "runs" / f"{stamp()}-{secrets.token_hex(2)}")
        try:
            fresh.path.mkdir(parents=True)
            (fresh.path / "plan").write_text(plan, encoding="utf-8")
        except OSError as error:
            message = f"{fresh.path} cannot be written: {error.strerror}."
            raise PortableError(message, "Free some space, or name another folder.") from error
        return fresh, False

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    def info(self) -> dict[str, Any]:
        """What run.json says; empty where it was not written yet."""
        try:
            found: dict[str, Any] = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def write_info(self, info: dict[str, Any]) -> None:
        """Write run.json, whole or not at all."""
        text = json.dumps(info, indent=1, sort_keys=True) + "\n"
        _write(self.path / "run.json", text.encode())

    def record_path(self, request: Request) -> Path:
        """Where the record of one round belongs, compressed."""
        folder = self.path / "records" / request.column / request.variation
        return folder / f"{request.mode}-{request.round:03d}.jsonl.xz"

    def log_path(self, request: Request) -> Path:
        """Where the log of one round belongs; its folder is made."""
        name = f"{request.variation}-{request.mode}-{request.round:03d}.log"
        path = self.path / "logs" / request.column / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def has(self, request: Request, suite: str) -> bool:
        """Whether the finished record of exactly this round lies here, measured with this suite."""
        try:
            with lzma.open(self.record_path(request), "rt", encoding="utf-8") as stream:
                header = json.loads(stream.readline())
        except (OSError, lzma.LZMAError, EOFError, ValueError):
            return False
        asked = json.loads(json.dumps(asdict(request)))
        return isinstance(header, dict) and header.get("request") == asked and header.get("suite_hash") == suite

    def died(self, request: Request) -> list[str]:
        """What died in the finished record of a round: ``matmul (crashed)``; it may have been killed from outside."""
        try:
            found = read(self.record_path(request)).outcomes
        except (RecordError, OSError, lzma.LZMAError, EOFError):
            return ["its record, which cannot be read"]
        return [f"{one.kernel} ({one.outcome})" for one in found if one.outcome not in _RESULTS]

    @contextmanager
    def recording(self, request: Request) -> Iterator[Recording]:
        """Streams for a record and its kept values; their files are named when the round has ended."""
        path = self.record_path(request)
        kept = path.with_name(path.name.partition(".")[0] + ".kept.xz")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _part(path).open("w", encoding="utf-8") as lines, _part(kept).open("w", encoding="utf-8") as values:
                yield Recording(lines, values)
            _close(kept)  # the record last: where it stands, its kept values do
            _close(path)
        except OSError as error:
            hint = "Free some space and start again: finished rounds are kept."
            raise PortableError(f"{path} cannot be written: {error.strerror}.", hint) from error


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _close(path: Path) -> None:
    """Compress what was written and give it its name; an empty file gets none."""
    part = _part(path)
    content = part.read_bytes()
    if content:
        _write(path, lzma.compress(content, preset=_PRESET))
    part.unlink()


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    with fresh.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
