"""Portable code: rounds are run and packed with the standard library alone."""

from __future__ import annotations

import ast
import dataclasses
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from bench.gpu import facts
from bench.portable import host_facts, local, plan_runner, run_folder, run_plan
from bench.portable.digest_summary import digest_summary
from bench.portable.errors import PortableError
from bench.portable.launcher import Container, Local, gpu_options
from bench.portable.paired_timing import PairPlan
from bench.portable.terminate import terminate_session
from bench.store import run as store
from bench.store import run_info
from bench.suite import provenance, record
from bench.suite.record import SCHEMA, Request
from bench.suite.suite_hash import suite_files, suite_hash
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour

if TYPE_CHECKING:
    from tests.unit.factory import Spot


def test_portable_code_is_python_39_and_the_standard_library(root: Path) -> None:
    for file in sorted((root / "bench" / "portable").glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            for name in names:
                top = name.partition(".")[0]
                assert top in {*sys.stdlib_module_names, "bench"}, f"{file.name} imports {name}"


def test_portable_code_is_not_part_of_the_suite_hash(root: Path) -> None:
    assert not [path for path in suite_files(root) if "portable" in path.parts]


@pytest.mark.parametrize(
    "name", ["NVIDIA H200", "NVIDIA GeForce RTX 4090", "Tesla V100-SXM2-16GB", "NVIDIA A100 80GB PCIe", "NVIDIA", ""]
)
def test_both_gpu_classes_have_the_same_short_name(name: str) -> None:
    assert host_facts.Gpu("", name).slug == facts.Gpu(uuid="", name=name, capability=(9, 0), memory_mb=0).slug


# --- GPUs of the host


def smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_nvidia_smi_names_the_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi(monkeypatch, tmp_path, "echo 'GPU-1a2b, NVIDIA H200, 570.124.06'")
    found = host_facts.gpu_inventory()
    assert found.gpus == (host_facts.Gpu("GPU-1a2b", "NVIDIA H200"),)
    assert found.request_facts(found.gpus[0])["driver"] == "570.124.06"
    assert host_facts.facts(found)["gpu"] == "NVIDIA H200"


def test_the_message_of_a_failing_driver_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi(monkeypatch, tmp_path, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    found = host_facts.gpu_inventory()
    assert not found.gpus
    assert "Driver/library version mismatch" in found.why


def test_without_a_driver_there_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no NVIDIA driver" in host_facts.gpu_inventory().why
    assert host_facts.facts(host_facts.gpu_inventory())["gpu"] == host_facts.NO_GPU_SEEN


# --- a bundle's plan on its host


def plan_of(device: str = "gpu", variation: str = "default", **where: Any) -> dict[str, Any]:
    column = dataclasses.asdict(factory.column(cuda="cpu" if device == "cpu" else "12.5", device=device))
    column["id"] = f"tf2.18.1-x-py311@{device}"
    request = Request(
        column=column["id"], mode="off", variation=variation, round=1, kernels=("k",), repetitions={"k": 2},
        device=device, threads=8 if variation.startswith("threads") else None, context={"engine": "venv", "rounds": 1},
    )  # fmt: skip
    run = {**dataclasses.asdict(factory.info()), "columns": [column]}
    body = {"engine": "venv", "programs": ["{site}/nvidia/cuda_nvcc/bin"], "lock_hash": "ab", **where}
    body.setdefault("env", {"LD_LIBRARY_PATH": "{site}/nvidia/cublas/lib"})
    sides = {"a": request, "b": dataclasses.replace(request, mode="on")}
    pair = dataclasses.asdict(PairPlan("overhead", 1, "a", 0.1, sides))
    return {"run": run, "requests": [dataclasses.asdict(request)], "pairs": [pair], "where": body}


def test_the_column_is_named_after_the_gpu_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi(monkeypatch, tmp_path, "echo 'GPU-1, NVIDIA H200, 570.1'; echo 'GPU-2, NVIDIA L4, 570.1'")
    job = run_plan.make_job(plan_of(), tmp_path)
    (column,) = job.run["columns"]
    assert (column["id"], column["device"], column["gpu"]) == ("tf2.18.1-x-py311@h200", "h200", "GPU-1")
    (request,) = job.requests
    assert (request.column, request.gpu["uuid"], request.device) == (column["id"], "GPU-1", "gpu")
    (pair,) = job.pairs
    for side in pair.requests.values():
        assert (side.column, side.gpu, side.context) == (column["id"], request.gpu, request.context)
    assert isinstance(job.launcher, Local)
    environment = job.launcher.environment
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert environment["LD_LIBRARY_PATH"].endswith("site-packages/nvidia/cublas/lib")
    assert "{site}" not in str(environment)
    assert run_plan.make_job(plan_of(), tmp_path, "GPU-2").run["columns"][0]["device"] == "l4"
    with pytest.raises(PortableError, match="no GPU GPU-3"):
        run_plan.make_job(plan_of(), tmp_path, "GPU-3")


def test_a_driver_that_only_the_library_path_names_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container of some clusters; nothing else of that path reaches a round."""
    smi(monkeypatch, tmp_path, "echo 'GPU-1, NVIDIA H200, 570.1'")
    (tmp_path / "libcuda.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/elsewhere:{tmp_path}")
    launcher = run_plan.make_job(plan_of(), tmp_path).launcher
    assert isinstance(launcher, Local)
    first, *others = launcher.environment["LD_LIBRARY_PATH"].split(":")
    assert first.endswith("nvidia/cublas/lib")
    assert others == [str(tmp_path)]


def test_a_mig_device_counts_as_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The GPU itself cannot be measured then: CUDA shows its first MIG device under the GPU's name."""
    rows = (
        "GPU 0: NVIDIA H200 (UUID: GPU-1)\n  MIG 1g.18gb     Device  0: (UUID: MIG-7)\nGPU 1: NVIDIA L4 (UUID: GPU-2)"
    )
    table = "GPU-1, NVIDIA H200, 570.1\nGPU-2, NVIDIA L4, 570.1"
    smi(monkeypatch, tmp_path, f"case $1 in -L) printf '{rows}\\n';; *) printf '{table}\\n';; esac")
    found = host_facts.gpu_inventory()
    assert found.gpus == (host_facts.Gpu("MIG-7", "NVIDIA H200 MIG 1g.18gb"), host_facts.Gpu("GPU-2", "NVIDIA L4"))
    assert run_plan.make_job(plan_of(), tmp_path, "MIG-7").run["columns"][0]["device"] == "h200-mig-1g-18gb"


def test_a_gpu_plan_on_a_host_without_gpu_has_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    job = run_plan.make_job(plan_of(), tmp_path)
    assert "no NVIDIA driver" in job.no_gpu
    assert job.run["columns"][0]["id"].endswith("@gpu")
    assert not run_plan.make_job(plan_of("cpu"), tmp_path).no_gpu


def test_threads_count_the_cores_of_the_host_that_measures(tmp_path: Path) -> None:
    (request,) = run_plan.make_job(plan_of("cpu", "threads=4xcores"), tmp_path).requests
    assert request.threads == 4 * provenance.cores()
    (request,) = run_plan.make_job(plan_of("cpu", "threads=8"), tmp_path).requests
    assert request.threads == 8


def test_no_environment_variable_of_the_host_reaches_a_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    launcher = run_plan.make_job(plan_of("cpu"), tmp_path).launcher
    assert isinstance(launcher, Local)
    assert "TF_ENABLE_ONEDNN_OPTS" not in launcher.environment


def test_a_container_has_no_network_and_no_rights() -> None:
    words = " ".join(Container("docker", "image", ("--gpus", "device=GPU-1"))._command("name"))
    for option in ("--network none", "--read-only", "--cap-drop ALL", "no-new-privileges", "--gpus device=GPU-1"):
        assert option in words


# --- running rounds


def scripted(tmp_path: Path, body: str) -> Local:
    """A driver that does what a test says: it stands where the suite's would."""
    place = tmp_path / "suite" / "bench" / "suite"
    place.mkdir(parents=True, exist_ok=True)
    (place.parent / "__init__.py").touch()
    (place / "__init__.py").touch()
    head = "import json, os, sys\nrequest = json.loads(sys.argv[1])\n"
    head += "def say(kind, **body): print(json.dumps({'line': kind, **body}), flush=True)\n"
    head += f"say('header', schema={SCHEMA}, request=request, suite_hash={suite_hash()!r})\n"
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


def pair_of(made: plan_runner.Job, number: int = 1, *kernels: str) -> PairPlan:
    """A timing pair of the column of a job; ``timing_side.py`` plays both sides."""
    sides = {
        side: dataclasses.replace(
            made.requests[0], mode=mode, round=number, kernels=kernels or ("one",), context={"suite": suite_hash()},
            time_limit_s=2.0,
        )
        for side, mode in (("a", "off"), ("b", "on"))
    }  # fmt: skip
    shutil.copy(
        Path(__file__).with_name("timing_side.py"),
        made.launcher.suite / "bench" / "suite" / "timing_start.py",  # type: ignore[attr-defined]
    )
    return PairPlan("overhead", number, "ab"[number % 2], 0.05, sides)


PROCESS = "say('process', process=1, pid=1, started='', provenance={}, settings={'devices': ['/device:CPU:0']})\n"
WHOLE = "say('outcome', process=1, kernel='a', outcome='ok', seconds=1.0)\n"
WHOLE += "say('outcome', process=1, kernel='b', outcome='ok', seconds=1.0)\nsay('end', seconds=1.0, processes=1)\n"


def test_the_store_reads_the_run_folder(tmp_path: Path) -> None:
    place = plan_runner.run_rounds(job(tmp_path, WHOLE))
    run = store.load(place)
    assert run.info.finished
    assert run.info.id == place.name
    assert sorted(run.records) == [f"records/tf2.18.1-x-py311@cpu/default/off-00{n}.jsonl" for n in (1, 2)]
    assert all(one.complete for one in run.records.values())
    assert all(one.request.context["run"] == place.name for one in run.records.values())


def test_pairs_run_after_the_rounds_and_are_resumed(tmp_path: Path) -> None:
    made = job(tmp_path, WHOLE, count=1)
    said: list[str] = []
    made = dataclasses.replace(made, pairs=(pair_of(made), pair_of(made, 2, "dies_block", "one")), say=said.append)
    place = plan_runner.run_rounds(made)
    assert [text.split("  ")[0].partition("] ")[2] for text in said] == [
        "tf2.18.1-x-py311@cpu default off round 1", "tf2.18.1-x-py311@cpu timing pair overhead-001",
        "tf2.18.1-x-py311@cpu timing pair overhead-002",
    ]  # fmt: skip
    run = store.load(place)
    assert sorted(run.paired) == [f"paired/tf2.18.1-x-py311@cpu/overhead-00{n}.jsonl" for n in (1, 2)]
    ends = {name: [kernel.outcome for kernel in pair.kernels] for name, pair in run.paired.items()}
    assert list(ends.values()) == [["ok"], ["crashed", "ok"]]
    assert run.paired["paired/tf2.18.1-x-py311@cpu/overhead-001.jsonl"].started_first == "b"
    assert all(side.context["run"] == place.name for pair in run.paired.values() for side in pair.requests.values())
    logs = {path.name for path in (place / "logs").rglob("*.log")}
    assert {"overhead-001-a.log", "overhead-001-b.log"} < logs
    info = json.loads((place / "run.json").read_text())
    (place / "run.json").write_text(json.dumps({**info, "finished": ""}))
    said.clear()
    assert plan_runner.run_rounds(made) == place
    assert [text.partition("] ")[2].partition("  ")[0] for text in said if "round 1" not in text][1:] == [
        "tf2.18.1-x-py311@cpu timing pair overhead-002"
    ], "only the pair in which a side died is measured again"
    assert "overhead-002 was measured again" in store.load(place).info.warnings[0]


@pytest.mark.fault(
    "A driver dies in a bundle or in tfrepro local",
    "The record is completed; kernels without a result are crashed.",
)
def test_a_dead_driver_leaves_a_whole_record(tmp_path: Path) -> None:
    body = PROCESS + "say('outcome', process=1, kernel='a', outcome='ok', seconds=1.0)\nos.kill(os.getpid(), 9)\n"
    place = plan_runner.run_rounds(job(tmp_path, body, count=1))
    found = record.read(next(place.glob("records/*/*/*.jsonl.xz")))
    assert found.complete
    assert [(one.kernel, one.outcome) for one in found.outcomes] == [("a", "ok"), ("b", "crashed")]


@pytest.mark.parametrize("descriptors", [True, False])
def test_processes_that_left_the_session_of_a_driver_are_killed(
    *, descriptors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a Python that has no descriptors of processes."""
    if not descriptors:
        monkeypatch.delattr(os, "pidfd_open")
    start = "import subprocess, time\nsubprocess.Popen(['sleep', '4243'], start_new_session=True)\n"
    command = [sys.executable, "-c", f"{start}print('up', flush=True)\ntime.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as driver:
        assert driver.stdout
        assert driver.stdout.readline() == "up\n"
        terminate_session(driver)
    time.sleep(0.2)
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "4243"]]


def test_time_in_which_this_process_was_stopped_is_no_silence() -> None:
    writes = "import time\nfor n in range(30): print(n, flush=True); time.sleep(0.1)"
    script = f"""
import subprocess, sys
from bench.portable.session import follow
child = subprocess.Popen([sys.executable, "-c", {writes!r}], stdout=subprocess.PIPE, text=True)
lines = []
print("up", flush=True)
print(follow(child, 1.5, lines.append), len(lines))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == "0 30\n"


@pytest.mark.fault("A kernel stops the driver of its round with SIGSTOP", "Kernels without a result are timeouts.")
def test_a_stopped_driver_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel can stop its driver with SIGSTOP; then nothing inside the round enforces a time limit any more."""
    monkeypatch.setattr(plan_runner, "silence_limit_s", lambda _: 2.0)
    body = PROCESS + "say('outcome', process=1, kernel='a', outcome='ok', seconds=1.0)\n"
    body += "import subprocess\nsubprocess.Popen(['sleep', '4242'], start_new_session=True)\nos.kill(os.getpid(), 19)\n"
    place = plan_runner.run_rounds(job(tmp_path, body, count=1))
    found = record.read(next(place.glob("records/*/*/*.jsonl.xz")))
    assert found.complete
    assert [(one.kernel, one.outcome) for one in found.outcomes] == [("a", "ok"), ("b", "timeout")]
    assert "its driver wrote nothing for 2 s" in found.outcomes[1].message
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "4242"]]


def test_an_interrupted_run_is_resumed(tmp_path: Path) -> None:
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
        plan_runner.run_rounds(dataclasses.replace(first, launcher=stopping))
    place = plan_runner.run_rounds(dataclasses.replace(first, launcher=launcher))
    assert marks.read_text() == "xx", "the finished round was measured again"
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1
    assert not list(place.rglob("*.part"))
    again = plan_runner.run_rounds(dataclasses.replace(first, launcher=launcher))
    assert again != place, "a finished run is not resumed"


def test_a_crash_is_measured_again_and_leaves_a_warning(tmp_path: Path) -> None:
    """Somebody may have killed it; the run itself was stopped before its end."""
    made = job(tmp_path, WHOLE.replace("kernel='b', outcome='ok'", "kernel='b', outcome='crashed'"), count=1)
    place = plan_runner.run_rounds(made)
    info = json.loads((place / "run.json").read_text())
    (place / "run.json").write_text(json.dumps({**info, "finished": ""}))
    scripted(tmp_path, WHOLE)
    assert plan_runner.run_rounds(made) == place
    run = store.load(place)
    assert [one.outcome for one in next(iter(run.records.values())).outcomes] == ["ok", "ok"]
    assert "because these failed the first time: b (crashed)" in run.info.warnings[0]


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


def test_without_nvidia_smi_nvml_is_used(tmp_path: Path, root: Path) -> None:
    """A stand-in with NVML's signatures: handles wider than an int must survive."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc on the PATH")
    (tmp_path / "nvml.c").write_text(NVML)
    for name in ("libnvidia-ml.so.1", "libcuda.so.1"):
        command = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / name), str(tmp_path / "nvml.c")]
        subprocess.run(command, check=True)
    code = "from bench.portable import host_facts as f; i = f.gpu_inventory(); print(i.driver, i.cuda, i.gpus)"
    environment = {"PATH": str(tmp_path), "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    gpus = (host_facts.Gpu("GPU-1", "NVIDIA H200"), host_facts.Gpu("GPU-2", "NVIDIA H200"))
    assert done.stdout.strip() == f"570.124.06 12080 {gpus}"


def test_an_option_that_brings_no_driver_is_not_used(tmp_path: Path) -> None:
    """Podman accepts --gpus and ignores it; with this stand-in only the last option brings a driver."""
    cli = tmp_path / "docker"
    cli.write_text('#!/bin/sh\ncase "$*" in *--runtime*) exit 0;; *libcuda*) echo none >&2; exit 1;; esac\n')
    cli.chmod(0o755)
    assert gpu_options(str(cli), "image", "GPU-1")[0] == "--runtime"


def test_a_container_gets_its_gpu_by_the_first_option_that_works(tmp_path: Path) -> None:
    cli = tmp_path / "docker"
    refuse = "echo 'could not select device driver \"\" with capabilities: [[gpu]]' >&2; exit 125"
    cli.write_text(f'#!/bin/sh\ncase "$*" in *--gpus*) exit 0;; *) {refuse};; esac\n')
    cli.chmod(0o755)
    assert gpu_options(str(cli), "image", "GPU-1") == ("--gpus", "device=GPU-1")
    cli.write_text(f"#!/bin/sh\n{refuse}\n")
    with pytest.raises(PortableError, match="could not select device driver") as actual:
        gpu_options(str(cli), "image", "GPU-1")
    assert actual.value.code == 5


def test_a_round_of_another_request_is_measured_again(tmp_path: Path) -> None:
    made = job(tmp_path, WHOLE, count=1)
    place = run_folder.PlannedFolder(plan_runner.run_rounds(made))
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
    run = store.load(plan_runner.run_rounds(job(tmp_path, body, device="h200", count=4)))
    assert [column.status for column in run.info.columns] == ["gpu-not-visible"]
    assert run.info.columns[0].reason
    assert len(run.records) == 1


def test_a_driver_of_another_suite_is_no_measurement(tmp_path: Path) -> None:
    made = job(tmp_path, f"say('header', schema={SCHEMA}, request=request, suite_hash={'0' * 64!r})\n")
    with pytest.raises(PortableError, match="another version of the suite"):
        plan_runner.run_rounds(made)


def test_a_driver_without_output_is_an_error(tmp_path: Path) -> None:
    made = job(tmp_path, "")
    driver = tmp_path / "suite" / "bench" / "suite" / "driver.py"
    driver.write_text("raise SystemExit(3)")
    with pytest.raises(PortableError, match="exit code 3"):
        plan_runner.run_rounds(made)


def test_few_values_are_kept(tmp_path: Path) -> None:
    body = "for n in range(9):\n    say('kept', process=1, kernel='a', digest=str(n), tensors=[])\n" + WHOLE
    place = plan_runner.run_rounds(job(tmp_path, body))
    texts = [lzma.decompress(path.read_bytes()).splitlines() for path in sorted(place.rglob("*.kept.xz"))]
    assert [len(text) for text in texts] == [4]


# --- the digest counts at the end


def summary(run: store.Run) -> str:
    controls = {kernel.name for kernel in run.info.kernels if kernel.control}
    return digest_summary(run.records.values(), controls, Path("records.tar.gz"))


def behave(spot: Spot) -> Behaviour:
    return Behaviour(digests=("a", "b")) if spot.kernel == "matmul" and spot.mode == "on" else EXACT


def two_kernels(**changes: Any) -> run_info.RunInfo:
    return factory.info(kernels=(factory.kernel("matmul"), factory.kernel("conv2d"), *factory.GRADED), **changes)


def test_the_summary_counts_kernels_with_several_digests_and_names_the_next_command() -> None:
    text = summary(factory.run(two_kernels(), behave))
    assert text.startswith(
        "1 of 2 kernels produced more than one digest with determinism on (0 with it off): matmul.\n"
    )
    assert "nox -s import -- records.tar.gz" in text
    assert "python -m bench import records.tar.gz" in text
    assert summary(factory.run(two_kernels())).startswith("None of 2 kernels produced more than one digest")


def test_the_summary_of_one_mode_names_that_mode() -> None:
    text = summary(factory.run(two_kernels(modes=("off",), variation_modes={"default": ("off",)}), behave))
    assert text.startswith("None of 2 kernels produced more than one digest with determinism off.")


def test_controls_and_the_second_seed_do_not_count() -> None:
    """Controls must differ, and another seed must give other bits: neither is a difference between repetitions."""
    run = factory.run(two_kernels(), second_seeds="all")
    assert summary(run).startswith("None of 2 kernels")
    assert summary(dataclasses.replace(run, records={})) == ""


# --- local


def test_local_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        local.main(["--help"])
    assert ended.value.code == 0
    assert "--rounds" in capsys.readouterr().out


def test_local_names_the_column_after_the_installation() -> None:
    found = {
        "tensorflow": "2.17.0+nv24.10", "keras": "3.5.0", "python": "3.12.4", "cuda_build": "12.3.2", "cuda": "12.5",
        "gpu": "NVIDIA H200", "uuid": "GPU-1", "gpus": 1, "distributions": ["a==1"],
    }  # fmt: skip
    column = local._column(found, host_facts.GpuInventory(gpus=(host_facts.Gpu("GPU-1", "NVIDIA H200"),)), "gpu01")
    assert (column["id"], column["cuda"]) == ("tf2.17.0-cuda12.5-local-py312@h200-gpu01", "12.5")
    bare = local._column({**found, "gpus": 0}, host_facts.GpuInventory(), "")
    assert (bare["id"], bare["cuda"], bare["kind"]) == ("tf2.17.0-local-py312@cpu", "cpu", "local")
    run_info.ColumnInfo(**column)


def test_local_measures_one_gpu_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"gpus": 2, "gpu": "NVIDIA H200", "uuid": "GPU-1"}
    assert local._first_gpu(found) == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
    assert "GPU-1 is measured" in capsys.readouterr().err
    with pytest.raises(PortableError, match="only one can be measured"):
        local._first_gpu({**found, "uuid": ""})


def test_local_plans_rounds_that_alternate_and_keeps_the_controls() -> None:
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
    assert run_info.RunInfo.from_json(json.dumps({**run, "id": "x", "started": "", "finished": ""})).engine == "local"
    pairs = local.pairs(run, requests, 4)
    assert [(pair.number, pair.first) for pair in pairs] == [(1, "a"), (2, "b"), (3, "a"), (4, "b")]
    for pair in pairs:
        assert {side: request.mode for side, request in pair.requests.items()} == {"a": "off", "b": "on"}
        assert {request.kernels for request in pair.requests.values()} == {("matmul_f32",)}, "no control is timed"
    assert local.pairs(run, requests[:1], 4) == (), "one mode has no overhead"
    with pytest.raises(PortableError, match="No kernel matches"):
        local.plan(local._parser().parse_args(["--kernels", "nosuch"]), found, host_facts.GpuInventory(), {})
