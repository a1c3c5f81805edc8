import pytest

from hvt_bench.errors import ConfigError, FieldError
from hvt_bench.executors import make_executor
from hvt_bench.executors.base import Outcome
from hvt_bench.models import override, parse_model
from hvt_bench.outside import OutsideCode, refusals, variations


class CountingExecutor:
    """Runs inline, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def map(self, function, items, key=str, timeout_s=lambda _: None):
        for item in items:
            self.asked.append(item)
            yield Outcome(item, function(item), None)


def test_refusals_come_in_order(module):
    configs = [parse_model(f"{module}:{text}") for text in ("Net", "fails", "Net:dept=3", "hvt")[:3]]
    assert [type(refusal) for refusal in refusals(configs)] == [type(None), ConfigError, FieldError]


def test_configs_of_one_target_are_asked_together_and_once(module):
    executor = CountingExecutor()
    outside = OutsideCode(executor)
    net, other = parse_model(f"{module}:Net"), parse_model(f"{module}:any_keyword")
    deeper = override(net, depth=3)
    outside.ask([net, deeper, net, other, parse_model("hvt")])
    outside.ask([deeper, other])
    assert executor.asked == [(net, deeper), (other,)]


def test_a_network_takes_what_it_does_not_call_unknown(module):
    outside = OutsideCode(CountingExecutor())
    net = parse_model(f"{module}:any_keyword")
    outside.ask(variations(net, [{"depth": 3}, {"depth": "deep"}, {"dept": 3}]))
    assert outside.takes(net, "depth", [3])
    assert outside.takes(net, "depth", ["deep"])
    assert not outside.takes(net, "dept", [3])
    assert outside.takes(parse_model("hvt"), "pool_stages", [1])
    assert not outside.takes(parse_model("hvt"), "window", [1])


@pytest.mark.slow
def test_a_factory_that_crashes_leaves_the_others_their_answers(module):
    outside = OutsideCode(make_executor("process"))
    net = parse_model(f"{module}:dies_deep")
    outside.ask([net, *variations(net, [{"depth": 5}, {"depth": "deep"}, {"dept": 3}])])
    outside.check(net)
    outside.check(override(net, depth=5))  # a crash is no refusal: counting will tell
    assert not outside.takes(net, "dept", [3])
