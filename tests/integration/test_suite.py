"""The suite on real TensorFlow: the article's three examples, both modes, and what the worker survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bench import host
from bench.engines.venv import VenvEngine
from bench.suite.kernels import all_kernels
from tests.integration.conftest import Bench, cell_of

if TYPE_CHECKING:
    from pathlib import Path

    from bench.suite.record import Record

pytestmark = pytest.mark.tensorflow


def digests(found: Record, kernel: str, role: str = "repeat") -> set[str]:
    return {sample.digest for sample in found.samples if sample.kernel == kernel and sample.role == role}


@pytest.mark.parametrize("release", ["2.15.1", "2.18.1", "2.21.0"])
@pytest.mark.parametrize("mode", ["off", "on"])
def test_the_whole_suite_runs_and_proves_its_mode(benches: dict[str, Bench], release: str, mode: str) -> None:
    found = benches[release].run(tuple(all_kernels()), mode=mode)
    assert found.complete
    assert {one.outcome for one in found.outcomes} == {"ok"}, found.outcomes
    process = found.processes[0]
    assert process.settings["determinism_enabled"] is (mode == "on")
    assert process.provenance["tensorflow"] == release
    for name in all_kernels():
        assert not digests(found, name) & digests(found, name, "contrast"), f"{name} does not depend on its seed"
    assert len(digests(found, "control_flicker")) == 2
    assert len(digests(found, "control_integer")) == 1
    # S1: the same seed gives the same weights, another seed gives others (the loop above)
    assert len(digests(found, "seeded_mlp")) == 1
    if mode == "on":
        assert len(digests(found, "data_pipeline")) == 1


def test_s2_another_instruction_set_is_another_device(bench: Bench) -> None:
    here = bench.run(["matmul_mean"])
    there = bench.run(["matmul_mean"], condition="isa=avx2", env={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert there.processes[0].settings["isa_limit"] == "AVX2"
    assert len(digests(here, "matmul_mean")) == len(digests(there, "matmul_mean")) == 1
    if host.limits("avx2"):
        assert digests(here, "matmul_mean") != digests(there, "matmul_mean")


def test_s3_api_and_environment_variable_are_one_switch(bench: Bench) -> None:
    api = bench.run(["seeded_mlp"], mode="on")
    variable = bench.run(["seeded_mlp"], mode="on", condition="switch=env", switch="env")
    for found, switch in ((api, "api"), (variable, "env")):
        settings = found.processes[0].settings
        assert settings["determinism_enabled"] is True
        assert settings["switch"] == switch
        assert ("TF_DETERMINISTIC_OPS" in settings["env"]) is (switch == "env")
    assert digests(api, "seeded_mlp") == digests(variable, "seeded_mlp")


def test_nothing_of_the_hosts_environment_reaches_a_cell(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    settings = bench.run(["control_integer"]).processes[0].settings
    assert settings["determinism_enabled"] is False
    assert settings["env"] == {}


def test_a_cell_that_is_not_what_was_asked_gives_no_number(bench: Bench) -> None:
    found = bench.run(["control_integer"], expect={"tensorflow-cpu": "2.99.0"})
    assert not found.samples
    assert found.outcomes[0].outcome == "failed"
    assert "not what was asked: tensorflow-cpu 2.18.1" in found.outcomes[0].message


def test_crash_hang_and_error_cost_one_kernel_each(planted: Bench) -> None:
    kernels = [
        *("control_integer", "planted_abort", "planted_exit", "planted_unimplemented", "planted_hang"),
        *("planted_nothing", "planted_resource", "planted_nan", "planted_noise_on_stdout", "control_flicker"),
    ]
    found = planted.run(kernels, time_limit_s=5.0)
    assert found.complete
    ended = {one.kernel: one for one in found.outcomes}
    assert set(ended) == set(kernels)
    assert {name: one.outcome for name, one in ended.items()} == {
        "control_integer": "ok",
        "planted_abort": "crashed",
        "planted_exit": "crashed",
        "planted_unimplemented": "raised",
        "planted_hang": "timeout",
        "planted_nothing": "raised",
        "planted_resource": "oom",
        "planted_nan": "ok",
        "planted_noise_on_stdout": "ok",
        "control_flicker": "ok",
    }
    assert "SIGABRT" in ended["planted_abort"].message
    assert "exit code 7" in ended["planted_exit"].message
    assert ended["planted_unimplemented"].error_class == "UnimplementedError"
    assert "deterministic GPU implementation" in ended["planted_unimplemented"].message
    assert len(found.processes) == 4  # the first, and one after each death
    assert {one.outputs["x"]["nan"] for one in found.samples if one.kernel == "planted_nan"} == {1}


def test_a_kernel_that_switches_determinism_spoils_no_other(planted: Bench) -> None:
    found = planted.run(["planted_switch", "control_integer"])
    ended = {one.kernel: one for one in found.outcomes}
    assert ended["planted_switch"].outcome == "failed"
    assert "a kernel switched determinism" in ended["planted_switch"].message
    assert ended["control_integer"].outcome == "ok"
    assert [process.settings["determinism_enabled"] for process in found.processes] == [False, False]


def test_the_limit_holds_for_a_kernel_that_keeps_talking(planted: Bench) -> None:
    found = planted.run(["planted_slow"], repeats=20, time_limit_s=1.5)
    assert found.outcomes[0].outcome == "timeout"
    assert 1 <= len(found.samples) < 20


def test_an_edited_environment_is_made_anew(house: Path, tmp_path: Path) -> None:
    cell = cell_of(house)
    copy = VenvEngine(house, cache=tmp_path / "cache")
    copy.prepare(cell, tmp_path / "build.log", lambda _: None)
    site = next((tmp_path / "cache" / "venvs").glob("*/lib/*/site-packages"))
    victim = site / "tensorflow" / "python" / "framework" / "random_seed.py"
    text = victim.read_text(encoding="utf-8")
    victim.unlink()  # a new file, for the old one is linked to uv's cache
    victim.write_text(text.replace("seed", "seed ", 1), encoding="utf-8")
    again = copy.prepare(cell, tmp_path / "build.log", lambda _: None)
    assert not again.reused
    assert victim.read_text(encoding="utf-8") == text
    assert copy.prepare(cell, tmp_path / "build.log", lambda _: None).reused


def test_a_killed_runner_leaves_no_process_behind(house: Path, planted: Bench, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom bench.engines.venv import VenvEngine\n"
        "from bench.suite.record import Request\nfrom tests.integration.conftest import cell_of\n"
        "house, copy, out = map(Path, sys.argv[1:])\nengine, cell = VenvEngine(copy), cell_of(house)\n"
        "place = engine.prepare(cell, out / 'b.log', lambda _: None)\n"
        "request = Request(cell='c', mode='off', condition='default', round=1, kernels=('planted_hang',), repeats=1)\n"
        "engine.execute(place, request, lambda text: print(text, end='', flush=True), out / 'r.log')\n"
    )
    command = [sys.executable, "-c", code, str(house), str(planted.folder / "house"), str(tmp_path)]
    with subprocess.Popen(command, cwd=house, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        text = next(text for text in runner.stdout if '"line": "process"' in text)
        worker = int(text.split('"pid": ')[1].split(",")[0])
        os.kill(runner.pid, signal.SIGKILL)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its runner by ten seconds")
