"""nvidia-smi's tables, for hosts where NVML's library or its Python module cannot be loaded."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S = 30
_UNKNOWN_FIELD = re.compile(r'Field "([^"]+)" is not a valid field')
_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)")
_CARD = re.compile(r"^GPU \d+: .* \(UUID: (GPU-[^)]+)\)")

#: Field of nvidia-smi -> name of the fact.
_FACTS = {
    "mig.mode.current": "MIG",
    "ecc.mode.current": "ECC",
    "persistence_mode": "persistence",
    "compute_mode": "compute mode",
    "enforced.power.limit": "power limit W",
    "power.limit": "set power limit W",
    "power.default_limit": "default power limit W",
    "clocks.current.sm": "SM clock MHz",
    "clocks.current.memory": "memory clock MHz",
    "clocks.max.sm": "max SM clock MHz",
    "clocks.max.memory": "max memory clock MHz",
    "clocks.applications.graphics": "application SM clock MHz",
    "clocks.applications.memory": "application memory clock MHz",
    "temperature.gpu": "temperature C",
    "pci.bus_id": "PCI",
    "vbios_version": "VBIOS",
}
_NEEDED = ("uuid", "name", "driver_version", "memory.total", "compute_cap")
_WORDS = {"Enabled": "on", "Disabled": "off", "Default": "default", "Prohibited": "prohibited"}


class SmiError(Exception):
    """nvidia-smi is missing ("") or gave no answer (its own words)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One GPU, or one MIG device, of nvidia-smi; fields as in ``bench.gpu.facts.Gpu``."""

    driver: str
    uuid: str
    name: str
    capability: tuple[int, int]
    memory_mb: int
    facts: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[int, int] = field(default_factory=dict)


def rows() -> list[Row]:
    """What nvidia-smi lists; raises SmiError where there is none or it does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise SmiError
    fields = [*_NEEDED, *_FACTS]
    table = _table(tool, "gpu", fields)
    holders: list[dict[str, str]] = []
    with suppress(SmiError):  # not every GPU tells
        holders = _table(tool, "compute-apps", ["gpu_uuid", "pid", "used_gpu_memory"])
    found = [_row(line, holders) for line in table]
    if any(row.facts.get("MIG") == "on" for row in found):
        return _with_mig(found, _run(tool, "-L"))
    return found


def _table(tool: str, kind: str, fields: list[str]) -> list[dict[str, str]]:
    """One query as rows; fields that this nvidia-smi does not know (older drivers) are left out."""
    left = list(fields)
    while left:
        try:
            text = _run(tool, f"--query-{kind}={','.join(left)}", "--format=csv,noheader,nounits")
        except SmiError as error:
            unknown = _UNKNOWN_FIELD.search(str(error))
            if unknown is None or unknown[1] not in left:
                raise
            left.remove(unknown[1])
            continue
        lines = [[column.strip() for column in line] for line in csv.reader(text.splitlines())]
        return [dict(zip(left, line, strict=True)) for line in lines if len(line) == len(left)]
    return []


def _run(tool: str, *arguments: str) -> str:
    try:
        done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise SmiError(f"nvidia-smi gave no answer in {_TIMEOUT_S} s: look in dmesg") from error
    except OSError as error:
        raise SmiError(f"nvidia-smi cannot be started ({error})") from error
    if done.returncode != 0:
        raise SmiError(f"nvidia-smi says: {' '.join((done.stdout + done.stderr).split())}")
    return done.stdout


def _row(line: Mapping[str, str], holders: list[dict[str, str]]) -> Row:
    capability = re.fullmatch(r"(\d+)\.(\d+)", line.get("compute_cap", ""))
    facts = {name: _fact(line[key]) for key, name in _FACTS.items() if _known(line.get(key, ""))}
    uuid = line.get("uuid", "")
    held = [one for one in holders if one.get("gpu_uuid") == uuid and one.get("pid", "").isdecimal()]
    return Row(
        driver=line.get("driver_version", ""),
        uuid=uuid,
        name=line.get("name", ""),
        capability=(int(capability[1]), int(capability[2])) if capability else (0, 0),
        memory_mb=_number(line.get("memory.total", "")),
        facts=facts,
        processes={int(one["pid"]): _number(one.get("used_gpu_memory", "")) for one in held},
    )


def _with_mig(cards: list[Row], listing: str) -> list[Row]:
    """The cards with their MIG devices in their place, from ``nvidia-smi -L``; it does not tell their memory."""
    devices: dict[str, list[tuple[str, str]]] = {}
    card = ""
    for line in listing.splitlines():
        if head := _CARD.match(line):
            card = head[1]
        elif device := _MIG.match(line):
            devices.setdefault(card, []).append((device[1], device[2]))
    found = []
    for row in cards:
        if row.facts.get("MIG") != "on":
            found.append(row)
        for profile, uuid in devices.get(row.uuid, []):
            facts = {**row.facts, "MIG": f"{profile} of {row.uuid}"}
            size = re.search(r"(\d+)gb", profile)
            memory = int(size[1]) * 1024 if size else 0
            name = f"{row.name} MIG {profile}"
            found.append(replace(row, uuid=uuid, name=name, memory_mb=memory, facts=facts, processes={}))
    return found


def _fact(value: str) -> str:
    number = re.fullmatch(r"(\d+)\.\d+", value)
    return number[1] if number else _WORDS.get(value, value.lower().replace("_", " ") if "_" in value else value)


def _known(value: str) -> bool:
    return bool(value) and not value.startswith("[")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
