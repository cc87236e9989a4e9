"""How much disk the environments of pairs take, computed from what their wheels unpack to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.plan.column import Pair

_MIB = 1024**2
#: MiB on disk of the CUDA set with its cuDNN and NCCL, as unpacked from the wheels.
_CUDA_SETS = {"11.8": 3259, "12.2": 2871, "12.3": 2900, "12.4": 2900, "12.5": 2684}
#: For minors that were not unpacked: that of 12.9, the largest.
_LARGEST_SET = 4063
#: MiB of TensorFlow and all it needs, byte code included: the largest of the releases, without a GPU and with one.
_CPU_PACKAGES = 1800
_GPU_PACKAGES = 2460


def set_of(pair: Pair) -> tuple[str, str] | None:
    """What pairs share: CUDA minor and cuDNN; None for a CPU pair."""
    return None if pair.cuda == "cpu" else (pair.cuda, pair.cudnn)


def packages_bytes(pair: Pair) -> int:
    """What a pair takes beside its CUDA set."""
    return (_CPU_PACKAGES if pair.cuda == "cpu" else _GPU_PACKAGES) * _MIB


def set_bytes(pair: Pair) -> int:
    """What the CUDA set of a pair takes; 0 for a CPU pair."""
    return 0 if pair.cuda == "cpu" else _CUDA_SETS.get(pair.cuda, _LARGEST_SET) * _MIB


def need(pairs: Iterable[Pair], *, shared: bool = True, copies: int = 1) -> int:
    """Bytes that the environments of these pairs take.

    ``shared``: pairs of one CUDA set share its files. ``copies`` is how often each file lies on that disk: twice where
    a download cache keeps its own.
    """
    several = {pair.stem: pair for pair in pairs}
    sets = {set_of(pair): set_bytes(pair) for pair in several.values()}
    nvidia = sum(sets.values()) if shared else sum(set_bytes(pair) for pair in several.values())
    return copies * (nvidia + sum(packages_bytes(pair) for pair in several.values()))
