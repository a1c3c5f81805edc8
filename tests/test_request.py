import pytest

from hvt_bench.errors import ConfigError, RequestError
from hvt_bench.models import parse_model
from hvt_bench.point import Protocol
from hvt_bench.request import parse_request

READS = ("device", "batch_size", "dtype", "min_time_s")


def test_fields_of_the_network_and_of_the_protocol_may_be_mixed():
    point = parse_request("hvt_s_1", ["batch_size=8", "depth=4", "dtype=bfloat16", "device=cpu"], READS)
    assert point.config == parse_model("hvt_s_1:depth=4")
    assert (point.batch_size, point.dtype, point.device) == (8, "bfloat16", "cpu")
    assert point.model == "hvt_s_1 depth=4"


def test_what_is_not_given_is_as_in_a_sweep_file():
    point = parse_request("hvt_s_1", ["device=cpu", "min_time_s=3"], READS)
    assert (point.warmup_s, point.warmup_passes, point.max_time_s, point.batch_size) == (0.5, 3, 6.0, 1)


def test_nothing_given_is_the_variant():
    assert parse_request("deit_tiny", []).config == parse_model("deit_tiny")


@pytest.mark.parametrize(
    ("model", "assignments", "sentence"),
    [
        ("hvt_s_1", ["rounds=5"], "'rounds' says how a pass is measured: give --now"),
        (
            "mylab.nets:make",
            ["rounds=5"],
            "'rounds' says how a pass is measured: give --now; as an argument of mylab.nets:make it stands behind a "
            "colon, mylab.nets:make:rounds=...",
        ),
        (
            "hvt_s_1",
            ["batch_sise=5"],
            "family hvt: unknown key 'batch_sise'; did you mean 'batch_size' or 'patch_size'?",
        ),
        ("hvt_s_1", ["depht=5"], "family hvt: unknown key 'depht'; did you mean 'depth'?"),
        ("hvt_s_1", ["batch_size=none"], "batch_size: 'none' does not fit: should be a whole number"),
        ("hvt_s_1", ["batch_size=0"], "batch_size: 0 does not fit: should be greater than or equal to 1"),
        ("hvt_s_1", ["device=tpu"], "unknown device 'tpu'; known: auto, cpu, cuda, cuda:N, mps"),
        ("hvt_s_1", ["dtype=tf32", "device=cpu"], "tf32 is a mode of CUDA's tensor cores; on cpu take float32"),
        ("hvt_s_1", ["batch_size=1", "batch_size=2"], "'batch_size' is given twice"),
        ("hvt_s_9", ["batch_size=1"], "unknown model 'hvt_s_9'; did you mean 'hvt_s_4' or 'hvt_s_3' or 'hvt_s_2'?"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(model, assignments, sentence):
    with pytest.raises(RequestError) as caught:
        parse_request(model, assignments, READS, "give --now")
    assert str(caught.value) == sentence


def test_an_impossible_network_is_said_to_be_one():
    with pytest.raises(ConfigError, match="img_size 70 is not divisible"):
        parse_request("hvt_s_1", ["img_size=70"])


@pytest.mark.parametrize("key", Protocol.model_fields)
def test_a_command_that_reads_nothing_of_the_protocol_refuses_all_of_it(key):
    with pytest.raises(RequestError, match=f"^'{key}' says how a pass is measured: leave it out$"):
        parse_request("hvt_s_1", [f"{key}=1"])


def test_behind_a_colon_a_key_of_the_protocol_is_an_argument_of_an_outside_network():
    point = parse_request("mylab.nets:make:dtype=1", ["depth=3", "batch_size=2"], READS)
    assert point.config.arguments == {"dtype": 1, "depth": 3}
    assert (point.dtype, point.batch_size) == ("float32", 2)
