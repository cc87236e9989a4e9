"""What several hosts with one device model show about an environment."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.view.fields import Facts, Hidden


@dataclass(frozen=True, kw_only=True)
class MeasuredHost:
    """A host, and the column that it measured."""

    column: str
    host: str


@dataclass(frozen=True, kw_only=True)
class HostBits:
    """A digest group of a kernel by its letter, with the hosts that gave these bits."""

    letter: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HostRow:
    """A kernel that is not known to have the same bits on all hosts: ``agreement`` is "conflict" or "not comparable".

    ``dissenting`` names the hosts that differ from a majority of all hosts. ``why`` says which hosts are not
    comparable, and the reason. ``text`` says all of this.
    """

    kernel: str
    mode: str
    agreement: str
    text: Hidden[str]
    groups: tuple[HostBits, ...] = ()
    dissenting: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class HostComparison:
    """One environment on one device model that several hosts measured, under the variation that decides.

    ``same_bits_off`` and ``same_bits_on`` count the kernels with the same bits on all hosts, of ``kernels`` each;
    ``rows`` has the others. ``differing`` has the facts that are not the same on all hosts, such as the driver.
    """

    label: str
    hosts: tuple[MeasuredHost, ...]
    sentences: tuple[str, ...]
    differing: Facts = ()
    same_bits_off: int = 0
    same_bits_on: int = 0
    kernels: int = 0
    rows: tuple[HostRow, ...] = ()
