"""``run.json`` as typed data: the facts of a run, of its columns and of its kernels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping  # noqa: TC003 - pydantic reads the types of the fields
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import StorageError
from bench.portable.run_folder import plain
from bench.suite.record import RecordError, check_schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import TypeAdapter, ValidationError

    from bench.suite.kernels import Kernel


#: Facts in ``ColumnInfo.origin`` that say which run measured an imported column, not on which host.
RUN_FACTS = frozenset({"run", "started", "finished"})


class _Validated:
    """Settings for reading a class from JSON: no type is converted, and no unknown field or NaN is accepted.

    Unknown fields are refused instead of ignored, because one of them could turn a green column red.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class ColumnInfo(_Validated):
    """One column as planned and as it was prepared.

    ``status`` is ``ready``, ``incompatible``, ``gpu-not-visible`` or ``build-failed``, ``mismatch`` or
    ``image-missing`` where no round could be run, or ``not-run`` for a cell of a fleet run that has no result;
    ``reason`` says why it is not ready. ``device``, ``gpu``, ``kind``, ``cudnn``, ``advice`` and ``host`` are those of
    ``bench.plan.column``. ``origin`` has the facts of the other host
    for an imported column, with the id, start and end (``run``, ``started``, ``finished``) of its run, and is empty
    for one that was measured on this host.
    """

    id: str
    tensorflow: str
    cuda: str
    python: str
    keras: str
    device: str
    lock: str
    lock_hash: str
    status: str
    reason: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    gpu: str = ""
    kind: str = "cpu"
    cudnn: str = ""
    advice: str = ""
    host: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KernelInfo(_Validated):
    """The declaration of a kernel (see ``bench.suite.kernels``).

    ``control`` is ``""``, ``"must-differ"`` or ``"must-not-differ"``, and ``rate`` the share of samples in which a
    control differs. ``accuracy`` says whether the kernel has a float64 reference. ``file`` is the user's kernel file,
    "" for kernels of the suite.
    """

    name: str
    family: str
    exercises: str
    shapes: str
    dtypes: str
    source: str
    control: str
    portable: bool
    rate: float = 0.0
    heavy: bool = False
    call_again: bool = True
    call_again_declared: bool = False
    gpu_control: bool = False
    on_host: bool = False
    accuracy: bool = False
    file: str = ""

    @property
    def later_calls_must_agree(self) -> bool:
        """Whether a later call with other bits, without a new seed, is nondeterminism (see ``Kernel``)."""
        return self.call_again and (not self.file or self.call_again_declared)


@dataclass(frozen=True, kw_only=True)
class RunInfo(_Validated):
    """One invocation over the matrix. Times are ISO 8601 in UTC; ``finished`` is "" while it runs.

    ``variations`` maps a variation to the kernels it runs (all where the tuple is empty) and
    ``variation_modes`` to its modes. ``reused`` maps a record's path, relative to the run
    folder, to the id of the run that measured it. ``rounds`` is the number planned per mode. ``passes_done`` of
    ``passes_planned`` passes over all columns are complete; ``seconds_left`` is an estimate, 0 unless the run is
    measuring. ``merged_from`` is the id of the run of this host that imported columns were merged with, because its
    records name it; "" for a run that was not merged.
    """

    schema: int
    id: str
    started: str
    finished: str
    version: str
    revision: str
    command: str
    profile: str
    rounds: int
    repetitions: int
    seed: int
    modes: tuple[str, ...]
    variations: Mapping[str, tuple[str, ...]]
    variation_modes: Mapping[str, tuple[str, ...]]
    engine: str
    engine_why: str
    engine_facts: Mapping[str, str]
    host: Mapping[str, str]
    suite_hash: str
    columns: tuple[ColumnInfo, ...]
    kernels: tuple[KernelInfo, ...]
    warnings: tuple[str, ...] = ()
    reused: Mapping[str, str] = field(default_factory=dict)
    passes_done: int = 0
    passes_planned: int = 0
    seconds_left: float = 0.0
    merged_from: str = ""

    @property
    def in_progress(self) -> bool:
        """Whether the run is still being measured, as far as it says: after a power cut it still says so."""
        return not self.finished and self.seconds_left > 0

    def to_json(self) -> str:
        """Return the text of run.json; see ``bench.portable.run_folder.plain`` for what is replaced in it."""
        return json.dumps(plain(dataclasses.asdict(self)), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "run.json") -> RunInfo:
        """Read run.json; raises StorageError with ``name`` where it does not have exactly these fields and types."""
        from pydantic import ValidationError  # noqa: PLC0415 - start-up stays quick without it

        try:
            check_schema(name, json.loads(text).get("schema"))
            return _adapter().validate_json(text)
        except RecordError as error:
            raise StorageError(str(error)) from error
        except ValidationError as error:
            raise _invalid(error, name) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            message = f"{name} is not a run's description ({error})"
            raise StorageError(message, DAMAGED) from error


#: What to do about a run.json that is not valid.
DAMAGED = "The file was cut off or edited: restore it, or measure again."


@cache
def _adapter() -> TypeAdapter[RunInfo]:
    from pydantic import TypeAdapter  # noqa: PLC0415 - start-up stays quick without it

    return TypeAdapter(RunInfo)


def _invalid(error: ValidationError, name: str) -> StorageError:
    """Return the error for a run.json of another shape; unknown fields are all named, of other problems the first."""
    problems = error.errors(include_url=False, include_input=False)
    unknown = {str(problem["loc"][-1]) for problem in problems if problem["type"] == "unexpected_keyword_argument"}
    if unknown:
        message = f"{name} has fields that this version does not know: {', '.join(map(ascii, sorted(unknown)))}"
        return StorageError(message, "Read it with the tfrepro that wrote it, or measure again.")
    place = ".".join(map(str, problems[0]["loc"]))
    return StorageError(f"{name} is not a run's description ({place!a}: {problems[0]['msg']})", DAMAGED)


def kernel_infos(kernels: Iterable[Kernel]) -> tuple[KernelInfo, ...]:
    """Return the declarations of kernels as run.json holds them."""
    return tuple(KernelInfo(**kernel.declaration()) for kernel in kernels)
