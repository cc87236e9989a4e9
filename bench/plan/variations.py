"""What a variation changes in a process, by its name."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.plan.config_models import variation_name
from bench.plan.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The first compute capability with TF32 (Ampere).
_TF32 = (8, 0)
#: Variations that change only what runs on the CPU.
_CPU_ONLY = frozenset({"threads", "onednn", "isa"})
#: Names to suggest in addition to those of matrix.toml.
_COMMON = ("default", "threads=1", "threads=4xcores", "onednn=0", "isa=avx2", "tf32=off", "switch=env")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Environment variables, intra-op threads and TF32 (None: TensorFlow's default), and how mode ``on`` is set."""

    env: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    tf32: bool | None = None
    switch: str = "api"


def refuse_unknown(requested: Iterable[str], named: Iterable[str]) -> None:
    """Raise ConfigError for an invalid variation; it suggests one of those ``named`` in matrix.toml or a common one."""
    known = tuple(dict.fromkeys((*named, *_COMMON)))
    for name in requested:
        try:
            variation_name(name)
        except ValueError as error:
            suggestion = nearest(name, known)
            hint = f"Did you mean {suggestion!r}? " if suggestion else ""
            raise ConfigError(f"--variation: {error}.", f"{hint}matrix.toml names: {', '.join(named)}.") from error


def settings(variation: str) -> Settings:
    """Return the settings of a variation; ``default`` and unknown names change nothing."""
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
    """Return whether a variation has an effect on a device. ``capability`` is (0, 0) where it is not known.

    GPUs have TF32 from Ampere on. Threads, oneDNN and instruction sets concern the CPU: in a GPU column they would
    change only the little that runs on the host, at the cost of much GPU time.
    """
    key = variation.partition("=")[0]
    if device == "cpu":
        return key != "tf32"
    if key == "tf32":
        return capability == (0, 0) or capability >= _TF32
    return key not in _CPU_ONLY
