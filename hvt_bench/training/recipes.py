"""RECIPES: how networks are trained."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from hvt_bench.errors import RequestError, unknown
from hvt_bench.models import yaml_text
from hvt_bench.records import Record

MAX_HOURS = 500.0  # 2^31 ms, for which a process can wait at most, are 596
REFERENCE_BATCH = 512  # images, for which DeiT gives its learning rate


class TrainingRecipe(Record):
    """How a network is trained: AdamW, a learning rate that rises linearly and then falls as a cosine does."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """The line of RECIPES that it started from."""
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    """Images of one step, whatever `batch_size` the protocol times with."""
    lr_per_512: Annotated[float, Field(gt=0, le=10)]
    """Highest learning rate of a batch of 512 images; that of another batch is in proportion."""
    min_lr: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Where the cosine ends."""
    warmup_epochs: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.05
    """Of weights; biases, norms, position tables and class tokens have none."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth: share of the images for which the last block is skipped; rises linearly from 0."""
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Both parameters of the beta distribution by which images are blended; 0 is without."""
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    """The same for a rectangle of another image; with both, each batch draws one of them."""
    random_erasing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the images of which a rectangle becomes noise."""
    rand_augment: str | None = None
    """RandAugment in timm's spelling, with a random crop and flip before it; none where it is null."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """Times that an image stands in an epoch, each time augmented anew; an epoch is as long as without."""
    max_hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] = 24.0
    """Time limit of one training; past it the row has status `timeout`, and `--retry timeout` goes on."""

    @model_validator(mode="after")
    def _check(self) -> TrainingRecipe:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} leaves none of {self.epochs} epochs; take fewer, or more epochs"
            )
        if self.mixes and self.batch_size % 2:
            raise ValueError(f"batch_size {self.batch_size} is odd, and mixup pairs images; take an even one")
        return self

    @property
    def mixes(self) -> bool:
        """Whether images are blended with others of their batch."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def augments(self) -> bool:
        """Whether each image goes through a transformation of its own."""
        return self.rand_augment is not None or self.random_erasing > 0

    @property
    def lr(self) -> float:
        """The highest learning rate."""
        return self.lr_per_512 * self.batch_size / REFERENCE_BATCH

    @property
    def identity(self) -> dict[str, Any]:
        """All that changes what a training gives."""
        return self.model_dump(mode="json", exclude={"max_hours"})

    def __str__(self) -> str:
        """Spell the name and what was changed: `small:epochs=4`."""
        usual = RECIPES[self.name].identity
        changes = [f"{key}={yaml_text(value)}" for key, value in self.identity.items() if value != usual[key]]
        return f"{self.name}:{','.join(changes)}" if changes else self.name


_DEIT = TrainingRecipe(
    name="deit",
    epochs=300,
    batch_size=1024,
    lr_per_512=5e-4,
    min_lr=1e-5,  # of the released code
    warmup_epochs=5.0,
    weight_decay=0.05,
    label_smoothing=0.1,
    drop_path=0.1,
    mixup=0.8,
    cutmix=1.0,
    random_erasing=0.25,
    rand_augment="rand-m9-mstd0.5-inc1",
    repeats=3,
    max_hours=MAX_HOURS,
)

RECIPES: dict[str, TrainingRecipe] = {
    # Touvron et al., "Training data-efficient image transformers & distillation through attention", 2021, table 9
    "deit": _DEIT,
    # Pan et al., "Scalable Vision Transformers with Hierarchical Pooling", 2021, section 4.1: as DeiT, but for this
    "hvt": _DEIT.model_copy(update={"name": "hvt", "weight_decay": 0.025}),
    # ours, for minutes on two cores
    "small": TrainingRecipe(
        name="small",
        epochs=8,
        batch_size=128,
        lr_per_512=4e-3,
        warmup_epochs=1.0,
        weight_decay=0.05,
        label_smoothing=0.1,
    ),
}
DEFAULT = "small"


def parse_recipe(asked: str | Mapping[str, Any]) -> TrainingRecipe:
    """Turn a name, or a mapping with a `name` and changes, into a recipe.

    Raises RequestError where there is no such recipe, ValidationError where a value does not fit.
    """
    changes = {"name": asked} if isinstance(asked, str) else {"name": DEFAULT, **asked}
    name = changes["name"]
    if not isinstance(name, str) or name not in RECIPES:
        raise RequestError(unknown("recipe", name, RECIPES))
    recipe = TrainingRecipe.model_validate(RECIPES[name].model_dump() | changes)
    if (recipe.augments or recipe.mixes) and find_spec("timm") is None:
        raise RequestError(f"recipe '{name}' augments images by timm, which is not installed; {TIMM}")
    return recipe


TIMM = "pip install 'hvt-bench[timm]'"
