"""Unpack a records archive from another host. It is not trusted: either all of it is valid, or nothing of it is kept.

``bench.portable.archive`` writes it: gzip around plain ustar headers without folders, the manifest first. Anything else
is refused. This module reads the headers itself, because none of tar's many extensions (long names, links, devices,
sparse files) is needed, and each of them could write outside the target folder.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import shutil
import tarfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from bench.errors import StorageError
from bench.portable.archive import KIND, MANIFEST, SCHEMA
from bench.regular_file import open_regular
from bench.store.read_record import UNREADABLE, read_pair, read_record
from bench.store.run import pair_files, read_info, record_files
from bench.store.valid_info import HASH, allowed_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.store.run_info import RunInfo

    #: Makes the error for a reason.
    Refuse = Callable[[str], StorageError]

_HINT = "Copy the archive again from the host that wrote it; if that does not help, measure again."
_BLOCK = 512
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may contain.

    ``files`` is a number; ``packed`` and ``unpacked`` are bytes of the archive, ``document`` of run.json or the
    manifest, ``text`` of one unpacked record. ``memory`` is what unpacking a record may allocate, in bytes.
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
    """An unpacked run: its facts, and its records that cannot be read, with the reasons."""

    info: RunInfo
    unreadable: Mapping[str, str] = field(default_factory=dict)


def unpack(file: Path, target: Path, limits: Limits = LIMITS) -> Unpacked:
    """Verify an archive and unpack it into ``target``, which must not exist yet.

    Raises StorageError where anything about the archive is wrong; ``target`` does not exist then.
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
    def refuse(reason: str) -> StorageError:
        return StorageError(f"{file.name} is refused, and nothing of it was kept: {reason}.", _HINT)

    if file.stat().st_size > limits.packed:
        raise refuse(f"it is larger than {limits.packed} bytes")
    with open_regular(file) as packed, gzip.open(packed, "rb") as stream:
        reader = _Reader(_Limited(stream, limits.unpacked, refuse), refuse)
        files = _manifest(reader, limits, refuse)
        reader.write_files(target, files)
    if "run.json" not in files or files["run.json"][1] > limits.document:
        raise refuse("run.json is missing or too large")
    try:
        info = read_info(target)
    except StorageError as error:
        raise refuse(str(error).replace(f"{target}/", "")) from error
    columns = {column.id for column in info.columns}
    for name in sorted(files):
        parts = name.split("/")
        if len(parts) > 1 and parts[0] != "kernel-files" and parts[1] not in columns:
            raise refuse(f"{name} belongs to no column of run.json")
        if name.endswith(".xz"):
            _check_size(target / name, limits, name, refuse)
    return Unpacked(info=info, unreadable=_unreadable(target))


class _Limited:
    """A stream that raises an error after so many bytes."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, limit: int, refuse: Refuse) -> None:
        self._stream, self._left, self._refuse = stream, limit, refuse

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes, fewer only at the end of the stream."""
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise self._refuse("it unpacks to more than it may")
        return block


class _Reader:
    """Reads the plain files of a tar stream, one after the other."""

    def __init__(self, stream: _Limited, refuse: Refuse) -> None:
        self._stream, self._refuse = stream, refuse

    def header(self) -> tuple[str, int] | None:
        """Return name and size of the next file; None at the end, after which only zeros may follow."""
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
            raise self._refuse(f"{member.name!r} is not a plain file")
        if member.size < 0:
            raise self._refuse(f"{member.name!r} has a negative size")
        return member.name, member.size

    def content(self, size: int, write: Callable[[bytes], object]) -> str:
        """Pass a file's bytes to ``write`` and return their SHA-256."""
        total, left = hashlib.sha256(), size
        while left:
            block = self._stream.read(min(left, _CHUNK))
            if not block:
                raise self._refuse("it was cut off")
            total.update(block)
            write(block)
            left -= len(block)
        padding = -size % _BLOCK
        if len(self._stream.read(padding)) != padding:
            raise self._refuse("it was cut off")
        return total.hexdigest()

    def write_files(self, target: Path, files: Mapping[str, tuple[str, int]]) -> None:
        """Write every file of the manifest, and accept no other."""
        seen: set[str] = set()
        while (header := self.header()) is not None:
            name, size = header
            if name in seen:
                raise self._refuse(f"{name!r} is in it twice")
            if name not in files:
                raise self._refuse(f"its manifest does not name {name!r}")
            seen.add(name)
            sha256, length = files[name]
            if size != length:
                raise self._refuse(f"{name} has {size} bytes, and its manifest says {length}")
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as copy:
                digest = self.content(size, copy.write)
            if digest != sha256:
                raise self._refuse(f"{name} has another SHA-256 than its manifest says")
        missing = sorted(set(files) - seen)
        if missing:
            raise self._refuse(f"{missing[0]} is missing")


def _manifest(reader: _Reader, limits: Limits, refuse: Refuse) -> dict[str, tuple[str, int]]:
    """Return file -> (SHA-256, bytes) as the manifest lists them; every name is one that a run folder can have."""
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
        files = {str(name): (str(row["sha256"]), row["bytes"]) for name, row in body["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refuse(f"its manifest cannot be understood ({type(error).__name__})") from error
    if not known:
        raise refuse(f"its manifest has a schema or kind that this version does not know (it reads schema {SCHEMA})")
    if len(files) > limits.files:
        raise refuse(f"it has more than {limits.files} files")
    for name, (digest, size) in files.items():
        if not allowed_file(name):
            raise refuse(f"{name!r} is no file of a run")
        if not HASH.fullmatch(digest) or type(size) is not int or size < 0:
            raise refuse(f"its manifest does not have a valid SHA-256 and size for {name}")
    return files


def _check_size(path: Path, limits: Limits, name: str, refuse: Refuse) -> None:
    """Refuse a decompression bomb: every reader unpacks the whole file into memory."""
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
    """Return the records that cannot be read, with the reasons; like those of any run, they are no reason to refuse."""
    problems: dict[str, str] = {}
    for files, read in ((record_files(target), read_record), (pair_files(target), read_pair)):
        for file in files:
            try:
                read(file)
            except UNREADABLE as error:
                problems[file.relative_to(target).as_posix()] = str(error)
    return problems
