"""Facts about TensorFlow releases, from ``releases.toml``: its head explains each fact and names its source."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Release:
    """A TensorFlow minor. Lists have the order of the file; ``nccl`` is "" where it is linked statically."""

    latest: str
    python: list[str]
    cuda: str
    cudnn: str
    cudnn_built: str
    nccl: str
    sonames: list[str]
    opened_later: list[str]
    sass: list[str]
    partial_sass: list[str]
    ptx: list[str]
    legacy: bool = False


@cache
def releases() -> Mapping[str, Release]:
    """Return the releases by their minor (``2.18``), the oldest first."""
    text = resources.files("bench.plan").joinpath("releases.toml").read_text(encoding="utf-8")
    return {minor: Release(**facts) for minor, facts in tomllib.loads(text).items()}


def release(tensorflow: str) -> Release | None:
    """Return the facts about the minor of a version such as ``2.18.1``; None where they are not known."""
    return releases().get(minor(tensorflow))


def minor(version: str) -> str:
    """Return the first two numbers of a version: ``2.18`` of ``2.18.1``, ``9.10`` of ``9.10.2.21``."""
    return ".".join(version.split(".")[:2])
