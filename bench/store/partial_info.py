"""Read what can be read of a damaged run.json, so that one odd value in it does not hide a whole run.

Only what cannot change a verdict of the rest is left out: a whole column or kernel, whose records then belong to
nothing, facts of the host, with which records are then not compared, and texts that are shown and decide nothing.
Anything else is refused, as everything is where a run is imported, resumed or compared with (see
``bench.store.valid_info``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.errors import StorageError
from bench.portable.run_folder import plain
from bench.store.valid_info import ODD, odd_values, parse

if TYPE_CHECKING:
    from bench.store.run_info import RunInfo

#: Fields that are shown and decide nothing, with what stands for a value that does not fit.
_SHOWN: dict[str, Any] = {
    "command": "",
    "version": "",
    "revision": "",
    "profile": "",
    "engine_why": "",
    "engine_facts": {},
    "host": {},
    "warnings": [],
    "passes_done": 0,
    "passes_planned": 0,
}
_SHOWN_OF_KERNEL = frozenset({"exercises", "source"})


def parse_partly(text: str, name: str) -> tuple[RunInfo, dict[str, str]]:
    """Return run.json, and what was left out of it by its place, such as ``run.json, columns.0.lock``, with the reason.

    Raises StorageError where it is not valid, and what is wrong cannot be left out.
    """
    try:
        return parse(text, name), {}
    except StorageError as error:
        try:
            content = json.loads(text)
            problems = _without_odd_parts(content, error.__cause__)
            return parse(json.dumps(plain(content)), name), {f"run.json, {at}": why for at, why in problems.items()}
        except (StorageError, ValueError, RecursionError):
            raise error from None


def _without_odd_parts(content: Any, cause: BaseException | None) -> dict[str, str]:
    """Change a JSON value so that it may fit; return what was wrong. Raises ValueError where that is not possible."""
    from pydantic import ValidationError  # noqa: PLC0415 - start-up stays quick without it

    if not isinstance(content, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a value of a file, not of a caller
    problems = dict.fromkeys(odd_values(content), ODD)
    faults = cause.errors(include_url=False, include_input=False) if isinstance(cause, ValidationError) else []
    odd: dict[str, set[int]] = {"columns": set(), "kernels": set()}
    for fault in faults:
        place = [part for part in fault["loc"] if not isinstance(part, str) or part]
        problems[".".join(map(str, place))] = fault["msg"]
        if fault["type"] == "unexpected_keyword_argument":
            raise ValueError("a field that this version does not know may decide about anything")
        match place:
            case ["columns", int(number), *_]:
                odd["columns"].add(number)
            case ["kernels", int(number), str(key), *_] if key not in _SHOWN_OF_KERNEL:
                odd["kernels"].add(_no_control(content["kernels"], number))
            case _:
                _replace(content, place)
    if not problems:
        raise ValueError("what is wrong is not a value of the wrong type")
    for name, numbers in odd.items():
        if numbers:
            content[name] = [item for number, item in enumerate(content[name]) if number not in numbers]
    return problems


def _replace(content: dict[str, Any], place: list[int | str]) -> None:
    """Replace a value that decides nothing; raises ValueError for any other."""
    match place:
        case ["kernels", int(number), str(key), *_]:
            content["kernels"][number][key] = "unknown"
        case ["host", str(key), *_]:
            content["host"].pop(key, None)
        case [str(key), *_] if key in _SHOWN:
            content[key] = _SHOWN[key]
        case _:
            raise ValueError(f"{place} decides about the rest")


def _no_control(kernels: list[Any], number: int) -> int:
    """Return the number of a kernel; raises ValueError for what may be a control: its column is judged by it."""
    if not isinstance(kernels[number], dict) or kernels[number].get("control") != "":
        raise ValueError("a control decides about the rest")
    return number
