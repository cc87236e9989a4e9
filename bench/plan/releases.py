"""What is known of TensorFlow's releases: ``releases.toml``, whose head explains each fact and names its source."""

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
    """One minor of TensorFlow. Lists have the order of the file; ``nccl`` is "" where it is linked in statically."""

    latest: str
    python: list[str]
    cuda: str
    cudnn: str
    cudnn_built: str
    nccl: str
    sonames: list[str]
    beside: list[str]
    sass: list[str]
    part: list[str]
    ptx: list[str]
    constraints: list[str]
    legacy: bool = False


@cache
def releases() -> Mapping[str, Release]:
    """Every release by its minor (``2.18``), the oldest first."""
    text = resources.files("bench.plan").joinpath("releases.toml").read_text(encoding="utf-8")
    return {minor: Release(**facts) for minor, facts in tomllib.loads(text).items()}


def release(tensorflow: str) -> Release | None:
    """The minor that ``2.18.1`` is of; None where this version does not know it."""
    return releases().get(minor(tensorflow))


def minor(version: str) -> str:
    """``2.18`` of ``2.18.1``, ``9.10`` of ``9.10.2.21``."""
    return ".".join(version.split(".")[:2])
