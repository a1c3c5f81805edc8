from hvt_bench.models import parse_model
from hvt_bench.show import describe


def test_shows_fields_blocks_and_totals():
    config = parse_model("hvt:depth=2,img_size=32,embed_dim=64,num_classes=10")
    text = describe("small", config)
    lines = text.splitlines()
    assert lines[0] == "small (family hvt)"
    assert lines[1].startswith("img_size=32  patch_size=16  in_chans=3  num_classes=10  embed_dim=64  depth=2  ")
    assert "qkv_bias=true" in lines[1]
    assert "blocks_per_stage" not in lines[1]
    table = {line.split()[0]: line.split()[1:] for line in lines[5:12]}
    stem, first, second = 4 * 3 * 16**2 * 64, 12 * 4 * 64**2 + 2 * 4**2 * 64, 12 * 64**2 + 2 * 64
    total = stem + first + second + 640
    assert table["patch_embed"][0] == f"{stem:,}"
    assert table["blocks.0"][:2] == ["4", f"{first:,}"]
    assert table["blocks.1"][:2] == ["1", f"{second:,}"]
    assert table["head"][0] == "640"
    assert table["total"][:2] == [f"{total:,}", "100.0"]
    assert f"macs          {total:,} (0.00 G multiply-adds of one image)" in lines


def test_the_parts_add_up_to_the_whole():
    text = describe("hvt_s_2", parse_model("hvt_s_2:depth=4,num_classes=10"))
    rows = [line.split() for line in text.splitlines()[5:] if line.strip()]
    body = rows[: next(i for i, row in enumerate(rows) if row[0] == "total")]
    total = rows[len(body)]
    assert sum(int(row[-3].replace(",", "")) for row in body) == int(total[1].replace(",", ""))
    assert sum(int(row[-1].replace(",", "")) for row in body) == int(total[-1].replace(",", ""))
