"""``nox -s audit``: the real pip-audit asks a server of this test; no answer is never a good result."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from bench import errors
from tests import audit

if TYPE_CHECKING:
    from collections.abc import Iterator

ADVISORY = {
    "id": "PYSEC-2099-1",
    "summary": "a vulnerability that does not exist",
    "published": "2026-01-01T00:00:00Z",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}],
        }
    ],
}


@contextmanager
def database(*vulnerable: str) -> Iterator[list[str]]:
    """Serve advisories for some packages, and yield the options that name this database."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requested = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = requested["package"]["name"] in vulnerable
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"vulns": [ADVISORY]} if known else {}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield ["--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{server.server_port}/v1/query"]
        finally:
            server.shutdown()


def test_the_host_needs_what_its_requirements_require() -> None:
    found = audit.dependencies()
    assert {"docker", "jinja2", "markupsafe", "urllib3", "uv"} <= set(found)
    assert "tfrepro" not in found
    assert "pytest" not in found


def test_a_known_vulnerability_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with database("jinja2") as options:
        assert audit.main(options) == errors.GATE
    text = capsys.readouterr().out
    assert f"jinja2 {audit.dependencies()['jinja2']}: PYSEC-2099-1, fixed in 999" in text
    assert "1 known vulnerabilities" in text


def test_no_known_vulnerability_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with database() as options:
        assert audit.main(options) == errors.OK
    assert f"{len(audit.dependencies())} packages audited, 0 known" in capsys.readouterr().out


def test_a_database_that_is_not_there_is_not_a_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/v1/query"]) == errors.ENGINE
    printed = capsys.readouterr().err
    assert "NOT AUDITED: the advisory database was not reached" in printed
    assert "This is not a result." in printed


def test_a_package_that_the_database_does_not_know_is_not_a_pass() -> None:
    # as pip-audit answers, with exit code 0, behind a mirror without advisories
    skipped = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (1)"}
    answers: list[dict[str, Any]] = [{"name": "a", "version": "1", "vulns": []}, skipped]
    with pytest.raises(errors.EngineError, match=r"knows nothing about 1 of 2 packages: b\."):
        audit.findings({"a": "1", "b": "1"}, answers)
    with pytest.raises(errors.EngineError, match=r"2 of 2 packages: a, b\."):
        audit.findings({"a": "1", "b": "1"}, [])
