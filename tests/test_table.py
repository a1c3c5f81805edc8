import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvt_bench.errors import FileError
from hvt_bench.models import parse_model
from hvt_bench.point import Point
from hvt_bench.row import COLUMNS, Row, Sample, csv_text
from hvt_bench.table import Journal, collect, read_journal, read_table, write_table
from tests.conftest import ENVIRONMENT

START = {"sweep": "s", "started_at": "2026-01-31T12:00:00Z", "environments": {"cpu": ENVIRONMENT.model_dump()}}
POINT = Point(model="hvt_s_1", config=parse_model("hvt_s_1"), device="cpu", batch_size=2, warmup_s=0.5, rounds=2)
COUNT = {"params": 3, "macs": 4_000_000_000, "fvcore_flops": None, "activations": 5, "seq_lens": [196, 97]}


def sample(number, status="ok", error=None, **values):
    return Sample(
        point_id=POINT.point_id,
        round=number,
        values=values,
        status=status,
        error=error,
        started_at=f"2026-01-31T12:00:0{number or 0}Z",
        seconds=1.5,
    )


def latency(*pass_ms):
    return {"pass_ms": list(pass_ms), "block_img_s": [10.0, 30.0, 20.0]}


# --- the journal ----------------------------------------------------------------------------------------------------


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
        "import os, sys; from pathlib import Path; from hvt_bench.table import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.append('cell', [{'point_id': 'x'}])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "j")], check=False)
    assert done.returncode == -9
    assert (tmp_path / "j").read_text() == '{"cell":{"point_id":"x"}}\n'


# --- rows -----------------------------------------------------------------------------------------------------------


def row_of(*samples):
    return collect(POINT.columns(), samples, ENVIRONMENT)


def test_a_row_sums_up_the_rounds():
    row = row_of(
        sample(None, complexity=COUNT),
        sample(0, latency=latency(10.0, 20.0, 30.0), memory={"weights_mib": 1.0, "peak_memory_mib": 5.0}),
        sample(1, latency=latency(22.0), memory={"weights_mib": 1.0, "peak_memory_mib": 7.0}),
    )
    assert row["latency_ms"] == 21.0  # median of the medians 20 and 22
    assert row["latency_samples"] == 4
    assert row["latency_ms_p05"] == pytest.approx(11.5)
    assert row["latency_ms_p95"] == pytest.approx(28.8)
    assert row["latency_spread_pct"] == pytest.approx(100 * 2 / 21)
    assert row["throughput_img_s"] == 20.0
    assert row["peak_memory_mib"] == 7.0
    assert row["macs_per_s"] == pytest.approx(4e9 * 2 / 0.021)
    assert row["rounds"] == 2
    assert row["seconds"] == 4.5
    assert row["started_at"] == "2026-01-31T12:00:00Z"
    assert row["status"] == "ok"
    assert row["error"] is None
    assert row["torch_version"] == "9.9.9"


def test_the_state_of_the_machine_is_in_the_row_though_nobody_asks_for_it():
    seen = {"images": 5, "wall_s": 2.0, "process_cpu_s": 1.0, "busy_cpu_s": 3.0, "cores": 2, "num_threads": 1}
    row = collect(POINT.columns(), [sample(0, latency=latency(1.0, 2.0), conditions=seen)], None)
    assert (row["other_load_pct"], row["cpu_share_pct"], row["energy_mj_per_img"]) == (50.0, 50.0, None)


def test_what_was_measured_before_a_failure_stays():
    row = row_of(
        sample(None, complexity=COUNT),
        sample(0, latency=latency(10.0)),
        sample(1, "oom", "no room", memory={"weights_mib": 1.0, "peak_memory_mib": 7.0}),
    )
    assert (row["status"], row["error"], row["rounds"]) == ("oom", "no room", 1)
    assert row["macs"] == 4_000_000_000
    assert row["latency_ms"] == 10.0
    assert row["latency_spread_pct"] is None
    assert row["peak_memory_mib"] == 7.0


def test_unmeasured_is_none_and_never_zero():
    row = row_of(sample(None, "error", "two books disagree"))
    assert row["status"] == "error"
    assert [row[name] for name in ("macs", "latency_ms", "rounds", "peak_memory_mib", "macs_per_s")] == [None] * 5


# --- the CSV --------------------------------------------------------------------------------------------------------


def test_a_table_comes_back_as_it_was(tmp_path):
    row = row_of(sample(None, complexity=COUNT), sample(0, latency=latency(10.0)))
    invalid = Row({"point_id": "y", "model": "m", "status": "invalid", "error": 'an "odd", one\nof two lines'})
    path = tmp_path / "run.csv"
    write_table(path, [row, invalid])
    back = read_table(path)
    assert [{k: csv_text(v) for k, v in r.items()} for r in back] == [
        {k: csv_text(v) for k, v in r.items()} for r in (row, invalid)
    ]
    assert os.listdir(tmp_path) == ["run.csv"]


KINDS = {
    int: st.integers(0, 10**15),
    float: st.floats(1e-6, 1e12).map(lambda number: float(f"{number:.6g}")),
    bool: st.booleans(),
    str: st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1),
}
NAMES = st.from_regex(r"[a-z_]+", fullmatch=True)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.lists(NAMES if c.kind is str else KINDS[c.kind], min_size=1).map(tuple)
            if c.many
            else KINDS[c.kind]
            for name, c in COLUMNS.items()
        },
    )
)
def test_any_row_survives_the_csv(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("csv") / "run.csv"
    write_table(path, [Row(values)])
    assert [dict(row) for row in read_table(path)] == [dict(Row(values))]


def test_a_failed_write_leaves_the_old_table(tmp_path):
    path = tmp_path / "run.csv"
    write_table(path, [Row({"model": "old"})])
    before = path.read_text()

    def rows():
        yield Row({"model": "new"})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_table(path, rows())
    assert path.read_text() == before
    assert os.listdir(tmp_path) == ["run.csv"]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    (tmp_path / "run.csv").write_text("point_id,model,status\nx,hvt_s_1,ok\n", encoding="utf-8-sig")
    assert read_table(tmp_path / "run.csv")[0]["point_id"] == "x"


def test_an_older_file_lacks_columns_and_a_newer_one_has_more(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("point_id,model,status,from_the_future\nx,hvt_s_1,ok,9\n")
    (row,) = read_table(path)
    assert row["model"] == "hvt_s_1"
    assert row["macs"] is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "run.csv: the file is empty; name a CSV that `hvt-bench sweep` wrote"),
        ("a,b\n1,2\n", "run.csv:1: this is no table of hvt-bench: the column 'point_id' is missing"),
        ("point_id,model,status\nx,y\n", "run.csv:2: 2 values under 3 columns; the line is damaged"),
        ("point_id,model,status,macs\nx,y,ok,much\n", "run.csv:2: macs: 'much' cannot be read as int"),
        ("point_id,model,status,qkv_bias\nx,y,ok,yes\n", "run.csv:2: qkv_bias: 'yes' cannot be read as bool"),
    ],
)
def test_a_csv_that_is_not_ours_is_refused(tmp_path, text, sentence):
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(FileError) as caught:
        read_table(tmp_path / "run.csv")
    assert str(caught.value) == f"{tmp_path}/{sentence}"


def test_what_cannot_be_read_at_all_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="there is no such file; `hvt-bench sweep` writes one"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(FileError, match="is a directory; name the CSV in it"):
        read_table(tmp_path)
    with pytest.raises(FileError, match="is not a text file"):
        read_table(tmp_path / "binary")
