"""Who measured, with what, and which settings were really in force in this process."""

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

#: Prefixes of environment variables that can change results or time; all that are set are recorded.
PREFIXES = (
    "TF_", "XLA_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "OMP_", "KMP_", "ONEDNN_", "DNNL_", "MKL_",
    "KERAS_", "PYTHONHASHSEED",
)  # fmt: skip

#: Libraries whose version can move bits or times, by the beginning of their names.
LIBRARIES = (
    "libtensorflow", "libcuda", "libcud", "libcublas", "libcudnn", "libcufft", "libcurand", "libcusolver",
    "libcusparse", "libnccl", "libnvrtc", "libnvJitLink", "libnvidia-ptxjitcompiler", "libcupti", "libdnnl",
    "libiomp", "libgomp", "libopenblas", "libscipy_openblas", "libstdc++",
)  # fmt: skip
SYSTEM_LIBRARIES = ("libc", "libm")


def provenance(tf: Any, kernel_hashes: Dict[str, str]) -> Dict[str, Any]:
    """Versions, build and host. ``load`` is the one-minute load average at the start."""
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
    """What is in force in this process, asked of TensorFlow where it can answer."""
    return {
        "determinism_enabled": determinism_enabled(),
        "switch": switch,
        # 0 is TensorFlow's word for all cores; bits depend on the number, so the number is recorded
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads() or cores(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads() or cores(),
        "onednn": onednn(),
        "isa_limit": os.environ.get("ONEDNN_MAX_CPU_ISA", "none"),
        "tf32": bool(tf.config.experimental.tensor_float_32_execution_enabled()),
        "xla_jit": str(tf.config.optimizer.get_jit()),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        **_gpu_memory(tf),
        "env": recorded_environment(),
    }


def state(tf: Any) -> Dict[str, Any]:
    """Switches of the process that a kernel can leave turned for those after it."""
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
        "env": recorded_environment(),
    }


def libraries() -> Dict[str, str]:
    """Shared libraries that compute, as mapped into this process: name -> version.

    The version is what the file's name says, and the distribution it came with: many file names say a major
    version only.
    """
    found: Dict[str, str] = {}
    for one in loaded_libraries.libraries():
        name, _, version = one.path.name.partition(".so")
        if name.startswith(LIBRARIES) or name in SYSTEM_LIBRARIES:
            distribution = f"({one.owner.name} {one.owner.version})" if one.owner.name else ""
            found[name] = " ".join(filter(None, (version.lstrip("."), distribution)))
    return found


def gpu(tf: Any) -> Dict[str, Any]:
    """What a GPU column has more: ``cuda``, ``cuda_files`` and ``gpu``.

    ``cuda`` has the versions that the mapped parts tell, ``cuda_files`` where they lie, ``gpu`` what TensorFlow and
    the driver know of the device (name, capability, UUID, count of SMs); it is empty without one.
    """
    driver = libcuda.ask()
    facts: Dict[str, Any] = {}
    for device in tf.config.list_physical_devices("GPU"):
        facts.update({key: _plain(value) for key, value in tf.config.experimental.get_device_details(device).items()})
    for one in driver.devices if facts else ():
        facts.update(uuid=one.uuid, sm_count=one.sm_count)
    versions, files = nvidia.versions(), nvidia.places()
    if driver.number:
        versions["driver"] = driver.version
        files["libcuda"] = driver.path
    return {"cuda": versions, "cuda_files": files, "gpu": facts}


def reset_peak_memory() -> None:
    """Begin a new high-water mark of this process's resident memory, where the system lets us."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb() -> Optional[float]:
    """High-water mark of resident memory in MB, None where it cannot be read."""
    try:
        rows = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return round(next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:")) / 1024, 1)
    except (OSError, StopIteration):
        return None


def reset_gpu_peak(tf: Any) -> None:
    """Begin a new high-water mark of the memory that TensorFlow's allocator holds on the GPU."""
    with suppress(AttributeError, ValueError):  # an allocator without statistics
        tf.config.experimental.reset_memory_stats("GPU:0")


def gpu_peak_mb(tf: Any) -> Optional[float]:
    """High-water mark of GPU memory in MB, None without a GPU or where its allocator does not tell."""
    if not tf.config.list_logical_devices("GPU"):
        return None
    try:
        return round(int(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 2**20, 1)
    except (AttributeError, KeyError, ValueError):
        return None


def determinism_enabled() -> bool:
    """Ask TensorFlow itself; the public API has a way to switch it on and none to ask."""
    config = importlib.import_module("tensorflow.python.framework.config")
    return bool(config.is_op_determinism_enabled())


def onednn() -> str:
    """Whether oneDNN is in force, "on" or "off": its default depends on release and CPU; "unknown" if untold."""
    try:
        return "on" if importlib.import_module("tensorflow.python.util._pywrap_util_port").IsMklEnabled() else "off"
    except (ImportError, AttributeError):
        return "unknown"


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def recorded_environment() -> Dict[str, str]:
    """Every variable that may change a result or a time."""
    return {key: value for key, value in sorted(os.environ.items()) if key.startswith(PREFIXES)}


def version_of(distribution: str) -> str:
    """Version of an installed distribution, "" where there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def isa(flags: List[str]) -> str:
    """The widest vector instruction set among the flags of /proc/cpuinfo."""
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
    """Who gives out GPU memory, and whether it begins small: free memory can steer the choice of algorithms."""
    found = tf.config.list_physical_devices("GPU")
    if not found:
        return {}
    forced = os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH")
    growth = forced == "true" if forced else bool(tf.config.experimental.get_memory_growth(found[0]))
    return {"gpu_allocator": os.environ.get("TF_GPU_ALLOCATOR") or "bfc", "gpu_memory_growth": growth}


def _plain(value: Any) -> Any:
    """A pair such as the compute capability as a list, for a record is JSON."""
    return list(value) if isinstance(value, tuple) else value
