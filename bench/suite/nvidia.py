"""NVIDIA's libraries in this process: can they be opened, which were opened, and what do they say they are?

Versions are asked of the objects that are mapped already, never of a second copy; they answer without a
GPU (only the runtime of CUDA 11 wants a driver). The calls and the numbers they give are those of NVIDIA's
own headers; of the eight CUDA sets from 11.8.0 to 12.9.1 every answer was that of the wheel's version.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from bench.suite import loaded_libraries
from bench.suite.libcuda import reason
from bench.suite.loaded_libraries import Mapped

Version = Tuple[int, ...]

#: Every part of CUDA that comes in wheels. The driver's own files (libcuda, libnvidia-...) are the host's.
_PARTS = re.compile(
    r"lib(cudart|cublas|cufft|curand|cusolver|cusparse|cudnn|cupti|nccl|nvrtc|nvJitLink|nvblas|nvvm|nvToolsExt"
    r"|nvshmem|nvinfer)"
)


def missing(sonames: Iterable[str]) -> Dict[str, str]:
    """Open each library by the name TensorFlow asks for: those that cannot be opened, and the loader's words.

    A library opened here stays, and is the one that TensorFlow is given when it asks for that name later.
    """
    found: Dict[str, str] = {}
    for soname in sonames:
        try:
            ctypes.CDLL(soname)
        except OSError as error:
            found[soname] = reason(soname, error)
    return found


def files(among: Optional[Iterable[Mapped]] = None) -> List[Mapped]:
    """The parts of CUDA that are mapped now."""
    return [one for one in (loaded_libraries.libraries() if among is None else among) if _PARTS.match(one.path.name)]


def of_name(soname: str, among: Iterable[Mapped]) -> List[Mapped]:
    """Files that answer to a soname; ``libcublas.so.12`` may be a link to ``libcublas.so.12.5.3.2``."""
    return [one for one in among if one.path.name == soname or one.path.name.startswith(f"{soname}.")]


def versions() -> Dict[str, str]:
    """What the mapped parts say they are, by short names: ``{"cublas": "12.5.3", "cudnn": "9.3.0", ...}``.

    ``ptxas`` is the one on the PATH, which compiles what XLA and TensorFlow make at run time.
    """
    found = {name: told for one in files() for name, told in [(_short(one.path), version(one.path))] if told}
    compiler = ptxas()
    return {**found, "ptxas": compiler[1]} if compiler else found


def places() -> Dict[str, str]:
    """Where each mapped part lies, by its file's name: ``nvidia/cublas/lib/... (nvidia-cublas-cu12 12.5.3.2)``."""
    return {one.path.name: f"{one.shown} ({one.owner})" for one in files()}


def invalid_measurements(promised: Mapping[str, str]) -> List[str]:
    """What is mapped and was not promised. ``promised`` maps sonames to requirements (``Request.libraries``).

    Each promised library must be mapped, from the distribution and the version promised, and must say itself
    that it is of that version; every other part of CUDA must come from some distribution of NVIDIA's, in the
    promised version where one is promised.
    """
    wanted = {_parted(requirement)[0]: _parted(requirement)[1] for requirement in promised.values()}
    there = loaded_libraries.libraries()
    found: List[str] = []
    seen: List[Mapped] = []
    for soname, requirement in sorted(promised.items()):
        name, release = _parted(requirement)
        mine = of_name(soname, there)
        seen.extend(mine)
        if not mine:
            found.append(f"{soname} is not mapped")
        for one in mine:
            found.extend(_invalid_measurement(one, name, release))
    for one in files(there):
        if one in seen:
            continue
        name = one.owner.canonical
        if not name.startswith("nvidia-"):
            found.append(f"{one.shown} is mapped and belongs to {one.owner}")
        else:
            found.extend(_invalid_measurement(one, name, wanted.get(name, one.owner.version)))
    compiler = ptxas() if promised else None
    if compiler and not loaded_libraries.owner(compiler[0]).name:
        found.append(f"the ptxas on the PATH is {compiler[0]}, which belongs to no distribution")
    return found


def version(path: Path) -> str:
    """What a mapped library says it is, "" where it has no such call or the call fails."""
    asked = _asked(path)
    return ".".join(str(part) for part in asked) if asked else ""


@lru_cache(maxsize=1)
def ptxas() -> Optional[Tuple[Path, str]]:
    """The ptxas that is found on the PATH and its version (``12.5.82``); None where there is none."""
    found = shutil.which("ptxas")
    return (Path(found).resolve(), _ptxas_version(found)) if found else None


def _invalid_measurement(one: Mapped, name: str, release: str) -> List[str]:
    """Why a mapped file is not of the distribution ``name`` in the version ``release``; nothing where it is."""
    if (one.owner.canonical, one.owner.version) != (name, release):
        return [f"{one.shown} is mapped and belongs to {one.owner}, promised is {name} {release}"]
    own = _asked(one.path)
    if own and ".".join(release.split(".")[: len(own)]) != ".".join(str(part) for part in own):
        return [f"{one.shown} says it is {version(one.path)}, and its distribution is {one.owner}"]
    return []


def _parted(requirement: str) -> Tuple[str, str]:
    name, _, release = requirement.partition("==")
    return loaded_libraries.canonical(name), release


def _short(path: Path) -> str:
    return path.name.partition(".so")[0].removeprefix("lib")


def _asked(path: Path) -> Optional[Version]:
    ask = _CALLS.get(_short(path))
    if ask is None:
        return None
    try:
        # RTLD_NOLOAD: only what is mapped may answer, never a copy that is loaded for the question
        return ask(ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_NOW))
    except (OSError, AttributeError):
        return None


def _number(name: str, split: Callable[[int], Version]) -> Callable[[Any], Optional[Version]]:
    """A call ``status f(int *version)``."""

    def ask(library: Any) -> Optional[Version]:
        value = ctypes.c_int(0)
        return split(value.value) if getattr(library, name)(ctypes.byref(value)) == 0 else None

    return ask


def _size(name: str, split: Callable[[int], Version]) -> Callable[[Any], Optional[Version]]:
    """A call ``size_t f(void)``."""

    def ask(library: Any) -> Optional[Version]:
        call = getattr(library, name)
        call.restype = ctypes.c_size_t
        return split(call())

    return ask


def _property(name: str) -> Callable[[Any], Optional[Version]]:
    """A call ``status f(libraryPropertyType, int *value)``: major, minor and patch are 0, 1 and 2."""

    def ask(library: Any) -> Optional[Version]:
        found: List[int] = []
        for part in range(3):
            value = ctypes.c_int(0)
            if getattr(library, name)(part, ctypes.byref(value)) != 0:
                return None
            found.append(value.value)
        return tuple(found)

    return ask


def _pair(name: str) -> Callable[[Any], Optional[Version]]:
    """A call ``status f(int *major, int *minor)``."""

    def ask(library: Any) -> Optional[Version]:
        major, minor = ctypes.c_int(0), ctypes.c_int(0)
        failed = getattr(library, name)(ctypes.byref(major), ctypes.byref(minor))
        return None if failed else (major.value, minor.value)

    return ask


def _thousands(value: int) -> Version:
    """11203 is 11.2.3."""
    return value // 1000, value // 100 % 10, value % 100


def _ten_thousands(value: int) -> Version:
    """120503 is 12.5.3."""
    return value // 10_000, value // 100 % 100, value % 100


#: The least number of cuDNN 9.
_CUDNN_9 = 90_000


def _cudnn(value: int) -> Version:
    """Version 8 counts in thousands (8907 is 8.9.7), version 9 in ten thousands (90300 is 9.3.0)."""
    return _ten_thousands(value) if value >= _CUDNN_9 else _thousands(value)


#: Short names -> how that library is asked for its version.
_CALLS: Mapping[str, Callable[[Any], Optional[Version]]] = {
    "cudart": _number("cudaRuntimeGetVersion", lambda value: (value // 1000, value % 1000 // 10)),
    "cublas": _property("cublasGetProperty"),
    "cublasLt": _size("cublasLtGetVersion", _ten_thousands),
    "cufft": _number("cufftGetVersion", _thousands),
    "curand": _number("curandGetVersion", _thousands),
    "cusolver": _number("cusolverGetVersion", _thousands),
    "cusparse": _property("cusparseGetProperty"),
    "cudnn": _size("cudnnGetVersion", _cudnn),
    "nccl": _number("ncclGetVersion", _ten_thousands),
    "nvrtc": _pair("nvrtcVersion"),
    "nvJitLink": _pair("nvJitLinkVersion"),
}


def _ptxas_version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    told = re.search(r"\bV(\d[\d.]*)", done.stdout)
    return told.group(1) if told else "unknown"
