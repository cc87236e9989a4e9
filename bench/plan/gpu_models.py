"""The compute capabilities of well-known GPUs, for questions about one that this host does not have."""

from __future__ import annotations

#: By the short names of columns. Source: NVIDIA, "CUDA GPU Compute Capability", developer.nvidia.com/cuda-gpus.
_CAPABILITIES = {
    (3, 7): ("k80",),
    (5, 2): ("m40", "m60"),
    (6, 0): ("p100",),
    (6, 1): ("p4", "p40", "gtx-1080"),
    (7, 0): ("v100",),
    (7, 5): ("t4", "rtx-2070", "rtx-2080"),
    (8, 0): ("a30", "a100"),
    (8, 6): ("a2", "a10", "a16", "a40", "rtx-3060", "rtx-3070", "rtx-3080", "rtx-3090", "rtx-a6000"),
    (8, 9): ("l4", "l40", "l40s", "rtx-4070", "rtx-4080", "rtx-4090"),
    (9, 0): ("h100", "h200", "gh200"),
    (10, 0): ("b200", "gb200"),
    (12, 0): ("rtx-5070", "rtx-5080", "rtx-5090"),
}


def capability(slug: str) -> tuple[int, int]:
    """The compute capability of a GPU by its short name, ``h100`` or ``h100-pcie``; (0, 0) where it is not known."""
    known = (found for found, names in _CAPABILITIES.items() if any(f"{slug}-".startswith(f"{one}-") for one in names))
    return next(known, (0, 0))
