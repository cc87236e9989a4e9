"""Kept values: elements of every output that outlive the process, so that columns can be compared later.

An output of up to 128 elements is kept completely. Of a larger output up to 128 elements are kept, at positions drawn
by NumPy's frozen generator seeded with the size, and therefore the same in every column. A tensor of a training step
keeps 4 elements. The worker writes them as ``kept`` lines of the record; the host stores them in
``<mode>-<round>.kept.xz``.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from bench.suite.arrays import Array
from bench.suite.digest import SHORT, Digest, Result, dtype_name

#: Maximum number of elements kept of an output, and of a tensor of a training step.
OF_OUTPUT, OF_STEP = 128, 4


@dataclass(frozen=True)
class KeptTensor:
    """Kept elements of one tensor, at most ``most``, with their bytes in ``raw``. ``step`` is None for an output."""

    name: str
    step: Optional[int]
    dtype: str
    shape: Tuple[int, ...]
    digest: str
    most: int
    raw: Array

    @property
    def size(self) -> int:
        """Number of elements of the whole tensor."""
        return int(np.prod(self.shape, dtype=np.int64))

    def index(self, number: int) -> Tuple[int, ...]:
        """Return the index, within the whole tensor, of the kept element ``number``."""
        position = positions(self.size, self.most)[number]
        return tuple(int(coordinate) for coordinate in np.unravel_index(position, self.shape))

    @property
    def whole(self) -> bool:
        """Whether every element was kept."""
        return self.size <= self.most


def positions(size: int, most: int) -> Array:
    """Return the flat positions, ascending, of the elements to keep of an array of ``size`` elements."""
    if size <= most:
        return np.arange(size)
    return np.unique(np.random.RandomState(size % 2**32).randint(0, size, most))


def keep(name: str, step: Optional[int], array: Array, digest: str, most: int) -> Dict[str, Any]:
    """Return the kept elements of a tensor as an entry of a ``kept`` line."""
    chosen = array.reshape(-1)[positions(array.size, most)]
    text = base64.b64encode(np.ascontiguousarray(chosen).view(np.uint8).tobytes()).decode("ascii")
    return {
        "name": name,
        "step": step,
        "dtype": dtype_name(array),
        "shape": list(array.shape),
        "digest": digest,
        "most": most,
        "values": text,
    }


def encode_tensors(result: Result, result_digest: Digest) -> List[Dict[str, Any]]:
    """Return the entries of a ``kept`` line for all tensors of one call that have elements, training steps first."""
    rows = []
    for step, name, array in result.tensors():
        if not array.size:
            continue
        if step is None:
            rows.append(keep(name, step, array, result_digest.outputs[name]["digest"], OF_OUTPUT))
        else:
            rows.append(keep(name, step, array, result_digest.steps[step - 1][name][:SHORT], OF_STEP))
    return rows


def decode_tensor(row: Mapping[str, Any]) -> KeptTensor:
    """Decode an entry made by ``keep``; raises KeyError, TypeError or ValueError if it is damaged."""
    return KeptTensor(
        name=str(row["name"]),
        step=row["step"],
        dtype=str(row["dtype"]),
        shape=tuple(row["shape"]),
        digest=str(row["digest"]),
        most=int(row["most"]),
        raw=np.frombuffer(base64.b64decode(row["values"], validate=True), dtype=np.uint8),
    )
