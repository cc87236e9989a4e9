"""Read matrix.toml. Every mistake becomes one line with the file, the key path and the nearest known name."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bench.errors import ConfigError
from bench.plan.config_models import Matrix
from bench.regular_file import read_text
from bench.suggest import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path


_EXPLAINED = "The comments in the shipped matrix.toml explain each key."


def load(path: Path) -> Matrix:
    """Read and validate a matrix file.

    Raises:
        ConfigError: the file is missing, is not TOML, or breaks a rule of the models. All mistakes are listed at once.
    """
    try:
        data = tomllib.loads(read_text(path))
        # through JSON: in strict mode pydantic takes JSON arrays for tuples, and refuses the lists that tomllib makes
        text = json.dumps(data, default=str)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(message, "Run the command in the checkout, or name another file with --matrix.") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not a matrix: its values are nested too deeply.", _EXPLAINED) from error
    except ValueError as error:  # of the syntax, the encoding, or a number with thousands of digits
        message = f"{path} is not valid TOML: {error}"
        raise ConfigError(message, "Fix that line; https://toml.io describes the syntax.") from error
    try:
        return Matrix.model_validate_json(text)
    except ValidationError as error:
        lines = [f"{path}: {_message(item)}" for item in _causes(error)]
        raise ConfigError("\n".join(lines), _EXPLAINED) from error


def schema() -> str:
    """Return the JSON Schema of matrix.toml, as shipped in matrix.schema.json."""
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Matrix.model_json_schema()}
    return json.dumps(body, indent=1, sort_keys=True) + "\n"


def _causes(error: ValidationError) -> list[Any]:
    """Return all mistakes, except lists reported as too short only because an invalid item was dropped from them."""
    mistakes = error.errors(include_url=False)
    places = [item["loc"] for item in mistakes]
    return [
        item
        for item in mistakes
        if item["type"] != "too_short" or not any(place[: len(item["loc"])] == item["loc"] != place for place in places)
    ]


def _message(item: Any) -> str:
    place = _place(item["loc"])
    if item["type"] == "extra_forbidden":
        what = "table" if isinstance(item["input"], (dict, list)) else "key"
        return f"{place}: unknown {what}{did_you_mean(str(item['loc'][-1]), _fields(item['loc'][:-1]), '')}"
    if item["type"] == "missing":
        return f"{place}: this key is missing"
    value = json.dumps(item["input"], default=str)
    value = value if len(value) <= 60 else value[:57] + "..."  # noqa: PLR2004 - one line on a terminal
    return f"{place}: {item['msg'].removeprefix('Value error, ')} (given: {value})"


def _place(location: tuple[Any, ...]) -> str:
    """Return a key path as ``pairs[2] -> cuda``; indices count from 1."""
    parts: list[str] = []
    for part in location:
        if isinstance(part, int) and parts:
            parts[-1] += f"[{part + 1}]"
        else:
            text = str(part)
            parts.append(f'"{text}"' if "=" in text else text)
    return " -> ".join(parts)


def _fields(location: tuple[Any, ...]) -> list[str]:
    """Return the keys of the table at a place."""
    model: type[BaseModel] | None = Matrix
    parts = iter(part for part in location if not isinstance(part, int))
    for part in parts:
        field = model.model_fields.get(str(part)) if model else None
        if field is None:
            return []
        if get_origin(field.annotation) is dict:
            next(parts, None)  # a name that the user chose, such as that of a profile
        model = _inner(field.annotation)
    return list(model.model_fields) if model else []


def _inner(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside ``tuple[Model, ...]``, ``dict[str, Model]`` or ``Model`` itself."""
    classes = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
    return next((part for part in classes if issubclass(part, BaseModel)), None)
