"""Pairs and cells: the columns of the matrix, and their stable ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One TensorFlow release x one CUDA minor, or x ``cpu``.

    ``keras`` is pinned because an unpinned Keras changes what an old TensorFlow computes.
    """

    tensorflow: str
    cuda: str
    python: str
    keras: str
    base: str

    @property
    def id(self) -> str:
        """``tf2.18.1-cpu`` or ``tf2.18.1-cuda12.5``."""
        return f"tf{self.tensorflow}-{'cpu' if self.cuda == 'cpu' else 'cuda' + self.cuda}"

    @property
    def stem(self) -> str:
        """Pair and Python minor, the name of the lock: ``tf2.18.1-cpu-py311``."""
        return f"{self.id}-py{self.python.replace('.', '')}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A pair on one device.

    ``status`` is ``ready``, ``impossible`` or ``build-failed`` (there is no lock); ``reason`` says why it is not ready.
    """

    pair: Pair
    device: str
    lock: Path
    status: str = "ready"
    reason: str = ""

    @property
    def id(self) -> str:
        """``tf2.18.1-cpu-py311@cpu``: pair, Python minor and device."""
        return f"{self.pair.stem}@{self.device}"

    def lock_hash(self) -> str:
        """SHA-256 of the lock file, hexadecimal; raises OSError where there is none."""
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()
