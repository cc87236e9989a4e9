"""The three GPU routes: which ones an engine may support, what its refusals mean, and which one is chosen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from docker.errors import APIError

from bench.engines import _gpu_visibility, gpu_options
from bench.engines.gpu_options import Route
from bench.errors import EngineError, NoGpuError

if TYPE_CHECKING:
    from collections.abc import Callable

GPU = "GPU-5e1f8c4a-0000-1111-2222-333344445555"
DOCKER = {"Components": [{"Name": "Engine", "Version": "28.3.0"}]}
PODMAN = {"Components": [{"Name": "Podman Engine", "Version": "5.4.0"}]}
RUNTIME: dict[str, Any] = {"Runtimes": {"runc": {}, "nvidia": {}}}


@pytest.mark.parametrize(
    ("info", "version", "names"),
    [
        ({}, DOCKER, ["gpus"]),
        ({"CDISpecDirs": [], "Runtimes": {"runc": {}}}, DOCKER, ["gpus"]),
        (RUNTIME, DOCKER, ["gpus", "runtime"]),
        ({"CDISpecDirs": ["/etc/cdi", "/var/run/cdi"], **RUNTIME}, DOCKER, ["cdi", "gpus", "runtime"]),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}, DOCKER, ["cdi", "gpus"]),
        (
            {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": "vendor.com/net=0"}]},
            DOCKER,
            ["gpus"],
        ),
        ({"CDISpecDirs": ["/etc/cdi"], **RUNTIME}, PODMAN, ["cdi"]),
        (RUNTIME, PODMAN, ["cdi"]),
    ],
)
def test_the_candidate_routes_of_an_engine(info: dict[str, Any], version: dict[str, Any], names: list[str]) -> None:
    routes = gpu_options.candidates(info, version)
    assert [route.name for route in routes] == names
    assert all(route.why for route in routes)


def test_a_gpu_is_requested_by_its_uuid() -> None:
    cdi, gpus, runtime = (Route(name=name) for name in gpu_options.NAMES)
    (request,) = cdi.options(GPU)["device_requests"]
    assert (request["Driver"], request["DeviceIDs"]) == ("cdi", [f"nvidia.com/gpu={GPU}"])
    assert cdi.environment(GPU) == {}
    (request,) = gpus.options(GPU)["device_requests"]
    assert (request["DeviceIDs"], request["Count"], request["Capabilities"]) == ([GPU], 0, [["gpu"]])
    assert gpus.environment(GPU) == {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    assert runtime.options(GPU) == {"runtime": "nvidia"}
    assert runtime.environment(GPU)["NVIDIA_VISIBLE_DEVICES"] == GPU


@pytest.mark.parametrize(
    ("text", "meaning", "hint"),
    [
        (
            'could not select device driver "" with capabilities: [[gpu]]',
            "does not find the NVIDIA Container",
            "install",
        ),
        (
            'could not select device driver "nvidia" with capabilities: [[gpu]]',
            "does not find the NVIDIA Container",
            "install",
        ),
        ('could not select device driver "cdi" with capabilities: []', "does not support CDI", "28.3"),
        (
            'error gathering device information while adding custom device "nvidia.com/gpu=all": no such file',
            "treats a CDI name as a path",
            "28.3",
        ),
        ("Unknown runtime specified nvidia", "no runtime 'nvidia'", "nvidia-ctk runtime configure"),
        ("unknown or invalid runtime name: nvidia", "no runtime 'nvidia'", "nvidia-ctk runtime configure"),
        (
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-1",
            "no CDI specification contains this GPU",
            "nvidia-ctk cdi generate",
        ),
        ("error setting rlimit type 8: operation not permitted", "limit on locked memory", "--engine venv"),
        (
            "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.5, please update your driver",
            "the image requires another driver (cuda>=12.5)",
            "update the driver",
        ),
        (
            "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open",
            "no working driver (load library failed",
            "nvidia-smi",
        ),
        ("nvidia-container-cli: device error: GPU-1: unknown device: unknown", "does not find a GPU", "nvidia-smi -L"),
    ],
)
def test_a_refusal_has_a_meaning_and_a_hint(text: str, meaning: str, hint: str) -> None:
    explained = gpu_options.refusal(f"500 Server Error: {text}")
    assert explained
    assert meaning in explained[0]
    assert hint in explained[1]


@pytest.mark.parametrize(
    "text", ["", "no space left on device", "could not select a base image", "invalid name nvidia"]
)
def test_other_errors_are_not_refusals(text: str) -> None:
    assert gpu_options.refusal(text) is None


def answers(**by_name: str | Exception) -> Callable[[Route], str]:
    """Return an attempt that gives each route its answer, or raises it."""

    def attempt(route: Route) -> str:
        answer = by_name[route.name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return attempt


def refused(text: str) -> APIError:
    return APIError("500 Server Error", requests.Response(), text)


ROUTES = tuple(Route(name=name, why=f"why {name}") for name in gpu_options.NAMES)


def test_the_first_working_route_is_chosen_and_says_why() -> None:
    attempt = answers(cdi=refused("unresolvable CDI devices x"), gpus="", runtime=AssertionError("was tried"))
    chosen = gpu_options.choose(ROUTES, GPU, attempt, {})
    assert chosen.name == "gpus"
    assert chosen.why.startswith("With CDI: no CDI specification contains this GPU; why gpus; a container saw")


def test_if_no_route_works_each_failure_is_listed() -> None:
    attempt = answers(
        cdi=EngineError("odd"),
        gpus="CUDA sees no GPU instead of GPU-1 alone",
        runtime=refused("Unknown runtime specified nvidia"),
    )
    with pytest.raises(NoGpuError) as caught:
        gpu_options.choose(ROUTES, GPU, attempt, {})
    assert str(caught.value) == (
        f"Docker cannot pass the GPU {GPU} into a container. With CDI: odd. "
        "With --gpus: CUDA sees no GPU instead of GPU-1 alone. "
        "With runtime=nvidia: this Docker engine has no runtime 'nvidia'."
    )
    assert "nvidia-ctk runtime configure" in caught.value.hint
    assert caught.value.hint.endswith("or use --engine venv")


def test_a_named_route_is_the_only_one_tried() -> None:
    attempt = answers(cdi=AssertionError("was tried"), gpus=AssertionError("was tried"), runtime="")
    assert gpu_options.choose((), GPU, attempt, {gpu_options.CHOSEN: "runtime"}).name == "runtime"
    with pytest.raises(NoGpuError, match="is 'first', which is not a known GPU route"):
        gpu_options.choose(ROUTES, GPU, attempt, {gpu_options.CHOSEN: "first"})


def test_the_visibility_check_reports_a_missing_driver() -> None:
    source = Path(_gpu_visibility.__file__).read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", source, GPU], capture_output=True, text=True, check=True)
    if Path("/dev/nvidia0").exists():
        assert GPU in done.stdout
    else:
        assert done.stdout.startswith("a library of the driver is missing in the container (libcuda.so.1")
