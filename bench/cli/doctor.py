"""``doctor``: say whether this host can run the plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench import doctor
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.planning import make_plan
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse


def diagnose(options: argparse.Namespace) -> int:
    """Print what this host can measure, and what to do about the rest."""
    findings = doctor.examine(make_plan(options), options.engine, ROOT, options.reports.absolute())
    print(json.dumps(doctor.as_json(findings), indent=1) if options.json else doctor.text(findings))
    return findings.code


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    group = shared.add_environments(parser)
    group.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto (default), cpu, gpu (fail without one), all, or a UUID"
    )
    shared.add_engine(group)
    # The rest of a selection changes nothing about the host.
    parser.set_defaults(
        kernels=(),
        kernel_file=[],
        kernel_exclude=(),
        mode="both",
        variation=(),
        rounds=None,
        repetitions=None,
        timing_pairs=None,
        host_name="",
    )
    shared.add_reports(parser, "folder where runs would be written")
    parser.add_argument("--json", action="store_true", help="print JSON")


COMMAND = Command(
    name="doctor",
    summary="Check whether this host can run the matrix: engine, disk, memory, driver, GPUs and every column.",
    example="nox -s doctor",
    add_arguments=_add_arguments,
    run=diagnose,
)
