"""Which GPU Slurm gave to a job, whether it is what the job needs, and whether somebody else still computes on it."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.portable.errors import NO_GPU, PortableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.portable.host_facts import Gpu, GpuInventory

#: Where the driver describes its GPUs, with the number of the device file and the UUID.
DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
_QUERY_S = 60.0
_POLL_S = 5.0


def allocated(
    job: Mapping[str, str],
    inventory: GpuInventory,
    known_to_slurm: Callable[[], int],
    driver_folder: Path = DRIVER_FOLDER,
) -> Gpu:
    """Return the GPU of a job.

    ``SLURM_JOB_GPUS`` has the positions of the job's GPUs among those that Slurm knows, and does not change with what
    the job can see. ``CUDA_VISIBLE_DEVICES`` counts from 0 wherever Slurm hides the other GPUs, so it names none.

    Args:
        job: the environment of the job.
        inventory: the GPUs that this process sees; an exclusive job sees all of the node.
        known_to_slurm: returns how many GPUs Slurm knows on this node.
        driver_folder: see ``DRIVER_FOLDER``.

    Raises:
        PortableError: the node has no GPU, or none that is known to be the job's.
    """
    numbers = [number for number in job.get("SLURM_JOB_GPUS", "").split(",") if number]
    if not inventory.gpus:
        raise PortableError(f"The node has no GPU: {inventory.why}.", "Ask the administrator of the cluster.", NO_GPU)
    if not numbers:
        message = f"Slurm gave the job no GPU, although the node has {len(inventory.gpus)}."
        raise PortableError(message, "Set gpu in [[fleet.gpus]] to a type that `sinfo -o %G` lists.", NO_GPU)
    if len(inventory.gpus) == 1:
        return inventory.gpus[0]
    uuids, slurm = _in_order(driver_folder), known_to_slurm()
    position = int(numbers[0]) if numbers[0].isdecimal() else -1
    named = uuids[position] if len(uuids) == slurm and 0 <= position < slurm else ""
    found = next((gpu for gpu in inventory.gpus if gpu.uuid == named), None)
    if found is None:
        message = (
            f"Slurm gave the job GPU {numbers[0]} of {slurm}, but which of {len(inventory.gpus)} GPUs is not known."
        )
        raise PortableError(message, "With ConstrainDevices=yes in cgroup.conf, a job sees its own GPUs only.", NO_GPU)
    return found


def _in_order(folder: Path) -> list[str]:
    """Return the UUIDs of all GPUs of the node in the order of their device files, from the driver's descriptions."""
    found = []
    for file in folder.glob("*/information"):
        fields = dict(re.findall(r"^([^:\n]+):\s*(.*?)\s*$", file.read_text(errors="replace"), re.MULTILINE))
        if fields.get("Device Minor", "").isdecimal():
            found.append((int(fields["Device Minor"]), fields.get("GPU UUID", "")))
    return [uuid for _, uuid in sorted(found)]


def known_to_slurm(node: str) -> int:
    """Return how many GPUs Slurm's configuration has for a node, 0 if it does not answer."""
    command = ["scontrol", "--oneliner", "show", "node", node]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    gres = re.search(r"\bGres=(\S*)", done.stdout)
    return sum(map(int, re.findall(r"gpu(?::[^:,()]+)?:(\d+)", gres[1]))) if gres else 0


def wrong_driver(wanted: str, found: str) -> str:
    """Return why a driver is not the required one, "" if it is: ``580`` accepts ``580.65.06`` but not ``5800.1``."""
    if not wanted or found == wanted or found.startswith(f"{wanted}."):
        return ""
    return f"its driver is {found or 'unknown'}, but [[fleet.gpus]] requires {wanted}"


def wait_until_free(
    gpu: Gpu, limit_s: float, say: Callable[[str], None], processes: Callable[[str], list[str]] | None = None
) -> str:
    """Wait until no process computes on a GPU; return which still do after ``limit_s`` seconds, "" if none does."""
    using = processes or compute_processes
    deadline = time.monotonic() + limit_s
    found = using(gpu.uuid)
    if found:
        say(f"waiting up to {limit_s:.0f} s for {gpu.name} {gpu.uuid}, which process {', '.join(found)} uses")
    while found and time.monotonic() < deadline:
        time.sleep(min(_POLL_S, max(deadline - time.monotonic(), 0)))
        found = using(gpu.uuid)
    return ", ".join(found)


def compute_processes(uuid: str) -> list[str]:
    """Return the ids of the processes that compute on a GPU; empty where nvidia-smi does not say."""
    command = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [row.split(",") for row in done.stdout.splitlines()]
    return [row[1].strip() for row in rows if len(row) == 2 and row[0].strip() == uuid]  # noqa: PLR2004 - its columns
