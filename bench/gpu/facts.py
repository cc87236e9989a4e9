"""The GPUs and the driver of this host as NVML reports them, or the reason why there are none."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Facts that change by themselves: they describe a moment, and must not distinguish two hosts.
TRANSIENT = frozenset({"SM clock MHz", "memory clock MHz", "clock events", "temperature C", "PCIe generation"})

_MIB = 1024**2
#: Brands that a short name leaves out. "Quadro RTX 6000" keeps its brand, because "RTX 6000" is another GPU.
_BRAND = re.compile(r"\b(?:nvidia|geforce|tesla|quadro(?! rtx 6000))\b")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU or MIG device, which CUDA can select by its UUID.

    Attributes:
        capability: the compute capability, (9, 0) for Hopper; (0, 0) if unknown.
        memory_mb: total memory in MiB; 0 if unknown.
        facts: everything else that NVML reports, by readable names (``power limit W``, ``ECC``, ``MIG``, ``VBIOS``,
            ``max SM clock MHz``, ...), without what the GPU does not support.
        processes: id of each process that computes on it -> the MiB that it uses, 0 if unknown.
    """

    uuid: str
    name: str
    capability: tuple[int, int]
    memory_mb: int
    facts: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[int, int] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The name used in column ids: ``NVIDIA H200`` -> ``h200``, ``NVIDIA GeForce RTX 4090`` -> ``rtx-4090``."""
        words = re.sub(r"[^a-z0-9]+", " ", self.name.lower())
        return "-".join(_BRAND.sub("", words).split()) or "gpu"


@dataclass(frozen=True, kw_only=True)
class GpuInventory:
    """The GPUs of a host.

    Attributes:
        driver: the driver version (``550.54.15``); "" if there is none.
        cuda: the newest CUDA version that the driver supports, as a number (12040); 0 if unknown.
        gpus: the usable GPUs.
        why: why there are no GPUs and what to do; "" if there are some.
        troubles: a sentence for each GPU that exists but cannot be used.
    """

    driver: str = ""
    cuda: int = 0
    gpus: tuple[Gpu, ...] = ()
    why: str = ""
    troubles: tuple[str, ...] = ()


def survey(root: Path = Path("/")) -> GpuInventory:
    """Ask NVML for the GPUs of this host; problems become reasons and are never raised.

    Takes a second or two if the driver has to wake up. ``root`` is where ``/dev`` and ``/sys`` are searched for GPUs
    without a working driver.
    """
    try:
        import pynvml  # type: ignore[import-untyped]  # noqa: PLC0415 - without it, hosts still measure their CPU
    except ImportError as error:
        reason = f"the Python module pynvml cannot be imported ({error}): install the package nvidia-ml-py"
        return GpuInventory(why=reason)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return GpuInventory(why=_no_library(root))
    except pynvml.NVMLError as error:
        return GpuInventory(why=_no_answer(pynvml, error))
    try:
        return _query(pynvml)
    except pynvml.NVMLError as error:
        return GpuInventory(why=_no_answer(pynvml, error))
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _query(nvml: Any) -> GpuInventory:
    """Return the inventory from an initialised NVML."""
    driver = str(nvml.nvmlSystemGetDriverVersion())
    gpus: list[Gpu] = []
    troubles: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            usable, trouble = _devices(nvml, nvml.nvmlDeviceGetHandleByIndex(index))
        except nvml.NVMLError as error:
            usable, trouble = [], f"GPU {index} of NVML does not answer ({error}): see nvidia-smi and dmesg"
        gpus += usable
        troubles += [trouble] if trouble else []
    why = ""
    if not gpus:
        why = "; ".join(troubles) or f"driver {driver} answers but finds no GPU: see nvidia-smi and dmesg"
    cuda = _value(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    return GpuInventory(driver=driver, cuda=cuda or 0, gpus=tuple(gpus), why=why, troubles=tuple(troubles))


def _devices(nvml: Any, handle: Any) -> tuple[list[Gpu], str]:
    """Return what CUDA can use of a GPU (itself, or its MIG devices if MIG is on), and what is wrong with it."""
    gpu = Gpu(
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        name=str(nvml.nvmlDeviceGetName(handle)),
        capability=_capability(nvml, handle),
        memory_mb=_memory(nvml, handle),
        facts=_facts(nvml, handle),
        processes=_processes(nvml, handle),
    )
    if gpu.facts.get("MIG") != "on":
        return [gpu], ""
    slices = [_mig(nvml, device, gpu) for device in _mig_devices(nvml, handle)]
    if slices:
        return slices, ""
    hint = "Create one (nvidia-smi mig -cgi ... -C), or turn MIG off (nvidia-smi -mig 0)."
    return [], f"{gpu.name} ({gpu.uuid}) has MIG on but no MIG device, so CUDA cannot use it: {hint}"


def _mig_devices(nvml: Any, handle: Any) -> Iterator[Any]:
    """Yield the handles of a GPU's MIG devices, whose indices can have gaps."""
    for index in range(_value(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        with suppress(nvml.NVMLError):
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)


def _mig(nvml: Any, device: Any, parent: Gpu) -> Gpu:
    """Return one MIG device; clocks, power and ECC are those of its GPU."""
    memory = _memory(nvml, device)
    attributes = _value(nvml, nvml.nvmlDeviceGetAttributes, device)
    profile = _profile(attributes, memory)
    name = str(_value(nvml, nvml.nvmlDeviceGetName, device) or parent.name)
    units = {} if attributes is None else {"multiprocessors": str(attributes.multiprocessorCount)}
    facts = {key: value for key, value in parent.facts.items() if key != "cores"}
    return Gpu(
        uuid=str(nvml.nvmlDeviceGetUUID(device)),
        name=name if "MIG" in name else f"{name} MIG {profile}",
        capability=parent.capability,
        memory_mb=memory,
        facts={**facts, **units, "MIG": f"{profile} of {parent.uuid}"},
        processes=_processes(nvml, device),
    )


def _profile(attributes: Any, memory_mb: int) -> str:
    """Return ``1g.10gb``, or ``1c.3g.20gb`` for a compute instance that is only a part of its GPU instance."""
    size = f"{ceil(memory_mb / 1024)}gb"
    if attributes is None:
        return size
    compute, slices = attributes.computeInstanceSliceCount, attributes.gpuInstanceSliceCount
    return f"{slices}g.{size}" if compute == slices else f"{compute}c.{slices}g.{size}"


def _memory(nvml: Any, device: Any) -> int:
    """Return the total memory in MiB; 0 if unknown, as for devices that share the memory of the host."""
    memory = _value(nvml, nvml.nvmlDeviceGetMemoryInfo, device)
    return 0 if memory is None else int(memory.total) // _MIB


def _capability(nvml: Any, handle: Any) -> tuple[int, int]:
    major, minor = _value(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle) or (0, 0)
    return int(major), int(minor)


def _processes(nvml: Any, device: Any) -> dict[int, int]:
    for name in ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"):
        processes = _value(nvml, getattr(nvml, name), device)  # drivers before 510 have only the second
        if processes is not None:
            return {int(process.pid): (process.usedGpuMemory or 0) // _MIB for process in processes}
    return {}


def _facts(nvml: Any, handle: Any) -> dict[str, str]:
    """Return all facts that NVML reports, without those that the GPU does not support."""
    readings = {name: _value(nvml, read, nvml, handle) for name, read in _READINGS.items()}
    return {name: value for name, value in readings.items() if value}


def _value(nvml: Any, read: Callable[..., Any], *arguments: Any) -> Any:
    """Return a reading, or None if the GPU, the driver or the module does not support it."""
    try:
        return read(*arguments)
    except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
        return None


def _switch(value: int) -> str:
    return "on" if value else "off"


def _mode(nvml: Any, handle: Any) -> str:
    names = {
        nvml.NVML_COMPUTEMODE_DEFAULT: "default",
        nvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
        nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive process",
    }
    mode = nvml.nvmlDeviceGetComputeMode(handle)
    return names.get(mode, str(mode))


def _events(nvml: Any, handle: Any) -> str:
    """Return why the clocks are below their maximum, or "none"."""
    bits = _value(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if bits is None:  # drivers before 535 have the function under its old name
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    return ", ".join(name for bit, name in EVENTS.items() if bits & bit) or "none"


def _link(current: int, maximum: int) -> str:
    return f"{current} of {maximum}"


#: NVML's clock event reasons (nvml.h) by bit.
EVENTS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
}

_READINGS: dict[str, Callable[[Any, Any], str]] = {
    "MIG": lambda nvml, handle: _switch(nvml.nvmlDeviceGetMigMode(handle)[0]),
    "ECC": lambda nvml, handle: _switch(nvml.nvmlDeviceGetEccMode(handle)[0]),
    "persistence": lambda nvml, handle: _switch(nvml.nvmlDeviceGetPersistenceMode(handle)),
    "compute mode": _mode,
    "cores": lambda nvml, handle: str(nvml.nvmlDeviceGetNumGpuCores(handle)),
    "power limit W": lambda nvml, handle: f"{nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000:.0f}",
    "set power limit W": lambda nvml, handle: f"{nvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000:.0f}",
    "default power limit W": lambda nvml, handle: f"{nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000:.0f}",
    "SM clock MHz": lambda nvml, handle: str(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
    "memory clock MHz": lambda nvml, handle: str(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
    "max SM clock MHz": lambda nvml, handle: str(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
    "max memory clock MHz": lambda nvml, handle: str(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)),
    "application SM clock MHz": lambda nvml, handle: str(
        nvml.nvmlDeviceGetApplicationsClock(handle, nvml.NVML_CLOCK_GRAPHICS)
    ),
    "application memory clock MHz": lambda nvml, handle: str(
        nvml.nvmlDeviceGetApplicationsClock(handle, nvml.NVML_CLOCK_MEM)
    ),
    "clock events": _events,
    "temperature C": lambda nvml, handle: str(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
    "PCI": lambda nvml, handle: _text(nvml.nvmlDeviceGetPciInfo(handle).busId),
    "PCIe generation": lambda nvml, handle: _link(
        nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle), nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle)
    ),
    "PCIe width": lambda nvml, handle: _link(
        nvml.nvmlDeviceGetCurrPcieLinkWidth(handle), nvml.nvmlDeviceGetMaxPcieLinkWidth(handle)
    ),
    "VBIOS": lambda nvml, handle: str(nvml.nvmlDeviceGetVbiosVersion(handle)),
}


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _no_library(root: Path) -> str:
    """Return why NVML's library is missing, depending on whether the host has an NVIDIA GPU."""
    if any((root / "dev").glob("nvidia[0-9]*")):
        return (
            "there is an NVIDIA device in /dev but no libnvidia-ml.so.1: install the driver's libraries, "
            "or start this container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        )
    if any(_is_nvidia(device) for device in (root / "sys/bus/pci/devices").glob("*")):
        return "this host has an NVIDIA GPU but no driver: install NVIDIA's driver (nvidia-smi must work)"
    return "this host has no NVIDIA GPU (no device, no driver); CPU environments do not need one"


def _is_nvidia(device: Path) -> bool:
    """Return whether a PCI device is an NVIDIA display or 3D controller, not the audio or USB function of a GPU."""
    try:
        vendor, device_class = ((device / name).read_text(encoding="ascii").strip() for name in ("vendor", "class"))
    except (OSError, ValueError):
        return False
    return vendor == "0x10de" and device_class.startswith("0x03")


def _no_answer(nvml: Any, error: Exception) -> str:
    """Return why NVML did not answer and what to do."""
    reasons = {
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "NVIDIA's driver is installed but not loaded: load it with 'modprobe nvidia'"
        " (after a kernel update its modules may have to be rebuilt)",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "NVIDIA's driver was updated but the old one is still loaded: "
        "reboot, or reload its modules",
        nvml.NVML_ERROR_NO_PERMISSION: "this user may not access NVIDIA's driver: check permissions of /dev/nvidia*",
        nvml.NVML_ERROR_GPU_IS_LOST: "the driver lost a GPU (it fell off the bus): see dmesg and reboot",
    }
    reason = reasons.get(getattr(error, "value", None))
    return reason or f"NVIDIA's driver does not answer (NVML error: {error}): check whether nvidia-smi works"
