"""Facts of this host that belong in a run's head and in its resume keys."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path


def facts() -> dict[str, str]:
    """Name, system, CPU, cores and memory of this host; ``gpu`` is "none seen" or what gave it away."""
    return {
        "name": socket.gethostname(),
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory_gb": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}",
        "gpu": gpu(),
    }


def gpu() -> str:
    """Whether this host shows an NVIDIA GPU; no driver library is loaded to find out."""
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return f"NVIDIA ({', '.join(devices)})" if devices else "none seen"


def revision(house: Path) -> str:
    """Source revision of the checkout, "-dirty" appended where it has changes; "unknown" outside git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "-C", str(house), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _cpu_model() -> str:
    try:
        for row in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if row.startswith("model name"):
                return row.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
