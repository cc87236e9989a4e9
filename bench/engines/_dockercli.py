"""Building images through the ``docker`` command line: finding one that can, and composing the command.

docker-py cannot use BuildKit, so images are built by the command line; everything else goes through docker-py.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engines import install_errors, network
from bench.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: First and last client version with BuildKit built in; later ones need the buildx plugin.
_BUILT_IN = ((18, 9), (22, 99))
_QUERY_TIMEOUT_S = 20.0
#: Seconds that an interrupted build may take to end.
_END_S = 10.0
#: Build output that is worth a line in the progress display.
_PROGRESS = re.compile(r"(Resolved|Prepared|Installed) \d+ packages?|Bytecode compiled|exporting layers$|Using CPython")


@dataclass(frozen=True, kw_only=True)
class Cli:
    """A ``docker`` command line that can use BuildKit, through the ``buildx`` plugin or built in."""

    path: str
    version: str
    buildx: bool

    def build_command(self) -> list[str]:
        """Return the build command up to its options."""
        if not self.buildx:
            return [self.path, "build"]
        command = [self.path, "buildx", "build", "--load"]
        # A builder in its own container would not see the images of this host, so the daemon's own one is named.
        return command if "BUILDX_BUILDER" in os.environ else [*command, "--builder", self._context()]

    def _context(self) -> str:
        """Return the current Docker context, which is also the name of the builder inside its daemon."""
        code, text = _query([self.path, "context", "show"])
        return text if code == 0 and text else "default"


def _query(command: Sequence[str]) -> tuple[int, str]:
    """Return exit code and output of a short command; 127 if it cannot be run or does not answer."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, (done.stdout.strip() or done.stderr.strip())


def candidates(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ``docker`` programs to try: $TFREPRO_DOCKER_CLI alone, else all on the PATH and in /usr/bin."""
    chosen = environ.get("TFREPRO_DOCKER_CLI", "")
    if chosen:
        return (shutil.which(chosen, path=environ.get("PATH", os.defpath)) or chosen,)
    folders = [*environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin"]
    programs: dict[Path, str] = {}  # by resolved path, so that links to one program count once
    for folder in filter(None, folders):
        program = Path(folder) / "docker"
        if program.is_file() and os.access(program, os.X_OK):
            programs.setdefault(program.resolve(), str(program))
    return tuple(programs.values())


def find_cli(environ: Mapping[str, str]) -> Cli:
    """Return the first candidate that can use BuildKit.

    Raises:
        EngineError: none can; the message names each candidate and what it lacks.
    """
    rejected = []
    for path in candidates(environ):
        cli, reason = _inspect_cli(path)
        if cli:
            return cli
        rejected.append(f"{path} ({reason})")
    if not rejected:
        raise EngineError("no docker command line was found on the PATH", "Install docker.io or docker-ce-cli.")
    raise EngineError(
        f"no docker command line can build with BuildKit: {', '.join(rejected)}",
        "Install the buildx plugin (docker-buildx-plugin), or set TFREPRO_DOCKER_CLI to another docker program.",
    )


def _inspect_cli(path: str) -> tuple[Cli | None, str]:
    """Return the command line at ``path``, or None and why it cannot be used."""
    code, text = _query([path, "--version"])
    number = re.match(r"Docker version ((\d+)\.(\d+)[\w.+~-]*)", text)
    if code != 0 or not number:
        return None, f"its version is {text[:60]!r}"  # for instance podman's replacement
    version = number[1]
    if _query([path, "buildx", "version"])[0] == 0:
        return Cli(path=path, version=version, buildx=True), ""
    if _BUILT_IN[0] <= (int(number[2]), int(number[3])) <= _BUILT_IN[1]:
        return Cli(path=path, version=version, buildx=False), ""
    return None, f"{version}, without buildx"


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build: its staged context, its secrets (files outside the context) and its build arguments."""

    context: Path
    secrets: Mapping[str, Path]
    arguments: Mapping[str, str]
    tag: str
    network: str = ""

    def command(self, cli: Cli) -> list[str]:
        """Return the whole command line, which names the files of the secrets, never their values."""
        command = [*cli.build_command(), "--progress", "plain", "--tag", self.tag]
        command += ["--network", self.network] if self.network else []
        for name, path in self.secrets.items():
            command += ["--secret", f"id={name},src={path}"]
        for name, value in self.arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        return [*command, str(self.context)]


def run_build(
    cli: Cli, build: Build, log: Path, say: Callable[[str], None], redact: network.Redactor
) -> tuple[int, list[str]]:
    """Run a build, stream its output to ``log``, and return its exit code and last lines.

    The child stays in this process group, so that Ctrl-C in a terminal ends it too. Raises BuildError where it exceeds
    the time limit of an installation.
    """
    command = build.command(cli)
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    tail: deque[str] = deque(maxlen=400)
    with log.open("a", encoding="utf-8") as out:
        out.write(redact(f"$ DOCKER_BUILDKIT=1 {shlex.join(command)}\n"))
        out.flush()
        with (
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
            ) as process,
            install_errors.limited(process, "The build of the image"),
        ):
            try:
                for raw in process.stdout or ():
                    line = redact(raw.rstrip("\n"))
                    out.write(line + "\n")
                    out.flush()
                    tail.append(line)
                    if _PROGRESS.search(line):
                        say(install_errors.message(line))
            except BaseException:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):  # on Ctrl-C, the context itself hardly waits
                    process.wait(_END_S)
                raise
    return process.returncode, list(tail)
