"""Facts about this host that are stored with a run and are part of its resume keys."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench.portable.host_facts import boot_id

if TYPE_CHECKING:
    from bench.gpu.facts import GpuInventory

NO_GPU_SEEN = "none seen"
#: Free bytes of memory that a process of a round must find: the suite's peak is 0.75 GB.
PROCESS_BYTES = 2_000_000_000
#: Seconds that git may take; on a large checkout or a slow disk it takes one or two.
_GIT_S = 30.0

#: Instruction set of oneDNN -> a CPU flag beyond it; without that flag, limiting oneDNN to the set changes nothing.
_NEXT_FLAG = {
    "sse41": "avx",
    "avx": "avx2",
    "avx2": "avx512f",
    "avx2_vnni": "avx512f",
    "avx512_core": "avx512_vnni",
    "avx512_core_vnni": "avx512_bf16",
    "avx512_core_bf16": "amx_tile",
}


def facts(survey: GpuInventory) -> dict[str, str]:
    """Return name, system, CPU, microcode, cores, memory and boot of this host, and its GPUs or ``NO_GPU_SEEN``."""
    return {
        "name": socket.gethostname(),
        "system": platform.platform(),
        "microcode": _cpu_field("microcode"),
        "cpu": _cpu_field("model name") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "gpu": _gpus(survey),
        "boot_id": boot_id(),
    }


def _gpus(survey: GpuInventory) -> str:
    """Return for instance ``2 x NVIDIA H200, driver 570.86.15``."""
    if not survey.gpus:
        return NO_GPU_SEEN
    counts = Counter(gpu.name for gpu in survey.gpus)
    names = [name if count == 1 else f"{count} x {name}" for name, count in counts.items()]
    return ", ".join([*names, *([f"driver {survey.driver}"] if survey.driver else [])])


def parallel_processes() -> int:
    """Return how many rounds may run side by side on the CPU: one per core, if the free memory is enough for them."""
    return max(1, min(len(os.sched_getaffinity(0)), psutil.virtual_memory().available // PROCESS_BYTES))


def can_limit_isa(isa: str) -> bool:
    """Return whether this CPU has instructions beyond a set, so that limiting oneDNN to the set has an effect."""
    return _NEXT_FLAG.get(isa, "") in _cpu_field("flags").split()


def revision(root: Path) -> str:
    """Return the git revision of the checkout, with "-dirty" if it has changes; "unknown" outside git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_GIT_S)
    except subprocess.TimeoutExpired:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _cpu_field(name: str) -> str:
    """Return a field of the first CPU, or ""; psutil reports neither model nor flags."""
    try:
        for row in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if row.startswith(name):
                return row.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""
