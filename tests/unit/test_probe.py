"""The environment probe without a GPU: mapped libraries, their versions, and the problems it reports."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.suite import libcuda, loaded_libraries, nvidia, preconditions, probe
from bench.suite.libcuda import Device, Driver
from bench.suite.loaded_libraries import MappedLibrary, Owner
from bench.suite.preconditions import MismatchError
from bench.suite.record import Request

if TYPE_CHECKING:
    from collections.abc import Callable

CUBLAS = {"libcublas.so.12": "nvidia-cublas-cu12==12.5.3.2"}
CUDNN = {"libcudnn.so.9": "nvidia-cudnn-cu12==9.3.0.75"}
OF_CUBLAS = ", but nvidia-cublas-cu12 12.5.3.2 is required"
OF_CUDNN = ", but nvidia-cudnn-cu12 9.3.0.75 is required"


def request(**changes: Any) -> Request:
    facts: dict[str, Any] = {
        "column": "c", "mode": "off", "variation": "default", "round": 1, "kernels": ("k",), "repetitions": {"k": 1},
    }  # fmt: skip
    return Request(**{**facts, **changes})


class TestMapped:
    """The libraries mapped into this process."""

    def test_a_library_of_a_wheel_is_known_by_its_distribution(self) -> None:
        found = {library.path.name: library for library in loaded_libraries.libraries()}
        own = [library for name, library in found.items() if name.startswith("_multiarray_umath")]
        assert [str(library.owner) for library in own] == [f"numpy {np.__version__}"]
        assert own[0].display_path.startswith("numpy/")

    def test_a_library_of_the_system_belongs_to_no_distribution(self) -> None:
        found = {library.path.name: library for library in loaded_libraries.libraries()}
        assert (str(found["libc.so.6"].owner), found["libc.so.6"].owner.canonical) == ("no distribution", "")
        assert found["libc.so.6"].display_path == found["libc.so.6"].path.as_posix()

    def test_a_system_without_maps_has_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(loaded_libraries, "MAPS", tmp_path / "none")
        assert loaded_libraries.libraries() == ()


class TestLibraries:
    """Libraries are opened by name and compared with the requirements."""

    def test_missing_libraries_are_named_with_the_message_of_the_loader(self) -> None:
        found = nvidia.missing(["libc.so.6", "libtfrepro_none.so.1"])
        assert found == {"libtfrepro_none.so.1": "cannot open shared object file: No such file or directory"}

    def maps(self, monkeypatch: pytest.MonkeyPatch, *files: tuple[str, str, str], reported: str = "") -> None:
        """Pretend that these libraries are mapped (path, distribution, version) and all report one version."""
        rows = [MappedLibrary(Path(path), Owner(*owner)) for path, *owner in files]
        monkeypatch.setattr(loaded_libraries, "libraries", lambda: tuple(rows))
        version = tuple(int(part) for part in reported.split(".")) if reported else None
        monkeypatch.setattr(nvidia, "_query", lambda _: version)
        monkeypatch.setattr(nvidia, "ptxas", lambda: None)

    @pytest.mark.parametrize("reported", ["", "12.5", "12.5.3"])
    def test_required_libraries_are_accepted(self, monkeypatch: pytest.MonkeyPatch, reported: str) -> None:
        self.maps(
            monkeypatch,
            ("/site/nvidia/cublas/lib/libcublas.so.12", "nvidia_cublas_cu12", "12.5.3.2"),
            reported=reported,
        )
        assert nvidia.mismatches(CUBLAS) == []

    @pytest.mark.parametrize(
        ("file", "reported", "message"),
        [
            (("/site/a/libcublas.so.12", "nvidia_cublas_cu12", "12.4.5.8"), "12.4.5",
             "/site/a/libcublas.so.12 is mapped and belongs to nvidia-cublas-cu12 12.4.5.8" + OF_CUBLAS),
            (("/usr/local/cuda/lib64/libcublas.so.12.5.3.2", "", ""), "12.5.3",
             "/usr/local/cuda/lib64/libcublas.so.12.5.3.2 is mapped and belongs to no distribution" + OF_CUBLAS),
            (("/site/t/libcublas.so.12", "torch", "2.5.1"), "12.5.3",
             "/site/t/libcublas.so.12 is mapped and belongs to torch 2.5.1" + OF_CUBLAS),
            (("/site/a/libcublas.so.12", "nvidia_cublas_cu12", "12.5.3.2"), "12.4.5",
             "/site/a/libcublas.so.12 reports version 12.4.5, but its distribution is nvidia-cublas-cu12 12.5.3.2"),
            (("/site/a/libcublasLt.so.12", "nvidia_cublas_cu12", "12.5.3.2"), "12.5.3",
             "libcublas.so.12 is not mapped"),
        ],
    )  # fmt: skip
    def test_mismatches_are_named_with_both_versions(
        self, monkeypatch: pytest.MonkeyPatch, file: tuple[str, str, str], reported: str, message: str
    ) -> None:
        self.maps(monkeypatch, file, reported=reported)
        assert nvidia.mismatches(CUBLAS) == [message]

    @pytest.mark.parametrize(
        ("late", "message"),
        [
            (("/opt/libcudnn_cnn.so.9", "", ""), "/opt/libcudnn_cnn.so.9 is mapped and belongs to no distribution"),
            (("/site/n/libnvJitLink.so.12", "nvidia_nvjitlink_cu12", "12.9.86"), ""),
            (("/usr/lib/libcuda.so.550.54.15", "", ""), ""),
            (("/usr/lib/libnvidia-ptxjitcompiler.so.550.54.15", "", ""), ""),
            (("/usr/lib/libcurl.so.4", "", ""), ""),
            (("/site/d/libcudnn_graph.so.9", "nvidia_cudnn_cu12", "9.1.0.70"),
             "/site/d/libcudnn_graph.so.9 is mapped and belongs to nvidia-cudnn-cu12 9.1.0.70" + OF_CUDNN),
        ],
    )  # fmt: skip
    def test_libraries_that_are_not_required_are_checked_too(
        self, monkeypatch: pytest.MonkeyPatch, late: tuple[str, str, str], message: str
    ) -> None:
        self.maps(monkeypatch, ("/site/d/libcudnn.so.9", "nvidia_cudnn_cu12", "9.3.0.75"), late)
        assert nvidia.mismatches(CUDNN) == ([message] if message else [])

    def test_a_ptxas_that_no_wheel_provides_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.maps(monkeypatch, ("/site/d/libcudnn.so.9", "nvidia_cudnn_cu12", "9.3.0.75"))
        monkeypatch.setattr(nvidia, "ptxas", lambda: (Path("/usr/local/cuda/bin/ptxas"), "12.2.140"))
        assert nvidia.mismatches(CUDNN) == [
            "the ptxas on the PATH is /usr/local/cuda/bin/ptxas, which belongs to no distribution"
        ]

    def test_the_version_of_ptxas_is_queried(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        program = tmp_path / "ptxas"
        program.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.5, V12.5.82'\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        nvidia.ptxas.cache_clear()
        assert nvidia.ptxas() == (program.resolve(), "12.5.82")
        nvidia.ptxas.cache_clear()

    @pytest.mark.parametrize(
        ("short", "number", "message"),
        [
            ("cudart", 12050, (12, 5)), ("cublasLt", 120503, (12, 5, 3)), ("cublasLt", 111103, (11, 11, 3)),
            ("cufft", 11203, (11, 2, 3)), ("cufft", 11012, (11, 0, 12)), ("cusolver", 11603, (11, 6, 3)),
            ("curand", 10310, (10, 3, 10)), ("cudnn", 90300, (9, 3, 0)), ("cudnn", 91002, (9, 10, 2)),
            ("cudnn", 8907, (8, 9, 7)), ("nccl", 22105, (2, 21, 5)),
        ],
    )  # fmt: skip
    def test_version_numbers_are_decoded_as_documented_in_the_headers(
        self, short: str, number: int, message: tuple[int, ...]
    ) -> None:
        def status(at: Any) -> int:
            at._obj.value = number
            return 0

        def size() -> int:
            return number

        class Library:
            def __getattr__(self, name: str) -> Any:
                return size if short in {"cudnn", "cublasLt"} else status

        assert nvidia._QUERIES[short](Library()) == message


class FakeDriver:
    """A fake libcuda.so.1 with a version, devices (bytes of their UUIDs) and the result of cuInit."""

    def __init__(self, number: int = 12040, devices: tuple[bytes, ...] = (), init: int = 0) -> None:
        self.number, self.devices, self.init = number, devices, init

    def cuDriverGetVersion(self, at: Any) -> int:  # noqa: N802 - name of the driver function
        at._obj.value = self.number
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDeviceGetCount(self, at: Any) -> int:  # noqa: N802
        at._obj.value = len(self.devices)
        return 0

    def cuDeviceGet(self, at: Any, index: int) -> int:  # noqa: N802
        at._obj.value = index
        return 0

    def cuDeviceGetAttribute(self, at: Any, attribute: int, device: Any) -> int:  # noqa: N802
        at._obj.value = {16: 132}[attribute]
        return 0

    def cuDeviceGetUuid(self, at: Any, device: Any) -> int:  # noqa: N802
        at._obj[:] = self.devices[device.value]
        return 0

    def cuGetErrorString(self, code: int, at: Any) -> int:  # noqa: N802
        at._obj.value = b"no CUDA-capable device is detected"
        return 0


class TestDriver:
    """Every failure of the driver is described."""

    NAME = uuid.UUID("5e1f2a3b-0000-1111-2222-334455667788")

    @pytest.fixture
    def driver(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeDriver], Driver]:
        def ask(fake: FakeDriver) -> Driver:
            monkeypatch.setattr(ctypes, "CDLL", lambda _: fake)
            return libcuda.query_driver()

        return ask

    def test_a_missing_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libcuda, "SONAME", "libcuda_none.so.1")
        found = libcuda.query_driver()
        assert (found.number, found.version, found.devices) == (0, "", ())
        assert found.reason == (
            "no driver: libcuda_none.so.1 cannot be opened (cannot open shared object file: No such file or directory)"
        )

    def test_a_driver_that_cannot_be_initialised(self, driver: Callable[[FakeDriver], Driver]) -> None:
        found = driver(FakeDriver(init=100))
        assert (found.version, found.devices) == ("12.4", ())
        assert found.reason == "the driver call cuInit failed: error 100 (no CUDA-capable device is detected)"

    def test_a_driver_without_devices(self, driver: Callable[[FakeDriver], Driver]) -> None:
        assert driver(FakeDriver()).reason == "the driver reports no device"

    def test_the_uuid_of_a_device_is_spelled_as_by_nvml(self, driver: Callable[[FakeDriver], Driver]) -> None:
        found = driver(FakeDriver(devices=(self.NAME.bytes,)))
        assert found.devices == (Device(f"GPU-{self.NAME}", 132),)
        assert found.reason == ""


def tensorflow(gpus: int, **build: Any) -> Any:
    """A fake TensorFlow for the checks of device and build."""
    info = {"is_cuda_build": True, "cuda_version": "12.5.1", **build}
    return SimpleNamespace(
        config=SimpleNamespace(list_physical_devices=lambda _: ["GPU:0", "GPU:1"][:gpus]),
        sysconfig=SimpleNamespace(get_build_info=lambda: info),
        version=SimpleNamespace(VERSION="2.18.1"),
    )


class TestPreconditions:
    """A process that differs from the request is rejected with a message."""

    ONE = Driver(12040, "/usr/lib/libcuda.so.550", (Device("GPU-a", 132),))

    @pytest.fixture(autouse=True)
    def _versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nvidia, "versions", lambda: {"cudart": "12.5"})

    @pytest.mark.parametrize(
        ("driver", "gpus", "known", "why"),
        [
            (ONE, 1, {}, ""),
            (ONE, 1, {"uuid": "GPU-a", "cuda": "12040", "driver": "550.54.15"}, ""),
            (ONE, 1, {"uuid": "MIG-other", "cuda": ""}, ""),
            (Driver(reason="no driver: x"), 0, {"uuid": "GPU-a", "cuda": "12040"}, "no driver: x"),
            (ONE, 0, {}, "TensorFlow registered no GPU, although the driver has one; see the log for its messages"),
        ],
    )
    def test_one_gpu_or_the_reason_why_not(
        self, monkeypatch: pytest.MonkeyPatch, driver: Driver, gpus: int, known: dict[str, str], why: str
    ) -> None:
        monkeypatch.setattr(libcuda, "query_driver", lambda: driver)
        assert preconditions.check_device(tensorflow(gpus), request(device="gpu", gpu=known)) == why

    @pytest.mark.parametrize(
        ("gpus", "build", "known", "message"),
        [
            (2, {}, {}, "one GPU was requested, but TensorFlow sees 2"),
            (1, {"is_cuda_build": False}, {}, "TensorFlow 2.18.1 was built without CUDA"),
            (1, {"cuda_version": "11.8"}, {}, "was built with CUDA 11.8, but libcudart reports 12.5"),
            (
                1,
                {},
                {"cuda": "12090"},
                "(/usr/lib/libcuda.so.550) supports CUDA 12040, but NVML on the host reports 12090",
            ),
            (1, {}, {"uuid": "GPU-b"}, "the column sees GPU GPU-a, but GPU-b was requested"),
        ],
    )
    def test_another_device_or_build_is_rejected(
        self, monkeypatch: pytest.MonkeyPatch, gpus: int, build: dict[str, Any], known: dict[str, str], message: str
    ) -> None:
        monkeypatch.setattr(libcuda, "query_driver", lambda: self.ONE)
        with pytest.raises(MismatchError, match=r"^not what was requested: ") as caught:
            preconditions.check_device(tensorflow(gpus, **build), request(device="gpu", gpu=known))
        assert message in str(caught.value)

    def test_a_cpu_column_that_sees_a_gpu_is_rejected(self) -> None:
        assert preconditions.check_device(tensorflow(0), request()) == ""
        message = "not what was requested: this is a CPU column, but TensorFlow sees 1 GPU"
        with pytest.raises(MismatchError, match=message):
            preconditions.check_device(tensorflow(1), request())

    def test_a_build_without_a_cuda_version_is_accepted(self) -> None:
        """Since TensorFlow 2.22, the build info has no CUDA version."""
        tf = tensorflow(1)
        del tf.sysconfig.get_build_info()["cuda_version"]
        assert preconditions.build_problems(tf) == []

    def test_every_missing_library_is_named_and_a_common_reason_only_once(self) -> None:
        required = {f"libtfrepro_{name}.so.1": "nvidia-x==1" for name in ("a", "b")}
        with pytest.raises(MismatchError) as caught:
            preconditions.check_installation(request(device="gpu", libraries=required))
        assert str(caught.value) == (
            "not what was requested: libtfrepro_a.so.1, libtfrepro_b.so.1 cannot be opened "
            "(cannot open shared object file: No such file or directory)"
        )

    def test_an_unknown_device_is_rejected(self) -> None:
        with pytest.raises(MismatchError, match="unknown device 'GPU'; it must be cpu or gpu"):
            preconditions.check_installation(request(device="GPU"))

    def test_only_the_variation_may_set_variables_that_influence_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        required = {"libc.so.6": "nvidia-x==1"}
        with pytest.raises(MismatchError, match="sets TF_FORCE_GPU_ALLOW_GROWTH, but the variation does not"):
            preconditions.check_installation(request(device="gpu", libraries=required))
        preconditions.check_installation(
            request(device="gpu", libraries=required, env={"TF_FORCE_GPU_ALLOW_GROWTH": "true"})
        )
        preconditions.check_installation(request(device="gpu"))  # a given interpreter has no required libraries


def test_the_probe_prints_one_line_even_if_others_print(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(1)
    try:
        code = probe.main(['{"libraries": {"libtfrepro_a.so.1": "nvidia-x==1"}, "tensorflow": false}'])
        os.write(1, b"noise\n")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    out, noise = capfd.readouterr()
    assert code == 1
    found = json.loads(out)
    assert set(found["missing"]) == {"libtfrepro_a.so.1"}
    assert (found["libraries"], found["tensorflow"], found["problems"]) == ({}, "", [])
    assert "noise" in noise


def test_the_probe_succeeds_if_nothing_is_required(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(1)
    try:
        assert probe.main(['{"libraries": {}, "tensorflow": false}']) == 0
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert json.loads(capfd.readouterr().out)["missing"] == {}
    assert sys.modules.get("tensorflow") is None


class TestUnusableProcess:
    """Which errors make a process unusable for other kernels."""

    @pytest.mark.parametrize(
        ("name", "device", "unusable"),
        [
            ("InternalError", "gpu", True),
            ("UnknownError", "gpu", True),
            ("InternalError", "cpu", False),
            ("UnimplementedError", "gpu", False),
            ("ResourceExhaustedError", "gpu", False),
        ],
    )
    def test_a_device_error_does(self, name: str, device: str, unusable: bool) -> None:  # noqa: FBT001
        assert preconditions.makes_process_unusable(type(name, (Exception,), {})(), request(device=device)) is unusable

    def test_a_foreign_library_does_and_a_missing_kernel_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        required = request(device="gpu", libraries=CUBLAS)
        monkeypatch.setattr(nvidia, "mismatches", lambda _: ["libcublas.so.12 is not mapped"])
        assert preconditions.makes_process_unusable(MismatchError("x"), required)
        assert not preconditions.makes_process_unusable(MismatchError("x"), request(device="gpu"))
        monkeypatch.setattr(nvidia, "mismatches", lambda _: [])
        assert not preconditions.makes_process_unusable(MismatchError("x"), required)
