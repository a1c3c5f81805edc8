"""Budgets files: what they may hold, and whether models keep them."""

from pathlib import Path

import pytest

from hvt_bench.errors import CountError, FileError
from hvt_bench.gate.check import check_budgets
from hvt_bench.gate.load import load_budgets
from hvt_bench.gate.render import Report, render, told
from hvt_bench.models import VARIANTS
from hvt_bench.yaml_file import load_yaml
from tests.outside_networks import PICKS

BUDGETS = "sweeps/budgets.yaml"


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "budgets.yaml"
        path.write_text(text)
        return path

    return write_text


@pytest.fixture
def check(write):
    """Verdicts on the models of a budgets file."""
    return lambda text, **options: check_budgets(load_budgets(write(text)), **options)


def findings(verdicts):
    return [told(finding) for verdict in verdicts for finding in verdict.findings]


def text_of(verdicts):
    return render(Report(verdicts, Path("budgets.yaml")))


def test_every_variant_has_a_budget(repository):
    assert list(load_yaml(repository / BUDGETS).data["budgets"]) == list(VARIANTS)


def test_budgets_that_hold(check):
    verdicts = check("budgets: {hvt_ti_1: {macs: 642299520, params: 5735656}}\n")
    assert [v.ok for v in verdicts] == [True]
    assert text_of(verdicts) == (
        "ok      hvt_ti_1  macs 642,299,520; params 5,735,656\n1 of 1 model kept their budgets"
    )


def test_a_broken_budget_says_by_how_much_and_stands_last(check):
    verdicts = check("budgets:\n  hvt_ti_1: {macs: 635876525, params: 5735656}\n  deit_tiny: {params: 5717416}\n")
    assert [(v.model, v.ok) for v in verdicts] == [("hvt_ti_1", False), ("deit_tiny", True)]
    assert text_of(verdicts) == (
        "ok      deit_tiny  params 5,717,416\n"
        "BROKEN  hvt_ti_1   macs 642,299,520, budget 635,876,525: +6,422,995 (+1.01 %); params 5,735,656\n"
        "1 of 2 models kept their budgets"
    )


def test_a_count_that_fell_is_broken_too(check):
    (verdict,) = check("budgets: {hvt_ti_1: {macs: 642299521}}\n")
    assert not verdict.ok
    assert "-1 (-0.00 %)" in text_of([verdict])


def test_a_budget_that_is_far_off_is_told_in_multiples(check):
    verdicts = check("budgets: {hvt_ti_1: {params: 1000}}\n")
    assert findings(verdicts) == ["params 5,735,656, budget 1,000: +5,734,656 (5.74e+03 times the budget)"]


def test_every_quantity_and_every_form(check):
    verdicts = check(
        """\
budgets:
  hvt_s_1:
    macs: <= 0.53 x deit_small
    params: 22.1M
    activations: {max: 5.8M}
    train_macs: 7.15G ± 1%
    fvcore_flops: 2.41G
    seq_lens: [196, 97, 97, 97, 97, 97, 97, 97, 97, 97, 97, 97]
    estimated_memory_mib: 88 ± 2%
    protocol: {batch_size: 1, device: cpu}
    blocks.0.attn: {macs: 145108992}
    blocks.[123].mlp.*: {params: 590K ± 1%}
"""
    )
    assert findings(verdicts) == [
        "macs 2,402,020,608",
        "params 22,087,144",
        "activations 5,777,674",
        "train_macs 7,148,259,072",
        "fvcore_flops 2,407,056,768",
        "seq_lens 196 97 97 97 97 97 97 97 97 97 97 97",
        "estimated_memory_mib 88.0",
        "blocks.0.attn: macs 145,108,992",
        "blocks.1-3.mlp.fc1: params 591,360",
        "blocks.1-3.mlp.fc2: params 590,208",
    ]
    assert verdicts[0].ok


def test_every_module_of_a_pattern_is_held_to_its_budget(check):
    (verdict,) = check("budgets: {hvt_ti_1: {'blocks.*.attn': {macs: 17.9M ± 3%}}}\n")
    assert findings([verdict]) == [
        "blocks.0.attn: macs 43,653,120, budget 17.9M ± 3%: +25,753,120 (+143.87 %)",
        "blocks.1-11.attn: macs 17,916,288",
    ]


def test_a_pattern_that_names_no_module_is_broken(check):
    (verdict,) = check("budgets: {deit_tiny: {'blocks.*.atn': {macs: 1}, 'blocks': {params: 5338368}}}\n")
    assert [finding.ok for finding in verdict.findings] == [False, True]
    assert findings([verdict])[0].startswith("blocks.*.atn: macs: no module is called 'blocks.*.atn'; did you mean ")


def test_a_module_may_be_called_as_a_key(check, tmp_path, module):
    (tmp_path / "named.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.model, self.protocol, self.macs = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)\n\n"
        "    def forward(self, x):\n        return self.macs(self.protocol(self.model(x)))\n"
    )
    (verdict,) = check(
        "budgets:\n  'named:Net:input_shapes=[[4]]':\n    model: {macs: 16}\n    protocol: {macs: 16}\n"
        "    macs: {params: 20}\n    params: 60\n"
    )
    assert findings([verdict]) == ["model: macs 16", "protocol: macs 16", "macs: params 20", "params 60"]
    assert verdict.ok
    (verdict,) = check("budgets: {a: {model: {target: 'named:Net', input_shapes: [[4]]}, '[m]odel': {macs: 16}}}")
    assert verdict.ok


def test_a_relation_may_name_a_model_of_the_file_or_any_other(check):
    text = (
        "budgets:\n  small: {model: 'hvt:depth=2', macs: <= 0.3 x big}\n"
        "  big: {model: {variant: hvt_s_1}, params: 22.1M}\n"
    )
    assert [verdict.ok for verdict in check(text)] == [True, True]
    (verdict,) = check("budgets: {hvt_s_1: {macs: <= 0.52 x deit_small}}")
    assert findings([verdict]) == [
        "macs 2,402,020,608, budget <= 0.52 x deit_small = 2,391,418,798: +10,601,810 (+0.44 %)"
    ]


def test_a_relation_to_a_model_that_cannot_be_counted_is_broken(check, module, tmp_path):
    (tmp_path / "picks.py").write_text(PICKS)
    (verdict,) = check("budgets: {deit_tiny: {macs: '<= 1 x picks:Picks:input_shapes=[[4]]'}}")
    assert not verdict.ok
    assert "picks:Picks:input_shapes=[[4]] cannot be counted: aten::index" in findings([verdict])[0]


def test_a_changed_network_has_a_budget_under_its_own_name(check):
    (verdict,) = check("budgets: {'hvt_s_1:num_classes=100': {params: 21740644}}\n")
    assert verdict.ok


def test_an_outside_network_has_a_budget(check, module):
    verdicts = check(
        f"""\
budgets:
  {module}:Net:depth=3: {{macs: 1204496}}
  deeper: {{model: {{target: {module}:Net, depth: 4}}, macs: 1204560}}
  {module}:Pair:input_shapes=[[4], [6]]: {{macs: 20}}
"""
    )
    assert [verdict.ok for verdict in verdicts] == [True, True, True]


def test_what_is_not_known_of_a_network_cannot_keep_a_budget(check, module):
    (verdict,) = check(f"budgets: {{'{module}:Net': {{seq_lens: [1]}}}}\n")
    assert findings([verdict]) == [
        "seq_lens of this network is not known: only the families here say which modules are blocks; "
        "activations have a budget everywhere"
    ]
    assert not verdict.ok


def test_a_network_that_cannot_be_built_is_broken_and_hides_no_other(check, module):
    verdicts = check(
        f"budgets:\n  {module}:Nett: {{macs: 1}}\n  {module}:fails: {{macs: 1}}\n  deit_tiny: {{macs: 1.25G}}\n"
    )
    assert [verdict.ok for verdict in verdicts] == [False, False, True]
    assert verdicts[0].error.startswith(f"{module}:Nett: unknown name 'Nett'; did you mean")
    assert verdicts[1].error == f"{module}:fails refuses a call without arguments: ValueError: no good"


def test_a_network_that_cannot_be_counted_is_broken(check, monkeypatch):
    def refuse(config, **options):
        raise CountError("aten::strange in module 'head': no counting rule says what this operator costs")

    monkeypatch.setattr("hvt_bench.gate.check.breakdown", refuse)
    (verdict,) = check("budgets: {hvt_ti_1: {macs: 1}}\n")
    assert not verdict.ok
    assert "aten::strange in module 'head'" in text_of([verdict])


def test_memory_that_cannot_be_estimated_is_broken(check, module, tmp_path):
    (tmp_path / "picks.py").write_text(PICKS)
    text = "budgets: {'picks:Picks:input_shapes=[[4]]': {estimated_memory_mib: 1 ± 1%}}"
    (verdict,) = check(text, executed=True)
    assert "cannot be estimated" in findings([verdict])[0]
    assert not verdict.ok


def test_variants_alone_import_no_module_of_others(check, monkeypatch):
    def refuse(name):
        raise AssertionError(name)

    monkeypatch.setattr("hvt_bench.models.external.importlib.import_module", refuse)
    (verdict,) = check("budgets: {hvt_ti_1: {macs: <= 1 x deit_tiny, estimated_memory_mib: {max: 1000}}}\n")
    assert verdict.ok


def test_text_that_looks_like_code_is_not_run(write, tmp_path):
    for value in ("!!python/object/apply:os.mkdir ['made']", "!!python/object/apply:os.mkdir {args: ['made']}"):
        with pytest.raises(FileError):
            load_budgets(write(f"budgets: {{deit_tiny: {{macs: {value}}}}}\n"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: &a [x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(30)), "aliases are not accepted"),
        ("budgets: " + "[" * 100_000, "nested deeper than 50 levels"),
        ("budgets: {deit_tiny: {macs: " + "9" * 4_000 + "}}", "no budget: it has 4,000 characters"),
        ("budgets: {deit_tiny: {macs: " + "9" * 100_000 + "}}", "cannot be read: Exceeds the limit"),
        (
            "budgets:\n  deit_tiny:\n    ? '" + "*a" * 1_000 + "'\n    : {macs: 1}",
            "is no path of modules: it has 2,000 characters",
        ),
        ("budgets: {deit_tiny: {macs: '" + "9" * 100_000 + "G'}}", "no budget: it has 100,001 characters"),
    ],
)
def test_a_bomb_is_a_sentence(write, text, sentence):
    with pytest.raises(FileError, match=sentence):
        load_budgets(write(text))


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "budgets.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(FileError, match="larger than 1,000,000 bytes"):
        load_budgets(path)


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("budget: {}\n", 1, "unknown key 'budget'; did you mean 'budgets'?"),
        ("budgets: {}\n", 1, "budgets: {} does not fit: should not be empty"),
        ("# nothing yet\n", 1, "budgets: None does not fit: should not be empty; hvt-bench check "),
        ("budgets:\n  hvt_s_1: {}\n", 2, "hvt_s_1: {} does not fit: should not be empty"),
        (
            "budgets:\n  hvt_s_9: {macs: 1}\n",
            2,
            "unknown model 'hvt_s_9'; did you mean 'hvt_s_4' or 'hvt_s_3' or 'hvt_s_2'?",
        ),
        ("budgets:\n  hvt_s_1:\n    flops: 1\n", 3, "'flops' cannot have a budget; these can: macs, params"),
        ("budgets:\n  hvt_s_1:\n    macs: 2.4e9\n", 3, "macs: '2.4e9' is no budget; write 2402020608, 2.40G"),
        ("budgets:\n  hvt_s_1:\n    macs: off\n", 3, "macs: False is no budget; write 2402020608, 2.40G"),
        ("budgets:\n  hvt_s_1:\n    macs: -1\n", 3, "macs: '-1' is no budget; write 2402020608, 2.40G"),
        ("budgets:\n  hvt_s_1: 5\n", 2, "hvt_s_1: 5 does not fit: should be a mapping"),
        ("budgets:\n  hvt_s_1:\n    macs: 1\n    macs: 2\n", 4, "the key 'macs' stands here twice, first on line 3"),
        ("budgets:\n  hvt_s_1:\n    blocks.*.attn: {flops: 1}\n", 3, "'flops' cannot have a budget in a module; these"),
        ("budgets:\n  hvt_s_1:\n    blocks.*.attn: {}\n", 3, "'blocks.*.attn' cannot have a budget; these can: macs"),
        (
            "budgets:\n  hvt_s_1:\n    *.attn: {macs: 1}\n",
            3,
            "this is not YAML: expected alphabetic or numeric character",
        ),
        ("budgets:\n  hvt_s_1:\n    head: {macs: <= 2 x deit_tiny}\n", 3, "macs: a relation is of macs, params,"),
        ("budgets:\n  hvt_s_1:\n    macs: <= 2 x deit_tinny\n", 3, "macs: unknown model 'deit_tinny'; did you mean"),
        ("budgets:\n  hvt_s_1:\n    macs: <= 2 x hvt_s_1\n", 3, "macs: hvt_s_1 is this model itself; a relation is to"),
        (
            "budgets:\n  hvt_s_1: {params: 22.1M}\n  a:\n    model: {variant: hvt_s_1}\n    macs: <= 2 x hvt_s_1\n",
            5,
            "macs: hvt_s_1 is this model itself; a relation is to another one",
        ),
        ("budgets:\n  hvt_s_1:\n    seq_lens: 196\n", 3, "seq_lens: 196 does not fit: should be the tokens that enter"),
        ("budgets:\n  hvt_s_1:\n    estimated_memory_mib: 88.7\n", 3, "estimated_memory_mib: an estimate needs a tol"),
        ("budgets:\n  hvt_s_1:\n    model: hvt_s_1\n", 2, "hvt_s_1 has no budget; these can have one: macs, params"),
        (
            "budgets:\n  mine:\n    macs: 1\n    model: {depth: 3}\n",
            4,
            "a model written as a mapping needs one of 'fam",
        ),
        (
            "budgets:\n  hvt_s_1:\n    macs: 1\n    protocol: {}\n",
            4,
            "protocol says which pass estimated_memory_mib is",
        ),
        (
            "budgets:\n  hvt_s_1:\n    estimated_memory_mib: 1 ± 1%\n    protocol:\n      batch: 3\n",
            5,
            "protocol: unknown key 'batch'; did you mean 'batch_size'?",
        ),
        (
            "budgets:\n  hvt_s_1:\n    estimated_memory_mib: 1 ± 1%\n    protocol: {mode: fit}\n",
            4,
            "protocol: mode: 'fit' does not fit: should be 'infer' or 'train'",
        ),
    ],
)
def test_a_mistake_is_a_sentence_with_file_and_line(check, tmp_path, text, line, sentence):
    with pytest.raises(FileError) as caught:
        check(text)
    assert str(caught.value).startswith(f"{tmp_path}/budgets.yaml:{line}: {sentence}")
