"""Verify, unpack and install a bundle on an offline host, then measure. ``run-bundle.sh`` starts it.

It lies beside the bundle's parts and uses the standard library only, because nothing is unpacked yet when it starts.
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
    """Why the bundle cannot be used on this host; ``hint`` says what to do, ``code`` is the exit code."""

    def __init__(self, message: str, hint: str, code: int = ENGINE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def main(arguments: list[str]) -> int:
    """Verify and install the bundle unless that was done before, then measure; returns the exit code."""
    bundle = Path(__file__).resolve().parent
    try:
        manifest = _manifest(bundle)
        options = _options(manifest, bundle, arguments)
        unpacked = prepare(bundle, options.dir, manifest)
        python = install(unpacked, options.dir, manifest)
        return measure(python, unpacked, options)
    except StartError as error:
        say(f"error: {error}\n\nhint: {error.hint}")
        return error.code
    except OSError as error:
        say(f"error: {error}\n\nhint: Free some space, or use a folder that you can write with --dir.")
        return ENGINE
    except KeyboardInterrupt:
        say("\ninterrupted: run the same command again to resume")
        return 130


def say(text: str) -> None:
    """Print one line of progress to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _manifest(bundle: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StartError(f"manifest.json of the bundle cannot be read ({error}).", _COPY_AGAIN, CONFIG) from error
    return manifest


#: Passed on to ``bench.portable.run_plan``, which checks them (see ``bench.portable.overrides``).
_OVERRIDES = {
    "--kernels": ("GLOBS", "kernels: 'matmul*,reduce*'; controls always run"),
    "--variation": ("NAMES", "only these variations of the profile: tf32=off"),
    "--rounds": ("N", "fresh processes per mode, instead of the profile's"),
    "--repetitions": ("N", "repetitions per process, of heavy kernels too"),
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
    add("--profile", choices=profiles, default=profiles[0], help=f"how much to measure (default: {profiles[0]})")
    add("--dir", type=Path, default=bundle / "work", help="where to install and measure (default: work, beside this)")
    add("--gpu", default="", metavar="UUID", help="the GPU to measure (default: the first)")
    add("--dry", action="store_true", help="verify, install and run one round only")
    for name, (metavar, text) in _OVERRIDES.items():
        add(name, default="", metavar=metavar, help=text)
    options = parser.parse_args(arguments)
    options.dir = options.dir.absolute()
    return options


def prepare(bundle: Path, work: Path, manifest: dict[str, Any]) -> Path:
    """Join and unpack the bundle below ``work`` and verify every byte, unless that was done; returns the folder."""
    unpacked, done = work / "bundle", work / "verified"
    mark = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    if done.is_file() and done.read_text(encoding="ascii") == mark:
        return unpacked
    need, free = int(2.5 * manifest["bytes"]), _free(work)
    if need > free:
        message = f"Not enough disk space: {need / 1e9:.1f} GB needed in {work}, {free / 1e9:.1f} GB free."
        raise StartError(message, "Free some space, or use another folder with --dir.")
    for name, facts in sorted(manifest["parts"].items()):
        _verify(bundle / name, facts, f"part {name}")
    say(f"all {len(manifest['parts'])} parts are complete; unpacking")
    shutil.rmtree(work / "bundle", ignore_errors=True)
    shutil.rmtree(work / "venv", ignore_errors=True)
    _unpack(_Joined([bundle / name for name in sorted(manifest["parts"])]), unpacked, manifest["files"])
    for name, facts in sorted(manifest["files"].items()):
        _verify(unpacked / name, facts, name)
    for program in unpacked.glob("uv"):
        program.chmod(0o755)
    done.write_text(mark, encoding="ascii")
    return unpacked


def _free(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    return shutil.disk_usage(existing).free


def _verify(path: Path, facts: dict[str, Any], name: str) -> None:
    try:
        size, total = path.stat().st_size, hashlib.sha256()
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(_BLOCK), b""):
                total.update(block)
    except OSError as error:
        raise StartError(f"{name} is missing: {error.strerror}.", _COPY_AGAIN, CONFIG) from error
    if (total.hexdigest(), size) != (facts["sha256"], facts["bytes"]):
        message = f"{name} is damaged: its {size} bytes do not have the size and SHA-256 of the manifest."
        raise StartError(message, _COPY_AGAIN, CONFIG)


class _Joined:
    """The concatenation of all parts as a stream for tarfile."""

    def __init__(self, parts: list[Path]) -> None:
        self._blocks = self._read(parts)
        self._rest = b""

    @staticmethod
    def _read(parts: list[Path]) -> Iterator[bytes]:
        for part in parts:
            with part.open("rb") as stream:
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
                path = Path(member.name)
                if not member.isreg() or member.name not in files or path.is_absolute() or ".." in path.parts:
                    message = f"The bundle contains {member.name!r}, which its manifest does not name."
                    raise StartError(message, _COPY_AGAIN, CONFIG)
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                if source is not None:
                    with target.open("wb") as copy:
                        shutil.copyfileobj(source, copy, _BLOCK)
    except tarfile.TarError as error:
        raise StartError(f"The parts do not form an archive ({error}).", _COPY_AGAIN, CONFIG) from error


def install(unpacked: Path, work: Path, manifest: dict[str, Any]) -> str:
    """Install the environment without an index and with hashes required; returns the interpreter to measure with."""
    if manifest["engine"] == "docker":
        _command(["docker", "load", "--quiet", "--input", str(unpacked / "image.tar")], "Docker cannot load the image")
        return sys.executable
    python, ready = work / "venv" / "bin" / "python", work / "venv" / "tfrepro.whole"
    if ready.is_file():
        return str(python)
    uv = [str(unpacked / "uv"), "--offline", "--no-config", "--no-progress", "--color", "never"]
    minor, venv = manifest["python"], str(work / "venv")
    hint = f"Install Python {minor} on this host, or make the bundle with --python and a version that this host has."
    create = ["venv", "--clear", "--no-python-downloads", "--python", minor, venv]
    _command([*uv, *create], f"No virtual environment with Python {minor} can be created", hint)
    say(f"installing {manifest['lock']}")
    wheels = ["--no-index", "--find-links", str(unpacked / "wheels"), "--require-hashes", "--compile-bytecode"]
    _command(
        [*uv, "pip", "sync", *wheels, "--python", str(python), str(unpacked / "lock.txt")],
        "The wheels cannot be installed",
        environment={"UV_CACHE_DIR": str(work / "uv-cache")},
    )
    shutil.rmtree(work / "uv-cache", ignore_errors=True)
    check = [str(python), "-m", "bench.suite.verify_install"]
    _command(check, "The installed files differ from the wheels", environment={"PYTHONPATH": str(unpacked / "root")})
    ready.touch()
    return str(python)


def _command(command: list[str], failure: str, hint: str = "", environment: dict[str, str] | None = None) -> None:
    """Run a command; raises StartError with its output. The host's settings for uv, pip and Python are left out."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "PIP_", "PYTHON"))}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**inherited, **(environment or {})},
        )
    except OSError as error:
        raise StartError(
            f"{failure}: {command[0]} cannot be started ({error.strerror}).", hint or _COPY_AGAIN
        ) from error
    if done.returncode != 0:
        output = " ".join((done.stdout + done.stderr).split())[-1500:]
        raise StartError(f"{failure}: {output}", hint or "The message above says why; --dir NEW-FOLDER starts afresh.")


def measure(python: str, unpacked: Path, options: argparse.Namespace) -> int:
    """Run the plan of the profile, which prints its progress and the archive's path; returns its exit code."""
    plan = str(unpacked / f"plan-{options.profile}.json")
    command = [python, "-m", "bench.portable.run_plan", plan, "--out", str(options.dir / f"records-{options.profile}")]
    command += ["--gpu", options.gpu] if options.gpu else []
    command += ["--dry"] if options.dry else []
    for name in _OVERRIDES:
        value = getattr(options, name.lstrip("-"))
        command += [name, value] if value else []
    environment = {**os.environ, "PYTHONPATH": str(unpacked / "root"), "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.Popen(command, env=environment)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child was interrupted too, and ends by itself
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
