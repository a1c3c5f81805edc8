import json

import pytest

from hvt_bench.cards import CARDS_GIB, describe, verdict
from hvt_bench.errors import ConfigError, RequestError
from hvt_bench.metrics.estimate import estimate
from hvt_bench.models import parse_model
from hvt_bench.point import Point

TINY = ["depth=2", "img_size=32", "num_classes=10"]


def test_a_pass_fits_a_card_if_it_leaves_the_reserve_free():
    usable_mib = (0.9 * 16 - 1) * 1024
    assert verdict(usable_mib, 16) == "fits"
    assert verdict(usable_mib + 1, 16) == verdict(16 * 1024, 16) == "tight"
    assert verdict(16 * 1024 + 1, 16) == "does not fit"


def test_json_says_what_was_asked_and_what_was_found():
    asked = [*TINY, "mode=train", "dtype=amp_bfloat16", "attention=eager", "batch_size=5000"]
    point = Point(
        model="deit_tiny",
        config=parse_model("deit_tiny:depth=2,img_size=32,num_classes=10"),
        device="cuda:0",
        batch_size=5000,
        mode="train",
        dtype="amp_bfloat16",
        attention="eager",
        warmup_s=0.0,
    )
    peak = estimate(point)
    assert json.loads(describe("deit_tiny", asked, "json")) == {
        "model": "deit_tiny depth=2 img_size=32 num_classes=10",
        "device": "cuda:0",
        "dtype": "amp_bfloat16",
        "batch_size": 5000,
        "mode": "train",
        "attention": "eager",
        "compile": False,
        "checkpointing": False,
        "estimated_memory_mib": pytest.approx(peak.total_mib, abs=1e-3),
        "at_the_peak_mib": pytest.approx(dict(peak.mib), abs=1e-3),
        "fused_attention": False,
        "cards_gib": {str(card): verdict(peak.total_mib, card) for card in CARDS_GIB},
    }


def test_cards_are_of_cuda():
    lines = describe("deit_tiny", [*TINY, "device=cpu"]).splitlines()
    assert lines[1].startswith("device=cpu  dtype=float32  batch_size=64  mode=infer")
    assert not any("GiB" in line for line in lines)


def test_a_compiled_network_is_said_to_be_estimated_as_not_compiled():
    plain, compiled = (describe("deit_tiny", [*TINY, f"compile={word}"]).splitlines() for word in ("false", "true"))
    assert compiled[2:] == [*plain[2:], "compile    estimated as not compiled"]


def test_attention_written_out_is_said_to_be():
    assert "attention  with its N x N weights, if any" in describe("deit_tiny", [*TINY, "attention=sdpa_math"])


def test_a_network_with_a_fast_path_of_its_own_is_said_to_be_estimated_outside_it():
    (line,) = [line for line in describe("tests.networks:Encoder", []).splitlines() if line.startswith("attention")]
    assert line.endswith("; nn.MultiheadAttention as outside its fast path, which may need a fifth more or less")


@pytest.mark.parametrize(
    ("changes", "form", "sentence"),
    [
        (["batchsize=2"], "table", "family vit: unknown key 'batchsize'; did you mean 'batch_size' or 'patch_size'?"),
        (["depht=2"], "table", "family vit: unknown key 'depht'; did you mean 'depth'?"),
        (
            ["rounds=2"],
            "table",
            "'rounds' says how a pass is measured: an estimate reads device, dtype, batch_size, mode, attention, "
            "compile, checkpointing",
        ),
        (["batch_size=0"], "table", "batch_size: 0 does not fit: should be greater than or equal to 1"),
        (["mode=trian"], "table", "mode: 'trian' does not fit: should be 'infer' or 'train'"),
        (["device=gpu"], "table", "unknown device 'gpu'; did you mean 'cpu'?"),
        (["device=tpu:0"], "table", "unknown device 'tpu:0'; known: cpu, cuda, cuda:N, mps"),
        ([], "csv", "--format: unknown format 'csv'; known: json, table"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(changes, form, sentence):
    with pytest.raises(RequestError) as caught:
        describe("deit_tiny", changes, form)
    assert str(caught.value) == sentence


def test_what_a_gpu_cannot_do_is_refused_though_there_is_none():
    with pytest.raises(ConfigError, match="sdpa_flash takes no float32 on cuda; take float16 or bfloat16"):
        describe("deit_tiny", ["attention=sdpa_flash"])


def test_auto_means_a_gpu_and_the_batch_of_a_sweep_there():
    assert describe("deit_tiny", [*TINY, "batch_size=auto", "device=auto"]) == describe("deit_tiny", TINY)


def test_a_network_that_fused_attention_cannot_train_is_estimated_without():
    asked = ["depth=3", "img_size=32", "num_classes=10", "batch_size=2"]
    for mode, attention in {"infer": "sdpa", "train": "eager"}.items():
        lines = describe("dynamicvit_s", [*asked, f"mode={mode}"]).splitlines()
        assert f"mode={mode}  attention={attention}" in lines[1]
    with pytest.raises(ConfigError, match="attention sdpa cannot train a DynamicViT"):
        describe("dynamicvit_s", [*asked, "mode=train", "attention=sdpa"])
