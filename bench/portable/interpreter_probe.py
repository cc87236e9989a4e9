"""Describe this interpreter: ``python -m bench.portable.interpreter_probe`` prints JSON as the last line of its output.

It runs in a process of its own, because a process that has imported TensorFlow holds the GPU's memory.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import platform
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.suite import provenance


def probe(device: str) -> dict[str, Any]:
    """Return TensorFlow, Keras, CUDA and the first GPU as this interpreter sees them; ``cpu`` looks for no GPU."""
    tf = importlib.import_module("tensorflow")
    build = {key: str(value) for key, value in tf.sysconfig.get_build_info().items()}
    gpus = tf.config.list_physical_devices("GPU") if device != "cpu" else []
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    if gpus:
        tf.config.list_logical_devices()  # opens the CUDA libraries, whose versions are read below
    return {
        "tensorflow": tf.version.VERSION,
        "keras": provenance.version_of("keras"),
        "python": platform.python_version(),
        "numpy": provenance.version_of("numpy"),
        "switch": hasattr(tf.config.experimental, "enable_op_determinism"),
        "cuda_build": build.get("cuda_version", ""),
        "is_cuda_build": build.get("is_cuda_build", "") == "True",
        "cuda": loaded_cuda() if gpus else "",
        "gpu": str(details.get("device_name", "")) if gpus else "",
        "uuid": first_uuid() if gpus else "",
        "gpus": len(gpus),
        "distributions": sorted(f"{item.metadata['Name']}=={item.version}" for item in metadata.distributions()),
    }


def loaded_cuda() -> str:
    """Return the minor version (``12.5``) of the CUDA runtime mapped into this process, "" where there is none."""
    try:
        rows = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    number = ctypes.c_int(0)
    for path in sorted({row.split(None, 5)[-1] for row in rows if "libcudart.so" in row}):
        try:
            ctypes.CDLL(path).cudaRuntimeGetVersion(ctypes.byref(number))
        except (OSError, AttributeError):
            continue
    return f"{number.value // 1000}.{number.value % 1000 // 10}" if number.value else ""


def first_uuid() -> str:
    """Return the UUID of this process's first GPU from the driver, which does not number GPUs as nvidia-smi does.

    For a MIG device ``cuDeviceGetUuid`` returns the GPU's UUID, ``cuDeviceGetUuid_v2`` (CUDA 11.4) the device's own.
    """
    device, gpu, own = ctypes.c_int(0), *((ctypes.c_ubyte * 16)() for _ in range(2))
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        driver.cuInit(0)
        driver.cuDeviceGet(ctypes.byref(device), 0)
        code = driver.cuDeviceGetUuid(gpu, device)
        get_own = getattr(driver, "cuDeviceGetUuid_v2", None)
        value = own if get_own is not None and get_own(own, device) == 0 else gpu
    except (OSError, AttributeError):
        return ""
    kind = "GPU" if bytes(value) == bytes(gpu) else "MIG"
    return f"{kind}-{uuid.UUID(bytes=bytes(value))}" if code == 0 else ""


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(probe(sys.argv[1]))}\n")
