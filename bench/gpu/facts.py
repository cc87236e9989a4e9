"""The GPUs and the driver of this host, as NVML tells them. Without a driver there is a reason instead."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU. ``capability`` is (9, 0) for Hopper; ``memory_mb`` its whole memory.

    ``facts`` has everything else NVML told, by names of people (``power limit W``, ``ECC``, ``MIG``, ``persistence``,
    ``VBIOS``, ``max SM clock MHz``, ...); what a card does not support is left out. ``processes`` maps the ids of
    processes that compute on it to the MiB they hold.
    """

    uuid: str
    name: str
    capability: tuple[int, int]
    memory_mb: int
    facts: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[int, int] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The short name for cells: ``NVIDIA H200`` -> ``h200``, ``NVIDIA GeForce RTX 4090`` -> ``rtx-4090``."""
        words = re.sub(r"[^a-z0-9]+", " ", self.name.lower()).split()
        return "-".join(word for word in words if word not in {"nvidia", "geforce", "tesla", "quadro"}) or "gpu"


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What NVML says of this host.

    ``driver`` is its version (``550.54.15``), ``cuda`` the number of the newest CUDA it supports (12040), 0 where
    unknown. ``why`` says why there are no GPUs, "" where there are.
    """

    driver: str = ""
    cuda: int = 0
    gpus: tuple[Gpu, ...] = ()
    why: str = ""
