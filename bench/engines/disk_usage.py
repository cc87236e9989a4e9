"""Estimates of the disk space that environments need, from the unpacked size of their wheels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.plan.column import Pair

_MIB = 1024**2
#: CUDA minor -> MiB on disk of its CUDA set with cuDNN and NCCL, unpacked.
_CUDA_SETS = {"11.8": 3259, "12.2": 2871, "12.3": 2900, "12.4": 2900, "12.5": 2684}
#: For minors that were not measured: the size of the 12.9 set, the largest.
_LARGEST_SET = 4063
#: MiB of TensorFlow and its dependencies, byte code included: the largest of all releases, CPU build and GPU build.
_CPU_PACKAGES = 1800
_GPU_PACKAGES = 2460


def packages_bytes(pair: Pair) -> int:
    """Return the bytes that a pair needs besides its CUDA set."""
    return (_CPU_PACKAGES if pair.cuda == "cpu" else _GPU_PACKAGES) * _MIB


def set_bytes(pair: Pair) -> int:
    """Return the bytes of a pair's CUDA set; 0 for a CPU pair."""
    return 0 if pair.cuda == "cpu" else _CUDA_SETS.get(pair.cuda, _LARGEST_SET) * _MIB


def need(pairs: Iterable[Pair], *, shared: bool = True, copies: int = 1) -> int:
    """Return the bytes that the environments of these pairs need.

    Args:
        pairs: the pairs; repeated ones count once.
        shared: whether pairs with the same CUDA minor and cuDNN share the files of their CUDA set.
        copies: how often each file is stored on that disk; 2 if a download cache keeps its own copy.
    """
    distinct = {pair.stem: pair for pair in pairs}
    sets = {(pair.cuda, pair.cudnn): set_bytes(pair) for pair in distinct.values()}
    nvidia = sum(sets.values()) if shared else sum(set_bytes(pair) for pair in distinct.values())
    return copies * (nvidia + sum(packages_bytes(pair) for pair in distinct.values()))
