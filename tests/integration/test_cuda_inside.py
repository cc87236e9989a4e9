"""A real CUDA environment on a host without GPU: its libraries load, and every deviation from the lock is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bench.engines.base import probe_command
from bench.engines.venv import VenvEngine
from bench.plan import locks
from bench.plan.column import Column, Pair
from bench.suite import record
from bench.suite.kernel_files import STORE_VARIABLE, read_source, stage
from bench.suite.record import Record, Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.engines.base import Environment
    from tests.integration.conftest import Bench

pytestmark = pytest.mark.tensorflow

PAIR = Pair(
    tensorflow="2.18.1", cuda="12.5", python="3.11", keras="3.15.1", base="", cudnn="9.3.0.75", kind="official"
)  # fmt: skip
#: What TensorFlow 2.18 opens by name, from the CUDA 12.5.1 set: written out, to be independent of the planner's table.
EXPECTED = {
    "libcudart.so.12": "nvidia-cuda-runtime-cu12==12.5.82",
    "libcublas.so.12": "nvidia-cublas-cu12==12.5.3.2",
    "libcublasLt.so.12": "nvidia-cublas-cu12==12.5.3.2",
    "libcufft.so.11": "nvidia-cufft-cu12==11.2.3.61",
    "libcusolver.so.11": "nvidia-cusolver-cu12==11.6.3.83",
    "libcusparse.so.12": "nvidia-cusparse-cu12==12.5.1.3",
    "libcudnn.so.9": "nvidia-cudnn-cu12==9.3.0.75",
    "libcupti.so.12": "nvidia-cuda-cupti-cu12==12.5.82",
}
VERSIONS = {
    "cudart": "12.5", "cublas": "12.5.3", "cublasLt": "12.5.3", "cufft": "11.2.3", "cusolver": "11.6.3",
    "cusparse": "12.5.1", "cudnn": "9.3.0", "nvJitLink": "12.5", "ptxas": "12.5.82",
}  # fmt: skip
NO_DRIVER = "no driver: libcuda.so.1 cannot be opened (cannot open shared object file: No such file or directory)"
#: A kernel that opens a library while it runs, as cuDNN does with its parts.
OPENS = '''
import ctypes, os
from bench.suite.kernels import kernel

@kernel(family="planted", exercises="x", shapes="x", dtypes="x", source="planted")
def planted_opens(tf, seed):
    """Its samples are fine, but it loads a foreign library into the process."""
    def work():
        ctypes.CDLL(os.environ["TFREPRO_OPENS"])
        return {"x": tf.constant([float(seed)])}
    return work
'''
GPU = os.path.exists("/proc/driver/nvidia/version")  # noqa: PTH110 - evaluated during collection


@dataclass(frozen=True)
class Inside:
    """A CUDA environment in which rounds and probes are started as an engine would."""

    root: Path
    folder: Path
    scratch: Path

    @property
    def nvidia(self) -> Path:
        return next((self.folder / "lib").glob("python3.*/site-packages/nvidia"))

    def environment(self, first: str = "", *, libraries: bool = True) -> dict[str, str]:
        paths = [*filter(None, [first]), *map(str, sorted(self.nvidia.glob("*/lib")))]
        return {
            "PATH": f"{self.nvidia / 'cuda_nvcc' / 'bin'}:{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch),
            "PYTHONPATH": str(self.root),
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"LD_LIBRARY_PATH": ":".join(paths)} if libraries else {}),
        }

    def command(self, module: str, argument: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "bin" / "python"), "-m", module, argument],
            cwd=self.scratch, env=dict(environment), capture_output=True, text=True, check=False,
        )  # fmt: skip

    def round(self, environment: Mapping[str, str], **changes: Any) -> Record:
        facts: dict[str, Any] = {
            "column": "c", "mode": "off", "variation": "default", "round": 1, "kernels": ("matmul_f32", "svd"),
            "repetitions": {"matmul_f32": 1, "svd": 1, "planted_opens": 1}, "device": "gpu", "libraries": EXPECTED,
            "expect": {"tensorflow": "2.18.1"},
        }  # fmt: skip
        done = self.command("bench.suite.driver", Request(**{**facts, **changes}).to_json(), environment)
        return record.parse(done.stdout.splitlines())

    def probe(self, environment: Mapping[str, str], **options: Any) -> tuple[int, dict[str, Any]]:
        done = self.command("bench.suite.probe", json.dumps({"libraries": EXPECTED, **options}), environment)
        (line,) = done.stdout.splitlines()
        return done.returncode, json.loads(line)


@dataclass(frozen=True)
class Prepared:
    """The same environment for its engine."""

    engine: VenvEngine
    column: Column
    environment: Environment


@pytest.fixture(scope="session")
def prepared(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The lock of the pair, installed once by the venv engine into the user's cache."""
    engine = VenvEngine(root)
    column = Column(pair=PAIR, device="gpu", lock=root / "docker" / "locks" / f"{PAIR.stem}.txt")
    log = tmp_path_factory.mktemp("prepared") / "build.log"
    return Prepared(engine, column, engine.prepare(column, log, lambda _: None))


@pytest.fixture(scope="session")
def inside(root: Path, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Inside:
    return Inside(root, prepared.engine.place(prepared.column), tmp_path_factory.mktemp("inside"))


def refusals(result: Record) -> set[tuple[str, str]]:
    """Return outcomes and messages of a complete record without samples."""
    assert result.complete
    assert result.samples == ()
    assert len(result.outcomes) == len(result.request.kernels)
    return {(outcome.outcome, outcome.message) for outcome in result.outcomes}


@pytest.mark.skipif(GPU, reason="this host has a driver")
def test_without_a_gpu_libraries_report_versions_and_kernels_report_no_gpu(prepared: Prepared, tmp_path: Path) -> None:
    """In a round that the engine starts."""
    lock, kernels = prepared.column.lock, ("matmul_f32", "svd")
    request = Request(
        column="c", mode="off", variation="default", round=1, kernels=kernels, repetitions=dict.fromkeys(kernels, 1),
        device="gpu", libraries=EXPECTED, expect=locks.expected(lock),
    )  # fmt: skip
    lines: list[str] = []
    done = prepared.engine.execute(prepared.environment, request, lines.append, tmp_path / "round.log")
    assert done.exit_code == 0
    result = record.parse(lines)
    assert refusals(result) == {("gpu-not-visible", NO_DRIVER)}
    (process,) = result.processes
    assert process.provenance["cuda"] == VERSIONS
    assert process.provenance["gpu"] == {}
    assert process.provenance["build_info"]["is_cuda_build"] == "True"
    files = process.provenance["cuda_files"]
    assert set(EXPECTED) <= set(files)
    assert files["libcublas.so.12"] == "nvidia/cublas/lib/libcublas.so.12 (nvidia-cublas-cu12 12.5.3.2)"
    assert files["libnvJitLink.so.12"] == "nvidia/nvjitlink/lib/libnvJitLink.so.12 (nvidia-nvjitlink-cu12 12.5.82)"
    assert process.libraries["libcudnn"] == "9 (nvidia_cudnn_cu12 9.3.0.75)"
    assert process.settings["devices"] == ["/device:CPU:0"]


def test_libraries_that_cannot_be_opened_are_named(inside: Inside) -> None:
    ((outcome, message),) = refusals(inside.round(inside.environment(libraries=False)))
    assert outcome == "mismatch"
    assert message.startswith("not what was requested: ")
    assert message.endswith("cannot be opened (cannot open shared object file: No such file or directory)")
    for soname in EXPECTED:
        assert soname in message


def test_another_version_than_pinned_is_refused(inside: Inside) -> None:
    other = {**EXPECTED, "libcudnn.so.9": "nvidia-cudnn-cu12==9.5.1.17"}
    ((outcome, message),) = refusals(inside.round(inside.environment(), libraries=other))
    assert outcome == "mismatch"
    for name in ("libcudnn.so.9", "libcudnn_graph.so.9"):
        mapped = f"nvidia/cudnn/lib/{name} is mapped and belongs to nvidia-cudnn-cu12 9.3.0.75"
        assert f"{mapped}, but nvidia-cudnn-cu12 9.5.1.17 is required" in message


@pytest.mark.parametrize("part", ["cublas/lib/libcublas.so.12", "nvjitlink/lib/libnvJitLink.so.12"])
def test_a_foreign_library_that_is_result_first_is_refused(inside: Inside, tmp_path: Path, part: str) -> None:
    """The same bytes from another folder, as with a CUDA of the host; also for a library that nothing opens by name."""
    foreign = shutil.copy(inside.nvidia / part, tmp_path)
    ((outcome, message),) = refusals(inside.round(inside.environment(first=str(tmp_path))))
    assert outcome == "mismatch"
    assert message.startswith(f"not what was requested: {foreign} is mapped and belongs to no distribution")


def test_a_foreign_library_that_a_kernel_loads_fails_that_kernel(inside: Inside, tmp_path: Path) -> None:
    foreign = shutil.copy(inside.nvidia / "cuda_nvrtc" / "lib" / "libnvrtc.so.12", tmp_path)
    (tmp_path / "opens.py").write_text(OPENS, encoding="utf-8")
    copy = stage(read_source(tmp_path / "opens.py"), tmp_path / "store")
    environment = inside.environment()
    environment["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"  # keeps the folder visible in the private /tmp
    result = inside.round(
        {**environment, "TFREPRO_OPENS": str(foreign), STORE_VARIABLE: str(copy.parent)},
        device="cpu", kernel_files={"planted_opens": f"{copy.name}/opens.py"},
        kernels=("matmul_f32", "planted_opens", "svd"),
    )  # fmt: skip
    assert [(outcome.kernel, outcome.outcome, outcome.process) for outcome in result.outcomes] == [
        ("matmul_f32", "ok", 1), ("svd", "ok", 1), ("planted_opens", "mismatch", 2),
    ]  # fmt: skip
    assert result.outcomes[2].message == f"not what was requested: {foreign} is mapped and belongs to no distribution"
    if not GPU:  # the same environment works for a CPU column
        assert [outcome.peak_gpu_mb for outcome in result.outcomes[:2]] == [None, None]
        assert "gpu_allocator" not in result.processes[0].settings


def test_a_cpu_build_in_a_gpu_column_is_refused(inside: Inside, bench: Bench, root: Path, tmp_path: Path) -> None:
    assert bench.environment.column == "tf2.18.1-cpu-py311@cpu"  # it is installed
    assert isinstance(bench.engine, VenvEngine)
    plain = Inside(root, bench.engine.place(bench.column), tmp_path)
    environment = {**inside.environment(), "PATH": "/usr/bin:/bin"}
    result = plain.round(environment, libraries={}, expect={"tensorflow-cpu": "2.18.1"})
    assert refusals(result) == {("mismatch", "not what was requested: TensorFlow 2.18.1 was built without CUDA")}


def test_a_variable_of_the_host_that_affects_the_gpu_is_refused(inside: Inside) -> None:
    environment = {**inside.environment(), "TF_GPU_ALLOCATOR": "cuda_malloc_async"}
    assert refusals(inside.round(environment)) == {
        ("mismatch", "not what was requested: the environment sets TF_GPU_ALLOCATOR, but the variation does not")
    }


class TestProbe:
    """The probe alone, for images that are built on a host without a GPU."""

    def test_a_good_environment(self, inside: Inside, prepared: Prepared, tmp_path: Path) -> None:
        """As the engine starts it, with the libraries that the planner names."""
        engine, column = prepared.engine, prepared.column
        result = json.loads(
            engine.run_python(prepared.environment, column, probe_command(column), tmp_path / "probe.log")
        )
        assert (result["missing"], result["problems"]) == ({}, [])
        assert result["versions"] == VERSIONS
        assert result["tensorflow"] == "2.18.1"
        assert result["build"]["cuda_version"] == "12.5.1"
        assert set(result["libraries"]) == set(EXPECTED)
        cublas = result["libraries"]["libcublas.so.12"]
        assert (cublas["version"], cublas["distribution"]) == ("12.5.3", "nvidia-cublas-cu12 12.5.3.2")
        assert {
            name: found["distribution"].replace(" ", "==") for name, found in result["libraries"].items()
        } == EXPECTED
        assert cublas["path"] == str((inside.nvidia / "cublas" / "lib" / "libcublas.so.12").resolve())
        if not GPU:
            assert (result["gpus"], result["driver"], result["why_no_gpu"]) == (0, "", NO_DRIVER)

    def test_tensorflow_can_be_skipped(self, inside: Inside) -> None:
        code, result = inside.probe(inside.environment(), tensorflow=False)
        assert (code, result["tensorflow"], result["build"]) == (0, "", {})
        assert result["versions"] == VERSIONS

    def test_missing_or_wrong_libraries_make_it_fail(self, inside: Inside) -> None:
        code, result = inside.probe(inside.environment(libraries=False), tensorflow=False)
        assert (code, set(result["missing"])) == (1, set(EXPECTED))
        other = {"libcudnn.so.9": "nvidia-cudnn-cu12==9.5.1.17"}
        code, result = inside.probe(inside.environment(), tensorflow=False, libraries=other)
        assert (code, result["missing"]) == (1, {})
        assert "but nvidia-cudnn-cu12 9.5.1.17 is required" in result["problems"][0]
