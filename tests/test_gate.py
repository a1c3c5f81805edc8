import pytest

from hvt_bench.errors import CountError, FileError
from hvt_bench.gate import check_budgets, render_text
from hvt_bench.models import VARIANTS
from hvt_bench.yaml_file import load_yaml

BUDGETS = "sweeps/budgets.yaml"


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "budgets.yaml"
        path.write_text(text)
        return path

    return write_text


def test_every_variant_has_a_budget(repository):
    assert list(load_yaml(repository / BUDGETS).data["budgets"]) == list(VARIANTS)


def test_budgets_that_hold(write):
    verdicts = check_budgets(write("budgets: {hvt_ti_1: {macs: 642299520, params: 5735656}}\n"))
    assert [v.ok for v in verdicts] == [True]
    assert render_text(verdicts) == (
        "ok      hvt_ti_1  macs 642,299,520; params 5,735,656\n1 of 1 model kept their budgets"
    )


def test_a_broken_budget_says_by_how_much_and_stands_last(write):
    text = "budgets:\n  hvt_ti_1: {macs: 635876525, params: 5735656}\n  deit_tiny: {params: 5717416}\n"
    verdicts = check_budgets(write(text))
    assert [(v.model, v.ok) for v in verdicts] == [("hvt_ti_1", False), ("deit_tiny", True)]
    assert render_text(verdicts) == (
        "ok      deit_tiny  params 5,717,416\n"
        "BROKEN  hvt_ti_1   macs 642,299,520, budget 635,876,525: +6,422,995 (+1.01 %); params 5,735,656\n"
        "1 of 2 models kept their budgets"
    )


def test_a_count_that_fell_is_broken_too(write):
    (verdict,) = check_budgets(write("budgets: {hvt_ti_1: {macs: 642299521}}\n"))
    assert not verdict.ok
    assert "-1 (-0.00 %)" in render_text([verdict])


def test_a_changed_network_has_a_budget_under_its_own_name(write):
    (verdict,) = check_budgets(write("budgets: {'hvt_s_1:num_classes=100': {params: 21740644}}\n"))
    assert verdict.ok


def test_an_outside_network_has_a_budget(write, module):
    (verdict,) = check_budgets(write(f"budgets: {{'{module}:Net:depth=3': {{macs: 1204496}}}}\n"))
    assert verdict.ok


def test_an_outside_network_that_does_not_exist_is_a_mistake_of_the_file(write, tmp_path, module):
    with pytest.raises(FileError) as caught:
        check_budgets(write(f"budgets:\n  {module}:Nett: {{macs: 1}}\n"))
    assert str(caught.value).startswith(f"{tmp_path}/budgets.yaml:2: {module}:Nett: unknown name 'Nett'; did you mean")


def test_a_network_that_cannot_be_counted_is_broken(write, monkeypatch):
    def refuse(config, **options):
        raise CountError("aten::strange in module 'head': no counting rule says what this operator costs")

    monkeypatch.setattr("hvt_bench.gate.count", refuse)
    (verdict,) = check_budgets(write("budgets: {hvt_ti_1: {macs: 1}}\n"))
    assert not verdict.ok
    assert "aten::strange in module 'head'" in render_text([verdict])


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("budget: {}\n", 1, "unknown key 'budget'; did you mean 'budgets'?"),
        ("budgets: {}\n", 1, "budgets: {} does not fit: should not be empty"),
        ("budgets:\n  hvt_s_1: {}\n", 2, "hvt_s_1: {} does not fit: should not be empty"),
        (
            "budgets:\n  hvt_s_9: {macs: 1}\n",
            2,
            "unknown model 'hvt_s_9'; did you mean 'hvt_s_4' or 'hvt_s_3' or 'hvt_s_2'?",
        ),
        ("budgets:\n  hvt_s_1:\n    flops: 1\n", 3, "'flops' cannot have a budget; these can: params, macs"),
        ("budgets:\n  hvt_s_1:\n    macs: 2.4e9\n", 3, "macs: '2.4e9' does not fit: should be a whole number"),
        ("budgets:\n  hvt_s_1:\n    macs: off\n", 3, "macs: False does not fit: should be a whole number"),
        ("budgets:\n  hvt_s_1:\n    macs: -1\n", 3, "macs: -1 does not fit: should be greater than or equal to 0"),
        ("budgets:\n  hvt_s_1: 5\n", 2, "hvt_s_1: 5 does not fit: should be a mapping"),
    ],
)
def test_a_mistake_is_a_sentence_with_file_and_line(write, tmp_path, text, line, sentence):
    with pytest.raises(FileError) as caught:
        check_budgets(write(text))
    assert str(caught.value).startswith(f"{tmp_path}/budgets.yaml:{line}: {sentence}")


def test_a_budget_that_is_far_off_is_told_in_multiples(write):
    verdicts = check_budgets(write("budgets: {hvt_ti_1: {params: 1000}}\n"))
    assert "params 5,735,656, budget 1,000: +5,734,656 (5.74e+03 times the budget)" in render_text(verdicts)
