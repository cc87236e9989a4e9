"""The ways to hand a GPU to a container, which of them an engine knows, and what its refusals mean.

There are three: CDI, ``--gpus`` (a DeviceRequest), and the runtime ``nvidia``. What an engine says of itself leaves
open whether a way works, so one that may is tried with a container of a second. GPUs are named by UUID: the order of
their numbers differs between CUDA and the toolkit.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker.types import DeviceRequest

from bench.engines._dockerd import TROUBLE, reason_of
from bench.errors import EngineError, NoGpuError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CDI_KIND = "nvidia.com/gpu"
#: Names one route and no other is tried.
CHOSEN = "TFREPRO_GPU_ROUTE"
#: What a container of a GPU needs of the driver: CUDA, and NVML for the guard and the probe.
_CAPABILITIES = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}


@dataclass(frozen=True, kw_only=True)
class Route:
    """One way to ask for a GPU; ``why`` says what makes it worth a try."""

    name: str  # cdi | gpus | runtime
    why: str = ""

    def options(self, gpu: str) -> dict[str, Any]:
        """What docker-py's ``create`` gets for the GPU of this UUID."""
        if self.name == "cdi":
            return {"device_requests": [DeviceRequest(driver="cdi", device_ids=[f"{_CDI_KIND}={gpu}"])]}
        if self.name == "gpus":
            return {"device_requests": [DeviceRequest(device_ids=[gpu], capabilities=[["gpu"]])]}
        return {"runtime": "nvidia"}

    def environment(self, gpu: str) -> dict[str, str]:
        """What the container's environment gets beside the allow-list."""
        if self.name == "cdi":  # its specification says what is handed on
            return {}
        return {**_CAPABILITIES, **({"NVIDIA_VISIBLE_DEVICES": gpu} if self.name == "runtime" else {})}


NAMES = ("cdi", "gpus", "runtime")


def candidates(info: Mapping[str, Any], version: Mapping[str, Any]) -> tuple[Route, ...]:
    """The routes that an engine may know, the best first, from its ``info`` and ``version``."""
    if any("podman" in str(one.get("Name", "")).lower() for one in version.get("Components") or ()):
        # It takes the other two without a word, and gives no GPU.
        return (Route(name="cdi", why="this engine is Podman, which knows CDI only"),)
    found = []
    if cdi := _cdi(info):
        found.append(Route(name="cdi", why=cdi))
    # Whether the toolkit is there for --gpus, no engine tells.
    found.append(Route(name="gpus", why="every Docker engine from 19.03 on takes --gpus"))
    if "nvidia" in (info.get("Runtimes") or {}):
        found.append(Route(name="runtime", why="the engine has a runtime 'nvidia'"))
    return tuple(found)


def _cdi(info: Mapping[str, Any]) -> str:
    """What makes CDI worth a try, "" where nothing does."""
    listed = [str(one.get("ID", "")) for one in info.get("DiscoveredDevices") or () if one.get("Source") == "cdi"]
    if any(name.startswith(f"{_CDI_KIND}=") for name in listed):
        return f"the engine lists CDI devices of {_CDI_KIND}"
    places = info.get("CDISpecDirs") or ()
    # From 28.3 on the engine lists its devices: then a list without ours is an answer.
    if not places or listed:
        return ""
    return f"the engine reads CDI specifications in {' and '.join(map(str, places))}"


#: Words of an engine that cannot hand on a GPU -> what they mean, and the way out. As read from engines 20.10 to 28.
_REFUSALS = tuple(
    (re.compile(pattern), sentence, hint)
    for pattern, sentence, hint in (
        (
            r'could not select device driver "cdi"',
            "this Docker engine does not know CDI, or has it switched off",
            'use Docker 28.3 or newer, or set "features": {"cdi": true} in daemon.json (25 to 28.2) and restart it',
        ),
        (
            r'could not select device driver "(nvidia)?" with capabilities',
            "this Docker engine finds no NVIDIA Container Toolkit",
            "install nvidia-container-toolkit and restart Docker",
        ),
        (
            r"unresolvable CDI devices|CDI device injection failed|failed to inject CDI devices",
            "no CDI specification names this GPU",
            "make one: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml (again after each update of the driver)",
        ),
        (
            r"error gathering device information while adding custom device",
            "this Docker engine takes a CDI name for a path",
            "use Docker 28.3 or newer",
        ),
        (
            r"[Uu]nknown(?: or invalid)? runtime(?: specified| name:?)? \"?nvidia",
            "this Docker engine has no runtime 'nvidia'",
            "register it: nvidia-ctk runtime configure --runtime=docker, then restart Docker",
        ),
        (
            r"nvidia-container-cli: requirement error: unsatisfied condition: ([^,\n]*)",
            "the image demands another driver ({})",
            "update the driver, or use the project's own images, which demand none",
        ),
        (
            r"nvidia-container-cli: device error: .*unknown device",
            "the NVIDIA Container Toolkit does not know a GPU of this UUID",
            "look at nvidia-smi -L: was the GPU taken away, or its MIG layout changed?",
        ),
        (
            r"nvidia-container-cli: (?:initialization|ldcache|mount|detection|container) error: ([^\n]{1,120})",
            "the NVIDIA Container Toolkit finds no working driver ({})",
            "see that nvidia-smi answers on this host; after an update of the driver, reboot",
        ),
        (
            r"bpf_prog_query|no-cgroups",
            "the NVIDIA Container Toolkit may not set device rights here",
            "with a rootless engine use CDI, or set no-cgroups = true in the toolkit's config.toml",
        ),
        (
            r"error setting rlimit type 8",
            "this Docker engine may not lift the limit on locked memory",
            "it runs inside a limited container itself: use --engine venv there",
        ),
    )
)


def refusal(text: str) -> tuple[str, str] | None:
    """What an engine's words mean, as (sentence, way out); None where they have nothing to do with a GPU."""
    for pattern, sentence, hint in _REFUSALS:
        if found := pattern.search(text):
            return sentence.format(*(group or "" for group in found.groups())), hint
    return None


def choose(
    known: Sequence[Route], gpu: str, attempt: Callable[[Route], str], environ: Mapping[str, str] = os.environ
) -> Route:
    """The first route by which a container really sees the GPU of this UUID, its reason in ``why``.

    ``attempt`` starts a container that way and returns what is wrong, "" where nothing is. $TFREPRO_GPU_ROUTE names
    the one to try.

    Raises:
        NoGpuError: none works, or the variable names none; a sentence for each that was tried.
    """
    named = environ.get(CHOSEN, "")
    if named and named not in NAMES:
        raise NoGpuError(f"{CHOSEN} is {named!r}, which is no way to a GPU", f"name one of {', '.join(NAMES)}")
    tried: list[str] = []
    ways: list[str] = []
    for route in [Route(name=named, why=f"{CHOSEN} names it")] if named else known:
        began = time.monotonic()
        try:
            wrong = attempt(route)
        except (*TROUBLE, EngineError) as error:
            reason = str(error) if isinstance(error, EngineError) else reason_of(error)
            wrong, way = refusal(reason) or (reason, "")
            ways += [way] if way and way not in ways else []
        if not wrong:
            why = f"{route.why}; a container saw the GPU after {time.monotonic() - began:.1f} s"
            return Route(name=route.name, why="; ".join([*tried, why]))
        tried.append(f"{_SPOKEN[route.name]}: {wrong}")
    ways.append("or use --engine venv" if ways else "use --engine venv")
    raise NoGpuError(f"Docker cannot give a container the GPU {gpu}. {'. '.join(tried)}.", ", ".join(ways))


_SPOKEN = {"cdi": "By CDI", "gpus": "By --gpus", "runtime": "By runtime=nvidia"}
