from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.gate.changes import changes, modules_of
from hvt_bench.gate.paths import merged, spelt_out, told
from hvt_bench.metrics.complexity import breakdown


def lines(before, after, quantity="macs"):
    return [change.describe() for change in changes(before, after, quantity)]


def costs(**macs):
    return {path.replace("_", ".").replace("root", ""): (number, 0, 0) for path, number in macs.items()}


def test_paths_that_are_alike_are_told_as_one():
    alike = {f"layers.{layer}.blocks.{block}.fc": 1 for layer in (0, 1, 3) for block in range(3)}
    assert merged(alike) == {"layers.0-1.blocks.0-2.fc": 1, "layers.3.blocks.0-2.fc": 1}
    assert merged({"a.0": 1, "a.1": 2, "a.2": 2, "b": 2}) == {"a.0": 1, "a.1-2": 2, "b": 2}
    assert merged({"a.01": 1, "a.02": 1}) == {"a.01": 1, "a.02": 1}
    assert merged({}) == {}
    assert told([f"a.{i}" for i in (0, 2, 4, 6, 8)]) == "a.0, a.2, a.4 and 2 more"


names = st.lists(
    st.sampled_from(["0", "1", "2", "3", "11", "fc", "0-3", "1-100000", "'0-3'", "''1-2''"]), min_size=1, max_size=4
).map(".".join)


@settings(derandomize=True, database=None, deadline=None)
@given(st.dictionaries(names, st.integers(0, 1), max_size=40))
def test_what_was_told_as_one_can_be_spelt_out(values):
    found = [(path, value) for run, value in merged(values).items() for path in spelt_out(run)]
    assert sorted(found) == sorted(values.items())


def test_the_innermost_module_is_named_and_equal_ones_are_one_line():
    before = costs(root=30, blocks=30, blocks_0=15, blocks_0_fc=10, blocks_1=15, blocks_1_fc=10)
    after = costs(root=34, blocks=34, blocks_0=17, blocks_0_fc=12, blocks_1=17, blocks_1_fc=12)
    assert lines(before, after) == ["blocks.0-1.fc: macs 10 -> 12 (+2 in each of 2, +4 in all)"]


def test_what_a_module_computes_itself_is_its_own():
    assert lines(costs(root=10, fc=4), costs(root=15, fc=4)) == ["the network (its own): macs 6 -> 11 (+5)"]


def test_a_module_that_came_or_went_is_told_whole():
    before = costs(root=4, head=4, head_fc=4)
    after = costs(root=9, classifier=9, classifier_fc=9)
    assert lines(before, after) == ["classifier: new, macs 9", "head: gone, macs 4"]
    assert lines(after, before) == ["classifier: gone, macs 9", "head: new, macs 4"]


def test_nothing_changed_where_nothing_changed():
    same = modules_of(breakdown("deit_tiny"))
    assert lines(same, same, "params") == []


def test_one_more_block_is_one_line():
    before, after = modules_of(breakdown("deit_tiny")), modules_of(breakdown("vit:embed_dim=192,depth=13"))
    assert lines(before, after) == [f"blocks.12: new, macs {after['blocks.12'][0]:,}"]
    assert sum(change.difference for change in changes(before, after, "params")) == after[""][1] - before[""][1]


@settings(derandomize=True, database=None, deadline=None, max_examples=20)
@given(st.sampled_from(["macs", "params", "activations"]), st.integers(0, 4), st.booleans())
def test_the_changes_add_up_to_that_of_the_network(quantity, stages, bias):
    before = modules_of(breakdown("hvt:depth=5,embed_dim=128"))
    counted = breakdown(f"hvt:depth=6,embed_dim=128,pool_stages={stages},qkv_bias={str(bias).lower()}")
    after = modules_of(counted)
    column = ("macs", "params", "activations").index(quantity)
    found = changes(before, after, quantity)
    assert sum(change.difference for change in found) == after[""][column] - before[""][column]
