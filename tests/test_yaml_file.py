import os
from pathlib import Path

import pytest

from hvt_bench.errors import FileError
from hvt_bench.yaml_file import MAX_BYTES, MAX_DEPTH, load_yaml


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "sweep.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.fixture
def refusal(write):
    """The error message of a file, without the folder."""

    def refused(content):
        path = write(content)
        with pytest.raises(FileError) as caught:
            load_yaml(path)
        text = str(caught.value)
        assert text.startswith(f"{path}:")
        return text.removeprefix(str(path.parent) + "/")

    return refused


def test_a_file_is_its_data_and_the_line_of_every_key_and_item(write):
    file = load_yaml(
        write("# what\nname: x\n\nmodels:\n- a\n- {family: hvt,\n   depth: 3}\naxes:\n  depth: [1,\n    2]\n")
    )
    assert file.data == {
        "name": "x",
        "models": ["a", {"family": "hvt", "depth": 3}],
        "axes": {"depth": [1, 2]},
    }
    assert file.lines == {
        (): 2,
        ("name",): 2,
        ("models",): 4,
        ("models", 0): 5,
        ("models", 1): 6,
        ("models", 1, "family"): 6,
        ("models", 1, "depth"): 7,
        ("axes",): 8,
        ("axes", "depth"): 9,
        ("axes", "depth", 0): 9,
        ("axes", "depth", 1): 10,
    }


def test_what_is_no_regular_file_is_refused_unread(tmp_path):
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(FileError, match=f"{path}: is a device, a pipe or a socket; name a YAML file"):
            load_yaml(path)


def test_an_error_points_at_its_place_or_at_the_nearest_above(write):
    path = write("a: 1\nb:\n  c: 2\n")
    file = load_yaml(path)
    assert str(file.error(("b", "c"), "no.")) == f"{path}:3: no."
    assert str(file.error(("b", "d"), "no.")) == f"{path}:2: no."
    assert str(file.error(("b", "d", 4, "e"), "no.")) == f"{path}:2: no."
    assert str(file.error(("z",), "no.")) == f"{path}:1: no."
    assert isinstance(file.error((), "no."), FileError)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3.5", 3.5),
        ("true", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("'3'", "3"),
        ("1e6", "1e6"),  # a YAML 1.1 trap: text; a strict record refuses it
        ("1.0e+6", 1e6),
        ("auto", "auto"),
        ("[1, [2, a]]", [1, [2, "a"]]),
        ("{b: {c: 1}}", {"b": {"c": 1}}),
        ("[]", []),
        ("{}", {}),
        (".inf", float("inf")),
    ],
)
def test_values_are_those_of_safe_yaml(write, text, value):
    found = load_yaml(write(f"a: {text}\n")).data["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "content", ["a: 1\r\nb: 2\r\n", "\ufeffa: 1\nb: 2\n", "a: &name 1\nb: 2\n", "---\na: 1\nb: 2\n"]
)
def test_line_ends_byte_order_marks_and_anchors_are_harmless(write, content):
    assert load_yaml(write(content)).data == {"a": 1, "b": 2}


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "  \n"])
def test_an_empty_file_is_refused(refusal, content):
    assert refusal(content).startswith("sweep.yaml: the file is empty")


@pytest.mark.parametrize(
    ("content", "kind"), [("- a\n", "list"), ("# hi\n- a\n", "list"), ("hello\n", "str"), ("3\n", "int")]
)
def test_a_file_that_is_no_mapping_is_refused(refusal, content, kind):
    message = refusal(content)
    assert "expected 'key: value' lines" in message
    assert kind in message


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("a: [1,\nb: 2\n", 3, "expected ',' or ']'"),
        ("a:\n\tb: 1\n", 2, r"found character '\t'"),
        ("a: b: c\n", 1, "mapping values are not allowed here"),
        ("a: 1\n b: 2\n", 2, "mapping values are not allowed here"),
        ("a: 1\nb: %x\n", 2, "found character '%'"),
        ("a: 'open\n", 2, "unexpected end of stream"),
        ("a: 1\nb: *\n", 2, "expected alphabetic or numeric character"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(refusal, content, line, problem):
    message = refusal(content)
    assert message.startswith(f"sweep.yaml:{line}: this is not YAML: ")
    assert problem in message


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\x00", b"a: \xe9\n", "a: 1\n".encode("utf-16")])
def test_a_binary_file_is_refused(refusal, content):
    assert refusal(content).startswith("sweep.yaml: is not a text file")


def test_a_control_character_is_refused(refusal):
    assert "unacceptable character #x0000" in refusal("a: 1\nb: 2\nc: \0\n")


def test_a_control_character_is_refused_on_its_line(refusal):
    assert refusal("a: 1\nb: 2\nc: \x07\n").startswith("sweep.yaml:3: ")


def test_a_second_document_is_refused_on_its_line(refusal):
    assert refusal("a: 1\n---\nb: 2\n").startswith("sweep.yaml:2: ")


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(FileError, match=r"none\.yaml: there is no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(FileError, match=r"is a directory; name a YAML file in it"):
        load_yaml(tmp_path)
    (tmp_path / "file").write_text("a: 1\n")
    with pytest.raises(FileError, match="cannot be read: Not a directory"):
        load_yaml(tmp_path / "file" / "below.yaml")


def test_a_file_that_may_not_be_read_is_refused(write, monkeypatch):
    path = write("a: 1\n")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", denied)
    with pytest.raises(FileError, match="cannot be read: Permission denied"):
        load_yaml(path)


def test_a_file_over_a_megabyte_is_refused_before_it_is_read(write, monkeypatch):
    path = write("# " + "x" * MAX_BYTES)
    monkeypatch.setattr(type(path), "read_text", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(FileError, match="larger than 1,000,000 bytes"):
        load_yaml(path)


def test_the_limit_itself_is_allowed(write, monkeypatch):
    monkeypatch.setattr("hvt_bench.yaml_file.MAX_BYTES", 10)
    assert load_yaml(write("a: 1 #6789")).data == {"a": 1}
    with pytest.raises(FileError, match="larger than 10 bytes"):
        load_yaml(write("a: 1 #67890"))


@pytest.mark.parametrize("content", ["a: &x [1]\nb: 1\nc: *x\n", "a: &x {b: 1}\n\nc:\n  <<: *x\n"])
def test_an_alias_is_refused(refusal, content):
    line = content[: content.index("*")].count("\n") + 1
    assert refusal(content) == f"sweep.yaml:{line}: '*x': aliases are not accepted; write the value out"


def test_a_bomb_of_aliases_is_refused_before_it_is_built(refusal):
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 10))
    assert refusal("l0: &l0 [lol]\n" + levels).startswith("sweep.yaml:2: '*l0': aliases are not accepted")


def test_fifty_levels_are_read_and_fifty_one_are_not(write, refusal):
    def nested(levels):
        return "".join(" " * i + "a:\n" for i in range(levels))

    found = load_yaml(write(nested(MAX_DEPTH))).data
    for _ in range(MAX_DEPTH - 1):
        found = found["a"]
    assert found == {"a": None}
    assert refusal(nested(MAX_DEPTH + 1)) == "sweep.yaml:51: nested deeper than 50 levels"


@pytest.mark.parametrize("content", ["a: " + "[" * 400_000, "a: " + "{" * 400_000, "- " * 400_000, "? " * 400_000])
def test_deep_nesting_is_refused_before_anything_recurses(refusal, content, monkeypatch):
    monkeypatch.setattr("yaml.compose", lambda *_, **__: pytest.fail("was composed"))
    assert refusal(content) == "sweep.yaml:1: nested deeper than 50 levels"


@pytest.mark.parametrize(
    ("content", "line", "key", "first"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a", 1),
        ("a: 1\nb:\n  c: 1\n  d:\n    e: 1\n  c: 3\n", 6, "c", 3),
        ("a: 1\n'a': 2\n", 2, "a", 1),
        ("l:\n- x: 1\n- x: 1\n  x: 2\n", 4, "x", 3),
        ("a: {b: 1, b: 1}\n", 1, "b", 1),
    ],
)
def test_a_key_twice_is_refused_with_both_lines(refusal, content, line, key, first):
    assert refusal(content) == f"sweep.yaml:{line}: the key '{key}' stands here twice, first on line {first}"


def test_the_same_key_in_two_mappings_is_fine(write):
    assert load_yaml(write("a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 1}]\n")).data["b"] == {"x": 1}


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("1", "1"),
        ("on", "True"),
        ("~", "None"),
        ("1.5", "1.5"),
        ("[a, b]", r"\['a', 'b'\]"),
        ("2024-01-02", "datetime"),
    ],
)
def test_a_key_that_is_no_text_is_refused_with_its_line(write, key, shown):
    with pytest.raises(FileError, match=rf"sweep\.yaml:3: the key {shown}.* is no text"):
        load_yaml(write(f"a: 1\nb:\n  ? {key}\n  : 1\n"))


@pytest.mark.parametrize(
    "value",
    [
        "2024-13-45",
        "2024-02-30 10:00:00",
        "2001-12-14t21:59:43.10-99:30",
        "!!int twelve",
        "!!float x",
        "!!python/object/apply:os.system x",
        "!local x",
        "0b_",
        "1" * 5000,
        "!!bool maybe",
        "!!timestamp tomorrow",
        '!!int ""',
    ],
)
def test_a_value_that_yaml_promises_and_breaks_is_refused_with_its_line(refusal, value):
    assert refusal(f"a: 1\nb:\n- {value}\n").startswith("sweep.yaml:3: ")


@pytest.mark.parametrize("value", [r'"\UFFFFFFFF"', r'"\U00110000"'])
def test_a_character_that_does_not_exist_is_refused(refusal, value):
    assert "sweep.yaml" in refusal(f"a: {value}\n")


def test_a_bad_date_says_what_is_wrong(refusal):
    assert refusal("a: 2024-13-45\n") == "sweep.yaml:1: '2024-13-45' cannot be read: month must be in 1..12"
    assert refusal("2024-13-45: a\n") == "sweep.yaml:1: '2024-13-45' cannot be read: month must be in 1..12"


@pytest.mark.parametrize("value", ["1" * 5000, "!!int " + "x" * 5000, "1" + ":59" * 2000 + ".0"])
def test_a_long_value_does_not_flood_the_message(refusal, value):
    assert len(refusal(f"a: {value}\n")) < 500


def test_no_code_is_run(write):
    with pytest.raises(FileError, match="could not determine a constructor"):
        load_yaml(write("a: !!python/name:os.system ''\n"))


@pytest.mark.parametrize(("text", "value"), [("014", 12), ("1:30", 90), ("-0_7", -7), ("1:30.5", 90.5)])
def test_a_number_that_yaml_reads_otherwise_is_refused(tmp_path, text, value):
    path = tmp_path / "x.yaml"
    path.write_text(f"a: 1\ndepth: {text}\n")
    with pytest.raises(FileError) as caught:
        load_yaml(path)
    assert str(caught.value) == f"{path}:2: YAML reads '{text}' as {value}; write {value}, or quotes"


@pytest.mark.parametrize("text", ["0", "10", "-5", "0.5", "1_000", "0x1f", "'014'"])
def test_an_honest_number_is_read(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(f"a: {text}\n")
    load_yaml(path)
