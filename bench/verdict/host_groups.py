"""What several hosts with one device model show about an environment: the results of ``bench.verdict.hosts``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A digest group's letter, or the value of a fact, with the hosts that have it.
Bits = tuple[str, tuple[str, ...]]


class Agreement(StrEnum):
    """What several hosts show about one kernel."""

    AGREE = "agree"
    CONFLICT = "conflict"
    UNKNOWN = "not comparable"


@dataclass(frozen=True, kw_only=True)
class HostResult:
    """One kernel in one mode on all hosts of a group.

    ``groups`` has the letter of each digest group with its hosts, the most hosts first; a host whose own columns differ
    is there by their ids. ``dissenting`` names the hosts that differ from a majority of all hosts, none without a
    majority of at least two. ``why`` says which hosts are not comparable and why, "" where all are.
    """

    kernel: str
    mode: str
    agreement: Agreement
    groups: tuple[Bits, ...] = ()
    dissenting: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class HostGroup:
    """Columns with one environment on one device model, and what their hosts show about each kernel.

    ``measured`` has every column with the name of its host. ``same_host`` has columns that name different hosts and are
    of one host by their records. ``differing`` maps a fact that is not the same on all hosts to its values with their
    hosts. A group of a single host has only results that are not comparable, and conflicts between its own columns,
    such as those of two GPUs.
    """

    model: str
    measured: tuple[tuple[str, str], ...]
    same_host: tuple[tuple[str, ...], ...] = ()
    differing: Mapping[str, tuple[Bits, ...]] = field(default_factory=dict)
    results: tuple[HostResult, ...] = ()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The ids of the columns."""
        return tuple(column for column, _ in self.measured)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of the hosts."""
        return tuple(dict.fromkeys(host for _, host in self.measured))

    def of(self, mode: str, agreement: Agreement) -> tuple[HostResult, ...]:
        """Return the results of one mode that agree, are in conflict, or are not comparable."""
        return tuple(one for one in self.results if (one.mode, one.agreement) == (mode, agreement))
