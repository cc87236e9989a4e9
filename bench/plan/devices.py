"""Choose the devices of a plan: the CPU, GPUs of this host, or whichever there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.errors import ConfigError, NoGpuError
from bench.gpu.facts import Gpu, GpuInventory

Kind = Literal["auto", "cpu", "gpu", "any"]

#: Characters of a UUID that distinguish two GPUs of one model; more are used where these are not enough.
_SHORT = 8


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices of a plan.

    ``kind`` says which pairs run on them:

    * ``cpu``: pairs without CUDA
    * ``gpu``: pairs with CUDA; without a GPU they become ``gpu-not-visible``
    * ``auto``: pairs with CUDA if there are ``gpus``, otherwise those without
    * ``any``: every pair of the file, whatever its profile; for locks and images, which need no device

    ``gpus`` are those that CUDA pairs run on. ``notes`` are sentences for the user about the choice. ``host`` is the
    name of the host in a matrix over several hosts, "" in any other.
    """

    kind: Kind = "cpu"
    survey: GpuInventory = field(default_factory=GpuInventory)
    gpus: tuple[Gpu, ...] = ()
    notes: tuple[str, ...] = ()
    host: str = ""

    @property
    def names(self) -> dict[str, str]:
        """UUID -> short name in columns: ``h200``, or ``h200-1a2b3c4d`` where two GPUs are of the same model."""
        slugs = [gpu.slug for gpu in self.gpus]
        return {
            gpu.uuid: gpu.slug if slugs.count(gpu.slug) == 1 else f"{gpu.slug}-{self._part(gpu)}" for gpu in self.gpus
        }

    def takes(self, cuda: str) -> bool:
        """Return whether pairs of a CUDA minor (or ``cpu``) run on these devices."""
        if self.kind == "any":
            return True
        return (cuda != "cpu") == (self.kind == "gpu" or (self.kind == "auto" and bool(self.gpus)))

    def _part(self, gpu: Gpu) -> str:
        """Return the beginning of a GPU's UUID, long enough to be unique."""
        others = [_hexadecimal(other.uuid) for other in self.gpus if other.uuid != gpu.uuid]
        own = _hexadecimal(gpu.uuid)
        prefixes = (own[:length] for length in range(_SHORT, len(own) + 1))
        return next((prefix for prefix in prefixes if not any(text.startswith(prefix) for text in others)), own)


def choose(requested: str, survey: GpuInventory) -> Devices:
    """Return the devices that ``--device`` requests.

    ``auto`` and ``gpu`` select one GPU, the first that no other process computes on; ``all`` selects every GPU;
    UUIDs or their beginnings, separated by commas, select those GPUs. ``cpu`` and ``any`` select none.

    Raises:
        ConfigError: the text is neither a known word nor a UUID.
        NoGpuError: no GPU of this host has the UUID, or several UUIDs begin with the text.
    """
    if requested in ("cpu", "any"):
        return Devices(kind="cpu" if requested == "cpu" else "any", survey=survey)
    if requested in ("auto", "gpu"):
        gpus, notes = _first_idle(survey)
        return Devices(kind="auto" if requested == "auto" else "gpu", survey=survey, gpus=gpus, notes=notes)
    if requested == "all":
        return Devices(kind="gpu", survey=survey, gpus=survey.gpus, notes=survey.troubles)
    named = dict.fromkeys(_named(text.strip(), survey) for text in requested.split(",") if text.strip())
    if not named:
        raise NoGpuError("--device names no device.", "Give auto, cpu, gpu, all, or a GPU's UUID.")
    return Devices(kind="gpu", survey=survey, gpus=tuple(gpu for gpu in survey.gpus if gpu.uuid in named))


def _first_idle(survey: GpuInventory) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """Return one GPU, and a note about which it is where there are several."""
    if not survey.gpus:
        return (), ()
    idle = [gpu for gpu in survey.gpus if not gpu.processes]
    gpu = (idle or survey.gpus)[0]
    if len(survey.gpus) == 1:
        return (gpu,), ()
    why = "the first idle one" if idle else "the first one, as none is idle,"
    note = f"{gpu.name} {gpu.uuid} is used, {why} of {len(survey.gpus)} GPUs; --device all measures on all of them"
    return (gpu,), (note,)


def _named(text: str, survey: GpuInventory) -> str:
    """Return the full UUID for a UUID or its beginning."""
    matches = [gpu.uuid for gpu in survey.gpus if gpu.uuid.lower().startswith(text.lower())]
    if len(matches) == 1 or text in matches:
        return text if text in matches else matches[0]
    available = ", ".join(f"{gpu.uuid} ({gpu.name})" for gpu in survey.gpus)
    if matches:
        raise NoGpuError(f"More than one GPU has a UUID that begins with {text}.", f"There are: {available}.")
    if not text.upper().startswith(("GPU-", "MIG-")):
        raise ConfigError(f"{text!r} is not a device.", "Give auto, cpu, gpu, all, or a GPU's UUID, GPU-... or MIG-...")
    if survey.gpus:
        raise NoGpuError(f"This host has no GPU {text}.", f"There are: {available}. Or give auto, cpu, gpu or all.")
    raise NoGpuError(f"This host has no GPU {text}: {survey.why}", "--device also accepts auto, cpu, gpu and all.")


def _hexadecimal(uuid: str) -> str:
    """Return the digits of ``GPU-1a2b3c4d-5e6f-...``."""
    return uuid.partition("-")[2].replace("-", "")
