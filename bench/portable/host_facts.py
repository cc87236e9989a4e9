"""Facts of a host and its GPUs from the standard library alone: as ``bench.host`` and ``bench.gpu`` report them."""

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
#: Brands that a short name leaves out, by the rule of ``bench.gpu.facts``.
_BRAND = re.compile(r"\b(?:nvidia|geforce|tesla|quadro(?! rtx 6000))\b")
_TIMEOUT_S = 60.0
_TEXT_BYTES = 96
#: Rows of ``nvidia-smi -L``: a GPU, and below it each of its MIG devices, if there are any.
_GPU_ROW = re.compile(r"GPU \d+: .* \(UUID: (GPU-[^)]+)\)")
_MIG_ROW = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class Gpu:
    """One GPU: its UUID and its name."""

    uuid: str
    name: str

    @property
    def slug(self) -> str:
        """Its short name in column names, by the rule of ``bench.gpu.facts.Gpu``."""
        words = re.sub(r"[^a-z0-9]+", " ", self.name.lower())
        return "-".join(_BRAND.sub("", words).split()) or "gpu"


@dataclass(frozen=True)
class GpuInventory:
    """The GPUs of this host; ``driver``, ``cuda`` and ``why`` as in ``bench.gpu.facts.GpuInventory``."""

    driver: str = ""
    cuda: int = 0
    gpus: tuple[Gpu, ...] = ()
    why: str = ""

    def request_facts(self, gpu: Gpu) -> dict[str, str]:
        """Return ``Request.gpu`` for a GPU; unknown facts are left out."""
        facts = {"uuid": gpu.uuid, "driver": self.driver, "cuda": str(self.cuda or "")}
        return {name: text for name, text in facts.items() if text}


def facts(inventory: GpuInventory) -> dict[str, str]:
    """Return name, system, CPU, cores, memory (GB), GPUs and boot of this host."""
    cpu = {row.partition(":")[0].strip(): row.partition(":")[2].strip() for row in _cpu_rows()}
    return {
        "name": socket.gethostname(),
        "system": platform.platform(),
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": str(provenance.cores()),
        "memory_gb": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}",
        "boot_id": boot_id(),
        "gpu": ", ".join(gpu.name for gpu in inventory.gpus) or NO_GPU_SEEN,
    }


def boot_id() -> str:
    """Return the id of this start of the machine, "" if unknown; it is the same in all containers of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _cpu_rows() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def gpu_inventory() -> GpuInventory:
    """Return the GPUs of this host from nvidia-smi, else from the NVML library; without either, the reason."""
    inventory = _from_smi()
    if not inventory.gpus:
        from_nvml = _from_nvml()
        inventory = from_nvml if from_nvml.gpus or not inventory.why else inventory
    return inventory


def _from_smi() -> GpuInventory:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return GpuInventory(why="")
    command = [tool, "--query-gpu=uuid,name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return GpuInventory(why=f"nvidia-smi does not answer ({error})")
    rows = [[field.strip() for field in row.split(",")] for row in done.stdout.splitlines()]
    whole = [row for row in rows if len(row) == 3 and row[0].startswith(("GPU-", "MIG-"))]  # noqa: PLR2004 - its columns
    if done.returncode != 0 or not whole:
        output = " ".join((done.stdout + done.stderr).split())[:300]
        return GpuInventory(why=f"nvidia-smi shows no GPU: {output or 'it has no output'}")
    mig = _mig_devices(tool)
    gpus = [
        gpu
        for uuid, name, _ in whole
        for gpu in [Gpu(device, f"{name} MIG {profile}") for profile, device in mig.get(uuid, ())] or [Gpu(uuid, name)]
    ]
    return GpuInventory(driver=whole[0][2], cuda=cuda_of_driver(), gpus=tuple(gpus))


def _mig_devices(tool: str) -> dict[str, list[tuple[str, str]]]:
    """Return GPU UUID -> profile and UUID of its MIG devices. CUDA shows these instead of the GPU itself."""
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    devices: dict[str, list[tuple[str, str]]] = {}
    gpu = ""
    for row in done.stdout.splitlines():
        if match := _GPU_ROW.match(row):
            gpu = match[1]
        elif match := _MIG_ROW.match(row):
            devices.setdefault(gpu, []).append((match[1], match[2]))
    return devices


def cuda_of_driver() -> int:
    """Return the newest CUDA version that the driver supports (12040 for 12.4), 0 where there is no driver."""
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
        return GpuInventory(why=f"the NVIDIA driver is too old to list its GPUs ({error})")
    finally:
        nvml.nvmlShutdown()


def _gpus_of(nvml: ctypes.CDLL) -> GpuInventory:
    number, version = ctypes.c_uint(0), ctypes.create_string_buffer(_TEXT_BYTES)
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(number))
    nvml.nvmlSystemGetDriverVersion(version, _TEXT_BYTES)
    gpus = []
    for index in range(number.value):
        handle, uuid, name = ctypes.c_void_p(), *(ctypes.create_string_buffer(_TEXT_BYTES) for _ in range(2))
        nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        nvml.nvmlDeviceGetUUID(handle, uuid, _TEXT_BYTES)
        nvml.nvmlDeviceGetName(handle, name, _TEXT_BYTES)
        gpus.append(Gpu(uuid.value.decode(errors="replace"), name.value.decode(errors="replace")))
    why = "" if gpus else "the NVIDIA driver answers, but lists no GPU"
    return GpuInventory(driver=version.value.decode(errors="replace"), cuda=cuda_of_driver(), gpus=tuple(gpus), why=why)
