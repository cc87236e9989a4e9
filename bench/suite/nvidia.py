"""NVIDIA's libraries in this process: whether they can be opened, which are mapped, and the versions they report.

Versions are queried from the libraries that are already mapped, never from a second copy. The queries work without a
GPU; only the CUDA 11 runtime needs a driver. The functions and their number formats are documented in NVIDIA's
headers; for the eight CUDA releases from 11.8.0 to 12.9.1, every reported version matched the version of the wheel.
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
from bench.suite.libcuda import loader_message
from bench.suite.loaded_libraries import MappedLibrary

Version = Tuple[int, ...]
#: Queries the version of a loaded library; returns None if the call fails.
Query = Callable[[Any], Optional[Version]]

#: The CUDA libraries that wheels provide. The files of the driver (libcuda, libnvidia-...) belong to the host.
_CUDA_LIBRARIES = re.compile(
    r"lib(cudart|cublas|cufft|curand|cusolver|cusparse|cudnn|cupti|nccl|nvrtc|nvJitLink|nvblas|nvvm|nvToolsExt"
    r"|nvshmem|nvinfer)"
)


def missing(sonames: Iterable[str]) -> Dict[str, str]:
    """Open each library by the name that TensorFlow uses; return those that cannot be opened and the loader's messages.

    A library opened here stays mapped, so TensorFlow gets the same one when it opens that name later.
    """
    failures: Dict[str, str] = {}
    for soname in sonames:
        try:
            ctypes.CDLL(soname)
        except OSError as error:
            failures[soname] = loader_message(soname, error)
    return failures


def cuda_libraries(libraries: Iterable[MappedLibrary]) -> List[MappedLibrary]:
    """Return the CUDA libraries among these libraries."""
    return [library for library in libraries if _CUDA_LIBRARIES.match(library.path.name)]


def with_soname(soname: str, libraries: Iterable[MappedLibrary]) -> List[MappedLibrary]:
    """Return the libraries with this soname; ``libcublas.so.12`` may be a link to ``libcublas.so.12.5.3.2``."""
    return [
        library for library in libraries if library.path.name == soname or library.path.name.startswith(f"{soname}.")
    ]


def versions() -> Dict[str, str]:
    """Return the versions that the mapped CUDA libraries report: ``{"cublas": "12.5.3", "cudnn": "9.3.0", ...}``.

    ``ptxas`` is the program on the PATH, which compiles what XLA and TensorFlow generate at run time.
    """
    paths = [library.path for library in cuda_libraries(loaded_libraries.libraries())]
    reported = {_short_name(path): reported_version(path) for path in paths if reported_version(path)}
    compiler = ptxas()
    return {**reported, "ptxas": compiler[1]} if compiler else reported


def locations() -> Dict[str, str]:
    """Return where each mapped CUDA library is: file name -> ``nvidia/cublas/... (nvidia-cublas-cu12 12.5.3.2)``."""
    mapped = cuda_libraries(loaded_libraries.libraries())
    return {library.path.name: f"{library.display_path} ({library.owner})" for library in mapped}


def mismatches(required: Mapping[str, str]) -> List[str]:
    """Return how the mapped CUDA libraries differ from ``required``, a map of sonames to requirements.

    Each required library must be mapped, must come from the required distribution and version, and must report that
    version itself. Every other CUDA library must come from a distribution of NVIDIA, and if ``required`` names that
    distribution, from the same version.
    """
    required_versions = dict(map(_parse_requirement, required.values()))
    mapped = loaded_libraries.libraries()
    problems: List[str] = []
    checked: List[MappedLibrary] = []
    for soname, requirement in sorted(required.items()):
        name, release = _parse_requirement(requirement)
        matching = with_soname(soname, mapped)
        checked.extend(matching)
        if not matching:
            problems.append(f"{soname} is not mapped")
        for library in matching:
            problems.extend(_library_mismatches(library, name, release))
    for library in cuda_libraries(mapped):
        if library in checked:
            continue
        name = library.owner.canonical
        if not name.startswith("nvidia-"):
            problems.append(f"{library.display_path} is mapped and belongs to {library.owner}")
        else:
            release = required_versions.get(name, library.owner.version)
            problems.extend(_library_mismatches(library, name, release))
    compiler = ptxas() if required else None
    if compiler and not loaded_libraries.owner(compiler[0]).name:
        problems.append(f"the ptxas on the PATH is {compiler[0]}, which belongs to no distribution")
    return problems


def reported_version(path: Path) -> str:
    """Return the version that a mapped library reports; "" if it has no such function or the call fails."""
    version = _query(path)
    return ".".join(str(part) for part in version) if version else ""


@lru_cache(maxsize=1)
def ptxas() -> Optional[Tuple[Path, str]]:
    """Return the ptxas on the PATH and its version (``12.5.82``); None if there is none."""
    program = shutil.which("ptxas")
    return (Path(program).resolve(), _ptxas_version(program)) if program else None


def _library_mismatches(library: MappedLibrary, name: str, release: str) -> List[str]:
    """Return why a mapped library is not that of version ``release`` of the distribution ``name``."""
    if (library.owner.canonical, library.owner.version) != (name, release):
        return [f"{library.display_path} is mapped and belongs to {library.owner}, but {name} {release} is required"]
    reported = _query(library.path)
    if reported and ".".join(release.split(".")[: len(reported)]) != ".".join(str(part) for part in reported):
        version = reported_version(library.path)
        return [f"{library.display_path} reports version {version}, but its distribution is {library.owner}"]
    return []


def _parse_requirement(requirement: str) -> Tuple[str, str]:
    name, _, release = requirement.partition("==")
    return loaded_libraries.canonical(name), release


def _short_name(path: Path) -> str:
    """Return ``cublas`` for ``libcublas.so.12``."""
    return path.name.partition(".so")[0].removeprefix("lib")


def _query(path: Path) -> Optional[Version]:
    query = _QUERIES.get(_short_name(path))
    if query is None:
        return None
    try:
        # RTLD_NOLOAD: query only the library that is mapped already; never load another copy for the query
        return query(ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_NOW))
    except (OSError, AttributeError):
        return None


def _number(name: str, split: Callable[[int], Version]) -> Query:
    """Return the query for a function ``status f(int *version)``."""

    def query(library: Any) -> Optional[Version]:
        value = ctypes.c_int(0)
        return split(value.value) if getattr(library, name)(ctypes.byref(value)) == 0 else None

    return query


def _size(name: str, split: Callable[[int], Version]) -> Query:
    """Return the query for a function ``size_t f(void)``."""

    def query(library: Any) -> Optional[Version]:
        call = getattr(library, name)
        call.restype = ctypes.c_size_t
        return split(call())

    return query


def _property(name: str) -> Query:
    """Return the query for ``status f(libraryPropertyType, int *value)``; major, minor and patch are types 0 to 2."""

    def query(library: Any) -> Optional[Version]:
        parts: List[int] = []
        for property_type in range(3):
            value = ctypes.c_int(0)
            if getattr(library, name)(property_type, ctypes.byref(value)) != 0:
                return None
            parts.append(value.value)
        return tuple(parts)

    return query


def _major_minor(name: str) -> Query:
    """Return the query for a function ``status f(int *major, int *minor)``."""

    def query(library: Any) -> Optional[Version]:
        major, minor = ctypes.c_int(0), ctypes.c_int(0)
        failed = getattr(library, name)(ctypes.byref(major), ctypes.byref(minor))
        return None if failed else (major.value, minor.value)

    return query


def _thousands(value: int) -> Version:
    """Decode 11203 as 11.2.3."""
    return value // 1000, value // 100 % 10, value % 100


def _ten_thousands(value: int) -> Version:
    """Decode 120503 as 12.5.3."""
    return value // 10_000, value // 100 % 100, value % 100


#: The lowest version number of cuDNN 9.
_CUDNN_9 = 90_000


def _cudnn(value: int) -> Version:
    """Decode the version of cuDNN 8 (8907 is 8.9.7) or of cuDNN 9 (90300 is 9.3.0), whose formats differ."""
    return _ten_thousands(value) if value >= _CUDNN_9 else _thousands(value)


#: Short name of a library -> how to query its version.
_QUERIES: Mapping[str, Query] = {
    "cudart": _number("cudaRuntimeGetVersion", lambda value: (value // 1000, value % 1000 // 10)),
    "cublas": _property("cublasGetProperty"),
    "cublasLt": _size("cublasLtGetVersion", _ten_thousands),
    "cufft": _number("cufftGetVersion", _thousands),
    "curand": _number("curandGetVersion", _thousands),
    "cusolver": _number("cusolverGetVersion", _thousands),
    "cusparse": _property("cusparseGetProperty"),
    "cudnn": _size("cudnnGetVersion", _cudnn),
    "nccl": _number("ncclGetVersion", _ten_thousands),
    "nvrtc": _major_minor("nvrtcVersion"),
    "nvJitLink": _major_minor("nvJitLinkVersion"),
}


def _ptxas_version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    match = re.search(r"\bV(\d[\d.]*)", done.stdout)
    return match.group(1) if match else "unknown"
