"""Models of the tables of matrix.toml. They are frozen and refuse unknown keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from packaging import requirements
from packaging.utils import canonicalize_name
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from bench.suite import variation

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

Mode = Literal["off", "on"]
MODES: tuple[Mode, ...] = ("off", "on")
#: The variation that changes nothing. It decides the results, and alone is timed.
DEFAULT_VARIATION = "default"

Release = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+(rc\d+)?$")]
Minor = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")]
Wheel = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){2,3}$")]
Glob = Annotated[str, StringConstraints(min_length=1)]
#: Becomes part of the names of columns, images and locks.
PairName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.]{0,19}$")]

_CUDA = r"^(cpu|\d+\.\d+)$"
_ONE_CUDA = {"type": "string", "pattern": _CUDA}


def _listed(value: Any) -> Any:
    """Return a tuple; a single value becomes a tuple of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


#: Packages that have keys of their own, or belong to those.
_OWN_KEYS = re.compile(r"(tensorflow(-cpu|-intel|-gpu)?|keras|numpy|nvidia-.*)")


def _requirement(text: str) -> str:
    """Return a requirement of a package index; raises ValueError for anything else."""
    try:
        found = requirements.Requirement(text)
    except requirements.InvalidRequirement as error:
        message = f"{text!r} is no requirement such as scipy==1.14.1 ({' '.join(str(error).split())})"
        raise ValueError(message) from error
    if found.url:
        message = f"{text!r} names an address; a lock has packages of the package index only"
        raise ValueError(message)
    if _OWN_KEYS.fullmatch(canonicalize_name(found.name)):
        message = f"{found.name} follows from tensorflow, cuda, cudnn, keras and numpy of the pair"
        raise ValueError(message)
    return str(found)


#: A requirement as pip takes it, of a package that the other keys do not pin.
Requirement = Annotated[str, AfterValidator(_requirement)]

#: One CUDA minor or a list of them: each makes a pair.
Cudas = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=_CUDA)], ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ONE_CUDA, {"type": "array", "items": _ONE_CUDA, "minItems": 1, "uniqueItems": True}]}),
]


class Model(BaseModel):
    """Base of all tables: frozen, without unknown keys or silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Defaults(Model):
    """Values that every pair inherits."""

    python: Minor = Field(default="3.11", description="CPython minor")
    base: str = Field(default="python:3.11-slim-bookworm", description="base image of the Docker engine")
    numpy: Release = Field(default="1.26.4", description="one NumPy for all pairs that accept it")


class PairTable(Model):
    """A ``[[pairs]]`` table: one pair for each of its CUDA minors."""

    tensorflow: Release = Field(description="TensorFlow release, all three numbers")
    cuda: Cudas = Field(min_length=1, description='CUDA minor, or "cpu", or a list of them')
    keras: Release = Field(description="Keras release that goes with it")
    python: Minor | None = Field(default=None, description="CPython minor; that of [defaults] if absent")
    numpy: Release | None = Field(default=None, description="NumPy release; that of [defaults] if absent")
    base: str | None = Field(default=None, description="base image; that of [defaults] if absent")
    cudnn: Wheel | None = Field(default=None, description="version of the cuDNN wheel; the release's default if absent")
    allow_older: bool = Field(default=False, description="try a CUDA older than TensorFlow was built with")
    name: PairName | None = Field(default=None, description="end of the pair's name, to tell it from others")
    packages: tuple[Requirement, ...] = Field(
        default=(), description="further packages of the environment: ['scipy==1.14.1']; they need a name"
    )
    profiles: tuple[str, ...] | None = Field(
        default=None, description="profiles that include it; all if absent; with an empty list only --env does"
    )

    @model_validator(mode="after")
    def _cudnn_has_cuda(self) -> Self:
        if self.cudnn and "cpu" in self.cuda:
            message = 'a CPU pair has no cuDNN: move "cpu" to a table of its own'
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _packages_have_a_name(self) -> Self:
        if self.packages and not self.name:
            message = 'a pair with packages needs a name, such as name = "mine", which tells its columns from others'
            raise ValueError(message)
        return self


class Select(Model):
    """Which pairs a run includes."""

    include: tuple[Glob, ...] = Field(default=("*",), description="environments that run")
    exclude: tuple[Glob, ...] = Field(default=(), description="environments that do not run, although included")


class KernelFiles(Model):
    """A file or folder with custom kernels, and which files of a folder are copied with it."""

    path: Glob = Field(description="Python file or folder, relative to this file")
    include: tuple[Glob, ...] = Field(default=(), description="only these files of the folder: ['*.py', 'data/*.csv']")
    exclude: tuple[Glob, ...] = Field(default=(), description="not these files and folders: ['tests', '*.h5']")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, dict):  # lists are not converted after a validator like this one
            return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
        return {"path": value} if isinstance(value, str) else value


class Suite(Model):
    """What runs in addition to the built-in suite."""

    kernel_files: tuple[KernelFiles, ...] = Field(
        default=(), description="files and folders with custom kernels, relative to this file"
    )


class Variation(Model):
    """What runs under a variation: by default all the profile's kernels and repetitions, in both modes."""

    kernels: tuple[Glob, ...] = Field(default=("*",), description="kernels that run under it")
    skip: tuple[Glob, ...] = Field(default=(), description="kernels that do not")
    modes: tuple[Mode, ...] = Field(default=MODES, description="determinism off, on, or both")
    repetitions: int | None = Field(default=None, ge=1, le=1000, description="upper limit of the profile's")
    heavy_repetitions: int | None = Field(default=None, ge=1, le=1000, description="upper limit of the profile's")


class Profile(Model):
    """How much evidence a run gathers. Times in seconds."""

    rounds: int = Field(ge=1, le=1000, description="fresh processes per mode")
    repetitions: int = Field(ge=1, le=1000, description="re-seeded executions per kernel and process")
    heavy_repetitions: int | None = Field(default=None, ge=1, le=1000, description="the same for slow kernels")
    kernels: tuple[Glob, ...] = Field(default=("*",), description="kernels that run; controls always do")
    variations: tuple[str, ...] = Field(
        default=(DEFAULT_VARIATION,),
        description="what is changed around a run, one after the other: ['default', 'eager=on']",
    )
    time_limit_s: float = Field(default=120, gt=0, description="for one kernel with all its repetitions")
    overhead_pairs: int = Field(
        default=5, ge=0, le=1000, description="timing pairs per column, determinism off against on; 0 for no overheads"
    )
    noise_floor_pairs: int = Field(
        default=5, ge=0, le=1000, description="timing pairs of a few kernels, off against off, in one column per device"
    )
    upgrade_pairs: int = Field(
        default=0, ge=0, le=1000, description="timing pairs of each column against the one before it on its device"
    )
    pair_s: float = Field(default=0.1, gt=0, description="timed calls of one kernel on one side of a timing pair")
    seed: int = Field(default=42, ge=0, le=2**32 - 1, description="seed of every repetition")
    order_seed: int = Field(default=0, ge=0, le=2**32 - 1, description="shuffles the kernels, anew in every round")

    @field_validator("variations")
    @classmethod
    def _variations_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(variation_name(name) for name in names)


class Override(Model):
    """Changes a profile for the pairs that match ``select``."""

    select: Glob = Field(description="environments that it changes: '*cuda12.5*'")
    rounds: int | None = Field(default=None, ge=1, le=1000, description="instead of the profile's")
    repetitions: int | None = Field(default=None, ge=1, le=1000, description="instead of the profile's")
    heavy_repetitions: int | None = Field(default=None, ge=1, le=1000, description="instead of the profile's")
    time_limit_s: float | None = Field(default=None, gt=0, description="instead of the profile's")
    skip: tuple[Glob, ...] = Field(default=(), description="kernels that do not run")


class Nightly(Model):
    """What ``nightly`` does besides measuring. Without a limit, nothing is removed."""

    on_alarm: tuple[str, ...] = Field(
        default=(),
        description="program and arguments, started without a shell, that get nightly.json on standard input",
    )
    keep_logs_days: int | None = Field(default=None, ge=1, description="remove logs of runs older than this")
    keep_runs_days: int | None = Field(
        default=None, ge=30, description="remove runs older than this, except the newest of each column"
    )
    keep_environments_days: int | None = Field(
        default=None, ge=1, description="remove images and virtual environments that were not used for this long"
    )


class FleetGpus(Model):
    """A ``[[fleet.gpus]]`` table: a GPU model of the cluster, and which environments are measured on it."""

    gpu: str = Field(
        default="", pattern=r"^[A-Za-z0-9_.-]*$", description='type in the cluster\'s gres: "h200"; "" requests no GPU'
    )
    env: tuple[Glob, ...] = Field(default=("*",), description="pairs of the profile that are measured on it")
    nodes: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], ...] = Field(
        default=(), description="measure on each of these nodes; without it, on one node that Slurm chooses"
    )
    driver: str = Field(
        default="",
        pattern=r"^([0-9]+([.][0-9]+)*)?$",
        description='driver that the nodes must have: "580" or "580.65.06"',
    )


#: Beginnings of options of sbatch, which takes every abbreviation, that would contradict what tfrepro needs.
_OF_TFREPRO = (
    *("--job-n", "-J", "--ar", "-a", "--out", "-o", "--open-m", "--si", "--test", "--wa", "-W", "--wr", "--no-r"),
    *("--ti", "-t", "--gr", "--gp", "-G", "--cl", "-M", "--nodes", "-N", "--nodel", "-w", "--nt", "-n", "--pars"),
)


class Fleet(Model):
    """How ``matrix --engine slurm`` submits. What is empty is not requested of Slurm."""

    gpus: tuple[FleetGpus, ...] = Field(default=(), description="the GPU models of the cluster")
    engine: Literal["auto", "docker", "venv", "local", "pyxis"] = Field(
        default="auto", description="where a node measures; local: in the interpreter of the key python"
    )
    python: str = Field(default="", description="Python on the nodes that runs tfrepro (for local: with TensorFlow)")
    image: str = Field(default="", description="image for pyxis, as --container-image takes it")
    partition: str = Field(default="", description="--partition of sbatch")
    account: str = Field(default="", description="--account of sbatch")
    qos: str = Field(default="", description="--qos of sbatch")
    exclusive: bool = Field(default=False, description="no other job on the node meanwhile")
    cpus: int | None = Field(default=None, ge=1, description="cores of a job; without it, the site decides, often one")
    memory: str = Field(default="", pattern=r"^(\d+[KMGT]?)?$", description='memory of a job: "64G"')
    time_limit_min: int | None = Field(default=None, ge=1, description="instead of one from the estimate")
    options: tuple[str, ...] = Field(default=(), description="more options of sbatch: ['--constraint=nvlink']")
    scratch: str = Field(default="", description="folder on the nodes' own disks; by default TMPDIR, else /tmp")
    wait_for_gpu_s: float = Field(default=600, ge=0, description="how long to wait for a GPU that others still use")

    @field_validator("partition", "account", "qos")
    @classmethod
    def _quotable(cls, name: str) -> str:
        if not name.isprintable() or '"' in name or "\\" in name:
            message = f"{name!r} is no name of Slurm: it has a quote, a backslash or a line break"
            raise ValueError(message)
        return name

    @field_validator("options")
    @classmethod
    def _one_line(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not option.startswith("-") or not option.isprintable():
                message = f"{option!r} is not an option of sbatch: it begins with '-' and has one line"
                raise ValueError(message)
            if option.startswith(_OF_TFREPRO):
                message = f"{option!r} is an option that tfrepro sets itself, or that hides its jobs: leave it out"
                raise ValueError(message)
        return options


class Matrix(Model):
    """The whole file."""

    defaults: Defaults = Defaults()
    pairs: tuple[PairTable, ...] = Field(min_length=1)
    select: Select = Select()
    suite: Suite = Suite()
    variations: dict[str, Variation] = {}
    profiles: dict[str, Profile] = Field(min_length=1)
    overrides: tuple[Override, ...] = ()
    nightly: Nightly = Nightly()
    fleet: Fleet = Fleet()

    @field_validator("variations")
    @classmethod
    def _names_known(cls, tables: dict[str, Variation]) -> dict[str, Variation]:
        for name in tables:
            variation_name(name)
        return tables


def variation_name(name: str) -> str:
    """Return the name of a variation if it is valid; raises ValueError with the valid names otherwise."""
    if not variation.NAMES.fullmatch(name):
        valid = (
            "default, threads=N, threads=Nxcores, inter=N, devices=2 (to 9), hashseed=0 (or another number), onednn=0, "
            "onednn=1, isa=avx2 (or another of oneDNN), tf32=off, tf32=on, eager=on, switch=env"
        )
        message = f"{name!r} is not a variation; valid names are {valid}"
        raise ValueError(message)
    return name
