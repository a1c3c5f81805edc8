"""Networks by the thousand are those that come one by one, and so is what they cost."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvt_bench.analysis.product import Designs
from hvt_bench.errors import ConfigError
from hvt_bench.models import make_config, override

VALUES = {  # of these a search takes some; together they make networks, and what is none
    "img_size": (8, 12, 16, 18),
    "patch_size": (1, 2, 4, 16),
    "in_chans": (1, 3),
    "num_classes": (1, 7),
    "embed_dim": (1, 2, 6, 8, 12),
    "num_heads": (1, 2, 3),
    "mlp_ratio": (0.3, 8 / 3, 4.0),
    "depth": (1, 2, 5, 7),
    "qkv_bias": (True, False),
    "global_pool": ("avg", "token"),
    "distilled": (True, False),
    "pool_stages": (0, 1, 2, 3),
    "pool": ("max", "avg", "conv_dw", "conv"),
    "pool_kernel_size": (1, 3, 9),
    "pool_stride": (1, 2),
    "keep_rate": (0.7, None, 0.1),
    "backbone": ("deit", "lv_vit"),
    "teacher": (True, False),
    "patch_cosine": (False, True),
    "patch_contrastive": (False,),
    "talking_heads": (True, False),
    "stage_depths": ((1, 2), (2,), (1, 1, 1)),
    "kv_stride": (1, 2, 4),
    "mapping_layers": (1, 3),
    "latent_dim": (5, 6),
}
POOLS = {"hvt": ("max", "avg", "conv_dw"), "mvit": ("conv", "max")}
SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 12, "num_heads": 3}


@st.composite
def searches(draw):
    family = draw(
        st.sampled_from(["vit", "hvt", "mvit", "dynamicvit", "patchdiv", "vitgan_generator", "vitgan_discriminator"])
    )
    base = make_config(family, SMALL)
    known = {name: values for name, values in VALUES.items() if name in base.fields()}
    if "pool" in known:
        known["pool"] = POOLS[family]
    names = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=4, unique=True))
    some = {name: st.lists(st.sampled_from(known[name]), min_size=1, unique=True) for name in names}
    return base, {name: draw(values) for name, values in some.items()}


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(searches())
def test_many_at_once_are_those_one_by_one(search):
    base, values = search
    one_by_one, invalid, repeated, seen = {}, 0, 0, set()
    for place, combination in enumerate(itertools.product(*values.values())):
        changes = dict(zip(values, combination, strict=True))
        try:
            config = override(base, **changes)
        except ConfigError:
            invalid += 1
            continue
        telling = tuple((name, value) for name, value in changes.items() if name not in config.without_effect())
        repeated += telling in seen
        if telling not in seen:
            one_by_one[place] = (changes, config)
        seen.add(telling)
    designs = Designs(base, values)
    macs, params = {}, {}
    for batch in designs.batches():
        places = batch.places.tolist()
        macs |= dict(zip(places, batch.numbers(lambda config: config.closed_form_macs()), strict=True))
        params |= dict(zip(places, batch.numbers(lambda config: config.closed_form_params()), strict=True))
    assert (designs.invalid, designs.repeated) == (invalid, repeated)
    assert macs == {place: config.closed_form_macs() for place, (_, config) in one_by_one.items()}
    assert params == {place: config.closed_form_params() for place, (_, config) in one_by_one.items()}
    assert list(designs) == list(one_by_one.values())


@pytest.mark.parametrize("family", ["vit", "hvt", "mvit", "dynamicvit"])
def test_what_float64_cannot_hold_is_exact_too(family):
    """Networks beyond 2^63 multiply-adds beside small ones."""
    base = make_config(family, SMALL | {"patch_size": 2, "num_heads": 1})
    designs = Designs(base, {"embed_dim": (12, 999_996), "img_size": (16, 20_002, 99_998), "mlp_ratio": (1.1, 3.0)})
    (batch,) = designs.batches()
    found = batch.numbers(lambda config: config.closed_form_macs())
    assert found.tolist() == [designs.at(place)[1].closed_form_macs() for place in batch.places]
    assert max(found) > 2**63
    assert {type(number) for number in found} == {int}
