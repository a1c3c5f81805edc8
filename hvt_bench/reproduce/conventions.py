"""CONVENTIONS: what the sources call params and FLOPs, each as something that we count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hvt_bench.metrics.complexity import Breakdown
from hvt_bench.models.config import ModelConfig

PREDICTORS = "score_predictor"  # the modules of DynamicViT that say which tokens to keep
CLASSIFIER = "head"
HEAD = ("attn_pool", CLASSIFIER)  # what Scaling ViT does not count as encoder

Rule = Callable[[ModelConfig, Breakdown], int]


@dataclass(frozen=True)
class Convention:
    """How a source counts: both numbers of a network from its config and its count."""

    label: str
    doc: str
    params: Rule
    flops: Rule
    least_flops: Rule | None = None
    """Where the source is between two counts: the smaller one; `flops` is the larger."""
    tolerance_pct: float = 2.5
    decimals: int | None = None
    """Of a source that rounds to so many and then drops zeros at the end, so that the text does not show it."""


def _params(config: ModelConfig, counted: Breakdown) -> int:
    return counted.total.params


def _macs(config: ModelConfig, counted: Breakdown) -> int:
    return counted.total.macs


def _fvcore(config: ModelConfig, counted: Breakdown) -> int:
    assert counted.total.fvcore_flops is not None  # of our families fvcore's own table knows every operator
    return counted.total.fvcore_flops


def _deit_iii_params(config: ModelConfig, counted: Breakdown) -> int:
    """Add two vectors a block, LayerScale's; take off the class token's position, which DeiT-III does not have."""
    fields = config.fields()
    return counted.total.params + int(fields["embed_dim"] * (2 * fields["depth"] - 1))


def _params_without(*modules: str) -> Rule:
    return lambda config, counted: counted.without(*modules).params


def _macs_without(*modules: str, factor: int = 1) -> Rule:
    return lambda config, counted: factor * counted.without(*modules).macs


def _fvcore_without_classifier(config: ModelConfig, counted: Breakdown) -> int:
    return _fvcore(config, counted) - counted.modules[CLASSIFIER].macs


CONVENTIONS: dict[str, Convention] = {
    "macs": Convention("MACs", "MACs and params of the whole network", _params, _macs),
    "predictors": Convention(
        "MACs with predictors",
        "printed FLOPs lie between MACs without and with the predictors; params are of both",
        _params,
        _macs,
        least_flops=_macs_without(PREDICTORS),
    ),
    "encoder_2x": Convention(
        "2 x MACs of encoder",
        "2 FLOPs per MAC; neither FLOPs nor params of the pooling head and the classifier",
        _params_without(*HEAD),
        _macs_without(*HEAD, factor=2),
        tolerance_pct=3.0,
    ),
    "deit_iii": Convention(
        "fvcore, LayerScale",
        "MACs and 5 per element of a norm, as fvcore counts; params with LayerScale, without a class token's position",
        _deit_iii_params,
        _fvcore,
    ),
    "timm": Convention(
        "fvcore", "MACs and 5 per element of a norm, as fvcore counts; rounded to two decimals", _params, _fvcore,
        decimals=2,
    ),
    "timm_no_classifier": Convention(
        "fvcore, no classifier",
        "as timm, of a network without its classifier",
        _params_without(CLASSIFIER),
        _fvcore_without_classifier,
        decimals=2,
    ),
}  # fmt: skip
