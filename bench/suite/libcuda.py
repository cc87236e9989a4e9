"""The CUDA driver as this process sees it: ``libcuda.so.1`` is the host's, so no lock can pin it."""

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
    """One device. ``uuid`` is spelt as NVML does (``GPU-...``), ``sm_count`` None where the driver does not tell."""

    uuid: str
    sm_count: Optional[int]


@dataclass(frozen=True)
class Driver:
    """What the driver says. ``number`` is ``cuDriverGetVersion`` (12040), 0 without a driver; ``path`` its file.

    ``why`` says in words why there is no device, "" where there is one.
    """

    number: int = 0
    path: str = ""
    devices: Tuple[Device, ...] = ()
    why: str = ""

    @property
    def version(self) -> str:
        """The highest CUDA it supports, ``12.4``; "" without a driver."""
        return f"{self.number // 1000}.{self.number % 1000 // 10}" if self.number else ""


def ask() -> Driver:
    """Open the driver, start it, and ask for its devices; every failure ends in ``why``."""
    try:
        library = ctypes.CDLL(SONAME)
    except OSError as error:
        return Driver(why=f"no driver: {SONAME} cannot be opened ({reason(SONAME, error)})")
    number, count = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    files = [one.path.as_posix() for one in loaded_libraries.libraries() if one.path.name.startswith("libcuda.so.")]
    found = Driver(number.value, " ".join(files))
    for name, code in (("cuInit", library.cuInit(0)), ("cuDeviceGetCount", library.cuDeviceGetCount(_at(count)))):
        if code:
            return Driver(found.number, found.path, why=f"the driver answers {name} with {_told(library, code)}")
    devices = tuple(_device(library, index) for index in range(count.value))
    return Driver(found.number, found.path, devices, "" if devices else "the driver knows no device")


def reason(soname: str, error: OSError) -> str:
    """The loader's words, without the name it begins with where that is told already."""
    return str(error).removeprefix(f"{soname}: ")


def _device(library: Any, index: int) -> Device:
    handle, sms = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDeviceGet(_at(handle), index)
    told = library.cuDeviceGetAttribute(_at(sms), _SM_COUNT, handle) == 0
    return Device(_uuid(library, handle), sms.value if told else None)


def _uuid(library: Any, handle: Any) -> str:
    # the second form came with CUDA 11.4: of a slice of a GPU it tells the slice's own
    call = getattr(library, "cuDeviceGetUuid_v2", None) or library.cuDeviceGetUuid
    found = (ctypes.c_ubyte * 16)()
    return f"GPU-{uuid.UUID(bytes=bytes(found))}" if call(ctypes.byref(found), handle) == 0 else ""


def _told(library: Any, code: int) -> str:
    words = ctypes.c_char_p()
    library.cuGetErrorString(code, ctypes.byref(words))
    return f"error {code} ({(words.value or b'no words').decode()})"


def _at(value: Any) -> Any:
    return ctypes.byref(value)
