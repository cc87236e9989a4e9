"""Did this process get what the request asked for? Whatever did not is no number: it is refused here, by name."""

from __future__ import annotations

import os
from typing import Any, List

from bench.suite import libcuda, nvidia, provenance
from bench.suite.libcuda import Driver
from bench.suite.record import Request

DEVICES = ("cpu", "gpu")
#: Choose algorithms, precision, memory or order on a GPU; in a pair only its variation may set them.
STEERING = (
    "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_GPU_THREAD_MODE", "TF_GPU_THREAD_COUNT", "TF_SYNC_ON_FINISH",
    "TF_CUDNN_USE_AUTOTUNE", "TF_CUDNN_USE_FRONTEND", "TF_CUDNN_USE_RUNTIME_FUSION", "TF_CUDNN_WORKSPACE_LIMIT_IN_MB",
    "TF_MATMUL_AUTOTUNE_ENABLE", "TF_AUTOTUNE_THRESHOLD", "TF_USE_CUBLASLT", "TF_ENABLE_WINOGRAD_NONFUSED",
    "TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUBLAS_EMULATE_SINGLE_PRECISION",
    "CUBLAS_EMULATION_STRATEGY", "CUDA_FORCE_PTX_JIT", "CUDA_LAUNCH_BLOCKING",
)  # fmt: skip


#: TensorFlow's names for what a driver or a library of the device reports.
_OF_THE_DEVICE = ("InternalError", "UnknownError", "AbortedError")


class MismatchError(Exception):
    """This process is not what the request asked for; a number from it would be a lie."""


def installation(request: Request) -> None:
    """Before TensorFlow is imported: pinned versions are installed, and promised libraries can be opened.

    Raises:
        MismatchError: one is not; libraries that cannot be opened are all named.
    """
    for name, wanted in sorted(request.expect.items()):
        found = provenance.version_of(name)
        if found != wanted:
            raise _refusal(f"{name} {found or 'missing'} is installed, the lock says {wanted}")
    if request.device not in DEVICES:
        raise _refusal(f"there is no device {request.device!r}, only {' and '.join(DEVICES)}")
    missing = nvidia.missing(request.libraries)
    if missing:
        reasons = sorted(set(missing.values()))
        names = {why: ", ".join(name for name, said in missing.items() if said == why) for why in reasons}
        raise _refusal(*(f"{names[why]} cannot be opened ({why})" for why in reasons))
    foreign = [name for name in STEERING if name in os.environ and name not in request.env] if request.libraries else []
    if foreign:
        raise _refusal(f"the environment brings {', '.join(foreign)}, which its variation does not set")


def libraries(request: Request) -> None:
    """Whatever is mapped now is what was promised; asked again after every kernel, for some come late.

    Raises:
        MismatchError: a part of CUDA is missing, is of another version, or comes from somewhere else.
    """
    found = nvidia.invalid_measurements(request.libraries) if request.libraries else []
    if found:
        raise _refusal(*found)


def device(tf: Any, request: Request) -> str:
    """TensorFlow computes on the device asked for; returns why there is no GPU, "" where there is or none was wanted.

    Raises:
        MismatchError: a GPU in a CPU column, several GPUs, another GPU, another driver, or a TensorFlow without CUDA.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if request.device == "cpu":
        if gpus:
            raise _refusal(f"this is a CPU column, and TensorFlow sees {len(gpus)} GPU")
        return ""
    wrong = build(tf)
    if wrong:
        raise _refusal(*wrong)
    driver = libcuda.ask()
    others = _other(driver, request)
    if others:
        raise _refusal(*others)
    if len(gpus) > 1:
        raise _refusal(f"one GPU was asked for, and TensorFlow sees {len(gpus)}")
    return (
        "" if gpus else driver.why or "TensorFlow registered no GPU, though the driver has one; the log has its words"
    )


def spoils(error: Exception, request: Request) -> bool:
    """Whether the process in which a kernel raised this is fit for no other kernel.

    A foreign library stays mapped. An error of the device stays with its process too (CUDA calls it sticky), and
    whatever runs after it would raise it again in its own name.
    """
    if isinstance(error, MismatchError):
        return bool(request.libraries and nvidia.invalid_measurements(request.libraries))
    return request.device == "gpu" and type(error).__name__ in _OF_THE_DEVICE


def build(tf: Any) -> List[str]:
    """What is wrong with this TensorFlow for a GPU column: not built with CUDA, or with another major than is mapped."""
    info = tf.sysconfig.get_build_info()  # from 2.22 on it tells little more than is_cuda_build
    if not info.get("is_cuda_build"):
        return [f"TensorFlow {tf.version.VERSION} was built without CUDA"]
    built, there = str(info.get("cuda_version", "")), nvidia.versions().get("cudart", "")
    if built and there and built.partition(".")[0] != there.partition(".")[0]:
        return [f"TensorFlow {tf.version.VERSION} was built with CUDA {built}, and libcudart says it is {there}"]
    return []


def _other(driver: Driver, request: Request) -> List[str]:
    """How the driver and its device differ from what the host knows of them."""
    found: List[str] = []
    told = request.gpu.get("cuda", "")
    if driver.number and told and told != str(driver.number):
        found.append(
            f"the driver in the column ({driver.path}) supports CUDA {driver.number}, the host's NVML says {told}: "
            "a compatibility library may stand before the host's libcuda"
        )
    wanted = request.gpu.get("uuid", "")
    # of a slice (MIG-...) the driver and NVML may each tell another name
    if driver.devices and wanted.startswith("GPU-"):
        uuids = [one.uuid for one in driver.devices]
        if uuids != [wanted]:
            found.append(f"the GPU in the column is {' and '.join(uuids)}, asked for was {wanted}")
    return found


def _refusal(*found: str) -> MismatchError:
    return MismatchError(f"not what was asked: {'; '.join(found)}")
