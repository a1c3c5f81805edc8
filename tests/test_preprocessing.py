import pytest

from hvt_bench.models import FAMILIES, VARIANTS, make_config, parse_model
from hvt_bench.training.preprocessing import PREPROCESSING, preprocessing_of

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def of(model):
    config = parse_model(model)
    side = config.input_shapes(1)[0][-1]
    found = preprocessing_of(model, config, side)
    return found.resize_px(side), side, (found.mean, found.std)


@pytest.mark.parametrize(
    ("model", "resized", "side", "normalised"),
    [
        ("hvt_s_1", 256, 224, IMAGENET),
        ("hvt:img_size=32,patch_size=8", 36, 32, IMAGENET),
        ("deit_small", 256, 224, IMAGENET),
        ("deit_base_384", 438, 384, IMAGENET),
        ("dynamicvit_s", 256, 224, IMAGENET),
        ("lvvit_s", 256, 224, IMAGENET),
        ("mvit_b_16_conv", 256, 224, IMAGENET),
        ("patchdiv_b12", 256, 224, IMAGENET),
        ("patchdiv_b12:img_size=384", 384, 384, IMAGENET),
        ("vit_small", 248, 224, HALF),
        ("vit_base:img_size=384", 384, 384, HALF),
        ("somewhere.nets:Net", 256, 224, IMAGENET),
    ],
)
def test_images_are_prepared_as_those_of_the_published_numbers(model, resized, side, normalised):
    assert of(model) == (resized, side, normalised)


def test_a_vit_and_a_deit_of_the_same_shape_are_told_apart_by_name():
    assert make_config("vit_small", {}) == make_config("deit_small", {})
    assert of("vit_small") != of("deit_small")


def test_every_family_that_names_classes_has_a_line():
    named = {family for family, config in FAMILIES.items() if "num_classes" in config.model_fields}
    assert {*PREPROCESSING} == named | {"deit"}
    for name, (family, _) in VARIANTS.items():
        if family in named:
            of(name)


@pytest.mark.parametrize(
    "name", ["vit_small_patch16_224", "vit_base_patch16_384", "mobilevit_s", "eva02_tiny_patch14_336"]
)
def test_timm_says_what_its_networks_are_given(name):
    timm = pytest.importorskip("timm")
    config = parse_model(f"timm:{name}")
    side = config.input_shapes(1)[0][-1]
    found = preprocessing_of(f"timm:{name}", config, side)
    expected = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    assert (3, side, side) == expected.pop("input_size")
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("ours", "timms"), [("vit_small", "vit_small_patch16_224"), ("vit_large:img_size=384", "vit_large_patch16_384")]
)
def test_what_is_said_of_vit_is_what_timm_says(ours, timms):
    timm = pytest.importorskip("timm")
    settings = timm.get_pretrained_cfg(timms)
    config = parse_model(ours)
    found = preprocessing_of(ours, config, settings.input_size[-1])
    assert (found.crop_pct, found.mean, found.std) == (settings.crop_pct, settings.mean, settings.std)
    assert found.interpolation == settings.interpolation


def test_readme_says_what_images_are_resized_to(repository):
    readme = (repository / "README.md").read_text()
    for model, line in (
        ("deit_base", "HVT, DeiT, "),
        ("patchdiv_b12", "patch diversification "),
        ("vit_base", "ViT, "),
    ):
        small, large = (preprocessing_of(model, parse_model(model), side).resize_px(side) for side in (224, 384))
        (shown,) = (text for text in readme.splitlines() if text.startswith(f"| {line}"))
        assert f"| {small} | {large} |" in shown
