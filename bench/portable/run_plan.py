"""Run a bundle's plan: ``python -m bench.portable.run_plan PLAN --out DIR``, started by ``bundle_start.py``.

PLAN is JSON: ``run`` (run.json without id, times and host), ``requests`` (the rounds) and ``where`` (the engine; for
``venv`` its environment variables and program folders, ``{site}`` being its site-packages, for ``docker`` its image).
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

from bench.portable import host_facts, overrides
from bench.portable.archive import pack
from bench.portable.digest_summary import digest_summary
from bench.portable.errors import CONFIG, INTERRUPTED, NO_GPU, NOTHING, PortableError
from bench.portable.launcher import (
    Container,
    Launcher,
    Local,
    command_output,
    driver_folders,
    gpu_options,
    venv_environment,
)
from bench.portable.overrides import Overrides
from bench.portable.plan_runner import Job, print_progress, run_rounds
from bench.portable.run_folder import read_records
from bench.suite.provenance import cores
from bench.suite.record import Request
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    from bench.portable.host_facts import Gpu, GpuInventory

_NO_OVERRIDES = Overrides()


def main(arguments: list[str]) -> int:
    """Run a plan, pack its records, and print the archive's path; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        plan = json.loads(options.plan.read_text(encoding="utf-8"))
        job = make_job(plan, options.out, options.gpu, overrides.from_options(options))
        if options.dry:
            job = dataclasses.replace(job, requests=job.requests[:1])
        folder = run_rounds(job)
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        column = info["columns"][0]
        archive = pack(folder, options.out, column["id"])
    except PortableError as error:
        print_progress(f"error: {error}\n\nhint: {error.hint}" if error.hint else f"error: {error}")
        return error.code
    except KeyboardInterrupt:
        print_progress("\ninterrupted: finished rounds are kept; run the same command again to resume")
        return INTERRUPTED
    sys.stdout.write(f"{archive}\n")
    if column["status"] == "gpu-not-visible":
        print_progress(f"gpu-not-visible: {column['id']} was not measured: {column['reason']}.")
        print_progress("The records archive contains this reason and can be imported.")
        return NO_GPU
    controls = {kernel["name"] for kernel in info["kernels"] if kernel["control"]}
    summary = digest_summary(read_records(folder), controls, archive)
    print_progress(summary or "Nothing was measured: no kernel produced a sample. The logs in the archive may say why.")
    return 0 if summary else NOTHING


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.portable.run_plan", description="Run the rounds of a bundle.")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for the run and the records archive")
    parser.add_argument("--gpu", default="", metavar="UUID", help="the GPU to measure (default: the first)")
    parser.add_argument("--dry", action="store_true", help="run one round only, as a test of the environment")
    overrides.add_options(parser)
    return parser


def make_job(plan: dict[str, Any], out: Path, uuid: str = "", changes: Overrides = _NO_OVERRIDES) -> Job:
    """Return the job of a plan on this host, completed with the host's facts, its GPU and where rounds run.

    ``uuid`` is the GPU to measure ("": the first). Raises PortableError where the plan cannot run here.
    """
    inventory = host_facts.gpu_inventory()
    planned = [Request.from_json(json.dumps(request)) for request in plan["requests"]]
    run, requests = overrides.apply(plan["run"], planned, changes)
    needed = run["columns"][0]["device"] != "cpu"
    gpu = _gpu(inventory, uuid) if needed else None
    missing = "" if gpu or not needed else inventory.why or "this host shows no GPU"
    where = plan["where"]
    launcher, identity = _container(where, gpu) if where["engine"] == "docker" else _local(where, gpu)
    run = {**run, "host": host_facts.facts(inventory)}
    if gpu:
        run, requests = _with_gpu(gpu, inventory, run, requests)
    context = {"host": run["host"]["name"], "environment": identity}
    details = {**where.get("details", {}), "identity": identity}
    if where["engine"] == "venv":
        details["interpreter"] = identity.partition("/")[2]
    run["columns"] = [{**column, "environment": {**column["environment"], **details}} for column in run["columns"]]
    rounds = tuple(
        dataclasses.replace(request, context={**request.context, **context}, threads=_threads(request))
        for request in requests
    )
    return Job(run=run, requests=rounds, launcher=launcher, out=out, no_gpu=missing)


def _threads(request: Request) -> int | None:
    """Return the threads of a request; the cores of ``threads=4xcores`` are those of this host."""
    factor, times, _ = request.variation.partition("=")[2].partition("xcores")
    return int(factor) * cores() if times and request.threads is not None else request.threads


def _gpu(inventory: GpuInventory, uuid: str) -> Gpu | None:
    """Return the GPU with this UUID ("": the first). Raises PortableError where there is none with this UUID."""
    if not uuid:
        return inventory.gpus[0] if inventory.gpus else None
    gpu = next((gpu for gpu in inventory.gpus if gpu.uuid == uuid), None)
    if gpu is None:
        available = ", ".join(f"{gpu.uuid} ({gpu.name})" for gpu in inventory.gpus) or inventory.why
        raise PortableError(f"This host has no GPU {uuid}.", f"Available: {available}", CONFIG)
    return gpu


def _with_gpu(
    gpu: Gpu, inventory: GpuInventory, run: dict[str, Any], requests: list[Request]
) -> tuple[dict[str, Any], list[Request]]:
    """Name the column after its GPU, which was not known when the plan was made."""
    columns = []
    for column in run["columns"]:
        name = f"{column['id'].rpartition('@')[0]}@{gpu.slug}"
        columns.append({**column, "id": name, "device": gpu.slug, "gpu": gpu.uuid})
    known = inventory.request_facts(gpu)
    rounds = [dataclasses.replace(request, column=columns[0]["id"], gpu=known) for request in requests]
    return {**run, "columns": columns}, rounds


def _local(where: dict[str, Any], gpu: Gpu | None) -> tuple[Launcher, str]:
    """Return a launcher for this interpreter, which is that of the bundle's virtual environment, and its identity."""
    site = Path(sysconfig.get_path("purelib"))
    extra = {name: value.replace("{site}", str(site)) for name, value in where["env"].items()}
    if gpu:
        extra["CUDA_VISIBLE_DEVICES"] = gpu.uuid
        extra["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [extra.get("LD_LIBRARY_PATH"), *driver_folders()]))
    programs = [folder.replace("{site}", str(site)) for folder in where["programs"]]
    environment = venv_environment(Path(sys.executable), programs, extra)
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return Local(sys.executable, ROOT, environment), f"{where['lock_hash']}/{version}"


def _container(where: dict[str, Any], gpu: Gpu | None) -> tuple[Launcher, str]:
    """Return a launcher for containers of the bundle's image, and its identity."""
    cli = shutil.which("docker")
    if cli is None:
        raise PortableError("There is no docker command on this host.", "Make the bundle with --engine venv.")
    code, output = command_output([cli, "image", "inspect", "--format", "{{.Id}}", where["image"]])
    if code != 0:
        raise PortableError(
            f"Docker does not have the image of the bundle: {output}", "Start run-bundle.sh again: it loads the image."
        )
    options = gpu_options(cli, where["image"], gpu.uuid) if gpu else ()
    return Container(cli, where["image"], options), where["image"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
