import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hvt_bench.gate.patterns import LONGEST, check_pattern, matching

PATHS = ["", "stem", "blocks", "blocks.0", "blocks.0.attn", "blocks.10", "blocks.10.attn", "head", "0-3", "top.head"]

quiet = settings(derandomize=True, database=None, deadline=None)


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("blocks.*.attn", ["blocks.0.attn", "blocks.10.attn"]),
        ("*.attn", []),
        ("**.attn", ["blocks.0.attn", "blocks.10.attn"]),
        ("**.head", ["head", "top.head"]),
        ("blocks.**.attn", ["blocks.0.attn", "blocks.10.attn"]),
        ("blocks.**.0", ["blocks.0"]),
        ("top.**", ["top.head"]),
        ("head.**", ["head"]),
        ("**tn", ["blocks.0.attn", "blocks.10.attn"]),
        ("**ck**at*", ["blocks.0.attn", "blocks.10.attn"]),
        ("blocks.?", ["blocks.0"]),
        ("blocks.[01]", ["blocks.0"]),
        ("blocks.0-5", ["blocks.0"]),
        ("blocks.0-10.attn", ["blocks.0.attn", "blocks.10.attn"]),
        ("blocks.6-123456.attn", ["blocks.10.attn"]),
        ("blocks.10-0.attn", []),
        ("0-3", ["0-3"]),
        ("'0-3'", ["0-3"]),
        ("**", PATHS[1:]),
        ("*****", PATHS[1:]),
        ("hea.", []),
        ("", []),
    ],
)
def test_a_pattern_names_modules(pattern, named):
    assert matching(pattern, PATHS) == named


def by_definition(asked, names):
    """Whether names, one after another, are those asked for, by trying everything."""
    if not asked:
        return not names
    first, *rest = asked
    if first == "**":
        return by_definition(rest, names) or bool(names and by_definition(asked, names[1:]))
    if "**" in first:  # within a name: any text, dots too
        before, after = first.split("**", 1)
        within, beyond = [f"{before}*{after}", *rest], [f"{before}*", "**", f"*{after}", *rest]
        return by_definition(within, names) or by_definition(beyond, names)
    return bool(names) and fits(first, names[0]) and by_definition(rest, names[1:])


def fits(signs, text):
    if signs[:1] == "*":
        return fits(signs[1:], text) or bool(text and fits(signs, text[1:]))
    return signs == text == "" or bool(signs and text and signs[0] in ("?", text[0]) and fits(signs[1:], text[1:]))


@settings(quiet, max_examples=800)
@given(st.text("ab.*?", max_size=10), st.text("ab.", max_size=10))
@example("**a*b", "a.ab")
@example("**a.*b*a", "aa.a.bba")
def test_a_pattern_names_what_its_definition_says(pattern, path):
    names = re.sub(r"\*{2,}", "**", pattern).split(".")
    assert bool(matching(pattern, [path])) == (path != "" and by_definition(names, path.split(".")))


@quiet
@given(st.integers(0, 1200), st.integers(0, 1200))
def test_a_range_names_its_numbers(least, most):
    paths = [f"a.{number}.b" for number in range(1300)]
    assert matching(f"a.{least}-{most}.b", paths) == paths[least : most + 1]


@pytest.mark.parametrize(
    "pattern", ["*a" * 400 + "*b", "*" * 900 + "b", "**.a" * 200 + ".b", "**a*" * 200 + "b", "?*" * 450]
)
def test_many_wildcards_are_no_work(pattern):
    """Going back and forth, each of them would take longer than there is time."""
    check_pattern(pattern)
    assert not matching(pattern.removesuffix("?*") + "x", ["a" * 100, "a." * 100, "blocks.0.attn"])


def test_a_pattern_that_nobody_means_is_a_sentence():
    with pytest.raises(
        ValueError, match=r"'aaaaaaaaaaaaaaaaaaaa\.\.\.' is no path of modules: it has 1,001 characters"
    ):
        check_pattern("a" * (LONGEST + 1))
