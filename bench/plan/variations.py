"""What a variation means for a worker, by its name."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.plan.config_models import variation_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The first compute capability with TF32 (Ampere).
_TF32 = (8, 0)
_HOST = frozenset({"threads", "onednn", "isa"})
#: Names to suggest besides those of matrix.toml.
_COMMON = ("default", "threads=1", "threads=4xcores", "onednn=0", "isa=avx2", "tf32=off", "switch=env")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Environment, intra-op threads (None: TensorFlow's default), TF32 (same), and how mode ``on`` is switched."""

    env: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    tf32: bool | None = None
    switch: str = "api"


def refuse_unknown(asked: Iterable[str], named: Iterable[str]) -> None:
    """Raise ConfigError for a variation that means nothing, with the nearest of those ``named`` or common."""
    known = tuple(dict.fromkeys((*named, *_COMMON)))
    for name in asked:
        try:
            variation_name(name)
        except ValueError as error:
            near = difflib.get_close_matches(name, known, 1, 0.6)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"--variation: {error}.", f"{hint}matrix.toml names: {', '.join(named)}.") from error


def settings(variation: str) -> Settings:
    """The settings of a variation; ``default`` and names of later versions change nothing."""
    key, _, value = variation.partition("=")
    if key == "threads":
        factor, times, _ = value.partition("xcores")
        return Settings(threads=int(factor) * (len(os.sched_getaffinity(0)) if times else 1))
    if key == "tf32":
        return Settings(tf32=value == "on")
    if key == "onednn":
        return Settings(env={"TF_ENABLE_ONEDNN_OPTS": value})
    if key == "isa":
        return Settings(env={"ONEDNN_MAX_CPU_ISA": value.upper()})
    return Settings(switch="env" if variation == "switch=env" else "api")


def applies(variation: str, device: str, capability: tuple[int, int] = (0, 0)) -> bool:
    """Whether a variation can say anything about a device; ``capability`` is a GPU's, (0, 0) where it is unknown.

    TF32 is a GPU's, from Ampere on. Threads, oneDNN and instruction sets are a CPU's: beside a GPU they would change
    the little that stays on the host, and cost a column of GPU time.
    """
    key = variation.partition("=")[0]
    if device == "cpu":
        return key != "tf32"
    if key == "tf32":
        return capability == (0, 0) or capability >= _TF32
    return key not in _HOST
