"""Nox sessions: they install what they need and call ``python -m bench``, which has all the logic."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import nox

if TYPE_CHECKING:
    from collections.abc import Callable

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typecheck", "tests"]

#: Seconds that a command has to remove its containers after Ctrl-C before nox kills it.
GRACE_S = 30.0
#: Processes that run tests: more than cores, because some tests wait for a cluster, hosts or Docker most of the time.
WORKERS = str((os.cpu_count() or 1) + 1)
PYPROJECT = nox.project.load_toml("pyproject.toml")

#: Sessions that pass their options on to the command of the same name, with the text of ``nox -l``.
COMMANDS = {
    "matrix": "Measure the matrix and write reports/index.html; options follow --, -- -h lists them.",
    "nightly": "Measure a night within --budget TIME, compare it with the earlier nights, and raise alarms.",
    "history": "Show all runs together: -- show KERNEL, runs, note, accept, export, rebuild.",
    "bisect": "Find the environment in which a kernel changed: -- KERNEL FROM TO.",
    "fleet": "Show, collect, cancel or retry a matrix on Slurm or ssh hosts: -- status, collect, cancel, retry.",
    "plan": "List the columns that would be measured, without running anything.",
    "doctor": "Check whether this host can run the matrix: engine, disk, driver, GPUs and every column.",
    "choose": "Rank the pairs for what you need: -- --gpu sm_90 --families conv,scatter --max-overhead 1.15.",
    "compare": "Show what changes from one column or run to another: -- A B.",
    "reproduce": "Measure one kernel of one column again: -- COLUMN KERNEL SPEC, as the page shows it.",
    "diff": "Show where two samples of one kernel differ: -- COLUMN KERNEL.",
    "report": "Write the pages again from the records of a run: -- RUN (default: the newest).",
    "images": "Build the images and verify that their libraries load; -- --push REGISTRY shares them.",
    "bundle": "Pack one environment for a host without a network: -- --env tf2.18.1-cuda12.5 --out DIR.",
    "import": "Verify and evaluate a records archive from another host: -- FILE.",
    "export": "Copy a complete run to a folder to keep (default: reports/sample): -- RUN --to DIR.",
    "lock": "Write the hash locks of all environments; -- --check lists newer patch releases.",
    "sbom": "Write a CycloneDX list of the packages of each environment and image: -- --out DIR.",
    "clean": "Remove the images, containers and environments that this project created, and nothing else.",
}

#: Exit codes that do not fail a session: ``choose`` exits with 1 when its answer is that no pair fits.
SUCCESS_CODES = {"choose": [0, 1]}


def groups(session: nox.Session, *names: str) -> None:
    """Install the package and dependency groups of pyproject.toml."""
    session.install("-e", ".", *nox.project.dependency_groups(PYPROJECT, *names))


def install_package(session: nox.Session) -> None:
    """Install the package, editable, unless the session's environment has it from this pyproject.toml and folder."""
    if session.bin_paths is None:  # --no-venv: nox refuses to install there and says why
        session.install("-e", ".")
        return
    record = Path(session.bin, "tfrepro-installed")
    wanted = hashlib.sha256(f"{Path.cwd()}\n{Path('pyproject.toml').read_text(encoding='utf-8')}".encode()).hexdigest()
    if record.is_file() and record.read_text(encoding="utf-8") == wanted:
        return
    record.unlink(missing_ok=True)
    session.install("-e", ".")
    record.write_text(wanted, encoding="utf-8")


def passing_options(command: str, text: str) -> Callable[[nox.Session], None]:
    """Return a session that installs the package and runs one of its commands."""

    def bench(session: nox.Session) -> None:
        install_package(session)
        session.run(
            *("python", "-m", "bench", command, *session.posargs),
            success_codes=SUCCESS_CODES.get(command, [0]),
            interrupt_timeout=GRACE_S,
            terminate_timeout=GRACE_S,
        )

    bench.__doc__ = text
    return bench


for name, text in COMMANDS.items():
    nox.session(name=name)(passing_options(name, text))


@nox.session(name="base-image", python=False)
def base_image(session: nox.Session) -> None:
    """Make the base image of the Docker engine without a registry (needs root and debootstrap)."""
    session.run("bash", "docker/base/make.sh", *session.posargs, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, in parallel where they use no Docker; what this host cannot run is skipped with the reason."""
    groups(session, "test")
    of_page = sorted(map(str, Path("tests/integration").glob("test_page*.py")))
    # "worksteal" gives each process neighbouring tests, which share what they have read and measured
    first = ["tests/unit", "tests/faults", "tests/fuzz", *of_page, "--dist", "worksteal", "-n", WORKERS]
    second = ["tests/integration", "-m", "not browser", "--dist", "loadfile", "-n", WORKERS]
    for arguments in [session.posargs] if session.posargs else [first, second]:
        session.run("python", "-m", "pytest", *arguments, interrupt_timeout=GRACE_S)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Give readers of files, and commands that only read, 1,000 odd inputs each; property tests try new examples."""
    groups(session, "test")
    paths = session.posargs or ["tests/fuzz", "tests/unit"]
    run = ("python", "-m", "pytest", "-n", "auto", "-m", "hypothesis", *paths)
    session.run(*run, env={"TFREPRO_FUZZ": "1000"}, interrupt_timeout=GRACE_S)


@nox.session
def faults(session: nox.Session) -> None:
    """Run the tests that make something go wrong, and write the table in docs/reference/faults.md."""
    groups(session, "test")
    options = ["tests", "-m", "fault", "--dist", "loadfile", "-n", WORKERS]
    table = "--faults=docs/reference/faults.md"
    session.run("python", "-m", "pytest", *options, table, *session.posargs, interrupt_timeout=GRACE_S)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the unit tests, and fail if they execute too few lines and branches of what runs on the host."""
    groups(session, "test")
    session.run("python", "-m", "pytest", "tests/unit", "-n", "auto", "--cov", interrupt_timeout=GRACE_S)


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff: rules and format."""
    groups(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Run mypy in strict mode over the package, the tests and this file."""
    groups(session, "typecheck")
    session.run("mypy")


@nox.session
def audit(session: nox.Session) -> None:
    """Search the host's dependencies for known vulnerabilities; fails if the advisory database does not answer."""
    groups(session, "audit")
    run_module(session, "tests.audit")


@nox.session(name="self-benchmark")
def bench_self(session: nox.Session) -> None:
    """Measure what the tool itself costs here; -- --history measures three years, -- --fleet 10,000 cells."""
    groups(session, "test")
    run_module(session, "tests.benchmark", history="tests.history_benchmark", fleet="tests.fleet_benchmark")


@nox.session
def simulation(session: nox.Session) -> None:
    """Simulate power and false alarms of verdicts; -- --timing [RUN] those of overheads, -- --history of nights."""
    groups(session, "test")
    run_module(session, "tests.simulation", timing="tests.timing_simulation", history="tests.history_simulation")


def run_module(session: nox.Session, module: str, **others: str) -> None:
    """Run a module with the options of a session, or the one that an option such as ``--history`` names."""
    chosen = [name for name in others if f"--{name}" in session.posargs]
    options = [option for option in session.posargs if option.removeprefix("--") not in chosen]
    session.run("python", "-m", others[chosen[0]] if chosen else module, *options)


@nox.session
def screenshot(session: nox.Session) -> None:
    """Take the picture of the README from reports/sample/index.html."""
    groups(session, "test")
    session.run("python", "-m", "tests.screenshot", "reports/sample/index.html", "docs/page.png")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into site/; its pages make no network request."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "docs"))
    session.run("mkdocs", "build", "--strict", "--site-dir", "site")
