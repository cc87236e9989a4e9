"""Ids of processes, and what each repetition begins with."""

from __future__ import annotations

import os
import random
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

from bench.suite import processes, sampler

if TYPE_CHECKING:
    import pytest


def test_processes_are_started_to_skip_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def spawn(*_: object) -> int:
        started.append(os.posix_spawn("/bin/sh", ["sh", "-c", "exit"], os.environ))
        return started[-1]

    monkeypatch.setattr(os, "posix_spawnp", spawn)
    numbers = iter([0, 3])
    monkeypatch.setattr(random.SystemRandom, "randrange", lambda *_: next(numbers))
    processes.skip_process_ids()
    assert started == []
    processes.skip_process_ids()
    assert len(set(started)) == 3
    assert not processes.has_children(), "they are reaped"


def test_without_a_program_to_start_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(random.SystemRandom, "randrange", lambda *_: 2)
    processes.skip_process_ids()


def test_the_session_of_every_keras_is_cleared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[str] = []

    def package(name: str) -> SimpleNamespace:
        return SimpleNamespace(backend=SimpleNamespace(clear_session=lambda: cleared.append(name)))

    own, legacy = package("tf.keras"), package("tf_keras")
    monkeypatch.setitem(sys.modules, "keras", own)
    monkeypatch.setitem(sys.modules, "tf_keras", legacy)
    sampler.clear_sessions(SimpleNamespace(keras=own))
    assert cleared == ["tf.keras", "tf_keras"]
    monkeypatch.delitem(sys.modules, "tf_keras")
    sampler.clear_sessions(SimpleNamespace(keras=own))
    assert cleared == ["tf.keras", "tf_keras", "tf.keras"]
