from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.gate.forms import Budget, Lengths, Relation, parse_budget, parse_lengths, rewritten

quiet = settings(derandomize=True, database=None, deadline=None)


@pytest.mark.parametrize(
    ("written", "keep", "break_"),
    [
        (2402020608, [2402020608], [2402020607, 2402020609]),
        ("2_402_020_608", [2402020608], [2402020609]),
        ("2,402,020,608", [2402020608], [2402020607]),
        ("2.40G", [2395000000, 2402020608, 2405000000], [2394999999, 2405000001, 2413449216]),
        ("2.4G", [2350000000, 2449999999], [2450000001]),
        ("2 G", [1500000000, 2500000000], [1499999999]),
        ("642M", [642299520], [642500001, 641499999]),
        ("5.7T", [5650000000000], [5760000000000]),
        ("1K", [500, 1500], [499, 1501]),
        ("2.40G ± 1%", [2376000000, 2424000000], [2375999999, 2424000001]),
        ("2.40G +- 1%", [2376000000], [2375999999]),
        ("2.40G +/- 1 %", [2424000000], [2424000001]),
        ("1000 ± 0.05%", [1000], [999, 1001]),
        ("2.40G ± 10M", [2390000000, 2410000000], [2389999999]),
        ({"max": "2.5G"}, [0, 2500000000], [2500000001]),
        ({"max": 10}, [10], [11]),
        ("<= 2.5G", [2500000000], [2500000001]),
    ],
)
def test_which_numbers_keep_a_budget(written, keep, break_):
    budget = parse_budget(written)
    assert [budget.holds(number) for number in keep] == [True] * len(keep)
    assert [budget.holds(number) for number in break_] == [False] * len(break_)


def test_a_relation_is_a_ceiling_once_the_other_model_is_counted():
    relation = parse_budget("<= 0.55 x deit_small")
    assert relation == Relation("<= 0.55 x deit_small", Fraction("0.55"), "deit_small")
    ceiling = relation.settle(4598882304)
    assert (ceiling.holds(2529385267), ceiling.holds(2529385268)) == (True, False)
    assert ceiling.describe() == "<= 0.55 x deit_small = 2,529,385,267"
    assert parse_budget("<= 2 × mylab.nets:Net:depth=3").other == "mylab.nets:Net:depth=3"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("2.4e9", "'2.4e9' is no budget; write 2402020608, 2.40G, 2.40G ± 1%, {max: 2.5G} or <= 0.55 x deit_small"),
        (2.4, "2.4 is no whole number; a suffix says thousands to 10^15: 2.4K, M, G, T or P"),
        (True, "True is no budget"),
        (None, "None is no budget"),
        (-1, "'-1' is no budget"),
        ("2.40g", "'2.40g' is no budget"),
        ("2.40G ± ", "'2.40G ±' is no budget"),
        ("1,00", "'1,00' is no budget"),
        ("", "'' is no budget"),
        ({}, "max: 'None' does not fit"),
        ({"mx": 1}, "unknown key 'mx'; did you mean 'max'?"),
        ({"max": "2.5G ± 1%"}, "max: '2.5G ± 1%' does not fit: should be a number, such as 2.5G"),
        ({"max": True}, "max: 'True' does not fit"),
        (">= 2", "'>= 2' is no budget"),
        ("9" * 1000 + "G", "'99999999999999999999...' is no budget: it has 1,001 characters"),
    ],
)
def test_what_is_no_budget_is_a_sentence(written, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_budget(written)
    assert str(caught.value).startswith(sentence)


def test_tokens_are_told_where_they_part():
    lengths = parse_lengths([196, 97])
    assert lengths == Lengths((196, 97))
    assert (lengths.holds((196, 97)), lengths.holds((196, 98))) == (True, False)
    assert lengths.difference((196, 98)) == "block 1 has 98 tokens, not 97"
    assert lengths.difference((196, 97, 97)) == "3 blocks, not 2"
    for wrong in ([], [1.5], "196 97", [True]):
        with pytest.raises(ValueError, match="should be the tokens that enter each block"):
            parse_lengths(wrong)


@pytest.mark.parametrize(
    ("text", "measured", "new"),
    [
        ("5", 7, "7"),
        ("1_000", 1234567, "1_234_567"),
        ("1,000", 1234567, "1,234,567"),
        ("2.40G", 2413449216, "2.41G"),
        ("2.40 G", 2413449216, "2.41 G"),
        ("642M", 1200000, "1M"),
        ("2.40G", 12, "12"),  # 0.00G would hold whatever becomes of it
        ("2.40G ± 1%", 3000000000, "3.00G ± 1%"),
        ("2.40G +/- 0.001%", 2413449216, "2413449216 +/- 0.001%"),
        ("330 ± 2%", 342.46, "342 ± 2%"),
        ("330.5 ± 2%", 342.46, "342.5 ± 2%"),
        ("<= 2.5G", 1, None),
        ("<= 0.55 x deit_small", 1, None),
    ],
)
def test_a_number_is_written_as_the_old_one_was(text, measured, new):
    assert rewritten(text, measured) == new


@quiet
@given(
    st.integers(0, 10**16),
    st.sampled_from(["1", "1_000", "1.00G", "3M", "2.5K ± 1%", "1T ± 3", "7 +- 0.1%", "1,000 G"]),
)
def test_what_was_measured_keeps_the_budget_that_is_written_for_it(measured, text):
    new = rewritten(text, measured)
    assert new is not None
    found = parse_budget(new)
    assert isinstance(found, Budget)
    assert found.holds(measured)
    assert not found.holds(measured * 3 + 10**6 * 10**9 * 1001)
