"""Which wheels make a CUDA pair, which libraries TensorFlow opens in it, and why a pair can never run.

The facts are ``cuda.toml`` and ``releases.toml`` beside this module. TensorFlow's own ``[and-cuda]`` extra is never
used: it names versions that are not on the index (2.14, 2.15.0), or ranges that resolve to another CUDA (2.20, 2.21).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import ConfigError
from bench.plan.releases import Release, minor, release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.column import Pair

Kind = Literal["cpu", "official", "forward", "older", "legacy"]

#: Parts of a set that are named by the toolkit's own minor: a newer one of them tells of a newer update of the toolkit.
NUMBERED = ("cublas", "cupti", "nvcc", "nvrtc", "runtime", "nvjitlink")
#: Not part of a set: NCCL has versions of its own, and a release says which it opens.
_NCCL = "nccl"
_CURAND = "curand"


@dataclass(frozen=True, kw_only=True)
class Component:
    """A wheel of CUDA's: its name without ``-cu12``, and the sonames it carries by the major of CUDA."""

    name: str
    sonames: Mapping[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """One CUDA minor: its release (``12.5.1``), the driver that came with it, and the version of each component."""

    release: str
    driver: str
    parts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Cudnn:
    """One cuDNN wheel: the CUDA majors it is taken for, and the minor that NVIDIA's own images pair it with."""

    majors: list[str]
    paired: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """All of ``cuda.toml``; toolkits and absent minors by ``12.5``, cuDNN wheels by their whole version."""

    components: Mapping[str, Component]
    cudnn_name: str
    cudnn_sonames: Mapping[str, str]
    cudnn: Mapping[str, Cudnn]
    toolkits: Mapping[str, Toolkit]
    absent: Mapping[str, str]


@cache
def table() -> Table:
    """The table that ships with the program."""
    body = tomllib.loads(resources.files("bench.plan").joinpath("cuda.toml").read_text(encoding="utf-8"))
    cudnn = body["cudnn"]
    return Table(
        components={key: Component(name=row.pop("name"), sonames=row) for key, row in body["components"].items()},
        cudnn_name=cudnn["name"],
        cudnn_sonames=cudnn["sonames"],
        cudnn={version: Cudnn(**row) for version, row in cudnn["wheels"].items()},
        toolkits={key: _toolkit(row) for key, row in body["sets"].items()},
        absent=body["absent"],
    )


def _toolkit(row: dict[str, Any]) -> Toolkit:
    return Toolkit(release=row.pop("toolkit"), driver=row.pop("driver"), parts=row)


def kind(tensorflow: str, cuda: str, cudnn: str) -> Kind:
    """What a pair is to TensorFlow's own choice: ``forward`` where CUDA or cuDNN is newer, ``older`` where CUDA is."""
    known = release(tensorflow)
    if cuda == "cpu" or known is None:
        return "cpu"
    if known.legacy:
        return "legacy"
    asked, built = _numbers(cuda), _numbers(minor(known.cuda))
    if asked < built:
        return "older"
    return "official" if asked == built and cudnn == known.cudnn else "forward"


def refusal(tensorflow: str, cuda: str, cudnn: str, *, allow_older: bool = False) -> str:
    """Why a pair can never run, in one sentence without its end; "" where it can.

    TensorFlow's minor must be known.
    """
    known = release(tensorflow)
    if cuda == "cpu" or known is None:
        return ""
    return (
        _wrong_major(tensorflow, cuda, known)
        or _unknown_toolkit(cuda)
        or _wrong_cudnn(tensorflow, cuda, cudnn, known)
        or ("" if allow_older else _too_old(tensorflow, cuda, known))
    )


def wheels(pair: Pair) -> tuple[str, ...]:
    """The requirements of a CUDA pair beside TensorFlow's: ``nvidia-cublas-cu12==12.5.3.2``, ...; none on the CPU.

    Raises:
        ConfigError: the pair is refused.
    """
    return tuple(sorted(_wheels(pair).values()))


def libraries(pair: Pair) -> dict[str, str]:
    """What TensorFlow opens in a pair, soname -> requirement of the wheel that it must come from; none on the CPU.

    CUPTI of another minor than TensorFlow was built with has another name, and is then not opened at all.

    Raises:
        ConfigError: the pair is refused.
    """
    known = release(pair.tensorflow)
    if pair.cuda == "cpu" or known is None:
        return {}
    asked, major = _wheels(pair), _major(pair.cuda)
    carried = {
        soname: asked[key]
        for key, component in table().components.items()
        if key in asked
        for soname in component.sonames[major]
    }
    carried[table().cudnn_sonames[_major(pair.cudnn)]] = asked["cudnn"]
    return {soname: carried[soname] for soname in (*known.sonames, *known.beside) if soname in carried}


def _wheels(pair: Pair) -> dict[str, str]:
    """Requirements by component."""
    known = release(pair.tensorflow)
    if pair.cuda == "cpu" or known is None:
        return {}
    if pair.refused:
        raise ConfigError(f"{pair.id}: {pair.refused}.", "Remove this pair from matrix.toml.")
    parts = table().toolkits[pair.cuda].parts
    names = [key for key in parts if key != _CURAND or _opens_curand(known)]
    made = {key: _requirement(table().components[key].name, pair.cuda, parts[key]) for key in names}
    made["cudnn"] = _requirement(table().cudnn_name, pair.cuda, pair.cudnn)
    if known.nccl:
        made[_NCCL] = _requirement(table().components[_NCCL].name, pair.cuda, known.nccl)
    return made


def _requirement(name: str, cuda: str, version: str) -> str:
    return f"{name}-cu{_major(cuda)}=={version}"


def _opens_curand(known: Release) -> bool:
    """From 2.14 on no release opens it, and 94 to 161 MiB can stay away."""
    return any(soname.startswith("libcurand.") for soname in known.sonames)


def _wrong_major(tensorflow: str, cuda: str, known: Release) -> str:
    """By name: a release opens the libraries of one CUDA major, that of its build."""
    if _major(cuda) == _major(known.cuda):
        return ""
    wanted = next(soname for soname in known.sonames if soname.startswith("libcudart."))
    return f"TensorFlow {minor(tensorflow)} opens {wanted}, and CUDA {_major(cuda)} has none of that name"


def _unknown_toolkit(cuda: str) -> str:
    if cuda in table().toolkits:
        return ""
    reason = table().absent.get(cuda)
    return reason or f"no wheels of CUDA {cuda} are known; there are {', '.join(table().toolkits)}"


def _wrong_cudnn(tensorflow: str, cuda: str, cudnn: str, known: Release) -> str:
    release_minor = minor(tensorflow)
    if _major(cudnn) != _major(known.cudnn):
        wanted = known.sonames[-1]
        return f"TensorFlow {release_minor} opens {wanted}, and cuDNN {minor(cudnn)} has none of that name"
    if _numbers(minor(cudnn)) < _numbers(known.cudnn_built):
        return f"TensorFlow {release_minor} refuses cuDNN {minor(cudnn)}, for it was built with {known.cudnn_built}"
    fitting = [version for version, wheel in table().cudnn.items() if _major(cuda) in wheel.majors]
    if cudnn not in fitting:
        return f"no wheel of cuDNN {cudnn} for CUDA {_major(cuda)} is known; there are {', '.join(fitting)}"
    return ""


def _too_old(tensorflow: str, cuda: str, known: Release) -> str:
    if _numbers(cuda) >= _numbers(minor(known.cuda)):
        return ""
    return (
        f"CUDA {cuda} is older than the {known.cuda} that TensorFlow {minor(tensorflow)} was built with, so symbols "
        "may be missing; allow_older = true in its table of matrix.toml tries it"
    )


def _major(version: str) -> str:
    return version.partition(".")[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
