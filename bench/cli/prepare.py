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

from bench import bundle, errors, host
from bench.cli.matrix import make_plan
from bench.engines import clean, registry
from bench.engines.docker import DockerEngine
from bench.plan import config, locks
from bench.run import progress, runner
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse

    from bench.engines.base import Environment
    from bench.plan.column import Column, Pair
    from bench.run.progress import View

#: Resolutions at a time.
RESOLVERS = 4


def lock(options: argparse.Namespace) -> int:
    """``lock``: resolve every selected pair into its lock, or say with --check what newer releases there are."""
    columns = _pairs(make_plan(options, "any").columns)
    if options.check:
        return _check(columns)
    with ThreadPoolExecutor(RESOLVERS) as pool:
        made = [pool.submit(locks.make, column.pair, column.lock, upgrade=options.upgrade) for column in columns]
        for column, change in zip(columns, made, strict=True):
            word = "written" if change.result() else "unchanged"
            print(f"{column.lock.name}: {word}, {len(locks.pins(column.lock))} distributions")
    return errors.OK


def _check(columns: list[Column]) -> int:
    with ThreadPoolExecutor(RESOLVERS) as pool:
        newer = [pool.submit(locks.check, column.pair, column.lock) for column in columns]
        for column, found in zip(columns, newer, strict=True):
            print(f"{column.lock.name}: {'; '.join(found.result()) or 'nothing newer'}")
    return errors.OK


def _pairs(columns: tuple[Column, ...]) -> list[Column]:
    """One column for each pair that can be, on no GPU: several GPUs share a lock and an image, and neither needs one."""
    found: dict[Pair, Column] = {}
    for column in columns:
        if column.pair.refused:
            print(f"{column.pair.id}: skipped, {column.pair.refused}", file=sys.stderr)
        else:
            found.setdefault(column.pair, dataclasses.replace(column, gpu=""))
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class _Proof:
    """An image, and what the probe inside it found; ``trouble`` is "" where all libraries are as pinned."""

    column: Column
    environment: Environment | None
    opened: int
    asked: int
    trouble: str
    digest: str = ""


def images(options: argparse.Namespace) -> int:
    """``images``: build the images of the selected pairs, and prove without a GPU that each loads what it pins."""
    columns = _pairs(make_plan(options, "any" if options.env else options.device).columns)
    target = registry.normalized_name(options.push) if options.push else ""
    engine = DockerEngine(ROOT, registry=options.from_registry, revision=host.revision(ROOT))
    runner.check_space(*engine.disk_need(tuple(columns)), "images")
    with progress.view() as view, tempfile.TemporaryDirectory(prefix="tfrepro-images-") as folder:
        with ThreadPoolExecutor(runner.BUILDERS) as pool:
            logs = [Path(folder) / f"{column.pair.stem}.log" for column in columns]
            waiting = [
                pool.submit(_prove, engine, column, log, view) for column, log in zip(columns, logs, strict=True)
            ]
            proofs = [one.result() for one in waiting]
        if target:
            proofs = [_pushed(engine, proof, target, view) for proof in proofs]
    _print_proofs(proofs)
    return errors.ENGINE if any(proof.trouble for proof in proofs) else errors.OK


def _prove(engine: DockerEngine, column: Column, log: Path, view: View) -> _Proof:
    """Build or find an image and ask the probe inside; a failure costs its own image only."""
    try:
        environment = engine.prepare(column, log, lambda step: view.say(f"{column.pair.stem}: {step}"))
    except errors.BuildError as error:
        return _Proof(column=column, environment=None, opened=0, asked=0, trouble=f"{error} {error.hint}".strip())
    try:
        found = json.loads(engine.examine(environment, column, log))
    except (errors.EngineError, ValueError) as error:
        trouble = f"the probe inside gave no answer: {error}"
        return _Proof(column=column, environment=environment, opened=0, asked=0, trouble=trouble)
    troubles = [f"{name}: {why}" for name, why in found["missing"].items()] + found["problems"]
    opened = len(found["libraries"])
    return _Proof(
        column=column, environment=environment, opened=opened, asked=opened + len(found["missing"]),
        trouble="; ".join(troubles),
    )  # fmt: skip


def _pushed(engine: DockerEngine, proof: _Proof, target: str, view: View) -> _Proof:
    """Hand an image on; one that is in trouble stays here, and one that cannot be pushed stops no other."""
    if proof.trouble:
        return proof
    view.say(f"{proof.column.pair.stem}: pushing to {target}")
    try:
        return dataclasses.replace(proof, digest=engine.push(proof.column, target))
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
        rows.append([proof.column.pair.stem, took, size, libraries, digest, proof.trouble or "as pinned"])
    headers = ["image", "made", "size", "libraries", "digest", "probe"]
    print(tabulate(rows, headers=headers, maxcolwidths=[None, None, None, None, 28, 60]))


def pack(options: argparse.Namespace) -> int:
    """``bundle``: pack a pair, with all it needs, for a host without network or engine."""
    order = bundle.Order(
        matrix=config.load(options.matrix), pair=options.pair, out=options.out, root=ROOT, engine=options.engine,
        split=bundle.size(options.split), python=options.python, profile=options.profile,
    )  # fmt: skip
    with progress.view() as view:
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
