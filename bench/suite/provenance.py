"""Provenance of a measurement: software versions, host, device, and the settings in effect in this process."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import socket
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Optional

from bench.suite import libcuda, loaded_libraries, nvidia

#: Prefixes of environment variables that can change results or times; all that are set are recorded.
PREFIXES = (
    "TF_", "XLA_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "OMP_", "KMP_", "ONEDNN_", "DNNL_", "MKL_",
    "KERAS_", "PYTHONHASHSEED",
)  # fmt: skip

#: Name prefixes of libraries whose version can change results or times.
LIBRARIES = (
    "libtensorflow", "libcuda", "libcud", "libcublas", "libcudnn", "libcufft", "libcurand", "libcusolver",
    "libcusparse", "libnccl", "libnvrtc", "libnvJitLink", "libnvidia-ptxjitcompiler", "libcupti", "libdnnl",
    "libiomp", "libgomp", "libopenblas", "libscipy_openblas", "libstdc++",
)  # fmt: skip
SYSTEM_LIBRARIES = ("libc", "libm")


def provenance(tf: Any, kernel_hashes: Dict[str, str]) -> Dict[str, Any]:
    """Return versions, build and host. ``load`` is the one-minute load average at the start."""
    flags = _cpu_field("flags").split()
    return {
        "python": platform.python_version(),
        "tensorflow": tf.version.VERSION,
        "tensorflow_git": tf.version.GIT_VERSION,
        "tensorflow_compiler": tf.version.COMPILER_VERSION,
        "keras": version_of("keras"),
        "numpy": version_of("numpy"),
        "protobuf": version_of("protobuf"),
        "build_info": {key: str(value) for key, value in sorted(tf.sysconfig.get_build_info().items())},
        "cpu_model": _cpu_field("model name") or platform.processor() or platform.machine(),
        "isa": isa(flags),
        "cpu_flags_hash": hashlib.sha256(" ".join(sorted(flags)).encode()).hexdigest()[:16],
        "cores": cores(),
        "hostname": socket.gethostname(),
        "kernel": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "load": round(os.getloadavg()[0], 2),
        "kernel_hashes": kernel_hashes,
    }


def settings(tf: Any, switch: str) -> Dict[str, Any]:
    """Return the settings in effect in this process, as reported by TensorFlow where possible."""
    return {
        "determinism_enabled": determinism_enabled(),
        "switch": switch,
        # TensorFlow reports 0 for "all cores"; results depend on the number, so record the number
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads() or cores(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads() or cores(),
        "onednn": onednn(),
        "isa_limit": os.environ.get("ONEDNN_MAX_CPU_ISA", "none"),
        "tf32": bool(tf.config.experimental.tensor_float_32_execution_enabled()),
        "xla_jit": str(tf.config.optimizer.get_jit()),
        "eager": tf.config.functions_run_eagerly(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        **_gpu_memory(tf),
        "env": recorded_environment(),
    }


def state(tf: Any) -> Dict[str, Any]:
    """Return TensorFlow's process-wide state that a kernel of the suite could change for the kernels after it.

    Custom kernels need no such list, because each has a process of its own.
    """
    return {
        "eager": tf.executing_eagerly(),
        "functions_eager": tf.config.functions_run_eagerly(),
        "jit": str(tf.config.optimizer.get_jit()),
        "options": str(tf.config.optimizer.get_experimental_options()),
        "tf32": bool(tf.config.experimental.tensor_float_32_execution_enabled()),
        "floatx": tf.keras.backend.floatx(),
        "policy": tf.keras.mixed_precision.global_policy().name,
        "placement": tf.config.get_soft_device_placement(),
        "threads": str(tf.config.threading.get_intra_op_parallelism_threads()),
    }


def libraries() -> Dict[str, str]:
    """Return the shared libraries that can affect results, as mapped into this process: name -> version.

    The version consists of the suffix of the file name and, because that is often only a major version, of the
    distribution that installed the file.
    """
    versions: Dict[str, str] = {}
    for library in loaded_libraries.libraries():
        name, _, suffix = library.path.name.partition(".so")
        if name.startswith(LIBRARIES) or name in SYSTEM_LIBRARIES:
            distribution = f"({library.owner.name} {library.owner.version})" if library.owner.name else ""
            versions[name] = " ".join(filter(None, (suffix.lstrip("."), distribution)))
    return versions


def gpu(tf: Any) -> Dict[str, Any]:
    """Return the additional provenance of a GPU column.

    ``cuda`` has the versions that the mapped CUDA libraries report, ``cuda_files`` their locations, and ``gpu`` what
    TensorFlow and the driver report about the device (name, compute capability, UUID, number of SMs); ``gpu`` is
    empty without a device.
    """
    driver = libcuda.query_driver()
    facts: Dict[str, Any] = {}
    for device in tf.config.list_physical_devices("GPU"):
        facts.update({key: _plain(value) for key, value in tf.config.experimental.get_device_details(device).items()})
    for driver_device in driver.devices if facts else ():
        facts.update(uuid=driver_device.uuid, sm_count=driver_device.sm_count)
    versions, files = nvidia.versions(), nvidia.locations()
    if driver.number:
        versions["driver"] = driver.version
        files["libcuda"] = driver.path
    return {"cuda": versions, "cuda_files": files, "gpu": facts}


def reset_peak_memory() -> None:
    """Reset the peak resident memory of this process, if the system permits it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb() -> Optional[float]:
    """Return the peak resident memory in MB, or None if it cannot be read."""
    try:
        rows = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return round(next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:")) / 1024, 1)
    except (OSError, StopIteration):
        return None


def reset_gpu_peak(tf: Any) -> None:
    """Reset the peak memory of TensorFlow's GPU allocator."""
    with suppress(AttributeError, ValueError):  # an allocator without statistics
        tf.config.experimental.reset_memory_stats("GPU:0")


def gpu_peak_mb(tf: Any) -> Optional[float]:
    """Return the peak GPU memory in MB, or None without a GPU or if its allocator has no statistics."""
    if not tf.config.list_logical_devices("GPU"):
        return None
    try:
        return round(int(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 2**20, 1)
    except (AttributeError, KeyError, ValueError):
        return None


def determinism_enabled() -> bool:
    """Return whether op determinism is enabled; TensorFlow has no public function to query it."""
    config = importlib.import_module("tensorflow.python.framework.config")
    return bool(config.is_op_determinism_enabled())


def onednn() -> str:
    """Return whether oneDNN is in use: "on", "off" or "unknown". Its default depends on the release and the CPU."""
    try:
        return "on" if importlib.import_module("tensorflow.python.util._pywrap_util_port").IsMklEnabled() else "off"
    except (ImportError, AttributeError):
        return "unknown"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def recorded_environment() -> Dict[str, str]:
    """Return every environment variable that may change results or times."""
    return {key: value for key, value in sorted(os.environ.items()) if key.startswith(PREFIXES)}


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution, "" if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def isa(flags: List[str]) -> str:
    """Return the most capable vector instruction set among the flags of /proc/cpuinfo."""
    for name in ("amx_tile", "avx512_bf16", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "avx", "sse4_2"):
        if name in flags:
            return name
    return "unknown"


def _cpu_field(name: str) -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as stream:
            for row in stream:
                if row.startswith(name):
                    return row.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""


def _gpu_memory(tf: Any) -> Dict[str, Any]:
    """Return the GPU allocator and whether its pool grows on demand: free memory can affect the choice of algorithm."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return {}
    forced = os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH")
    growth = forced == "true" if forced else bool(tf.config.experimental.get_memory_growth(gpus[0]))
    return {"gpu_allocator": os.environ.get("TF_GPU_ALLOCATOR") or "bfc", "gpu_memory_growth": growth}


def _plain(value: Any) -> Any:
    """Return a tuple, such as the compute capability, as a list, because the record is JSON."""
    return list(value) if isinstance(value, tuple) else value
