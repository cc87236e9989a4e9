"""Log tails of dead processes: short, without secrets, harmless, and copied where the logs are not."""

from __future__ import annotations

import dataclasses
import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.errors import StorageError
from bench.store.log_tails import CHARACTERS, FILE, LINES, shortened, tail
from bench.store.run import Run, compact, load
from bench.suite.driver import death_marker
from bench.suite.record import SCHEMA, line
from bench.verdict import evaluate
from bench.verdict.crash_log import log_tail
from tests.unit import factory
from tests.unit.factory import Behaviour, Spot

if TYPE_CHECKING:
    from pathlib import Path


COLUMN = factory.column().id
RECORD = f"records/{COLUMN}/default/on-001.jsonl"


def died(spot: Spot, *names: str, outcome: str = "crashed") -> Behaviour:
    """Some kernels die in every process with determinism on."""
    if spot.mode == "on" and spot.kernel in (names or ("matmul",)):
        return Behaviour(outcome=outcome, message="the process ended with SIGABRT; its last words are in the log")
    return factory.EXACT


def folder_of(place: Path, run: Run, **logs: str) -> Path:
    """Write a run folder with its records, and logs of rounds (``default_on_001``) or of a build."""
    (place / "logs" / COLUMN).mkdir(parents=True)
    (place / "run.json").write_text(run.info.to_json(), encoding="utf-8")
    for path, record in run.records.items():
        file = place / f"{path}.xz"
        file.parent.mkdir(parents=True, exist_ok=True)
        body = {"schema": SCHEMA, "request": json.loads(record.request.to_json()), "suite_hash": record.suite_hash}
        rows = [line("header", body)]
        rows += [line("outcome", dataclasses.asdict(ending)) for ending in record.outcomes]
        rows.append(line("end", {"seconds": 1.0, "processes": 1}))
        file.write_bytes(lzma.compress("".join(rows).encode()))
    for name, text in logs.items():
        log = place / "logs" / COLUMN / f"{name.replace('_', '-')}.log"
        log.write_text(text, encoding="utf-8")
    return place


def crashed(place: Path, **logs: str) -> Path:
    run = factory.run(behave=died)
    return folder_of(place, run, **{"default_on_001": "one\nlast words", "default_off_001": "all is well", **logs})


def lost(place: Path, status: str, **logs: str) -> Path:
    column = factory.column(status=status, reason="it could not be made")
    return folder_of(place, factory.run(factory.info(columns=(column,))), **logs)


class TestReading:
    """Which logs are read, and what a copy without logs has."""

    def test_the_log_of_a_record_in_which_something_died(self, tmp_path: Path) -> None:
        run = load(crashed(tmp_path))
        assert run.tails.records == {RECORD: "one\nlast words"}
        assert run.tails.columns == {}

    @pytest.mark.parametrize("outcome", ["crashed", "timeout", "oom", "mismatch"])
    def test_every_outcome_that_ends_a_process(self, tmp_path: Path, outcome: str) -> None:
        run = factory.run(behave=lambda spot: died(spot, outcome=outcome))
        assert load(folder_of(tmp_path, run, default_on_001="words")).tails.records == {RECORD: "words"}

    def test_it_ends_where_the_process_died_and_not_with_the_next_one(self, tmp_path: Path) -> None:
        text = "could not create a primitive" + death_marker("matmul", "crashed") + "the next process talks\n" * 1000
        run = load(crashed(tmp_path, default_on_001=text))
        assert run.tails.records == {RECORD: "could not create a primitive\ntfrepro: matmul: crashed"}

    @pytest.mark.parametrize("outcome", ["ok", "error", "gpu-not-visible"])
    def test_other_outcomes_have_no_tail(self, tmp_path: Path, outcome: str) -> None:
        run = factory.run(behave=lambda spot: died(spot, outcome=outcome))
        assert load(folder_of(tmp_path, run, default_on_001="words")).tails.records == {}

    @pytest.mark.parametrize(
        ("status", "logs", "wanted"),
        [
            ("build-failed", {"build": "no wheel"}, {COLUMN: "no wheel"}),
            ("build-failed", {"build": "no wheel", "default_off_001": "later"}, {COLUMN: "no wheel"}),
            ("mismatch", {"build": "fine", "default_off_001": "cannot start"}, {COLUMN: "cannot start"}),
            ("image-missing", {"build": "fine"}, {COLUMN: "fine"}),
            ("incompatible", {"build": "of an earlier try"}, {}),
            ("build-failed", {}, {}),
        ],
    )
    def test_a_column_without_a_record(
        self, tmp_path: Path, status: str, logs: dict[str, str], wanted: dict[str, str]
    ) -> None:
        assert load(lost(tmp_path, status, **logs)).tails.columns == wanted

    def test_the_name_of_a_column_cannot_leave_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "build.log").write_text("not yours", encoding="utf-8")
        (tmp_path / "run").mkdir()
        for name in ("../..", "..", "/", f"{tmp_path}", "", "a/../.."):
            column = factory.column(status="build-failed", id=name)
            run = factory.run(factory.info(columns=(column,)))
            (tmp_path / "run" / "logs").mkdir(exist_ok=True)
            (tmp_path / "run" / "run.json").write_text(run.info.to_json(), encoding="utf-8")
            with pytest.raises(StorageError, match="not a valid name of a column"):
                load(tmp_path / "run")

    def test_a_copy_without_logs_has_the_tails(self, tmp_path: Path) -> None:
        source, kept, again = crashed(tmp_path / "source"), tmp_path / "kept", tmp_path / "again"
        kept.mkdir()
        compact(source, kept)
        assert not (kept / "logs").exists()
        assert load(kept).tails == load(source).tails
        again.mkdir()
        compact(kept, again)
        assert (again / FILE).read_bytes() == (kept / FILE).read_bytes()

    def test_without_tails_there_is_no_file_and_an_old_one_is_removed(self, tmp_path: Path) -> None:
        source, kept = folder_of(tmp_path / "source", factory.run(), default_on_001="fine"), tmp_path / "kept"
        kept.mkdir()
        (kept / FILE).write_text("{}", encoding="utf-8")
        compact(source, kept)
        assert not (kept / FILE).exists()

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "records": [], "columns": {}}',
         '{"schema": 1, "records": {"a": 3}, "columns": {}}', "[" * 100_000, "\x00\xff"],
    )  # fmt: skip
    def test_a_damaged_file_is_ignored_and_reported(self, tmp_path: Path, text: str) -> None:
        source, kept = crashed(tmp_path / "source"), tmp_path / "kept"
        kept.mkdir()
        compact(source, kept)
        (kept / FILE).write_text(text, encoding="latin-1")
        run = load(kept)
        assert run.tails.records == {}
        assert run.tails.problem
        page = report.render(evaluate(run), report.Format.HTML)
        assert "The log tails in tails.json could not be read: " in page

    def test_an_edited_file_is_shortened_and_loses_its_secrets(self, tmp_path: Path) -> None:
        source, kept = crashed(tmp_path / "source"), tmp_path / "kept"
        kept.mkdir()
        compact(source, kept)
        body: dict[str, Any] = json.loads((kept / FILE).read_text(encoding="utf-8"))
        body["records"][RECORD] = "x" * 1_000_000 + " https://me:hunter2@example.org/"
        (kept / FILE).write_text(json.dumps(body), encoding="utf-8")
        text = load(kept).tails.records[RECORD]
        assert len(text) < CHARACTERS + 10
        assert "hunter2" not in text


class TestShortened:
    """What remains of a log."""

    def test_its_last_lines_and_characters(self, tmp_path: Path) -> None:
        log = tmp_path / "a.log"
        log.write_text("".join(f"line {number}\n" for number in range(100_000)), encoding="utf-8")
        rows = tail(log).split("\n")
        assert rows == ["[...]", *(f"line {number}" for number in range(100_000 - LINES, 100_000))]
        log.write_text("x" * 200_000, encoding="utf-8")
        assert len(tail(log)) <= CHARACTERS + 6
        assert tail(tmp_path / "none.log") == ""
        assert tail(tmp_path) == ""

    @given(st.text(alphabet=st.sampled_from("ab \n\r\t\x1b[m=:/@"), max_size=6000))
    def test_shortening_twice_changes_nothing(self, text: str) -> None:
        once = shortened(text)
        assert len(once) <= CHARACTERS + 6
        assert once.count("\n") <= LINES
        assert shortened(once) == once

    def test_escape_sequences_and_carriage_returns_are_removed(self) -> None:
        text = "\x1b[31mred\x1b[0m \x1b]0;title\x07done\r\n10 %\r50 %\r100 %\n\x1b]8;;http://x\x1b\\link"
        assert shortened(text) == "red done\n10 %\n50 %\n100 %\nlink"

    @pytest.mark.parametrize(
        "text",
        [
            "http://me:hunter2@proxy.example:3128/x",
            "https://hunter2@example.org",
            "https://me:p@hunter2@example.org",
            "git+ssh://hunter2@host/x",
            "https://example.org/simple?token=hunter2&x=1",
            "https://example.org/x?sig=hunter2",
            "Authorization: Basic hunter2",
            "'proxy-authorization': 'Bearer hunter2'",
            "AWS_SECRET_ACCESS_KEY=hunter2",
            "export GITHUB_TOKEN='hunter2'",
            '"password": "hunter2 and more hunter2"',
            "UV_INDEX_X_PASSWORD = hunter2",
            "passwd: hunter2",
            "API-KEY=hunter2",
            "api key: hunter2",
            "Authorization: ApiKey hunter2",
            'Authorization: Digest username="me", response="hunter2"',
            "the password is hunter2",
            "passphrase=hunter2 pwd=hunter2",
            "upload --token hunter2 --file x",
            "Cookie: a=b; session=hunter2",
            "ghp_hunter2hunter2hunter2 and glpat-hunter2hunter2",
            "eyJhunter2abcd.eyJhunter2abcd.hunter2",
            "-----BEGIN RSA PRIVATE KEY-----\nhunter2\nhunter2\n-----END RSA PRIVATE KEY-----",
        ],
    )
    @pytest.mark.fault("A dying kernel prints a token", "Pages show the end of its log without the token.")
    def test_secrets_are_removed(self, text: str) -> None:
        assert "hunter2" not in shortened(f"before\n{text}\nafter")
        assert shortened(f"before\n{text}\nafter").startswith("before\n")
        assert "hunter2" not in shortened("y" * (CHARACTERS - 8) + text), "wherever the text is cut"

    def test_ordinary_text_is_unchanged(self) -> None:
        text = (
            "2026-11-22 17:27:10.958738: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.\n"
            'File "/opt/x/keras/src/trainers/epoch_iterator.py", line 74, in _get_iterator\n'
            "see https://www.tensorflow.org/install/pip#gpu and mail a@b.org"
        )
        assert shortened(text) == text

    @pytest.mark.parametrize(
        "text", ["a" * 65_000, "a." * 32_000, "://" * 21_000, "token" * 13_000, "\x1b]" * 32_000 + "x"]
    )
    def test_a_hostile_log_does_not_take_long(self, text: str) -> None:
        assert shortened(text), "a backtracking pattern would take minutes"


class TestOnThePage:
    """Where the page shows the tail, and that it stays text."""

    def test_it_is_shown_with_the_kernel_that_died(self, tmp_path: Path) -> None:
        page = report.render(evaluate(load(crashed(tmp_path))), report.Format.HTML)
        assert page.count("last words</pre>") == 1
        assert "The last lines of the log of round 1." in page
        assert "log was not kept" not in page

    def test_a_missing_log_is_mentioned(self) -> None:
        page = report.render(evaluate(factory.run(behave=died)), report.Format.HTML)
        assert "<b>Log tail</b> on: The log was not kept with these records." in page

    def test_a_round_has_one_log_and_it_is_shown_once(self, tmp_path: Path) -> None:
        run = factory.run(behave=lambda spot: died(spot, "matmul", "conv2d"))
        results = evaluate(load(folder_of(tmp_path, run, default_on_001="shared words")))
        page = report.render(results, report.Format.HTML)
        assert page.count("shared words") == 1
        assert "The log of round 1 is shown with matmul, which died first." in page
        second = results.of(COLUMN, "conv2d", "default", "on")
        assert second is not None
        found = log_tail(results, second)
        assert found is not None
        assert (found.round, found.kernel) == (1, "matmul")
        for kernel, mode in (("conv2d", "off"), ("control_integer", "on")):
            healthy = results.of(COLUMN, kernel, "default", mode)
            assert healthy is not None
            assert log_tail(results, healthy) is None

    def test_a_failed_build_shows_the_end_of_its_log(self, tmp_path: Path) -> None:
        page = report.render(evaluate(load(lost(tmp_path, "build-failed", build="no wheel"))), report.Format.HTML)
        assert "no wheel</pre>" in page
        assert f"The last lines of the log of {COLUMN}, build-failed." in page

    @pytest.mark.parametrize("hostile", ["</pre><script>alert(1)</script>", "<!--", "\u202eevil", "\x07\x9b31m", "]]>"])
    def test_hostile_text_stays_text(self, tmp_path: Path, hostile: str) -> None:
        for place in (crashed(tmp_path / "a", default_on_001=hostile), lost(tmp_path / "b", "mismatch", build=hostile)):
            page = report.render(evaluate(load(place)), report.Format.HTML)
            assert "<script>alert" not in page
            assert "\u202e" not in page
            assert "\x9b" not in page
            assert "<!--" not in page.partition("<pre")[2]

    def test_the_same_records_give_the_same_page(self, tmp_path: Path) -> None:
        source, kept = crashed(tmp_path / "source"), tmp_path / "kept"
        kept.mkdir()
        compact(source, kept)
        pages = {report.render(evaluate(load(place)), report.Format.HTML) for place in (source, source, kept)}
        assert len(pages) == 1
