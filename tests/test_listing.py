from hvt_bench import listing
from hvt_bench.metrics import METRICS
from hvt_bench.models import FAMILIES, VARIANTS
from hvt_bench.row import COLUMNS


def first_words(text):
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def test_every_variant_is_listed_with_its_macs():
    text = listing.variants()
    assert first_words(text)[2:] == list(VARIANTS)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "hvt_s_1 hvt 2.40 embed_dim=384 num_heads=6 pool_stages=1" in lines


def test_every_family_is_listed_with_its_fields():
    text = listing.families()
    assert [line for line in text.splitlines() if line in FAMILIES] == list(FAMILIES)
    for config_class in FAMILIES.values():
        assert set(config_class.model_fields) <= set(first_words(text))


def test_every_metric_and_every_column_is_listed():
    assert first_words(listing.metrics())[2:] == list(METRICS)
    assert first_words(listing.columns())[2:] == list(COLUMNS)


def test_every_figure_is_listed():
    from hvt_bench.plots import FIGURES

    assert first_words(listing.figures())[2:] == list(FIGURES)
