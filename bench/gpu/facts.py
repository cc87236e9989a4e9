"""The GPUs and the driver of this host, as NVML tells them. Without a driver there is a reason instead."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.gpu import _smi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Facts that move by themselves while a host stands still: they say how it was, and tell no two hosts apart.
PASSING = frozenset({"SM clock MHz", "memory clock MHz", "clock events", "temperature C", "PCIe generation"})

_MIB = 1024**2


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU, or one MIG device: what CUDA can use by its UUID.

    ``capability`` is (9, 0) for Hopper, (0, 0) where it is unknown; ``memory_mb`` its whole memory in MiB, 0 where
    it is unknown. ``facts`` has everything else NVML told, by names of people (``power limit W``, ``ECC``, ``MIG``,
    ``persistence``, ``VBIOS``, ``max SM clock MHz``, ...); what a card does not support is left out. ``processes``
    maps the ids of processes that compute on it to the MiB they hold, 0 where NVML does not say.
    """

    uuid: str
    name: str
    capability: tuple[int, int]
    memory_mb: int
    facts: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[int, int] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The short name for columns: ``NVIDIA H200`` -> ``h200``, ``NVIDIA GeForce RTX 4090`` -> ``rtx-4090``."""
        words = re.sub(r"[^a-z0-9]+", " ", self.name.lower()).split()
        return "-".join(word for word in words if word not in {"nvidia", "geforce", "tesla", "quadro"}) or "gpu"


@dataclass(frozen=True, kw_only=True)
class GpuInventory:
    """What NVML says of this host.

    ``driver`` is its version (``550.54.15``), ``cuda`` the number of the newest CUDA it supports (12040), 0 where
    unknown. ``why`` says why there are no GPUs and what to do, "" where there are. ``troubles`` has a sentence for
    each GPU that is there and cannot be used.
    """

    driver: str = ""
    cuda: int = 0
    gpus: tuple[Gpu, ...] = ()
    why: str = ""
    troubles: tuple[str, ...] = ()


def survey(root: Path = Path("/")) -> GpuInventory:
    """Ask NVML, or nvidia-smi where NVML's library or its module cannot be loaded; never raises for a bad host.

    Takes a second or two where the driver has to wake up. Under ``root`` the system's cards are looked for.
    """
    try:
        import pynvml  # type: ignore[import-untyped]  # noqa: PLC0415 - a host without it is served by nvidia-smi
    except ImportError as error:
        return _by_smi(f"the Python module pynvml cannot be loaded ({error}): install nvidia-ml-py")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return _by_smi(_no_library(root))
    except pynvml.NVMLError as error:
        return GpuInventory(why=_no_answer(pynvml, error))
    try:
        return _ask(pynvml)
    except pynvml.NVMLError as error:
        return GpuInventory(why=_no_answer(pynvml, error))
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _ask(nvml: Any) -> GpuInventory:
    """The survey through a module that is initialised."""
    driver = str(nvml.nvmlSystemGetDriverVersion())
    gpus: list[Gpu] = []
    troubles: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found, trouble = _card(nvml, nvml.nvmlDeviceGetHandleByIndex(index))
        except nvml.NVMLError as error:
            found, trouble = [], f"GPU {index} of NVML does not answer ({error}): look for it in nvidia-smi and dmesg"
        gpus += found
        troubles += [trouble] if trouble else []
    why = ""
    if not gpus:
        why = "; ".join(troubles) or f"the driver {driver} answers and sees no GPU: look for it in nvidia-smi and dmesg"
    cuda = _value(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    return GpuInventory(driver=driver, cuda=cuda or 0, gpus=tuple(gpus), why=why, troubles=tuple(troubles))


def _card(nvml: Any, card: Any) -> tuple[list[Gpu], str]:
    """What CUDA sees of one card: itself, or its MIG devices where MIG is on; and what is wrong with it."""
    whole = Gpu(
        uuid=str(nvml.nvmlDeviceGetUUID(card)),
        name=str(nvml.nvmlDeviceGetName(card)),
        capability=_capability(nvml, card),
        memory_mb=_memory(nvml, card),
        facts=_facts(nvml, card),
        processes=_processes(nvml, card),
    )
    if whole.facts.get("MIG") != "on":
        return [whole], ""
    slices = [_mig(nvml, device, whole) for device in _mig_devices(nvml, card)]
    if slices:
        return slices, ""
    way = "make one (nvidia-smi mig -cgi ... -C), or turn MIG off (nvidia-smi -mig 0)"
    return [], f"{whole.name} ({whole.uuid}) has MIG on and no MIG device, so CUDA sees nothing: {way}"


def _mig_devices(nvml: Any, card: Any) -> Iterator[Any]:
    """Handles of a card's MIG devices; the numbers between may be free."""
    for index in range(_value(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0):
        with suppress(nvml.NVMLError):
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, index)


def _mig(nvml: Any, device: Any, whole: Gpu) -> Gpu:
    """One MIG device. Clocks, power and ECC are its card's."""
    memory = _memory(nvml, device)
    attributes = _value(nvml, nvml.nvmlDeviceGetAttributes, device)
    profile = _profile(attributes, memory)
    name = str(_value(nvml, nvml.nvmlDeviceGetName, device) or whole.name)
    units = {} if attributes is None else {"multiprocessors": str(attributes.multiprocessorCount)}
    facts = {key: value for key, value in whole.facts.items() if key != "cores"}
    return Gpu(
        uuid=str(nvml.nvmlDeviceGetUUID(device)),
        name=name if "MIG" in name else f"{name} MIG {profile}",
        capability=whole.capability,
        memory_mb=memory,
        facts={**facts, **units, "MIG": f"{profile} of {whole.uuid}"},
        processes=_processes(nvml, device),
    )


def _profile(attributes: Any, memory_mb: int) -> str:
    """``1g.10gb``, and ``1c.3g.20gb`` for a compute instance that is a part of its GPU instance."""
    size = f"{ceil(memory_mb / 1024)}gb"
    if attributes is None:
        return size
    compute, slices = attributes.computeInstanceSliceCount, attributes.gpuInstanceSliceCount
    return f"{slices}g.{size}" if compute == slices else f"{compute}c.{slices}g.{size}"


def _memory(nvml: Any, device: Any) -> int:
    """MiB; 0 where the device does not say (those that share the host's memory)."""
    told = _value(nvml, nvml.nvmlDeviceGetMemoryInfo, device)
    return 0 if told is None else int(told.total) // _MIB


def _capability(nvml: Any, card: Any) -> tuple[int, int]:
    major, minor = _value(nvml, nvml.nvmlDeviceGetCudaComputeCapability, card) or (0, 0)
    return int(major), int(minor)


def _processes(nvml: Any, device: Any) -> dict[int, int]:
    found: list[Any] = []
    for name in ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"):
        listed = _value(nvml, getattr(nvml, name), device)  # drivers before 510 have the older one alone
        if listed is not None:
            found = listed
            break
    return {int(one.pid): (one.usedGpuMemory or 0) // _MIB for one in found}


def _facts(nvml: Any, card: Any) -> dict[str, str]:
    """All that NVML tells of a card; what it does not support is left out."""
    read = {name: _value(nvml, ask, nvml, card) for name, ask in _READINGS.items()}
    return {name: value for name, value in read.items() if value}


def _value(nvml: Any, ask: Callable[..., Any], *arguments: Any) -> Any:
    """An answer, or None where the card, the driver or the module has none."""
    try:
        return ask(*arguments)
    except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
        return None


def _switch(value: int) -> str:
    return "on" if value else "off"


def _mode(nvml: Any, card: Any) -> str:
    names = {
        nvml.NVML_COMPUTEMODE_DEFAULT: "default",
        nvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
        nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive process",
    }
    mode = nvml.nvmlDeviceGetComputeMode(card)
    return names.get(mode, str(mode))


def _events(nvml: Any, card: Any) -> str:
    """Why the clocks are not at their highest, "none" included."""
    now = _value(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, card)
    if now is None:  # drivers before 535 know it by its old name
        now = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card)
    return ", ".join(words for bit, words in EVENTS.items() if now & bit) or "none"


def _link(now: int, most: int) -> str:
    return f"{now} of {most}"


#: Bits of NVML's clock event reasons.
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
    "MIG": lambda nvml, card: _switch(nvml.nvmlDeviceGetMigMode(card)[0]),
    "ECC": lambda nvml, card: _switch(nvml.nvmlDeviceGetEccMode(card)[0]),
    "persistence": lambda nvml, card: _switch(nvml.nvmlDeviceGetPersistenceMode(card)),
    "compute mode": _mode,
    "cores": lambda nvml, card: str(nvml.nvmlDeviceGetNumGpuCores(card)),
    "power limit W": lambda nvml, card: f"{nvml.nvmlDeviceGetEnforcedPowerLimit(card) / 1000:.0f}",
    "set power limit W": lambda nvml, card: f"{nvml.nvmlDeviceGetPowerManagementLimit(card) / 1000:.0f}",
    "default power limit W": lambda nvml, card: f"{nvml.nvmlDeviceGetPowerManagementDefaultLimit(card) / 1000:.0f}",
    "SM clock MHz": lambda nvml, card: str(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM)),
    "memory clock MHz": lambda nvml, card: str(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM)),
    "max SM clock MHz": lambda nvml, card: str(nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_SM)),
    "max memory clock MHz": lambda nvml, card: str(nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_MEM)),
    "application SM clock MHz": lambda nvml, card: str(
        nvml.nvmlDeviceGetApplicationsClock(card, nvml.NVML_CLOCK_GRAPHICS)
    ),
    "application memory clock MHz": lambda nvml, card: str(
        nvml.nvmlDeviceGetApplicationsClock(card, nvml.NVML_CLOCK_MEM)
    ),
    "clock events": _events,
    "temperature C": lambda nvml, card: str(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)),
    "PCI": lambda nvml, card: _text(nvml.nvmlDeviceGetPciInfo(card).busId),
    "PCIe generation": lambda nvml, card: _link(
        nvml.nvmlDeviceGetCurrPcieLinkGeneration(card), nvml.nvmlDeviceGetMaxPcieLinkGeneration(card)
    ),
    "PCIe width": lambda nvml, card: _link(
        nvml.nvmlDeviceGetCurrPcieLinkWidth(card), nvml.nvmlDeviceGetMaxPcieLinkWidth(card)
    ),
    "VBIOS": lambda nvml, card: str(nvml.nvmlDeviceGetVbiosVersion(card)),
}


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _no_library(root: Path) -> str:
    """Why NVML's library is not here, told by whether there is a card."""
    if any((root / "dev").glob("nvidia[0-9]*")):
        return (
            "there is an NVIDIA device in /dev and no libnvidia-ml.so.1: install the driver's libraries, "
            "or start this container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        )
    if any(_is_nvidia(card) for card in (root / "sys/bus/pci/devices").glob("*")):
        return "there is an NVIDIA card and no driver for it: install NVIDIA's driver (nvidia-smi must answer)"
    return "this host shows no NVIDIA GPU (no card, no driver); CPU pairs run without one"


def _is_nvidia(card: Path) -> bool:
    """Whether a PCI device is a display or a 3D controller of NVIDIA (their sound and USB parts are no GPU)."""
    try:
        vendor, kind = ((card / name).read_text(encoding="ascii").strip() for name in ("vendor", "class"))
    except (OSError, ValueError):
        return False
    return vendor == "0x10de" and kind.startswith("0x03")


def _no_answer(nvml: Any, error: Exception) -> str:
    """Why NVML gave no answer, and the way out."""
    ways = {
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "NVIDIA's driver is installed and not loaded: load it with 'modprobe nvidia'"
        " (after an update of the kernel its modules may have to be built anew)",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "NVIDIA's driver was updated and the old one is still loaded: "
        "reboot, or unload and load its modules",
        nvml.NVML_ERROR_NO_PERMISSION: "this user may not ask NVIDIA's driver: look at the rights of /dev/nvidia*",
        nvml.NVML_ERROR_GPU_IS_LOST: "the driver has lost a GPU (it fell off the bus): look in dmesg and reboot",
    }
    told = ways.get(getattr(error, "value", None))
    return told or f"NVIDIA's driver does not answer (NVML says: {error}): see whether nvidia-smi does"


def _by_smi(why: str) -> GpuInventory:
    """The survey from nvidia-smi's tables; with ``why`` where there is no nvidia-smi either."""
    try:
        rows = _smi.rows()
    except _smi.SmiError as error:
        return GpuInventory(why=f"{why}; {error}" if str(error) else why)
    gpus = tuple(
        Gpu(
            uuid=row.uuid, name=row.name, capability=row.capability, memory_mb=row.memory_mb,
            facts=row.facts, processes=row.processes,
        )
        for row in rows
    )  # fmt: skip
    if not gpus:
        return GpuInventory(why="nvidia-smi answers and lists no GPU that CUDA can use: look in dmesg")
    return GpuInventory(driver=rows[0].driver, gpus=gpus)
