"""The lines of records as types: what a line must have is checked while it is parsed, before anything else reads it.

The fields are those that a worker writes. The data classes in ``bench.suite.record`` and ``bench.suite.paired_record``
join several lines, and must work without pydantic, so they cannot be used here. No type is converted.
Unknown fields are left to the readers of the formats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typing_extensions import NotRequired, TypedDict  # noqa: UP035 - pydantic needs these before Python 3.12

from bench.suite.paired_record import Block  # noqa: TC001 - pydantic reads the types of the fields
from bench.suite.record import RecordError, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import TypeAdapter

#: A record of a round (``bench.suite.record``) or of a pair (``bench.suite.paired_record``).
Kind = Literal["round", "pair"]
#: Facts about an output, and what the host saw of a GPU: their readers take any value in them.
Facts = Mapping[str, Any]
#: Half of a surrogate pair in JSON: Python's json reads one alone, as an undecodable file name leaves it in a message.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class _Header(TypedDict):
    line: Literal["header"]
    schema: int
    suite_hash: str
    request: Request


class _Process(TypedDict):
    line: Literal["process"]
    process: int
    pid: int
    started: str
    provenance: Facts
    settings: Facts
    libraries: NotRequired[Mapping[str, str]]


class _Kernel(TypedDict):
    line: Literal["kernel"]
    process: int
    kernel: str


class _Values(TypedDict):
    line: Literal["values"]
    process: int
    kernel: str
    digest: str
    outputs: NotRequired[Mapping[str, Facts]]
    errors: NotRequired[Mapping[str, Mapping[str, float]]]


class _Kept(TypedDict):
    line: Literal["kept"]
    process: int
    kernel: str
    digest: str
    tensors: list[Any]


class _Sample(TypedDict):
    line: Literal["sample"]
    process: int
    kernel: str
    role: str
    repetition: int
    seed: int
    digest: str
    setup_s: float
    first_s: float
    first_cpu_s: float
    load: float
    switches: int
    first_difference: NotRequired[Facts | None]


class _Guard(TypedDict):
    line: Literal["guard"]
    process: int
    kernel: str
    role: str
    repetition: int
    seen: Facts


class _Outcome(TypedDict):
    line: Literal["outcome"]
    process: int
    kernel: str
    outcome: str
    seconds: float
    error_class: NotRequired[str]
    message: NotRequired[str]
    where: NotRequired[str]
    peak_mb: NotRequired[float | None]
    digest_s: NotRequired[float]
    peak_gpu_mb: NotRequired[float | None]
    left_behind: NotRequired[list[str]]


class _Loaded(TypedDict):
    line: Literal["loaded"]
    process: int
    libraries: Mapping[str, str]


class _End(TypedDict):
    line: Literal["end"]
    seconds: float
    processes: NotRequired[int]


class _PairHeader(TypedDict):
    line: Literal["header"]
    schema: int
    suite_hash: str
    comparison: str
    number: int
    started_first: str
    requests: Mapping[Literal["a", "b"], Request]
    budget_s: NotRequired[float]


class _SideProcess(TypedDict):
    line: Literal["process"]
    side: Literal["a", "b"]
    pid: int
    started: str
    provenance: Facts
    settings: Facts


class _PairedKernel(TypedDict):
    line: Literal["kernel"]
    kernel: str
    kind: str
    outcome: str
    message: str
    blocks: list[Block]
    first_seconds: Mapping[str, float | None]
    load: float
    guard: NotRequired[Facts | None]


def typed_rows(text: str, kind: Kind) -> list[Any]:
    """Return the lines of a record, in which every field has its type; raises ValueError where one has not."""
    # a newline inside a JSON text is always escaped, so every other one separates two lines
    rows = _adapter(kind, "forbid").validate_json(f"[{text.replace(chr(10), ',')}]", strict=True)
    if len(rows) != text.count("\n") + bool(text):
        raise ValueError("a line does not hold exactly one JSON value")
    return rows


def check_lines(lines: Iterable[str], kind: Kind, name: str) -> None:
    """Raise RecordError, with the number of the line and the field, for the first one whose type is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415 - start-up stays quick without it

    for number, line in enumerate(lines, 1):
        try:
            _adapter(kind, "allow").validate_json(f"[{_SURROGATE.sub('_', line)}]", strict=True)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            if problem["type"] in {"json_invalid", "union_tag_not_found"}:
                continue  # the readers of the formats decide: for them, a last line without a kind was cut off
            place = ".".join(map(str, problem["loc"][2:])) or "line"
            raise RecordError(f"{name}, line {number}: {place!a}: {problem['msg']}") from error


@cache
def _adapter(kind: Kind, extra: Literal["allow", "forbid"]) -> TypeAdapter[list[Any]]:
    from pydantic import ConfigDict, Field, TypeAdapter  # noqa: PLC0415 - start-up stays quick without it

    of_round = _Header | _Process | _Kernel | _Values | _Kept | _Sample | _Guard | _Outcome | _Loaded | _End
    of_pair = _PairHeader | _SideProcess | _Loaded | _PairedKernel | _End
    line: Any = Annotated[of_round if kind == "round" else of_pair, Field(discriminator="line")]
    return TypeAdapter(list[line], config=ConfigDict(extra=extra))
