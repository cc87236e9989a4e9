"""Whether Docker can be used on this host."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass

from bench.engines import _dockercli
from bench.engines._dockerd import TROUBLE, connect, reason_of
from bench.errors import EngineError

_PODMAN_HINT = "start Docker, without root if you like, and unset DOCKER_HOST or set it to its socket"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Whether Docker can be used on this host and the reason in one sentence; ``version`` is that of the daemon."""

    answers: bool
    why: str
    version: str = ""


def probe() -> Probe:
    """Query the daemon and look for a command line that can build; takes about a second if nothing hangs."""
    try:
        with closing(connect(timeout=10)) as client:
            answer = client.version()
            version = str(answer["Version"])
        cli = _dockercli.find_cli(os.environ)
    except EngineError as error:
        return Probe(answers=False, why=f"{error}; {error.hint}" if error.hint else str(error))
    except TROUBLE as error:
        return Probe(answers=False, why=f"the Docker daemon reported an error: {reason_of(error)}")
    if any(part["Name"] == "Podman Engine" for part in answer.get("Components") or ()):
        return Probe(answers=False, why=f"Podman {version} answers, which cannot build with BuildKit; {_PODMAN_HINT}")
    kind = "buildx" if cli.buildx else "built-in BuildKit"
    return Probe(answers=True, why=f"Docker {version} answers, and {cli.path} builds ({kind})", version=version)
