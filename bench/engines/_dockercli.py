"""Building through the ``docker`` command line: which one can, and what goes in.

docker-py cannot speak BuildKit, so images are built by the command line and nothing else is.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engines import install_errors, network
from bench.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_INTEGRATED = ((18, 9), (22, 99))
_ANSWER_S = 20.0
_NOTABLE = re.compile(r"(Resolved|Prepared|Installed) \d+ packages?|Bytecode compiled|exporting layers$|Using CPython")


@dataclass(frozen=True, kw_only=True)
class Cli:
    """A ``docker`` command line that can do BuildKit: through its plugin ``buildx``, or by itself."""

    path: str
    version: str
    buildx: bool

    def build_command(self) -> list[str]:
        """The words before the options of a build."""
        if not self.buildx:
            return [self.path, "build"]
        command = [self.path, "buildx", "build", "--load"]
        # Another builder (a container of its own) does not see the images of this host.
        return command if "BUILDX_BUILDER" in os.environ else [*command, "--builder", self._context()]

    def _context(self) -> str:
        """The context in use, which is also the name of the builder inside its daemon."""
        code, text = _ask([self.path, "context", "show"])
        return text if code == 0 and text else "default"


def _ask(command: Sequence[str]) -> tuple[int, str]:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return answer.returncode, (answer.stdout.strip() or answer.stderr.strip())


def candidates(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Every ``docker`` worth asking: $TFREPRO_DOCKER_CLI alone, else all on the PATH, then /usr/bin."""
    chosen = environ.get("TFREPRO_DOCKER_CLI", "")
    if chosen:
        return (shutil.which(chosen, path=environ.get("PATH", os.defpath)) or chosen,)
    folders = [*environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin"]
    found: dict[Path, str] = {}
    for folder in filter(None, folders):
        tool = Path(folder) / "docker"
        if tool.is_file() and os.access(tool, os.X_OK):
            found.setdefault(tool.resolve(), str(tool))
    return tuple(found.values())


def find_cli(environ: Mapping[str, str]) -> Cli:
    """The first candidate that can do BuildKit.

    Raises:
        EngineError: none can; the message names each one tried and what it lacks.
    """
    refused = []
    for path in candidates(environ):
        cli, reason = _inspect_cli(path)
        if cli:
            return cli
        refused.append(f"{path} ({reason})")
    if not refused:
        raise EngineError("no docker command line was found on the PATH", "install docker.io or docker-ce-cli")
    raise EngineError(
        f"no docker command line can build with BuildKit: {', '.join(refused)}",
        "install the buildx plugin (docker-buildx-plugin), or name another docker in TFREPRO_DOCKER_CLI",
    )


def _inspect_cli(path: str) -> tuple[Cli | None, str]:
    code, text = _ask([path, "--version"])
    number = re.match(r"Docker version ((\d+)\.(\d+)[\w.+~-]*)", text)
    if code != 0 or not number:
        return None, f"says of itself: {text[:60]!r}"  # podman's stand-in, for instance
    version = number[1]
    if _ask([path, "buildx", "version"])[0] == 0:
        return Cli(path=path, version=version, buildx=True), ""
    if _INTEGRATED[0] <= (int(number[2]), int(number[3])) <= _INTEGRATED[1]:
        return Cli(path=path, version=version, buildx=False), ""
    return None, f"{version}, without buildx"


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build: its staged context, its secrets (files outside the context), its arguments."""

    context: Path
    secrets: Mapping[str, Path]
    arguments: Mapping[str, str]
    tag: str
    network: str = ""

    def command(self, cli: Cli) -> list[str]:
        """The whole command line. It names the secrets' files, never their values."""
        words = [*cli.build_command(), "--progress", "plain", "--tag", self.tag]
        words += ["--network", self.network] if self.network else []
        for name, path in self.secrets.items():
            words += ["--secret", f"id={name},src={path}"]
        for name, value in self.arguments.items():
            words += ["--build-arg", f"{name}={value}"]
        return [*words, str(self.context)]


def run_build(
    cli: Cli, build: Build, log: Path, say: Callable[[str], None], redact: network.Redactor
) -> tuple[int, list[str]]:
    """Run one build, its output streamed to ``log``; returns the exit code and the last lines.

    The child stays in this process group, so that Ctrl-C at a terminal ends it too.
    """
    command = build.command(cli)
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    last: deque[str] = deque(maxlen=400)
    with log.open("a", encoding="utf-8") as out:
        out.write(redact(f"$ DOCKER_BUILDKIT=1 {shlex.join(command)}\n"))
        out.flush()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        ) as process:
            try:
                for raw in process.stdout or ():
                    line = redact(raw.rstrip("\n"))
                    out.write(line + "\n")
                    out.flush()
                    last.append(line)
                    if _NOTABLE.search(line):
                        say(install_errors.message(line))
            except BaseException:
                process.terminate()
                raise
    return process.returncode, list(last)
