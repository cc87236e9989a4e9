"""Pack a run folder into a records archive for ``import``, with the SHA-256 of every file.

The format is plain ustar headers without folders, the manifest first: ``bench.store.archive`` reads nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from bench.portable.errors import PortableError
from bench.portable.run_folder import stamp

if TYPE_CHECKING:
    from pathlib import Path

#: Of the manifest.
SCHEMA = 1
KIND = "tfrepro records"
MANIFEST = "manifest.json"
#: Bytes of one log that are packed: its end, which shows why a process died.
LOG_BYTES = 200_000


def pack(run: Path, out: Path, column: str) -> Path:
    """Write ``tfrepro-records-<column>-<time>.tar.gz`` of a run folder into ``out``; returns its path."""
    contents = {path.relative_to(run).as_posix(): _content(path) for path in _files(run)}
    files = {name: {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)} for name, body in contents.items()}
    manifest: dict[str, Any] = {"schema": SCHEMA, "kind": KIND, "run": run.name, "files": files}
    target = out / f"tfrepro-records-{column}-{stamp()}.tar.gz"
    part = target.with_name(target.name + ".part")
    try:
        with (
            gzip.open(part, "wb", compresslevel=6) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
            for name, body in ((MANIFEST, text.encode()), *contents.items()):
                _add(archive, name, body)
        part.replace(target)
    except OSError as error:
        hint = "Free some space and start the same command again: finished rounds are kept."
        raise PortableError(f"{target} cannot be written: {error.strerror}.", hint) from error
    return target


def _files(run: Path) -> list[Path]:
    patterns = ("records/*/*/*.jsonl.xz", "records/*/*/*.kept.xz", "paired/*/*.jsonl.xz", "kernel-files/*.tar.xz")
    records = [file for pattern in patterns for file in run.glob(pattern)]
    return [run / "run.json", *sorted(records), *sorted((run / "logs").glob("*/*.log"))]


def _content(path: Path) -> bytes:
    if path.suffix != ".log":
        return path.read_bytes()
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - LOG_BYTES))
        return stream.read()


def _add(archive: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(body), 0o644
    archive.addfile(member, io.BytesIO(body))
