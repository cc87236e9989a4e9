"""Read matrix.toml; every mistake becomes one sentence with file, key path and the nearest known name."""

from __future__ import annotations

import difflib
import json
import tomllib
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bench.errors import ConfigError
from bench.plan.config_models import Matrix

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path) -> Matrix:
    """The matrix of a file.

    Raises ConfigError where the file is missing, is no TOML, or says something the models refuse; all
    mistakes are listed at once.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror})"
        raise ConfigError(message, "Run it in the checkout, or name another file with --matrix.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is no valid TOML: {error}"
        raise ConfigError(message, "Mend that line; https://toml.io has the grammar.") from error
    try:
        # through JSON, for TOML's arrays and strict tuples meet only there
        return Matrix.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        lines = [f"{path}: {_sentence(item)}" for item in _causes(error)]
        raise ConfigError(
            "\n".join(lines), "The comments in the shipped matrix.toml say what each key means."
        ) from error


def schema() -> str:
    """The JSON Schema of matrix.toml, as shipped in matrix.schema.json."""
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Matrix.model_json_schema()}
    return json.dumps(body, indent=1, sort_keys=True) + "\n"


def _causes(error: ValidationError) -> list[Any]:
    """All mistakes, without lists that are too short only because a mistake inside them was left out."""
    found = error.errors(include_url=False)
    places = [item["loc"] for item in found]
    return [
        item
        for item in found
        if item["type"] != "too_short" or not any(place[: len(item["loc"])] == item["loc"] != place for place in places)
    ]


def _sentence(item: Any) -> str:
    place = _place(item["loc"])
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        near = difflib.get_close_matches(name, _fields(item["loc"][:-1]), 1, 0.6)
        what = "table" if isinstance(item["input"], (dict, list)) else "key"
        return f"{place}: unknown {what}" + (f"; did you mean {near[0]!r}?" if near else "")
    if item["type"] == "missing":
        return f"{place}: this key is missing"
    given = json.dumps(item["input"], default=str)
    given = given if len(given) <= 60 else given[:57] + "..."  # noqa: PLR2004 - one line on a terminal
    return f"{place}: {item['msg'].removeprefix('Value error, ')} (given: {given})"


def _place(location: tuple[Any, ...]) -> str:
    parts: list[str] = []
    for part in location:
        if isinstance(part, int) and parts:
            parts[-1] += f"[{part + 1}]"
        else:
            text = str(part)
            parts.append(f'"{text}"' if "=" in text else text)
    return " -> ".join(parts)


def _fields(location: tuple[Any, ...]) -> list[str]:
    """Names that the model at this place knows."""
    model: type[BaseModel] | None = Matrix
    parts = iter(part for part in location if not isinstance(part, int))
    for part in parts:
        field = model.model_fields.get(str(part)) if model else None
        if field is None:
            return []
        if get_origin(field.annotation) is dict:
            next(parts, None)  # a name of the user's own
        model = _inner(field.annotation)
    return list(model.model_fields) if model else []


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model inside ``tuple[Model, ...]``, ``dict[str, Model]`` or ``Model`` itself."""
    found = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
    return next((part for part in found if issubclass(part, BaseModel)), None)
