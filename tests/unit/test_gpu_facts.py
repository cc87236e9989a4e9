"""GPUs as NVML tells them: NVIDIA's own module over a recorded library, for there is no driver where tests run."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pynvml  # type: ignore[import-untyped]
import pytest

from bench.gpu.facts import PASSING, Gpu, GpuInventory, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Ask = Callable[[Mapping[str, Any]], GpuInventory]

GIB = 1024**3
H100 = "GPU-11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Refusal:
    """NVML answers with this error."""

    code: int


class Library:
    """Stands for libnvidia-ml.so.1: a recording of what each function answers, by handle.

    An answer is a number, a text, a list (one for each place to write), a dictionary (fields of a structure), the
    processes of a device, or an error. A function that was not recorded is one that this driver does not have.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = {"nvmlInitWithFlags": 0, "nvmlShutdown": 0, **answers}

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name not in self.answers:
            raise AttributeError(name)
        return lambda *arguments: self._call(name, arguments)

    def _call(self, name: str, arguments: tuple[Any, ...]) -> int:
        places = [one._obj for one in arguments if hasattr(one, "_obj")]
        places += [one for one in arguments if isinstance(one, ctypes.Array) and one._type_ is ctypes.c_char]
        inputs = [
            self._input(one) for one in arguments if not hasattr(one, "_obj") and not isinstance(one, ctypes.Array)
        ]
        answer = self.answers[name]
        if callable(answer):
            answer = answer(*(one for one in inputs if one is not None))
        if isinstance(answer, Refusal):
            return answer.code
        if "Processes" in name:
            return self._processes(answer, arguments)
        for place, value in zip(places, answer if isinstance(answer, list) else [answer], strict=False):
            self._write(place, value)
        return int(pynvml.NVML_SUCCESS)

    @staticmethod
    def _input(one: Any) -> Any:
        if isinstance(one, ctypes._Pointer):
            return ctypes.cast(one, ctypes.c_void_p).value
        return getattr(one, "value", one)

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
    """An H100 as driver 550 tells of it; clocks are 0 graphics, 1 SM, 2 memory."""
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
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    def asked(answers: Mapping[str, Any]) -> GpuInventory:
        monkeypatch.setattr(pynvml, "nvmlLib", Library(answers))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return survey()

    return asked


def test_a_gpu_with_all_its_facts(ask: Ask) -> None:
    found = ask(hopper())
    assert (found.driver, found.cuda, found.why, found.troubles) == ("550.54.15", 12040, "", ())
    assert found.gpus == (
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
    assert found.gpus[0].slug == "h100-80gb-hbm3"
    assert set(found.gpus[0].facts) > PASSING


_NEEDED = {
    *("nvmlSystemGetDriverVersion", "nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2"),
    *("nvmlDeviceGetUUID", "nvmlDeviceGetName"),
}


@pytest.mark.parametrize("name", sorted(set(hopper()) - _NEEDED))
@pytest.mark.parametrize("missing", [True, False])
def test_what_a_card_or_a_driver_does_not_support_is_left_out(ask: Ask, name: str, missing: bool) -> None:  # noqa: FBT001
    whole = ask(hopper())
    answers = hopper()
    if missing:
        del answers[name]
    else:
        answers[name] = Refusal(pynvml.NVML_ERROR_NOT_SUPPORTED)
    found = ask(answers)
    assert found.why == ""
    (before,), (after,) = whole.gpus, found.gpus
    assert after.uuid == before.uuid
    assert after.facts.items() <= before.facts.items()
    assert len(after.facts) >= len(before.facts) - 2


def test_no_card_answers_anything_but_its_name(ask: Ask) -> None:
    found = ask({name: answer for name, answer in hopper().items() if name in _NEEDED})
    assert found.gpus == (Gpu(uuid=H100, name="NVIDIA H100 80GB HBM3", capability=(0, 0), memory_mb=0),)


def test_processes_and_what_they_hold(ask: Ask) -> None:
    unknown = pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value
    answers = hopper() | {"nvmlDeviceGetComputeRunningProcesses_v3": {4711: 3 * GIB, 4712: unknown}}
    assert ask(answers).gpus[0].processes == {4711: 3072, 4712: 0}


def test_an_older_driver_has_older_functions(ask: Ask) -> None:
    answers = hopper() | {
        "nvmlDeviceGetComputeRunningProcesses_v2": {7: GIB},
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4,
    }
    del answers["nvmlDeviceGetComputeRunningProcesses_v3"], answers["nvmlDeviceGetCurrentClocksEventReasons"]
    (gpu,) = ask(answers).gpus
    assert gpu.processes == {7: 1024}
    assert gpu.facts["clock events"] == "power cap"


def sliced() -> dict[str, Any]:
    """Card 100 with MIG devices 201 and 203, and free places between."""
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


def test_a_card_with_mig_is_its_mig_devices(ask: Ask) -> None:
    small, large = ask(sliced()).gpus
    assert (small.uuid, small.name, small.memory_mb) == ("MIG-aaaa", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9856)
    assert (large.uuid, large.name, large.memory_mb) == ("MIG-bbbb", "NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", 40320)
    assert small.capability == large.capability == (9, 0)
    assert small.facts["MIG"] == f"1g.10gb of {H100}"
    assert small.facts["multiprocessors"] == "16"
    assert "cores" not in small.facts
    assert small.facts["ECC"] == "on"
    assert (small.processes, large.processes) == ({}, {99: 1024})
    assert small.slug == "h100-80gb-hbm3-mig-1g-10gb"


def test_a_mig_name_that_says_it_is_kept(ask: Ask) -> None:
    told = {100: "NVIDIA H100", 201: "NVIDIA H100 MIG 1g.10gb", 203: "NVIDIA H100 MIG 1c.3g.40gb"}
    names = [gpu.name for gpu in ask(sliced() | {"nvmlDeviceGetName": lambda handle, _: told[handle]}).gpus]
    assert names == ["NVIDIA H100 MIG 1g.10gb", "NVIDIA H100 MIG 1c.3g.40gb"]


def test_mig_without_devices_says_what_to_make(ask: Ask) -> None:
    found = ask(sliced() | {"nvmlDeviceGetMigDeviceHandleByIndex": Refusal(pynvml.NVML_ERROR_NOT_FOUND)})
    assert found.gpus == ()
    assert "no MIG device" in found.why
    assert "nvidia-smi mig -cgi" in found.why


def test_one_lost_gpu_of_two_is_told_and_the_other_serves(ask: Ask) -> None:
    def handle(index: int) -> Any:
        return Refusal(pynvml.NVML_ERROR_GPU_IS_LOST) if index == 0 else 101

    found = ask(hopper() | {"nvmlDeviceGetCount_v2": 2, "nvmlDeviceGetHandleByIndex_v2": handle})
    assert [gpu.uuid for gpu in found.gpus] == [H100]
    assert found.why == ""
    assert "GPU 0 of NVML does not answer (GPU is lost)" in found.troubles[0]


def test_a_driver_that_sees_no_gpu(ask: Ask) -> None:
    found = ask(hopper() | {"nvmlDeviceGetCount_v2": 0})
    assert (found.driver, found.gpus) == ("550.54.15", ())
    assert "sees no GPU" in found.why


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe nvidia"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "reboot"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "rights of /dev/nvidia*"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, "fell off the bus"),
        (pynvml.NVML_ERROR_UNKNOWN, "NVML says: Unknown Error"),
    ],
)
@pytest.mark.parametrize("where", ["nvmlInitWithFlags", "nvmlSystemGetDriverVersion"])
def test_a_driver_that_does_not_answer_has_a_way_out(ask: Ask, code: int, words: str, where: str) -> None:
    found = ask(hopper() | {where: Refusal(code)})
    assert found.gpus == ()
    assert words in found.why


# --- without the library ---


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host without NVML's library and nothing on its PATH but a folder of ours."""

    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def tool(folder: Path, body: str) -> None:
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    script.chmod(0o755)


def test_this_very_host_gives_gpus_or_a_reason() -> None:
    """Nothing is recorded here: where there is no driver, it is NVIDIA's own library that is missing."""
    found = survey()
    assert bool(found.gpus) != bool(found.why)


def test_without_a_driver_the_host_tells_whether_there_is_a_card(bare: Path) -> None:
    card = bare / "sys/bus/pci/devices/0000:19:00.0"
    card.mkdir(parents=True)
    (bare / "dev").mkdir()
    (card / "vendor").write_text("0x10de\n", encoding="ascii")
    (card / "class").write_text("0x040300\n", encoding="ascii")  # its sound
    assert "no card, no driver" in survey(bare).why
    (card / "class").write_text("0x030200\n", encoding="ascii")
    assert "install NVIDIA's driver" in survey(bare).why
    (bare / "dev/nvidia0").touch()
    assert "NVIDIA_DRIVER_CAPABILITIES" in survey(bare).why


def test_without_the_module_there_is_a_way_out(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "install nvidia-ml-py" in survey(bare).why


CSV = (
    "GPU-1, NVIDIA A100-SXM4-40GB, 470.57.02, 40536, 8.0, Disabled, Enabled, Enabled, Exclusive_Process, 400.00, "
    "400.00, 400.00, 210, 1215, 1410, 1215, 1095, [N/A], 30, 00000000:07:00.0, 92.00.45.00.03"
)
APPS = "GPU-1, 4711, 3000"


def test_nvidia_smi_serves_where_the_library_does_not_load(bare: Path) -> None:
    tool(bare, f'case "$1" in --query-gpu*) echo "{CSV}";; --query-compute*) echo "{APPS}";; esac')
    found = survey()
    assert (found.driver, found.cuda, found.why) == ("470.57.02", 0, "")
    (gpu,) = found.gpus
    assert (gpu.uuid, gpu.name, gpu.capability, gpu.memory_mb) == ("GPU-1", "NVIDIA A100-SXM4-40GB", (8, 0), 40536)
    assert gpu.processes == {4711: 3000}
    assert gpu.facts["persistence"] == "on"
    assert gpu.facts["compute mode"] == "exclusive process"
    assert gpu.facts["power limit W"] == "400"
    assert gpu.facts["VBIOS"] == "92.00.45.00.03"
    assert "application memory clock MHz" not in gpu.facts


def test_nvidia_smi_may_keep_its_processes_to_itself(bare: Path) -> None:
    tool(bare, f'case "$1" in --query-gpu*) echo "{CSV}";; *) exit 6;; esac')
    (gpu,) = survey().gpus
    assert gpu.processes == {}


def test_nvidia_smi_of_an_old_driver_knows_fewer_fields(bare: Path) -> None:
    short = CSV.replace(" 8.0,", "", 1)
    tool(
        bare,
        'case "$1" in\n'
        "*compute_cap*) echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2;;\n"
        f'--query-gpu*) echo "{short}";;\nesac',
    )
    (gpu,) = survey().gpus
    assert gpu.capability == (0, 0)
    assert gpu.facts["VBIOS"] == "92.00.45.00.03"


def test_nvidia_smi_lists_mig_devices(bare: Path) -> None:
    on = CSV.replace("Disabled", "Enabled", 1)
    listing = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\n  MIG 1g.5gb      Device  0: (UUID: MIG-aa-bb)"
    tool(bare, f'case "$1" in --query-gpu*) echo "{on}";; -L) echo "{listing}";; esac')
    (gpu,) = survey().gpus
    assert (gpu.uuid, gpu.name, gpu.memory_mb) == ("MIG-aa-bb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5120)
    assert gpu.facts["MIG"] == "1g.5gb of GPU-1"


def test_an_nvidia_smi_that_fails_tells_its_own_words(bare: Path) -> None:
    tool(bare, 'echo "NVIDIA-SMI has failed because it could not communicate with the driver."; exit 9')
    assert "could not communicate with the driver" in survey().why


def test_an_nvidia_smi_without_gpus(bare: Path) -> None:
    tool(bare, "true")
    assert "lists no GPU" in survey().why
