import pytest
from pydantic import ValidationError

from hvt_bench.errors import RequestError
from hvt_bench.training import recipes
from hvt_bench.training.recipes import RECIPES, parse_recipe


def test_the_published_recipes_are_as_printed():
    """DeiT, table 9: what is printed there. HVT, section 4.1: the same but for weight decay."""
    deit = RECIPES["deit"]
    assert (deit.epochs, deit.batch_size, deit.warmup_epochs, deit.weight_decay) == (300, 1024, 5, 0.05)
    assert deit.lr == 0.0005 * 1024 / 512
    assert (deit.label_smoothing, deit.drop_path, deit.mixup, deit.cutmix) == (0.1, 0.1, 0.8, 1.0)
    assert (deit.random_erasing, deit.rand_augment, deit.repeats) == (0.25, "rand-m9-mstd0.5-inc1", 3)
    assert RECIPES["hvt"] == deit.model_copy(update={"name": "hvt", "weight_decay": 0.025})


@pytest.mark.parametrize("name", RECIPES)
def test_a_name_is_a_recipe(name):
    assert parse_recipe(name) == RECIPES[name]
    assert parse_recipe({"name": name}) == RECIPES[name]
    assert str(parse_recipe(name)) == name


def test_a_mapping_changes_a_recipe_and_is_spelt():
    recipe = parse_recipe({"name": "small", "epochs": 3, "lr_per_512": 0.5})
    assert (recipe.epochs, recipe.lr_per_512) == (3, 0.5)
    assert str(recipe) == "small:epochs=3,lr_per_512=0.5"
    assert parse_recipe({"epochs": 3}).name == "small"


def test_how_long_it_may_take_is_no_part_of_what_it_is():
    assert parse_recipe({"max_hours": 1}).identity == RECIPES["small"].identity


def test_an_unknown_recipe_is_refused():
    with pytest.raises(RequestError, match=r"unknown recipe 'diet'; did you mean 'deit'\?"):
        parse_recipe("diet")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"epoch": 4}, "Extra inputs"),
        ({"epochs": 2, "warmup_epochs": 2}, "warmup_epochs 2 leaves none of 2 epochs"),
        ({"mixup": 0.8, "batch_size": 9}, "batch_size 9 is odd, and mixup pairs images"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        parse_recipe(changes)


def test_augmenting_needs_timm(monkeypatch):
    monkeypatch.setattr(recipes, "find_spec", lambda name: None)
    parse_recipe("small")
    with pytest.raises(RequestError, match=r"timm, which is not installed; pip install 'hvt-bench\[timm\]'"):
        parse_recipe("deit")
