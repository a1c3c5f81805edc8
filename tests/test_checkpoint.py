import argparse
import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from hvt_bench.cli import main
from hvt_bench.errors import ConfigError, FieldError, FileError
from hvt_bench.gate.check import check_budgets
from hvt_bench.gate.load import load_budgets
from hvt_bench.measure import Visit, measure_round
from hvt_bench.metrics.passes import Passes, network
from hvt_bench.models import CONFIG_COLUMNS, create_model, make_config, model_name, override, parse_model
from hvt_bench.models.checkpoint import Loaded, load_checkpoint
from hvt_bench.models.safetensors import read_safetensors
from hvt_bench.point import InvalidCell, Point
from hvt_bench.show import describe
from hvt_bench.sweep import load_sweep
from tests.networks import pictures

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 8, "num_heads": 2, "depth": 2, "num_classes": 5}
HVT = make_config("hvt", SMALL)
TENSORS = 32  # of that network
OTHERS = {"epoch": 299, "optimizer": {"state": {0: torch.zeros(2)}, "param_groups": [{"lr": 1e-3}]}}


class Strange:
    """Of a class that no checkpoint may hold."""


class Runs:
    """Would run code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return run, (self.path,)


def run(path):
    Path(path).touch()


@pytest.fixture
def weights():
    torch.manual_seed(3)
    return HVT.build().state_dict()


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Save something in the current folder and return the name of the file."""
    monkeypatch.chdir(tmp_path)

    def save_as(content, name="w.pth", **options):
        torch.save(content, name, **options)
        return name

    return save_as


def loads(path, weights, key):
    """Whether the file gives our network these weights, in float32."""
    other = HVT.build()
    assert load_checkpoint(other, path) == Loaded(TENSORS, key)
    assert {value.dtype for value in other.state_dict().values()} == {torch.float32}
    return all(torch.equal(value, weights[name].float()) for name, value in other.state_dict().items())


# --- the formats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "wrap"),
    [
        (None, lambda w: w),  # timm, and any state_dict
        ("model", lambda w: {"model": w}),  # DeiT, DynamicViT
        ("model", lambda w: {"model": w, "lr_scheduler": {}, "scaler": {}, "args": argparse.Namespace(lr=1), **OTHERS}),
        ("model", lambda w: {"model_ema": {}, "model": w, "args": argparse.Namespace(data_set="CIFAR")}),  # HVT
        ("model_state", lambda w: {"cfg": "TRAIN: 1", "model_state": w, "optimizer_state": {}, **OTHERS}),  # SlowFast
        ("state_dict", lambda w: {"arch": "hvt", "state_dict": w, "args": argparse.Namespace(), **OTHERS}),  # timm
        ("state_dict_ema", lambda w: {"state_dict": zeros(w), "state_dict_ema": w, "version": 2}),  # timm, averaged
        ("model_ema", lambda w: {"model_ema": w}),
        (None, lambda w: {f"module.{name}": value for name, value in w.items()}),
        ("state_dict", lambda w: {"state_dict": {f"module._orig_mod.{k}": v for k, v in w.items()}}),
    ],
)
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_the_key_of_the_weights_is_found(save, weights, key, wrap, options):
    assert loads(save(wrap(weights), **options), weights, key)


def zeros(weights):
    return {name: torch.zeros_like(value) for name, value in weights.items()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_number_format_become_float32(save, weights, dtype):
    saved = {name: value.to(dtype) for name, value in weights.items()}
    assert loads(save({"model": saved}), saved, "model")


def test_the_class_of_hvts_arguments_is_allowed_for_a_moment_only(save, weights):
    before = set(torch.serialization.get_safe_globals())
    assert loads(save({"model": weights, "args": argparse.Namespace(lr=1)}), weights, "model")
    assert set(torch.serialization.get_safe_globals()) == before  # in no order
    assert argparse.Namespace not in before


def to_safetensors(tensors, notes=None):
    """The bytes of a file, made by hand."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}
    header, data = {} if notes is None else {"__metadata__": notes}, b""
    for name, value in tensors.items():
        raw = value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors_need_no_package(tmp_path, weights):
    path = tmp_path / "w.safetensors"
    path.write_bytes(to_safetensors(weights, {"format": "pt"}))
    assert loads(str(path), weights, None)


def test_safetensors_hold_numbers_of_any_format(tmp_path):
    given = {
        "half": torch.tensor([[1.5, -2.0]], dtype=torch.float16),
        "brain": torch.tensor([3.0], dtype=torch.bfloat16),
        "number": torch.tensor(7),
        "none": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
    }
    path = tmp_path / "w.safetensors"
    path.write_bytes(to_safetensors(given))
    found = read_safetensors(path)
    assert found.keys() == given.keys()
    for name, value in given.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def test_safetensors_are_read_as_their_package_writes_them(tmp_path, weights):
    package = pytest.importorskip("safetensors.torch")
    package.save_file(weights, tmp_path / "w.safetensors")
    assert loads(str(tmp_path / "w.safetensors"), weights, None)


# --- what is no checkpoint --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"model": Strange()}, "holds an object of tests.test_checkpoint.Strange, which could run code"),
        ({"model": {"a": torch.zeros(1)}, "args": Strange()}, "holds an object of tests.test_checkpoint.Strange"),
        (nn.Linear(2, 2), "holds an object of torch.nn.modules.linear.Linear, which could run code"),
        (
            {"weights": {"a": torch.zeros(1)}, "epoch": 3},
            "holds weights, epoch, and weights under none of model, model",
        ),
        ({}, "is empty, and weights under none of"),
        ({"model": {}}, "holds model, and weights under none of"),
        ({"model": {"a": 3}}, "holds model, and weights under none of"),
        (torch.zeros(3), "holds a Tensor and no weights; save a state_dict"),
        ([torch.zeros(3)], "holds a list and no weights; save a state_dict"),
    ],
)
def test_what_holds_no_weights_is_refused(save, content, sentence):
    path = save(content)
    with pytest.raises(FieldError) as caught:
        load_checkpoint(HVT.build(), path)
    assert str(caught.value).startswith(f"checkpoint w.pth: {sentence}")


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        (None, "holds an object of tests.test_checkpoint.run, which could run code"),
        (2, "holds an object of tests.test_checkpoint.run, which could run code"),
        (4, "this is no checkpoint: it is not what torch.save writes; take a file of torch.save, or .safetensors"),
    ],
)
def test_code_in_a_file_does_not_run(save, tmp_path, protocol, sentence):
    content = {"model": Runs(str(tmp_path / "ran"))}
    path = save(content)
    if protocol is not None:  # by pickle itself
        Path(path).write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(FieldError) as caught:
        load_checkpoint(HVT.build(), path)
    assert str(caught.value).startswith(f"checkpoint w.pth: {sentence}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("no.pth", None, "there is no such file; a path starts at the current folder"),
        (".", None, "this is a folder; name a file in it"),
        (
            "w.pth",
            b"name: scaling\nmodels: [hvt_s_1]\n",
            "this is no checkpoint: it is not what torch.save writes; take",
        ),
        ("w.pth", b"", "this is no checkpoint: it is empty; take"),
        ("w.pth", b"PK\x03\x04" + 18 * b"\0", "this is no checkpoint: it is cut short or damaged; take"),
        ("w.pth", b"PK\x05\x06" + 18 * b"\0", "this is no checkpoint: "),
        ("w.safetensors", None, "there is no such file"),
        ("w.safetensors", b"", "this is no safetensors file: its first eight bytes are not the length of a header"),
        ("w.safetensors", b"\x10" + 7 * b"\0" + b"{", "this is no safetensors file: its first eight bytes"),
        ("w.safetensors", b"\x02" + 7 * b"\0" + b"no", "this is no safetensors file: Expecting value"),
        ("w.safetensors", b"\x02" + 7 * b"\0" + b"[]", "this is no safetensors file: its header is no mapping"),
        ("w.safetensors", b"\x02" + 7 * b"\0" + b"{}", "is empty, and weights under none of"),
    ],
)
def test_what_is_no_checkpoint_is_one_sentence_with_the_name(tmp_path, monkeypatch, name, content, sentence):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(FieldError) as caught:
        load_checkpoint(HVT.build(), name)
    assert str(caught.value).startswith(f"checkpoint {name}: {sentence}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("made", "kind"), [(torch.Tensor.to_sparse, "sparse"), (lambda weight: weight.to(torch.complex64), "complex")]
)
def test_weights_that_no_network_here_could_hold_are_refused(save, weights, made, kind):
    with pytest.raises(FieldError, match=rf"norm.weight is {kind}; save it as a dense tensor of real numbers"):
        load_checkpoint(HVT.build(), save(weights | {"norm.weight": made(weights["norm.weight"])}))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F8", "shape": [1], "data_offsets": [0, 1]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},  # past the end of the file
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]},
        {"dtype": "F32"},
        7,
    ],
)
def test_safetensors_that_contradict_themselves_are_refused(tmp_path, entry):
    text = json.dumps({"a.b": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(ValueError, match=r"the entry of its tensor 'a\.b' cannot be read: "):
        read_safetensors(path)


# --- weights of another network ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"depth": 1},
            "12 keys missing from the file (blocks.1.norm1.weight, blocks.1.norm1.bias, blocks.1.attn.qkv.weight, ...)",
        ),
        ({"depth": 3}, "12 keys unknown to the network (blocks.2.norm1.weight, blocks.2.norm1.bias, blocks.2.attn"),
        ({"pool_stages": 0}, "1 key missing from the file (blocks.0.pos_embed). Give the fields of the network whose"),
        ({"num_classes": 7}, "2 keys of another shape (head.weight 7x8, here 5x8, head.bias 7, here 5). Give the"),
        (
            {"img_size": 64},
            "its pos_embed is for 64 tokens, that of the network for 16; these are weights of another resolution: give "
            "the img_size and patch_size that they were trained with, nothing is interpolated",
        ),
        (
            {"pool_stride": 1},
            "its blocks.0.pos_embed is for 14 tokens, that of the network for 7; these are weights of another res",
        ),
        (
            {"img_size": 64, "num_classes": 7},
            "4 keys of another shape (pos_embed 1x64x8, here 1x16x8, blocks.0.pos_embed 1x31x8, here 1x7x8, head.we",
        ),
    ],
)
def test_weights_of_another_network_say_what_differs(save, changes, sentence):
    path = save({"model": override(HVT, **changes).build().state_dict()})
    for build in (HVT.build, HVT.build_on_meta):
        with pytest.raises(ConfigError) as caught:
            load_checkpoint(build(), path)
        assert str(caught.value).startswith(f"checkpoint w.pth does not fit: {sentence}")
        assert not isinstance(caught.value, FieldError)


def test_a_network_may_read_its_weights_in_its_own_way(save):
    class Own(nn.Linear):
        def _load_from_state_dict(self, state_dict, *arguments):
            if state_dict["bias"].ndim == 1:
                raise KeyError("a bias of two dimensions")
            state_dict["bias"] = state_dict["bias"].flatten()
            super()._load_from_state_dict(state_dict, *arguments)

    own = Own(2, 3)
    assert load_checkpoint(own, save({"weight": torch.ones(3, 2), "bias": torch.ones(1, 3)})) == Loaded(2, None)
    assert own.bias.sum() == 3
    with pytest.raises(ConfigError, match=r"w\.pth does not fit: KeyError: 'a bias of two dimensions'"):
        load_checkpoint(own, save(nn.Linear(2, 3).state_dict()))


# --- where a network is named -----------------------------------------------------------------------------------------


def point(config, **changes):
    return Point(**({"model": "m", "config": config, "device": "cpu", "batch_size": 1, "warmup_s": 0.0} | changes))


@pytest.mark.parametrize(
    "model",
    [
        "hvt:" + ",".join(f"{key}={value}" for key, value in {**SMALL, "checkpoint": "w.pth"}.items()),
        {"family": "hvt", **SMALL, "checkpoint": "w.pth"},
    ],
)
def test_a_checkpoint_is_a_field_that_changes_the_logits(save, weights, model):
    save({"model": weights})
    config = parse_model(model)
    assert config == override(HVT, checkpoint="w.pth") != HVT
    assert parse_model(model_name(model)) == config
    torch.manual_seed(11)
    networks = [create_model("hvt", **SMALL, checkpoint="w.pth"), HVT.build(), network(point(config)), config.build()]
    images = pictures(HVT).float()
    with torch.no_grad():
        one, random, measured, unloaded = (built.eval()(images) for built in networks)
    assert torch.equal(one, measured)
    assert not torch.allclose(one, random)
    assert not torch.allclose(one, unloaded)


@pytest.mark.parametrize("changes", [{}, {"mode": "train"}, {"mode": "train", "checkpointing": True}])
def test_what_is_measured_has_the_weights(save, weights, changes):
    save({"model": weights})
    passes = Passes(point(override(HVT, checkpoint="w.pth"), **changes))
    assert all(map(torch.equal, passes.model.state_dict().values(), weights.values()))


def test_a_checkpoint_that_is_gone_when_it_is_measured_is_a_failed_row(save):
    sample = measure_round(Visit(point(override(HVT, checkpoint="gone.pth")), 0, ("latency",)))
    assert sample.status == "error"
    assert "checkpoint gone.pth: there is no such file" in sample.error


def test_a_row_and_the_id_of_its_point_name_the_checkpoint():
    one, other, none = (point(override(HVT, checkpoint=name)) for name in ("a.pth", "b.pth", None))
    assert [each.columns()["checkpoint"] for each in (one, other, none)] == ["a.pth", "b.pth", None]
    assert len({one.point_id, other.point_id, none.point_id}) == 3


def test_ids_of_points_without_checkpoint_are_those_of_runs_before_there_were_any():
    assert point(HVT, num_threads=1).point_id == "1b18d83e4ec7"


def test_an_outside_network_does_not_get_it_as_an_argument(save, module):
    config = parse_model(f"{module}:Net:depth=2,checkpoint=w.pth")
    assert (config.arguments, config.checkpoint) == ({"depth": 2}, "w.pth")
    columns = config.columns("mine", CONFIG_COLUMNS)
    assert (columns["checkpoint"], columns["model_kwargs"]) == ("w.pth", f"target={module}:Net")
    torch.manual_seed(3)
    given = parse_model(f"{module}:Net:depth=2").build().state_dict()
    save({"state_dict": given})
    for built in (config.build_loaded(), network(point(config))):
        assert all(map(torch.equal, built.state_dict().values(), given.values()))
    assert config.check_checkpoint() == Loaded(len(given), "state_dict")
    with pytest.raises(FieldError, match="checkpoint: 5 does not fit: should be text"):
        override(config, checkpoint=5)


@pytest.mark.parametrize("model", ["vit_tiny", "timm:vit_tiny_patch16_224"])
def test_weights_of_timm_load_into_our_network_and_into_timms(save, model):
    timm = pytest.importorskip("timm")
    torch.manual_seed(3)
    given = timm.create_model("vit_tiny_patch16_224", depth=1).state_dict()
    save(given)
    built = parse_model(f"{model}:depth=1,checkpoint=w.pth").build_loaded()
    assert built.state_dict().keys() == given.keys()
    assert all(torch.equal(value, given[key]) for key, value in built.state_dict().items())


# --- show, sweep, check, estimate -------------------------------------------------------------------------------------


def test_show_says_what_was_loaded(save, weights):
    save({"model": weights})
    config = override(HVT, checkpoint="w.pth")
    assert f"checkpoint    w.pth: {TENSORS} tensors, all loaded (its key 'model')" in describe("x", config).splitlines()
    told = json.loads(describe("x", config, form="json"))
    assert told["checkpoint"] == {"file": "w.pth", "tensors": TENSORS, "key": "model"}
    assert "checkpoint  " not in describe("x", HVT)
    assert "checkpoint" not in json.loads(describe("x", HVT, form="json"))
    save(weights)
    assert f"checkpoint    w.pth: {TENSORS} tensors, all loaded" in describe("x", config).splitlines()


def test_show_takes_a_file(save, weights, capsys):
    save({"model": weights}, "my w.pth")
    fields = [f"{key}={value}" for key, value in SMALL.items()]
    with pytest.raises(SystemExit) as ended:
        main(["show", "hvt", *fields, "--checkpoint", "my w.pth"])
    assert not ended.value.code
    assert f"checkpoint    my w.pth: {TENSORS} tensors, all loaded (its key 'model')\n" in capsys.readouterr().out
    for command in (["show", "hvt_s_1", "--checkpoint", "my w.pth"], ["estimate", "hvt_s_1", "checkpoint=my w.pth"]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith("error: checkpoint my w.pth does not fit: 120 keys missing from")


FIELDS = ", ".join(f"{key}: {value}" for key, value in SMALL.items())


def test_a_sweep_with_weights(save, weights, tmp_path):
    save({"model": weights})
    (tmp_path / "s.yaml").write_text(
        f"name: n\nmodels:\n  - {{family: hvt, {FIELDS}, checkpoint: w.pth, name: mine}}\n"
        "axes: {depth: [2, 3], mlp_ratio: [4.0]}\nprotocol: {device: cpu}\n"
    )
    centre, deeper = load_sweep("s.yaml").cells
    assert centre.config.checkpoint == "w.pth"
    assert isinstance(deeper, InvalidCell)
    assert deeper.reason.startswith("checkpoint w.pth does not fit: 12 keys missing from the file (blocks.2.norm1")
    assert deeper.columns()["checkpoint"] == "w.pth"


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("models:\n  - hvt_s_0\n  - hvt_s_1:checkpoint=no.pth\n", 4, "checkpoint no.pth: there is no such file"),
        ("models:\n  - {variant: hvt_s_1, checkpoint: w.pth}\n", 3, "checkpoint w.pth does not fit: 120 keys missing"),
        ("models: [hvt_s_1]\naxes:\n  checkpoint: [no.pth]\n", 4, "checkpoint no.pth: there is no such file"),
        ("models:\n  - {target: NETS:Net, checkpoint: w.pth}\n", 3, "checkpoint w.pth does not fit: "),
        ("models:\n  - {target: NETS:Net, checkpoint: no.pth}\n", 3, "checkpoint no.pth: there is no such file"),
    ],
)
def test_a_sweep_file_is_checked_before_anything_runs(save, weights, tmp_path, module, text, line, sentence):
    save(weights)
    (tmp_path / "s.yaml").write_text(f"name: n\n{text.replace('NETS', module)}")
    with pytest.raises(FileError) as caught:
        load_sweep("s.yaml", device="cpu")
    assert str(caught.value).startswith(f"s.yaml:{line}: {sentence}")


def test_a_budget_of_a_network_with_weights(save, weights, tmp_path):
    save(weights)
    name = "hvt:" + ",".join(f"{key}={value}" for key, value in SMALL.items())
    params = sum(value.numel() for value in weights.values())
    budgets = tmp_path / "b.yaml"
    budgets.write_text(f"budgets:\n  '{name},checkpoint=w.pth': {{params: {params}}}\n")
    assert check_budgets(load_budgets(budgets))[0].ok
    budgets.write_text("budgets:\n  'hvt_s_1:checkpoint=w.pth': {params: 1}\n")
    (verdict,) = check_budgets(load_budgets(budgets))
    assert verdict.error.startswith("checkpoint w.pth does not fit")
