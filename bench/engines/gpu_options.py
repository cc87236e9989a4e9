"""The ways to pass a GPU into a container, which of them an engine supports, and what its refusals mean.

There are three: CDI, ``--gpus`` (a DeviceRequest) and the runtime ``nvidia``. An engine does not reveal whether a way
works, so each candidate is tried with a short-lived container. GPUs are named by UUID, because CUDA and the NVIDIA
Container Toolkit number them differently.
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
#: The environment variable that names the only route to try.
CHOSEN = "TFREPRO_GPU_ROUTE"
#: What a container needs from the driver: CUDA, and NVML for the probe and the visibility check.
_CAPABILITIES = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}


@dataclass(frozen=True, kw_only=True)
class Route:
    """One way to request a GPU; ``why`` is the reason to try it."""

    name: str  # cdi | gpus | runtime
    why: str = ""

    def options(self, gpu: str) -> dict[str, Any]:
        """Return the arguments of docker-py's ``create`` for the GPU of this UUID."""
        if self.name == "cdi":
            return {"device_requests": [DeviceRequest(driver="cdi", device_ids=[f"{_CDI_KIND}={gpu}"])]}
        if self.name == "gpus":
            return {"device_requests": [DeviceRequest(device_ids=[gpu], capabilities=[["gpu"]])]}
        return {"runtime": "nvidia"}

    def environment(self, gpu: str) -> dict[str, str]:
        """Return the variables that the container gets in addition to the allow-list."""
        if self.name == "cdi":  # the CDI specification defines what is passed
            return {}
        return {**_CAPABILITIES, **({"NVIDIA_VISIBLE_DEVICES": gpu} if self.name == "runtime" else {})}


NAMES = ("cdi", "gpus", "runtime")


def candidates(info: Mapping[str, Any], version: Mapping[str, Any]) -> tuple[Route, ...]:
    """Return the routes that an engine may support, the best first, from its ``info`` and ``version`` answers."""
    if any("podman" in str(part.get("Name", "")).lower() for part in version.get("Components") or ()):
        # It accepts the other two without an error and passes no GPU.
        return (Route(name="cdi", why="this engine is Podman, which supports CDI only"),)
    routes = []
    if cdi := _cdi(info):
        routes.append(Route(name="cdi", why=cdi))
    # No engine reveals whether the toolkit, which --gpus needs, is installed.
    routes.append(Route(name="gpus", why="every Docker engine since 19.03 accepts --gpus"))
    if "nvidia" in (info.get("Runtimes") or {}):
        routes.append(Route(name="runtime", why="the engine has a runtime 'nvidia'"))
    return tuple(routes)


def _cdi(info: Mapping[str, Any]) -> str:
    """Return the reason to try CDI, or "" if there is none."""
    devices = info.get("DiscoveredDevices") or ()
    listed = [str(device.get("ID", "")) for device in devices if device.get("Source") == "cdi"]
    if any(name.startswith(f"{_CDI_KIND}=") for name in listed):
        return f"the engine lists CDI devices of kind {_CDI_KIND}"
    folders = info.get("CDISpecDirs") or ()
    # Since 28.3 the engine lists its devices, so a list without NVIDIA's means that there are none.
    if not folders or listed:
        return ""
    return f"the engine reads CDI specifications in {' and '.join(map(str, folders))}"


#: Error text of an engine that cannot pass a GPU -> its meaning and what to do. Texts of Docker 20.10 to 28.
_REFUSALS = tuple(
    (re.compile(pattern), meaning, hint)
    for pattern, meaning, hint in (
        (
            r'could not select device driver "cdi"',
            "this Docker engine does not support CDI, or has it disabled",
            'use Docker 28.3 or newer, or set "features": {"cdi": true} in daemon.json (25 to 28.2) and restart it',
        ),
        (
            r'could not select device driver "(nvidia)?" with capabilities',
            "this Docker engine does not find the NVIDIA Container Toolkit",
            "install nvidia-container-toolkit and restart Docker",
        ),
        (
            r"unresolvable CDI devices|CDI device injection failed|failed to inject CDI devices",
            "no CDI specification contains this GPU",
            "create one: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml (again after each driver update)",
        ),
        (
            r"error gathering device information while adding custom device",
            "this Docker engine treats a CDI name as a path",
            "use Docker 28.3 or newer",
        ),
        (
            r"[Uu]nknown(?: or invalid)? runtime(?: specified| name:?)? \"?nvidia",
            "this Docker engine has no runtime 'nvidia'",
            "register it: nvidia-ctk runtime configure --runtime=docker, then restart Docker",
        ),
        (
            r"nvidia-container-cli: requirement error: unsatisfied condition: ([^,\n]*)",
            "the image requires another driver ({})",
            "update the driver, or use this project's own images, which have no such requirement",
        ),
        (
            r"nvidia-container-cli: device error: .*unknown device",
            "the NVIDIA Container Toolkit does not find a GPU with this UUID",
            "compare nvidia-smi -L: was the GPU removed, or its MIG layout changed?",
        ),
        (
            r"nvidia-container-cli: (?:initialization|ldcache|mount|detection|container) error: ([^\n]{1,120})",
            "the NVIDIA Container Toolkit finds no working driver ({})",
            "check that nvidia-smi works on this host; after a driver update, reboot",
        ),
        (
            r"bpf_prog_query|no-cgroups",
            "the NVIDIA Container Toolkit is not allowed to set device permissions on this host",
            "with a rootless engine use CDI, or set no-cgroups = true in the toolkit's config.toml",
        ),
        (
            r"error setting rlimit type 8",
            "this Docker engine is not allowed to raise the limit on locked memory",
            "it probably runs inside a restricted container: use --engine venv there",
        ),
    )
)


def refusal(text: str) -> tuple[str, str] | None:
    """Return meaning and hint of an engine's error text; None if it is not about passing a GPU."""
    for pattern, meaning, hint in _REFUSALS:
        if match := pattern.search(text):
            return meaning.format(*(group or "" for group in match.groups())), hint
    return None


def choose(
    routes: Sequence[Route], gpu: str, attempt: Callable[[Route], str], environ: Mapping[str, str] = os.environ
) -> Route:
    """Return the first route by which a container sees the GPU of this UUID; its ``why`` also lists those that failed.

    ``attempt`` starts a container that way and returns what is wrong, or "". If $TFREPRO_GPU_ROUTE names a route, it
    is the only one tried.

    Raises:
        NoGpuError: no route works (the message has a sentence for each), or the variable names an unknown one.
    """
    forced = environ.get(CHOSEN, "")
    if forced and forced not in NAMES:
        raise NoGpuError(f"{CHOSEN} is {forced!r}, which is not a known GPU route", f"Use one of {', '.join(NAMES)}")
    failures: list[str] = []
    hints: list[str] = []
    for route in [Route(name=forced, why=f"{CHOSEN} names it")] if forced else routes:
        start = time.monotonic()
        try:
            problem = attempt(route)
        except (*TROUBLE, EngineError) as error:
            reason = str(error) if isinstance(error, EngineError) else reason_of(error)
            problem, hint = refusal(reason) or (reason, "")
            hints += [hint] if hint and hint not in hints else []
        if not problem:
            why = f"{route.why}; a container saw the GPU after {time.monotonic() - start:.1f} s"
            return Route(name=route.name, why="; ".join([*failures, why]))
        failures.append(f"{_LABELS[route.name]}: {problem}")
    hints.append("or use --engine venv" if hints else "use --engine venv")
    raise NoGpuError(f"Docker cannot pass the GPU {gpu} into a container. {'. '.join(failures)}.", ", ".join(hints))


_LABELS = {"cdi": "With CDI", "gpus": "With --gpus", "runtime": "With runtime=nvidia"}
