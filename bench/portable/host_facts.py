"""Facts of a host, as far as the standard library reaches: what ``bench.host`` and ``bench.gpu`` tell at home."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.suite import provenance

NO_GPU_SEEN = "none seen"
_PATIENCE_S = 60.0
_TEXT = 96
#: Rows of ``nvidia-smi -L``: a card, and below it each of its slices, if it is cut into any.
_CARD = re.compile(r"GPU \d+: .* \(UUID: (GPU-[^)]+)\)")
_SLICE = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class Gpu:
    """One GPU: its UUID and its name."""

    uuid: str
    name: str

    @property
    def slug(self) -> str:
        """The short name for columns, by the rule of ``bench.gpu.facts.Gpu``."""
        words = re.sub(r"[^a-z0-9]+", " ", self.name.lower()).split()
        return "-".join(word for word in words if word not in {"nvidia", "geforce", "tesla", "quadro"}) or "gpu"


@dataclass(frozen=True)
class GpuInventory:
    """What this host says of its GPUs; ``driver``, ``cuda`` and ``why`` as in ``bench.gpu.facts.GpuInventory``."""

    driver: str = ""
    cuda: int = 0
    gpus: tuple[Gpu, ...] = ()
    why: str = ""

    def told(self, gpu: Gpu) -> dict[str, str]:
        """What a request says of the GPU it is for; what is not known is left out."""
        told = {"uuid": gpu.uuid, "driver": self.driver, "cuda": str(self.cuda or "")}
        return {name: text for name, text in told.items() if text}


def facts(survey: GpuInventory) -> dict[str, str]:
    """Name, system, CPU, cores, memory and GPUs of this host."""
    flags_of = {row.partition(":")[0].strip(): row.partition(":")[2].strip() for row in _cpu_rows()}
    return {
        "name": socket.gethostname(),
        "system": platform.platform(),
        "cpu": flags_of.get("model name") or platform.processor() or platform.machine(),
        "cores": str(provenance.cores()),
        "memory_gb": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}",
        "gpu": ", ".join(gpu.name for gpu in survey.gpus) or NO_GPU_SEEN,
    }


def _cpu_rows() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def survey() -> GpuInventory:
    """The GPUs of this host: from nvidia-smi, else from NVML's library; without either, a reason."""
    found = _from_smi()
    if not found.gpus:
        other = _from_nvml()
        found = other if other.gpus or not found.why else found
    return found


def _from_smi() -> GpuInventory:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return GpuInventory(why="")
    command = [tool, "--query-gpu=uuid,name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return GpuInventory(why=f"nvidia-smi does not answer ({error})")
    rows = [[field.strip() for field in row.split(",")] for row in done.stdout.splitlines()]
    whole = [row for row in rows if len(row) == 3 and row[0].startswith(("GPU-", "MIG-"))]  # noqa: PLR2004 - its columns
    if done.returncode != 0 or not whole:
        words = " ".join((done.stdout + done.stderr).split())[:300]
        return GpuInventory(why=f"nvidia-smi shows no GPU: {words or 'it says nothing'}")
    slices = _slices(tool)
    gpus = [
        one
        for uuid, name, _ in whole
        for one in [Gpu(own, f"{name} MIG {profile}") for profile, own in slices.get(uuid, ())] or [Gpu(uuid, name)]
    ]
    return GpuInventory(driver=whole[0][2], cuda=cuda_of_driver(), gpus=tuple(gpus))


def _slices(tool: str) -> dict[str, list[tuple[str, str]]]:
    """Card -> profile and UUID of its MIG slices: CUDA shows them and not the card."""
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found: dict[str, list[tuple[str, str]]] = {}
    card = ""
    for row in done.stdout.splitlines():
        if head := _CARD.match(row):
            card = head[1]
        elif own := _SLICE.match(row):
            found.setdefault(card, []).append((own[1], own[2]))
    return found


def cuda_of_driver() -> int:
    """The newest CUDA that the driver supports (12040), 0 where there is no driver."""
    number = ctypes.c_int(0)
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return 0
    return number.value


def _from_nvml() -> GpuInventory:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return GpuInventory(why="this host has no NVIDIA driver: libnvidia-ml.so.1 cannot be opened")
    if nvml.nvmlInit_v2() != 0:
        return GpuInventory(why="the NVIDIA driver does not answer: nvmlInit_v2 failed")
    try:
        return _gpus_of(nvml)
    except AttributeError as error:
        return GpuInventory(why=f"the NVIDIA driver is too old to be asked ({error})")
    finally:
        nvml.nvmlShutdown()


def _gpus_of(nvml: ctypes.CDLL) -> GpuInventory:
    number, version = ctypes.c_uint(0), ctypes.create_string_buffer(_TEXT)
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(number))
    nvml.nvmlSystemGetDriverVersion(version, _TEXT)
    gpus = []
    for place in range(number.value):
        handle, uuid, name = ctypes.c_void_p(), *(ctypes.create_string_buffer(_TEXT) for _ in range(2))
        nvml.nvmlDeviceGetHandleByIndex_v2(place, ctypes.byref(handle))
        nvml.nvmlDeviceGetUUID(handle, uuid, _TEXT)
        nvml.nvmlDeviceGetName(handle, name, _TEXT)
        gpus.append(Gpu(uuid.value.decode(errors="replace"), name.value.decode(errors="replace")))
    why = "" if gpus else "the NVIDIA driver answers, and shows no GPU"
    return GpuInventory(driver=version.value.decode(errors="replace"), cuda=cuda_of_driver(), gpus=tuple(gpus), why=why)
