"""Run folders: atomic writes, the names of files in them, and the folder that portable code resumes.

A record is streamed to a ``.part`` file and gets its name when its round has ended, so a file with a name is complete
and is used again when the same command is started again. ``bench.store.run`` describes the layout.
"""

from __future__ import annotations

import json
import lzma
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TextIO

from bench.portable.errors import PortableError
from bench.suite import paired_record
from bench.suite.kernel_files import pack
from bench.suite.record import RecordError, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Self

    from bench.portable.paired_timing import PairPlan
    from bench.suite.kernel_files import Source
    from bench.suite.record import Record, Request

#: Compression level of xz: it packs a record to a few per cent in a tenth of a second.
_PRESET = 6
#: Outcomes that are results. After any other, the process may have been killed from outside: the round is repeated.
_RESULTS = frozenset({"ok", "error", "gpu-not-visible"})
#: What reading a damaged record can raise.
UNREADABLE = (
    *(RecordError, OSError, lzma.LZMAError, EOFError, RecursionError),
    *(TypeError, KeyError, AttributeError, ArithmeticError),
)
#: Characters of a text in run.json.
MOST_TEXT = 20_000


def now() -> str:
    """Return the current time in UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 - Python 3.9 has no datetime.UTC


def stamp() -> str:
    """Return the current time as it appears in the names of runs and archives."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")  # noqa: UP017


def plain(value: Any) -> Any:
    """Return a JSON value as run.json holds it: no control character, which a reader refuses, and no endless text.

    Messages of compilers and of Docker have both; each control character becomes U+FFFD, and a long text is cut off.
    """
    if isinstance(value, str):
        text = "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in value)
        return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}\u2026"
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file completely or not at all; raises OSError, and then leaves no partial file behind."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:  # Ctrl-C, too
        with suppress(OSError):
            part.unlink()  # on a full disk, a partial file would keep it full
        raise


def kept_path(record: Path) -> Path:
    """Return the path of the stored values beside a record."""
    return record.with_name(record.name.partition(".")[0] + ".kept.xz")


@dataclass(frozen=True)
class Recording:
    """The two streams of a round that is being measured: the record's lines and the stored values."""

    lines: TextIO
    kept: TextIO


class RunFolder:
    """One folder ``runs/<utc-time>-<id>/`` and the paths inside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, reports: Path) -> Self:
        """Make a new, empty run folder below ``reports/runs/``; raises ``unwritable``'s error."""
        folder = cls(reports / "runs" / f"{stamp()}-{secrets.token_hex(2)}")
        try:
            folder.path.mkdir(parents=True)
        except OSError as error:
            raise cls.unwritable(folder.path, error) from error
        return folder

    @staticmethod
    def unwritable(path: Path, error: OSError) -> Exception:
        """Return the error to raise where a file or folder could not be written."""
        hint = "Free some space, or use a folder that you can write; finished rounds are kept."
        return PortableError(f"{path} cannot be written: {error.strerror}.", hint)

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    def record_path(self, column: str, variation: str, mode: str, number: int) -> Path:
        """Return where the compressed record of one round belongs."""
        return self.path / "records" / column / variation / f"{mode}-{number:03d}.jsonl.xz"

    def pair_path(self, column: str, name: str) -> Path:
        """Return where the compressed record of one pair belongs (see ``bench.suite.paired_record``)."""
        return self.path / "paired" / column / f"{name}.jsonl.xz"

    def log_path(self, column: str, name: str) -> Path:
        """Return where a log belongs, and make its folder."""
        path = self.path / "logs" / column / f"{name}.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.unwritable(path, error) from error
        return path

    def keep_kernel_files(self, sources: Iterable[Source]) -> None:
        """Keep the files of custom kernels as ``kernel-files/HASH.tar.xz``, for people: nothing unpacks them."""
        for source in sources:
            path = self.path / "kernel-files" / f"{source.hash}.tar.xz"
            try:
                write_atomic(path, pack(source))
            except OSError as error:
                raise self.unwritable(path, error) from error

    @contextmanager
    def recording(self, path: Path) -> Iterator[Recording]:
        """Yield streams for a record and its stored values; both are compressed and named when the round ended well.

        The streams are uncompressed, because a compressor would hold back lines that must be on disk as they come.
        """
        values = kept_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _part(path).open("w", encoding="utf-8") as lines, _part(values).open("w", encoding="utf-8") as kept:
                yield Recording(lines=lines, kept=kept)
            _finish(values)  # the record comes last: where it exists, its stored values do
            _finish(path)
        except OSError as error:
            raise self.unwritable(path, error) from error


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _finish(path: Path) -> None:
    """Compress what was written and give it its name; an empty file gets none."""
    content = _part(path).read_bytes()
    if content:
        write_atomic(path, lzma.compress(content, preset=_PRESET))
    _part(path).unlink()


def read_records(folder: Path) -> list[Record]:
    """Read the records of a run folder; one that cannot be read is left out, and ``import`` names it."""
    records = []
    for path in sorted((folder / "records").glob("*/*/*.jsonl.xz")):
        with suppress(*UNREADABLE):
            records.append(read(path))
    return records


class PlannedFolder(RunFolder):
    """The run folder of a fixed plan: ``tfrepro local`` and bundles resume it when the same plan is started again."""

    @classmethod
    def open(cls, out: Path, plan: str) -> tuple[PlannedFolder, bool]:
        """Return the unfinished run of the plan with this hash, or a new one; and whether it existed already.

        Raises PortableError where the folder cannot be written.
        """
        for file in sorted((out / "runs").glob("*/plan"), reverse=True):
            folder = cls(file.parent)
            with suppress(OSError, ValueError):
                if file.read_text(encoding="utf-8") == plan and not folder.info().get("finished"):
                    return folder, True
        folder = cls.create(out)
        try:
            write_atomic(folder.path / "plan", plan)
        except OSError as error:
            raise cls.unwritable(folder.path, error) from error
        return folder, False

    def info(self) -> dict[str, Any]:
        """Return what an earlier start wrote into run.json, as far as it has the types that ``write_info`` gets.

        Empty where it was not written yet, or is damaged.
        """
        try:
            info = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        known = {"started": str, "finished": str, "warnings": list}
        return {
            key: [str(text) for text in info[key]] if kind is list else info[key]
            for key, kind in known.items()
            if isinstance(info, dict) and isinstance(info.get(key), kind)
        }

    def write_info(self, info: dict[str, Any]) -> None:
        """Write run.json; raises PortableError."""
        try:
            write_atomic(self.path / "run.json", json.dumps(plain(info), indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise self.unwritable(self.path / "run.json", error) from error

    def record_of(self, request: Request) -> Path:
        """Return where the compressed record of a request belongs."""
        return self.record_path(request.column, request.variation, request.mode, request.round)

    def log_of(self, request: Request) -> Path:
        """Return where the log of a request belongs, and make its folder."""
        return self.log_path(request.column, f"{request.variation}-{request.mode}-{request.round:03d}")

    def has(self, request: Request, suite: str) -> bool:
        """Whether the finished record of exactly this request exists, measured with this suite."""
        return _begins_with(self.record_of(request), {"request": asdict(request), "suite_hash": suite})

    def has_pair(self, plan: PairPlan, suite: str) -> bool:
        """Whether the finished record of exactly this pair exists, measured with this suite."""
        path = self.pair_path(plan.requests["b"].column, plan.name)
        return _begins_with(path, {**plan.header(), "suite_hash": suite})

    def failures(self, request: Request) -> list[str]:
        """Return the kernels that ended without a result in a finished record, as in ``matmul (crashed)``."""
        return _failures(lambda: read(self.record_of(request)).outcomes)

    def pair_failures(self, plan: PairPlan) -> list[str]:
        """Return the kernels that ended without a result in the finished record of a pair."""
        path = self.pair_path(plan.requests["b"].column, plan.name)
        return _failures(lambda: paired_record.read(path).kernels)


def _begins_with(path: Path, expected: dict[str, Any]) -> bool:
    """Whether a record exists and its header has these fields."""
    try:
        with lzma.open(path, "rt", encoding="utf-8") as stream:
            header = json.loads(stream.readline())
    except (OSError, lzma.LZMAError, EOFError, ValueError, RecursionError):
        return False
    fields = json.loads(json.dumps(expected))
    return isinstance(header, dict) and all(header.get(name) == value for name, value in fields.items())


def _failures(read_ends: Callable[[], Iterable[Any]]) -> list[str]:
    """Return which ends of kernels in a record are no results; a record that cannot be read is one of them."""
    try:
        ends = read_ends()
    except UNREADABLE:
        return ["its record, which cannot be read"]
    return [f"{end.kernel} ({end.outcome})" for end in ends if end.outcome not in _RESULTS]
