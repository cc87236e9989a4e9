"""The doctor's report: each problem with a hint, exit codes, and text that fits 80 columns."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bench import doctor
from bench.engines import diagnosis
from bench.engines.diagnosis import Docker
from bench.errors import EngineError
from bench.gpu import facts
from bench.gpu.facts import Gpu, GpuInventory
from bench.plan import preflight
from bench.plan.column import Column, Pair

if TYPE_CHECKING:
    from pathlib import Path

    from bench.doctor import Findings
    from bench.plan.planner import Plan

NO_DOCKER = Docker(
    answers=False,
    daemon="there is no Docker socket at /var/run/docker.sock. Install and start Docker, or use --engine venv.",
    builds=False,
    builder="no docker command line was found",
)
H100 = Gpu(
    uuid="GPU-1",
    name="NVIDIA H100 80GB HBM3",
    capability=(9, 0),
    memory_mb=81559,
    facts={
        "MIG": "off",
        "persistence": "on",
        "clock events": "idle, application clocks",
        "max SM clock MHz": "1980",
        "VBIOS": "96.00.61.00.01",
    },
)
Usage = namedtuple("Usage", ["total", "used", "free"])  # noqa: PYI024 - as shutil's own


class Host:
    """A host with simulated NVML and Docker; the venv engine, disk and memory are those of the real host."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, root: Path) -> None:
        self._patch, self._folder, self._root = monkeypatch, folder, root
        monkeypatch.setenv("TFREPRO_CACHE", str(folder / "cache"))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        self.gpus()
        self.docker(NO_DOCKER)

    def gpus(self, *gpus: Gpu, driver: str = "550.54.15", **more: Any) -> None:
        inventory = (
            GpuInventory(driver=driver, cuda=12040, gpus=gpus, **more)
            if gpus
            else GpuInventory(why="there is no driver")
        )
        self._patch.setattr(facts, "survey", lambda: inventory)

    def docker(self, state: Docker) -> None:
        self._patch.setattr(diagnosis, "docker", lambda _: state)

    def free(self, size: int) -> None:
        self._patch.setattr(shutil, "disk_usage", lambda _: Usage(size, 0, size))

    def column(self, cuda: str = "cpu", **changes: Any) -> Column:
        lock = self._folder / "lock.txt"
        lock.write_text("keras==3.15.1\n", encoding="utf-8")
        cudnn = "" if cuda == "cpu" else "9.3.0.75"
        pair = Pair(tensorflow="2.18.1", cuda=cuda, python="3.11", keras="3.15.1", base="python:3.11-slim", cudnn=cudnn)
        return Column(pair=pair, lock=lock, **{"device": "cpu" if cuda == "cpu" else "h100", **changes})

    def examine(self, *columns: Column, engine: str = "venv", notes: tuple[str, ...] = ()) -> Findings:
        ready = tuple(column for column in columns if column.status == "ready")
        plan = cast("Plan", SimpleNamespace(columns=columns, ready=ready, notes=notes))
        return doctor.examine(plan, engine, self._root, self._folder / "reports")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path) -> Host:
    return Host(monkeypatch, tmp_path, root)


def printed(findings: Findings) -> str:
    """Return the text after checking its width, and that the JSON is complete."""
    page = doctor.text(findings)
    # a word, such as a path, is never split, and stands behind 20 columns
    long = [line for line in page.splitlines() if len(line) > 80 and max(map(len, line.split())) <= 60]
    assert not long
    assert all(line == line.rstrip() for line in page.splitlines())
    body = json.loads(json.dumps(doctor.as_json(findings)))
    assert body["schema"] == doctor.SCHEMA
    assert body["code"] == findings.code
    assert body["todo"] == list(findings.todo)
    return page


def test_a_plain_cpu_host_is_ready(host: Host) -> None:
    findings = host.examine(host.column(), notes=("CUDA pairs were left out: there is no GPU here",))
    page = printed(findings)
    assert findings.code == 0
    assert "tf2.18.1-cpu-py311@cpu  ok" in page
    assert "none  there is no driver" in page
    assert "CUDA pairs were left out" in page
    assert page.endswith("\n\nReady: 1 of 1 columns can run; no environment is built yet.")
    assert [line for line in findings.todo if "GPU" in line] == []


@pytest.mark.parametrize(
    ("status", "code"), [("ready", 0), ("build-failed", 3), ("incompatible", 3), ("gpu-not-visible", 5)]
)
def test_the_exit_code_says_whether_a_column_can_run(host: Host, status: str, code: int) -> None:
    reason = "" if status == "ready" else "for a reason"
    findings = host.examine(host.column(status=status, reason=reason))
    assert findings.code == code
    page = printed(findings)
    assert (f"{status}: for a reason" in page) == bool(reason)
    assert ("\nReady: " in page) == (code == 0)
    assert ("No GPU: there is no driver." in findings.todo) == (status == "gpu-not-visible")


def test_one_ready_column_is_enough(host: Host) -> None:
    assert host.examine(host.column("12.5", status="gpu-not-visible", reason="none"), host.column()).code == 0


def test_each_gpu_column_has_its_line_and_its_rules(host: Host) -> None:
    host.gpus(H100)
    findings = host.examine(host.column("12.5", gpu="GPU-1"))
    page = " ".join(printed(findings).split())
    assert "warn: first run compiles PTX on this GPU; minor-version compatibility (driver 550.54.15 <" in page
    assert "driver 550.54.15, supports CUDA up to 12.4" in page
    assert "NVIDIA H100 80GB HBM3, compute capability 9.0, 81559 MiB, GPU-1" in page
    (column,) = doctor.as_json(findings)["columns"]
    assert [rule["id"] for rule in column["rules"]] == ["jit", "minor-version-12"]
    assert all(rule["source"] for rule in column["rules"])


def test_a_blocked_column_says_what_to_do(host: Host) -> None:
    host.gpus(H100, driver="470.57.02")
    column = host.column("12.5", gpu="GPU-1")
    advice = preflight.advise(column.pair, H100, "470.57.02")
    findings = host.examine(replace(column, status="incompatible", reason=advice.text))
    assert "incompatible: blocked: driver 470.57.02 < 525.60.13 for CUDA 12.x" in " ".join(printed(findings).split())
    assert any("Update the driver" in line for line in findings.todo)
    assert findings.code == 3


@pytest.mark.parametrize(
    ("changes", "processes", "words"),
    [
        ({}, {99_999_999: 512}, "another process (99999999) holds 512 MiB"),
        ({}, {99_999_999: 0}, "holds an unknown amount of memory"),
        ({"persistence": "off"}, {}, "nvidia-smi -i GPU-1 -pm 1"),
        ({"compute mode": "prohibited"}, {}, "nvidia-smi -i GPU-1 -c 0"),
        ({"clock events": "idle"}, {}, "below 1980 MHz: nvidia-smi -i GPU-1 -lgc CLOCK"),
        ({"clock events": "application clocks, hardware slowdown"}, {}, "throttled now"),
        ({"clock events": "application clocks, software thermal slowdown"}, {}, "throttled now"),
    ],
)
def test_what_disturbs_a_gpu_is_listed(
    host: Host, changes: dict[str, str], processes: dict[int, int], words: str
) -> None:
    host.gpus(replace(H100, facts={**H100.facts, **changes}, processes=processes))
    findings = host.examine(host.column("12.5", gpu="GPU-1"))
    printed(findings)
    assert sum(line.startswith("GPU-1") for line in findings.todo) == 1
    assert any(words in line for line in findings.todo)
    assert findings.code == 0


def test_a_quiet_gpu_with_set_clocks_needs_nothing(host: Host) -> None:
    set_below = {"clock events": "idle", "application SM clock MHz": "1500"}
    for changes in ({}, set_below):
        host.gpus(replace(H100, facts={**H100.facts, **changes}))
        assert [line for line in host.examine(host.column("12.5", gpu="GPU-1")).todo if line.startswith("GPU")] == []


def test_a_mig_device_is_configured_through_its_gpu(host: Host) -> None:
    host.gpus(replace(H100, uuid="MIG-1", facts={"MIG": "1g.10gb of GPU-1", "persistence": "off"}))
    findings = host.examine(host.column("12.5", gpu="MIG-1"))
    assert any(line.startswith("MIG-1") and "nvidia-smi -i GPU-1 -pm 1" in line for line in findings.todo)


def test_gpus_that_do_not_answer_and_hidden_ones_are_listed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    host.gpus(H100, troubles=("GPU 1 of NVML does not answer (GPU is lost): look in dmesg",))
    findings = host.examine(host.column("12.5", gpu="GPU-1"))
    assert any("GPU is lost" in line for line in findings.todo)
    assert any("CUDA_VISIBLE_DEVICES" in line for line in findings.todo)


def test_a_full_disk_is_an_engine_error(host: Host) -> None:
    host.free(100_000_000)
    findings = host.examine(host.column())
    assert findings.code == 4
    assert any("GB, but only 0.1 GB are free" in line for line in findings.todo)
    assert "0.1 GB free at" in printed(findings)


def test_an_unusable_engine_is_reported_with_everything_else(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise EngineError("Docker was requested, but it cannot be used: it sleeps", "Omit --engine.")

    monkeypatch.setattr("bench.engines.select.choose", refuse)
    findings = host.examine(host.column(), engine="docker")
    page = printed(findings)
    assert findings.code == 4
    assert "none: Docker was requested, but it cannot be used" in page
    assert "it sleeps. Omit --engine." in " ".join(findings.todo)
    assert "tf2.18.1-cpu-py311@cpu  ok" in page


def test_docker_facts_and_a_missing_base_are_reported(host: Host) -> None:
    bases = {"python:3.11-slim": False, "python:3.10-slim": True}
    state = Docker(
        answers=True, daemon="28.3 answers", builds=True, builder="/usr/bin/docker (buildx)", bases=bases,
        routes={"gpus": "every engine takes it"}, facts={"runtimes": "nvidia, runc"},
    )  # fmt: skip
    host.docker(state)
    findings = host.examine(host.column())
    page = printed(findings)
    assert "base python:3.11-slim  not present" in page
    assert "runtimes" in page
    assert "GPU through gpus" in page
    assert [line for line in findings.todo if "container" in line] == []
    todo = list(doctor._engine_todo(replace(findings.engines, name="docker")))
    assert len(todo) == 1
    assert "nox -s base-image" in todo[0]


def test_without_docker_its_installation_is_suggested(host: Host) -> None:
    findings = host.examine(host.column())
    assert any("Install and start Docker" in line for line in findings.todo)
    host.docker(replace(NO_DOCKER, answers=True, daemon="answers"))
    assert any("no docker command line" in line for line in host.examine(host.column()).todo)
