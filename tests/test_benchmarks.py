"""What the benchmarks compare is right; how fast it is, they say themselves."""

import pytest

from hvt_bench.metrics.complexity import count
from tests.benchmarks.counting import PLAIN_EVERY, designs, differing


def test_the_designs_are_many_and_mixed():
    found = designs()
    assert len(found) >= 200
    assert {config.family for config in found} == {"vit", "hvt"}
    assert {config.img_size for config in found} >= {160, 512}
    assert {config.depth for config in found} >= {6, 48}


@pytest.mark.slow
def test_fvcore_on_real_networks_finds_what_shapes_alone_say():
    small = [config for config in designs()[::PLAIN_EVERY] if config.depth <= 24]
    assert len(small) >= 8
    assert differing(small, [count(config).macs for config in small]) == []


def test_a_count_that_differs_is_named():
    config = designs()[0]
    assert differing([config], [count(config).macs + 1]) == [config]
