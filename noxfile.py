"""The door: sessions install what they need and call ``python -m bench``. Logic lives in the package."""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typecheck", "tests"]

#: Seconds a run gets to remove its containers after Ctrl-C, before nox takes harder means.
GRACE_S = 30.0
PYPROJECT = nox.project.load_toml("pyproject.toml")


def bench(session: nox.Session, *arguments: str) -> None:
    """Install the package and call its command line."""
    session.install("-e", ".")
    session.run(
        *("python", "-m", "bench", *arguments, *session.posargs), interrupt_timeout=GRACE_S, terminate_timeout=GRACE_S
    )


def groups(session: nox.Session, *names: str) -> None:
    """Install the package and dependency groups of pyproject.toml."""
    session.install("-e", ".", *nox.project.dependency_groups(PYPROJECT, *names))


@nox.session
def matrix(session: nox.Session) -> None:
    """Measure the matrix and write reports/index.html. Options go behind --, see README."""
    bench(session, "matrix")


@nox.session
def plan(session: nox.Session) -> None:
    """List the cells without running anything."""
    bench(session, "plan")


@nox.session
def doctor(session: nox.Session) -> None:
    """Say whether this host can run the matrix: engine, disk, driver, GPUs, and one line for each cell."""
    bench(session, "doctor")


@nox.session
def images(session: nox.Session) -> None:
    """Build the images and prove that their libraries load. -- --push REGISTRY hands them to a fleet."""
    bench(session, "images")


@nox.session
def bundle(session: nox.Session) -> None:
    """Pack a pair for a host without network: -- --pair 'tf2.18.1-cuda12.5' --out DIR."""
    bench(session, "bundle")


@nox.session(name="import")
def import_records(session: nox.Session) -> None:
    """Verify a records archive of another host and show it beside what was measured here: -- FILE."""
    bench(session, "import")


@nox.session
def clean(session: nox.Session) -> None:
    """Remove the images, containers and environments that this project made, and nothing else."""
    bench(session, "clean")


@nox.session
def report(session: nox.Session) -> None:
    """Write the pages again from the records of a run (the newest, or the folder named behind --)."""
    bench(session, "report")


@nox.session
def sample(session: nox.Session) -> None:
    """Keep a run in reports/sample: records compressed, pages beside them (the newest, or the one behind --)."""
    bench(session, "sample")


@nox.session
def lock(session: nox.Session) -> None:
    """Make the hash locks of all pairs. -- --check says what newer patch releases there are."""
    bench(session, "lock")


@nox.session(python=False)
def base(session: nox.Session) -> None:
    """Make the base image of the Docker engine without a registry (needs root and debootstrap)."""
    session.run("bash", "docker/base/make.sh", *session.posargs, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; those that need Docker or Chromium skip with the reason where it is missing."""
    groups(session, "test")
    session.run("python", "-m", "pytest", *session.posargs, interrupt_timeout=GRACE_S)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    groups(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Mypy, strict, over package, tests and this file."""
    groups(session, "typecheck")
    session.run("mypy")


@nox.session(name="bench-self")
def bench_self(session: nox.Session) -> None:
    """What the product costs on this machine: hashing, one round of each kind, what a profile takes."""
    groups(session, "test")
    session.run("python", "-m", "tests.benchmark", *session.posargs)


@nox.session
def simulation(session: nox.Session) -> None:
    """Power and false alarm of the verdicts, from simulated runs."""
    groups(session, "test")
    session.run("python", "-m", "tests.simulation", *session.posargs)


@nox.session
def diverge(session: nox.Session) -> None:
    """Where the samples of one kernel part: -- CELL KERNEL."""
    bench(session, "diverge")


@nox.session
def screenshot(session: nox.Session) -> None:
    """Make the README's picture from reports/sample/index.html."""
    groups(session, "test")
    Path("docs").mkdir(exist_ok=True)
    session.run("python", "-m", "tests.screenshot", "reports/sample/index.html", "docs/page.png")
