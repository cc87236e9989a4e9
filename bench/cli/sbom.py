"""``sbom``: write a CycloneDX document (software bill of materials) for each selected environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import errors, host
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.lock import one_column_per_environment
from bench.cli.planning import environments_plan
from bench.engines import docker_probe
from bench.engines.docker import DockerEngine
from bench.plan import sbom
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse

    from bench.plan.column import Column

_PYTHON = ("-c", "import platform; print(platform.python_version())")


def write(options: argparse.Namespace) -> int:
    """Write one document per environment, with what is known of its image where this host has it."""
    columns = one_column_per_environment(environments_plan(options).columns)
    probe = docker_probe.probe()
    engine = DockerEngine(ROOT, revision=host.revision(ROOT)) if probe.answers else None
    if engine is None:
        print(f"Images are not described: {probe.why}", file=sys.stderr)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for column in columns:
            image = image_facts(engine, column, options.out) if engine else {}
            document = sbom.document(column, image)
            target = options.out / f"{column.pair.stem}.cdx.json"
            target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            print(f"{target}: {len(document['components'])} components, {image.get('tag') or 'no image on this host'}")
    except OSError as error:
        raise errors.StorageError(f"{options.out} cannot be written: {error.strerror}") from error
    finally:
        if engine:
            engine.close()
    return errors.OK


def image_facts(engine: DockerEngine, column: Column, folder: Path) -> dict[str, str]:
    """Return what is known of the image of a column, with its Python version; empty if this host does not have it."""
    if not engine.cached(column):
        return {}
    log = folder / f"{column.pair.stem}.log"
    environment = engine.prepare(column, log, lambda _: None)
    python = engine.run_python(environment, column, _PYTHON, log)
    log.unlink(missing_ok=True)
    return {**environment.details, "python": python}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_environments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the documents")


COMMAND = Command(
    name="sbom",
    summary="Write a CycloneDX list of the packages of each selected environment and its image.",
    example="nox -s sbom -- --env 'tf2.18.1-cuda12.5' --out sbom",
    add_arguments=_add_arguments,
    run=write,
)
