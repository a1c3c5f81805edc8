import json
import subprocess
import sys

import pytest

from hvt_bench.errors import FileError
from hvt_bench.journal import Journal, read_journal
from tests.conftest import ENVIRONMENT
from tests.test_collect import COUNT, POINT, latency, sample

START = {"sweep": "s", "started_at": "2026-01-31T12:00:00Z", "environments": {"cpu": ENVIRONMENT.model_dump()}}


def test_a_journal_gives_back_what_was_put_in(tmp_path):
    path = tmp_path / "run.journal.jsonl"
    with Journal(path) as journal:
        journal.append("run", [START])
        journal.append("cell", [POINT.columns()])
        journal.append("sample", [sample(None, complexity=COUNT).model_dump(mode="json")])
    run = read_journal(path)
    assert run.sweep == "s"
    assert run.environments == {"cpu": ENVIRONMENT}
    assert run.cells == {POINT.point_id: POINT.columns()}
    assert run.samples == {(POINT.point_id, None): sample(None, complexity=COUNT)}
    (row,) = run.rows()
    assert row["sweep"] == "s"
    assert row["macs"] == 4_000_000_000
    assert row["seq_lens"] == (196, 97)


def test_the_lines_of_a_run_give_it_back(tmp_path):
    path, again = tmp_path / "run.journal.jsonl", tmp_path / "again.journal.jsonl"
    moved = ENVIRONMENT.model_copy(update={"hostname": "otherhost"})
    other = POINT.model_copy(update={"batch_size": 9})
    with Journal(path) as journal:
        journal.append("run", [START])
        journal.append("cell", [POINT.columns(), other.columns()])
        journal.append("sample", [sample(0, latency=latency(1.0)).model_dump(mode="json")])
        journal.append("run", [START | {"environments": {"cpu": moved.model_dump()}}])
        found = sample(1, "oom", "no room").model_copy(update={"point_id": other.point_id})
        journal.append("sample", [found.model_dump(mode="json")])
    run = read_journal(path)
    with Journal(again) as journal:
        for kind, content in run.lines():
            journal.append(kind, [content])
    assert read_journal(again) == run
    assert [row["hostname"] for row in read_journal(again).rows()] == ["testhost", "otherhost"]


def test_no_journal_is_none(tmp_path):
    assert read_journal(tmp_path / "none") is None


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_a_torn_last_line_is_passed_over_and_written_over(tmp_path, cut):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append("run", [START])
        journal.append("cell", [POINT.columns()])
        journal.append("sample", [sample(0).model_dump(mode="json")])
        journal.append("sample", [sample(1).model_dump(mode="json")])
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(read_journal(path).samples) == [(POINT.point_id, 0)]
    with Journal(path) as journal:
        journal.append("sample", [sample(1).model_dump(mode="json")])
    assert list(read_journal(path).samples) == [(POINT.point_id, 0), (POINT.point_id, 1)]


def test_a_later_sample_of_a_round_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append("run", [START])
        journal.append("cell", [POINT.columns()])
        journal.append("sample", [sample(0, "oom", "no room").model_dump(mode="json")])
        journal.append("sample", [sample(0).model_dump(mode="json")])
    assert [s.status for s in read_journal(path).samples.values()] == ["ok"]


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "[]",
        "{}",
        '{"run": {}}',
        '{"sample": {}}',
        "null",
        '{"cell": 3}',
        '{"run": {"sweep": "s", "started_at": "", "environments": []}}',
        json.dumps({"sample": sample(0, latency={"pass_ms": "long"}).model_dump()}),
        json.dumps({"sample": sample(0).model_dump() | {"point_id": "x"}}),  # of a cell that is not there
        "[" * 100_000,
    ],
)
def test_what_is_no_journal_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "j"
    path.write_text("\n".join([json.dumps({"run": START}), json.dumps({"cell": POINT.columns()}), line, ""]))
    with pytest.raises(FileError, match=r"j:3: this is no line of an hvt-bench journal; move the file away"):
        read_journal(path)


def test_a_journal_that_another_sweep_holds_is_refused(tmp_path):
    with Journal(tmp_path / "j"), pytest.raises(FileError, match="another sweep is writing this file"):
        Journal(tmp_path / "j")


def test_lines_are_on_disk_before_append_returns(tmp_path):
    """A process that is killed right after append loses nothing."""
    code = (
        "import os, sys; from pathlib import Path; from hvt_bench.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.append('cell', [{'point_id': 'x'}])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "j")], check=False)
    assert done.returncode == -9
    assert (tmp_path / "j").read_text() == '{"cell":{"point_id":"x"}}\n'
