"""Kept values: what is left of an output when the process is gone, so that columns can be compared later.

An output of up to 128 elements is kept whole; of a larger one the same positions, up to 128, are kept everywhere,
drawn by NumPy's frozen generator seeded with its size. A training's step keeps 4 per tensor. They travel
as ``kept`` lines of the record's stream; the root writes them to ``<mode>-<round>.kept.xz``.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from bench.suite.digest import SHORT, Digest, Result

Array = np.ndarray[Any, Any]

#: Elements kept of an output, and of a tensor of a training's step.
OF_OUTPUT, OF_STEP = 128, 4


@dataclass(frozen=True)
class KeptTensor:
    """One tensor of one digest. ``step`` is None for an output; ``raw`` has the bytes of the kept elements."""

    name: str
    step: Optional[int]
    dtype: str
    shape: Tuple[int, ...]
    digest: str
    most: int
    raw: Array

    @property
    def size(self) -> int:
        """Elements of the whole tensor."""
        return int(np.prod(self.shape, dtype=np.int64))

    def index(self, place: int) -> Tuple[int, ...]:
        """Where in the whole tensor the kept element ``place`` stands."""
        return tuple(int(one) for one in np.unravel_index(positions(self.size, self.most)[place], self.shape))

    @property
    def whole(self) -> bool:
        """Whether every element was kept."""
        return self.size <= self.most


def positions(size: int, most: int) -> Array:
    """Places (flat, rising) that are kept of an array of ``size`` elements."""
    if size <= most:
        return np.arange(size)
    return np.unique(np.random.RandomState(size % 2**32).randint(0, size, most))


def keep(name: str, step: Optional[int], array: Array, digest: str, most: int) -> Dict[str, Any]:
    """One tensor as the record's stream carries it."""
    chosen = array.reshape(-1)[positions(array.size, most)]
    text = base64.b64encode(np.ascontiguousarray(chosen).view(np.uint8).tobytes()).decode("ascii")
    return {
        "name": name,
        "step": step,
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "digest": digest,
        "most": most,
        "values": text,
    }


def tensors(result: Result, found: Digest) -> List[Dict[str, Any]]:
    """Every tensor of one call, steps first, as a ``kept`` line carries them."""
    rows = []
    for step, name, array in result.tensors():
        short = found.steps[step - 1][name][:SHORT] if step is not None else found.outputs[name]["digest"]
        rows.append(keep(name, step, array, short, OF_OUTPUT if step is None else OF_STEP))
    return rows


def kept(row: Mapping[str, Any]) -> KeptTensor:
    """Read one tensor back; raises KeyError, TypeError or ValueError where it is damaged."""
    return KeptTensor(
        name=str(row["name"]),
        step=row["step"],
        dtype=str(row["dtype"]),
        shape=tuple(row["shape"]),
        digest=str(row["digest"]),
        most=int(row["most"]),
        raw=np.frombuffer(base64.b64decode(row["values"], validate=True), dtype=np.uint8),
    )
