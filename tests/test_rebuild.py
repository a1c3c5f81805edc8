from hvt_bench.analysis.rebuild import centres, config_of
from hvt_bench.models import CONFIG_COLUMNS, VARIANTS, parse_model
from hvt_bench.row import Row

BASE = {"point_id": "p", "model": "m", "status": "ok", "macs": 1}


def row_of(name, **changes):
    config = parse_model(name)
    return Row({**BASE, "model": name, "family": config.family, **config.columns(name, CONFIG_COLUMNS), **changes})


def test_every_variant_is_rebuilt_from_its_row():
    assert {name for name in VARIANTS if config_of(row_of(name)) != parse_model(name)} == set()


def test_a_setting_that_is_off_stays_off():
    found = config_of(row_of("dynamicvit_s:keep_rate=null"))
    assert found.keep_rate is None
    assert config_of(row_of("hvt_s_1:blocks_per_stage=4")).pool_stages is None


def test_a_checkpoint_changes_no_network():
    assert config_of(row_of("hvt_s_1", checkpoint="none.pth")) == parse_model("hvt_s_1")


def test_outside_code_and_what_is_no_network_are_not_rebuilt():
    assert config_of(Row({**BASE, "family": "external"})) is None
    assert config_of(row_of("hvt_s_1", img_size=225)) is None


def test_a_model_stands_at_its_centre():
    rows = [
        row_of("hvt_s_1", axis="depth", depth=6),
        row_of("hvt_s_1"),
        row_of("deit_small"),
        row_of("deit_tiny", macs=None),
    ]
    assert [(row["model"], row["depth"]) for row in centres(rows)] == [("hvt_s_1", 12), ("deit_small", 12)]


def test_a_grid_stands_at_the_network_of_its_name_or_at_its_first():
    grid = [row_of("hvt_s_1", depth=depth) for depth in (6, 12, 18)]
    assert [row["depth"] for row in centres(grid)] == [12]
    assert [row["depth"] for row in centres([grid[0], grid[2]])] == [6]
    assert [row["depth"] for row in centres([Row({**row, "model": "mine"}) for row in grid])] == [6]
