"""Which devices a plan is for: the CPU, some GPUs of this host, or whatever there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.errors import ConfigError, NoGpuError
from bench.gpu.facts import Gpu, GpuInventory

Kind = Literal["auto", "cpu", "gpu", "any"]

#: Characters of a UUID that tell two GPUs of one model apart; more where they are not enough.
_SHORT = 8


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices of a plan.

    ``kind`` says which pairs they take: ``cpu`` those without CUDA, ``gpu`` those with CUDA (without a GPU they become
    ``gpu-not-visible``), ``auto`` those with CUDA where there are ``gpus`` and else those without, ``any`` every pair of the
    file, whatever its profile: for locks and images, which need no device. ``gpus`` are those that CUDA pairs run on.
    ``notes`` are sentences for people about the choice.
    """

    kind: Kind = "cpu"
    survey: GpuInventory = field(default_factory=GpuInventory)
    gpus: tuple[Gpu, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """UUID -> short name for columns: ``h200``, or ``h200-1a2b3c4d`` where two GPUs are of one model."""
        slugs = [gpu.slug for gpu in self.gpus]
        return {
            gpu.uuid: gpu.slug if slugs.count(gpu.slug) == 1 else f"{gpu.slug}-{self._part(gpu)}" for gpu in self.gpus
        }

    def takes(self, cuda: str) -> bool:
        """Whether pairs of a CUDA minor (or ``cpu``) belong to these devices."""
        if self.kind == "any":
            return True
        return (cuda != "cpu") == (self.kind == "gpu" or (self.kind == "auto" and bool(self.gpus)))

    def _part(self, gpu: Gpu) -> str:
        """The beginning of a UUID, as long as it takes to be nobody else's."""
        texts = [_hexadecimal(one.uuid) for one in self.gpus if one.uuid != gpu.uuid]
        mine = _hexadecimal(gpu.uuid)
        lengths = range(_SHORT, len(mine) + 1)
        return next((mine[:many] for many in lengths if not any(text.startswith(mine[:many]) for text in texts)), mine)


def choose(asked: str, survey: GpuInventory) -> Devices:
    """The devices for what ``--device`` says.

    ``auto`` and ``gpu`` take one GPU, the first that no other process computes on; ``all`` takes every one; UUIDs,
    or their beginnings, separated by commas, take those. ``cpu`` and ``any`` take none.

    Raises:
        ConfigError: a word that names no device.
        NoGpuError: a UUID that no GPU here has, or that several begin with.
    """
    if asked in ("cpu", "any"):
        return Devices(kind="cpu" if asked == "cpu" else "any", survey=survey)
    if asked in ("auto", "gpu"):
        gpus, notes = _one(survey)
        return Devices(kind="auto" if asked == "auto" else "gpu", survey=survey, gpus=gpus, notes=notes)
    if asked == "all":
        return Devices(kind="gpu", survey=survey, gpus=survey.gpus, notes=survey.troubles)
    named = dict.fromkeys(_named(text.strip(), survey) for text in asked.split(",") if text.strip())
    if not named:
        raise NoGpuError("No device was named.", "Give auto, cpu, gpu, all, or a GPU's UUID.")
    return Devices(kind="gpu", survey=survey, gpus=tuple(gpu for gpu in survey.gpus if gpu.uuid in named))


def _one(survey: GpuInventory) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """One GPU, and which it is where there are several."""
    if not survey.gpus:
        return (), ()
    idle = [gpu for gpu in survey.gpus if not gpu.processes]
    gpu = (idle or survey.gpus)[0]
    if len(survey.gpus) == 1:
        return (gpu,), ()
    why = "the first that is idle" if idle else "the first, and none is idle"
    told = f"{gpu.name} {gpu.uuid} is taken, {why} of {len(survey.gpus)} GPUs; --device all measures on every one"
    return (gpu,), (told,)


def _named(text: str, survey: GpuInventory) -> str:
    """The UUID that is meant."""
    found = [gpu.uuid for gpu in survey.gpus if gpu.uuid.lower().startswith(text.lower())]
    if len(found) == 1 or text in found:
        return text if text in found else found[0]
    here = ", ".join(f"{gpu.uuid} ({gpu.name})" for gpu in survey.gpus)
    if found:
        raise NoGpuError(f"More than one GPU has a UUID that begins with {text}.", f"There are: {here}.")
    if not text.upper().startswith(("GPU-", "MIG-")):
        raise ConfigError(f"{text!r} names no device.", "Give auto, cpu, gpu, all, or a GPU's UUID, GPU-... or MIG-...")
    if survey.gpus:
        raise NoGpuError(f"There is no GPU {text} here.", f"There are: {here}. Or give auto, cpu, gpu or all.")
    raise NoGpuError(f"There is no GPU {text} here: {survey.why}", "Other words for --device: auto, cpu, gpu, all.")


def _hexadecimal(uuid: str) -> str:
    """``GPU-1a2b3c4d-5e6f-...`` without what is the same for all."""
    return uuid.partition("-")[2].replace("-", "")
