"""The suite as it is carried into a cell: a copy of its files."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from bench.suite.identity import suite_files, suite_hash

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["stage", "suite_files", "suite_hash"]


def stage(house: Path, target: Path) -> tuple[Path, ...]:
    """Copy the suite below ``target`` (which becomes ``PYTHONPATH``); returns the copies.

    The copies are world-readable whatever the umask says, because cells run as nobody.
    """
    copies = []
    for relative in suite_files(house):
        copy = target / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(house / relative, copy)
        copy.chmod(0o644)
        copies.append(copy)
    for folder in {parent for copy in copies for parent in copy.parents if parent.is_relative_to(target)} - {target}:
        folder.chmod(0o755)
    return tuple(copies)


def nvidia_part(lock: str) -> str:
    """The part of a lock that holds the NVIDIA wheels, hashes included; empty for a CPU pair.

    It is installed first: most of an image's bytes, and the same for every pair of one CUDA minor.
    """
    return "".join(f"{block}\n" for block in _blocks(lock) if block.startswith("nvidia-"))


def nvidia_folders(lock: str) -> tuple[str, ...]:
    """Where the NVIDIA wheels of a lock land below site-packages: ``nvidia/cublas``, ``nvidia/cuda_nvcc``, ...

    Their ``lib`` belongs on the library path and ``cuda_nvcc/bin`` on the path of every cell, because
    TensorFlow releases disagree on which of these they find by themselves.
    """
    names = [re.split(r"[=\s;\[]", block, maxsplit=1)[0] for block in _blocks(nvidia_part(lock))]
    return tuple(sorted({_folder(name) for name in names}))


def _folder(name: str) -> str:
    """``nvidia-cuda-runtime-cu12`` -> ``nvidia/cuda_runtime``."""
    return "nvidia/" + re.sub(r"-cu\d+$", "", name.removeprefix("nvidia-")).replace("-", "_")


def _blocks(lock: str) -> list[str]:
    """The requirements of a lock, each with its continuation lines and without comments."""
    lines = [line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    blocks: list[str] = []
    for line in lines:
        if blocks and (line[0].isspace() or blocks[-1].endswith("\\")):
            blocks[-1] += f"\n{line}"
        else:
            blocks.append(line)
    return blocks
