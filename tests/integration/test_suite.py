"""The suite with real TensorFlow: every kernel in every release and mode, and failures that the worker survives."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import host
from bench.engines.venv import VenvEngine
from bench.suite.distance import numbers
from bench.suite.kept_values import decode_tensor, positions
from bench.suite.kernels import all_kernels
from bench.suite.sampler import LATER_CALLS
from bench.suite.variation import settings
from bench.verdict import known_issues
from tests.integration.conftest import PLANTED, RELEASES, Bench

if TYPE_CHECKING:
    from pathlib import Path

    from bench.suite.kept_values import KeptTensor
    from bench.suite.record import Outcome, Record, Sample

pytestmark = pytest.mark.tensorflow

SUITE = all_kernels()
#: Kernels that TensorFlow rejects with determinism on, even on a CPU: class and message; any other error is a bug.
UNSUPPORTED = {
    "max_pool_grad_xla": (
        "UnimplementedError", "GPU MaxPool gradient ops do not yet have a deterministic XLA implementation",
    ),
    "generator_global": ("RuntimeError", '"get_global_generator" cannot be called if determinism is enabled'),
}  # fmt: skip
#: Kernel without XLA -> the output that XLA computes wrongly, as public reports say.
WRONG_WITH_XLA = {"eigvalsh_large": "eigenvalues", "moments_large": "variance"}


@dataclass(frozen=True)
class SuiteRound:
    """One round of the whole suite."""

    record: Record
    lines: list[str]
    kernels: tuple[str, ...]

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {outcome.kernel: outcome for outcome in self.record.outcomes}

    def samples(self, kernel: str, role: str = "repetition") -> list[Sample]:
        return [sample for sample in self.record.samples if (sample.kernel, sample.role) == (kernel, role)]

    def kept(self) -> dict[str, list[KeptTensor]]:
        """Return the kept tensors by kernel and digest."""
        result: dict[str, list[KeptTensor]] = {}
        for row in (json.loads(text) for text in self.lines if '"line": "kept"' in text):
            result[f"{row['kernel']} {row['digest']}"] = [decode_tensor(tensor) for tensor in row["tensors"]]
        return result


@pytest.fixture(scope="module")
def wholes() -> dict[tuple[str, str], SuiteRound]:
    return {}


@pytest.fixture(params=[(release, mode) for release in RELEASES for mode in ("off", "on")], ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    result: tuple[str, str] = request.param
    return result


def needs_onednn(ended: Outcome, release: str, mode: str) -> bool:
    """Whether a kernel failed because TensorFlow leaves oneDNN off by default on this CPU, as on an AMD EPYC."""
    issue = known_issues.match(ended.error_class, ended.message, release, "cpu", mode)
    return issue is not None and issue.id.startswith("dilated-conv")


@pytest.fixture
def whole(place: tuple[str, str], benches: dict[str, Bench], wholes: dict[tuple[str, str], SuiteRound]) -> SuiteRound:
    """The whole suite in one release and mode, measured only once."""
    if place not in wholes:
        release, mode = place
        result = benches[release].run(tuple(SUITE), mode=mode)
        left_out = {ended.kernel for ended in result.outcomes if needs_onednn(ended, release, mode)}
        left_out |= set(UNSUPPORTED) if mode == "on" else set()
        measured = tuple(name for name in SUITE if name not in left_out)
        wholes[place] = SuiteRound(result, list(benches[release].lines), measured)
    return wholes[place]


def digests(result: Record, kernel: str, role: str = "repetition") -> set[str]:
    return {sample.digest for sample in result.samples if sample.kernel == kernel and sample.role == role}


def test_every_kernel_runs_and_the_process_records_its_provenance(whole: SuiteRound, place: tuple[str, str]) -> None:
    release, mode = place
    assert whole.record.complete
    outcomes = whole.record.outcomes
    failed = {
        ended.kernel: (ended.outcome, ended.error_class, ended.message)
        for ended in outcomes
        if not needs_onednn(ended, release, mode)
    }
    for name, (error_class, reported) in UNSUPPORTED.items() if mode == "on" else ():
        outcome, error, message = failed.pop(name)
        assert (outcome, error) == ("error", error_class)
        assert reported in message
        assert name not in whole.kernels
    assert {name: reason for name, reason in failed.items() if reason[0] != "ok"} == {}
    assert {ended.kernel for ended in outcomes} == set(SUITE)
    assert {ended.kernel: ended.left_behind for ended in outcomes if ended.left_behind} == {}
    assert len(failed) == len(whole.kernels)
    (process,) = whole.record.processes
    assert process.settings["determinism_enabled"] is (mode == "on")
    assert process.provenance["tensorflow"] == release
    assert set(process.provenance["kernel_hashes"]) == set(SUITE)
    assert any(name.startswith("libtensorflow") for name in process.libraries), process.libraries
    assert any(name.startswith("libc") for name in process.libraries)
    peaks = [outcome.peak_mb for outcome in whole.record.outcomes]
    assert all(peak is not None and 100 < peak < 100_000 for peak in peaks)


def test_another_seed_changes_every_output(whole: SuiteRound) -> None:
    same = [
        f"{name} {output}"
        for name in whole.kernels
        for repetition, second_seed in [(whole.samples(name)[0], whole.samples(name, "second-seed")[0])]
        for output, facts in repetition.outputs.items()
        if second_seed.outputs[output]["digest"] == facts["digest"]
    ]
    assert same == []


def test_eager_results_have_the_outputs_of_the_graph_and_wrong_xla_values_are_wrong(
    whole: SuiteRound, place: tuple[str, str], benches: dict[str, Bench]
) -> None:
    release, mode = place
    names = ("softmax_xent", "layer_norm", "eigvalsh_large", "moments_large", "sparse_dense_matmul_grad")
    eager = benches[release].run(names, mode=mode, eager=True, variation="eager=on", repetitions=1)
    assert eager.processes[0].settings["eager"] is True
    assert whole.record.processes[0].settings["eager"] is False
    for name in names:
        (sample,) = [one for one in eager.samples if (one.kernel, one.role) == (name, "repetition")]
        assert sample.outputs.keys() == whole.samples(name)[0].outputs.keys()
    for name, output in WRONG_WITH_XLA.items():
        assert whole.samples(name)[0].errors[output]["max"] < 1e-6
        assert whole.samples(f"{name}_xla")[0].errors[output]["max"] > 0.1


def test_inputs_of_graphs_are_arguments_and_not_constants(bench: Bench, root: Path) -> None:
    source = (root / "tests" / "integration" / "graph_inputs.py").read_text(encoding="utf-8")
    checking = bench.with_kernel_file("graph_inputs.py", source)
    (outcome,) = checking.run(("constants_in_graphs",), repetitions=1, second_seed=False).outcomes
    assert (outcome.outcome, outcome.message) == ("ok", "")


def test_outputs_are_on_the_right_device_and_finite(whole: SuiteRound) -> None:
    for sample in whole.record.samples:
        assert sample.outputs, sample.kernel
        for output, facts in sample.outputs.items():
            assert facts["device"] in {"CPU:0", ""}, f"{sample.kernel} {output}"
            assert (facts["nan"], facts["inf"]) == (0, 0), f"{sample.kernel} {output}"


def test_controls_behave_as_declared(whole: SuiteRound) -> None:
    assert len({sample.digest for sample in whole.samples("control_flicker")}) == 2
    for name in ("control_integer", "control_fixed_float"):
        assert len({sample.digest for sample in whole.samples(name)}) == 1


def test_the_same_seed_gives_the_same_training(whole: SuiteRound, place: tuple[str, str]) -> None:
    assert len({sample.digest for sample in whole.samples("seeded_mlp")}) == 1
    if place[1] == "on":
        assert len({sample.digest for sample in whole.samples("data_pipeline")}) == 1


def test_trainings_record_every_step(whole: SuiteRound) -> None:
    steps: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for key, rows in whole.kept().items():
        for tensor in rows:
            if tensor.step is not None:
                steps[key.split()[0]][tensor.step].append(tensor.name)
    trained = {name for name in SUITE if name.endswith(("_fit", "_loop", "_fit_xla"))}
    assert set(steps) == trained
    for name in trained:
        sample = whole.samples(name)[0]
        assert sample.outputs["trail"]["shape"] == [len(steps[name])]
        assert len(steps[name]) > 1
        kinds = [{tensor.split()[0] for tensor in names} for names in steps[name].values()]
        assert all(kind == kinds[0] for kind in kinds)
        assert kinds[0] >= ({"loss", "gradient", "weight"} if SUITE[name].portable else {"loss", "weight"}), name
        assert all(names[0] == "loss" for names in steps[name].values()), "the loss comes first"


def test_kept_values_can_be_decoded_and_match_their_outputs(whole: SuiteRound) -> None:
    result = whole.kept()
    for name in whole.kernels:
        kernel = SUITE[name]
        sample = whole.samples(name)[0]
        rows = result.get(f"{name} {sample.digest}", [])
        if kernel.control:
            assert not rows
            continue
        outputs = {row.name: row for row in rows if row.step is None}
        assert set(outputs) == set(sample.outputs) - {"trail"}
        for output, row in outputs.items():
            facts = sample.outputs[output]
            assert (row.dtype, list(row.shape), row.digest) == (facts["dtype"], facts["shape"], facts["digest"])
            values, _ = numbers(row.dtype, row.raw)
            parts = 2 if row.dtype.startswith("complex") else 1
            assert values.size == positions(row.size, row.most).size * parts
            assert np.isfinite(values).all() or row.dtype not in {"float32", "float64"}
    second_seed = {f"{name} {sample.digest}" for name in SUITE for sample in whole.samples(name, "second-seed")}
    assert not second_seed & set(result), "no values are kept for the second seed"


def test_errors_are_measured_where_there_is_a_reference(whole: SuiteRound) -> None:
    wrong = {(f"{name}_xla", output) for name, output in WRONG_WITH_XLA.items()}
    for name in whole.kernels:
        errors = whole.samples(name)[0].errors
        assert bool(errors) is (SUITE[name].reference is not None), name
        for output, error in errors.items():
            limit = 0.05 if whole.samples(name)[0].outputs[output]["dtype"] in {"float16", "bfloat16"} else 1e-3
            assert error["rms"] >= 0, f"{name} {output}: {error}"
            assert (error["rms"] < limit) is ((name, output) not in wrong), f"{name} {output}: {error}"


def test_kernels_that_can_be_called_again_make_later_calls(whole: SuiteRound, place: tuple[str, str]) -> None:
    again = {name for name in whole.kernels if SUITE[name].call_again and not SUITE[name].control}
    assert {sample.kernel for sample in whole.record.samples if sample.role == "later-call"} == again
    if place[1] == "on":
        racing = {issue.kernel for issue in known_issues.known() if issue.kernel and issue.applies_to(place[0], "cpu")}
        differing = [
            name for name in again - racing if digests(whole.record, name, "later-call") != digests(whole.record, name)
        ]
        assert not differing


def test_repetitions_and_second_seed_follow_the_request(bench: Bench) -> None:
    result = bench.run(["mlp_loop", "reduce_max"], repetitions=3, heavy_repetitions=2, second_seed=False)
    for kernel, repetitions in (("mlp_loop", 2), ("reduce_max", 3)):
        own = [(one.role, one.repetition, one.seed) for one in result.samples if one.kernel == kernel]
        later = len(own) - repetitions
        assert 1 <= later <= LATER_CALLS
        assert own == [
            *(("repetition", number, 42) for number in range(repetitions)),
            *(("later-call", number, 42) for number in range(later)),
        ]
    result = bench.run(["reduce_max"], repetitions=1, seed=123)
    roles = [(sample.role, sample.seed) for sample in result.samples]
    assert list(dict.fromkeys(roles)) == [("repetition", 123), ("later-call", 123), ("second-seed", 124)]


def test_errors_are_measured_in_the_first_round_only(bench: Bench) -> None:
    assert bench.run(["reduce_sum_1d"]).samples[0].errors
    assert not bench.run(["reduce_sum_1d"], round=2).samples[0].errors


class TestVariations:
    """The settings of a variation take effect in the process and are recorded."""

    @pytest.mark.parametrize(
        "wanted",
        [
            {"threads=1": ("intra_op_threads", 1), "onednn=0": ("onednn", "off"), "tf32=off": ("tf32", False)},
            {
                "threads=4xcores": ("intra_op_threads", 4 * len(os.sched_getaffinity(0))),
                "onednn=1": ("onednn", "on"),
                "isa=avx2": ("isa_limit", "AVX2"),
                "tf32=on": ("tf32", True),
            },
        ],
        ids=" ".join,
    )
    def test_the_process_records_the_settings(self, bench: Bench, wanted: dict[str, tuple[str, Any]]) -> None:
        each = [settings(variation) for variation in wanted]
        env = {name: value for one in each for name, value in one.env.items()}
        result = bench.run(
            ["matmul_mean"],
            variation=" ".join(wanted),
            env=env,
            threads=next(one.threads for one in each if one.threads is not None),
            tf32=next(one.tf32 for one in each if one.tf32 is not None),
            repetitions=1,
            second_seed=False,
        )
        assert result.outcomes[0].outcome == "ok"
        (process,) = result.processes
        assert {key: process.settings[key] for key, _ in wanted.values()} == dict(wanted.values())
        assert process.settings["env"] == env

    def test_without_a_variation_tensorflow_uses_its_defaults(self, bench: Bench) -> None:
        result = bench.run(["control_integer"], repetitions=1).processes[0].settings
        assert (result["intra_op_threads"], result["tf32"]) == (len(os.sched_getaffinity(0)), True)
        assert (result["isa_limit"], result["switch"], result["env"]) == ("none", "none", {})
        assert result["devices"] == ["/device:CPU:0"]

    def test_another_instruction_set_acts_as_another_device(self, bench: Bench) -> None:
        default = bench.run(["matmul_mean"])
        limited = bench.run(["matmul_mean"], variation="isa=avx2", env={"ONEDNN_MAX_CPU_ISA": "AVX2"})
        assert len(digests(default, "matmul_mean")) == len(digests(limited, "matmul_mean")) == 1
        if host.can_limit_isa("avx2"):
            assert digests(default, "matmul_mean") != digests(limited, "matmul_mean")

    def test_api_and_environment_variable_switch_the_same(self, bench: Bench) -> None:
        once: dict[str, Any] = {"mode": "on", "repetitions": 1, "second_seed": False}
        api = bench.run(["seeded_mlp"], **once)
        variable = bench.run(["seeded_mlp"], variation="switch=env", switch="env", **once)
        for result, switch in ((api, "api"), (variable, "env")):
            reported = result.processes[0].settings
            assert reported["determinism_enabled"] is True
            assert reported["switch"] == switch
            assert ("TF_DETERMINISTIC_OPS" in reported["env"]) is (switch == "env")
        assert digests(api, "seeded_mlp") == digests(variable, "seeded_mlp")


def test_a_column_does_not_inherit_the_environment_of_the_host(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    reported = bench.run(["control_integer"]).processes[0].settings
    assert reported["determinism_enabled"] is False
    assert reported["env"] == {}


def test_a_column_that_differs_from_the_request_does_not_measure(bench: Bench) -> None:
    result = bench.run(["control_integer"], expect={"tensorflow-cpu": "2.99.0"})
    assert not result.samples
    assert result.outcomes[0].outcome == "mismatch"
    assert "not what was requested: tensorflow-cpu 2.18.1" in result.outcomes[0].message


@pytest.mark.fault(
    "Kernels with TensorFlow abort, run out of memory and raise errors",
    "Each has its own outcome; the others are measured.",
)
def test_crash_and_error_cost_one_kernel_each(planted: Bench) -> None:
    planted_kernels = ["planted_abort", "planted_unimplemented", "planted_resource", "planted_nan"]
    result = planted.run(["control_integer", *planted_kernels, "control_flicker"], repetitions=1)
    assert result.complete
    ended = {outcome.kernel: outcome for outcome in result.outcomes}
    assert {name: outcome.outcome for name, outcome in ended.items()} == {
        "control_integer": "ok",
        "planted_abort": "crashed",
        "planted_unimplemented": "error",
        "planted_resource": "oom",
        "planted_nan": "ok",
        "control_flicker": "ok",
    }
    assert "SIGABRT" in ended["planted_abort"].message
    assert ended["planted_unimplemented"].error_class == "UnimplementedError"
    assert "deterministic GPU implementation" in ended["planted_unimplemented"].message
    line = 1 + next(number for number, text in enumerate(PLANTED.splitlines()) if "raise tf.errors.Unimpl" in text)
    assert ended["planted_unimplemented"].where == f"planted.py, line {line}"
    # the two kernels of the suite share a process, and each planted one has its own
    assert [process.process for process in result.processes] == [1, 2, 3, 4, 5]
    assert [process.process for process in result.processes if not process.libraries] == [2], "it crashed"
    assert [ended[name].process for name in planted_kernels] == [2, 3, 4, 5]
    assert ended["control_integer"].process == ended["control_flicker"].process == 1
    assert [outcome.left_behind for outcome in result.outcomes if outcome.left_behind] == []
    assert {sample.outputs["x"]["nan"] for sample in result.samples if sample.kernel == "planted_nan"} == {1}


@pytest.fixture(scope="module")
def switching(planted: Bench) -> Record:
    """A round of kernels that change what TensorFlow does, each before one of the suite that this would change."""
    kernels = ["planted_switch", "control_integer", "planted_leak", "matmul_f32_xla", "planted_debug_mode"]
    return planted.run([*kernels, "data_pipeline", "planted_thread"], repetitions=5)


def outcomes_of(result: Record) -> dict[str, Outcome]:
    return {outcome.kernel: outcome for outcome in result.outcomes}


def test_what_kernels_change_stays_in_their_processes(switching: Record) -> None:
    ended = outcomes_of(switching)
    assert {name for name, outcome in ended.items() if outcome.outcome != "ok"} == {"planted_switch"}
    assert len({outcome.process for outcome in ended.values()}) == 5
    assert len({outcome.process for name, outcome in ended.items() if not name.startswith("planted")}) == 1


def test_a_kernel_that_switches_determinism_does_not_affect_others(switching: Record) -> None:
    ended = outcomes_of(switching)
    assert ended["planted_switch"].outcome == "mismatch"
    assert "a kernel switched determinism" in ended["planted_switch"].message
    assert ended["control_integer"].outcome == "ok"
    assert {process.settings["determinism_enabled"] for process in switching.processes} == {False}


def test_global_state_changed_by_a_kernel_does_not_affect_the_next(planted: Bench, switching: Record) -> None:
    alone = planted.run(["matmul_f32_xla"], repetitions=1, second_seed=False)
    assert digests(switching, "matmul_f32_xla") == digests(alone, "matmul_f32_xla")


def test_a_switch_that_no_list_has_does_not_affect_the_suite(switching: Record) -> None:
    assert len(digests(switching, "data_pipeline")) > 1, "debug mode would make it deterministic"


def test_threads_that_a_kernel_leaves_are_named(switching: Record) -> None:
    left = {outcome.kernel: outcome.left_behind for outcome in switching.outcomes if outcome.left_behind}
    assert list(left) == ["planted_thread"]
    assert left["planted_thread"][0].startswith("left 6 threads running: ")


def test_shared_memory_does_not_survive_a_process(planted: Bench) -> None:
    results = [planted.run(["planted_shared_memory"]) for _ in range(2)]
    assert all(result.outcomes[0].outcome == "ok" for result in results)
    if results[0].processes[0].settings["private_tmp"]:
        first, second = (digests(result, "planted_shared_memory") for result in results)
        assert not first & second


def test_a_reused_buffer_is_detected_as_nondeterministic(planted: Bench) -> None:
    result = planted.run(["planted_buffer"], repetitions=3)
    assert len({sample.digest for sample in result.samples if sample.role == "repetition"}) == 3


@pytest.mark.fault("A slow kernel keeps writing samples", "It is stopped at its time limit; its samples are kept.")
def test_the_time_limit_applies_to_a_kernel_that_keeps_writing(planted: Bench) -> None:
    result = planted.run(["planted_slow"], repetitions=20, time_limit_s=1.5)
    assert result.outcomes[0].outcome == "timeout"
    assert 1 <= len(result.samples) < 20


def test_the_first_difference_of_a_training_is_located(planted: Bench) -> None:
    result = planted.run(["planted_steps"], repetitions=3)
    first, second, third, _ = result.samples
    assert first.digest != second.digest == third.digest
    assert first.outputs["weight"] == second.outputs["weight"], "only a step differs"
    assert first.first_difference is None
    assert third.first_difference is None, "described only once"
    first_difference = second.first_difference
    assert first_difference is not None
    assert (first_difference["step"], first_difference["tensor"], first_difference["index"]) == (2, "gradient", [1, 2])
    gradient = np.random.RandomState(42).standard_normal((2, 3)).astype("float32")
    assert first_difference["first"] == repr(float(gradient[1, 2]))
    assert first_difference["other"] == repr(float(np.nextafter(gradient[1, 2], np.float32(99))))
    assert (first_difference["distance"]["differing"], first_difference["distance"]["ulp_median"]) == (1, 1)
    assert first_difference["outputs"] == {}
    rows = [json.loads(text) for text in planted.lines if '"line": "kept"' in text]
    assert [row["digest"] for row in rows] == [first.digest, second.digest]


def test_a_constant_output_is_detected_by_the_second_seed(planted: Bench) -> None:
    repetition, _, second_seed = planted.run(["planted_constant"]).samples
    assert second_seed.role == "second-seed"
    same = {name: repetition.outputs[name] == second_seed.outputs[name] for name in ("x", "y")}
    assert same == {"x": True, "y": False}


def test_a_differing_later_call_is_detected(planted: Bench) -> None:
    result = planted.run(["planted_late", "planted_again"], second_seed=False)
    same = {
        name: digests(result, name, "later-call") == digests(result, name) for name in ("planted_late", "planted_again")
    }
    assert same == {"planted_late": False, "planted_again": True}
    assert len(digests(result, "planted_late")) == 1


def test_autograph_can_read_a_custom_kernel(planted: Bench) -> None:
    result = planted.run(["planted_traced"])
    assert result.outcomes[0].outcome == "ok", result.outcomes
    assert len(digests(result, "planted_traced")) == 1


def test_a_module_missing_only_in_the_column_is_reported_with_its_line(bench: Bench) -> None:
    source = PLANTED + "\nimport pydantic\n\n@plant()\ndef planted_after(tf, seed):\n    return lambda: {}\n"
    line = 1 + source.splitlines().index("import pydantic")
    result = bench.run(["planted_again", "planted_after"], kernel_files={"planted.py": source})
    ended = {outcome.kernel: outcome for outcome in result.outcomes}
    assert ended["planted_again"].outcome == "ok", "kernels before the error are measured"
    assert ended["planted_after"].outcome == "mismatch"
    assert f"planted.py, line {line}: ModuleNotFoundError" in ended["planted_after"].message


@pytest.mark.fault("kill -9 of the process that runs a round", "Its driver and worker end by themselves.")
def test_a_killed_runner_leaves_no_process_behind(root: Path, planted: Bench, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom bench.engines.venv import VenvEngine\n"
        "from bench.suite.record import Request\nfrom tests.integration.conftest import PLANTED, Bench, column_of\n"
        "root, out = map(Path, sys.argv[1:])\nengine, column = VenvEngine(root), column_of(root)\n"
        "place = engine.prepare(column, out / 'b.log', lambda _: None)\n"
        "files = Bench(engine, column, out).stage({'planted.py': PLANTED}, ['planted_hang'])\n"
        "request = Request(column='c', mode='off', variation='default', round=1, kernels=('planted_hang',),\n"
        "                  repetitions={'planted_hang': 1}, kernel_files=files)\n"
        "engine.execute(place, request, lambda text: print(text, end='', flush=True), out / 'r.log')\n"
    )
    command = [sys.executable, "-c", code, str(root), str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as runner:
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


@pytest.mark.parametrize(
    "entry", [issue for issue in known_issues.known() if issue.kernel], ids=lambda issue: issue.known_issue.id
)
def test_the_reproducer_of_a_known_issue_shows_it(bench: Bench, entry: known_issues.Entry) -> None:
    assert isinstance(bench.engine, VenvEngine)
    bench.engine.prepare(bench.column, bench.folder / "build.log", lambda _: None)
    python = str(bench.engine.place(bench.column) / "bin" / "python")
    counts = []
    for _ in range(5):  # a race does not show in every process
        done = subprocess.run([python, "-c", entry.known_issue.reproducer], capture_output=True, text=True, check=True)
        match = re.fullmatch(r"(\d+) distinct results of 50 calls\n", done.stdout)
        assert match
        counts.append(int(match[1]))
        if counts[-1] > 1:
            return
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("a race needs more than one core")
    pytest.fail(f"no race was observed: {counts} distinct results")
