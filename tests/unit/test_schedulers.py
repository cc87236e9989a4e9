"""docs/how-to/nightly.md: every example for a scheduler is valid, and those that can run here do run."""

from __future__ import annotations

import email
import email.policy
import importlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.cli.parser import MODULES, parser
from bench.plan.config_models import Matrix
from bench.portable.lock import HOST_LOCK_FOLDER
from tests.reference_pages import ROOT
from tests.unit.test_docs import blocks

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "how-to" / "nightly.md"
WEBHOOK = PAGE.with_name("alarm_webhook.py")
TEXT = PAGE.read_text(encoding="utf-8")
#: Where the page puts the checkout, and the script that mails.
CHECKOUT, MAIL_SCRIPT = "/opt/tfrepro", "/opt/tfrepro-mail.sh"
SERVICE, TIMER = blocks(PAGE, "ini")
CRONTAB = blocks(PAGE, "crontab")[0]
GITHUB, GITLAB = blocks(PAGE, "yaml")
#: What a night writes into the reports folder.
WRITTEN = {
    *("index.html", "history.html", "nightly.json", "nightly.md", "nightly.xml", "nightly.prom", "badge.svg"),
    *("nightly-logs", "details"),
}
#: Every call of the command, up to what the shell does with it.
CALLS = [call.strip() for call in re.findall(r"python -m bench (nightly[^\n>|&;`]*)", TEXT)]
DOCUMENT = {"alarms": [{"text": 'a "quoted" text, ünïcode,\n.\nand a line with one dot'}], "long": "x" * 2000}
SECRET = "T0-very-secret"  # noqa: S105 - not one


def options(call: str) -> argparse.Namespace:
    """Parse a call of the command as the command line does."""
    assert "nightly" in MODULES, "the page describes a command that does not exist"
    words = shlex.split(call.replace("~/", "/home/someone/"))
    try:
        return parser(["nightly"]).parse_args(words)
    except SystemExit:
        pytest.fail(f"the command line refuses: {call}")


def seconds(text: str) -> float:
    """Return what a duration such as ``10h`` or ``2min`` means."""
    found = re.fullmatch(r"(\d+) ?(s|m|min|h)", text)
    assert found, text
    return int(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[found[2]]


def longest_night(text: str) -> float:
    """Return the seconds that the budget and the wait of the one call in an example take at most."""
    budget, wait = re.findall(r"--budget (\w+) --wait (\w+)", text)[0]
    return seconds(budget) + seconds(wait)


def yaml(text: str) -> Any:
    """Parse YAML with the parser that comes with mkdocs, which has no types."""
    return importlib.import_module("yaml").safe_load(text)


def check_five_fields(fields: list[str]) -> None:
    """Check the time fields of a line for cron: numbers in range, or ``*``."""
    ranges = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    assert len(fields) == len(ranges)
    for field, (least, most) in zip(fields, ranges, strict=True):
        assert field == "*" or least <= int(field) <= most
    assert fields[0] != "*", "it would start every minute"
    assert fields[1] != "*", "it would start every hour"


def unit(text: str) -> list[tuple[str, str, str]]:
    """Return section, key and value of each setting of a unit file."""
    settings, section = [], ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            assert key == key.strip(), line
            settings.append((section, key, value))
    assert len({(section, key) for section, key, _ in settings}) == len(settings), "a setting is given twice"
    return settings


def named(text: str) -> str:
    """Return the name of the file that an example belongs in: its first line."""
    found = re.match(r"# (?:\S*/)?(\S+)\n", text)
    assert found, text[:80]
    return found[1]


def program(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


# every example


def test_the_page_has_every_example() -> None:
    assert (named(SERVICE), named(TIMER)) == ("tfrepro-nightly.service", "tfrepro-nightly.timer")
    assert (named(GITHUB), named(GITLAB)) == ("nightly.yml", ".gitlab-ci.yml")
    # one in each example but the timer, and two at the start
    assert len(CALLS) == 6
    for example in (SERVICE, CRONTAB, GITHUB, GITLAB):
        assert len(re.findall("-m bench nightly", example)) == 1


@pytest.mark.parametrize("call", dict.fromkeys(CALLS))
def test_the_command_line_knows_every_call(call: str) -> None:
    assert options(call).name == "nightly"


@pytest.mark.parametrize("workflow", [GITHUB, *(path.read_text() for path in ROOT.glob(".github/workflows/*.y*ml"))])
def test_zizmor_finds_nothing_in_a_github_workflow(workflow: str) -> None:
    command = [str(Path(sys.executable).with_name("zizmor")), "--offline", "--no-progress", "--strict-collection", "-"]
    done = subprocess.run(command, input=workflow, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    unpinned = re.sub(r"@[0-9a-f]{40}", "@main", workflow)
    done = subprocess.run(command, input=unpinned, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "unpinned-uses" in done.stdout


def test_calls_in_prose_name_known_options() -> None:
    known = {option for action in _nightly_parser()._actions for option in action.option_strings}
    # options of other programs on the page
    others = {"--now", "--failed", "--system", "--create-home", "--home-dir", "--quiet", "--collector"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT)) - others <= known


def _nightly_parser() -> argparse.ArgumentParser:
    assert "nightly" in MODULES, "the page describes a command that does not exist"
    top = parser(["nightly"])
    found = next(action for action in top._actions if isinstance(action.choices, dict))
    assert isinstance(found.choices, dict)
    nightly: argparse.ArgumentParser = found.choices["nightly"]
    return nightly


def test_no_example_names_a_file_that_a_night_does_not_write() -> None:
    named_files = set(re.findall(r"(?:reports/|`)((?:nightly|index|history|badge)[\w.-]*\.\w+)", TEXT))
    assert named_files - {"nightly.yml"} <= WRITTEN
    assert {"nightly.md", "nightly.xml", "nightly.json", "nightly.prom", "index.html"} <= named_files


@pytest.mark.parametrize("kind", ["console", "sh"])
def test_the_shell_can_read_every_block(kind: str) -> None:
    for block in blocks(PAGE, kind):
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)


# systemd


def test_the_service_can_write_what_a_night_writes_and_nothing_else() -> None:
    settings = {(section, key): value for section, key, value in unit(SERVICE)}
    service = {key: value for (section, key), value in settings.items() if section == "Service"}
    assert service["ProtectSystem"] == "strict"
    home = re.search(r"--home-dir (\S+)", TEXT)
    assert home
    # strict makes /tmp read-only, too, where it is not private
    assert service["ReadWritePaths"].split() == [f"{CHECKOUT}/reports", home[1], str(HOST_LOCK_FOLDER)]
    assert service["PrivateTmp"] == "no"
    for key in ("NoNewPrivileges", "ProtectHome", "ProtectKernelTunables", "RestrictSUIDSGID"):
        assert service[key] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    # these would hide GPUs, the processes that disturb a time, or the Docker engine
    assert not {"PrivateDevices", "DevicePolicy", "ProtectProc", "ProcSubset", "PrivateUsers"} & service.keys()


def test_the_service_ends_a_night_as_ctrl_c_does_and_only_after_its_time() -> None:
    service = {key: value for section, key, value in unit(SERVICE) if section == "Service"}
    assert (service["Type"], service["KillSignal"], service["KillMode"]) == ("oneshot", "SIGINT", "mixed")
    assert seconds(service["TimeoutStartSec"]) > longest_night(SERVICE)
    assert seconds(service["TimeoutStopSec"]) >= 60
    assert service["SupplementaryGroups"] == "docker"
    assert service["WorkingDirectory"] == CHECKOUT
    assert service["ExecStart"].startswith(f"{CHECKOUT}/.venv/bin/python -m bench nightly ")
    assert f"useradd --system --create-home --home-dir /var/lib/tfrepro {service['User']}" in TEXT


def test_the_timer_starts_the_service_once_a_night() -> None:
    timer = {key: (section, value) for section, key, value in unit(TIMER)}
    assert named(TIMER).removesuffix(".timer") == named(SERVICE).removesuffix(".service")
    section, when = timer["OnCalendar"]
    assert section == "Timer"
    assert re.fullmatch(r"\*-\*-\* ([01]\d|2[0-3]):[0-5]\d:[0-5]\d", when)
    assert timer["Persistent"] == ("Timer", "true")
    assert timer["WantedBy"] == ("Install", "timers.target")


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on the PATH; the tests above read the units without it")
    python = program(tmp_path / ".venv" / "bin" / "python", "exit 0")
    for text in (SERVICE, TIMER):
        written = text.replace(f"{CHECKOUT}/.venv/bin/python", str(python))
        (tmp_path / named(text)).write_text(written, encoding="utf-8")
    done = subprocess.run(
        [analyze, "verify", *(str(tmp_path / named(text)) for text in (SERVICE, TIMER))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # it also reports on what other units of this host lack, and ends with 0 after an unknown key
    assert [line for line in done.stderr.splitlines() if "tfrepro" in line] == []
    when = re.search(r"OnCalendar=(.*)", TIMER)
    assert when
    subprocess.run([analyze, "calendar", when[1]], capture_output=True, check=True)


# cron


def test_the_crontab_has_five_fields_and_a_command() -> None:
    variable, line = CRONTAB.splitlines()
    assert re.fullmatch(r"[A-Z_]+=\S+", variable)
    *fields, command = line.split(maxsplit=5)
    check_five_fields(fields)
    assert command.startswith(f"cd {CHECKOUT} && .venv/bin/python -m bench nightly ")
    assert "%" not in command, "cron makes it a line end"


@pytest.mark.parametrize(
    ("code", "mail"), [(0, ""), (1, "exit code 1\nout\nprogress\n"), (5, "exit code 5\nout\nprogress\n")]
)
def test_cron_mails_what_happened_and_only_if_the_exit_code_is_not_0(tmp_path: Path, code: int, mail: str) -> None:
    program(tmp_path / ".venv" / "bin" / "python", f"echo out; echo progress >&2; exit {code}")
    (tmp_path / "reports").mkdir()
    done = cron(tmp_path)
    assert (done.stdout, done.stderr) == (mail, "")


def test_cron_mails_that_the_checkout_is_missing(tmp_path: Path) -> None:
    assert str(tmp_path / "missing") in cron(tmp_path / "missing").stderr


def cron(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run the line of the crontab as cron does."""
    command = CRONTAB.splitlines()[1].split(maxsplit=5)[5].replace(CHECKOUT, str(checkout))
    environment = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False)


# GitHub Actions


def test_the_workflow_is_scheduled_one_at_a_time_and_may_only_read() -> None:
    workflow = yaml(GITHUB)
    triggers = workflow[True]  # YAML 1.1 reads the key `on` so
    assert triggers.keys() == {"schedule", "workflow_dispatch"}
    check_five_fields(triggers["schedule"][0]["cron"].split())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"] == {"group": "tfrepro-nightly", "cancel-in-progress": False}
    (job,) = workflow["jobs"].values()
    assert "self-hosted" in job["runs-on"]
    assert job["timeout-minutes"] * 60 > longest_night(GITHUB)
    assert "permissions" not in job


def test_every_action_is_pinned_by_commit_with_its_version() -> None:
    uses = re.findall(r"uses: (.*)", GITHUB)
    assert len(uses) == 2
    for action in uses:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    assert all(step["with"] for step in steps() if "uses" in step)


def test_the_checkout_does_not_remove_the_reports_and_the_artifact_has_the_night() -> None:
    upload = steps()[-1]["with"]
    paths = upload["path"].split()
    assert {path.rpartition("/")[0] for path in paths} == {"~/tfrepro-reports"}
    assert {path.rpartition("/")[2] for path in paths} <= WRITTEN
    assert "~/tfrepro-reports/nightly.xml" in paths
    assert "--reports ~/tfrepro-reports " in GITHUB


def steps() -> list[dict[str, Any]]:
    (job,) = yaml(GITHUB)["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def step(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a step in a folder as a runner does."""
    script = next(step["run"] for step in steps() if step.get("name") == name)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("code", [0, 1, 5])
def test_the_workflow_keeps_the_exit_code_and_shows_this_night_only(tmp_path: Path, code: int) -> None:
    reports = tmp_path / "tfrepro-reports"
    reports.mkdir()
    for name in ("nightly.md", "nightly.xml", "kept"):
        (reports / name).write_text("the night before\n", encoding="utf-8")
    writes = f"echo tonight >{shlex.quote(str(reports))}/nightly.md; " if code < 2 else ""
    program(tmp_path / ".venv" / "bin" / "python", f"{writes}exit {code}")
    assert step("Measure", tmp_path).returncode == code
    assert not (reports / "nightly.xml").exists()
    assert (reports / "kept").exists()
    assert (step("Summary", tmp_path).returncode == 0) == (code < 2)
    assert (tmp_path / "summary").read_text(encoding="utf-8") == ("tonight\n" if code < 2 else "")


def test_steps_after_the_measurement_run_after_an_alarm_too() -> None:
    names = [step.get("name") for step in steps()]
    for later in steps()[names.index("Measure") + 1 :]:
        assert later["if"] == "${{ !cancelled() }}"


# GitLab CI


def test_the_gitlab_job_is_scheduled_one_at_a_time_and_keeps_junit() -> None:
    job = yaml(GITLAB)["nightly"]
    assert job["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule"'}]
    assert job["resource_group"]
    assert seconds(job["timeout"]) > longest_night(GITLAB)
    artifacts = job["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["reports"] == {"junit": "reports/nightly.xml"}
    assert {path.removeprefix("reports/") for path in artifacts["paths"]} <= WRITTEN
    subprocess.run(["sh", "-n"], input="\n".join(job["script"]), text=True, check=True)
    assert "rm -f reports/nightly.md reports/nightly.xml" in job["script"]


def test_gitlab_removes_what_git_ignores_but_not_the_reports(tmp_path: Path) -> None:
    job = yaml(GITLAB)["nightly"]
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8")
    (tmp_path / ".gitignore").write_text(ignored, encoding="utf-8")
    for name in ("reports/runs/1/records", "reports/nightly.json", ".venv/bin/python", ".mypy_cache/x", "bench/new.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    flags = job["variables"]["GIT_CLEAN_FLAGS"].split()
    subprocess.run(["git", "-C", tmp_path, "clean", "--quiet", *flags], check=True)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in left if not path.startswith(".git/")} == {
        *("reports/runs/1/records", "reports/nightly.json", ".venv/bin/python")
    }


# alarms


def test_matrix_toml_takes_the_program_and_the_program_exists() -> None:
    assert "nightly" in Matrix.model_fields, "the page describes a table that does not exist"
    assert [f"{CHECKOUT}/{WEBHOOK.relative_to(ROOT)}"] == re.findall(r'on_alarm = \["python3", "(.*)"\]', TEXT)
    assert f'on_alarm = ["sh", "{MAIL_SCRIPT}"]' in TEXT
    assert WEBHOOK.is_file()


def mail_script(folder: Path) -> Path:
    (text,) = blocks(PAGE, "sh")
    assert text.startswith(f"# {MAIL_SCRIPT}\n")
    path = folder / "mail.sh"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("code", [0, 75])
def test_the_mail_is_one_message_with_the_document(tmp_path: Path, code: int) -> None:
    script = mail_script(tmp_path)
    program(tmp_path / "bin" / "sendmail", f'echo "$@" >{tmp_path}/options; cat >{tmp_path}/message; exit {code}')
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "TFREPRO_MAIL_TO": "you@example.org"}
    done = subprocess.run(
        ["sh", script], input=json.dumps(DOCUMENT, ensure_ascii=False).encode(), env=environment, check=False
    )
    assert done.returncode == code
    assert (tmp_path / "options").read_text(encoding="utf-8").split() == ["-t", "-i"]
    raw = (tmp_path / "message").read_bytes()
    assert max(map(len, raw.splitlines())) < 998  # RFC 5322
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["To"] == "you@example.org"
    assert message["Subject"].startswith("tfrepro: alarm on ")
    assert json.loads(message.get_content()) == DOCUMENT


def test_the_mail_script_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", mail_script(tmp_path)],
        input="{}", env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "TFREPRO_MAIL_TO" in done.stderr


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """Serve one status; yields the address and what arrives: method, type and body."""
    arrived: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append((self.command, self.headers["Content-Type"], body))
            self.send_response(status, f"at {self.path}")  # a server may repeat the secret
            self.send_header("Location", f"/moved{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            arrived.append((self.command, "", b""))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", arrived
        finally:
            server.shutdown()
            thread.join()


def webhook(url: str, document: str = json.dumps(DOCUMENT), limit: str = "10") -> subprocess.CompletedProcess[str]:
    """Run the script as the command does: the document on standard input; no proxy of this host."""
    return subprocess.run(
        [sys.executable, "-I", WEBHOOK],
        input=document, env={"TFREPRO_WEBHOOK_URL": url, "TFREPRO_WEBHOOK_TIMEOUT_S": limit},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_webhook_posts_the_document() -> None:
    with answering(204) as (address, arrived):
        done = webhook(f"{address}/services/{SECRET}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    ((method, kind, body),) = arrived
    assert (method, kind) == ("POST", "application/json")
    assert json.loads(body) == DOCUMENT


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_webhook_that_refuses_or_redirects_was_not_told(status: int) -> None:
    with answering(status) as (address, arrived):
        done = webhook(f"{address}/services/{SECRET}")
    assert done.returncode == 1
    assert done.stderr == f"alarm_webhook: not delivered to 127.0.0.1: the answer was {status}\n"
    assert [method for method, _, _ in arrived] == ["POST"]


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "one byte at a time"])
def test_the_time_limit_ends_a_webhook_that_never_answers(drips: bool) -> None:  # noqa: FBT001
    ended = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while drips and not ended.wait(0.1):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return
            ended.wait()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        start = time.monotonic()
        try:
            done = webhook(f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}", limit="1")
        finally:
            ended.set()
            thread.join()
    assert time.monotonic() - start >= 1
    assert done.returncode == 1
    assert done.stderr == "alarm_webhook: not delivered to 127.0.0.1: no answer within 1 s\n"


@pytest.mark.parametrize(
    ("url", "document", "limit", "code"),
    [
        (f"http://127.0.0.1:1/{SECRET}", "{}", "10", 1),  # nothing listens there
        (f"http://127.0.0.1:1/a b/{SECRET}", "{}", "10", 1),  # not a URL, and the message of the error has it
        (f"http://me:{SECRET}@127.0.0.1:1/", "{}", "10", 1),
        (f"file:///{SECRET}", "{}", "10", 2),
        (f"http://[{SECRET}/", "{}", "10", 2),
        (SECRET, "{}", "10", 2),
        ("", "{}", "10", 2),
        (f"http://127.0.0.1:1/{SECRET}", "no JSON", "10", 2),
        (f"http://127.0.0.1:1/{SECRET}", "{}", "soon", 2),
        (f"http://127.0.0.1:1/{SECRET}", "{}", "0", 2),
    ],
)
def test_no_error_prints_the_secret(url: str, document: str, limit: str, code: int) -> None:
    done = webhook(url, document, limit)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert SECRET not in done.stderr
