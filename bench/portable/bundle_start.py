"""Verify, unpack and install a bundle on an offline host, then measure. ``run-bundle.sh`` starts it.

It is in the folder of the bundle's parts and uses the standard library only, because nothing is unpacked yet when it
starts.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import sys
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG, ENGINE, INTERRUPTED = 2, 4, 130
_SCHEMA = 1
_BLOCK = 1 << 20
#: A manifest has about 150 bytes for each file; more than a petabyte is no size of one.
_MOST_MANIFEST_BYTES, _MOST_DIGITS = 64 << 20, 15
#: Marks a folder in which this script may delete and overwrite.
_MARKER = "made-by-run-bundle.txt"
_MARKER_TEXT = b"run-bundle.sh made this folder. It deletes and overwrites files in it.\n"


class StartError(Exception):
    """Why the bundle cannot be used on this host; ``hint`` says what to do, ``code`` is the exit code."""

    def __init__(self, message: str, hint: str, code: int = ENGINE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def main(arguments: list[str]) -> int:
    """Verify and install the bundle unless that was done before, then measure; returns the exit code."""
    bundle = Path(__file__).resolve().parent
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup has SIGHUP ignored, and it stays ignored
                signal.signal(number, _interrupt)
        manifest, digest = read_manifest(bundle)
        options = _options(manifest, bundle, arguments)
        say(f"manifest SHA-256 {digest}")
        claim(options.dir)
        unpacked = prepare(bundle, options.dir, manifest, digest)
        sys.path.insert(0, str(unpacked / "root"))
        sys.dont_write_bytecode = True  # byte code would be a foreign file of the next start
        from bench.portable import bundle_install  # noqa: PLC0415 - it was verified and unpacked just now

        if unpacked.resolve() not in Path(str(bundle_install.__file__)).resolve().parents:  # an installed tfrepro
            raise ImportError("bench.portable.bundle_install is missing")
        return bundle_install.run(unpacked, options.dir, _installed(options.dir), manifest, _plan(options, unpacked))
    except StartError as error:
        say(f"error: {error}\n\nhint: {error.hint}")
        return error.code
    except OSError as error:
        say(f"error: {error}\n\nhint: Free some space, or use a folder that you can write with --dir.")
        return ENGINE
    except ImportError as error:
        say(f"error: the bundle is incomplete ({error})\n\nhint: Make it again.")
        return CONFIG
    except KeyboardInterrupt:
        say("\ninterrupted: run the same command again to resume")
        return INTERRUPTED


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_number: int, _frame: object) -> None:
    """Handle SIGTERM and SIGHUP as Ctrl-C; a second signal must not keep the first from ending all children."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def say(text: str) -> None:
    """Print one line of progress to standard error, which may be a terminal that was closed."""
    with suppress(OSError):
        sys.stderr.write("".join(char if char.isprintable() or char == "\n" else "?" for char in text) + "\n")
        sys.stderr.flush()


def _open(path: Path, flags: int = 0) -> BinaryIO:
    """Open a regular file; raises OSError for anything else, where a pipe would block and a device never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_manifest(bundle: Path) -> tuple[dict[str, Any], str]:
    """Return the manifest and its SHA-256; raises StartError where it cannot be read or has another shape."""
    try:
        with _open(bundle / "manifest.json") as stream:
            content = stream.read(_MOST_MANIFEST_BYTES)
        manifest: Any = json.loads(content.decode("utf-8"), parse_int=_integer)
        _check_shape(manifest)
    except (OSError, ValueError, RecursionError) as error:
        raise StartError(f"manifest.json of the bundle cannot be read ({error}).", _COPY_AGAIN, CONFIG) from error
    return manifest, hashlib.sha256(content).hexdigest()


def _integer(digits: str) -> int:
    _require(len(digits) <= _MOST_DIGITS, "it has a number with too many digits")
    return int(digits)


def _require(met: object, fault: str) -> None:
    if not met:
        raise ValueError(fault)


def _check_shape(manifest: Any) -> None:
    """Raise ValueError unless a manifest has the shape that ``bench.bundle`` writes, with names inside its folder."""
    _require(isinstance(manifest, dict) and manifest.get("kind") == "tfrepro bundle", "it is of no tfrepro bundle")
    _require(manifest.get("schema") == _SCHEMA, f"its schema is not {_SCHEMA}")
    for key, pattern in _TEXTS.items():
        _require(_is_text(manifest.get(key), pattern), f"{key} is missing or invalid")
    profiles = manifest.get("profiles")
    _require(isinstance(profiles, list) and profiles, "profiles is no list of names")
    _require(all(_is_text(name, _NAME) for name in profiles), "profiles is no list of names")
    for key in ("parts", "files", "starters"):
        _require(isinstance(manifest.get(key), dict) and manifest[key], f"{key} is missing or names no file")
        for name, facts in manifest[key].items():
            plain = not {"", ".", ".."}.intersection(name.split("/")) and not re.search("[\0\ud800-\udfff]", name)
            _require(plain and (key == "files" or "/" not in name), f"{key} has the invalid name {ascii(name)[:100]}")
            known = facts if isinstance(facts, dict) else {}
            valid = type(known.get("bytes")) is int and known["bytes"] >= 0
            _require(valid and _is_text(known.get("sha256"), "[0-9a-f]{64}"), f"{key} has no size or SHA-256 of {name}")
    total, content = (sum(facts["bytes"] for facts in manifest[key].values()) for key in ("parts", "files"))
    _require(manifest.get("bytes") == total and content <= total, "its sizes contradict each other")
    program = "uv" if manifest["engine"] == "venv" else "image.tar"
    for name in ("lock.txt", program, *map("plan-{}.json".format, profiles)):
        _require(name in manifest["files"], f"files does not have {name}")


_NAME = "[^/%]{1,100}"
_TEXTS = {"pair": _NAME, "lock": _NAME, "python": r"3\.[0-9]{1,2}", "engine": "venv|docker"}


def _is_text(value: Any, pattern: str) -> bool:
    return isinstance(value, str) and value.isprintable() and re.fullmatch(pattern, value) is not None


#: Passed on to ``bench.portable.run_plan``, which checks them (see ``bench.portable.overrides``).
_OVERRIDES = {
    "--kernels": ("PATTERNS", "kernels: 'matmul*,reduce*'; controls always run"),
    "--variation": ("NAMES", "only these variations of the profile: tf32=off"),
    "--rounds": ("N", "fresh processes per mode, instead of the profile's"),
    "--repetitions": ("N", "repetitions per process, of heavy kernels too"),
    "--host-name": ("NAME", "name this host in the column, to show it beside those of other hosts"),
}
_COPY_AGAIN = "Copy all files of the bundle again, into one folder."


def _options(manifest: dict[str, Any], bundle: Path, arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run-bundle.sh",
        description=f"Measure {manifest['pair']} on this host "
        f"(Python {manifest['python']}, engine {manifest['engine']}).",
        epilog="Exit codes: 0 ok, 2 wrong option or damaged bundle, 3 nothing selected or measured, "
        "4 installation or a round failed, 5 no GPU for a GPU pair (an archive is still written), 130 interrupted.",
    )
    profiles = manifest["profiles"]
    add = parser.add_argument
    add("--profile", choices=profiles, default=profiles[0], help="how much to measure (default: %(default)s)")
    text = "where to install and measure: a new folder, or one of an earlier start (default: work, beside this)"
    add("--dir", type=Path, default=bundle / "work", help=text)
    add("--gpu", default="", metavar="UUID", help="the GPU to measure (default: the first)")
    add("--dry", action="store_true", help="verify, install and run one round only")
    for name, (metavar, text) in _OVERRIDES.items():
        add(name, default="", metavar=metavar, help=text)
    options = parser.parse_args(arguments)
    options.dir = options.dir.absolute()
    return options


def _plan(options: argparse.Namespace, unpacked: Path) -> list[str]:
    """Return the arguments of ``bench.portable.run_plan``."""
    words = [str(unpacked / f"plan-{options.profile}.json"), "--out", str(options.dir / f"records-{options.profile}")]
    words += ["--dry"] if options.dry else []
    for name in ("--gpu", *_OVERRIDES):
        value = getattr(options, name.lstrip("-").replace("-", "_"))
        words += [name, value] if value else []
    return words


def claim(work: Path) -> None:
    """Make and mark the folder ``work``, or check that an earlier start did; raises StartError.

    A folder of somebody else is refused, and so are links in a marked one: what they lead to was not made here.
    """
    if not work.exists() or (work.is_dir() and not any(work.iterdir())):
        work.mkdir(parents=True, exist_ok=True)
        with (work / _MARKER).open("xb") as fresh:
            fresh.write(_MARKER_TEXT)
    try:
        with _open(work / _MARKER, os.O_NOFOLLOW) as marker:
            ours = marker.read(_BLOCK) == _MARKER_TEXT
    except OSError:
        ours = False
    if not ours:
        message = f"{work} was not made by run-bundle.sh, which deletes and overwrites files in its own folder only."
        raise StartError(message, "Give --dir the path of a folder that does not exist yet.", CONFIG)
    for path in [*(work / name for name in ("bundle", "venv", "uv-cache", "verified")), *work.glob("records-*")]:
        expected = path.is_file() if path.name == "verified" else path.is_dir()
        if path.is_symlink() or (path.exists() and not expected):
            message = f"{path} was not made by run-bundle.sh: it is a link, or a file in the place of a folder."
            raise StartError(message, "Move it away, or use another folder with --dir.", CONFIG)


def prepare(bundle: Path, work: Path, manifest: dict[str, Any], digest: str) -> Path:
    """Unpack the bundle below ``work`` unless that was done, and verify what will be used; returns the folder.

    The parts are verified before they are unpacked, and every file that will be executed or installed at each start.
    """
    unpacked, done = work / "bundle", work / "verified"
    for name, facts in sorted(manifest["starters"].items()):
        _verify(bundle / name, facts, name)
    again = f"Remove {done} to unpack and install again; records are kept."
    if done.is_file() and done.read_bytes() == digest.encode():
        return _verified(unpacked, work, manifest, again)
    need, free = int(2.5 * manifest["bytes"]), _free(work)
    if need > free:
        message = f"Not enough disk space: {need / 1e9:.1f} GB needed in {work}, {free / 1e9:.1f} GB free."
        raise StartError(message, "Free some space, or use another folder with --dir.")
    for name, facts in sorted(manifest["parts"].items()):
        _verify(bundle / name, facts, f"part {name}")
    say(f"all {len(manifest['parts'])} parts are complete; unpacking")
    done.unlink(missing_ok=True)
    for folder in (unpacked, work / "venv"):
        if folder.exists():
            shutil.rmtree(folder)
    _unpack(_Joined([bundle / name for name in sorted(manifest["parts"])]), unpacked, manifest["files"])
    _verified(unpacked, work, manifest, _COPY_AGAIN)
    for program in unpacked.glob("uv"):
        program.chmod(0o755)
    done.write_text(digest, encoding="ascii")
    return unpacked


def _verified(unpacked: Path, work: Path, manifest: dict[str, Any], hint: str) -> Path:
    """Return the unpacked folder, which has the files of the manifest and no others; installed wheels are not read."""
    files, installed = manifest["files"], _installed(work).is_file()
    found = (path for path in unpacked.rglob("*") if path.is_symlink() or not path.is_dir())
    foreign = sorted({path.relative_to(unpacked).as_posix() for path in found} - set(files))
    if foreign:
        raise StartError(f"{unpacked / foreign[0]} is not a file of the bundle.", hint, CONFIG)
    for name, facts in sorted(files.items()):
        if not (installed and name.startswith("wheels/")):
            _verify(unpacked / name, facts, str(unpacked / name), hint, os.O_NOFOLLOW)
    return unpacked


def _installed(work: Path) -> Path:
    """Return the file that exists once all wheels are installed."""
    return work / "venv" / "tfrepro.whole"


def _free(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return shutil.disk_usage(existing).free


def _verify(path: Path, facts: dict[str, Any], name: str, hint: str = "", flags: int = 0) -> None:
    total = hashlib.sha256()
    try:
        with _open(path, flags) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size == facts["bytes"]:
                for block in iter(lambda: stream.read(_BLOCK), b""):
                    total.update(block)
    except OSError as error:
        state = "is missing" if error.errno == errno.ENOENT else "cannot be read"
        raise StartError(f"{name} {state}: {error.strerror}.", hint or _COPY_AGAIN, CONFIG) from error
    if (total.hexdigest(), size) != (facts["sha256"], facts["bytes"]):
        message = f"{name} is damaged: its {size} bytes do not have the size and SHA-256 of the manifest."
        raise StartError(message, hint or _COPY_AGAIN, CONFIG)


class _Joined:
    """The concatenation of all parts as a stream for tarfile."""

    def __init__(self, parts: list[Path]) -> None:
        self._blocks = self._read(parts)
        self._rest = b""

    @staticmethod
    def _read(parts: list[Path]) -> Iterator[bytes]:
        for part in parts:
            with _open(part) as stream:
                yield from iter(lambda: stream.read(_BLOCK), b"")

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes; fewer only at the end."""
        blocks = [self._rest]
        length = len(self._rest)
        while length < size:
            block = next(self._blocks, b"")
            if not block:
                break
            blocks.append(block)
            length += len(block)
        joined = b"".join(blocks)
        self._rest = joined[size:]
        return joined[:size]


def _unpack(stream: _Joined, folder: Path, files: dict[str, Any]) -> None:
    """Write the files that the manifest names; anything else in the archive is refused."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                if not member.isreg() or member.size != files.get(member.name, {}).get("bytes"):
                    message = f"The bundle contains {member.name!r}, which its manifest does not name."
                    raise StartError(message, _COPY_AGAIN, CONFIG)
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                if source is not None:
                    with target.open("wb") as copy:
                        shutil.copyfileobj(source, copy, _BLOCK)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise StartError(f"The parts do not form an archive ({error}).", _COPY_AGAIN, CONFIG) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
