"""Run a bundle's plan: ``python -m bench.portable.run_plan PLAN --out DIR``, started by ``bundle_start.py``.

PLAN is JSON: ``run`` (run.json without id, times and host), ``requests`` (the rounds), ``pairs`` (the timing pairs, as
``PairPlan``) and ``where`` (the engine; for
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

from bench.portable import confine, host_facts, overrides
from bench.portable.archive import pack
from bench.portable.digest_summary import digest_summary
from bench.portable.errors import CONFIG, INTERRUPTED, NO_GPU, NOTHING, PortableError
from bench.portable.launcher import (
    Container,
    Launcher,
    Local,
    Store,
    command_output,
    driver_folders,
    gpu_options,
    venv_environment,
)
from bench.portable.overrides import Overrides
from bench.portable.paired_timing import PairPlan
from bench.portable.plan_runner import Job, print_progress, run_rounds
from bench.portable.run_folder import read_records
from bench.portable.terminate import interrupt_on_signals
from bench.suite.kernel_files import STORE_VARIABLE, stored_sources
from bench.suite.record import Request
from bench.suite.suite_hash import ROOT
from bench.suite.variation import settings

if TYPE_CHECKING:
    from bench.portable.host_facts import Gpu, GpuInventory

_NO_OVERRIDES = Overrides()


def main(arguments: list[str]) -> int:
    """Run a plan, pack its records, and print the archive's path; returns the exit code."""
    options = _parser().parse_args(arguments)
    interrupt_on_signals()
    try:
        plan = json.loads(options.plan.read_text(encoding="utf-8"))
        store = options.plan.absolute().parent / "kernel-files"
        job = make_job(plan, options.out, options.gpu, overrides.from_options(options), store, options.host_name)
        if options.dry:
            job = dataclasses.replace(job, requests=job.requests[:1], pairs=())
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
    parser.add_argument(
        "--host-name", type=overrides.host_name, default="", metavar="NAME", help="name of this host in columns"
    )
    parser.add_argument("--dry", action="store_true", help="run one round only, as a test of the environment")
    overrides.add_options(parser)
    return parser


def make_job(
    plan: dict[str, Any],
    out: Path,
    uuid: str = "",
    changes: Overrides = _NO_OVERRIDES,
    store: Path | None = None,
    host: str = "",
) -> Job:
    """Return the job of a plan on this host, completed with the host's facts, its GPU and where rounds run.

    ``uuid`` is the GPU to measure ("": the first), ``store`` the folder with the bundle's custom kernel files, ``host``
    the name of this host in its column. Raises PortableError where the plan cannot run here.
    """
    inventory = host_facts.gpu_inventory()
    planned = [Request.from_json(json.dumps(request)) for request in plan["requests"]]
    run, requests = overrides.apply(plan["run"], planned, changes)
    pairs = overrides.apply_to_pairs(run, [PairPlan.from_json(fields) for fields in plan["pairs"]], changes)
    needed = run["columns"][0]["device"] != "cpu"
    gpu = _gpu(inventory, uuid) if needed else None
    missing = "" if gpu or not needed else inventory.why or "this host shows no GPU"
    where = plan["where"]
    sources = stored_sources(store) if store and store.is_dir() else []
    files = Store(store, tuple(source.hash for source in sources)) if store and sources else None
    launcher, identity = _container(where, gpu, files) if where["engine"] == "docker" else _local(where, gpu, files)
    run = {**run, "host": host_facts.facts(inventory)}
    if where["engine"] == "venv":
        run["engine_facts"] = {"restrictions": confine.restrictions()}
    known: dict[str, Any] = {}  # fields of requests that were not known when the plan was made
    if gpu:
        run = _with_gpu(gpu, run)
        known = {"gpu": inventory.request_facts(gpu)}
    if host:
        run["columns"] = [{**column, "id": f"{column['id']}-{host}", "host": host} for column in run["columns"]]
    known["column"] = run["columns"][0]["id"]
    context = {"host": run["host"]["name"], "environment": identity}
    run["columns"] = [_with_environment(column, where, identity) for column in run["columns"]]
    timed = [
        dataclasses.replace(pair, requests={side: _here(one, known, context) for side, one in pair.requests.items()})
        for pair in pairs
    ]
    return Job(
        run=run, requests=tuple(_here(one, known, context) for one in requests), pairs=tuple(timed), launcher=launcher,
        out=out, no_gpu=missing, sources=tuple(sources),
    )  # fmt: skip


def _here(request: Request, known: dict[str, Any], context: dict[str, str]) -> Request:
    """Return a request with what is known on this host: fields, context, and the cores of ``threads=4xcores``."""
    meant = settings(request.variation)
    changed = {**known, "context": {**request.context, **context}, "threads": meant.threads, "inter": meant.inter}
    return dataclasses.replace(request, **changed)


def _with_environment(column: dict[str, Any], where: dict[str, Any], identity: str) -> dict[str, Any]:
    """Return a column with what is known of its environment on this host."""
    details = {**where.get("details", {}), "identity": identity}
    if where["engine"] == "venv":
        details["interpreter"] = identity.partition("/")[2]
    return {**column, "environment": {**column["environment"], **details}}


def _gpu(inventory: GpuInventory, uuid: str) -> Gpu | None:
    """Return the GPU with this UUID ("": the first). Raises PortableError where there is none with this UUID."""
    if not uuid:
        return inventory.gpus[0] if inventory.gpus else None
    gpu = next((gpu for gpu in inventory.gpus if gpu.uuid == uuid), None)
    if gpu is None:
        available = ", ".join(f"{gpu.uuid} ({gpu.name})" for gpu in inventory.gpus) or inventory.why
        raise PortableError(f"This host has no GPU {uuid}.", f"Available: {available}", CONFIG)
    return gpu


def _with_gpu(gpu: Gpu, run: dict[str, Any]) -> dict[str, Any]:
    """Return run.json with the column named after its GPU, which was not known when the plan was made."""
    columns = []
    for column in run["columns"]:
        name = f"{column['id'].rpartition('@')[0]}@{gpu.slug}"
        columns.append({**column, "id": name, "device": gpu.slug, "gpu": gpu.uuid})
    return {**run, "columns": columns}


def _local(where: dict[str, Any], gpu: Gpu | None, files: Store | None) -> tuple[Launcher, str]:
    """Return a launcher for this interpreter, which is that of the bundle's virtual environment, and its identity."""
    site = Path(sysconfig.get_path("purelib"))
    extra = {name: value.replace("{site}", str(site)) for name, value in where["env"].items()}
    if files:
        extra[STORE_VARIABLE] = str(files.folder)
    if gpu:
        extra["CUDA_VISIBLE_DEVICES"] = gpu.uuid
        extra["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [extra.get("LD_LIBRARY_PATH"), *driver_folders()]))
    programs = [folder.replace("{site}", str(site)) for folder in where["programs"]]
    environment = venv_environment(Path(sys.executable), programs, extra)
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return Local(sys.executable, ROOT, environment), f"{where['lock_hash']}/{version}"


def _container(where: dict[str, Any], gpu: Gpu | None, files: Store | None) -> tuple[Launcher, str]:
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
    return Container(cli, where["image"], options, files), where["image"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
