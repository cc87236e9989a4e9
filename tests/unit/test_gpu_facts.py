"""GPU facts from NVML: NVIDIA's own module with a simulated library, because tests run without a driver."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pynvml  # type: ignore[import-untyped]
import pytest

from bench.gpu.facts import TRANSIENT, Gpu, GpuInventory, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Query = Callable[[Mapping[str, Any]], GpuInventory]

GIB = 1024**3
H100 = "GPU-11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Refusal:
    """An error code that NVML returns."""

    code: int


class Library:
    """A simulated libnvidia-ml.so.1 with the answer of each function, which may depend on the handle.

    An answer is a number, a text, a list (one item for each output argument), a dictionary (fields of a structure),
    the processes of a device, or an error. A function without an answer does not exist in this driver.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = {"nvmlInitWithFlags": 0, "nvmlShutdown": 0, **answers}

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name not in self.answers:
            raise AttributeError(name)
        return lambda *arguments: self._call(name, arguments)

    def _call(self, name: str, arguments: tuple[Any, ...]) -> int:
        places = [argument._obj for argument in arguments if hasattr(argument, "_obj")]
        places += [
            argument
            for argument in arguments
            if isinstance(argument, ctypes.Array) and argument._type_ is ctypes.c_char
        ]
        inputs = [
            self._input(argument)
            for argument in arguments
            if not hasattr(argument, "_obj") and not isinstance(argument, ctypes.Array)
        ]
        answer = self.answers[name]
        if callable(answer):
            answer = answer(*(value for value in inputs if value is not None))
        if isinstance(answer, Refusal):
            return answer.code
        if "Processes" in name:
            return self._processes(answer, arguments)
        for place, value in zip(places, answer if isinstance(answer, list) else [answer], strict=False):
            self._write(place, value)
        return int(pynvml.NVML_SUCCESS)

    @staticmethod
    def _input(argument: Any) -> Any:
        if isinstance(argument, ctypes._Pointer):
            return ctypes.cast(argument, ctypes.c_void_p).value
        return getattr(argument, "value", argument)

    @staticmethod
    def _write(place: Any, value: Any) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                setattr(place, key, part)
        elif isinstance(place, ctypes._Pointer):
            ctypes.c_void_p.from_buffer(place).value = value
        else:
            place.value = value.encode() if isinstance(value, str) else value

    @staticmethod
    def _processes(held: dict[int, int], arguments: tuple[Any, ...]) -> int:
        count, table = arguments[1]._obj, arguments[2]
        count.value = len(held)
        if table is None:
            return int(pynvml.NVML_ERROR_INSUFFICIENT_SIZE if held else pynvml.NVML_SUCCESS)
        for row, (number, size) in zip(table, held.items(), strict=False):
            row.pid, row.usedGpuMemory = number, size
        return int(pynvml.NVML_SUCCESS)


def hopper() -> dict[str, Any]:
    """Return the answers of driver 550 for an H100; clock 0 is graphics, 1 SM, 2 memory."""
    return {
        "nvmlSystemGetDriverVersion": "550.54.15",
        "nvmlSystemGetCudaDriverVersion_v2": 12040,
        "nvmlDeviceGetCount_v2": 1,
        "nvmlDeviceGetHandleByIndex_v2": lambda index: 100 + index,
        "nvmlDeviceGetUUID": H100,
        "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
        "nvmlDeviceGetCudaComputeCapability": [9, 0],
        "nvmlDeviceGetMemoryInfo": {"total": 80 * GIB},
        "nvmlDeviceGetMigMode": [0, 0],
        "nvmlDeviceGetEccMode": [1, 1],
        "nvmlDeviceGetPersistenceMode": 0,
        "nvmlDeviceGetComputeMode": 3,
        "nvmlDeviceGetNumGpuCores": 16896,
        "nvmlDeviceGetEnforcedPowerLimit": 650_000,
        "nvmlDeviceGetPowerManagementLimit": 700_000,
        "nvmlDeviceGetPowerManagementDefaultLimit": 700_000,
        "nvmlDeviceGetClockInfo": lambda _, kind: {1: 345, 2: 2619}[kind],
        "nvmlDeviceGetMaxClockInfo": lambda _, kind: {1: 1980, 2: 2619}[kind],
        "nvmlDeviceGetApplicationsClock": lambda _, kind: {0: 1755, 2: 2619}[kind],
        "nvmlDeviceGetCurrentClocksEventReasons": 0x1 | 0x40,
        "nvmlDeviceGetTemperature": lambda _, sensor: {0: 31}[sensor],
        "nvmlDeviceGetPciInfo_v3": {"busId": b"00000000:19:00.0"},
        "nvmlDeviceGetCurrPcieLinkGeneration": 1,
        "nvmlDeviceGetMaxPcieLinkGeneration": 5,
        "nvmlDeviceGetCurrPcieLinkWidth": 16,
        "nvmlDeviceGetMaxPcieLinkWidth": 16,
        "nvmlDeviceGetVbiosVersion": "96.00.61.00.01",
        "nvmlDeviceGetComputeRunningProcesses_v3": {},
    }


@pytest.fixture
def query(monkeypatch: pytest.MonkeyPatch) -> Query:
    def queried(answers: Mapping[str, Any]) -> GpuInventory:
        monkeypatch.setattr(pynvml, "nvmlLib", Library(answers))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return survey()

    return queried


def test_a_gpu_with_all_its_facts(query: Query) -> None:
    inventory = query(hopper())
    assert (inventory.driver, inventory.cuda, inventory.why, inventory.troubles) == ("550.54.15", 12040, "", ())
    assert inventory.gpus == (
        Gpu(
            uuid=H100,
            name="NVIDIA H100 80GB HBM3",
            capability=(9, 0),
            memory_mb=81920,
            facts={
                "MIG": "off",
                "ECC": "on",
                "persistence": "off",
                "compute mode": "exclusive process",
                "cores": "16896",
                "power limit W": "650",
                "set power limit W": "700",
                "default power limit W": "700",
                "SM clock MHz": "345",
                "memory clock MHz": "2619",
                "max SM clock MHz": "1980",
                "max memory clock MHz": "2619",
                "application SM clock MHz": "1755",
                "application memory clock MHz": "2619",
                "clock events": "idle, hardware thermal slowdown",
                "temperature C": "31",
                "PCI": "00000000:19:00.0",
                "PCIe generation": "1 of 5",
                "PCIe width": "16 of 16",
                "VBIOS": "96.00.61.00.01",
            },
        ),
    )
    assert inventory.gpus[0].slug == "h100-80gb-hbm3"
    assert set(inventory.gpus[0].facts) > TRANSIENT


_NEEDED = {
    *("nvmlSystemGetDriverVersion", "nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2"),
    *("nvmlDeviceGetUUID", "nvmlDeviceGetName"),
}


@pytest.mark.parametrize("name", sorted(set(hopper()) - _NEEDED))
@pytest.mark.parametrize("missing", [True, False])
def test_what_a_gpu_or_a_driver_does_not_support_is_omitted(query: Query, name: str, missing: bool) -> None:  # noqa: FBT001
    whole = query(hopper())
    answers = hopper()
    if missing:
        del answers[name]
    else:
        answers[name] = Refusal(pynvml.NVML_ERROR_NOT_SUPPORTED)
    inventory = query(answers)
    assert inventory.why == ""
    (before,), (after,) = whole.gpus, inventory.gpus
    assert after.uuid == before.uuid
    assert after.facts.items() <= before.facts.items()
    assert len(after.facts) >= len(before.facts) - 2


def test_a_gpu_that_reports_only_its_name(query: Query) -> None:
    inventory = query({name: answer for name, answer in hopper().items() if name in _NEEDED})
    assert inventory.gpus == (Gpu(uuid=H100, name="NVIDIA H100 80GB HBM3", capability=(0, 0), memory_mb=0),)


def test_processes_and_their_memory(query: Query) -> None:
    unknown = pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value
    answers = hopper() | {"nvmlDeviceGetComputeRunningProcesses_v3": {4711: 3 * GIB, 4712: unknown}}
    assert query(answers).gpus[0].processes == {4711: 3072, 4712: 0}


def test_an_older_driver_has_older_functions(query: Query) -> None:
    answers = hopper() | {
        "nvmlDeviceGetComputeRunningProcesses_v2": {7: GIB},
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4,
    }
    del answers["nvmlDeviceGetComputeRunningProcesses_v3"], answers["nvmlDeviceGetCurrentClocksEventReasons"]
    (gpu,) = query(answers).gpus
    assert gpu.processes == {7: 1024}
    assert gpu.facts["clock events"] == "power cap"


def sliced() -> dict[str, Any]:
    """Return the answers for GPU 100 with MIG devices 201 and 203, with gaps between their indices."""
    devices = {0: 201, 2: 203}
    uuids = {100: H100, 201: "MIG-aaaa", 203: "MIG-bbbb"}
    parts = {
        201: {"gpuInstanceSliceCount": 1, "computeInstanceSliceCount": 1, "multiprocessorCount": 16},
        203: {"gpuInstanceSliceCount": 3, "computeInstanceSliceCount": 1, "multiprocessorCount": 16},
    }
    sizes = {100: 80 * GIB, 201: 9856 * 1024**2, 203: 40320 * 1024**2}

    def device(_: int, index: int) -> Any:
        return devices.get(index, Refusal(pynvml.NVML_ERROR_NOT_FOUND))

    return hopper() | {
        "nvmlDeviceGetMigMode": [1, 1],
        "nvmlDeviceGetMaxMigDeviceCount": 7,
        "nvmlDeviceGetMigDeviceHandleByIndex": device,
        "nvmlDeviceGetUUID": lambda handle, _: uuids[handle],
        "nvmlDeviceGetMemoryInfo": lambda handle: {"total": sizes[handle]},
        "nvmlDeviceGetAttributes_v2": parts.__getitem__,
        "nvmlDeviceGetComputeRunningProcesses_v3": lambda handle: {99: GIB} if handle == 203 else {},
    }


def test_with_mig_the_mig_devices_are_listed(query: Query) -> None:
    small, large = query(sliced()).gpus
    assert (small.uuid, small.name, small.memory_mb) == ("MIG-aaaa", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9856)
    assert (large.uuid, large.name, large.memory_mb) == ("MIG-bbbb", "NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", 40320)
    assert small.capability == large.capability == (9, 0)
    assert small.facts["MIG"] == f"1g.10gb of {H100}"
    assert small.facts["multiprocessors"] == "16"
    assert "cores" not in small.facts
    assert small.facts["ECC"] == "on"
    assert (small.processes, large.processes) == ({}, {99: 1024})
    assert small.slug == "h100-80gb-hbm3-mig-1g-10gb"


def test_a_mig_name_from_nvml_is_kept(query: Query) -> None:
    names = {100: "NVIDIA H100", 201: "NVIDIA H100 MIG 1g.10gb", 203: "NVIDIA H100 MIG 1c.3g.40gb"}
    reported = [gpu.name for gpu in query(sliced() | {"nvmlDeviceGetName": lambda handle, _: names[handle]}).gpus]
    assert reported == ["NVIDIA H100 MIG 1g.10gb", "NVIDIA H100 MIG 1c.3g.40gb"]


def test_mig_without_devices_says_what_to_create(query: Query) -> None:
    inventory = query(sliced() | {"nvmlDeviceGetMigDeviceHandleByIndex": Refusal(pynvml.NVML_ERROR_NOT_FOUND)})
    assert inventory.gpus == ()
    assert "no MIG device" in inventory.why
    assert "nvidia-smi mig -cgi" in inventory.why


def test_a_lost_gpu_is_reported_and_the_other_one_is_usable(query: Query) -> None:
    def handle(index: int) -> Any:
        return Refusal(pynvml.NVML_ERROR_GPU_IS_LOST) if index == 0 else 101

    inventory = query(hopper() | {"nvmlDeviceGetCount_v2": 2, "nvmlDeviceGetHandleByIndex_v2": handle})
    assert [gpu.uuid for gpu in inventory.gpus] == [H100]
    assert inventory.why == ""
    assert "GPU 0 of NVML does not answer (GPU is lost)" in inventory.troubles[0]


def test_a_driver_that_finds_no_gpu(query: Query) -> None:
    inventory = query(hopper() | {"nvmlDeviceGetCount_v2": 0})
    assert (inventory.driver, inventory.gpus) == ("550.54.15", ())
    assert "finds no GPU" in inventory.why


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe nvidia"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "reboot"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "check permissions of /dev/nvidia*"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, "fell off the bus"),
        (pynvml.NVML_ERROR_UNKNOWN, "NVML error: Unknown Error"),
    ],
)
@pytest.mark.parametrize("where", ["nvmlInitWithFlags", "nvmlSystemGetDriverVersion"])
def test_a_driver_that_does_not_answer_has_a_hint(query: Query, code: int, words: str, where: str) -> None:
    inventory = query(hopper() | {where: Refusal(code)})
    assert inventory.gpus == ()
    assert words in inventory.why


# --- without the library ---


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host without NVML's library; returns an empty root folder."""

    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", missing)
    return tmp_path


def test_this_host_has_gpus_or_a_reason() -> None:
    """Nothing is simulated: without a driver, NVIDIA's library is really missing."""
    inventory = survey()
    assert bool(inventory.gpus) != bool(inventory.why)


def test_without_a_driver_the_reason_depends_on_the_hardware(bare: Path) -> None:
    device = bare / "sys/bus/pci/devices/0000:19:00.0"
    device.mkdir(parents=True)
    (bare / "dev").mkdir()
    (device / "vendor").write_text("0x10de\n", encoding="ascii")
    (device / "class").write_text("0x040300\n", encoding="ascii")  # the audio function
    assert "no device, no driver" in survey(bare).why
    (device / "class").write_text("0x030200\n", encoding="ascii")
    assert "install NVIDIA's driver" in survey(bare).why
    (bare / "dev/nvidia0").touch()
    assert "NVIDIA_DRIVER_CAPABILITIES" in survey(bare).why


def test_without_the_module_there_is_a_hint(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "install the package nvidia-ml-py" in survey(bare).why
