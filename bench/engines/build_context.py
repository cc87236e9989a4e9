"""What a build needs from this host: a copy of the suite, the lock split into layers, and library search paths."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from bench.suite.suite_hash import suite_files, suite_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Where the wheel of the CUDA compiler is installed: programs and libdevice, but no library that a column opens.
_COMPILER = "nvidia/cuda_nvcc"
#: The last TensorFlow release whose XLA looks for libdevice only where a CUDA toolkit would put it.
_LAST_WITHOUT_LIBDEVICE_SEARCH = (2, 13)

__all__ = ["stage", "suite_files", "suite_hash"]


def stage(root: Path, target: Path) -> tuple[Path, ...]:
    """Copy the suite into ``target``, which becomes ``PYTHONPATH``, and return the copies.

    The copies are world-readable whatever the umask, because containers run as user ``nobody``.
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
    """Return the part of a lock that holds the CUDA set, hashes included; empty for a CPU pair.

    It is installed first: it is most of an image and identical for every pair of one CUDA minor, whatever their cuDNN
    and NCCL.
    """
    return _part(lock, _is_cuda)


def cudnn_part(lock: str) -> str:
    """Return the CUDA set and cuDNN, which make up the second layer; empty for a CPU pair."""
    return _part(lock, lambda name: _is_nvidia(name) and not name.startswith("nvidia-nccl-"))


def rest_part(lock: str) -> str:
    """Return everything but the CUDA set: cuDNN, NCCL, TensorFlow and its dependencies."""
    return _part(lock, lambda name: not _is_cuda(name))


def nvidia_folders(lock: str) -> tuple[str, ...]:
    """Return where the NVIDIA wheels of a lock are installed in site-packages: ``nvidia/cublas``, ``nvidia/cudnn``, ...

    Every column gets their ``lib`` folders on the library path and ``cuda_nvcc/bin`` on the path, because TensorFlow
    releases differ in which of these they find themselves.
    """
    return tuple(sorted({_folder(name) for name in map(_name, _blocks(lock)) if _is_nvidia(name)}))


def library_path(site: str, lock: str) -> str:
    """Return every ``nvidia/*/lib`` of a lock inside ``site``, joined for LD_LIBRARY_PATH; empty for a CPU pair."""
    return ":".join(f"{site}/{folder}/lib" for folder in nvidia_folders(lock) if folder != _COMPILER)


def compiler_path(site: str, lock: str) -> str:
    """Return the folder of ptxas inside ``site``; empty if the lock has no CUDA compiler."""
    return f"{site}/{_COMPILER}/bin" if _COMPILER in nvidia_folders(lock) else ""


def xla_flags(site: str, lock: str) -> str:
    """Return the flag that tells XLA where libdevice is; empty for TensorFlow after 2.13, which finds it itself."""
    release = re.search(r"^tensorflow==(\d+)\.(\d+)\.", lock, re.MULTILINE)
    if not release or not compiler_path(site, lock):
        return ""
    if (int(release[1]), int(release[2])) > _LAST_WITHOUT_LIBDEVICE_SEARCH:
        return ""
    return f"--xla_gpu_cuda_data_dir={site}/{_COMPILER}"


def _part(lock: str, wanted: Callable[[str], bool]) -> str:
    return "".join(f"{block}\n" for block in _blocks(lock) if wanted(_name(block)))


def _name(block: str) -> str:
    """Return the distribution that a requirement names."""
    return re.split(r"[=\s;\[]", block, maxsplit=1)[0]


def _is_cuda(name: str) -> bool:
    return _is_nvidia(name) and not name.startswith(("nvidia-cudnn-", "nvidia-nccl-"))


def _is_nvidia(name: str) -> bool:
    return name.startswith("nvidia-")


def _folder(name: str) -> str:
    """``nvidia-cuda-runtime-cu12`` -> ``nvidia/cuda_runtime``."""
    return "nvidia/" + re.sub(r"-cu\d+$", "", name.removeprefix("nvidia-")).replace("-", "_")


def _blocks(lock: str) -> list[str]:
    """Return the requirements of a lock, each with its continuation lines and without comments."""
    lines = [line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    blocks: list[str] = []
    for line in lines:
        if blocks and (line[0].isspace() or blocks[-1].endswith("\\")):
            blocks[-1] += f"\n{line}"
        else:
            blocks.append(line)
    return blocks
