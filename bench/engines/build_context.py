"""The suite as it is carried into a column: a copy of its files."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from bench.suite.suite_hash import suite_files, suite_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Where the compiler's wheel lands: programs and libdevice, no library that a column opens.
_COMPILER = "nvidia/cuda_nvcc"
#: The last TensorFlow whose XLA looks for libdevice in a toolkit's places only.
_LAST_BLIND = (2, 13)

__all__ = ["stage", "suite_files", "suite_hash"]


def stage(root: Path, target: Path) -> tuple[Path, ...]:
    """Copy the suite below ``target`` (which becomes ``PYTHONPATH``); returns the copies.

    The copies are world-readable whatever the umask says, because columns run as nobody.
    """
    copies = []
    for relative in suite_files(root):
        copy = target / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / relative, copy)
        copy.chmod(0o644)
        copies.append(copy)
    for folder in {parent for copy in copies for parent in copy.parents if parent.is_relative_to(target)} - {target}:
        folder.chmod(0o755)
    return tuple(copies)


def cuda_part(lock: str) -> str:
    """The part of a lock that holds the CUDA set, hashes included; empty for a CPU pair.

    It is installed first: most of an image's bytes, and the same for every pair of one CUDA minor, whatever their
    cuDNN and NCCL.
    """
    return _part(lock, _is_cuda)


def cudnn_part(lock: str) -> str:
    """The CUDA set and cuDNN: what is installed once cuDNN has joined; empty for a CPU pair."""
    return _part(lock, lambda name: _is_nvidia(name) and not name.startswith("nvidia-nccl-"))


def rest_part(lock: str) -> str:
    """What ``cuda_part`` leaves: cuDNN, TensorFlow and all it needs, NCCL."""
    return _part(lock, lambda name: not _is_cuda(name))


def nvidia_folders(lock: str) -> tuple[str, ...]:
    """Where the NVIDIA wheels of a lock land below site-packages: ``nvidia/cublas``, ``nvidia/cuda_nvcc``, ...

    Their ``lib`` belongs on the library path and ``cuda_nvcc/bin`` on the path of every column, because
    TensorFlow releases disagree on which of these they find by themselves.
    """
    return tuple(sorted({_folder(name) for name in map(_name, _blocks(lock)) if _is_nvidia(name)}))


def library_path(site: str, lock: str) -> str:
    """Every ``nvidia/*/lib`` of a lock below ``site``, joined for LD_LIBRARY_PATH; empty for a CPU pair."""
    return ":".join(f"{site}/{folder}/lib" for folder in nvidia_folders(lock) if folder != _COMPILER)


def compiler_path(site: str, lock: str) -> str:
    """Where ptxas is below ``site``; empty where the lock has no CUDA compiler."""
    return f"{site}/{_COMPILER}/bin" if _COMPILER in nvidia_folders(lock) else ""


def xla_flags(site: str, lock: str) -> str:
    """Where XLA finds libdevice, for TensorFlow up to 2.13, which does not look below site-packages; else empty."""
    release = re.search(r"^tensorflow==(\d+)\.(\d+)\.", lock, re.MULTILINE)
    if not release or not compiler_path(site, lock) or (int(release[1]), int(release[2])) > _LAST_BLIND:
        return ""
    return f"--xla_gpu_cuda_data_dir={site}/{_COMPILER}"


def _part(lock: str, wanted: Callable[[str], bool]) -> str:
    return "".join(f"{block}\n" for block in _blocks(lock) if wanted(_name(block)))


def _name(block: str) -> str:
    """The distribution that a requirement asks for."""
    return re.split(r"[=\s;\[]", block, maxsplit=1)[0]


def _is_cuda(name: str) -> bool:
    return _is_nvidia(name) and not name.startswith(("nvidia-cudnn-", "nvidia-nccl-"))


def _is_nvidia(name: str) -> bool:
    return name.startswith("nvidia-")


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
