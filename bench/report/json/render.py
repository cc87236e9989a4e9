"""Write the view model as report.json, and generate the JSON Schema of report.json from the same classes."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bench.report import view as models
from bench.report.formatting import clean
from bench.report.view import night

if TYPE_CHECKING:
    from pydantic import TypeAdapter

#: Significant digits of a measured number. Records have four; ratios and means of these get two more.
_DIGITS = 6


def render(view: models.View) -> str:
    """The view as one line of JSON in ASCII, without the fields that have their default."""
    return json.dumps(data(view), ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"


def data(value: Any) -> Any:
    """Any model of the view as plain dictionaries and lists, the way report.json contains it."""
    adapter = _adapter(type(value))  # type: ignore[arg-type] # mypy does not see that a class is hashable
    return _plain(adapter.dump_python(value, mode="json", by_alias=True, exclude_defaults=True))


def schema() -> str:
    """The JSON Schema (draft 2020-12) of report.json."""
    return _schema(models.View, f"urn:tfrepro:report:{models.SCHEMA}", "report.json of tfrepro")


def night_schema() -> str:
    """The JSON Schema (draft 2020-12) of nightly.json."""
    return _schema(night.NightView, f"urn:tfrepro:nightly:{night.SCHEMA}", "nightly.json of tfrepro")


def _schema(model: type[object], name: str, title: str) -> str:
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - slow to import
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue  # noqa: PLC0415

    class Closed(GenerateJsonSchema):
        """No keys besides the declared ones, and no titles that only repeat names."""

        def field_title_should_be_set(self, _: Any) -> bool:
            return False

        def dataclass_schema(self, schema: Any) -> JsonSchemaValue:
            return {**super().dataclass_schema(schema), "additionalProperties": False}

    # only the schema needs the texts below the fields, and reading them takes longer than the rest; pydantic takes the
    # option for what contains a data class
    adapter = TypeAdapter(list[model], config=ConfigDict(use_attribute_docstrings=True))  # type: ignore[valid-type]
    models_by_name = adapter.json_schema(schema_generator=Closed, mode="serialization")["$defs"]
    generated = {**models_by_name.pop(model.__name__), "$defs": models_by_name}
    head = {"$schema": Closed.schema_dialect, "$id": name, "title": title}
    return json.dumps({**generated, **head}, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def read_night(content: str | bytes) -> night.NightView | None:
    """Return the view in a nightly.json, None if it is not one, or of another version."""
    try:
        view: night.NightView = _adapter(night.NightView).validate_json(content)
    except ValueError:
        return None
    return view if view.schema == night.SCHEMA else None


@lru_cache(maxsize=8)
def _adapter(model: type[object]) -> TypeAdapter[Any]:
    """Return the serializer of a model."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - start-up stays quick without it

    return TypeAdapter(model)


def _plain(value: Any) -> Any:
    """Harmless text, numbers in few digits, and null for what is not finite."""
    if isinstance(value, dict):
        return {clean(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return clean(value, lines=True)
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
