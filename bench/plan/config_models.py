"""matrix.toml as typed data: frozen models that refuse what they do not know."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

Mode = Literal["off", "on"]
MODES: tuple[Mode, ...] = ("off", "on")
#: The variation that changes nothing. It decides the results, and alone is timed unless a table says so.
DEFAULT_VARIATION = "default"

Release = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+(rc\d+)?$")]
Minor = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")]
Wheel = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){2,3}$")]
Glob = Annotated[str, StringConstraints(min_length=1)]

_CUDA = r"^(cpu|\d+\.\d+)$"
_ONE_CUDA = {"type": "string", "pattern": _CUDA}


def _listed(value: Any) -> Any:
    """One string is a list of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


#: One CUDA minor or a list of them: each makes a pair.
Cudas = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=_CUDA)], ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ONE_CUDA, {"type": "array", "items": _ONE_CUDA, "minItems": 1, "uniqueItems": True}]}),
]

#: What the name of a variation may say.
VARIATION = re.compile(
    r"^(default|threads=[1-9]\d*(xcores)?|onednn=[01]|tf32=(on|off)|switch=env"
    r"|isa=(sse41|avx|avx2|avx2_vnni|avx512_core|avx512_core_vnni|avx512_core_bf16))$"
)


class Model(BaseModel):
    """Base of all tables: frozen, unknown keys refused, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Defaults(Model):
    """What every pair inherits."""

    python: Minor = "3.11"
    base: str = "python:3.11-slim-bookworm"


class PairTable(Model):
    """One ``[[pairs]]`` table: a pair for each of its CUDA minors."""

    tensorflow: Release = Field(description="TensorFlow release, all three numbers")
    cuda: Cudas = Field(min_length=1, description='CUDA minor, or "cpu", or a list of them')
    keras: Release = Field(description="Keras release that goes with it")
    python: Minor | None = Field(default=None, description="CPython minor; the default's if absent")
    base: str | None = Field(default=None, description="base image; the default's if absent")
    cudnn: Wheel | None = Field(default=None, description="cuDNN wheel; the release's own if absent")
    allow_older: bool = Field(default=False, description="try a CUDA older than TensorFlow was built with")
    profiles: tuple[str, ...] | None = Field(
        default=None, description="profiles that take it; all if absent, none but --env if empty"
    )

    @model_validator(mode="after")
    def _cudnn_has_cuda(self) -> Self:
        if self.cudnn and "cpu" in self.cuda:
            message = "a pair without CUDA has no cuDNN: give the cpu a table of its own"
            raise ValueError(message)
        return self


class Select(Model):
    """Which pairs a run takes."""

    include: tuple[Glob, ...] = ("*",)
    exclude: tuple[Glob, ...] = ()


class Suite(Model):
    """What runs besides the fixed suite."""

    kernel_files: tuple[Annotated[str, StringConstraints(pattern=r"\.py$")], ...] = Field(
        default=(), description="files with kernels of your own, relative to this file"
    )


class Variation(Model):
    """What runs under a variation; all of the profile's kernels and repetitions, in both modes, unless it says less."""

    kernels: tuple[Glob, ...] = ("*",)
    skip: tuple[Glob, ...] = ()
    modes: tuple[Mode, ...] = MODES
    repetitions: int | None = Field(default=None, ge=1, le=1000, description="at most so many")
    heavy_repetitions: int | None = Field(default=None, ge=1, le=1000, description="at most so many")
    timed: bool = Field(default=False, description="also take times and overheads; `default` always does")


class Profile(Model):
    """How much evidence a run gathers. Times in seconds."""

    rounds: int = Field(ge=1, le=1000, description="fresh processes per mode")
    repetitions: int = Field(ge=1, le=1000, description="re-seeded executions per kernel and process")
    heavy_repetitions: int | None = Field(default=None, ge=1, le=1000, description="the same for training kernels")
    kernels: tuple[Glob, ...] = ("*",)
    variations: tuple[str, ...] = ("default",)
    time_limit_s: float = Field(default=120, gt=0, description="for one kernel with all its repetitions")
    steady_s: float = Field(default=0.2, ge=0, description="timing pass of a kernel and process; 0 for none")
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    order_seed: int = Field(default=0, ge=0, le=2**32 - 1, description="shuffles the kernels, anew in every round")

    @field_validator("variations")
    @classmethod
    def _variations_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(variation_name(name) for name in names)


class Override(Model):
    """Changes a profile for the pairs that match ``select``."""

    select: Glob
    rounds: int | None = Field(default=None, ge=1, le=1000)
    repetitions: int | None = Field(default=None, ge=1, le=1000)
    heavy_repetitions: int | None = Field(default=None, ge=1, le=1000)
    time_limit_s: float | None = Field(default=None, gt=0)
    skip: tuple[Glob, ...] = ()


class Matrix(Model):
    """The whole file."""

    defaults: Defaults = Defaults()
    pairs: tuple[PairTable, ...] = Field(min_length=1)
    select: Select = Select()
    suite: Suite = Suite()
    variations: dict[str, Variation] = {}
    profiles: dict[str, Profile] = Field(min_length=1)
    overrides: tuple[Override, ...] = ()

    @field_validator("variations")
    @classmethod
    def _names_known(cls, tables: dict[str, Variation]) -> dict[str, Variation]:
        for name in tables:
            variation_name(name)
        return tables


def variation_name(name: str) -> str:
    """The name of a variation; raises ValueError with a sentence where it says nothing this version knows."""
    if not VARIATION.fullmatch(name):
        known = (
            "default, threads=N, threads=Nxcores, onednn=0, onednn=1, isa=avx2 (or another of oneDNN), "
            "tf32=off, tf32=on, switch=env"
        )
        message = f"{name!r} is no variation; known are {known}"
        raise ValueError(message)
    return name
