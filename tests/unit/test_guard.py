"""What the host sees of a GPU while times are taken, with a card that plays what was recorded."""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pynvml  # type: ignore[import-untyped]
import pytest

from bench.gpu.guard import BLIND_S, GpuSample, Guard, Nobody, watching, whose_process
from tests.unit.test_gpu_facts import H100, Library, Refusal, hopper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.gpu.guard import Whose

GIB = 1024**3
CALM = GpuSample(
    at=0.0, sm_mhz=1980, memory_mhz=2619, temperature_c=40, power_w=300.0, memory_mb=1000, reasons=0, processes={}
)
POWER_CAP, SLOWDOWN, SOFT_HEAT, SYNC, HARD_HEAT, BRAKE = 0x4, 0x8, 0x20, 0x10, 0x40, 0x80


@dataclass
class Played:
    """A card that says what ``now`` holds, at the moment ``clock`` shows or at the real one."""

    now: GpuSample = CALM
    clock: float | None = None
    looks: int = field(default=0)

    def look(self) -> GpuSample:
        self.looks += 1
        return dataclasses.replace(self.now, at=time.monotonic() if self.clock is None else self.clock)


def watched(card: Played, *looks: tuple[float, Mapping[str, Any]], kinds: Mapping[int, Whose] | None = None) -> Guard:
    """A guard that has looked at these moments; the first look is at 0, before anything runs."""
    known = kinds or {}
    made = Guard(card, whose=lambda pid: known.get(pid, "unknown"))
    card.clock = 0.0
    made.look()
    for moment, changes in looks:
        card.clock, card.now = moment, dataclasses.replace(CALM, **changes)
        made.look()
    return made


def test_an_interval_has_the_ranges_of_its_looks() -> None:
    made = watched(
        Played(),
        (0.2, {"sm_mhz": 1500, "power_w": 500.0}),
        (0.4, {"temperature_c": 60, "memory_mhz": 2000, "memory_mb": 5000}),
        (0.6, {"sm_mhz": 300}),
    )
    assert made.seen(0.1, 0.5) == {
        "samples": 3,
        "sm_mhz": [1500, 1980],
        "memory_mhz": [2000, 2619],
        "temperature_c": 60,
        "power_w": 500.0,
        "memory_mb": 5000,
        "reasons": [],
        "foreign": [],
        "discarded": "",
    }


def test_a_short_sample_between_two_looks_has_the_last_one_before_it() -> None:
    made = watched(Played(), (0.2, {"reasons": HARD_HEAT}), (0.4, {}))
    found = made.seen(0.25, 0.3)
    assert (found["samples"], found["discarded"]) == (1, "throttled: hardware thermal slowdown")
    assert made.seen(0.45, 0.5)["discarded"] == ""


@pytest.mark.parametrize(
    ("bits", "reasons", "discarded"),
    [
        (0x1, ["idle"], ""),
        (0x2, ["application clocks"], ""),
        (POWER_CAP, ["power cap"], ""),
        (SYNC, ["sync boost"], ""),
        (0x100, ["display clocks"], ""),
        (SLOWDOWN, ["hardware slowdown"], "throttled: hardware slowdown"),
        (SOFT_HEAT, ["software thermal slowdown"], "throttled: software thermal slowdown"),
        (HARD_HEAT, ["hardware thermal slowdown"], "throttled: hardware thermal slowdown"),
        (BRAKE, ["power brake"], "throttled: power brake"),
        (POWER_CAP | SLOWDOWN | BRAKE, ["power cap", "hardware slowdown", "power brake"],
         "throttled: hardware slowdown, power brake"),
        (1 << 40, ["bit 40"], ""),
    ],
)  # fmt: skip
def test_what_slows_a_gpu_for_reasons_of_its_own_spoils_a_time(bits: int, reasons: list[str], discarded: str) -> None:
    found = watched(Played(), (0.2, {"reasons": bits})).seen(0.1, 0.3)
    assert (found["reasons"], found["discarded"]) == (reasons, discarded)
    assert "unwatched" not in found


class TestSharing:
    """Whose processes compute on the GPU."""

    def foreign(self, *looks: Mapping[int, int], kinds: Mapping[int, Whose] | None = None) -> list[str]:
        card = Played(now=dataclasses.replace(CALM, processes=looks[0]))
        timed = [(0.2 * number, {"processes": held}) for number, held in enumerate(looks[1:], 1)]
        found = watched(card, *timed, kinds=kinds).seen(0.1, 9.0)
        assert bool(found["foreign"]) == found["discarded"].startswith("shared: ")
        return list(found["foreign"])

    def test_a_worker_is_ours(self) -> None:
        assert self.foreign({}, {7: 900}, kinds={7: "ours"}) == []

    def test_anybody_else_is_not(self) -> None:
        found = self.foreign({}, {7: 900, 8: 512}, {7: 900, 8: 700}, kinds={7: "ours", 8: "other"})
        assert found == ["process 8 holds 700 MiB"]

    def test_a_second_worker_is_that_of_another_run(self) -> None:
        found = self.foreign({}, {7: 900}, {9: 800, 7: 900}, kinds={7: "ours", 9: "ours"})
        assert found == ["process 9 holds 800 MiB"]

    def test_one_unknown_process_is_taken_for_our_worker(self) -> None:
        assert self.foreign({}, {7: 900}, {7: 950}) == []

    def test_the_next_worker_is_too(self) -> None:
        assert self.foreign({}, {7: 900}, {}, {9: 900}) == []

    def test_more_unknown_ones_are_foreign_whatever_their_order(self) -> None:
        found = self.foreign({}, {7: 900}, {8: 5, 7: 900}, {7: 900, 8: 5})
        assert found == ["process 8 holds 5 MiB"]

    def test_beside_a_known_worker_an_unknown_one_is_foreign(self) -> None:
        assert self.foreign({}, {7: 900, 8: 5}, kinds={7: "ours"}) == ["process 8 holds 5 MiB"]

    @pytest.mark.parametrize("kind", ["unknown", "ours"])
    def test_who_was_there_before_is_foreign(self, kind: Whose) -> None:
        """Even a worker: it is one that a killed run has left."""
        assert self.foreign({8: 5}, {8: 5, 7: 900}, kinds={8: kind}) == ["process 8 holds 5 MiB"]

    def test_an_id_that_was_given_out_again_is_new(self) -> None:
        card = Played(now=dataclasses.replace(CALM, processes={8: 5}))
        made = watched(card, (0.2, {"processes": {}}), (0.4, {"processes": {8: 900}}), kinds={8: "ours"})
        assert made.seen(0.3, 0.5)["foreign"] == []

    def test_both_kinds_of_harm_are_told(self) -> None:
        made = watched(Played(), (0.2, {"reasons": SOFT_HEAT, "processes": {8: 5}}), kinds={8: "other"})
        assert made.seen(0.1, 0.3)["discarded"] == "throttled: software thermal slowdown; shared: process 8 holds 5 MiB"


class TestUnwatched:
    """No time is silently without a guard."""

    def test_where_nobody_can_look(self) -> None:
        with Guard(Nobody("there is no NVML here")) as made:
            found = made.seen(time.monotonic(), time.monotonic())
        assert found == {
            "samples": 0, "reasons": [], "foreign": [], "discarded": "", "unwatched": "there is no NVML here",
        }  # fmt: skip

    def test_where_half_of_it_is_missing(self) -> None:
        made = watched(Played(), (0.2, {"processes": None, "why": "other processes cannot be listed"}))
        found = made.seen(0.1, 0.3)
        assert (found["samples"], found["unwatched"]) == (2, "other processes cannot be listed")

    def test_harm_that_was_seen_is_told_all_the_same(self) -> None:
        made = watched(Played(), (0.2, {"processes": None, "reasons": BRAKE, "why": "x"}))
        found = made.seen(0.1, 0.3)
        assert (found["discarded"], found["unwatched"]) == ("throttled: power brake", "x")

    @pytest.mark.parametrize(
        ("moments", "interval"),
        [((5.0,), (4.8, 5.1)), ((0.2,), (0.1, 4.0)), ((0.2, 4.0), (0.1, 4.1)), ((), (3.0, 3.1))],
    )
    def test_where_nobody_looked_for_too_long(self, moments: tuple[float, ...], interval: tuple[float, float]) -> None:
        found = watched(Played(), *((moment, {}) for moment in moments)).seen(*interval)
        assert found["unwatched"].startswith("nobody looked for ")
        assert float(found["unwatched"].split()[3]) > BLIND_S

    def test_without_any_look(self) -> None:
        assert "unwatched" in Guard(Played()).seen(0.0, 0.1)


def test_it_looks_while_it_is_entered_and_not_after() -> None:
    card = Played()
    with Guard(card, period_s=0.01) as made:
        start = time.monotonic()
        while card.looks < 5:
            time.sleep(0.01)
        found = made.seen(start, time.monotonic())
    looks = card.looks
    time.sleep(0.05)
    assert (found["samples"] >= 4, found["discarded"], card.looks) == (True, "", looks)


def test_trouble_is_that_of_now() -> None:
    card = Played(now=dataclasses.replace(CALM, reasons=HARD_HEAT))
    made = Guard(card)
    made.look()
    assert made.trouble() == "throttled: hardware thermal slowdown"
    card.now = CALM
    made.look()
    assert made.trouble() == ""


class TestWhose:
    """A command line tells."""

    def root(self, tmp_path: Path, text: bytes, namespace: str = "pid:[4026531836]") -> Path:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "cmdline").write_bytes(text)
        (tmp_path / "self" / "ns").mkdir(parents=True)
        (tmp_path / "self" / "ns" / "pid").symlink_to(namespace)
        return tmp_path

    def test_a_worker_is_ours(self, tmp_path: Path) -> None:
        assert whose_process(7, self.root(tmp_path, b"python\0-m\0bench.suite.worker\0{}\x001\0")) == "ours"

    def test_a_trainer_is_not(self, tmp_path: Path) -> None:
        root = self.root(tmp_path, b"python\0train.py\0--note\0like bench.suite.worker\0")
        assert whose_process(7, root) == "other"

    def test_what_cannot_be_read_is_unknown(self, tmp_path: Path) -> None:
        root = self.root(tmp_path, b"")
        assert [whose_process(pid, root) for pid in (7, 8)] == ["unknown", "unknown"]

    def test_in_another_namespace_a_number_is_somebody_else(self, tmp_path: Path) -> None:
        assert whose_process(7, self.root(tmp_path, b"sshd\0", "pid:[4026532281]")) == "unknown"

    def test_this_very_host(self) -> None:
        assert whose_process(os.getpid()) in ("other", "unknown")
        assert whose_process(2**22 + 1) == "unknown"


class TestNvml:
    """NVIDIA's module over a recorded library."""

    @pytest.fixture
    def look(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        def looked(changes: Mapping[str, Any]) -> dict[str, Any]:
            answers = {
                **hopper(),
                "nvmlDeviceGetHandleByUUID": 100,
                "nvmlDeviceIsMigDeviceHandle": 0,
                "nvmlDeviceGetPowerUsage": 412_345,
                "nvmlDeviceGetMemoryInfo": {"total": 80 * GIB, "used": 3 * GIB},
                "nvmlDeviceGetCurrentClocksEventReasons": POWER_CAP,
                **changes,
            }
            library = Library({name: answer for name, answer in answers.items() if answer is not None})
            monkeypatch.setattr(pynvml, "nvmlLib", library)
            monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
            with watching(H100) as made:
                return made.seen(time.monotonic(), time.monotonic())

        return looked

    def test_a_card_tells_all(self, look: Callable[..., dict[str, Any]]) -> None:
        assert look({}) == {
            "samples": 1, "sm_mhz": [345, 345], "memory_mhz": [2619, 2619], "temperature_c": 31, "power_w": 412.3,
            "memory_mb": 3072, "reasons": ["power cap"], "foreign": [], "discarded": "",
        }  # fmt: skip

    def test_older_drivers_know_older_names(self, look: Callable[..., dict[str, Any]]) -> None:
        found = look({
            "nvmlDeviceGetCurrentClocksEventReasons": None,
            "nvmlDeviceGetCurrentClocksThrottleReasons": SLOWDOWN,
            "nvmlDeviceGetComputeRunningProcesses_v3": None,
            "nvmlDeviceGetComputeRunningProcesses_v2": {4711: 5 * 1024**2},
        })  # fmt: skip
        assert found["discarded"] == "throttled: hardware slowdown; shared: process 4711 holds 5 MiB"
        assert "unwatched" not in found

    def test_a_card_that_tells_no_heat_is_watched(self, look: Callable[..., dict[str, Any]]) -> None:
        refuse = Refusal(pynvml.NVML_ERROR_NOT_SUPPORTED)
        found = look({"nvmlDeviceGetTemperature": refuse, "nvmlDeviceGetPowerUsage": refuse})
        assert not {"temperature_c", "power_w", "unwatched"} & set(found)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("nvmlDeviceGetCurrentClocksEventReasons", "throttling cannot be read (NVML says: Not Supported)"),
            ("nvmlDeviceGetComputeRunningProcesses_v3", "other processes cannot be listed (NVML says: Not Supported)"),
        ],
    )
    def test_a_card_that_hides_what_matters_is_not(
        self, look: Callable[..., dict[str, Any]], name: str, words: str
    ) -> None:
        found = look({name: Refusal(pynvml.NVML_ERROR_NOT_SUPPORTED)})
        assert (found["unwatched"], found["samples"]) == (words, 1)

    def test_a_lost_gpu_is_told(self, look: Callable[..., dict[str, Any]]) -> None:
        lost = Refusal(pynvml.NVML_ERROR_GPU_IS_LOST)
        found = look(dict.fromkeys((name for name in hopper() if "Device" in name and "Count" not in name), lost))
        assert (found["samples"], found["unwatched"]) == (0, "throttling cannot be read (NVML says: GPU is lost)")

    def test_a_mig_device_has_the_clocks_of_its_card(self, look: Callable[..., dict[str, Any]]) -> None:
        asked: list[tuple[str, Any]] = []

        def of(name: str, answer: Any) -> Callable[..., Any]:
            def told(handle: Any, *_: Any) -> Any:
                asked.append((name, handle))
                return answer

            return told

        found = look({
            "nvmlDeviceIsMigDeviceHandle": 1,
            "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": 200,
            "nvmlDeviceGetClockInfo": of("clock", 1410),
            "nvmlDeviceGetCurrentClocksEventReasons": of("reasons", 0),
            "nvmlDeviceGetMemoryInfo": of("memory", {"used": GIB}),
        })  # fmt: skip
        assert found["memory_mb"] == 1024
        assert dict(asked) == {"clock": 200, "reasons": 200, "memory": 100}

    def test_without_a_driver_or_without_the_gpu(self, look: Callable[..., dict[str, Any]]) -> None:
        found = look({"nvmlInitWithFlags": Refusal(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)})
        assert (found["samples"], found["unwatched"]) == (0, "NVML does not answer (Driver Not Loaded)")
        found = look({"nvmlDeviceGetHandleByUUID": Refusal(pynvml.NVML_ERROR_NOT_FOUND)})
        assert found["unwatched"].startswith(f"NVML does not find the GPU {H100} (")

    def test_here(self) -> None:
        """Whatever this host is: there is an answer, and no exception."""
        with watching("GPU-0") as made:
            assert made.seen(time.monotonic(), time.monotonic())["unwatched"]
