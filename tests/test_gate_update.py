"""New numbers in the place of the old ones, and what the modules cost beside them."""

import json

import pytest

from hvt_bench.errors import FileError
from hvt_bench.gate.changes import modules_of
from hvt_bench.gate.check import check_budgets
from hvt_bench.gate.load import load_budgets
from hvt_bench.gate.recorded import MAX_BYTES, path_of, read_record, record_text
from hvt_bench.gate.update import updated, write_first, write_update
from hvt_bench.metrics.complexity import breakdown

BEFORE = """\
# a comment — with an em dash
budgets:   # and one here
    deit_tiny:   {macs: 1.20G ± 1%,   params: '5_717_416' }   # ViT-Ti
    hvt_ti_1:
        params: 1_000   # was ±

        seq_lens: [196, 97]
        blocks.*.norm1: {params: 383}
        blocks.*.attn: {macs: 1}
        macs:
            max: 600M
        activations: "2.80M"
"""
AFTER = """\
# a comment — with an em dash
budgets:   # and one here
    deit_tiny:   {macs: 1.25G ± 1%,   params: '5_717_416' }   # ViT-Ti
    hvt_ti_1:
        params: 5_735_656   # was ±

        seq_lens: [196, 97, 97, 97, 97, 97, 97, 97, 97, 97, 97, 97]
        blocks.*.norm1: {params: 384}
        blocks.*.attn: {macs: 1}
        macs:
            max: 600M
        activations: "2.89M"
"""
LEFT = (
    "hvt_ti_1: blocks.*.attn.macs: the modules cost different numbers; give each a budget, by a narrower path",
    "hvt_ti_1: macs: now 642,299,520; a ceiling is somebody's decision: change it by hand",
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "budgets.yaml"


def checked(path):
    budgets = load_budgets(path)
    return budgets, check_budgets(budgets)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_broken_numbers_change(path, end):
    path.write_bytes(BEFORE.replace("\n", end).encode())
    update = updated(*checked(path))
    assert update.text == AFTER.replace("\n", end)
    assert update.left == LEFT
    assert update.kept == ("deit_tiny",)


def test_an_update_is_written_and_told(path):
    path.write_text(BEFORE)
    path.chmod(0o640)
    told, left = write_update(*checked(path))
    assert (path.read_text(), left) == (AFTER, LEFT)
    assert path.stat().st_mode & 0o777 == 0o640
    lines = told.splitlines()
    assert lines[-1] == f"wrote {path_of(path)}: what falls on each module"
    assert "-        blocks.*.norm1: {params: 383}" in lines
    assert "+        blocks.*.norm1: {params: 384}" in lines
    assert list(read_record(path_of(path))) == ["deit_tiny"]
    told, left = write_update(*checked(path))
    assert (told, left) == ("", LEFT)  # nothing is written twice


def test_a_model_that_stays_broken_keeps_its_old_record(path):
    path.write_text("budgets:\n  deit_tiny: {macs: {max: 1}}\n  hvt_ti_1: {macs: 1}\n")
    old = {"deit_tiny": {"": (1, 2, 3)}, "gone": {"": (1, 2, 3)}}
    path_of(path).write_text(record_text(old))
    write_update(*checked(path))
    found = read_record(path_of(path))
    assert found["deit_tiny"] == {"": (1, 2, 3)}
    assert list(found) == ["deit_tiny", "hvt_ti_1"]


def test_what_cannot_be_updated_says_why(path, module):
    path.write_text(
        f"budgets:\n  {module}:fails: {{macs: 1}}\n  hvt_ti_1:\n    seq_lens:\n    - 1\n    - 2\n    nix: {{macs: 1}}\n"
    )
    before = path.read_text()
    update = updated(*checked(path))
    assert update.text == before
    assert [sentence.partition(";")[0] for sentence in update.left] == [
        f"{module}:fails: {module}:fails refuses a call without arguments: ValueError: no good",
        "hvt_ti_1: seq_lens: write it as [a, b, ...] to have it updated",
        "hvt_ti_1: nix.macs: no module is called 'nix'",
    ]


def test_a_first_budget_holds_and_is_a_diff_of_a_new_file(path, module):
    told = write_first(path, [f"{module}:Net:depth=3", "hvt_ti_1", f"{module}:Pair:input_shapes=[[4], [6]]"])
    assert path.read_text() == (
        f"# What each model costs, of one image. The gate: exit 1 if a number moved, up or down.\n"
        f"# hvt-bench check {path}                # --update takes the new numbers on\n"
        "budgets:\n"
        f"  {module}:Net:depth=3:\n    macs: 1204496\n    params: 698\n    activations: 25122\n"
        "  hvt_ti_1:\n    macs: 642299520\n    params: 5735656\n    activations: 2889337\n"
        f"  {module}:Pair:input_shapes=[[4], [6]]:\n    macs: 20\n    params: 24\n    activations: 4\n"
    )
    assert told.splitlines()[:2] == ["--- /dev/null", f"+++ {path}"]
    assert all(verdict.ok for verdict in checked(path)[1])
    assert read_record(path_of(path))["hvt_ti_1"][""] == (642299520, 5735656, 2889337)


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_model_is_added_below_the_others_as_they_are_indented(path, end):
    text = f"budgets:{end or chr(10)}    hvt_ti_1: {{macs: 642299520}}   # mine{end}"
    path.write_bytes(text.encode())
    write_first(path, ["deit_tiny"])
    newline = end or "\n"
    added = ["    deit_tiny:", "      macs: 1253683200", "      params: 5717416", "      activations: 5974636"]
    assert path.read_bytes().decode() == newline.join([text.rstrip("\r\n"), *added, ""])


def test_a_model_is_not_added_twice_nor_where_it_does_not_fit(path):
    path.write_text("budgets:\n  hvt_ti_1: {macs: 1}\n")
    with pytest.raises(FileError, match=r":2: hvt_ti_1 has a budget already; --update takes new numbers on"):
        write_first(path, ["hvt_ti_1"])
    path.write_text("budgets:\n  hvt_ti_1: {macs: 1}\n...\n")
    with pytest.raises(FileError, match="cannot be added to, the way it is laid out; add these lines:\n  deit_tiny:\n"):
        write_first(path, ["deit_tiny"])
    assert path.read_text() == "budgets:\n  hvt_ti_1: {macs: 1}\n...\n"


LINES = "  deit_tiny:\n    macs: 1253683200\n    params: 5717416\n    activations: 5974636\n"
IN_BRACES = "deit_tiny: {macs: 1253683200, params: 5717416, activations: 5974636}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "\nbudgets:\n" + LINES),
        ("# mine\n\n# too", "# mine\n\n# too\nbudgets:\n" + LINES),
        ("---\n", "---\nbudgets:\n" + LINES),
        ("budgets:", "budgets:\n" + LINES),
        ("# mine\nbudgets:   # here\n  # and here\n", "# mine\nbudgets:   # here\n  # and here\n" + LINES),
        ("budgets: {}\n", "budgets:\n" + LINES),
        ("budgets: null # here\n", "budgets: # here\n" + LINES),
        ("budgets: {hvt_ti_1: {macs: 1}} # here\n", f"budgets: {{hvt_ti_1: {{macs: 1}}, {IN_BRACES}}} # here\n"),
        (
            "{budgets: {\n  hvt_ti_1: {macs: 1}, # one,\n}}",
            f"{{budgets: {{\n  hvt_ti_1: {{macs: 1}}, {IN_BRACES}, # one,\n}}}}",
        ),
    ],
)
def test_a_model_is_added_however_the_file_is_laid_out(path, before, after):
    path.write_text(before)
    write_first(path, ["deit_tiny"])
    assert path.read_text().endswith(after)
    assert path.read_text().startswith(before[:5])
    assert load_budgets(path).entries[-1].name == "deit_tiny"


def test_a_name_in_braces_has_quotes_where_it_needs_them(path, module):
    path.write_text("budgets: {hvt_ti_1: {macs: 1}}\n")
    write_first(path, [f"{module}:Pair:input_shapes=[[4], [6]]"])
    assert f', "{module}:Pair:input_shapes=[[4], [6]]": {{macs: 20,' in path.read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0x10", "5735656"),
        ("+5", "5735656"),
        ("!!int 5  # mine", "!!int 5735656  # mine"),
        ("&here !!str '1.00M ± 1%'", "&here !!str '5.74M ± 1%'"),
        ('"1.00M \\xb1 1%"', '"5.74M ± 1%"'),
    ],
)
def test_a_number_is_rewritten_however_it_is_spelt(path, before, after):
    path.write_text(f"budgets:\n  hvt_ti_1:\n    params: {before}\n")
    assert updated(*checked(path)).text == f"budgets:\n  hvt_ti_1:\n    params: {after}\n"


@pytest.mark.parametrize("text", ["|\n      5.00M\n", ">-\n      5.00M\n", "'5.00M\n      ± 1%'\n"])
def test_text_of_several_lines_is_left_and_told(path, text):
    path.write_text(f"budgets:\n  hvt_ti_1:\n    params: {text}")
    update = updated(*checked(path))
    assert update.text == path.read_text()
    assert update.left == ("hvt_ti_1: params: now 5,735,656; text of several lines is not rewritten: write it on one",)


def test_a_file_that_cannot_be_written_is_a_sentence(path, monkeypatch):
    path.write_text("budgets:\n  hvt_ti_1: {macs: 1}\n")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "write_bytes", denied)
    with pytest.raises(FileError, match="cannot be written: Permission denied; make it writable, or copy"):
        write_update(*checked(path))


def test_a_record_is_read_as_it_was_written(path):
    models = {name: modules_of(breakdown(name)) for name in ("hvt_s_2", "deit_tiny")}
    path.write_text(record_text(models))
    found = read_record(path)
    assert {name: {p: c for p, c in modules.items() if any(c)} for name, modules in models.items()} == found
    assert len(path.read_text().splitlines()) < 80


def test_a_name_that_looks_like_many_is_recorded_as_it_is(path):
    models = {"a": {"": (3, 1, 1), "branches.1-100000": (1, 1, 1), "branches.0": (1, 0, 0), "branches.1": (1, 0, 0)}}
    path.write_text(record_text(models))
    assert "branches.'1-100000'" in path.read_text()
    assert "branches.0-1" in path.read_text()
    assert read_record(path) == models


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"columns": ["macs"], "models": {}}',
        '{"columns": ["macs", "params", "activations"], "models": {"a": {"": [1, 2]}}}',
        '{"columns": ["macs", "params", "activations"], "models": {"a": {"": [1, 2, 1.5]}}}',
        '{"columns": ["macs", "params", "activations"], "models": {"a": {"0-99999999999": [1, 2, 3]}}}',
        '{"columns": ["macs", "params", "activations"], "models": {"a": {"0-999.0-999": [1, 2, 3]}}}',
        '{"columns": ["macs", "params", "activations"], "models": {"a": 1}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_record_is_a_sentence(path, text):
    path.write_text(text)
    with pytest.raises(FileError, match="is no record of modules"):
        read_record(path)


def test_a_record_that_is_too_large_is_refused_unread(path):
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(FileError, match="larger than 20,000,000 bytes"):
        read_record(path)


def test_the_record_of_this_project_is_what_its_models_cost(repository):
    budgets = repository / "sweeps" / "budgets.yaml"
    record = read_record(path_of(budgets))
    assert list(record) == [entry.name for entry in load_budgets(budgets).entries]
    for name in ("hvt_s_2", "deit_tiny_distilled"):
        assert json.loads(record_text({name: record[name]})) == json.loads(
            record_text({name: modules_of(breakdown(name))})
        )
