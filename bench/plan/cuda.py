"""Which wheels make up a CUDA pair, which libraries TensorFlow opens in it, and why some pairs can never run.

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

#: Components whose version starts with the CUDA minor, so that a newer one of them belongs to a newer update of it.
NUMBERED = ("cublas", "cupti", "nvcc", "nvrtc", "runtime", "nvjitlink")
#: Not part of a toolkit: NCCL has its own versions, and releases.toml has the one that a release needs.
_NCCL = "nccl"
_CURAND = "curand"


@dataclass(frozen=True, kw_only=True)
class Component:
    """A CUDA wheel: its name without ``-cu12``, and the sonames it contains by CUDA major."""

    name: str
    sonames: Mapping[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """A CUDA minor: its release (``12.5.1``), the driver released with it, and the version of each component."""

    release: str
    driver: str
    parts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Cudnn:
    """A cuDNN wheel: the CUDA majors it is used with, and the CUDA minor of NVIDIA's own images with it."""

    majors: list[str]
    paired: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """The content of ``cuda.toml``: toolkits and absent minors by ``12.5``, cuDNN wheels by their full version."""

    components: Mapping[str, Component]
    cudnn_name: str
    cudnn_sonames: Mapping[str, str]
    cudnn: Mapping[str, Cudnn]
    toolkits: Mapping[str, Toolkit]
    absent: Mapping[str, str]


@cache
def table() -> Table:
    """Return the table that ships with the program."""
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
    """Return what a pair is to TensorFlow's build: ``forward`` has a newer CUDA or cuDNN, ``older`` an older CUDA."""
    facts = release(tensorflow)
    if cuda == "cpu" or facts is None:
        return "cpu"
    if facts.legacy:
        return "legacy"
    used, built = _numbers(cuda), _numbers(minor(facts.cuda))
    if used < built:
        return "older"
    return "official" if used == built and cudnn == facts.cudnn else "forward"


def refusal(tensorflow: str, cuda: str, cudnn: str, *, allow_older: bool = False) -> str:
    """Return why a pair can never run, as a sentence without its full stop; "" where it can.

    TensorFlow's minor must be known.
    """
    facts = release(tensorflow)
    if cuda == "cpu" or facts is None:
        return ""
    return (
        _wrong_major(tensorflow, cuda, facts)
        or _unknown_toolkit(cuda)
        or _wrong_cudnn(tensorflow, cuda, cudnn, facts)
        or ("" if allow_older else _too_old(tensorflow, cuda, facts))
    )


def wheels(pair: Pair) -> tuple[str, ...]:
    """Return the NVIDIA requirements of a CUDA pair, such as ``nvidia-cublas-cu12==12.5.3.2``; none for a CPU pair.

    Raises:
        ConfigError: the pair is refused.
    """
    return tuple(sorted(_wheels(pair).values()))


def libraries(pair: Pair) -> dict[str, str]:
    """Return what TensorFlow opens in a pair: soname -> requirement of the wheel it must come from; none on the CPU.

    CUPTI of a CUDA minor other than the one TensorFlow was built with may have another name. It is then never opened,
    and so not returned.

    Raises:
        ConfigError: the pair is refused.
    """
    facts = release(pair.tensorflow)
    if pair.cuda == "cpu" or facts is None:
        return {}
    requirements, major = _wheels(pair), _major(pair.cuda)
    contained = {
        soname: requirements[key]
        for key, component in table().components.items()
        if key in requirements
        for soname in component.sonames[major]
    }
    contained[table().cudnn_sonames[_major(pair.cudnn)]] = requirements["cudnn"]
    return {soname: contained[soname] for soname in (*facts.sonames, *facts.opened_later) if soname in contained}


def _wheels(pair: Pair) -> dict[str, str]:
    """Return the requirements by component."""
    facts = release(pair.tensorflow)
    if pair.cuda == "cpu" or facts is None:
        return {}
    if pair.refused:
        raise ConfigError(f"{pair.id}: {pair.refused}.", "Remove this pair from matrix.toml.")
    parts = table().toolkits[pair.cuda].parts
    names = [key for key in parts if key != _CURAND or _opens_curand(facts)]
    requirements = {key: _requirement(table().components[key].name, pair.cuda, parts[key]) for key in names}
    requirements["cudnn"] = _requirement(table().cudnn_name, pair.cuda, pair.cudnn)
    if facts.nccl:
        requirements[_NCCL] = _requirement(table().components[_NCCL].name, pair.cuda, facts.nccl)
    return requirements


def _requirement(name: str, cuda: str, version: str) -> str:
    return f"{name}-cu{_major(cuda)}=={version}"


def _opens_curand(facts: Release) -> bool:
    """Return whether a release opens cuRAND. None does from 2.14 on, which saves 94 to 161 MiB."""
    return any(soname.startswith("libcurand.") for soname in facts.sonames)


def _wrong_major(tensorflow: str, cuda: str, facts: Release) -> str:
    # a release opens its libraries by names that contain the CUDA major it was built with
    if _major(cuda) == _major(facts.cuda):
        return ""
    soname = next(soname for soname in facts.sonames if soname.startswith("libcudart."))
    return f"TensorFlow {minor(tensorflow)} opens {soname}, which CUDA {_major(cuda)} does not have"


def _unknown_toolkit(cuda: str) -> str:
    if cuda in table().toolkits:
        return ""
    reason = table().absent.get(cuda)
    return reason or f"no wheels of CUDA {cuda} are known; known are {', '.join(table().toolkits)}"


def _wrong_cudnn(tensorflow: str, cuda: str, cudnn: str, facts: Release) -> str:
    release_minor = minor(tensorflow)
    if _major(cudnn) != _major(facts.cudnn):
        return f"TensorFlow {release_minor} opens {facts.sonames[-1]}, which cuDNN {minor(cudnn)} does not have"
    if _numbers(minor(cudnn)) < _numbers(facts.cudnn_built):
        return f"TensorFlow {release_minor} refuses cuDNN {minor(cudnn)}: it was built with {facts.cudnn_built}"
    fitting = [version for version, wheel in table().cudnn.items() if _major(cuda) in wheel.majors]
    if cudnn not in fitting:
        return f"no wheel of cuDNN {cudnn} for CUDA {_major(cuda)} is known; known are {', '.join(fitting)}"
    return ""


def _too_old(tensorflow: str, cuda: str, facts: Release) -> str:
    if _numbers(cuda) >= _numbers(minor(facts.cuda)):
        return ""
    return (
        f"CUDA {cuda} is older than the {facts.cuda} that TensorFlow {minor(tensorflow)} was built with, so symbols "
        "may be missing; to try it, set allow_older = true in its table of matrix.toml"
    )


def _major(version: str) -> str:
    return version.partition(".")[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
