"""Fixtures of all tests: what is missing on this host is skipped with the reason, or a failure where demanded."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped] # it has no stubs

from bench.engines import docker_probe
from tests.fault_table import FaultTable, faults_of
from tests.integration import slurm_cluster

ROOT = Path(__file__).resolve().parents[1]
#: Files with tests that use a Docker engine; tests of several engines end with [docker].
WITH_DOCKER = {"test_docker", "test_hardening", "test_registry", "test_diagnosis", "test_gpu_images"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the table of faults."""
    parser.addoption("--faults", metavar="FILE", help="write the table of faults (see tests/fault_table.py)")


def pytest_configure(config: pytest.Config) -> None:
    """Let what tests interrupt be interrupted (a shell's background job gets SIGINT as ignored, nohup SIGHUP)."""
    if config.getoption("--faults") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FaultTable(Path(config.getoption("--faults"))))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # a busy machine is no defect: without a deadline, one slow example fails no test. A check of a change tries
    # the same examples each time, so that it fails because of the change; the fuzz session tries new ones
    hypothesis.settings.register_profile("tests", deadline=None, derandomize="TFREPRO_FUZZ" not in os.environ)
    hypothesis.settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, unless the environment demands it (continuous integration does)."""
    missing: dict[str, str] = {}
    if any(item.get_closest_marker("docker") for item in items) and "TFREPRO_REQUIRE_DOCKER" not in os.environ:
        probe = docker_probe.probe()
        if not probe.answers:
            missing["docker"] = probe.why
    if shutil.which("chromium") is None and "TFREPRO_REQUIRE_BROWSER" not in os.environ:
        missing["browser"] = "no chromium on the PATH"
    if (programs := slurm_cluster.missing()) and "TFREPRO_REQUIRE_SLURM" not in os.environ:
        missing["slurm"] = f"not installed: {', '.join(programs)}"
    if shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None and not os.environ.get(
        "TFREPRO_REQUIRE_SSH"
    ):
        missing["ssh"] = "no sshd on this host"
    for item in items:
        item.user_properties += [("fault", "\n".join(facts)) for facts in faults_of(item)]
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


class FilesOrDocker(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist has no types
    """Gives whole files to workers, and all tests that use Docker to one of them: they share its images.

    Tests of one TensorFlow release and mode share a long measurement: they are a group of their own.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        with_docker = Path(file).stem in WITH_DOCKER or nodeid.endswith("docker]")
        release = re.search(r"\[\d+\.\d+\.\d+-(off|on)\]$", nodeid)
        return "docker" if with_docker else file + (release[0] if release else "")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return the scheduler for ``--dist loadfile``; None leaves the choice to pytest-xdist."""
    return FilesOrDocker(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
