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
from urllib.parse import urlsplit

from bench.engines import words
from bench.errors import BuildError, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Settings of the host's network that an installation inside a build needs too.
_PASSED = (
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY", "UV_INSECURE_HOST"),
    *("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_CONCURRENT_DOWNLOADS"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
_PASSED_PATTERN = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
_CA_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
#: What BuildKit takes as one secret.
_SECRET_LIMIT = 500 * 1024
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


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The index, proxy and timeout settings to carry into a build; pip's index where uv has none of its own."""
    taken = {
        name: value
        for name, value in sorted(environ.items())
        if value and (name in _PASSED or _PASSED_PATTERN.fullmatch(name))
    }
    for name in _INDEXES:
        if name in taken:  # a folder of this host does not exist inside a build
            remote = [item for item in taken[name].split() if not item.startswith(("file:", "/", "."))]
            taken[name] = " ".join(remote)
    pip_index = environ.get("PIP_INDEX_URL", "")
    if pip_index and not pip_index.startswith(("file:", "/")) and not any(taken.get(name) for name in _INDEXES[:2]):
        taken["UV_DEFAULT_INDEX"] = pip_index
    return {name: value for name, value in taken.items() if value}


def secret_lines(values: Mapping[str, str]) -> str:
    """The settings as lines that a POSIX shell can source, whatever the values hold."""
    return "".join("{}='{}'\n".format(name, value.replace("'", "'\\''")) for name, value in values.items())


def ca_bundle(environ: Mapping[str, str]) -> bytes:
    """The host's CA bundle, empty where none is set.

    Raises:
        BuildError: it is larger than BuildKit takes as a secret, or cannot be read.
    """
    for name in _CA_BUNDLES:
        path = environ.get(name, "")
        if path and Path(path).is_file():
            try:
                content = Path(path).read_bytes()
            except OSError as error:
                raise BuildError(f"the CA bundle that {name} names cannot be read: {error.strerror}") from error
            if len(content) > _SECRET_LIMIT:
                raise BuildError(
                    f"the CA bundle that {name} names has {len(content):,} bytes; BuildKit takes {_SECRET_LIMIT:,}",
                    f"point {name} to a file with the authorities this host's network needs",
                )
            return content
    return b""


class Redactor:
    """Takes the values of the settings out of a text, so that no log keeps them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        words: dict[str, str] = {}
        for name, value in values.items():
            if name.startswith(("UV_HTTP_", "UV_CONCURRENT_", "UV_INDEX_STRATEGY")) or name.lower() == "no_proxy":
                continue  # numbers and names that stand in every log anyway
            for item in (value, *value.split()):
                words.update(dict.fromkeys(_parts(item), name))
        longest_first = sorted((word for word in words if word), key=len, reverse=True)
        self._names = words
        self._pattern = re.compile("|".join(re.escape(word) for word in longest_first)) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text with each secret replaced by the name of its setting."""
        return self._pattern.sub(lambda match: f"<{self._names[match[0]]}>", text) if self._pattern else text


def _parts(value: str) -> set[str]:
    """A value, and of a URL what a tool may print of it: host, user, password."""
    parts = {value, value.rstrip("/")}
    try:
        url = urlsplit(value.split("=", 1)[1] if re.match(r"[\w-]+=", value) else value)
        host, user, password = url.hostname, url.username, url.password
    except ValueError:
        return parts
    # A very short name would blank out half of every line.
    parts |= {part for part in (host, user) if part and len(part) >= len("abcd")}
    return parts | {password or ""}


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


def run_build(cli: Cli, build: Build, log: Path, say: Callable[[str], None], redact: Redactor) -> tuple[int, list[str]]:
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
                        say(words.message(line))
            except BaseException:
                process.terminate()
                raise
    return process.returncode, list(last)
