"""Unit tests reach no Docker engine and no network, and wait for no run that measures on this host."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NoReturn

import docker.api.client
import pytest

from bench.portable import lock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        message = "a unit test reached for the network or for Docker"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(docker.api.client.APIClient, "__init__", refuse)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(lock, "HOST_LOCK_FOLDER", tmp_path)
