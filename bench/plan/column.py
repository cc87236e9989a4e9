"""Pairs and columns of the matrix, and their stable ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A TensorFlow release and a CUDA minor, or ``cpu``.

    ``keras`` is pinned because an unpinned Keras changes what an old TensorFlow computes, and ``numpy`` so that it does
    not change between pairs ("" leaves it to the resolver). ``cudnn`` is the version of the cuDNN wheel ("" for a CPU
    pair); ``own_cudnn`` says that it differs from the release's default, and so is part of the name. ``kind`` is
    ``cpu``, ``official``, ``forward`` (a newer CUDA or cuDNN than TensorFlow was built with), ``older`` or ``legacy``.
    ``refused`` says why the pair can never run, "" where it can. ``name`` is the end of its id, which tells it from
    pairs of the same versions, and ``packages`` are further requirements; most pairs have neither.
    """

    tensorflow: str
    cuda: str
    python: str
    keras: str
    base: str
    numpy: str = ""
    cudnn: str = ""
    own_cudnn: bool = False
    kind: str = "cpu"
    refused: str = ""
    name: str = ""
    packages: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """``tf2.18.1-cpu``, ``tf2.18.1-cuda12.9-cudnn9.10``, or with a name ``tf2.18.1-cpu-mine``."""
        cudnn = f"-cudnn{'.'.join(self.cudnn.split('.')[:2])}" if self.own_cudnn else ""
        name = f"-{self.name}" if self.name else ""
        return f"tf{self.tensorflow}-{'cpu' if self.cuda == 'cpu' else 'cuda' + self.cuda}{cudnn}{name}"

    @property
    def stem(self) -> str:
        """Pair and Python minor, which is the name of the lock: ``tf2.18.1-cpu-py311``."""
        return f"{self.id}-py{self.python.replace('.', '')}"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A pair on one device.

    ``device`` is ``cpu``, a GPU's short name (``h200``, or ``h200-1a2b3c4d`` where the run has two of one model), or
    ``gpu`` where none is known. ``gpu`` is the UUID of the GPU, "" for none. ``status`` is ``ready``,
    ``incompatible``, ``gpu-not-visible`` or ``build-failed`` (there is no lock), and ``reason`` says why it is not
    ready. ``advice`` is the result of the preflight in one line, "" where there is nothing to say. ``lock_label``
    names an earlier lock of the pair, "" for the current one. ``host`` is the name of the host in a matrix over several
    hosts, "" in any other.
    """

    pair: Pair
    device: str
    lock: Path
    status: str = "ready"
    reason: str = ""
    gpu: str = ""
    advice: str = ""
    lock_label: str = ""
    host: str = ""

    @property
    def id(self) -> str:
        """``tf2.18.1-cpu-py311@cpu``: pair, Python minor and device.

        ``tf2.18.1-cpu-py311+LABEL@cpu`` with a label of its lock, ``tf2.18.1-cpu-py311@cpu-HOST`` with a host.
        """
        label = f"+{self.lock_label}" if self.lock_label else ""
        return f"{self.pair.stem}{label}@{self.device}{f'-{self.host}' if self.host else ''}"

    def facts(self) -> dict[str, Any]:
        """Return what run.json records of the column before it is measured, by the field names of ``ColumnInfo``."""
        return {
            "id": self.id,
            "tensorflow": self.pair.tensorflow,
            "cuda": self.pair.cuda,
            "cudnn": self.pair.cudnn,
            "kind": self.pair.kind,
            "keras": self.pair.keras,
            "python": self.pair.python,
            "device": self.device,
            "host": self.host,
            "gpu": self.gpu,
            "lock": self.lock.name,
            "lock_hash": self.lock_hash() if self.lock.is_file() else "",
            "status": self.status,
            "reason": self.reason,
            "advice": self.advice,
        }

    def lock_hash(self) -> str:
        """Return the SHA-256 of the lock file in hexadecimal; raises OSError where there is none."""
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()
