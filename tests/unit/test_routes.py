"""The three ways to a GPU: which an engine may know, what its refusals mean, which one is taken."""

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
def test_an_engine_says_which_ways_are_worth_a_try(
    info: dict[str, Any], version: dict[str, Any], names: list[str]
) -> None:
    found = gpu_options.candidates(info, version)
    assert [route.name for route in found] == names
    assert all(route.why for route in found)


def test_a_gpu_is_asked_for_by_its_uuid() -> None:
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
    ("text", "sentence", "hint"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "no NVIDIA Container Toolkit", "install"),
        (
            'could not select device driver "nvidia" with capabilities: [[gpu]]',
            "no NVIDIA Container Toolkit",
            "install",
        ),
        ('could not select device driver "cdi" with capabilities: []', "does not know CDI", "28.3"),
        (
            'error gathering device information while adding custom device "nvidia.com/gpu=all": no such file',
            "takes a CDI name for a path",
            "28.3",
        ),
        ("Unknown runtime specified nvidia", "no runtime 'nvidia'", "nvidia-ctk runtime configure"),
        ("unknown or invalid runtime name: nvidia", "no runtime 'nvidia'", "nvidia-ctk runtime configure"),
        (
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-1",
            "no CDI specification names this GPU",
            "nvidia-ctk cdi generate",
        ),
        ("error setting rlimit type 8: operation not permitted", "limit on locked memory", "--engine venv"),
        (
            "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.5, please update your driver",
            "the image demands another driver (cuda>=12.5)",
            "update the driver",
        ),
        (
            "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open",
            "no working driver (load library failed",
            "nvidia-smi",
        ),
        ("nvidia-container-cli: device error: GPU-1: unknown device: unknown", "does not know a GPU", "nvidia-smi -L"),
    ],
)
def test_a_refusal_is_one_sentence_and_a_way_out(text: str, sentence: str, hint: str) -> None:
    found = gpu_options.refusal(f"500 Server Error: {text}")
    assert found
    assert sentence in found[0]
    assert hint in found[1]


@pytest.mark.parametrize(
    "text", ["", "no space left on device", "could not select a base image", "invalid name nvidia"]
)
def test_other_troubles_are_no_refusals(text: str) -> None:
    assert gpu_options.refusal(text) is None


def answers(**by_name: str | Exception) -> Callable[[Route], str]:
    """An engine that answers each way as told."""

    def attempt(route: Route) -> str:
        answer = by_name[route.name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return attempt


def refused(text: str) -> APIError:
    return APIError("500 Server Error", requests.Response(), text)


KNOWN = tuple(Route(name=name, why=f"why {name}") for name in gpu_options.NAMES)


def test_the_first_way_that_shows_the_gpu_is_taken_and_says_why() -> None:
    ways = answers(cdi=refused("unresolvable CDI devices x"), gpus="", runtime=AssertionError("was tried"))
    taken = gpu_options.choose(KNOWN, GPU, ways, {})
    assert taken.name == "gpus"
    assert taken.why.startswith("By CDI: no CDI specification names this GPU; why gpus; a container saw the GPU after")


def test_without_a_way_there_is_a_sentence_for_each() -> None:
    ways = answers(
        cdi=EngineError("odd"),
        gpus="CUDA sees no GPU, not GPU-1 alone",
        runtime=refused("Unknown runtime specified nvidia"),
    )
    with pytest.raises(NoGpuError) as caught:
        gpu_options.choose(KNOWN, GPU, ways, {})
    assert str(caught.value) == (
        f"Docker cannot give a container the GPU {GPU}. By CDI: odd. By --gpus: CUDA sees no GPU, not GPU-1 alone. "
        "By runtime=nvidia: this Docker engine has no runtime 'nvidia'."
    )
    assert "nvidia-ctk runtime configure" in caught.value.hint
    assert caught.value.hint.endswith("or use --engine venv")


def test_a_named_way_is_the_only_one_tried() -> None:
    ways = answers(cdi=AssertionError("was tried"), gpus=AssertionError("was tried"), runtime="")
    assert gpu_options.choose((), GPU, ways, {gpu_options.CHOSEN: "runtime"}).name == "runtime"
    with pytest.raises(NoGpuError, match="is 'first', which is no way to a GPU"):
        gpu_options.choose(KNOWN, GPU, ways, {gpu_options.CHOSEN: "first"})


def test_the_look_says_what_is_missing_on_a_host_without_a_driver() -> None:
    source = Path(_gpu_visibility.__file__).read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", source, GPU], capture_output=True, text=True, check=True)
    if Path("/dev/nvidia0").exists():
        assert GPU in done.stdout
    else:
        assert done.stdout.startswith("the driver's library is not there (libcuda.so.1")
