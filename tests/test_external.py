import pickle
import random
import subprocess
import sys

import pytest
import torch
from torch import nn

from hvt_bench.errors import ConfigError, FieldError
from hvt_bench.metrics.complexity import count
from hvt_bench.models import CONFIG_COLUMNS, create_model, model_name, override, parse_model
from hvt_bench.point import Point

DINOV2 = "timm:vit_small_patch14_dinov2.lvd142m"


def net_macs(depth=2, width=8, in_chans=3, num_classes=10, height=224, width_px=224):
    stem = 16 * in_chans * width * (height // 4) * (width_px // 4)
    return stem + depth * width**2 + width * num_classes


def point(model, **changes):
    fields = {"model": "m", "device": "cpu", "batch_size": 1, "warmup_s": 0.0, "config": parse_model(model)}
    return Point(**(fields | changes))


# --- how it is written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "target", "arguments"),
    [
        ("a:b", "a:b", {}),
        ("pkg.mod:make", "pkg.mod:make", {}),
        ("pkg.mod:Family.make:depth=3", "pkg.mod:Family.make", {"depth": 3}),
        (
            "pkg.mod:make:depth=3,sizes=[1, [2, 3]],flag=true",
            "pkg.mod:make",
            {"depth": 3, "sizes": [1, [2, 3]], "flag": True},
        ),
        (DINOV2, DINOV2, {}),
        (f"{DINOV2}:img_size=224,act_layer=relu", DINOV2, {"img_size": 224, "act_layer": "relu"}),
        ({"target": "vit:make", "name": "mine", "depth": None}, "vit:make", {"depth": None}),
    ],
)
def test_a_target_has_keyword_arguments(model, target, arguments):
    config = parse_model(model)
    assert config.family == "external"
    assert (config.target, config.arguments) == (target, arguments)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("foo:bar=3", "unknown model 'foo'"),
        ("foo:", "unknown model 'foo'"),
        ("foo:bar:depth", "'depth' is not of the form key=value"),
        ("hvt:depth", "'depth' is not of the form key=value"),
        ({"target": "mod"}, "target: 'mod' does not fit: should be timm:NAME or package.module:factory"),
        ({"target": 5}, "target: 5 does not fit"),
        ({"target": "a:b:depth=3"}, "target: 'a:b:depth=3' does not fit"),
        ({"target": "a:b", "family": "hvt"}, "needs one of 'family', 'variant' and 'target', and only one"),
        ({"target": "a:b", "cfg": {"x": 1}}, "a:b: cfg: {'x': 1} cannot be passed on; a keyword argument is text, a"),
        ({"target": "a:b", "rate": float("nan")}, "a:b: rate: nan cannot be passed on"),
        ("a:b:day=2026-01-31", "a:b: day: datetime.date(2026, 1, 31) cannot be passed on"),
        ({"target": "a:b", 1: 2}, "a:b: 1: 2 cannot be passed on"),
        (
            {"target": "a:b", "input_shapes": [3, 4]},
            "input_shapes: [3, 4] does not fit: should be the shape of each input",
        ),
        ({"target": "a:b", "input_shapes": []}, "input_shapes: [] does not fit"),
        ({"target": "a:b", "input_shapes": [[3, 0]]}, "input_shapes: [[3, 0]] does not fit"),
        ({"target": "a:b", "input_shapes": [[3, True]]}, "input_shapes: [[3, True]] does not fit"),
        ({"target": "a:b", "operators": ["free"]}, "operators: ['free'] does not fit: should be a mapping"),
        ({"target": "a:b", "operators": {"op": "free"}}, "operators: 'op' does not fit: should be namespace::name"),
        ({"target": "a:b", "operators": {"l::op": "fre"}}, "operators: l::op: 'fre' does not fit: should be free, or"),
        ("timm:x:pretrained=true", "timm:x: pretrained cannot be given: weights are random here"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(model, sentence):
    with pytest.raises(ConfigError) as caught:
        parse_model(model)
    assert str(caught.value).startswith(sentence) or sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mapping_is_named_by_what_it_says():
    model = {"target": "a:b", "sizes": [1, 2], "operators": {"l::op": "free"}, "input_shapes": [[3, 4]]}
    assert model_name(model) == 'a:b:sizes=[1, 2],operators={"l::op": "free"},input_shapes=[[3, 4]]'
    assert parse_model(model_name(model)) == parse_model(model)


def test_nothing_is_imported_by_reading():
    code = (
        "import sys; from hvt_bench.models import parse_model; parse_model('timm:vit_tiny_patch16_224');"
        "parse_model('no.such:thing'); print('timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_config_is_a_value_whatever_the_order():
    config = parse_model({"target": "a:b", "x": [1, 2], "y": 1, "operators": {"l::op": "m:rule"}})
    same = parse_model({"target": "a:b", "operators": {"l::op": "m:rule"}, "y": 1, "x": (1, 2)})
    assert (hash(config), config) == (hash(same), same)
    assert pickle.loads(pickle.dumps(config)) == config
    assert len({override(config, y=value) for value in (1, 1.0, True, "1")}) == 4
    assert override(config, y=1) == config
    assert config.operators == (("l::op", "m:rule"),)


def test_the_id_of_a_point_knows_every_argument():
    models = ["a:b", "a:b:x=1", "a:b:x=1.0", "a:b:x=true", "a:b:x=1,y=2", "a:c"]
    models += [{"target": "a:b", "input_shapes": [[3, 4, 4]]}, {"target": "a:b", "operators": {"l::op": "free"}}]
    assert len({point(model).point_id for model in models}) == len(models)


# --- what a row says ------------------------------------------------------------------------------------------------


def test_keywords_fill_the_columns_of_their_name_and_kind():
    model = {
        "target": "a:b",
        "depth": 3,
        "mlp_ratio": 4,
        "embed_dim": "wide",
        "window": 7,
        "sizes": [1, 2],
        "on": False,
    }
    columns = parse_model(model).columns("a:b", CONFIG_COLUMNS)
    text = "embed_dim=wide; on=false; sizes=[1, 2]; window=7"
    assert columns == {"depth": 3, "mlp_ratio": 4, "in_chans": 3, "img_size": 224, "model_kwargs": text}


def test_a_label_does_not_hide_the_target():
    config = parse_model({"target": "a:b", "operators": {"l::op": "free"}, "input_shapes": [[3, 8, 4], [5]]})
    columns = config.columns("mine", CONFIG_COLUMNS)
    assert columns == {"model_kwargs": "target=a:b; input_shapes=[[3, 8, 4], [5]]; l::op=free"}
    assert parse_model("a:b").columns("a:b", CONFIG_COLUMNS)["model_kwargs"] is None


def test_a_point_gives_the_row_its_columns():
    columns = point("a:b:depth=3,window=7").columns()
    assert (columns["family"], columns["depth"], columns["model_kwargs"]) == ("external", 3, "target=a:b; window=7")


# --- its input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        ("a:b", ((2, 3, 224, 224),)),
        ("a:b:img_size=64", ((2, 3, 64, 64),)),
        ("a:b:in_chans=1,img_size=[64, 32]", ((2, 1, 64, 32),)),
        ({"target": "a:b", "img_size": 64, "input_shapes": [[3, 256, 192], [7]]}, ((2, 3, 256, 192), (2, 7))),
    ],
)
def test_the_input_follows_the_arguments(model, shapes):
    assert parse_model(model).input_shapes(2) == shapes


# --- building -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        ("Net", net_macs()),
        ("Net:depth=5,in_chans=1", net_macs(depth=5, in_chans=1)),
        ("any_keyword:depth=5", net_macs(depth=5)),
        ("reads_values:depth=4", net_macs(depth=4)),
        ("own_depth:width=4", net_macs(depth=3, width=4)),
        ("Net:input_shapes=[[3, 64, 32]]", net_macs(height=64, width_px=32)),
        ("Pair:input_shapes=[[4], [6]]", 20),
    ],
)
def test_a_factory_is_called_and_its_network_counted(module, model, macs):
    counted = count(f"{module}:{model}")
    assert (counted.macs, counted.seq_lens) == (macs, None)


def test_counting_needs_no_memory_and_no_luck(module):
    assert count(f"{module}:Net:width=20000,depth=60").params > 2.4e10
    torch.manual_seed(3)
    random.seed(3)
    before = torch.get_rng_state()
    count(f"{module}:reads_values:depth=7")
    assert torch.equal(torch.get_rng_state(), before)


def test_counting_leaves_the_module_as_it_was(module):
    count(f"{module}:Net")
    assert sys.modules[module].SCALE.tolist() == [0.5]


def test_a_network_can_be_made(module):
    network = create_model(f"{module}:Net", width=4)
    assert isinstance(network, nn.Module)
    assert not network.head.weight.is_meta


def test_the_path_of_imports_stays_as_it_was(module):
    before = list(sys.path)
    parse_model(f"{module}:Net").build()
    with pytest.raises(ConfigError):
        parse_model(f"{module}:fails").build()
    assert sys.path == before


@pytest.mark.parametrize(
    ("model", "kind", "sentence"),
    [
        ("Nett", ConfigError, "{m}:Nett: unknown name 'Nett'; did you mean 'Net'?"),
        ("torch.nn", ConfigError, "{m}:torch.nn is a module; name a function or a class"),
        ("net", ConfigError, "{m}:net is a Linear; name a function or a class"),
        ("number", ConfigError, "{m}:number returned a int; a network is a torch.nn.Module"),
        ("fails", ConfigError, "{m}:fails refuses a call without arguments: ValueError: no good"),
        ("fails:depth=0", ConfigError, "{m}:fails refuses depth=0: ValueError: no good"),
        ("leaves", ConfigError, "{m}:leaves refuses a call without arguments: SystemExit: 2"),
        ("Net:width=[1]", ConfigError, "{m}:Net refuses width=[1]: TypeError: "),
        ("Net:dept=3", FieldError, "{m}:Net: unknown keyword argument 'dept'; did you mean 'depth'?"),
        (
            "Net:colour=3",
            FieldError,
            "{m}:Net: unknown keyword argument 'colour'; known: depth, in_chans, num_classes, qkv_bias, width",
        ),
        ("any_keyword:dept=3", FieldError, "{m}:any_keyword: unknown keyword argument 'dept'; did you mean 'depth'?"),
        ("own_depth:depth=3", FieldError, "{m}:own_depth sets depth itself; leave it out"),
        ("Pair:depth=3", FieldError, "{m}:Pair: takes no keyword argument 'depth'"),
        (
            "Net:img_size=64",
            FieldError,
            "{m}:Net: unknown keyword argument 'img_size'; known: depth, in_chans, num_classes, qkv_bias, width; "
            "input_shapes feeds it another image",
        ),
    ],
)
def test_what_makes_no_network_is_one_sentence(module, model, kind, sentence):
    for build in (parse_model(f"{module}:{model}").build, parse_model(f"{module}:{model}").build_on_meta):
        with pytest.raises(ConfigError) as caught:
            build()
        assert type(caught.value) is kind
        assert str(caught.value).startswith(sentence.format(m=module))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: "),
        ("raise SystemExit", "SystemExit: "),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(tmp_path, monkeypatch, text, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_nets.py").write_text(text)
    with pytest.raises(ConfigError) as caught:
        parse_model("broken_nets:make").prepare()
    assert str(caught.value).startswith(f"broken_nets:make cannot be imported: {sentence}")


@pytest.mark.parametrize("target", ["no_such_module:make", "os.no_such:make", "no_such.package:make"])
def test_a_module_that_is_not_there_is_named(target):
    with pytest.raises(ConfigError, match=r"there is no module '(no_such_module|os.no_such|no_such)' in the current"):
        parse_model(target).build()


def test_running_out_of_memory_stays_what_it_is(module):
    with pytest.raises(MemoryError):
        parse_model(f"{module}:exhausts").build_on_meta()


def test_its_attention_cannot_be_written_out():
    with pytest.raises(ConfigError, match="a:b brings its own attention; 'eager' is for the families here"):
        create_model("a:b", attention="eager")


# --- timm -----------------------------------------------------------------------------------------------------------


def test_timm_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError) as caught:
        parse_model("timm:vit_tiny_patch16_224").build()
    assert str(caught.value) == "a model written as timm:NAME needs timm: pip install 'hvt-bench[timm]'"


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


def test_deit_small_of_timm_is_ours_to_the_last_mac(timm):
    theirs, ours = count("timm:deit_small_patch16_224"), count("deit_small")
    assert (theirs.macs, theirs.params) == (ours.macs, ours.params) == (4_598_882_304, 22_050_664)
    assert theirs.fvcore_flops == ours.fvcore_flops
    changed = count("timm:deit_small_patch16_224:depth=5,img_size=160,patch_size=8,embed_dim=192,num_heads=3")
    assert changed.macs == parse_model("deit_small:depth=5,img_size=160,patch_size=8,embed_dim=192").closed_form_macs()


def test_dinov2_is_fed_the_image_of_its_release(timm):
    config = parse_model(DINOV2)
    assert config.input_shapes(1) == ((1, 3, 518, 518),)
    assert override(config, img_size=224).input_shapes(1) == ((1, 3, 224, 224),)
    assert config.columns(DINOV2, CONFIG_COLUMNS) == {"in_chans": 3, "img_size": 518, "model_kwargs": None}
    width, tokens = 384, 37**2 + 1
    blocks = 12 * (12 * tokens * width**2 + 2 * tokens**2 * width)
    assert count(config).macs == blocks + 37**2 * 3 * 14**2 * width


def test_no_weights_are_downloaded(timm, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was reached"))
    assert count(f"{DINOV2}:depth=1").params


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "timm:deit_small_patch16_223",
            "unknown timm model 'deit_small_patch16_223'; did you mean 'deit_small_patch16",
        ),
        ("timm:deit_small_patch16_224.no_such_tag", "unknown timm model 'deit_small_patch16_224.no_such_tag'; did you"),
        ("timm:", "unknown timm model ''; none of the "),
        ("timm:hf-hub/someone", "unknown timm model 'hf-hub/someone'"),
        (
            "timm:deit_tiny_patch16_224:dept=3",
            "timm:deit_tiny_patch16_224: unknown keyword argument 'dept'; did you mean",
        ),
        ("timm:deit_tiny_patch16_224:model_name=x", "timm:deit_tiny_patch16_224 sets model_name itself; leave it out"),
        (
            "timm:deit_tiny_patch16_224:embed_dim=100",
            "timm:deit_tiny_patch16_224 refuses embed_dim=100: AssertionError: ",
        ),
    ],
)
def test_what_timm_does_not_have_is_one_sentence(timm, model, sentence):
    with pytest.raises(ConfigError) as caught:
        parse_model(model).build_on_meta()
    assert str(caught.value).startswith(sentence)


def test_a_constructor_that_asks_which_values_there_are_is_built_on_the_cpu(module):
    for check in ("unique", "bincount"):
        assert count(f"{module}:asks:check={check}").macs == 3 * 224 * 224


def test_the_keywords_that_a_factory_names_are_named_though_it_takes_any(module):
    with pytest.raises(FieldError, match="unknown keyword argument 'coluor'; did you mean 'colour'"):
        count(f"{module}:named_and_any:coluor=3")
