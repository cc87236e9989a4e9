"""Faults of package indexes and builds: the reason is in the error, and the other columns are measured."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from bench import errors
from tests.faults.conftest import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import Checkout


class Index(BaseHTTPRequestHandler):
    """A package index that does what the first part of the address says."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "stall":
            time.sleep(20)
        elif kind == "garbage" and self.path.endswith(".whl"):
            self.answer(200, "application/octet-stream", b"PK garbage" * 50)
        elif kind == "garbage":
            name = self.path.strip("/").split("/")[-1].replace("-", "_")
            version = {"numpy": "1.26.4", "keras": "3.15.1"}.get(name, "2.18.1")
            file = f"{name}-{version}-py3-none-any.whl"
            self.answer(200, "text/html", f'<a href="/garbage/{file}">{file}</a>'.encode())
        elif kind == "trickle":
            self.trickle()
        elif kind == "binary":
            self.answer(200, "text/html", b"\xff\xfe\x00" * 1000)
        else:
            self.answer(int(kind), "text/plain", b"no")

    do_HEAD = do_GET  # noqa: N815 - the name is that of the base class

    def answer(self, status: int, kind: str, body: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def trickle(self) -> None:
        """Send one byte every half second."""
        with suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            for _ in range(120):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.5)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def use(checkout: Checkout, index: str) -> None:
    """Let a run install everything from an index, with nothing in any cache."""
    for name in ("UV_FIND_LINKS", "UV_CACHE_DIR", "XDG_CACHE_HOME"):
        checkout.environment[name] = str(checkout.folder / name.lower())
    (checkout.folder / "uv_find_links").mkdir()
    checkout.environment |= {"UV_DEFAULT_INDEX": index, "UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "1"}


def kind(name: str, says: str, words: str) -> object:
    result = "The column is build-failed with that reason, and the command ends with exit code 4."
    return pytest.param(name, says, id=name, marks=pytest.mark.fault(f"The package index {words}", result))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        kind("404", "numpy was not found in the package registry", "does not have the packages (404)"),
        kind("500", "500 Internal Server Error", "fails (500)"),
        kind("403", "numpy was not found in the package registry", "refuses access (403)"),
        kind("drop", "connection closed", "closes the connection"),
        kind("stall", "package index", "does not answer in time"),
        kind("binary", "no version of numpy", "answers with garbage"),
        kind("garbage", "Failed to download", "serves other files than the lock pins"),
        kind("trickle", "its installation has not finished after 0.5 min", "sends a byte every half second"),
        kind("dead", "package index", "is down"),
    ],
)
def test_a_package_index_that_fails(checkout: Checkout, index: str, name: str, says: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        use(checkout, f"http://127.0.0.1:{closed.getsockname()[1]}" if name == "dead" else f"{index}/{name}/simple")
        done = checkout.run(*checkout.builtin())
    assert done.code == errors.ENGINE, done.err
    assert says in done.err, done.err
    (column,) = checkout.newest().info.columns
    assert column.status == "build-failed"
    assert says in column.reason
    assert "hint: " in done.err


@pytest.mark.fault(
    "An index with a password in its address fails",
    "The password is in no message, log, record or page.",
)
def test_a_password_of_the_index_is_written_nowhere(checkout: Checkout, index: str) -> None:
    use(checkout, f"{index.replace('//', '//planted-user:planted-password@')}/404/simple")
    done = checkout.run(*checkout.builtin())
    assert done.code == errors.ENGINE, done.err
    files = [path for path in checkout.reports.rglob("*") if path.is_file()]
    assert {"index.html", "build.log", "run.json"} <= {path.name for path in files}
    for text in (done.out, done.err, *(path.read_bytes().decode("utf-8", "replace") for path in files)):
        assert "planted" not in text


@pytest.mark.fault(
    "One of two environments has a damaged wheel",
    "Its column is build-failed with the name of the package; the other one is measured; exit code 4.",
)
def test_a_damaged_wheel_costs_only_its_own_column(checkout: Checkout) -> None:
    wheels = checkout.folder / "wheels"
    shutil.copytree(checkout.environment["UV_FIND_LINKS"], wheels)
    damaged = next(wheels.glob("tensorflow_cpu-2.21.0-*"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:400] + b"damaged" + content[407:])
    checkout.environment["UV_FIND_LINKS"] = str(wheels)
    checkout.environment["XDG_CACHE_HOME"] = str(checkout.folder / "cache")  # nothing is built yet
    done = checkout.run(*checkout.builtin("--env", "tf2.18*,tf2.21*"))
    assert done.code == errors.ENGINE, done.err
    assert "tensorflow-cpu" in done.err
    run = checkout.newest()
    assert [column.status for column in run.info.columns] == ["ready", "build-failed"]
    assert len(run.records) == 1


@pytest.mark.fault(
    "A wheel has another hash than the lock pins",
    "Its column is build-failed; the other one is measured; exit code 4.",
)
def test_a_wrong_hash_costs_only_its_own_column(checkout: Checkout) -> None:
    root = shutil.copytree(checkout.root, checkout.folder / "root")
    (lock,) = (root / "docker" / "locks").glob("tf2.21.0-cpu-*")
    pin = re.compile(r"(?<=^keras==3\.15\.1 --hash=sha256:)\w+", re.MULTILINE)
    lock.write_text(pin.sub("0" * 64, lock.read_text(encoding="utf-8")), encoding="utf-8")
    copy = replace(checkout, root=root)
    done = copy.run(*copy.builtin("--env", "tf2.18*,tf2.21*"))
    assert done.code == errors.ENGINE, done.err
    assert "keras" in done.err
    assert lock.name in done.err
    run = copy.newest()
    assert [column.status for column in run.info.columns] == ["ready", "build-failed"]
    assert {record.request.column for record in run.records.values()} == {run.info.columns[0].id}
    page = (copy.reports / "index.html").read_text(encoding="utf-8")
    assert "build-failed" in page
    assert "keras" in page


@pytest.mark.fault(
    "The Python of a pair does not exist", "Its column is build-failed, and the error names the version; exit code 4."
)
def test_a_python_that_does_not_exist(checkout: Checkout) -> None:
    text = (checkout.root / "matrix.toml").read_text(encoding="utf-8")
    matrix = checkout.folder / "matrix.toml"
    matrix.write_text(text.replace('keras = "3.15.1"\n', 'keras = "3.15.1"\npython = "3.99"\n', 1), encoding="utf-8")
    locks = checkout.root / "docker" / "locks"
    shutil.copy(next(locks.glob("tf2.18.1*")), locks / "tf2.18.1-cpu-py399.txt")
    done = checkout.run(*checkout.builtin("--matrix", str(matrix)))
    assert done.code in {errors.ENGINE, errors.CONFIG}, done.err
    assert "3.99" in done.err


@pytest.mark.fault(
    "Ctrl-C while an environment is built", "The command ends with exit code 130; the next run builds it again."
)
def test_ctrl_c_during_a_build(checkout: Checkout, index: str) -> None:
    good = dict(checkout.environment)
    use(checkout, f"{index}/stall/simple")
    checkout.environment["UV_HTTP_TIMEOUT"] = "60"
    child = checkout.start(*checkout.builtin())
    checkout.wait_for(lambda: list(checkout.reports.glob("runs/*/logs/*/build.log")), "no build", 60)
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == errors.INTERRUPTED, err
    checkout.wait_for(lambda: not checkout.processes(), "uv was left running", 10)
    checkout.environment = good | {"XDG_CACHE_HOME": checkout.environment["XDG_CACHE_HOME"]}
    done = checkout.matrix()
    assert done.code == 0, done.err
    assert outcomes(checkout.newest()) == {"sound": {"ok"}}


@pytest.mark.fault(
    "Files of an installed environment are damaged", "The damage is found before the run, and the environment rebuilt."
)
@pytest.mark.parametrize("what", ["bin/python", "tfrepro.whole", "lib/*/site-packages/tensorflow"])
def test_an_installed_environment_is_damaged(checkout: Checkout, what: str) -> None:
    (target,) = installed(checkout).glob(what)
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    done = checkout.run(*checkout.builtin())
    assert done.code == 0, done.err
    assert "environment built" in done.err


@pytest.mark.fault("A file of TensorFlow is edited after its installation", "It is found, and the environment rebuilt.")
def test_an_edited_environment_is_rebuilt(checkout: Checkout) -> None:
    (victim,) = installed(checkout).glob("lib/*/site-packages/tensorflow/__init__.py")
    text = victim.read_text(encoding="utf-8")
    victim.unlink()  # write a new file, because the old one is hard-linked to uv's cache
    victim.write_text(text.replace("float32", "float64", 1), encoding="utf-8")
    done = checkout.run(*checkout.builtin())
    assert done.code == 0, done.err
    assert "environment built" in done.err
    assert victim.read_text(encoding="utf-8") == text
    done = checkout.run(*checkout.builtin())
    assert done.code == 0, done.err
    assert "environment built" not in done.err


def installed(checkout: Checkout) -> Path:
    """Install an environment for one test and return its folder."""
    checkout.environment["XDG_CACHE_HOME"] = str(checkout.folder / "cache")
    assert checkout.run(*checkout.builtin()).code == 0
    (place,) = (path for path in (checkout.folder / "cache/tfrepro/venvs").iterdir() if path.is_dir())
    return place
