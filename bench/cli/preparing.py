"""Commands that prepare: locks, images, bundles for hosts without network, and cleaning up after all of them."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench import bundle, console, errors, host, runner
from bench.cli.measuring import make_plan
from bench.engines import clean, registry
from bench.engines.docker import DockerEngine
from bench.plan import load, locks
from bench.suite.identity import HOUSE

if TYPE_CHECKING:
    import argparse

    from bench.console import View
    from bench.engines.base import Environment
    from bench.plan.cell import Cell, Pair

#: Resolutions at a time.
RESOLVERS = 4


def lock(options: argparse.Namespace) -> int:
    """``lock``: resolve every selected pair into its lock, or say with --check what newer releases there are."""
    cells = _pairs(make_plan(options, "any").cells)
    if options.check:
        return _check(cells)
    with ThreadPoolExecutor(RESOLVERS) as pool:
        made = [pool.submit(locks.make, cell.pair, cell.lock, upgrade=options.upgrade) for cell in cells]
        for cell, change in zip(cells, made, strict=True):
            word = "written" if change.result() else "unchanged"
            print(f"{cell.lock.name}: {word}, {len(locks.pins(cell.lock))} distributions")
    return errors.OK


def _check(cells: list[Cell]) -> int:
    with ThreadPoolExecutor(RESOLVERS) as pool:
        newer = [pool.submit(locks.check, cell.pair, cell.lock) for cell in cells]
        for cell, found in zip(cells, newer, strict=True):
            print(f"{cell.lock.name}: {'; '.join(found.result()) or 'nothing newer'}")
    return errors.OK


def _pairs(cells: tuple[Cell, ...]) -> list[Cell]:
    """One cell for each pair that can be, on no GPU: several GPUs share a lock and an image, and neither needs one."""
    found: dict[Pair, Cell] = {}
    for cell in cells:
        if cell.pair.refused:
            print(f"{cell.pair.id}: skipped, {cell.pair.refused}", file=sys.stderr)
        else:
            found.setdefault(cell.pair, dataclasses.replace(cell, gpu=""))
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class _Proof:
    """An image, and what the probe inside it found; ``trouble`` is "" where all libraries are as pinned."""

    cell: Cell
    environment: Environment | None
    opened: int
    asked: int
    trouble: str
    digest: str = ""


def images(options: argparse.Namespace) -> int:
    """``images``: build the images of the selected pairs, and prove without a GPU that each loads what it pins."""
    cells = _pairs(make_plan(options, "any" if options.only else options.device).cells)
    target = registry.named(options.push) if options.push else ""
    engine = DockerEngine(HOUSE, registry=options.from_registry, revision=host.revision(HOUSE))
    runner.check_space(*engine.disk_need(tuple(cells)), "images")
    with console.view() as view, tempfile.TemporaryDirectory(prefix="tfrepro-images-") as folder:
        with ThreadPoolExecutor(runner.BUILDERS) as pool:
            logs = [Path(folder) / f"{cell.pair.stem}.log" for cell in cells]
            waiting = [pool.submit(_prove, engine, cell, log, view) for cell, log in zip(cells, logs, strict=True)]
            proofs = [one.result() for one in waiting]
        if target:
            proofs = [_pushed(engine, proof, target, view) for proof in proofs]
    _print_proofs(proofs)
    return errors.ENGINE if any(proof.trouble for proof in proofs) else errors.OK


def _prove(engine: DockerEngine, cell: Cell, log: Path, view: View) -> _Proof:
    """Build or find an image and ask the probe inside; a failure costs its own image only."""
    try:
        environment = engine.prepare(cell, log, lambda step: view.say(f"{cell.pair.stem}: {step}"))
    except errors.BuildError as error:
        return _Proof(cell=cell, environment=None, opened=0, asked=0, trouble=f"{error} {error.hint}".strip())
    try:
        found = json.loads(engine.examine(environment, cell, log))
    except (errors.EngineError, ValueError) as error:
        trouble = f"the probe inside gave no answer: {error}"
        return _Proof(cell=cell, environment=environment, opened=0, asked=0, trouble=trouble)
    troubles = [f"{name}: {why}" for name, why in found["missing"].items()] + found["problems"]
    opened = len(found["libraries"])
    return _Proof(
        cell=cell, environment=environment, opened=opened, asked=opened + len(found["missing"]),
        trouble="; ".join(troubles),
    )  # fmt: skip


def _pushed(engine: DockerEngine, proof: _Proof, target: str, view: View) -> _Proof:
    """Hand an image on; one that is in trouble stays here, and one that cannot be pushed stops no other."""
    if proof.trouble:
        return proof
    view.say(f"{proof.cell.pair.stem}: pushing to {target}")
    try:
        return dataclasses.replace(proof, digest=engine.push(proof.cell, target))
    except errors.EngineError as error:
        return dataclasses.replace(proof, trouble=f"{error} {error.hint}".strip())


def _print_proofs(proofs: list[_Proof]) -> None:
    rows = []
    for proof in proofs:
        made = proof.environment
        size = f"{int(made.details['bytes']) / 1e9:.1f} GB" if made else ""
        took = f"{'found' if made.reused else 'built'} in {made.seconds:.0f} s" if made else "build failed"
        digest = proof.digest or (made.details.get("digest", "") if made else "")
        libraries = f"{proof.opened} of {proof.asked} open" if proof.asked else "CPU"
        rows.append([proof.cell.pair.stem, took, size, libraries, digest, proof.trouble or "as pinned"])
    headers = ["image", "made", "size", "libraries", "digest", "probe"]
    print(tabulate(rows, headers=headers, maxcolwidths=[None, None, None, None, 28, 60]))


def pack(options: argparse.Namespace) -> int:
    """``bundle``: pack a pair, with all it needs, for a host without network or engine."""
    order = bundle.Order(
        matrix=load.load(options.matrix), pair=options.pair, out=options.out, house=HOUSE, engine=options.engine,
        split=bundle.size(options.split), python=options.python, profile=options.profile,
    )  # fmt: skip
    with console.view() as view:
        made = bundle.make(order, view.say)
    print(f"{made.folder}: {made.parts} parts, {made.bytes / 1e9:.2f} GB, in {made.seconds:.0f} s")
    print(f"manifest SHA-256 {made.manifest}")
    print("carry the folder there, run ./run-bundle.sh, and bring its archive back: nox -s import -- FILE")
    return errors.OK


def clean_up(options: argparse.Namespace) -> int:
    """``clean``: remove what this project made on this host, and nothing else."""
    for line in clean.clean(dry=options.dry_run, everything=options.all):
        print(line)
    return errors.OK
