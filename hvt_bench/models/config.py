"""What a network is before it is built: a validated, hashable record of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from hvt_bench.errors import ConfigError
from hvt_bench.models.checkpoint import Loaded, load_checkpoint
from hvt_bench.records import Column, Record

Attention = Literal["sdpa", "eager"]
GlobalPool = Literal["avg", "token", "map"]

ImgSize = Annotated[int, Field(ge=1, le=100_000), Column("side of the square image", "px", "image size")]
PatchSize = Annotated[
    int,
    Field(ge=1, le=100_000),
    Column("side of one patch, in MViT the stride of patches that overlap; divides the image size", "px"),
]
InChans = Annotated[int, Field(ge=1, le=100_000), Column("channels of the image")]
NumClasses = Annotated[int, Field(ge=1, le=10_000_000), Column("classes of the linear classifier")]
EmbedDim = Annotated[
    int, Field(ge=1, le=1_000_000), Column("width of a token; in MViT, of the first stage", "", "embedding width")
]
Depth = Annotated[int, Field(ge=1, le=1000), Column("number of blocks")]
NumHeads = Annotated[int, Field(ge=1, le=100_000), Column("attention heads of a block; in MViT, of the first stage")]
MlpRatio = Annotated[float, Field(gt=0, le=1000), Column("hidden width of the MLP over embed_dim")]
QkvBias = Annotated[bool, Column("whether the query, key and value projection has a bias")]
POOL = Column(
    "how tokens are pooled. HVT: `max`, `avg`, `conv_dw` (depthwise convolution). MViT: `conv` (depthwise convolution "
    "and LayerNorm), `max`"
)

NORM_EPS = 1e-6  # timm, DeiT and the released HVT alike
HEAD_WIDTH = 64  # width of one attention head in ViT-Ti to ViT-L, DeiT and HVT


def whole(number: float) -> int:
    """Cut off what is behind the point; of an array, of each of its numbers."""
    if not isinstance(number, np.ndarray):
        return int(number)
    cut: Any = np.frompyfunc(int, 1, 1) if number.dtype == object else np.trunc
    found: int = cut(number)
    return found


class ModelConfig(Record):
    """The fields of one network of a family."""

    family: ClassVar[str]
    outside: ClassVar[bool] = False
    """Whether code of others makes the network: then it may refuse, crash or hang when it is called."""
    arrays: ClassVar[tuple[str, ...]] = ()
    """Fields that may hold an array, a number for each of many networks, where `model_construct` makes the record.

    `exists` and the closed forms give an array then. In float64 it is exact below 2^53, of Python's numbers always.
    """
    instead: ClassVar[Mapping[str, str]] = {}
    """By a field that other families have and this one lacks: what to give in its place."""

    checkpoint: Annotated[
        str | None, Column("file whose weights the network is measured with; random ones where there is none")
    ] = None

    def build(self, attention: Attention = "sdpa") -> nn.Module:
        """Build the network, randomly initialised, in training mode."""
        raise NotImplementedError

    def build_on_meta(self, attention: Attention = "sdpa") -> nn.Module:
        """Build the network without memory for its weights, which are on `meta`."""
        with torch.device("meta"):
            return self.build(attention)

    def build_loaded(self, attention: Attention = "sdpa") -> nn.Module:
        """Build the network with the weights of its checkpoint, if it has one, in training mode.

        Raises ConfigError where the weights are not those of this network, or there are none.
        """
        network = self.build(attention)
        if self.checkpoint is not None:
            load_checkpoint(network, self.checkpoint)
        return network

    def check_checkpoint(self) -> Loaded | None:
        """Say what the checkpoint gives the network; None where there is none. Takes no memory for weights.

        Raises ConfigError where the weights are not those of this network.
        """
        if self.checkpoint is None:
            return None
        return load_checkpoint(self.build_on_meta(self.usual_attention(training=False)), self.checkpoint)

    def prepare(self) -> None:
        """Load what building needs, so that a measurement of building does not hold it."""

    def usual_attention(self, training: bool) -> Attention:
        """Return the attention path that is taken where none is asked for: the fused one, if the network has it."""
        try:
            self.check_attention("sdpa", training)
        except ConfigError:
            return "eager"
        return "sdpa"

    def check_attention(self, attention: Attention, training: bool) -> None:
        """Raise ConfigError where the network does not have this attention path, in training or in a forward pass."""

    def input_shapes(self, batch_size: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors that `forward` takes."""
        raise NotImplementedError

    @property
    def seq_lens(self) -> tuple[int, ...] | None:
        """Tokens that enter each block, special tokens included; None where the family has no such thing."""
        return None

    def exists(self) -> bool:
        """Return whether there is such a network, its fields one by one being sound; validation says why not."""
        return True

    def closed_form_macs(self) -> int | None:
        """Multiply-adds of one image by formula: a check on the counters; None where there is no formula."""
        return None

    def closed_form_params(self) -> int | None:
        """Learned numbers by formula; None where there is no formula."""
        return None

    def without_effect(self) -> tuple[str, ...]:
        """Return the fields whose value changes nothing in this network, such as how it pools where it never does."""
        return ()

    def fields(self) -> dict[str, Any]:
        """Return what describes the network, by the names that a person writes."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def columns(self, model: str, known: Mapping[str, Column]) -> dict[str, Any]:
        """Return what a row says of the network named `model`; `known` are the config columns of all families."""
        return {name: value for name, value in self.fields().items() if name in known}

    @classmethod
    def merge(cls, base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Lay `changes` over the fields of `base`, and adapt the fields that follow from a changed one."""
        return {**base, **changes}


class BlockShape(NamedTuple):
    """What `layers.Block` is made of."""

    embed_dim: int
    num_heads: int
    mlp_hidden: int
    qkv_bias: bool
    attention: Attention
    talking_heads: bool = False
    """Whether the weights of the heads are mixed before and after the softmax."""
    residual_scale: float = 1.0
    """What attention and MLP are multiplied with before they are added to their input."""
    norm_eps: float = NORM_EPS


class PatchConfig(ModelConfig):
    """The fields of a network that sees a square image as patches."""

    arrays: ClassVar[tuple[str, ...]] = ("img_size", "patch_size", "in_chans")

    img_size: ImgSize = 224
    patch_size: PatchSize = 16
    in_chans: InChans = 3

    @model_validator(mode="after")
    def _check_patches(self) -> PatchConfig:
        if self.img_size % self.patch_size:
            below = self.img_size // self.patch_size * self.patch_size
            sizes = [size for size in (below, below + self.patch_size) if size]
            raise ValueError(
                f"img_size {self.img_size} is not divisible by patch_size {self.patch_size}; "
                f"the nearest sizes that work: {' and '.join(map(str, sizes))}"
            )
        return self

    def exists(self) -> bool:
        """Patches cover the image."""
        return super().exists() & (self.img_size % self.patch_size == 0)

    @property
    def num_patches(self) -> int:
        """Patches of one image."""
        return (self.img_size // self.patch_size) ** 2

    def input_shapes(self, batch_size: int) -> tuple[tuple[int, ...], ...]:
        """One image tensor, (B, C, H, W)."""
        return ((batch_size, self.in_chans, self.img_size, self.img_size),)


class ImageConfig(PatchConfig):
    """The fields of a network that reads square images and names their class."""

    arrays: ClassVar[tuple[str, ...]] = (*PatchConfig.arrays, "num_classes")

    num_classes: NumClasses = 1000


class BlocksConfig(ModelConfig):
    """The fields of a network of equal transformer blocks."""

    arrays: ClassVar[tuple[str, ...]] = ("embed_dim", "num_heads", "mlp_ratio")

    embed_dim: EmbedDim = 384
    depth: Depth = 12
    num_heads: NumHeads = 6
    mlp_ratio: MlpRatio = 4.0
    qkv_bias: QkvBias = True

    @model_validator(mode="after")
    def _check_shape(self) -> BlocksConfig:
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}; "
                f"heads are {HEAD_WIDTH} wide in HVT and DeiT"
            )
        if self.mlp_hidden < 1:
            raise ValueError(f"mlp_ratio {self.mlp_ratio} leaves an MLP without a hidden unit")
        return self

    def exists(self) -> bool:
        """Heads share the width, and the MLP has a hidden unit."""
        return super().exists() & (self.embed_dim % self.num_heads == 0) & (self.mlp_hidden >= 1)

    @property
    def mlp_hidden(self) -> int:
        """Hidden units of the MLP."""
        return whole(self.embed_dim * self.mlp_ratio)

    def block_shape(self, attention: Attention) -> BlockShape:
        """Return what `layers.Block` is made of."""
        return BlockShape(self.embed_dim, self.num_heads, self.mlp_hidden, self.qkv_bias, attention)

    def block_macs(self, tokens: int) -> int:
        """Multiply-adds of one block over `tokens` tokens: 4nd² + 2nd·m in products with weights, 2n²d in attention."""
        width = self.embed_dim
        return 4 * tokens * width**2 + 2 * tokens * width * self.mlp_hidden + 2 * tokens**2 * width

    def block_params(self) -> int:
        """Learned numbers of one block: two norms; queries, keys, values and their output; the MLP."""
        width, hidden = self.embed_dim, self.mlp_hidden
        attention = 4 * width**2 + width + 3 * width * self.qkv_bias
        return 4 * width + attention + 2 * width * hidden + hidden + width

    @classmethod
    def merge(cls, base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the width of a head where `changes` give the embedding width and not the number of heads."""
        return super().merge(base, changes) | heads_that_follow(base, changes)


def heads_that_follow(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `num_heads` with which heads stay as wide as in `base`; nothing where no width says it.

    Raises ConfigError where there is none.
    """
    embed_dim = changes.get("embed_dim")
    if "num_heads" in changes or type(embed_dim) is not int or embed_dim < 1:
        return {}
    head_width = base["embed_dim"] // base["num_heads"]
    if embed_dim % head_width:
        below = embed_dim // head_width * head_width
        sizes = [size for size in (below, below + head_width) if size]
        raise ConfigError(
            f"embed_dim {embed_dim} is no multiple of the head width {head_width}; "
            f"give num_heads too, or take {' or '.join(map(str, sizes))}"
        )
    return {"num_heads": embed_dim // head_width}


class EqualBlocksConfig(BlocksConfig, ImageConfig):
    """The fields of a network of patches and blocks that differ in nothing but their tokens."""

    arrays: ClassVar[tuple[str, ...]] = (*BlocksConfig.arrays, *ImageConfig.arrays)

    def stem_macs(self) -> int:
        """Multiply-adds of the patch embedding."""
        return self.num_patches * self.in_chans * self.patch_size**2 * self.embed_dim

    def stem_params(self) -> int:
        """Learned numbers of the patch embedding."""
        return (self.in_chans * self.patch_size**2 + 1) * self.embed_dim

    def head_params(self) -> int:
        """Learned numbers of the last norm and one linear head."""
        return 2 * self.embed_dim + (self.embed_dim + 1) * self.num_classes


class TransformerConfig(EqualBlocksConfig):
    """The fields of a network whose head may read the class token or the mean of all."""

    poolings: ClassVar[tuple[GlobalPool, ...]] = ("avg", "token")
    """What the head of the family may read."""

    global_pool: Annotated[
        GlobalPool,
        Column(
            "what the head reads: `avg` (mean of the tokens), `token` (the class token) or, of family vit, `map` "
            "(attention pooling)"
        ),
    ] = "token"

    @field_validator("global_pool")
    @classmethod
    def _check_global_pool(cls, value: GlobalPool) -> GlobalPool:
        if value not in cls.poolings:
            raise ValueError(
                f"global_pool '{value}' is the head of Scaling ViT, which only family vit has: no {cls.family} was "
                f"published with one; take {' or '.join(cls.poolings)}"
            )
        return value
