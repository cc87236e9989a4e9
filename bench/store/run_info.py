"""``run.json`` as typed data: the facts of a run, of its columns and of its kernels."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 3
#: Schemas that can be read: 2 knew no GPU.
READABLE = (2, SCHEMA)


@dataclass(frozen=True, kw_only=True)
class CellInfo:
    """One column as planned and as it was prepared.

    ``status`` is ``ready``, ``impossible``, ``no-gpu``, ``build-failed``, or ``failed`` or ``image-gone`` where not
    one round could be run; ``reason`` says why it is not ready. ``device``, ``gpu``, ``kind``, ``cudnn`` and
    ``advice`` are those of ``bench.plan.cell``; ``origin`` has the host's facts where the cell was measured on
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

    ``conditions`` maps a condition to the kernels it runs (all where the tuple is empty) and
    ``condition_modes`` to its modes. ``taken_over`` maps a record's path, relative to the run
    folder, to the id of the run that measured it. ``rounds`` is the number planned per mode.
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
    repeats: int
    seed: int
    modes: tuple[str, ...]
    conditions: Mapping[str, tuple[str, ...]]
    condition_modes: Mapping[str, tuple[str, ...]]
    engine: str
    engine_why: str
    engine_facts: Mapping[str, str]
    host: Mapping[str, str]
    suite_hash: str
    cells: tuple[CellInfo, ...]
    kernels: tuple[KernelInfo, ...]
    warnings: tuple[str, ...] = ()
    taken_over: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of run.json."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "run.json") -> RunInfo:
        """Read run.json; raises StorageError naming the file where it cannot be understood."""
        try:
            data = json.loads(text)
            if data.get("schema") not in READABLE:
                known = " and ".join(map(str, READABLE))
                message = f"{name}: schema {data.get('schema')!r}, but this version reads schemas {known}"
                raise StorageError(message, "Read it with the tfrepro that wrote it, or measure again.")
            unknown = _unknown(data)
            if unknown:
                message = f"{name} has fields that this version does not know: {', '.join(map(ascii, unknown))}"
                raise StorageError(message, "Read it with the tfrepro that wrote it, or measure again.")
            return _build(data)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            message = f"{name} is not a run's description ({error})"
            raise StorageError(message, "The file was cut off or edited; measure again.") from error


def _unknown(data: dict[str, Any]) -> list[str]:
    """The fields of run.json that this version does not know.

    They are refused instead of ignored, because one of them could turn a green cell red.
    """
    parts = ((RunInfo, [data]), (CellInfo, data["cells"]), (KernelInfo, data["kernels"]))
    known = [({field.name for field in dataclasses.fields(model)}, objects) for model, objects in parts]
    return sorted({key for names, objects in known for item in objects for key in item if key not in names})


def _build(data: dict[str, Any]) -> RunInfo:
    data["cells"] = tuple(CellInfo(**cell) for cell in data["cells"])
    data["kernels"] = tuple(KernelInfo(**kernel) for kernel in data["kernels"])
    for key in ("conditions", "condition_modes"):
        data[key] = {name: tuple(values) for name, values in data[key].items()}
    for key in ("modes", "warnings"):
        data[key] = tuple(data[key])
    return RunInfo(**data)
