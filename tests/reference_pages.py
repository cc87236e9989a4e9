"""Writes the generated reference pages: ``python -m tests.reference_pages``. A test keeps them up to date."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from bench.cli.parser import commands, parser
from bench.plan import config
from bench.report.json import render as json_render
from bench.report.labels import STATUS_LABELS

ROOT = Path(__file__).parents[1]


def cli() -> str:
    """Every command with its help text, as the parser prints it in 80 columns."""
    os.environ["COLUMNS"] = "80"  # argparse wraps at the width of the terminal
    subparsers = _below(parser())
    text = (
        "# Command line\n\n`nox -s NAME -- OPTIONS` runs `python -m bench NAME OPTIONS`, with fewer\n"
        "[exit codes](exit-codes.md). `kernels`, `schema` and `local` have no nox session.\n"
    )
    for command in commands():
        text += f"\n## {command.name}\n\n"
        if command.name == "local":
            text += f"{command.summary} `python -m bench local -h` lists its options.\n"
            continue
        found = subparsers[command.name]
        for shown in (found, *_below(found).values()):
            text += f"```text\n{shown.format_help().rstrip()}\n```\n"
    return text


def _below(found: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser, or the actions of a command, by name."""
    nested = (action.choices for action in found._actions if isinstance(action, argparse._SubParsersAction))
    return next(nested, {})


def matrix_toml() -> str:
    """Every table and key of matrix.toml."""
    schema = json.loads(config.schema())
    text = "# matrix.toml\n\nThe comments in the shipped `matrix.toml` show each table in use.\n"
    for name, body in schema["properties"].items():
        text += _table(schema, name, _model(schema, body))
    return text


def _table(schema: dict[str, Any], name: str, model: dict[str, Any]) -> str:
    """A table of matrix.toml with its keys, and the tables inside of it."""
    text = f"\n## {name}\n\n{model.get('description', '')}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
    inner = ""
    for key, facts in model["properties"].items():
        required = key in model.get("required", ())
        default = "required" if required else _code(facts.get("default"))
        text += f"| `{key}` | {_type(facts)} | {default} | {facts.get('description', '')} |\n"
        found = _model(schema, facts)
        inner += _table(schema, f"{name}.{key}", found) if "properties" in found else ""
    return text + inner


def report_json() -> str:
    """The top-level fields of report.json."""
    schema = json.loads(json_render.schema())
    text = (
        "# report.json\n\nEverything that the page shows, for programs. `python -m bench schema --report` prints its\n"
        "JSON Schema, which is also `docs/report.schema.json`. The top-level fields are:\n\n"
        "| field | type | meaning |\n|---|---|---|\n"
    )
    for name, facts in schema["properties"].items():
        text += f"| `{name}` | {_type(facts)} | {' '.join(facts.get('description', '').split())} |\n"
    return text


def statuses() -> str:
    """Every status with its symbol and meaning."""
    text = "# Statuses\n\nOnly `reproducible` is green.\n\n| symbol | status | meaning |\n|---|---|---|\n"
    for word in STATUS_LABELS.values():
        text += f"| {word.symbol} | `{word.word}` | {word.meaning} |\n"
    return text


def _model(schema: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The object behind a property: itself, or that of its items or values."""
    for part in (body, body.get("items", {}), body.get("additionalProperties", {})):
        if isinstance(part, dict) and "$ref" in part:
            model: dict[str, Any] = schema["$defs"][part["$ref"].rsplit("/", 1)[-1]]
            return next((one for one in model.get("anyOf", ()) if "properties" in one), model)
    return body


def _type(facts: dict[str, Any]) -> str:
    if "$ref" in facts:
        return str(facts["$ref"]).rsplit("/", 1)[-1]
    parts = [facts, *facts.get("anyOf", ())]
    names = [str(part["type"]) for part in parts if "type" in part and part["type"] != "null"]
    return " or ".join(dict.fromkeys(names)) or "any"


def _code(value: Any) -> str:
    return "none" if value is None else f"`{json.dumps(value)}`"


PAGES = {
    "docs/reference/cli.md": cli,
    "docs/reference/matrix-toml.md": matrix_toml,
    "docs/reference/report-json.md": report_json,
    "docs/reference/statuses.md": statuses,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / name).write_text(page(), encoding="utf-8")
