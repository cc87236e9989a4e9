"""A records archive from elsewhere, read with suspicion: all of it is right, or nothing of it is written.

It is what ``bench.portable.archive`` writes: gzip around plain ustar headers, no folders, the manifest first. Anything else
is refused, so this reads the headers itself: of tar's many extensions (long names, links, devices, sparse files) not
one is needed, and each is a way out of the folder.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import re
import shutil
import tarfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from bench.errors import StorageError
from bench.store.run import UNREADABLE, record_files
from bench.store.run_info import RunInfo
from bench.store.validate import HASH, NAME, problem
from bench.suite import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
SCHEMA = 1
KIND = "tfrepro records"

_HINT = "Copy it again from the host that wrote it; if it is the same file there, measure again."
_BLOCK = 512
_CHUNK = 1 << 20
_NAME = NAME.pattern
_ALLOWED = re.compile(
    rf"run\.json|records/(?P<column>{_NAME})/{_NAME}/(?:off|on)-[0-9]{{3,4}}\.(?:jsonl|kept)\.xz|logs/{_NAME}/{_NAME}\.log"
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold: files, bytes packed and unpacked, of one document, and of one record's text.

    ``memory`` is what unpacking a record may take.
    """

    files: int = 20_000
    packed: int = 2_000_000_000
    unpacked: int = 4_000_000_000
    document: int = 16_000_000
    text: int = 200_000_000
    memory: int = 100_000_000


LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """A run that came home: its facts, and the records that cannot be read, each with the reason."""

    info: RunInfo
    unreadable: Mapping[str, str] = field(default_factory=dict)


def unpack(file: Path, target: Path, limits: Limits = LIMITS) -> Unpacked:
    """Verify an archive into ``target``, which must not exist yet.

    Raises StorageError with one sentence where anything about it is wrong; ``target`` is then not there.
    """
    if target.exists():
        raise StorageError(f"{target} exists already.", "Remove it first.")
    try:
        target.mkdir(parents=True)
        return _unpack(file, target, limits)
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = getattr(error, "strerror", None) or error
        shutil.rmtree(target, ignore_errors=True)
        raise StorageError(f"{file} cannot be read to its end: {reason}.", _HINT) from error
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _unpack(file: Path, target: Path, limits: Limits) -> Unpacked:
    def refuse(why: str) -> StorageError:
        return StorageError(f"{file.name} is refused, and nothing of it was kept: {why}.", _HINT)

    if file.stat().st_size > limits.packed:
        raise refuse(f"it is larger than {limits.packed} bytes")
    with gzip.open(file, "rb") as stream:
        reader = _Reader(_Limited(stream, limits.unpacked, refuse), limits, refuse)
        listed = _manifest(reader, limits, refuse)
        reader.files(target, listed)
    info = _info(target, listed, limits, refuse)
    for name in sorted(listed):
        if name.endswith(".xz"):
            _check_size(target / name, limits, name, refuse)
    return Unpacked(info=info, unreadable=_unreadable(target))


class _Limited:
    """A stream that gives no more than it may."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, most: int, refuse: Callable[[str], StorageError]) -> None:
        self._stream, self._left, self._refuse = stream, most, refuse

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, fewer only at the end of the stream."""
        found = self._stream.read(size)
        self._left -= len(found)
        if self._left < 0:
            raise self._refuse("it unpacks to more than it may")
        return found


class _Reader:
    """Plain files of a tar stream, one after the other."""

    def __init__(self, stream: _Limited, limits: Limits, refuse: Callable[[str], StorageError]) -> None:
        self._stream, self._limits, self._refuse = stream, limits, refuse

    def header(self) -> tuple[str, int] | None:
        """Name and size of the next file; None at the end, after which there may be nothing but zeros."""
        block = self._stream.read(_BLOCK)
        if not block.strip(b"\0"):
            if len(block) < _BLOCK:
                raise self._refuse("it ends before its end mark")
            while rest := self._stream.read(_CHUNK):
                if rest.strip(b"\0"):
                    raise self._refuse("something follows its end mark")
            return None
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise self._refuse(f"a header in it is damaged ({error})") from error
        if member.type != tarfile.REGTYPE or member.linkname:
            raise self._refuse(f"{member.name!r} is no plain file")
        if member.size < 0:
            raise self._refuse(f"{member.name!r} has a size below nothing")
        return member.name, member.size

    def content(self, size: int, write: Callable[[bytes], object]) -> str:
        """Hand a file's bytes on; its SHA-256."""
        total, left = hashlib.sha256(), size
        while left:
            found = self._stream.read(min(left, _CHUNK))
            if not found:
                raise self._refuse("it was cut off")
            total.update(found)
            write(found)
            left -= len(found)
        padding = -size % _BLOCK
        if len(self._stream.read(padding)) != padding:
            raise self._refuse("it was cut off")
        return total.hexdigest()

    def files(self, target: Path, listed: Mapping[str, tuple[str, int]]) -> None:
        """Write every file of the manifest, and accept no other."""
        seen: set[str] = set()
        while (header := self.header()) is not None:
            name, size = header
            if name in seen:
                raise self._refuse(f"{name!r} is in it twice")
            if name not in listed:
                raise self._refuse(f"its manifest does not name {name!r}")
            seen.add(name)
            wanted, length = listed[name]
            if size != length:
                raise self._refuse(f"{name} has {size} bytes, and its manifest says {length}")
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as copy:
                digest = self.content(size, copy.write)
            if digest != wanted:
                raise self._refuse(f"{name} has another SHA-256 than its manifest says")
        missing = sorted(set(listed) - seen)
        if missing:
            raise self._refuse(f"{missing[0]} is missing")


def _manifest(reader: _Reader, limits: Limits, refuse: Callable[[str], StorageError]) -> dict[str, tuple[str, int]]:
    """File -> (SHA-256, bytes) as the manifest promises; every name is one that a run folder has."""
    header = reader.header()
    if header is None or header[0] != MANIFEST:
        raise refuse("it does not begin with its manifest")
    if header[1] > limits.document:
        raise refuse("its manifest is too large")
    blocks: list[bytes] = []
    reader.content(header[1], blocks.append)
    try:
        body: Any = json.loads(b"".join(blocks))
        known = body["schema"] == SCHEMA and body["kind"] == KIND
        rows = list(body["files"].items())
        listed = {str(name): (str(row["sha256"]), row["bytes"]) for name, row in rows}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refuse(f"its manifest cannot be understood ({type(error).__name__})") from error
    if not known:
        raise refuse(f"its manifest has a schema or kind that this version does not know (it reads schema {SCHEMA})")
    if len(listed) > limits.files:
        raise refuse(f"it has more than {limits.files} files")
    for name, (digest, size) in listed.items():
        if not _ALLOWED.fullmatch(name):
            raise refuse(f"{name!r} is no file of a run")
        if not HASH.fullmatch(digest) or type(size) is not int or size < 0:
            raise refuse(f"its manifest does not say SHA-256 and size of {name}")
    return listed


def _info(
    target: Path, listed: Mapping[str, tuple[str, int]], limits: Limits, refuse: Callable[[str], StorageError]
) -> RunInfo:
    """run.json, each field of its type, and no record or log of a column that it does not have."""
    if "run.json" not in listed or listed["run.json"][1] > limits.document:
        raise refuse("run.json is missing or too large")
    try:
        text = (target / "run.json").read_text(encoding="utf-8")
        info = RunInfo.from_json(text)
    except (StorageError, UnicodeDecodeError) as error:
        raise refuse(str(error)) from error
    why = problem(info)
    if why:
        raise refuse(f"run.json: {why}")
    columns = {column.id for column in info.columns}
    for name in listed:
        parts = name.split("/")
        if len(parts) > 1 and parts[1] not in columns:
            raise refuse(f"{name} belongs to no column of run.json")
    return info


def _check_size(path: Path, limits: Limits, name: str, refuse: Callable[[str], StorageError]) -> None:
    """Whoever reads it unpacks it whole, so it may not be a bomb."""
    left = limits.text
    try:
        unpacker = lzma.LZMADecompressor(memlimit=limits.memory)
        with path.open("rb") as stream:
            while not unpacker.eof:
                packed = stream.read(_CHUNK) if unpacker.needs_input else b""
                if unpacker.needs_input and not packed:
                    return  # cut off: the record will be listed as unreadable
                left -= len(unpacker.decompress(packed, max_length=_CHUNK))
                if left < 0:
                    raise refuse(f"{name} unpacks to more than {limits.text} bytes")
            if unpacker.unused_data or stream.read(1):
                raise refuse(f"something follows the end of {name}")
    except lzma.LZMAError as error:
        if "limit" in str(error):
            raise refuse(f"{name} needs more than {limits.memory} bytes of memory to unpack") from error


def _unreadable(target: Path) -> dict[str, str]:
    """Records that cannot be read; they are listed, as those of a run at home are."""
    found: dict[str, str] = {}
    for file in record_files(target):
        name = file.relative_to(target).as_posix()
        try:
            record.read(file)
        except UNREADABLE as error:
            found[name] = str(error)
    return found
