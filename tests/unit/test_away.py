"""Away from home: rounds are played and packed with the standard library alone, and claim no more than the judge."""

from __future__ import annotations

import ast
import dataclasses
import json
import lzma
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.gpu import facts
from bench.portable import digest_counts, host_facts, local, plan_runner, run_folder, run_plan
from bench.portable.errors import PortableError
from bench.portable.launcher import Container, Local, gpu_options
from bench.store import run as store
from bench.store import run_info
from bench.suite import provenance, record
from bench.suite.record import SCHEMA, Request
from bench.suite.suite_hash import suite_files, suite_hash
from bench.verdict import Status, evaluate, validity
from bench.verdict.controls import REACH
from bench.verdict.evaluate import MIN_PROCESSES
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Change

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.factory import Spot


def test_what_travels_is_python_39_and_the_standard_library(root: Path) -> None:
    for file in sorted((root / "bench" / "portable").glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            for name in names:
                top = name.partition(".")[0]
                assert top in {*sys.stdlib_module_names, "bench"}, f"{file.name} imports {name}"


def test_the_suite_does_not_know_that_it_travels(root: Path) -> None:
    assert not [path for path in suite_files(root) if "portable" in path.parts]


def test_numbers_that_are_written_twice_agree() -> None:
    assert (digest_counts.MIN_PROCESSES, digest_counts.REACH) == (MIN_PROCESSES, REACH)
    for name in ("SAME_PROVENANCE", "SAME_SETTINGS", "SAME_IN_MODE", "SAME_LIBRARIES"):
        assert set(getattr(digest_counts, name)) >= set(getattr(validity, name)), name


@pytest.mark.parametrize(
    "name", ["NVIDIA H200", "NVIDIA GeForce RTX 4090", "Tesla V100-SXM2-16GB", "NVIDIA A100 80GB PCIe", "NVIDIA", ""]
)
def test_a_gpu_has_one_short_name_here_and_there(name: str) -> None:
    assert host_facts.Gpu("", name).slug == facts.Gpu(uuid="", name=name, capability=(9, 0), memory_mb=0).slug


# --- GPUs as the host tells them


def smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_nvidia_smi_names_the_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi(monkeypatch, tmp_path, "echo 'GPU-1a2b, NVIDIA H200, 570.124.06'")
    found = host_facts.survey()
    assert found.gpus == (host_facts.Gpu("GPU-1a2b", "NVIDIA H200"),)
    assert found.told(found.gpus[0])["driver"] == "570.124.06"
    assert host_facts.facts(found)["gpu"] == "NVIDIA H200"


def test_a_driver_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi(monkeypatch, tmp_path, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    found = host_facts.survey()
    assert not found.gpus
    assert "Driver/library version mismatch" in found.why


def test_without_a_driver_there_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no NVIDIA driver" in host_facts.survey().why
    assert host_facts.facts(host_facts.survey())["gpu"] == host_facts.NO_GPU_SEEN


# --- the plan of a bundle on the host it came to


def plan_of(device: str = "gpu", variation: str = "default", **where: Any) -> dict[str, Any]:
    column = dataclasses.asdict(factory.column(cuda="cpu" if device == "cpu" else "12.5", device=device))
    column["id"] = f"tf2.18.1-x-py311@{device}"
    request = Request(
        column=column["id"], mode="off", variation=variation, round=1, kernels=("k",), repetitions={"k": 2}, device=device,
        threads=8 if variation.startswith("threads") else None, context={"engine": "venv", "rounds": 1},
    )  # fmt: skip
    run = {**dataclasses.asdict(factory.info()), "columns": [column]}
    body = {"engine": "venv", "programs": ["{site}/nvidia/cuda_nvcc/bin"], "lock_hash": "ab", **where}
    body.setdefault("env", {"LD_LIBRARY_PATH": "{site}/nvidia/cublas/lib"})
    return {"run": run, "requests": [dataclasses.asdict(request)], "where": body}


def test_a_plan_gets_the_name_of_the_gpu_it_meets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi(monkeypatch, tmp_path, "echo 'GPU-1, NVIDIA H200, 570.1'; echo 'GPU-2, NVIDIA L4, 570.1'")
    job = run_plan.made(plan_of(), tmp_path)
    (column,) = job.run["columns"]
    assert (column["id"], column["device"], column["gpu"]) == ("tf2.18.1-x-py311@h200", "h200", "GPU-1")
    (request,) = job.requests
    assert (request.column, request.gpu["uuid"], request.device) == (column["id"], "GPU-1", "gpu")
    assert isinstance(job.launcher, Local)
    environment = job.launcher.environment
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert environment["LD_LIBRARY_PATH"].endswith("site-packages/nvidia/cublas/lib")
    assert "{site}" not in str(environment)
    assert run_plan.made(plan_of(), tmp_path, "GPU-2").run["columns"][0]["device"] == "l4"
    with pytest.raises(PortableError, match="no GPU GPU-3"):
        run_plan.made(plan_of(), tmp_path, "GPU-3")


def test_a_driver_that_only_the_library_path_names_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container of some clusters; nothing else of that path reaches a round."""
    smi(monkeypatch, tmp_path, "echo 'GPU-1, NVIDIA H200, 570.1'")
    (tmp_path / "libcuda.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/elsewhere:{tmp_path}")
    launcher = run_plan.made(plan_of(), tmp_path).launcher
    assert isinstance(launcher, Local)
    first, *others = launcher.environment["LD_LIBRARY_PATH"].split(":")
    assert first.endswith("nvidia/cublas/lib")
    assert others == [str(tmp_path)]


def test_a_slice_of_a_gpu_is_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The card itself cannot be measured then: CUDA shows its first slice under the card's name."""
    rows = (
        "GPU 0: NVIDIA H200 (UUID: GPU-1)\n  MIG 1g.18gb     Device  0: (UUID: MIG-7)\nGPU 1: NVIDIA L4 (UUID: GPU-2)"
    )
    table = "GPU-1, NVIDIA H200, 570.1\nGPU-2, NVIDIA L4, 570.1"
    smi(monkeypatch, tmp_path, f"case $1 in -L) printf '{rows}\\n';; *) printf '{table}\\n';; esac")
    found = host_facts.survey()
    assert found.gpus == (host_facts.Gpu("MIG-7", "NVIDIA H200 MIG 1g.18gb"), host_facts.Gpu("GPU-2", "NVIDIA L4"))
    assert run_plan.made(plan_of(), tmp_path, "MIG-7").run["columns"][0]["device"] == "h200-mig-1g-18gb"


def test_a_plan_for_a_gpu_says_so_where_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    job = run_plan.made(plan_of(), tmp_path)
    assert "no NVIDIA driver" in job.no_gpu
    assert job.run["columns"][0]["id"].endswith("@gpu")
    assert not run_plan.made(plan_of("cpu"), tmp_path).no_gpu


def test_threads_count_the_cores_of_the_host_that_measures(tmp_path: Path) -> None:
    (request,) = run_plan.made(plan_of("cpu", "threads=4xcores"), tmp_path).requests
    assert request.threads == 4 * provenance.cores()
    (request,) = run_plan.made(plan_of("cpu", "threads=8"), tmp_path).requests
    assert request.threads == 8


def test_nothing_of_the_host_reaches_a_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    launcher = run_plan.made(plan_of("cpu"), tmp_path).launcher
    assert isinstance(launcher, Local)
    assert "TF_ENABLE_ONEDNN_OPTS" not in launcher.environment


def test_a_container_has_no_network_and_no_rights() -> None:
    words = " ".join(Container("docker", "image", ("--gpus", "device=GPU-1"))._command("name"))
    for option in ("--network none", "--read-only", "--cap-drop ALL", "no-new-privileges", "--gpus device=GPU-1"):
        assert option in words


# --- playing


def scripted(tmp_path: Path, body: str) -> Local:
    """A driver that does what a test says: it stands where the suite's would."""
    place = tmp_path / "suite" / "bench" / "suite"
    place.mkdir(parents=True, exist_ok=True)
    (place.parent / "__init__.py").touch()
    (place / "__init__.py").touch()
    head = "import json, os, sys\nrequest = json.loads(sys.argv[1])\n"
    head += "def say(kind, **body): print(json.dumps({'line': kind, **body}), flush=True)\n"
    head += f"say('header', schema=4, request=request, suite_hash={suite_hash()!r})\n"
    (place / "driver.py").write_text(head + body)
    return Local(sys.executable, tmp_path / "suite", {"PATH": "/usr/bin:/bin"})


def job(tmp_path: Path, body: str, device: str = "cpu", count: int = 2, **changes: Any) -> plan_runner.Job:
    column = {**dataclasses.asdict(factory.column()), "id": f"tf2.18.1-x-py311@{device}", "device": device}
    requests = tuple(
        Request(
            column=column["id"], mode="off", variation="default", round=number, kernels=("a", "b"),
            repetitions={"a": 2, "b": 2}, device="cpu" if device == "cpu" else "gpu",
        )
        for number in range(1, count + 1)
    )  # fmt: skip
    run = json.loads(
        json.dumps({**dataclasses.asdict(factory.info(columns=())), "columns": [column], "schema": SCHEMA})
    )
    made = plan_runner.Job(run, requests, scripted(tmp_path, body), tmp_path / "out", say=lambda _: None)
    return dataclasses.replace(made, **changes)


PROCESS = "say('process', process=1, pid=1, started='', provenance={}, settings={'devices': ['/device:CPU:0']})\n"
WHOLE = "say('outcome', process=1, kernel='a', outcome='ok', seconds=1.0)\n"
WHOLE += "say('outcome', process=1, kernel='b', outcome='ok', seconds=1.0)\nsay('end', seconds=1.0, processes=1)\n"


def test_a_run_is_one_that_the_store_reads(tmp_path: Path) -> None:
    place = plan_runner.play(job(tmp_path, WHOLE))
    run = store.load(place)
    assert run.info.finished
    assert run.info.id == place.name
    assert sorted(run.records) == [f"records/tf2.18.1-x-py311@cpu/default/off-00{n}.jsonl" for n in (1, 2)]
    assert all(one.complete for one in run.records.values())
    assert all(one.request.context["run"] == place.name for one in run.records.values())


def test_a_dead_driver_leaves_a_whole_record(tmp_path: Path) -> None:
    body = PROCESS + "say('outcome', process=1, kernel='a', outcome='ok', seconds=1.0)\nos.kill(os.getpid(), 9)\n"
    place = plan_runner.play(job(tmp_path, body, count=1))
    found = record.read(next(place.glob("records/*/*/*.jsonl.xz")))
    assert found.complete
    assert [(one.kernel, one.outcome) for one in found.outcomes] == [("a", "ok"), ("b", "crashed")]


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = job(tmp_path, WHOLE + "open(os.environ['OUT'], 'a').write('x')\n")
    marks = tmp_path / "marks"
    launcher = dataclasses.replace(first.launcher, environment={"OUT": str(marks)})  # type: ignore[type-var]

    class Stop(Local):
        def start(self, request: Request, log: Any) -> Any:
            if request.round > 1:
                raise KeyboardInterrupt
            return super().start(request, log)

    stopping = Stop(launcher.python, launcher.suite, launcher.environment)  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        plan_runner.play(dataclasses.replace(first, launcher=stopping))
    place = plan_runner.play(dataclasses.replace(first, launcher=launcher))
    assert marks.read_text() == "xx", "the finished round was measured again"
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1
    assert not list(place.rglob("*.part"))
    again = plan_runner.play(dataclasses.replace(first, launcher=launcher))
    assert again != place, "a finished run is not gone on with"


def test_a_death_is_measured_again_and_not_forgotten(tmp_path: Path) -> None:
    """Somebody may have killed it; the run itself was stopped before its end."""
    made = job(tmp_path, WHOLE.replace("kernel='b', outcome='ok'", "kernel='b', outcome='crashed'"), count=1)
    place = plan_runner.play(made)
    info = json.loads((place / "run.json").read_text())
    (place / "run.json").write_text(json.dumps({**info, "finished": ""}))
    scripted(tmp_path, WHOLE)
    assert plan_runner.play(made) == place
    run = store.load(place)
    assert [one.outcome for one in next(iter(run.records.values())).outcomes] == ["ok", "ok"]
    assert "first there died b (crashed)" in run.info.warnings[0]


NVML = r"""
#include <string.h>
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { strncpy(to, "570.124.06", size); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned place, void **handle) {
    *handle = (void *)(0x123456789aL + place); return 0; }
int nvmlDeviceGetUUID(void *handle, char *to, unsigned size) {
    strncpy(to, handle == (void *)0x123456789aL ? "GPU-1" : "GPU-2", size); return 0; }
int nvmlDeviceGetName(void *handle, char *to, unsigned size) { strncpy(to, "NVIDIA H200", size); return 0; }
int cuDriverGetVersion(int *n) { *n = 12080; return 0; }
"""


def test_without_nvidia_smi_the_library_is_asked(tmp_path: Path, root: Path) -> None:
    """A stand-in with NVML's signatures: handles wider than an int must survive."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc on the PATH")
    (tmp_path / "nvml.c").write_text(NVML)
    for name in ("libnvidia-ml.so.1", "libcuda.so.1"):
        command = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / name), str(tmp_path / "nvml.c")]
        subprocess.run(command, check=True)
    code = "from bench.portable import host_facts; found = host_facts.survey(); print(found.driver, found.cuda, found.gpus)"
    environment = {"PATH": str(tmp_path), "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    gpus = (host_facts.Gpu("GPU-1", "NVIDIA H200"), host_facts.Gpu("GPU-2", "NVIDIA H200"))
    assert done.stdout.strip() == f"570.124.06 12080 {gpus}"


def test_a_way_that_hands_nothing_on_is_not_taken(tmp_path: Path) -> None:
    """Podman takes --gpus without a word; with this stand-in only the last way brings a driver."""
    cli = tmp_path / "docker"
    cli.write_text('#!/bin/sh\ncase "$*" in *--runtime*) exit 0;; *libcuda*) echo none >&2; exit 1;; esac\n')
    cli.chmod(0o755)
    assert gpu_options(str(cli), "image", "GPU-1")[0] == "--runtime"


def test_a_container_gets_its_gpu_the_way_its_engine_accepts(tmp_path: Path) -> None:
    cli = tmp_path / "docker"
    refuse = "echo 'could not select device driver \"\" with capabilities: [[gpu]]' >&2; exit 125"
    cli.write_text(f'#!/bin/sh\ncase "$*" in *--gpus*) exit 0;; *) {refuse};; esac\n')
    cli.chmod(0o755)
    assert gpu_options(str(cli), "image", "GPU-1") == ("--gpus", "device=GPU-1")
    cli.write_text(f"#!/bin/sh\n{refuse}\n")
    with pytest.raises(PortableError, match="could not select device driver") as told:
        gpu_options(str(cli), "image", "GPU-1")
    assert told.value.code == 5


def test_a_round_of_another_request_is_measured_again(tmp_path: Path) -> None:
    made = job(tmp_path, WHOLE, count=1)
    place = run_folder.Folder(plan_runner.play(made))
    (request,) = made.requests
    asked_for = dataclasses.replace(request, context={"run": place.id})
    assert place.has(asked_for, suite_hash())
    assert not place.has(dataclasses.replace(asked_for, seed=7), suite_hash())
    assert not place.has(asked_for, "0" * 64)


@pytest.mark.parametrize(
    "body",
    [
        WHOLE.replace("'ok'", "'gpu-not-visible'"),
        PROCESS + WHOLE,
    ],
)
def test_a_column_that_sees_no_gpu_stops_after_one_round(tmp_path: Path, body: str) -> None:
    run = store.load(plan_runner.play(job(tmp_path, body, device="h200", count=4)))
    assert [column.status for column in run.info.columns] == ["gpu-not-visible"]
    assert run.info.columns[0].reason
    assert len(run.records) == 1


def test_a_driver_of_another_suite_is_no_measurement(tmp_path: Path) -> None:
    made = job(tmp_path, f"say('header', schema=4, request=request, suite_hash={'0' * 64!r})\n")
    with pytest.raises(PortableError, match="not the one that plays"):
        plan_runner.play(made)


def test_a_driver_without_a_word_is_an_error(tmp_path: Path) -> None:
    made = job(tmp_path, "")
    driver = tmp_path / "suite" / "bench" / "suite" / "driver.py"
    driver.write_text("raise SystemExit(3)")
    with pytest.raises(PortableError, match="exit code 3"):
        plan_runner.play(made)


def test_few_values_are_kept(tmp_path: Path) -> None:
    body = "for n in range(9):\n    say('kept', process=1, kernel='a', digest=str(n), tensors=[])\n" + WHOLE
    place = plan_runner.play(job(tmp_path, body))
    texts = [lzma.decompress(path.read_bytes()).splitlines() for path in sorted(place.rglob("*.kept.xz"))]
    assert [len(text) for text in texts] == [4]


# --- the line at the end


def same(run: store.Run) -> set[tuple[str, str]]:
    told = digest_counts.tell(dataclasses.asdict(run.info), list(run.records.values()))
    return {(mode, name) for mode, one in told.items() for name in one.same}


def exact(run: store.Run) -> set[tuple[str, str]]:
    return {
        (one.mode, one.kernel)
        for one in evaluate(run).verdicts
        if one.status is Status.REPRODUCIBLE and not one.control
    }


def graded(**changes: Any) -> run_info.RunInfo:
    return factory.info(kernels=(factory.kernel("matmul"), factory.kernel("conv2d"), *factory.GRADED), **changes)


def test_what_is_exact_is_the_same() -> None:
    run = factory.run(graded(), second_seeds="all")
    assert same(run) == exact(run) == {(mode, name) for mode in ("off", "on") for name in ("matmul", "conv2d")}
    told = digest_counts.tell(dataclasses.asdict(run.info), list(run.records.values()))
    assert digest_counts.sentence(told, 5).startswith(
        "reproducible here? yes, as far as 5 processes tell (at most 53 %"
    )


CHANGES: dict[str, Callable[[record.Record], record.Record]] = {
    "tf32": factory.settings(tf32=False),
    "mode": factory.settings(determinism_enabled=False),
    "device": factory.settings(devices=["/device:CPU:0", "/device:GPU:0"]),
    "env": factory.settings(env={"XLA_FLAGS": "--x"}),
    "no settings": factory.settings(determinism_enabled=None),
    "threads": factory.settings(intra_op_threads=1),
    "numpy": factory.facts_of_process(numpy="1.0"),
    "tensorflow": factory.facts_of_process(tensorflow="2.17.0"),
    "unsaid": factory.facts_of_process(tensorflow=None),
    "python": factory.facts_of_process(python="3.9.1"),
    "library": factory.libraries(libcudnn="9.1"),
    "code": factory.facts_of_process(kernel_hashes={"matmul": "ab"}),
    "cut off": lambda one: dataclasses.replace(one, complete=False),
    "suite": lambda one: dataclasses.replace(one, suite_hash="0" * 64),
    "seed": lambda one: dataclasses.replace(one, request=dataclasses.replace(one.request, seed=1)),
    "engine": lambda one: dataclasses.replace(one, request=dataclasses.replace(one.request, context={"engine": "x"})),
    "fewer": lambda one: dataclasses.replace(one, samples=one.samples[1:]),
    "doubled": lambda one: dataclasses.replace(one, samples=(*one.samples, *one.samples)),
    "no outputs": factory.in_samples(lambda one: dataclasses.replace(one, outputs={})),
    "no digest": factory.in_samples(lambda one: dataclasses.replace(one, digest="")),
    "untimed": factory.in_samples(lambda one: dataclasses.replace(one, steady_agrees=None)),
    "unsteady": factory.in_samples(lambda one: dataclasses.replace(one, steady_agrees=False)),
    "frozen": factory.in_samples(lambda one: dataclasses.replace(one, digest="a" * 64), "control_flicker"),
    "half frozen": factory.in_samples(lambda one: dataclasses.replace(one, digest="a" * 64), "control_flicker_p50"),
    "broken": factory.in_samples(lambda one: dataclasses.replace(one, digest="a" * 64), "control_integer"),
    "outcome": lambda one: dataclasses.replace(one, outcomes=one.outcomes[1:]),
    "no process": lambda one: dataclasses.replace(one, processes=()),
    "copied": lambda one: dataclasses.replace(one, processes=(one.processes[0],) * 2),
}
BEHAVIOURS = (
    EXACT,
    Behaviour(digests=("same", "other")),
    Behaviour(second_seed="same"),
    Behaviour(second_seed=""),
    Behaviour(nan=True),
    Behaviour(outcome="error", error_class="UnimplementedError"),
    Behaviour(outcome="crashed"),
    Behaviour(steady_agrees=None, steady_s=()),
    Behaviour(device="GPU:0"),
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_never_claims_more_than_the_evaluate(data: st.DataObject) -> None:
    column = factory.column(cuda=data.draw(st.sampled_from(["cpu", "12.5"])))
    facts_of = graded(
        rounds=data.draw(st.sampled_from([2, 5, 6])), repetitions=data.draw(st.integers(1, 4)), columns=(column,)
    )
    acts = data.draw(st.sampled_from(BEHAVIOURS))
    where = data.draw(st.sampled_from([1, 2, 5]))

    def behave(spot: Spot) -> Behaviour:
        return acts if spot.round == where and spot.kernel in ("matmul", "control_integer") else EXACT

    run = factory.run(facts_of, behave, second_seeds=data.draw(st.sampled_from(["first", "all"])))
    for name in data.draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=2)):
        place = Change(
            mode=data.draw(st.sampled_from(["", "off", "on"])),
            rounds=data.draw(st.sampled_from([(), (1,), (2,), (5,)])),
        )
        run = factory.changed(run, CHANGES[name], place)
    if data.draw(st.booleans()):
        run = factory.without(run, Change(mode="on", rounds=(data.draw(st.integers(1, 5)),)))
    assert same(run) <= exact(run)


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_no_damage_to_one_record_leaves_a_claim_that_the_judge_does_not_make(name: str) -> None:
    run = factory.changed(factory.run(graded(), second_seeds="all"), CHANGES[name], Change(mode="on", rounds=(3,)))
    assert same(run) <= exact(run)


def test_the_sentence_names_what_differs_and_says_when_it_is_too_early() -> None:
    def behave(spot: Spot) -> Behaviour:
        return Behaviour(digests=("a", "b")) if spot.kernel == "matmul" and spot.mode == "on" else EXACT

    run = factory.run(graded(), behave)
    told = digest_counts.tell(dataclasses.asdict(run.info), list(run.records.values()))
    assert digest_counts.sentence(told, 5).startswith("reproducible here? no - ")
    assert "1 of 2 differ (matmul)" in digest_counts.sentence(told, 5)
    few = factory.run(graded(rounds=2), second_seeds="all")
    told = digest_counts.tell(dataclasses.asdict(few.info), list(few.records.values()))
    assert "no difference seen, but 2 processes are too few" in digest_counts.sentence(told, 2)
    assert digest_counts.sentence({}, 5) == "reproducible here? not proven - nothing was measured"


# --- here


def test_here_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        local.main(["--help"])
    assert ended.value.code == 0
    assert "--rounds" in capsys.readouterr().out


def test_here_names_the_column_by_what_it_found() -> None:
    found = {
        "tensorflow": "2.17.0+nv24.10", "keras": "3.5.0", "python": "3.12.4", "cuda_build": "12.3.2", "cuda": "12.5",
        "gpu": "NVIDIA H200", "uuid": "GPU-1", "gpus": 1, "distributions": ["a==1"],
    }  # fmt: skip
    column = local._column(found, host_facts.GpuInventory(gpus=(host_facts.Gpu("GPU-1", "NVIDIA H200"),)))
    assert (column["id"], column["cuda"]) == ("tf2.17.0-cuda12.5-here-py312@h200", "12.5")
    bare = local._column({**found, "gpus": 0}, host_facts.GpuInventory())
    assert (bare["id"], bare["cuda"], bare["kind"]) == ("tf2.17.0-here-py312@cpu", "cpu", "here")
    run_info.ColumnInfo(**column)


def test_here_measures_one_gpu_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"gpus": 2, "gpu": "NVIDIA H200", "uuid": "GPU-1"}
    assert local._one(found) == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
    assert "GPU-1 is measured" in capsys.readouterr().err
    with pytest.raises(PortableError, match="a column is one"):
        local._one({**found, "uuid": ""})


def test_here_plans_rounds_that_alternate_and_keeps_the_controls() -> None:
    found = {
        "tensorflow": "2.18.1", "keras": "3.15.1", "python": "3.11.7", "cuda_build": "", "cuda": "", "gpu": "",
        "uuid": "", "gpus": 0, "distributions": [],
    }  # fmt: skip
    options = local._parser().parse_args(["--kernels", "matmul_f32", "--rounds", "3", "--device", "cpu"])
    run, requests = local.plan(options, found, host_facts.GpuInventory(), {"CUDA_VISIBLE_DEVICES": "-1"})
    assert [(one.round, one.mode) for one in requests] == [
        (1, "off"), (1, "on"), (2, "on"), (2, "off"), (3, "off"), (3, "on")
    ]  # fmt: skip
    names = {one["name"] for one in run["kernels"]}
    assert "matmul_f32" in names
    assert {one["name"] for one in run["kernels"] if one["control"]} == names - {"matmul_f32"}
    assert all(one.env == {"CUDA_VISIBLE_DEVICES": "-1"} and set(one.kernels) == names for one in requests)
    assert run_info.RunInfo.from_json(json.dumps({**run, "id": "x", "started": "", "finished": ""})).engine == "here"
    with pytest.raises(PortableError, match="No kernel matches"):
        local.plan(local._parser().parse_args(["--kernels", "nosuch"]), found, host_facts.GpuInventory(), {})
