"""Runs inside a container for a second: which GPUs the driver's own libraries show there. Standard library only.

``python -c THIS UUID`` prints one line: nothing where CUDA sees the GPU of that UUID alone, else what is wrong.
"""

from __future__ import annotations

import ctypes
import sys
import uuid


def trouble(wanted: str) -> str:
    """Why a round in this container would not use the GPU of this UUID and no other, "" where it would."""
    try:
        cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        return f"the driver's library is not there ({error})"
    code = nvml.nvmlInit_v2()
    if code:
        return f"NVML does not start there (error {code})"
    handle = ctypes.c_void_p()
    code = nvml.nvmlDeviceGetHandleByUUID(wanted.encode(), ctypes.byref(handle))
    if code:
        return f"NVML does not know {wanted} there (error {code})"
    code = cuda.cuInit(0)
    if code:
        return f"CUDA does not start there (error {code})"
    seen = devices(cuda)
    # TensorFlow would take the first of several.
    return "" if seen == [wanted.partition("-")[2]] else f"CUDA sees {', '.join(seen) or 'no GPU'}, not {wanted} alone"


def devices(cuda: ctypes.CDLL) -> list[str]:
    """UUIDs of what CUDA can use, without the ``GPU-`` or ``MIG-`` before them."""
    count = ctypes.c_int(0)
    cuda.cuDeviceGetCount(ctypes.byref(count))
    ask = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid  # the older one does not tell MIG devices
    found = []
    for number in range(count.value):
        device, room = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        if cuda.cuDeviceGet(ctypes.byref(device), number) == 0 and ask(ctypes.byref(room), device) == 0:
            found.append(str(uuid.UUID(bytes=bytes(room))))
    return found


if __name__ == "__main__":
    sys.stdout.write(trouble(sys.argv[1]) + "\n")
