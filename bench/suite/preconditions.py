"""Checks that this process provides what was requested; otherwise it must not measure."""

from __future__ import annotations

import os
from typing import Any, List

from bench.suite import libcuda, nvidia, provenance
from bench.suite.libcuda import Driver
from bench.suite.record import Request

DEVICES = ("cpu", "gpu")
#: Variables that influence algorithms, precision, memory or execution order on a GPU; only the variation of a GPU
#: column may set them.
STEERING = (
    "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_GPU_THREAD_MODE", "TF_GPU_THREAD_COUNT", "TF_SYNC_ON_FINISH",
    "TF_CUDNN_USE_AUTOTUNE", "TF_CUDNN_USE_FRONTEND", "TF_CUDNN_USE_RUNTIME_FUSION", "TF_CUDNN_WORKSPACE_LIMIT_IN_MB",
    "TF_MATMUL_AUTOTUNE_ENABLE", "TF_AUTOTUNE_THRESHOLD", "TF_USE_CUBLASLT", "TF_ENABLE_WINOGRAD_NONFUSED",
    "TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUBLAS_EMULATE_SINGLE_PRECISION",
    "CUBLAS_EMULATION_STRATEGY", "CUDA_FORCE_PTX_JIT", "CUDA_LAUNCH_BLOCKING",
)  # fmt: skip


#: TensorFlow's exceptions for errors that the driver or a GPU library reports.
_DEVICE_ERRORS = ("InternalError", "UnknownError", "AbortedError")


class MismatchError(Exception):
    """This process differs from what was requested, so it must not measure."""


def mismatch(*problems: str) -> MismatchError:
    """Return the error for these problems. ``bench.verdict.validity`` recognises its prefix."""
    return MismatchError(f"not what was requested: {'; '.join(problems)}")


def check_installation(request: Request) -> None:
    """Check, before TensorFlow is imported, that pinned versions are installed and required libraries can be opened.

    Raises:
        MismatchError: A check failed; the message names every library that cannot be opened.
    """
    for name, pinned in sorted(request.expect.items()):
        installed = provenance.version_of(name)
        if installed != pinned:
            state = f"{name} {installed} is installed" if installed else f"{name} is not installed"
            raise mismatch(f"{state}, but the lock pins {pinned}")
    if request.device not in DEVICES:
        raise mismatch(f"unknown device {request.device!r}; it must be {' or '.join(DEVICES)}")
    missing = nvidia.missing(request.libraries)
    if missing:
        reasons = sorted(set(missing.values()))
        names = {reason: ", ".join(name for name, text in missing.items() if text == reason) for reason in reasons}
        raise mismatch(*(f"{names[reason]} cannot be opened ({reason})" for reason in reasons))
    unexpected = [name for name in STEERING if name in os.environ and name not in request.env]
    if request.libraries and unexpected:
        raise mismatch(f"the environment sets {', '.join(unexpected)}, but the variation does not")


def check_libraries(request: Request) -> None:
    """Check the CUDA libraries that are mapped now. Called after every kernel, because some are loaded late.

    Raises:
        MismatchError: A CUDA library is missing, has another version, or comes from elsewhere.
    """
    problems = nvidia.mismatches(request.libraries) if request.libraries else []
    if problems:
        raise mismatch(*problems)


def check_device(tf: Any, request: Request) -> str:
    """Check that TensorFlow uses the requested device.

    Returns:
        The reason why there is no GPU; "" if there is one, or if none was requested.

    Raises:
        MismatchError: A CPU column sees a GPU; or there are several GPUs, another GPU, another driver, or a
            TensorFlow that was built without CUDA.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if request.device == "cpu":
        if gpus:
            raise mismatch(f"this is a CPU column, but TensorFlow sees {len(gpus)} GPU")
        return ""
    problems = build_problems(tf)
    if problems:
        raise mismatch(*problems)
    driver = libcuda.query_driver()
    problems = _driver_problems(driver, request)
    if problems:
        raise mismatch(*problems)
    if len(gpus) > 1:
        raise mismatch(f"one GPU was requested, but TensorFlow sees {len(gpus)}")
    if gpus:
        return ""
    return driver.reason or "TensorFlow registered no GPU, although the driver has one; see the log for its messages"


def makes_process_unusable(error: Exception, request: Request) -> bool:
    """Return whether no other kernel may run in the process in which a kernel raised ``error``.

    A foreign library stays mapped. A device error stays with its process, too (CUDA calls it sticky): every later
    kernel would raise it again.
    """
    if isinstance(error, MismatchError):
        return bool(request.libraries and nvidia.mismatches(request.libraries))
    return request.device == "gpu" and type(error).__name__ in _DEVICE_ERRORS


def build_problems(tf: Any) -> List[str]:
    """Return why this TensorFlow cannot serve a GPU column: built without CUDA, or for another CUDA major version."""
    info = tf.sysconfig.get_build_info()  # from 2.22 on it contains little besides is_cuda_build
    if not info.get("is_cuda_build"):
        return [f"TensorFlow {tf.version.VERSION} was built without CUDA"]
    built, loaded = str(info.get("cuda_version", "")), nvidia.versions().get("cudart", "")
    if built and loaded and built.partition(".")[0] != loaded.partition(".")[0]:
        return [f"TensorFlow {tf.version.VERSION} was built with CUDA {built}, but libcudart reports {loaded}"]
    return []


def _driver_problems(driver: Driver, request: Request) -> List[str]:
    """Return how the driver and its device differ from what the host knows about them."""
    problems: List[str] = []
    host_cuda = request.gpu.get("cuda", "")
    if driver.number and host_cuda and host_cuda != str(driver.number):
        problems.append(
            f"the driver in the column ({driver.path}) supports CUDA {driver.number}, but NVML on the host reports "
            f"{host_cuda}: a compatibility library may hide the host's libcuda"
        )
    uuid = request.gpu.get("uuid", "")
    # for a MIG slice (MIG-...) the driver and NVML may report different UUIDs
    if driver.devices and uuid.startswith("GPU-"):
        uuids = [device.uuid for device in driver.devices]
        if uuids != [uuid]:
            problems.append(f"the column sees GPU {' and '.join(uuids)}, but {uuid} was requested")
    return problems
