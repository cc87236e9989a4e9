"""The door: sessions install what they need and call ``python -m bench``. Logic lives in the package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import nox

if TYPE_CHECKING:
    from collections.abc import Callable

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typecheck", "tests"]

#: Seconds a run gets to remove its containers after Ctrl-C, before nox takes harder means.
GRACE_S = 30.0
PYPROJECT = nox.project.load_toml("pyproject.toml")

#: Sessions that only hand their options on to the command of the same name, and what ``nox -l`` says of them.
COMMANDS = {
    "matrix": "Measure the matrix and write reports/index.html. Options go behind --, see README.",
    "plan": "List the columns without running anything.",
    "doctor": "Say whether this host can run the matrix: engine, disk, driver, GPUs, and one line for each column.",
    "choose": "Rank the pairs for what you need: -- --gpu sm_90 --families conv,scatter --max-overhead 1.15.",
    "compare": "Say what a change from one pair or run to another does: -- A B.",
    "reproduce": "Run one kernel of one column again, pinned: -- COLUMN KERNEL PIN, as the page gives it.",
    "diff": "Where the samples of one kernel part: -- COLUMN KERNEL.",
    "report": "Write the pages again from the records of a run (the newest, or the folder named behind --).",
    "images": "Build the images and prove that their libraries load. -- --push REGISTRY hands them to a fleet.",
    "bundle": "Pack a pair for a host without network: -- --pair 'tf2.18.1-cuda12.5' --out DIR.",
    "import": "Verify a records archive of another host and show it beside what was measured here: -- FILE.",
    "export": "Keep a run in reports/sample: records compressed, pages beside them (the newest, or the one behind --).",
    "lock": "Make the hash locks of all pairs. -- --check says what newer patch releases there are.",
    "clean": "Remove the images, containers and environments that this project made, and nothing else.",
}

#: Exit codes that do not fail a session: ``choose`` ends with 1 where it answers that no pair is known to fit.
SUCCESS_CODES = {"choose": [0, 1]}


def groups(session: nox.Session, *names: str) -> None:
    """Install the package and dependency groups of pyproject.toml."""
    session.install("-e", ".", *nox.project.dependency_groups(PYPROJECT, *names))


def install_package(session: nox.Session) -> None:
    """Install the package into the session's environment, unless that was done for this pyproject.toml and folder.

    The installation is editable, so code changes take effect without a new one. The file that records the installation
    is inside the environment, so it disappears when nox recreates the environment.
    """
    if session.bin_paths is None:  # with --no-venv; nox refuses to install there, and says why
        session.install("-e", ".")
        return
    record = Path(session.bin, "tfrepro-installed")
    wanted = hashlib.sha256(f"{Path.cwd()}\n{Path('pyproject.toml').read_text(encoding='utf-8')}".encode()).hexdigest()
    if record.is_file() and record.read_text(encoding="utf-8") == wanted:
        return
    record.unlink(missing_ok=True)
    session.install("-e", ".")
    record.write_text(wanted, encoding="utf-8")


def handing_on(command: str, told: str) -> Callable[[nox.Session], None]:
    """A session that installs the package and calls one of its commands."""

    def bench(session: nox.Session) -> None:
        install_package(session)
        session.run(
            *("python", "-m", "bench", command, *session.posargs),
            success_codes=SUCCESS_CODES.get(command, [0]),
            interrupt_timeout=GRACE_S,
            terminate_timeout=GRACE_S,
        )

    bench.__doc__ = told
    return bench


for name, text in COMMANDS.items():
    nox.session(name=name)(handing_on(name, text))


@nox.session(name="base-image", python=False)
def base_image(session: nox.Session) -> None:
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


@nox.session(name="self-benchmark")
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
def screenshot(session: nox.Session) -> None:
    """Make the README's picture from reports/sample/index.html."""
    groups(session, "test")
    Path("docs").mkdir(exist_ok=True)
    session.run("python", "-m", "tests.screenshot", "reports/sample/index.html", "docs/page.png")
