"""``run.json`` as typed data: the facts of a run, of its columns and of its kernels."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import StorageError
from bench.suite.record import RecordError, check_schema

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class ColumnInfo:
    """One column as planned and as it was prepared.

    ``status`` is ``ready``, ``incompatible``, ``gpu-not-visible``, ``build-failed``, or ``mismatch`` or ``image-missing`` where not
    one round could be run; ``reason`` says why it is not ready. ``device``, ``gpu``, ``kind``, ``cudnn`` and
    ``advice`` are those of ``bench.plan.column``; ``origin`` has the host's facts where the column was measured on
    another host and imported, empty where it was measured here.
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
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KernelInfo:
    """One row: the declaration of a kernel (see ``bench.suite.kernels``).

    ``control`` is ``""``, ``"must-differ"`` or ``"must-not-differ"``, and ``rate`` the share of samples in which
    it differs. ``accuracy`` says whether it has a float64 reference. ``file`` is the user's file, "" for the suite.
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
    gpu_control: bool = False
    on_host: bool = False
    accuracy: bool = False
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One invocation over the matrix. Times are ISO 8601 in UTC; ``finished`` is "" while it runs.

    ``variations`` maps a variation to the kernels it runs (all where the tuple is empty) and
    ``variation_modes`` to its modes. ``reused`` maps a record's path, relative to the run
    folder, to the id of the run that measured it. ``rounds`` is the number planned per mode. ``passes_done`` of
    ``passes_planned`` passes over all columns are complete; ``seconds_left`` is an estimate, 0 unless the run is
    measuring.
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

    def to_json(self) -> str:
        """The text of run.json."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "run.json") -> RunInfo:
        """Read run.json; raises StorageError naming the file where it cannot be understood."""
        try:
            data = json.loads(text)
            check_schema(name, data.get("schema"))
            unknown = _unknown(data)
            if unknown:
                message = f"{name} has fields that this version does not know: {', '.join(map(ascii, unknown))}"
                raise StorageError(message, "Read it with the tfrepro that wrote it, or measure again.")
            return _build(data)
        except RecordError as error:
            raise StorageError(str(error)) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            message = f"{name} is not a run's description ({error})"
            raise StorageError(message, "The file was cut off or edited; measure again.") from error


def _unknown(data: dict[str, Any]) -> list[str]:
    """The fields of run.json that this version does not know.

    They are refused instead of ignored, because one of them could turn a green column red.
    """
    parts = ((RunInfo, [data]), (ColumnInfo, data["columns"]), (KernelInfo, data["kernels"]))
    known = [({field.name for field in dataclasses.fields(model)}, objects) for model, objects in parts]
    return sorted({key for names, objects in known for item in objects for key in item if key not in names})


def _build(data: dict[str, Any]) -> RunInfo:
    data["columns"] = tuple(ColumnInfo(**column) for column in data["columns"])
    data["kernels"] = tuple(KernelInfo(**kernel) for kernel in data["kernels"])
    for key in ("variations", "variation_modes"):
        data[key] = {name: tuple(values) for name, values in data[key].items()}
    for key in ("modes", "warnings"):
        data[key] = tuple(data[key])
    return RunInfo(**data)
