"""The CUDA driver as seen by this process. ``libcuda.so.1`` belongs to the host, so no lock can pin it."""

from __future__ import annotations

import ctypes
import uuid
from dataclasses import dataclass
from typing import Any, Optional, Tuple

from bench.suite import loaded_libraries

SONAME = "libcuda.so.1"
#: CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT of cuda.h.
_SM_COUNT = 16


@dataclass(frozen=True)
class Device:
    """One device. ``uuid`` is spelled as by NVML (``GPU-...``); ``sm_count`` is None if unknown."""

    uuid: str
    sm_count: Optional[int]


@dataclass(frozen=True)
class Driver:
    """The driver. ``number`` is the result of ``cuDriverGetVersion`` (12040), 0 without a driver; ``path`` its file.

    ``reason`` explains why there is no device; it is "" if there is one.
    """

    number: int = 0
    path: str = ""
    devices: Tuple[Device, ...] = ()
    reason: str = ""

    @property
    def version(self) -> str:
        """The highest CUDA version that the driver supports, such as ``12.4``; "" without a driver."""
        return f"{self.number // 1000}.{self.number % 1000 // 10}" if self.number else ""


def query_driver() -> Driver:
    """Open and initialise the driver and list its devices; failures are reported in ``Driver.reason``."""
    try:
        library = ctypes.CDLL(SONAME)
    except OSError as error:
        return Driver(reason=f"no driver: {SONAME} cannot be opened ({loader_message(SONAME, error)})")
    number, count = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    paths = [library.path for library in loaded_libraries.libraries()]
    path = " ".join(path.as_posix() for path in paths if path.name.startswith("libcuda.so."))
    for name, code in (("cuInit", library.cuInit(0)), ("cuDeviceGetCount", library.cuDeviceGetCount(_pointer(count)))):
        if code:
            return Driver(number.value, path, reason=f"the driver call {name} failed: {_error_text(library, code)}")
    devices = tuple(_device(library, index) for index in range(count.value))
    return Driver(number.value, path, devices, "" if devices else "the driver reports no device")


def loader_message(soname: str, error: OSError) -> str:
    """Return the message of the dynamic loader without the leading name of the library."""
    return str(error).removeprefix(f"{soname}: ")


def _device(library: Any, index: int) -> Device:
    handle, sms = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDeviceGet(_pointer(handle), index)
    succeeded = library.cuDeviceGetAttribute(_pointer(sms), _SM_COUNT, handle) == 0
    return Device(_uuid(library, handle), sms.value if succeeded else None)


def _uuid(library: Any, handle: Any) -> str:
    # available since CUDA 11.4; for a MIG slice it returns the UUID of the slice
    call = getattr(library, "cuDeviceGetUuid_v2", None) or library.cuDeviceGetUuid
    value = (ctypes.c_ubyte * 16)()
    return f"GPU-{uuid.UUID(bytes=bytes(value))}" if call(ctypes.byref(value), handle) == 0 else ""


def _error_text(library: Any, code: int) -> str:
    text = ctypes.c_char_p()
    library.cuGetErrorString(code, ctypes.byref(text))
    return f"error {code} ({(text.value or b'no description').decode()})"


def _pointer(value: Any) -> Any:
    return ctypes.byref(value)
