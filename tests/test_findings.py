"""Sentences made from rows: sure where the rounds decide, careful where they do not."""

import pytest

from hvt_bench.analysis.fit import fit_rows
from hvt_bench.analysis.savings import usual_baseline
from hvt_bench.report.findings import find
from hvt_bench.report.findings.words import MOST
from tests.rows import STEADY, row, times

NOISY = (10.0, 15.0, 7.0, 12.0, 5.0)


def deit(**changes):
    fixed = {"model": "deit_small", "family": "vit", "pool_stages": None, "macs": 4 * 10**9, "params": 22 * 10**6}
    return row(**fixed | {"latency_ms": 10.0} | changes)


def hvt(factor=0.5, rounds=STEADY, **changes):
    fixed = {"macs": 2 * 10**9, "params": 22 * 10**6, "latency_ms": 10.0 * factor, "latency_ms_rounds": rounds}
    return times(row(**fixed | changes), factor)


def said(*rows):
    """The findings about pairs of networks."""
    return find(rows, None, usual_baseline(rows))


def first(*rows):
    found = said(*rows)[0]
    return found.text, found.sure


def test_quiet_rounds_say_how_much_of_the_saving_is_realised():
    text, sure = first(hvt(0.65), deit())
    assert text == (
        "hvt_s_1 takes 0.50 x the MACs and 0.65 x the time of deit_small (95 % interval 0.64 to 0.66, 5 against 5 "
        "rounds): 70 % of the saving is realised (69 to 71 %)."
    )
    assert sure


def test_rounds_further_apart_give_a_range():
    text, sure = first(hvt(0.5, (10.0, 11.0, 14.0, 12.0, 8.0)), deit(latency_ms_rounds=(10.0, 12.0, 14.0, 11.0, 8.0)))
    assert text.endswith("% of the saving is realised, the rounds do not say it more closely.")
    assert not sure


def test_noise_that_decides_nothing_is_said():
    text, sure = first(hvt(0.9, NOISY), deit(latency_ms_rounds=NOISY))
    assert text.startswith(
        "hvt_s_1 takes 0.50 x the MACs of deit_small. Its time was 0.90 x, but the rounds are too far apart to say "
        "whether it is less (95 % interval "
    )
    assert not sure


def test_the_same_time_is_no_saving():
    text, sure = first(hvt(1.0), deit())
    assert text.startswith("hvt_s_1 takes 0.50 x the MACs and, within 2 %, the same time as deit_small (95 % interval ")
    assert sure


def test_a_slower_network_realises_nothing():
    text, _ = first(hvt(1.5), deit())
    assert "1.50 x the time of deit_small" in text
    assert text.endswith(": none of the saving is realised.")


def test_more_macs_are_no_saving():
    text, _ = first(hvt(1.5, macs=8 * 10**9), deit())
    assert "2.00 x the MACs and 1.50 x the time" in text
    assert "saving" not in text


def test_one_round_gives_no_interval_and_says_so():
    text, sure = first(hvt(0.5, (10.0,)), deit())
    assert text == (
        "hvt_s_1 takes 0.50 x the MACs of deit_small and took 0.50 x its time; fewer than 2 rounds on a side give no "
        "interval, so this may be noise."
    )
    assert not sure


def test_without_times_only_macs_are_compared():
    counted = {"latency_ms": None, "latency_ms_rounds": None}
    found = said(row(macs=10**9, **counted), deit(**counted))
    assert [finding.text for finding in found[:2]] == [
        "hvt_s_1 takes 0.25 x the MACs of deit_small.",
        "No time of these networks was measured, so nothing here says how long such MACs take.",
    ]


def test_training_steps_are_held_against_training_macs():
    train = {"mode": "train", "train_macs": 6 * 10**9}
    text, _ = first(hvt(0.8, **train), deit(**train | {"train_macs": 12 * 10**9}))
    assert text.startswith("hvt_s_1 takes 0.50 x the training MACs and 0.80 x the time of deit_small")


def test_pairs_are_of_one_way_of_measuring():
    ways = [{"batch_size": batch} for batch in (1, 64)]
    found = [finding.text for finding in said(*(hvt(0.5, **way) for way in ways), *(deit(**way) for way in ways))]
    assert sum("the time of deit_small (batch 1)" in text for text in found) == 1
    assert sum("the time of deit_small (batch 64)" in text for text in found) == 1


def test_largest_batches_that_differ_are_not_compared():
    largest = {"max_batch": True}
    found = said(hvt(0.5, **largest, batch_size=64), deit(**largest, batch_size=32))
    assert not any("x the" in finding.text for finding in found)


def test_many_pairs_are_counted():
    found = said(*(hvt(0.5, model=f"hvt_{n}") for n in range(9)), deit())
    assert sum("of the saving is realised" in finding.text for finding in found) == MOST
    assert f"These are the first {MOST} of 9 such pairs, and 3 more in the table." in [
        finding.text for finding in found
    ]


def test_memory_that_is_not_told_is_counted():
    found = said(*(hvt(0.5, model=f"hvt_{n}", peak_memory_mib=9.0) for n in range(8)), deit(peak_memory_mib=18.0))
    assert f"Peak memory: these are the first {MOST} of 8, and 2 more in the table." in [each.text for each in found]


def test_models_that_are_held_against_nothing_are_named():
    found = said(hvt(), hvt(model="hvt_s_2", batch_size=64), deit())
    assert "Not held against deit_small: hvt_s_2; of it no centre was measured alike. The table has the rows." in [
        finding.text for finding in found
    ]
    assert not any("Not held" in finding.text for finding in said(hvt(), deit()))


def test_figures_are_plain_numbers():
    rows = [hvt(model="small", params=2 * 10**6, latency_ms=0.5), deit(params=1_304_000_000, latency_ms=1594.0)]
    (text,) = (finding.text for finding in said(*rows) if "The networks" in finding.text)
    assert text == "The networks cost 2 to 4 GMACs, have 2 to 1,300 M params and took 0.5 to 1,590 ms a batch."


def test_memory_has_no_interval():
    found = said(hvt(0.5, peak_memory_mib=50.0), deit(peak_memory_mib=100.0))
    (text,) = (finding.text for finding in found if "peaked" in finding.text)
    assert text.startswith("hvt_s_1 peaked at 0.50 x the memory of deit_small: 50 against 100 MiB")
    assert "no interval" in text


VIT_SEEDS, HVT_SEEDS = (82.3, 82.9, 82.6, 83.1, 82.6), (84.2, 84.7, 84.5, 85.0, 84.1)
UNTIMED = {"latency_ms": None, "latency_ms_rounds": None}
PLAIN_HVT, PLAIN_DEIT = row(macs=2 * 10**9, params=22 * 10**6, **UNTIMED), deit(**UNTIMED)


def trained(row, *rounds, data="fashion_mnist", recipe="small", **more):
    mean = {"top1": sum(rounds) / len(rounds), "top1_rounds": rounds, "total_train_macs": row["macs"] * 300_000}
    return type(row)({**row, **mean, "train_s": 100.0, "data": data, "recipe": recipe, **more})


def test_fewer_macs_and_more_accuracy_are_one_sentence():
    found = said(trained(PLAIN_HVT, *HVT_SEEDS), trained(PLAIN_DEIT, *VIT_SEEDS))
    assert (found[0].text, found[0].sure) == (
        "hvt_s_1 takes 0.50 x the MACs of deit_small and is 1.80 points more accurate, 84.50 against 82.70 % top-1 "
        "(95 % interval 1.30 to 2.30, Welch's t over 5 seeds each, fashion_mnist, recipe small).",
        True,
    )
    assert sum("the MACs of deit_small" in finding.text for finding in found) == 1


def test_a_loss_of_accuracy_is_called_so():
    found = said(trained(hvt(), *VIT_SEEDS), trained(deit(), *HVT_SEEDS))
    assert "time of deit_small" in found[0].text
    assert "and is 1.80 points less accurate, 82.70 against 84.50 % top-1 (95 % interval 1.30 to 2.30" in found[1].text


def test_seeds_that_do_not_tell_are_said_not_to():
    found = said(trained(PLAIN_HVT, *VIT_SEEDS[:4]), trained(PLAIN_DEIT, *VIT_SEEDS))
    assert "it came out 0.02 points more accurate" in found[0].text
    assert "do not tell from no difference (95 % interval -0." in found[0].text
    assert "Welch's t over 4 against 5 seeds" in found[0].text
    assert not found[0].sure


def test_fewer_than_four_seeds_give_a_difference_and_no_interval():
    found = said(trained(PLAIN_HVT, *HVT_SEEDS[:3]), trained(PLAIN_DEIT, *VIT_SEEDS))
    assert "it came out 1.77 points more accurate" in found[0].text
    assert "but 3 against 5 seeds give no interval, which takes 4, so this may be chance" in found[0].text
    assert not found[0].sure


def test_accuracies_on_other_data_or_by_another_recipe_are_in_no_sentence():
    for other in ({"data": "digits"}, {"recipe": "deit"}):
        found = said(trained(PLAIN_HVT, *HVT_SEEDS, **other), trained(PLAIN_DEIT, *VIT_SEEDS))
        assert not any("accurate" in finding.text for finding in found)
        assert (
            "The accuracy of hvt_s_1 is held against nothing: deit_small was trained on other data or by another "
            "recipe."
        ) in [finding.text for finding in found]


def test_a_mean_without_the_trainings_that_failed_is_not_sure():
    failed = trained(PLAIN_HVT, *HVT_SEEDS[:4], status="error")
    (found,) = (each for each in said(failed, trained(PLAIN_DEIT, *VIT_SEEDS)) if "accurate" in each.text)
    assert found.text.endswith("; of hvt_s_1 not every training ended well, and these are left out.")
    assert not found.sure


def test_what_the_trainings_cost_is_said():
    rows = [trained(PLAIN_HVT, *HVT_SEEDS), trained(PLAIN_DEIT, *VIT_SEEDS)]
    assert (
        "One training took from 600 TMACs (hvt_s_1) to 1,200 (deit_small) and 100 s, the median of its seeds; all 10 "
        "trainings together 9,000 TMACs."
    ) in [finding.text for finding in said(*rows)]


def test_small_networks_are_told_in_millions():
    rows = [row(macs=9 * 10**6, params=10**6), row(macs=16 * 10**6, params=10**6, model="other")]
    assert "The networks cost 9 to 16 MMACs and have 1 to 1 M params." in [each.text for each in find(rows, None, "")]


def stages(*factors):
    return [
        hvt(factor, pool_stages=stage, macs=(4 - stage) * 10**9, axis=None if stage == 1 else "pool_stages")
        for stage, factor in enumerate(factors)
    ]


def test_what_changes_macs_and_no_params_is_for_free():
    found = [finding.text for finding in find(stages(1.0, 0.8, 0.5), None, "")]
    assert (
        "From pool_stages 0 to 2, hvt_s_1 keeps its params (22.00 M and 22.00 M); its MACs fall to 0.50 x, its time to "
        "0.50 x (95 % interval 0.49 to 0.51)."
    ) in found


def along_depth(exponent, rounds=STEADY, points=(6, 12, 18, 24)):
    return [
        times(
            row(depth=depth, axis=None if depth == 12 else "depth", macs=depth * 10**8, latency_ms_rounds=rounds),
            (depth / 12) ** exponent,
        )
        for depth in points
    ]


def growth(rows):
    rows = [type(found)({**found, "latency_ms": found["latency_ms_rounds"][0]}) for found in rows]
    return [finding for finding in find(rows, fit_rows(rows), "") if "depth^" in finding.text or "line" in finding.text]


def test_time_that_grows_less_than_macs_is_named():
    texts = [finding.text for finding in growth(along_depth(0.5))]
    assert texts[0] == "MACs go as depth^1.00 (hvt_s_1)."
    assert texts[1].startswith(
        "Along depth, the time of hvt_s_1 changes less than its MACs: as depth^0.50 (95 % interval "
    )
    assert texts[1].endswith("), not ^1.00.")


def test_of_many_lines_whose_time_grows_otherwise_the_rest_is_counted():
    rows = [type(found)({**found, "model": f"hvt_{line}"}) for line in range(8) for found in along_depth(0.5)]
    assert "Exponents: these are the first 6 of 8 lines, and 2 more in the fits." in [
        found.text for found in growth(rows)
    ]


def test_time_that_may_grow_as_macs_do_is_left_open():
    found = growth(along_depth(1.0, NOISY))
    assert found[-1].text.startswith("On 1 of 1 line the exponent of the time is not told from that of the MACs")
    assert not found[-1].sure


def test_three_points_give_no_interval_and_say_why():
    rows = along_depth(1.0, points=(6, 12, 18))
    rows = [type(found)({**found, "latency_ms": found["latency_ms_rounds"][0]}) for found in rows]
    texts = [finding.text for finding in find(rows, fit_rows(rows), "")]
    assert any("exponents of time have no interval (3 points; an interval needs 4)" in text for text in texts)


@pytest.mark.parametrize(("spread", "sure"), [(3.0, True), (30.0, False)])
def test_noise_is_measured(spread, sure):
    (found,) = find([row(latency_spread_pct=spread)], None, "")
    assert found.text.startswith(f"The rounds of one point are up to {spread:.0f} % apart")
    assert found.sure == sure


def test_what_failed_is_counted():
    rows = [row(), row(status="oom"), row(status="oom"), row(status="timeout"), row(status="invalid")]
    assert [finding.text for finding in find(rows, None, "")] == [
        "3 of 5 points failed (2 oom, 1 timeout): see below.",
        "1 combination that was asked for is no network: see below.",
    ]
