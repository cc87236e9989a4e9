"""Facts of this host that belong in a run's head and in its resume keys."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.gpu.facts import GpuInventory

NO_GPU_SEEN = "none seen"

#: What a CPU must have beyond an instruction set of oneDNN, for a limit to that set to change anything.
_BEYOND = {
    "sse41": "avx",
    "avx": "avx2",
    "avx2": "avx512f",
    "avx2_vnni": "avx512f",
    "avx512_core": "avx512_vnni",
    "avx512_core_vnni": "avx512_bf16",
    "avx512_core_bf16": "amx_tile",
}


def facts(survey: GpuInventory) -> dict[str, str]:
    """Name, system, CPU, cores, memory of this host; ``gpu`` is ``NO_GPU``, or names the GPUs and the driver."""
    return {
        "name": socket.gethostname(),
        "system": platform.platform(),
        "cpu": _cpu_field("model name") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory_gb": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}",
        "gpu": _gpus(survey),
    }


def _gpus(survey: GpuInventory) -> str:
    """``2 x NVIDIA H200, driver 570.86.15``."""
    names = Counter(gpu.name for gpu in survey.gpus)
    told = [name if number == 1 else f"{number} x {name}" for name, number in names.items()]
    return ", ".join([*told, *([f"driver {survey.driver}"] if survey.driver else [])]) if told else NO_GPU_SEEN


def limits(isa: str) -> bool:
    """Whether limiting oneDNN to an instruction set takes anything away on this CPU."""
    return _BEYOND.get(isa, "") in _cpu_field("flags").split()


def revision(root: Path) -> str:
    """Source revision of the checkout, "-dirty" appended where it has changes; "unknown" outside git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _cpu_field(name: str) -> str:
    try:
        for row in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if row.startswith(name):
                return row.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""
