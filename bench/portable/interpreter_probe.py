"""What an interpreter has: ``python -m bench.portable.interpreter_probe`` prints it as the last line of its output, JSON.

In a process of its own, for whoever imports TensorFlow holds the GPU's memory.
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


def look(device: str) -> dict[str, Any]:
    """TensorFlow, Keras, CUDA and the first GPU, as this interpreter sees them; no GPU is looked for on ``cpu``."""
    tf = importlib.import_module("tensorflow")
    build = {key: str(value) for key, value in tf.sysconfig.get_build_info().items()}
    gpus = tf.config.list_physical_devices("GPU") if device != "cpu" else []
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    if gpus:
        tf.config.list_logical_devices()  # opens the libraries, whose versions are asked below
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
        "distributions": sorted(f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions()),
    }


def loaded_cuda() -> str:
    """The CUDA runtime mapped into this process as a minor (``12.5``), "" where there is none."""
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
    """The UUID of this process's first GPU, asked of the driver: its order is not that of nvidia-smi.

    Of a slice of a GPU the driver's second form of the question (CUDA 11.4) tells the slice's own, ``MIG-...``.
    """
    device, card, own = ctypes.c_int(0), *((ctypes.c_ubyte * 16)() for _ in range(2))
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        driver.cuInit(0)
        driver.cuDeviceGet(ctypes.byref(device), 0)
        code = driver.cuDeviceGetUuid(card, device)
        newer = getattr(driver, "cuDeviceGetUuid_v2", None)
        found = own if newer is not None and newer(own, device) == 0 else card
    except (OSError, AttributeError):
        return ""
    kind = "GPU" if bytes(found) == bytes(card) else "MIG"
    return f"{kind}-{uuid.UUID(bytes=bytes(found))}" if code == 0 else ""


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(look(sys.argv[1]))}\n")
