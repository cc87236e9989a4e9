"""Unit tests reach no Docker engine and no network."""

from __future__ import annotations

import socket
from typing import NoReturn

import docker.api.client
import pytest


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        message = "a unit test reached for the network or for Docker"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(docker.api.client.APIClient, "__init__", refuse)
    monkeypatch.delenv("NO_COLOR", raising=False)
