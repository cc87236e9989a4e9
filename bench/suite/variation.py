"""What a variation changes in a process, by its name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Mapping, Optional

#: The valid names of variations.
NAMES = re.compile(
    r"^(default|(threads|inter)=[1-9]\d*(xcores)?|devices=[2-9]|hashseed=\d{1,9}|onednn=[01]|tf32=(on|off)|eager=on|switch=env"
    r"|isa=(sse41|avx|avx2|avx2_vnni|avx512_core|avx512_core_vnni|avx512_core_bf16))$"
)
#: Names to suggest in addition to those of matrix.toml.
COMMON = (
    "default", "threads=1", "threads=4xcores", "inter=1", "devices=2", "hashseed=0", "onednn=0", "isa=avx2",
    "tf32=off", "eager=on", "switch=env",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Environment variables, threads, TF32 and logical CPU devices (None: TensorFlow's), and how "on" is switched.

    ``eager`` runs functions eagerly instead of as graphs.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    threads: Optional[int] = None
    inter: Optional[int] = None
    devices: Optional[int] = None
    tf32: Optional[bool] = None
    eager: bool = False
    switch: str = "api"


def settings(variation: str) -> Settings:
    """Return the settings of a variation; ``default`` and unknown names change nothing."""
    key, _, value = variation.partition("=")
    variables = {"hashseed": "PYTHONHASHSEED", "onednn": "TF_ENABLE_ONEDNN_OPTS", "isa": "ONEDNN_MAX_CPU_ISA"}
    return Settings(
        env={variables[key]: value.upper()} if key in variables else {},
        threads=_count(value) if key == "threads" else None,
        inter=_count(value) if key == "inter" else None,
        devices=int(value) if key == "devices" else None,
        tf32=value == "on" if key == "tf32" else None,
        eager=variation == "eager=on",
        switch="env" if variation == "switch=env" else "api",
    )


def _count(value: str) -> int:
    """Return a number of threads; ``4xcores`` is four times the cores of this process."""
    factor, times, _ = value.partition("xcores")
    return int(factor) * (len(os.sched_getaffinity(0)) if times else 1)
