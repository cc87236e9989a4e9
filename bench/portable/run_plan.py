"""Play a bundle's plan: ``python -m bench.portable.run_plan PLAN --out DIR``; ``bundle_start.py`` of the bundle calls it.

PLAN is JSON: ``run`` (run.json but for id, times and host), ``requests`` (the rounds) and ``where`` (the engine; for
``venv`` its variables and folders of programs, with ``{site}`` for its site-packages, for ``docker`` its image).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.portable import host_facts
from bench.portable.archive import pack
from bench.portable.errors import CONFIG, NO_GPU, PortableError
from bench.portable.launcher import Container, Launcher, Local, ask, bare, driver_folders, gpu_options
from bench.portable.overrides import Wanted, add_options, narrowed, wanted
from bench.portable.plan_runner import Job, play, tell
from bench.suite.provenance import cores
from bench.suite.record import Request
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    from bench.portable.host_facts import Gpu, GpuInventory

_ALL = Wanted()


def main(arguments: list[str]) -> int:
    """Play a plan and pack its records; prints the archive's path. 5 where the GPU it needs was not seen."""
    options = _parser().parse_args(arguments)
    try:
        plan = json.loads(options.plan.read_text(encoding="utf-8"))
        job = made(plan, options.out, options.gpu, wanted(options))
        if options.dry:
            job = dataclasses.replace(job, requests=job.requests[:1])
        folder = play(job)
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        column = info["columns"][0]
        archive = pack(folder, options.out, column["id"])
    except PortableError as error:
        tell(f"error: {error}\n\nhint: {error.hint}" if error.hint else f"error: {error}")
        return error.code
    except KeyboardInterrupt:
        tell("\ninterrupted: finished rounds are kept, and the same command goes on from there")
        return 130
    sys.stdout.write(f"{archive}\n")
    if column["status"] == "gpu-not-visible":
        tell(f"no-gpu: {column['id']} was not measured: {column['reason']}. The records archive says so too.")
        return NO_GPU
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.portable.run_plan", description="Play the rounds of a bundle.")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where run and archive go")
    parser.add_argument("--gpu", default="", metavar="UUID", help="the GPU to measure (default: the first)")
    parser.add_argument("--dry", action="store_true", help="one round only: whether the column is what was asked")
    add_options(parser)
    return parser


def made(plan: dict[str, Any], out: Path, uuid: str = "", want: Wanted = _ALL) -> Job:
    """The job of a plan on this host: its GPU, its facts, and where its rounds run."""
    survey = host_facts.survey()
    run, requests = narrowed(plan["run"], [Request.from_json(json.dumps(one)) for one in plan["requests"]], want)
    needed = run["columns"][0]["device"] != "cpu"
    gpu = _gpu(survey, uuid) if needed else None
    missing = "" if gpu or not needed else survey.why or "this host shows no GPU"
    where = plan["where"]
    launcher, identity = _container(where, gpu) if where["engine"] == "docker" else _local(where, gpu)
    run = {**run, "host": host_facts.facts(survey)}
    if gpu:
        run, requests = _on(gpu, survey, run, requests)
    context = {"host": run["host"]["name"], "environment": identity}
    details = {**where.get("details", {}), "identity": identity}
    if where["engine"] == "venv":
        details["interpreter"] = identity.partition("/")[2]
    run["columns"] = [{**column, "environment": {**column["environment"], **details}} for column in run["columns"]]
    rounds = tuple(
        dataclasses.replace(one, context={**one.context, **context}, threads=_threads(one)) for one in requests
    )
    return Job(run=run, requests=rounds, launcher=launcher, out=out, no_gpu=missing)


def _threads(request: Request) -> int | None:
    """``threads=4xcores`` counts the cores of the host that measures, not of the one that planned."""
    factor, times, _ = request.variation.partition("=")[2].partition("xcores")
    return int(factor) * cores() if times and request.threads is not None else request.threads


def _gpu(survey: GpuInventory, wanted: str) -> Gpu | None:
    """The GPU asked for, else the first. Raises PortableError where the one asked for is not here."""
    if not wanted:
        return survey.gpus[0] if survey.gpus else None
    found = next((gpu for gpu in survey.gpus if gpu.uuid == wanted), None)
    if found is None:
        there = ", ".join(f"{gpu.uuid} ({gpu.name})" for gpu in survey.gpus) or survey.why
        raise PortableError(f"There is no GPU {wanted} here.", f"There are: {there}", CONFIG)
    return found


def _on(
    gpu: Gpu, survey: GpuInventory, run: dict[str, Any], requests: list[Request]
) -> tuple[dict[str, Any], list[Request]]:
    """The plan was made without knowing the GPU: its column gets its name now."""
    columns = []
    for column in run["columns"]:
        name = f"{column['id'].rpartition('@')[0]}@{gpu.slug}"
        columns.append({**column, "id": name, "device": gpu.slug, "gpu": gpu.uuid})
    told = survey.told(gpu)
    rounds = [dataclasses.replace(one, column=columns[0]["id"], gpu=told) for one in requests]
    return {**run, "columns": columns}, rounds


def _local(where: dict[str, Any], gpu: Gpu | None) -> tuple[Launcher, str]:
    """Rounds in the interpreter that runs this: the bundle's own virtual environment."""
    site = Path(sysconfig.get_path("purelib"))
    extra = {name: value.replace("{site}", str(site)) for name, value in where["env"].items()}
    if gpu:
        extra["CUDA_VISIBLE_DEVICES"] = gpu.uuid
        extra["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [extra.get("LD_LIBRARY_PATH"), *driver_folders()]))
    programs = [folder.replace("{site}", str(site)) for folder in where["programs"]]
    environment = bare(Path(sys.executable), programs, extra)
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return Local(sys.executable, ROOT, environment), f"{where['lock_hash']}/{version}"


def _container(where: dict[str, Any], gpu: Gpu | None) -> tuple[Launcher, str]:
    cli = shutil.which("docker")
    if cli is None:
        raise PortableError("There is no docker command on this host.", "Make the bundle with --engine venv.")
    code, words = ask([cli, "image", "inspect", "--format", "{{.Id}}", where["image"]])
    if code != 0:
        raise PortableError(f"Docker does not have the image of the bundle: {words}", "Start run-bundle.sh again.")
    options = gpu_options(cli, where["image"], gpu.uuid) if gpu else ()
    return Container(cli, where["image"], options), where["image"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
