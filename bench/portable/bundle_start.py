"""What a bundle does on its host: join, verify, install, play. ``run-bundle.sh`` starts it; the standard library only.

It stands beside the parts and imports nothing of the bundle, for nothing is unpacked yet.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG, ENGINE = 2, 4
_BLOCK = 1 << 20


class StartError(Exception):
    """Why the bundle cannot be used here, in one sentence; ``hint`` is what to do."""

    def __init__(self, message: str, hint: str, code: int = ENGINE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def main(arguments: list[str]) -> int:
    """Verify and install once, then measure; 5 where a GPU is needed and was not seen."""
    here = Path(__file__).resolve().parent
    try:
        manifest = _manifest(here)
        options = _options(manifest, here, arguments)
        inside = prepare(here, options.dir, manifest)
        python = install(inside, options.dir, manifest)
        return measure(python, inside, options)
    except StartError as error:
        say(f"error: {error}\n\nhint: {error.hint}")
        return error.code
    except OSError as error:
        say(f"error: {error}\n\nhint: Is the disk full, or the folder not yours? Name another one with --dir.")
        return ENGINE
    except KeyboardInterrupt:
        say("\ninterrupted: the same command goes on from there")
        return 130


def say(text: str) -> None:
    """One line of progress on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _manifest(here: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StartError(f"manifest.json of the bundle cannot be read ({error}).", _AGAIN, CONFIG) from error
    return found


#: Handed on to ``bench.portable.run_plan``, which knows what they mean (see ``bench.portable.overrides``).
_NARROWING = {
    "--kernels": ("GLOBS", "kernels: 'matmul*,reduce*'; controls always run"),
    "--variation": ("NAMES", "these of the profile's variations: tf32=off"),
    "--rounds": ("N", "fresh processes per mode, instead of the profile's"),
    "--repetitions": ("N", "repetitions per process, of heavy kernels too"),
}
_AGAIN = "Copy the bundle here again, all its files into one folder."


def _options(manifest: dict[str, Any], here: Path, arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run-bundle.sh",
        description=f"Measure {manifest['pair']} here (Python {manifest['python']}, engine {manifest['engine']}).",
        epilog="Exit codes: 0 ok, 2 wrong option or bundle, 4 it could not be installed or run, "
        "5 no GPU where one is needed (the records archive is written all the same), 130 interrupted.",
    )
    profiles = manifest["profiles"]
    parser.add_argument("--profile", choices=profiles, default=profiles[0], help=f"how much (default: {profiles[0]})")
    parser.add_argument("--dir", type=Path, default=here / "work", help="where it is installed (default: work, beside)")
    parser.add_argument("--gpu", default="", metavar="UUID", help="the GPU to measure (default: the first)")
    parser.add_argument("--dry", action="store_true", help="verify, install and run one round only")
    for name, (metavar, told) in _NARROWING.items():
        parser.add_argument(name, default="", metavar=metavar, help=told)
    options = parser.parse_args(arguments)
    options.dir = options.dir.absolute()
    return options


def prepare(here: Path, work: Path, manifest: dict[str, Any]) -> Path:
    """The bundle joined and unpacked below ``work``, every byte verified; done once."""
    inside, done = work / "bundle", work / "verified"
    mark = hashlib.sha256((here / "manifest.json").read_bytes()).hexdigest()
    if done.is_file() and done.read_text(encoding="ascii") == mark:
        return inside
    need, free = int(2.5 * manifest["bytes"]), _free(work)
    if need > free:
        message = f"{need / 1e9:.1f} GB are needed in {work}, and {free / 1e9:.1f} GB are free."
        raise StartError(message, "Free some space, or name another folder with --dir.")
    for name, facts in sorted(manifest["parts"].items()):
        _verify(here / name, facts, f"part {name}")
    say(f"{len(manifest['parts'])} parts are whole; unpacking")
    shutil.rmtree(work / "bundle", ignore_errors=True)
    shutil.rmtree(work / "venv", ignore_errors=True)
    _unpack(_Joined([here / name for name in sorted(manifest["parts"])]), inside, manifest["files"])
    for name, facts in sorted(manifest["files"].items()):
        _verify(inside / name, facts, name)
    for program in inside.glob("uv"):
        program.chmod(0o755)
    done.write_text(mark, encoding="ascii")
    return inside


def _free(folder: Path) -> int:
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return shutil.disk_usage(there).free


def _verify(path: Path, facts: dict[str, Any], name: str) -> None:
    try:
        size, total = path.stat().st_size, hashlib.sha256()
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(_BLOCK), b""):
                total.update(block)
    except OSError as error:
        raise StartError(f"{name} is missing: {error.strerror}.", _AGAIN, CONFIG) from error
    if (total.hexdigest(), size) != (facts["sha256"], facts["bytes"]):
        message = f"{name} is damaged: {size} bytes with another SHA-256 than the manifest has."
        raise StartError(message, _AGAIN, CONFIG)


class _Joined:
    """All parts as one stream."""

    def __init__(self, parts: list[Path]) -> None:
        self._blocks = self._read(parts)
        self._rest = b""

    @staticmethod
    def _read(parts: list[Path]) -> Iterator[bytes]:
        for part in parts:
            with part.open("rb") as stream:
                yield from iter(lambda: stream.read(_BLOCK), b"")

    def read(self, size: int) -> bytes:
        """The next bytes; fewer only at the end."""
        found = [self._rest]
        there = len(self._rest)
        while there < size:
            block = next(self._blocks, b"")
            if not block:
                break
            found.append(block)
            there += len(block)
        whole = b"".join(found)
        self._rest = whole[size:]
        return whole[:size]


def _unpack(stream: _Joined, inside: Path, known: dict[str, Any]) -> None:
    """Write the files that the manifest names, and nothing else."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                path = Path(member.name)
                if not member.isreg() or member.name not in known or path.is_absolute() or ".." in path.parts:
                    raise StartError(
                        f"The bundle holds {member.name!r}, which its manifest does not name.", _AGAIN, CONFIG
                    )
                target = inside / path
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                if source is not None:
                    with target.open("wb") as copy:
                        shutil.copyfileobj(source, copy, _BLOCK)
    except tarfile.TarError as error:
        raise StartError(f"The parts do not join to an archive ({error}).", _AGAIN, CONFIG) from error


def install(inside: Path, work: Path, manifest: dict[str, Any]) -> str:
    """The interpreter that plays the rounds; its environment is installed without an index, hashes required."""
    if manifest["engine"] == "docker":
        _command(["docker", "load", "--quiet", "--input", str(inside / "image.tar")], "Docker cannot load the image")
        return sys.executable
    python, ready = work / "venv" / "bin" / "python", work / "venv" / "tfrepro.whole"
    if ready.is_file():
        return str(python)
    uv = [str(inside / "uv"), "--offline", "--no-config", "--no-progress", "--color", "never"]
    minor, venv = manifest["python"], str(work / "venv")
    hint = f"Install Python {minor} here, or make the bundle with --python for a minor that this host has."
    wanted = ["venv", "--clear", "--no-python-downloads", "--python", minor, venv]
    _command([*uv, *wanted], f"There is no Python {minor} for a virtual environment", hint)
    say(f"installing {manifest['lock']}")
    wheels = ["--no-index", "--find-links", str(inside / "wheels"), "--require-hashes", "--compile-bytecode"]
    _command(
        [*uv, "pip", "sync", *wheels, "--python", str(python), str(inside / "lock.txt")],
        "The wheels cannot be installed",
        environment={"UV_CACHE_DIR": str(work / "uv-cache")},
    )
    shutil.rmtree(work / "uv-cache", ignore_errors=True)
    check = [str(python), "-m", "bench.suite.verify_install"]
    _command(check, "What was installed is not what the wheels hold", environment={"PYTHONPATH": str(inside / "root")})
    ready.touch()
    return str(python)


def _command(words: list[str], trouble: str, hint: str = "", environment: dict[str, str] | None = None) -> None:
    # an index or a lock of this host's own settings must not reach the installation
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "PIP_", "PYTHON"))}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", check=False, env={**kept, **(environment or {})}
        )
    except OSError as error:
        raise StartError(f"{trouble}: {words[0]} cannot be started ({error.strerror}).", hint or _AGAIN) from error
    if done.returncode != 0:
        told = " ".join((done.stdout + done.stderr).split())[-1500:]
        raise StartError(
            f"{trouble}: {told}", hint or "The words above say why; --dir with a fresh folder starts over."
        )


def measure(python: str, inside: Path, options: argparse.Namespace) -> int:
    """Play the plan of the profile; its progress and the archive's path go to this terminal."""
    plan = str(inside / f"plan-{options.profile}.json")
    words = [python, "-m", "bench.portable.run_plan", plan, "--out", str(options.dir / f"records-{options.profile}")]
    words += ["--gpu", options.gpu] if options.gpu else []
    words += ["--dry"] if options.dry else []
    for name in _NARROWING:
        value = getattr(options, name.lstrip("-"))
        words += [name, value] if value else []
    environment = {**os.environ, "PYTHONPATH": str(inside / "root"), "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.Popen(words, env=environment)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child got it too, and says what it keeps
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
