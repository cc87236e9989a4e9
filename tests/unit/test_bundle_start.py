"""Starting a bundle: what it deletes, refuses, verifies and ends. The start script runs as a process of its own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.portable import bundle_install, bundle_start
from bench.portable.errors import PortableError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Stands for uv: makes an environment whose Python notes its arguments, and sleeps if the plan is measured.
UV = """#!/bin/sh
for last; do :; done
case " $* " in *" venv "*)
  mkdir -p "$last/bin"
  calls="${last%/venv}/calls"
  printf '#!/bin/sh\\necho "$*" >> %s\\ncase "$*" in *run_plan*) MEASURE ;; esac\\n' "$calls" > "$last/bin/python"
  chmod +x "$last/bin/python"
esac
"""


def digest(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


@pytest.fixture
def made(root: Path, tmp_path: Path) -> Path:
    """A bundle with the real portable code, whose uv and Python are shell scripts."""
    return make(root, tmp_path / "made")


def make(root: Path, folder: Path, measure: str = "exit 0", uv: str = UV, engine: str = "venv") -> Path:
    """Write a small bundle; ``measure`` is the shell command that stands for the measurement, ``uv`` the one for uv."""
    folder.mkdir()
    files = {
        "lock.txt": b"",
        "plan-quick.json": b"{}",
        "wheels/a.whl": b"wheel",
        "uv" if engine == "venv" else "image.tar": uv.replace("MEASURE", measure).encode(),
    }
    for package in ("bench/portable", "bench/suite"):
        for path in (root / package).rglob("*.py"):
            files[f"root/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    files["root/bench/__init__.py"] = b""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (folder / "part-000").write_bytes(stream.getvalue())
    starters = {}
    for name in ("run-bundle.sh", "bundle_start.py"):
        shutil.copy(root / "bench" / "portable" / name, folder / name)
        starters[name] = digest((folder / name).read_bytes())
    manifest = {
        "schema": 1, "kind": "tfrepro bundle", "pair": "tf2.18.1-cpu", "python": "3.11", "engine": engine,
        "lock": "a.txt", "profiles": ["quick"], "bytes": len(stream.getvalue()),
        "parts": {"part-000": digest(stream.getvalue())},
        "files": {name: digest(content) for name, content in files.items()}, "starters": starters,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def command(bundle: Path, *options: str) -> list[str]:
    return ["sh", str(bundle / "run-bundle.sh"), *options]


#: The interpreter of the offline host: another one can be named, to run these tests with Python 3.9.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "TFREPRO_PYTHON": os.environ.get("TFREPRO_PYTHON", sys.executable)}


def start(bundle: Path, *options: str, **more: Any) -> tuple[int, str]:
    """Start a bundle; returns its exit code and output. No failure of it may be a traceback."""
    done = subprocess.run(
        command(bundle, *options), capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=60, **more
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    return done.returncode, output


def refused(bundle: Path, *options: str, code: int = 2) -> str:
    """Start a bundle that must be refused with a hint; returns the output."""
    found, output = start(bundle, *options)
    assert found == code, output
    assert "error: " in output
    assert "\nhint: " in output
    return output


def test_a_bundle_is_installed_once_and_prints_its_digest_first(made: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    code, output = start(made, "--dir", str(work), "--rounds", "2")
    assert code == 0, output
    assert output.splitlines()[0] == f"manifest SHA-256 {digest((made / 'manifest.json').read_bytes())['sha256']}"
    assert start(made, "--dir", str(work), "--dry")[0] == 0
    checked, measured, again, dry = (work / "calls").read_text().splitlines()
    assert checked == again == "-m bench.suite.verify_install", "installed files are verified at each start"
    records = f"-m bench.portable.run_plan {work}/bundle/plan-quick.json --out {work}/records-quick"
    assert (measured, dry) == (f"{records} --rounds 2", f"{records} --dry")
    assert not list(work.rglob("__pycache__"))


# --- folders of somebody else


@pytest.mark.fault(
    "run-bundle.sh gets a folder that is not its own", "It is refused with exit code 2, and nothing in it changes."
)
@pytest.mark.parametrize("name", ["venv/pyvenv.cfg", "bundle/letter.txt", "uv-cache/x", "verified", "notes.txt"])
def test_a_folder_of_somebody_else_is_left_alone(made: Path, tmp_path: Path, name: str) -> None:
    own = tmp_path / "home" / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    output = refused(made, "--dir", str(tmp_path / "home"))
    assert "home was not made by run-bundle.sh" in output
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == [own]
    assert own.read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "was not made by run-bundle.sh" in refused(made, "--dir", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_can_be_used(made: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert start(made, "--dir", str(tmp_path / "work"))[0] == 0


@pytest.mark.fault("A link or a pipe is in the folder of a bundle", "It is refused; nothing is written through it.")
@pytest.mark.parametrize("name", ["bundle", "venv", "uv-cache", "verified", "records-quick"])
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_links_and_pipes_in_a_marked_folder_are_not_followed(made: Path, tmp_path: Path, name: str, kind: str) -> None:
    other, work = tmp_path / "other", tmp_path / "work"
    other.mkdir()
    (other / "mine").write_text("mine")
    bundle_start.claim(work)
    (work / name).symlink_to(other) if kind == "link" else os.mkfifo(work / name)
    assert f"{name} was not made by run-bundle.sh" in refused(made, "--dir", str(work))
    assert [path.name for path in other.iterdir()] == ["mine"]


def test_the_marker_may_not_be_a_link(made: Path, tmp_path: Path) -> None:
    bundle_start.claim(tmp_path / "work")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / bundle_start._MARKER).symlink_to(tmp_path / "work" / bundle_start._MARKER)
    assert "home was not made by run-bundle.sh" in refused(made, "--dir", str(tmp_path / "home"))


def test_a_newer_bundle_replaces_the_older_one_and_keeps_records(made: Path, tmp_path: Path, root: Path) -> None:
    work = tmp_path / "work"
    assert start(made, "--dir", str(work))[0] == 0
    (work / "records-quick").mkdir()
    (work / "records-quick" / "mine").touch()
    newer = make(root, tmp_path / "newer", "exit 3")
    assert start(newer, "--dir", str(work))[0] == 3
    assert (work / "records-quick" / "mine").exists()


# --- manifests of another shape


GONE = object()


def change(**changes: Any) -> Callable[[dict[str, Any]], str]:
    """A function that returns the manifest's text with other values; ``GONE`` leaves out a key."""
    return lambda manifest: json.dumps(
        {key: value for key, value in {**manifest, **changes}.items() if value is not GONE}
    )


def renamed(table: str, name: str) -> Callable[[dict[str, Any]], str]:
    """A function that returns the manifest's text with one file of another name."""
    return lambda manifest: json.dumps({**manifest, table: {**manifest[table], name: digest(b"")}})


SHAPES: dict[str, Callable[[dict[str, Any]], str]] = {
    **{text: (lambda _, text=text: text) for text in ("", "{}", "[]", "null", "3", '"x"', "{", "NaN")},  # type: ignore[misc]
    "deep": lambda _: "[" * 200_000,
    "deep object": lambda _: '{"a":' * 200_000,
    "huge integer": lambda manifest: json.dumps(manifest).replace('"schema": 1', '"schema": ' + "9" * 1_000_000),
    "large integer": lambda manifest: json.dumps(manifest).replace('"schema": 1', '"schema": 1' + "0" * 400),
    **{f"no {key}": change(**{key: GONE}) for key in (
        "kind", "schema", "pair", "python", "engine", "lock", "profiles", "bytes", "parts", "files", "starters"
    )},
    **{f"list for {key}": change(**{key: [[]]}) for key in (
        "kind", "schema", "pair", "python", "engine", "lock", "profiles", "bytes", "parts", "files", "starters"
    )},
    "infinite size": change(bytes=float("inf")),
    "negative size": change(bytes=-1),
    "size of a part as text": change(parts={"part-000": {"sha256": "0" * 64, "bytes": "5"}}),
    "negative size of a part": change(parts={"part-000": {"sha256": "0" * 64, "bytes": -5}}, bytes=-5),
    "true as a size": change(parts={"part-000": {"sha256": "0" * 64, "bytes": True}}, bytes=1),
    "no hash": change(parts={"part-000": {"bytes": 5}}),
    "other engine": change(engine="sh"),
    "python is an option": change(python="--help"),
    "profile leads away": change(profiles=["../../x"]),
    "profile with a format": change(profiles=["%(x)s"]),
    "pair with a format": change(pair="%(prog)s %(x)s"),
    "control characters": change(pair="\x1b[2J"),
    "no plan": change(profiles=["nosuch"]),
    **{f"{table} named {name!a}": renamed(table, name) for table in ("parts", "files", "starters") for name in (
        "../x", "/etc/passwd", "", ".", "a//b", "a/../../b", "a\0b", "\ud800"
    )},
    "part in a folder": renamed("parts", "a/b"),
}  # fmt: skip


@pytest.mark.fault("The manifest of a bundle has another shape", "The bundle is refused with exit code 2 and a hint.")
@pytest.mark.parametrize("name", SHAPES)
def test_a_manifest_of_another_shape_is_refused(made: Path, tmp_path: Path, name: str) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(SHAPES[name](manifest))
    assert "manifest.json of the bundle cannot be read (" in refused(made, "--dir", str(tmp_path / "work"))
    assert not (tmp_path / "work").exists()


def test_a_manifest_that_is_not_utf8_is_refused(made: Path) -> None:
    (made / "manifest.json").write_bytes(b'{"kind": "\xff"}')
    assert "manifest.json of the bundle cannot be read (" in refused(made)


@pytest.mark.parametrize("name", ["manifest.json", "part-000"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "endless"])
def test_another_kind_of_file_is_refused(made: Path, tmp_path: Path, name: str, kind: str) -> None:
    path = made / name
    path.unlink()
    {"fifo": os.mkfifo, "folder": os.mkdir, "endless": lambda path: path.symlink_to("/dev/zero")}[kind](path)
    assert "not a regular file" in refused(made, "--dir", str(tmp_path / "work"))


def test_an_archive_with_other_files_is_refused(made: Path, tmp_path: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    del manifest["files"]["wheels/a.whl"]
    (made / "manifest.json").write_text(json.dumps(manifest))
    assert "contains 'wheels/a.whl', which its manifest does not name" in refused(made, "--dir", str(tmp_path / "work"))


def test_a_bundle_without_its_code_is_refused(made: Path, tmp_path: Path) -> None:
    """Its manifest agrees with its parts, but what must be imported is missing."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("lock.txt", "plan-quick.json", "uv"):
            archive.addfile(tarfile.TarInfo(name))
    (made / "part-000").write_bytes(content.getvalue())
    manifest = json.loads((made / "manifest.json").read_text())
    files = {name: digest(b"") for name in ("lock.txt", "plan-quick.json", "uv")}
    part = digest(content.getvalue())
    manifest.update(parts={"part-000": part}, bytes=part["bytes"], files=files)
    (made / "manifest.json").write_text(json.dumps(manifest))
    assert "the bundle is incomplete" in refused(made, "--dir", str(tmp_path / "work"))


# --- signatures, as docs/how-to/air-gapped.md describes them


def documented(root: Path, made: Path) -> list[str]:
    """The command lines of the how-to: sign, list the key, verify the signature, verify what starts the bundle."""
    page = (root / "docs" / "how-to" / "air-gapped.md").read_text(encoding="utf-8")
    section = page.partition("## Sign a bundle")[2].partition("\n## ")[0]
    blocks = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    return [line.replace("DIR/", f"{made}/") for block in blocks for line in block.splitlines()]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen on the PATH")
def test_a_signature_shows_any_change(root: Path, made: Path, tmp_path: Path) -> None:
    def shell(line: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        return done.returncode, done.stdout + done.stderr

    def key(name: str) -> None:
        assert shell(f"ssh-keygen -q -t ed25519 -N '' -f {name}")[0] == 0

    sign, accept, verify, starters = documented(root, made)
    key("tfrepro-key")
    output = ""
    for line in (sign, accept, verify):
        code, output = shell(line)
        assert code == 0, output
    assert 'Good "tfrepro-bundle" signature for bundles' in output
    assert shell(starters) == (0, "")
    assert start(made, "--dir", str(tmp_path / "work"))[0] == 0, "a signed bundle is used like any other"
    manifest = (made / "manifest.json").read_text()
    (made / "manifest.json").write_text(manifest.replace("tf2.18.1-cpu", "tf2.18.0-cpu"))
    code, output = shell(verify)
    assert code != 0
    assert "incorrect signature" in output
    (made / "manifest.json").write_text(manifest)
    assert shell(verify)[0] == 0
    with (made / "bundle_start.py").open("a") as stream:
        stream.write("# edited\n")
    assert shell(starters) == (0, "bundle_start.py was changed\n")
    key("another-key")
    (made / "manifest.json.sig").unlink()
    assert shell(sign.replace("tfrepro-key", "another-key"))[0] == 0
    assert shell(verify)[0] != 0, "it was signed with a key that is not accepted"


# --- what was changed after it was verified


@pytest.mark.fault(
    "A file of a bundle is edited after it was verified",
    "It is found at the next start, before it is executed or installed.",
)
@pytest.mark.parametrize("name", ["uv", "lock.txt", "plan-quick.json", "root/bench/portable/run_plan.py"])
def test_a_file_that_was_edited_after_unpacking_is_not_used(made: Path, tmp_path: Path, name: str) -> None:
    work = tmp_path / "work"
    assert start(made, "--dir", str(work))[0] == 0
    calls = (work / "calls").read_text()
    content = (work / "bundle" / name).read_bytes()
    (work / "bundle" / name).write_bytes(content.replace(b"\n", b" ", 1) if b"\n" in content else b"x")
    output = refused(made, "--dir", str(work))
    assert f"{name} is damaged" in output
    assert f"Remove {work}/verified to unpack and install again; records are kept." in output
    assert (work / "calls").read_text() == calls
    (work / "verified").unlink()
    assert start(made, "--dir", str(work))[0] == 0


@pytest.mark.parametrize("name", ["root/json.py", "root/bench/__pycache__/x.pyc", "root/sitecustomize.py"])
def test_a_foreign_file_among_the_unpacked_ones_is_refused(made: Path, tmp_path: Path, name: str) -> None:
    work = tmp_path / "work"
    assert start(made, "--dir", str(work))[0] == 0
    (work / "bundle" / name).parent.mkdir(exist_ok=True)
    (work / "bundle" / name).write_text("raise SystemExit(99)")
    assert f"{name} is not a file of the bundle" in refused(made, "--dir", str(work))


def test_a_link_to_an_equal_file_is_refused(made: Path, tmp_path: Path) -> None:
    """It could lead to another file a moment later."""
    work = tmp_path / "work"
    assert start(made, "--dir", str(work))[0] == 0
    (work / "bundle" / "uv").rename(tmp_path / "uv")
    (work / "bundle" / "uv").symlink_to(tmp_path / "uv")
    assert "uv cannot be read" in refused(made, "--dir", str(work))


def test_wheels_are_verified_until_they_are_installed(made: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert start(made, "--dir", str(work))[0] == 0
    (work / "bundle" / "wheels" / "a.whl").write_bytes(b"other")
    assert start(made, "--dir", str(work))[0] == 0
    (work / "venv" / "tfrepro.whole").unlink()
    assert "wheels/a.whl is damaged" in refused(made, "--dir", str(work))


def test_a_starter_that_was_edited_is_noticed(made: Path, tmp_path: Path) -> None:
    with (made / "run-bundle.sh").open("a") as stream:
        stream.write("# edited\n")
    assert "run-bundle.sh is damaged" in refused(made, "--dir", str(tmp_path / "work"))


def test_modules_beside_the_start_script_and_in_the_current_folder_are_not_imported(made: Path, tmp_path: Path) -> None:
    (made / "argparse.py").write_text("raise SystemExit(99)")
    (tmp_path / "here" / "bench").mkdir(parents=True)
    (tmp_path / "here" / "bench" / "__init__.py").write_text("raise SystemExit(99)")
    code, output = start(made, "--dir", str(tmp_path / "work"), cwd=tmp_path / "here")
    assert code == 0, output


# --- Docker


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        ("echo $* >&2; exit 1", "Docker cannot load the image: load --quiet --input WORK/bundle/image.tar", "--dir"),
        ("exit 7", "Docker cannot load the image: exit code 7", "--dir"),
        ("", "Docker cannot load the image: docker cannot be started (No such file or directory)", "installed"),
    ],
)
def test_an_image_that_cannot_be_loaded_is_an_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str, hint: str
) -> None:
    if script:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "docker").chmod(0o755)
    for program in ("sh", "dirname"):
        (tmp_path / program).symlink_to(f"/bin/{program}")
    monkeypatch.setitem(ENVIRONMENT, "PATH", str(tmp_path))  # without the Docker of this host
    bundle = make(root, tmp_path / "made", engine="docker")
    output = refused(bundle, "--dir", str(tmp_path / "work"), code=4)
    assert message.replace("WORK", str(tmp_path / "work")) in output
    assert hint in output.partition("hint: ")[2]


# --- waits and signals


def ended(file: Path) -> bool:
    """Whether the process that a file names has ended."""
    with suppress(ProcessLookupError):
        os.kill(int(file.read_text()), 0)
        return Path(f"/proc/{file.read_text().strip()}/stat").read_text().split(") ")[1][0] == "Z"
    return True


def wait_for(what: Callable[[], bool]) -> None:
    for _ in range(600):
        if what():
            return
        time.sleep(0.05)
    pytest.fail("it has not happened within 30 s")


@pytest.mark.fault(
    "A command of a bundle's installation does not end",
    "It is ended with its children, and the error says what was waited for.",
)
def test_a_command_that_does_not_end_is_stopped_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_install, "_LIMIT_S", 1)
    script = f"sleep 300 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(PortableError, match=r"The wheels cannot be installed: sh has not ended within 1 s") as caught:
        bundle_install._command(["sh", "-c", script], tmp_path, "The wheels cannot be installed")
    assert caught.value.hint
    wait_for(lambda: ended(tmp_path / "child"))


@pytest.mark.fault("A bundle gets Ctrl-C, SIGTERM or SIGHUP", "All its processes end; the message says how to resume.")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stage", ["install", "measure"])
def test_a_signal_ends_all_children(root: Path, tmp_path: Path, number: signal.Signals, stage: str) -> None:
    waits = f"sleep 300 & echo $! > {tmp_path}/child; wait"
    bundle = make(root, tmp_path / "made", waits, f"#!/bin/sh\n{waits}\n" if stage == "install" else UV)
    child = subprocess.Popen(
        command(bundle, "--dir", str(tmp_path / "work")), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    wait_for(lambda: (tmp_path / "child").exists() and bool((tmp_path / "child").read_text()))
    child.send_signal(number)
    _, output = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "interrupted: run the same command again to resume" in output
    wait_for(lambda: ended(tmp_path / "child"))


def test_nohup_is_respected(root: Path, tmp_path: Path) -> None:
    bundle = make(root, tmp_path / "made", f"echo 1 > {tmp_path}/child; sleep 2; exit 3")
    child = subprocess.Popen(["nohup", *command(bundle, "--dir", str(tmp_path / "work"))], env=ENVIRONMENT)
    wait_for((tmp_path / "child").exists)
    child.send_signal(signal.SIGHUP)
    assert child.wait(timeout=30) == 3


def test_a_measurement_that_is_killed_is_an_error(root: Path, tmp_path: Path) -> None:
    bundle = make(root, tmp_path / "made", "kill -9 $$")
    assert "The measurement was ended by signal 9" in refused(bundle, "--dir", str(tmp_path / "work"), code=4)
