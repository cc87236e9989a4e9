"""A script that runs inside a container and checks which GPU the driver's libraries show. Standard library only.

``python -c SOURCE UUID`` prints one line: empty if CUDA sees the GPU of that UUID and no other, else what is wrong.
"""

from __future__ import annotations

import ctypes
import sys
import uuid


def problem(wanted: str) -> str:
    """Return why a round in this container would not use exactly the GPU of this UUID, or ""."""
    try:
        cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        return f"a library of the driver is missing in the container ({error})"
    code = nvml.nvmlInit_v2()
    if code:
        return f"NVML cannot be initialised in the container (error {code})"
    handle = ctypes.c_void_p()
    code = nvml.nvmlDeviceGetHandleByUUID(wanted.encode(), ctypes.byref(handle))
    if code:
        return f"NVML does not find {wanted} in the container (error {code})"
    code = cuda.cuInit(0)
    if code:
        return f"CUDA cannot be initialised in the container (error {code})"
    visible = devices(cuda)
    # With several GPUs visible TensorFlow would use the first.
    if visible == [wanted.partition("-")[2]]:
        return ""
    return f"CUDA sees {', '.join(visible) or 'no GPU'} instead of {wanted} alone"


def devices(cuda: ctypes.CDLL) -> list[str]:
    """Return the UUIDs of the devices that CUDA can use, without their ``GPU-`` or ``MIG-`` prefix."""
    count = ctypes.c_int(0)
    cuda.cuDeviceGetCount(ctypes.byref(count))
    # The older function does not report the UUID of a MIG device.
    get_uuid = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
    uuids = []
    for number in range(count.value):
        device, raw = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        if cuda.cuDeviceGet(ctypes.byref(device), number) == 0 and get_uuid(ctypes.byref(raw), device) == 0:
            uuids.append(str(uuid.UUID(bytes=bytes(raw))))
    return uuids


if __name__ == "__main__":
    sys.stdout.write(problem(sys.argv[1]) + "\n")
