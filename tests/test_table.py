import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvt_bench.errors import FileError
from hvt_bench.row import COLUMNS, Row, csv_text
from hvt_bench.table import read_table, write_table
from tests.test_collect import COUNT, latency, row_of, sample


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
