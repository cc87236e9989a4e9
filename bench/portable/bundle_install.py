"""Install a bundle that ``bundle_start.py`` has verified and unpacked, and run its plan."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.portable.errors import INTERRUPTED, PortableError
from bench.portable.plan_runner import print_progress

#: Seconds that one command of the installation may take, and that it gets to end when it is stopped.
_LIMIT_S, _END_S = 3600.0, 5.0
#: Seconds that an interrupted measurement gets to end its round: Docker may need two minutes to remove a container.
_MEASURE_END_S = 180.0


def run(unpacked: Path, work: Path, installed: Path, manifest: dict[str, Any], plan: list[str]) -> int:
    """Install below ``work`` unless the file ``installed`` exists, then measure; returns the exit code.

    ``plan`` are the arguments of ``bench.portable.run_plan``.
    """
    try:
        return measure(install(unpacked, work, installed, manifest), unpacked, plan)
    except PortableError as error:
        print_progress(f"error: {error}\n\nhint: {error.hint}")
        return error.code


def install(unpacked: Path, work: Path, installed: Path, manifest: dict[str, Any]) -> str:
    """Install the environment without an index and with hashes required; returns the interpreter to measure with.

    Installed files are compared with their wheels at each start.
    """
    root = unpacked / "root"
    if manifest["engine"] == "docker":
        load = ["docker", "load", "--quiet", "--input", str(unpacked / "image.tar")]
        _command(load, root, "Docker cannot load the image")
        return sys.executable
    python = str(work / "venv" / "bin" / "python")
    if not installed.is_file():
        _create(unpacked, work, manifest)
    check = [python, "-m", "bench.suite.verify_install"]
    hint = f"Remove {work / 'verified'} to unpack and install again; records are kept."
    _command(check, root, "The installed files differ from the wheels", hint, _import_path(root))
    installed.touch()
    return python


def _create(unpacked: Path, work: Path, manifest: dict[str, Any]) -> None:
    """Make the virtual environment and install the wheels of the lock."""
    uv = [str(unpacked / "uv"), "--offline", "--no-config", "--no-progress", "--color", "never"]
    root, minor, venv, cache = unpacked / "root", manifest["python"], work / "venv", work / "uv-cache"
    hint = f"Install Python {minor} on this host, or make the bundle with --python and a version that this host has."
    create = ["venv", "--clear", "--no-python-downloads", "--python", minor, str(venv)]
    shutil.rmtree(cache, ignore_errors=True)
    own_cache = {"UV_CACHE_DIR": str(cache)}  # nothing is left in the home folder of the host
    _command([*uv, *create], root, f"No virtual environment with Python {minor} can be created", hint, own_cache)
    print_progress(f"installing {manifest['lock']}")
    wheels = ["--no-index", "--find-links", str(unpacked / "wheels"), "--require-hashes", "--compile-bytecode"]
    sync = [*uv, "pip", "sync", *wheels, "--python", str(venv / "bin" / "python"), str(unpacked / "lock.txt")]
    _command(sync, root, "The wheels cannot be installed", environment=own_cache)
    shutil.rmtree(cache, ignore_errors=True)


def _import_path(root: Path) -> dict[str, str]:
    """Return the settings with which Python imports the suite, and writes no byte code beside it."""
    return {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}


def _clean_environment() -> dict[str, str]:
    """Return the environment of this host without its settings for uv, pip and Python."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "PIP_", "PYTHON"))}


def _command(
    command: list[str], folder: Path, failure: str, hint: str = "", environment: dict[str, str] | None = None
) -> None:
    """Run a command in a folder; raises PortableError with its output, or where it exceeds the time limit."""
    held = _hold_signals()
    try:
        with subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", env={**_clean_environment(), **(environment or {})}, start_new_session=True,
            preexec_fn=lambda: _release_signals(held),  # noqa: PLW1509 - this program has one thread
        ) as child:  # fmt: skip
            try:
                _release_signals(held)
                output, _ = child.communicate(timeout=_LIMIT_S)
            finally:
                _end(child, _END_S)
    except OSError as error:
        message = f"{failure}: {command[0]} cannot be started ({error.strerror})."
        raise PortableError(
            message, hint or "Check that it is installed, and that this host may execute it."
        ) from error
    except subprocess.TimeoutExpired as error:
        message = f"{failure}: {Path(command[0]).name} has not ended within {_LIMIT_S:.0f} s, and was stopped."
        raise PortableError(message, "Check the load of this host and its disk, then start again.") from error
    finally:
        _release_signals(held)
    if child.returncode != 0:
        text = " ".join(output.split())[-1500:] or f"exit code {child.returncode}"
        raise PortableError(f"{failure}: {text}", hint or "The message above says why; --dir NEW-FOLDER starts afresh.")


def _hold_signals() -> set[int | signal.Signals]:
    """Keep signals waiting until a process that is being started is known and can be ended; returns what was held."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


def _release_signals(held: set[int | signal.Signals]) -> None:
    """Hold again only what was held before; a signal that waits is handled at once."""
    signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _end(child: subprocess.Popen[Any], seconds: float) -> None:
    """End a child that leads a session, and what is left of its process group: SIGTERM first, then SIGKILL."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=seconds)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def measure(python: str, unpacked: Path, plan: list[str]) -> int:
    """Run a plan, which prints its progress and the archive's path; returns its exit code."""
    command = [python, "-m", "bench.portable.run_plan", *plan]
    # a session of its own: a signal reaches it once, through this process. In the folder of the suite, because Python
    # imports from the current folder first.
    root = unpacked / "root"
    environment = {**_clean_environment(), **_import_path(root)}
    held = _hold_signals()
    child = subprocess.Popen(
        command, cwd=root, env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=lambda: _release_signals(held),  # noqa: PLW1509 - as above
    )  # fmt: skip
    try:
        _release_signals(held)
        code = child.wait()  # without a limit: each of its rounds has one
    except KeyboardInterrupt:
        _end(child, _MEASURE_END_S)
        if child.returncode != INTERRUPTED:
            raise
        return INTERRUPTED  # the message is printed already
    if code < 0:
        message = f"The measurement was ended by signal {-code}."
        raise PortableError(message, "Finished rounds are kept: run the same command again to resume.")
    return code
