import pytest

from hvt_bench.errors import ConfigError, FileError
from hvt_bench.point import InvalidCell, Point
from hvt_bench.sweep import load_sweep

SMALL = """\
name: small
models: [hvt_s_1, deit_small]
axes:
  depth: [6, 12]
  pool_stages: [0, 1, 2]
protocol: {device: cpu}
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text, device=None):
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_sweep(path, device)

    return load_text


def cells_of(sweep):
    return [
        (c.model, c.axis, c.config.depth, getattr(c.config, "pool_stages", None))
        for c in sweep.cells
        if isinstance(c, Point)
    ]


def test_axes_vary_one_dimension_at_a_time_around_each_model(load):
    sweep = load(SMALL)
    assert cells_of(sweep) == [
        ("hvt_s_1", None, 12, 1),
        ("hvt_s_1", "depth", 6, 1),
        ("hvt_s_1", "pool_stages", 12, 0),
        ("hvt_s_1", "pool_stages", 12, 2),
        ("deit_small", None, 12, None),
        ("deit_small", "depth", 6, None),
    ]


def test_the_centre_is_measured_once_and_its_duplicates_are_counted(load):
    assert load(SMALL).duplicates == 3  # depth 12 twice, pool_stages 1


def test_grid_is_a_full_product_and_combines_with_axes(load):
    sweep = load(
        "name: g\nmodels: [hvt_s_1]\ngrid: {batch_size: [1, 4], attention: [sdpa, eager]}\n"
        "axes: {depth: [6]}\nprotocol: {device: cpu}\n"
    )
    assert [(c.batch_size, c.attention, c.config.depth, c.axis) for c in sweep.points] == [
        (1, "sdpa", 12, None),
        (1, "sdpa", 6, "depth"),
        (1, "eager", 12, None),
        (1, "eager", 6, "depth"),
        (4, "sdpa", 12, None),
        (4, "sdpa", 6, "depth"),
        (4, "eager", 12, None),
        (4, "eager", 6, "depth"),
    ]


def test_a_protocol_key_can_be_an_axis(load):
    sweep = load("name: b\nmodels: [hvt_s_1]\naxes: {batch_size: [1, 8]}\nprotocol: {device: cpu}\n")
    assert [(c.axis, c.batch_size) for c in sweep.points] == [(None, 1), ("batch_size", 8)]


def test_width_keeps_the_width_of_a_head(load):
    sweep = load("name: w\nmodels: [hvt_s_1]\naxes: {embed_dim: [192, 576]}\nprotocol: {device: cpu}\n")
    assert [(c.config.embed_dim, c.config.num_heads) for c in sweep.points] == [(384, 6), (192, 3), (576, 9)]


def test_a_combination_that_a_model_cannot_take_is_a_cell_with_the_reason(load):
    sweep = load("name: i\nmodels: [hvt_s_1]\naxes: {img_size: [225, 240]}\nprotocol: {device: cpu}\n")
    (cell,) = sweep.invalid
    assert isinstance(cell, InvalidCell)
    assert cell.asked["img_size"] == 225
    assert cell.reason == ("img_size 225 is not divisible by patch_size 16; the nearest sizes that work: 224 and 240")
    assert len(sweep.points) == 2


def test_an_axis_that_a_family_lacks_leaves_its_models_at_the_centre(load):
    sweep = load("name: p\nmodels: [deit_small, hvt_s_1]\naxes: {pool_stages: [2]}\nprotocol: {device: cpu}\n")
    assert [(c.model, c.axis) for c in sweep.cells] == [
        ("deit_small", None),
        ("hvt_s_1", None),
        ("hvt_s_1", "pool_stages"),
    ]


def test_blocks_per_stage_takes_the_place_of_pool_stages(load):
    sweep = load("name: s\nmodels: [hvt_s_1]\naxes: {blocks_per_stage: [3]}\nprotocol: {device: cpu}\n")
    assert [(c.config.pool_stages, c.config.blocks_per_stage) for c in sweep.points] == [(1, None), (None, 3)]


def test_a_mapping_is_named_by_its_fields_or_its_name(load):
    sweep = load(
        "name: m\nprotocol: {device: cpu}\nmodels:\n- {family: hvt, depth: 4, qkv_bias: false}\n"
        "- {variant: hvt_s_2, depth: 6, name: short}\n- hvt:depth=8\n"
    )
    assert [c.model for c in sweep.points] == ["hvt:depth=4,qkv_bias=false", "short", "hvt:depth=8"]
    assert [c.config.depth for c in sweep.points] == [4, 6, 8]


def test_metrics_come_in_measuring_order(load):
    sweep = load("name: m\nmodels: [hvt_s_1]\nmeasure: [latency, complexity]\nprotocol: {device: cpu}\n")
    assert sweep.metrics == ("complexity", "latency")


def test_auto_is_settled_for_a_cpu(load, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (point,) = load("name: a\nmodels: [hvt_s_1]\nprotocol: {device: auto, batch_size: auto}\n").points
    assert (point.device, point.batch_size, point.warmup_s) == ("cpu", 1, 0.5)


def test_auto_is_settled_for_a_gpu(load, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    (point,) = load("name: a\nmodels: [hvt_s_1]\n").points
    assert (point.device, point.batch_size, point.warmup_s) == ("cuda:0", 64, 1.0)


def test_the_device_asked_for_replaces_the_one_in_the_file(load):
    (point,) = load("name: a\nmodels: [hvt_s_1]\nprotocol: {device: 'cuda:7'}\n", device="cpu").points
    assert point.device == "cpu"


HEAD = "name: x\nmodels: [hvt_s_1]\nprotocol: {device: cpu}\n"


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("modles: [hvt_s_1]\nname: x\n", 1, "unknown key 'modles'; did you mean 'models'?"),
        ("name: x\n", 1, "'models' is missing"),
        ("name: x\nmodels: hvt_s_1\n", 2, "models: 'hvt_s_1' does not fit: should be a list, such as"),
        ("name: x\nmodels: []\n", 2, "models: [] does not fit: should not be empty"),
        (
            "name: x\nmodels: [hvt_s_1, hvt_s_9]\n",
            2,
            "unknown model 'hvt_s_9'; did you mean 'hvt_s_4' or 'hvt_s_3' or 'hvt_s_2'?",
        ),
        ("name: x\nmodels:\n- hvt_s_1\n- 7\n", 4, "a model is a name, such as hvt_s_1, or a mapping"),
        ("name: x\nmodels:\n- {family: hvt, depht: 3}\n", 3, "family hvt: unknown key 'depht'; did you mean 'depth'?"),
        ("name: x\nmodels:\n- hvt_s_1\n- hvt_s_1\n", 4, "the model 'hvt_s_1' stands here twice"),
        ("name: x y\nmodels: [hvt_s_1]\n", 1, "name: 'x y' does not fit: should be letters, digits"),
        ("name: off\nmodels: [hvt_s_1]\n", 1, "name: False does not fit: should be text; put it in quotes"),
        (HEAD + "axes:\n  dept: [1]\n", 5, "unknown axis 'dept'; did you mean 'depth'?"),
        (HEAD + "axes:\n  distilled: [true]\n", 5, "unknown axis 'distilled'"),
        (
            HEAD + "axes:\n  depth: [6,\n    no]\n",
            6,
            "family hvt: depth: False does not fit: should be a whole number",
        ),
        (HEAD + "axes:\n  depth: [014.5]\n", 5, "family hvt: depth: 14.5 does not fit"),
        (HEAD + "axes:\n  depth: [0]\n", 5, "family hvt: depth: 0 does not fit: should be greater than or equal to 1"),
        (HEAD + "axes:\n  depth: [6, 6]\n", 5, "depth: 6 stands here twice"),
        (HEAD + "axes:\n  depth: []\n", 5, "depth: [] does not fit: should not be empty"),
        (HEAD + "axes:\n  depth: 6\n", 5, "depth: 6 does not fit: should be a list, such as"),
        (HEAD + "axes: {depth: [6]}\ngrid:\n  depth: [6]\n", 6, "'depth' stands under axes and under grid"),
        (HEAD + "axes:\n  batch_size: [0]\n", 5, "batch_size: 0 does not fit: should be greater than or equal to 1"),
        (HEAD + "axes:\n  dtype:\n  - float32\n  - float8\n", 7, "dtype: 'float8' does not fit: should be 'float32'"),
        (
            HEAD + "measure: [speed]\n",
            4,
            "measure: 'speed' does not fit: should be 'complexity', 'memory', 'latency', 'parts', 'peak' or 'accuracy'",
        ),
        ("name: x\nmodels: [hvt_s_1]\nprotocol:\n  dtpye: x\n", 4, "unknown key 'dtpye'; did you mean 'dtype'?"),
        ("name: x\nmodels: [hvt_s_1]\nprotocol:\n  device: tpu\n", 4, "unknown device 'tpu'; known: auto, cpu, cuda"),
        ("name: x\nmodels: [hvt_s_1]\nprotocol:\n  rounds: 1e6\n", 4, "rounds: '1e6' does not fit"),
        ("name: x\nmodels: [hvt_s_1]\nprotocol:\n  min_time_s: .inf\n", 4, "min_time_s: inf does not fit"),
    ],
)
def test_a_mistake_is_a_sentence_with_file_and_line(load, tmp_path, text, line, sentence):
    with pytest.raises(FileError) as caught:
        load(text)
    assert str(caught.value).startswith(f"{tmp_path}/sweep.yaml:{line}: {sentence}")


def test_too_many_cells_are_refused(load):
    numbers = ", ".join(map(str, range(1, 400)))
    with pytest.raises(FileError, match="make 159,201 cells, more than 100,000; take fewer"):
        load(HEAD + f"grid: {{num_classes: [{numbers}], in_chans: [{numbers}]}}\n")


def test_a_device_that_the_file_sweeps_is_not_replaced(load, two_devices):
    text = "name: d\nmodels: [hvt_s_1]\naxes:\n  device: [cpu, cuda]\nprotocol: {batch_size: 2}\n"
    assert [p.device for p in load(text).points] == ["cuda:0", "cpu"]
    with pytest.raises(FileError, match=r":4: the file compares devices; leave --device out"):
        load(text, device="cpu")


def test_devices_are_compared_at_one_batch_size(load, two_devices):
    with pytest.raises(FileError, match=r":4: batch_size is auto, which differs from device to device; give one"):
        load("name: d\nmodels: [hvt_s_1]\naxes:\n  device: [cpu, cuda]\n")
    assert len(load("name: d\nmodels: [hvt_s_1]\ngrid: {device: [cpu, cuda], batch_size: [1, 2]}\n").points) == 4


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)


def test_a_sweep_of_nothing_is_refused(load):
    with pytest.raises(FileError, match=r":2: the only cell cannot be built: pool_stages 1 and blocks_per"):
        load("name: n\nmodels: [hvt_s_1]\ngrid: {pool_stages: [1], blocks_per_stage: [4]}\n")
    with pytest.raises(FileError, match=r":2: none of the 2 cells can be built; the first: pool_stages 1 and block"):
        load("name: n\nmodels: [hvt_s_1]\ngrid: {pool_stages: [1], blocks_per_stage: [4, 3]}\n")


def test_the_name_of_a_variant_means_that_variant(load):
    assert load("name: n\nmodels: [{variant: hvt_s_1, name: hvt_s_1}]\nprotocol: {device: cpu}\n").points
    with pytest.raises(FileError, match=r":2: the name 'hvt_s_2' is that of another network; take a name of its own"):
        load("name: n\nmodels: [{variant: hvt_s_1, name: hvt_s_2}]\n")


def test_a_date_is_no_name(load):
    with pytest.raises(FileError, match=r":1: YAML reads '2026-01-31' as a date; put it in quotes if text is meant"):
        load("name: 2026-01-31\nmodels: [hvt_s_1]\n")


@pytest.mark.parametrize("field", ["img_size", "embed_dim", "depth", "num_classes", "num_heads", "in_chans"])
def test_a_size_beyond_all_measure_is_refused_before_anything_is_counted(load, field):
    with pytest.raises(FileError, match=rf"{field}: 20000000 does not fit: should be less than or equal to"):
        load(f"name: n\nmodels: ['hvt_s_1:{field}=20000000']\n")


# --- outside networks -----------------------------------------------------------------------------------------------


def places_of(sweep):
    return [(cell.model, cell.axis, type(cell).__name__) for cell in sweep.cells]


def test_an_axis_applies_to_the_factories_that_take_it(load, module):
    sweep = load(
        f"name: o\nmodels: [hvt_s_1, '{module}:Net', '{module}:any_keyword:depth=5']\n"
        "axes: {depth: [3], width: [4], pool_stages: [0]}\nprotocol: {device: cpu}\n"
    )
    assert places_of(sweep) == [
        ("hvt_s_1", None, "Point"),
        ("hvt_s_1", "depth", "Point"),
        ("hvt_s_1", "pool_stages", "Point"),
        (f"{module}:Net", None, "Point"),
        (f"{module}:Net", "depth", "Point"),
        (f"{module}:Net", "width", "Point"),
        (f"{module}:any_keyword:depth=5", None, "Point"),
        (f"{module}:any_keyword:depth=5", "depth", "Point"),
        (f"{module}:any_keyword:depth=5", "width", "Point"),
    ]
    assert [point.config.arguments for point in sweep.points[-3:]] == [
        {"depth": 5},
        {"depth": 3},
        {"depth": 5, "width": 4},
    ]


def test_what_a_factory_refuses_is_a_cell_with_the_reason(load, module):
    sweep = load(
        f"name: o\nmodels: [{{target: '{module}:Net', name: mine}}]\naxes: {{depth: [3, deep]}}\n"
        "grid: {width: [4, -1], attention: [sdpa, eager]}\nprotocol: {device: cpu}\n"
    )
    reasons = {
        (cell.asked.get("depth"), cell.asked["model_kwargs"], cell.asked["attention"]): cell.reason
        for cell in sweep.invalid
    }
    target = f"{module}:Net"
    assert reasons[None, f"target={target}; width=4", "eager"].startswith(f"{target} brings its own attention")
    assert reasons[3, f"target={target}; width=-1", "sdpa"].startswith(
        f"{target} refuses depth=3, width=-1: RuntimeErr"
    )
    assert reasons[None, f"target={target}; depth=deep; width=4", "sdpa"].startswith(
        f"{target} refuses depth=deep, wid"
    )
    assert [point.config.arguments for point in sweep.points] == [{"width": 4}, {"width": 4, "depth": 3}]
    assert len(sweep.invalid) == len(set(map(str, reasons))) == 10


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("models: ['M:fails']\n", 2, "M:fails refuses a call without arguments: ValueError: no good"),
        ("models:\n- hvt_s_1\n- 'M:number'\n", 4, "M:number returned a int; a network is a torch.nn.Module"),
        ("models:\n- {target: 'M:Net', dept: 3}\n", 3, "M:Net: unknown keyword argument 'dept'; did you mean 'depth'?"),
        ("models:\n- {target: 'M:Net', operators: [x]}\n", 3, "operators: ['x'] does not fit: should be a mapping"),
        ("models: ['M:Net']\naxes:\n  dept: [3]\n", 4, "M:Net: unknown keyword argument 'dept'; did you mean 'depth'?"),
        ("models: ['M:Net', hvt_s_1]\naxes:\n  dept: [3]\n", 4, "unknown axis 'dept'; did you mean 'depth'?"),
        ("models: ['M:Net']\naxes:\n  depth: [{a: 1}]\n", 4, "M:Net: depth: {'a': 1} cannot be passed on"),
        ("models: ['M:Net']\naxes:\n  depth: [2, {a: 1}]\n", 4, "M:Net: depth: {'a': 1} cannot be passed on"),
        ("models: ['M:Net', hvt_s_1]\naxes:\n  pool_stages: [-1]\n", 4, "family hvt: pool_stages: -1 does not fit"),
    ],
)
def test_a_mistake_about_an_outside_network_has_its_line(load, tmp_path, module, text, line, sentence):
    with pytest.raises(FileError) as caught:
        load("name: o\n" + text.replace("M:", f"{module}:"))
    assert str(caught.value).startswith(f"{tmp_path}/sweep.yaml:{line}: {sentence.replace('M:', f'{module}:')}")


def test_shapes_and_operators_are_keys_of_a_mapping(load, module):
    (point,) = load(
        f"name: o\nmodels: [{{target: '{module}:Pair', input_shapes: [[4], [6]], operators: {{mylib::op: free}}}}]\n"
    ).points
    assert point.config.input_shapes(3) == ((3, 4), (3, 6))
    assert point.config.operators == (("mylib::op", "free"),)
    assert point.config.arguments == {}


def test_checkpointing_belongs_to_training(load):
    sweep = load("name: c\nmodels: [hvt_s_1]\ngrid: {mode: [infer, train], checkpointing: [false, true]}\n")
    assert [(p.mode, p.checkpointing) for p in sweep.points] == [("infer", False), ("train", False), ("train", True)]
    assert [cell.reason for cell in sweep.invalid] == [
        "checkpointing saves memory in training and does nothing in a forward pass; add mode: train"
    ]


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        ("{dtype: tf32}", "tf32 is a mode of CUDA's tensor cores; on cpu take float32"),
        ("{attention: sdpa_efficient}", "sdpa_efficient is no kernel of cpu; take sdpa, sdpa_math or eager"),
        ("{attention: sdpa_cudnn}", "sdpa_cudnn is no kernel of cpu; take sdpa, sdpa_math or eager"),
        ("{checkpointing: true}", "checkpointing saves memory in training"),
    ],
)
def test_what_no_cpu_can_do_is_invalid_and_says_what_to_take(load, protocol, reason):
    with pytest.raises(FileError, match=f":4: the only cell cannot be measured: {reason}"):
        load(f"name: c\nmodels: [hvt_s_1]\nprotocol:\n  {protocol[1:-1]}\n", "cpu")


def test_a_value_that_the_whole_grid_cannot_be_measured_with_is_blamed_there(load):
    text = "name: c\nmodels: [hvt_s_1]\ngrid:\n  depth: [2, 4]\n  dtype: [tf32]\n"
    with pytest.raises(FileError, match=r":5: none of the 2 cells can be measured; the first: tf32 is a mode"):
        load(text, "cpu")


def test_a_kernel_that_takes_no_float32_is_invalid_with_it(load, two_devices):
    sweep = load(
        "name: c\nmodels: [hvt_s_1]\naxes: {dtype: [float32, tf32, bfloat16]}\nprotocol: {attention: sdpa_flash}\n"
    )
    assert [p.dtype for p in sweep.points] == ["bfloat16"]
    assert {cell.reason for cell in sweep.invalid} == {
        f"sdpa_flash takes no {dtype} on cuda; take float16 or bfloat16 or amp_float16 or amp_bfloat16"
        for dtype in ("float32", "tf32")
    }


def test_the_largest_batch_is_found_and_not_given(load):
    (point,) = load("name: c\nmodels: [hvt_s_1]\nprotocol: {max_batch: true}\n", "cpu").points
    assert point.max_batch
    with pytest.raises(FileError, match=r":3: max_batch finds the batch size; leave batch_size out"):
        load("name: c\nmodels: [hvt_s_1]\nprotocol: {max_batch: true, batch_size: 8}\n")


def test_the_cap_of_a_round_follows_from_its_least_time(load):
    (point,) = load("name: c\nmodels: [hvt_s_1]\nprotocol: {min_time_s: 0.5}\n").points
    assert point.max_time_s == 1.0
    with pytest.raises(FileError, match=r":3: max_time_s 1 is less than min_time_s 2"):
        load("name: c\nmodels: [hvt_s_1]\nprotocol: {max_time_s: 1.0}\n")


def test_a_gpu_is_warmed_up_longer(load, two_devices):
    (there,) = load("name: c\nmodels: [hvt_s_1]\n").points
    (here,) = load("name: c\nmodels: [hvt_s_1]\n", "cpu").points
    assert (there.warmup_s, there.warmup_passes) == (1.0, 10)
    assert (here.warmup_s, here.warmup_passes) == (0.5, 3)


def test_attention_is_the_fused_one_where_the_network_has_it(load, monkeypatch):
    def no_fused_in_training(self, attention, training):
        if attention == "sdpa" and training and self.family == "hvt":
            raise ConfigError("weights are mixed: take eager")

    monkeypatch.setattr("hvt_bench.models.config.ModelConfig.check_attention", no_fused_in_training)
    text = "name: a\nmodels: [hvt_ti_1, deit_tiny]\ngrid: {mode: [infer, train]}\nprotocol: {device: cpu%s}\n"
    for given in ("", ", attention: auto"):
        sweep = load(text % given)
        assert [(p.model, p.mode, p.attention) for p in sweep.points] == [
            ("hvt_ti_1", "infer", "sdpa"),
            ("hvt_ti_1", "train", "eager"),
            ("deit_tiny", "infer", "sdpa"),
            ("deit_tiny", "train", "sdpa"),
        ]
    sweep = load(text % ", attention: sdpa")
    assert [(cell.model, cell.reason) for cell in sweep.invalid] == [("hvt_ti_1", "weights are mixed: take eager")]
    assert len(sweep.points) == 3


# --- what is trained --------------------------------------------------------------------------------------------------

TRAINED = """\
name: trained
models:
  - {name: fits, family: hvt, img_size: 8, patch_size: 2, in_chans: 1, num_classes: 10, embed_dim: 64, depth: 2}
axes: {img_size: [16]}
measure: [accuracy, complexity]
data: {name: digits, subset: 500}
recipe: {name: small, epochs: 4}
protocol: {device: cpu}
"""


def test_data_and_recipe_are_those_of_every_point(load):
    sweep = load(TRAINED)
    assert sweep.metrics == ("complexity", "accuracy")
    (point,) = sweep.points
    assert (str(point.data), str(point.recipe)) == ("digits:subset=500", "small:epochs=4")


def test_a_network_that_the_images_do_not_fit_is_an_invalid_cell(load):
    (cell,) = load(TRAINED).invalid
    assert cell.reason == (
        "images of digits are 8 px here, the network takes 16: give img_size: 8 to the network, "
        "or img_size: 16 under data"
    )
    assert (cell.asked["img_size"], cell.asked["data"]) == (16, "digits:subset=500")


def test_digits_and_the_small_recipe_are_the_default(load):
    (point,) = load("\n".join(line for line in TRAINED.splitlines() if line[:4] not in ("data", "reci"))).points
    assert (str(point.data), str(point.recipe)) == ("digits", "small")


def test_a_sweep_that_trains_nothing_has_points_as_before(load):
    kept = [line for line in TRAINED.splitlines() if line[:4] not in ("data", "reci", "axes")]
    (point,) = load("\n".join(kept).replace("[accuracy, complexity]", "[complexity]")).points
    assert (point.data, point.recipe) == (None, None)


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ("name: digits, subset: 500", "name: digit", 6, "unknown data set 'digit'; did you mean 'digits'?"),
        ("subset: 500", "subst: 500", 6, "unknown key 'subst'; did you mean 'subset'?"),
        ("subset: 500", "subset: 2000", 6, "subset 2,000 is more than the 1,438 training images of digits"),
        ("name: digits, subset: 500", "subset: 500", 6, "'name' is missing"),
        ("name: digits", "name: fashion_mnist, path: /nowhere", 6, "/nowhere: there is no train-images"),
        ("epochs: 4", "epochs: four", 7, "epochs: 'four' does not fit: should be a whole number"),
        ("epochs: 4", "lr: 4", 7, "unknown key 'lr'; known: batch_size, "),
        ("name: small", "name: smal", 7, "unknown recipe 'smal'; did you mean 'small'?"),
        ("epochs: 4", "epochs: 4, warmup_epochs: 4", 7, "warmup_epochs 4 leaves none of 4 epochs"),
        ("[accuracy, complexity]", "[complexity]", 6, "data is for accuracy, which is not measured"),
        ("protocol: {device: cpu}", "protocol: {device: cpu, dtype: float16}", 8, "take amp_float16"),
        ("num_classes: 10", "num_classes: 7", 2, "measured: digits has 10 classes, the network 7: give"),
    ],
)  # fmt: skip
def test_a_mistake_in_data_or_recipe_is_at_its_line(load, old, new, line, sentence):
    assert old in TRAINED
    with pytest.raises(FileError) as caught:
        load(TRAINED.replace(old, new).replace("axes: {img_size: [16]}", "axes: {}"))
    assert f"sweep.yaml:{line}: " in str(caught.value)
    assert sentence in str(caught.value)
