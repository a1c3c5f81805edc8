"""evaluate: what weights that people already have score on images, preprocessed as for their published numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from hvt_bench.analysis.rebuild import named
from hvt_bench.errors import HvtBenchError, RequestError, plural
from hvt_bench.measure import diagnose, is_out_of_memory
from hvt_bench.metrics.passes import network, use_precision, weights_format
from hvt_bench.models.checkpoint import Loaded
from hvt_bench.models.config import ModelConfig
from hvt_bench.point import Point
from hvt_bench.published import Printed, published
from hvt_bench.request import parse_request
from hvt_bench.training.held_out import HeldOut, load_held_out
from hvt_bench.training.loop import TOP, class_scores, hits
from hvt_bench.training.preprocessing import Preprocessing, preprocessing_of

READS = ("device", "dtype", "batch_size", "attention", "num_threads")
"""Fields of the protocol that change what an evaluation does."""

BATCH_SIZE = 64
RELEASED = ("hvt", "deit", "timm", "dynamicvit", "mvit", "patchdiv")
"""Of `published.SYSTEMS`, those whose weights have the keys of our networks; torchvision's and DeiT-III's do not."""

Seen = Callable[[int, int, int], object]  # images that are done, those of them that are right, all images


@dataclass(frozen=True)
class Asked:
    """What is asked of the preprocessing; None is as published."""

    crop_pct: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Evaluation:
    """How many images a network names the class of, and under which conditions."""

    name: str
    point: Point
    loaded: Loaded | None
    """What the checkpoint gave; None of code of others that has weights of its own."""
    where: str
    images: int
    classes: int
    right: int
    among: int
    """Images whose class is among the first TOP."""
    side: int
    """Of the images that the network got, in px."""
    preprocessing: Preprocessing
    printed: tuple[Printed, ...]
    """What is printed of the released weights of this network."""
    warnings: tuple[str, ...]

    @property
    def top1(self) -> float:
        """Images whose class the network names, in percent."""
        return 100 * self.right / self.images

    @property
    def top5(self) -> float | None:
        """Images whose class is among its first five, in percent; None where there are fewer classes."""
        return 100 * self.among / self.images if self.classes >= TOP else None

    def standard_error(self, percent: float) -> float:
        """Return that of a share of so many images, in points of a percent: the square root of p (1 - p) / n."""
        share = percent / 100
        return 100 * math.sqrt(share * (1 - share) / self.images)


def evaluate(
    model: str,
    assignments: Sequence[str],
    data: str,
    asked: Asked = Asked(),
    seen: Seen = lambda done, right, images: None,
) -> Evaluation:
    """Evaluate the weights that `model` or one of `assignments` names, `checkpoint=FILE`, on the held-out images.

    `data` is read by `load_held_out`; what is not given of the protocol (READS) is as in a sweep file, but for batches
    of BATCH_SIZE. Raises RequestError where the weights, the images and the network do not belong together,
    HvtBenchError where a pass fails or its scores are not finite.
    """
    given = {text.partition("=")[0].strip() for text in assignments}
    usual = [] if "batch_size" in given else [f"batch_size={BATCH_SIZE}"]
    point = parse_request(model, [*assignments, *usual], READS, f"an evaluation reads {', '.join(READS)}")
    config = point.config
    if config.checkpoint is None and (not config.outside or model.startswith("timm:")):
        raise RequestError(f"{model}: random weights name a class by chance; give --checkpoint FILE")
    loaded = config.check_checkpoint()
    held_out = load_held_out(data)
    side = held_out.check_fits(config)
    done = _preprocessing(model, config, side, held_out, asked)
    own = [text for text in assignments if text.partition("=")[0].strip() not in (*READS, "checkpoint")]
    right, among = _count(point, held_out, side, done, seen)
    return Evaluation(
        " ".join([model, *own]),
        point,
        loaded,
        held_out.where,
        len(held_out.images),
        held_out.class_count,
        right,
        among,
        side,
        done,
        printed_of(model, config) if held_out.preprocessing is None else (),
        (*held_out.left_out, *_warnings(held_out)),
    )


def _preprocessing(model: str, config: ModelConfig, side: int, held_out: HeldOut, asked: Asked) -> Preprocessing:
    """Return what is published, with what is asked in its place."""
    if held_out.preprocessing is not None and asked.crop_pct is not None:
        raise RequestError(f"--crop-pct: the images of {held_out.where} are small and taken whole; leave it out")
    if asked.crop_pct is not None and not 0 < asked.crop_pct <= 1:
        raise RequestError(f"--crop-pct {asked.crop_pct:g}: should be a share of the resized image, such as 0.875")
    for option, values in (("--mean", asked.mean), ("--std", asked.std)):
        if values is not None and len(values) != held_out.in_chans:
            raise RequestError(
                f"{option}: the images have {plural(held_out.in_chans, 'channel')}; give a number of each"
            )
    if asked.std is not None and min(asked.std) <= 0:
        raise RequestError("--std: images are divided by it; give numbers above 0")
    for option, values in (("--mean", asked.mean), ("--std", asked.std)):
        if values is not None and not all(0 <= value <= 1 for value in values):
            said = ",".join(f"{value:g}" for value in values)
            raise RequestError(
                f"{option} {said}: should be from 0 to 1, as pixels are here; those of bytes: divide by 255"
            )
    known = held_out.preprocessing or preprocessing_of(model, config, side)
    changes = {key: value for key, value in vars(asked).items() if value is not None}
    if not changes:
        return known
    options = ", ".join(f"--{key.replace('_', '-')}" for key in changes)
    return replace(known, **changes, source=f"{known.source}, but for {options}")


@torch.inference_mode()
def _count(point: Point, held_out: HeldOut, side: int, done: Preprocessing, seen: Seen) -> tuple[int, int]:
    """Return of how many images the class has the highest score, and of how many one of the first TOP."""
    images = right = among = strange = 0
    kind, amp = point.device.partition(":")[0], point.dtype.removeprefix("amp_")
    try:
        torch.set_num_threads(point.num_threads)
        use_precision(point.dtype)
        weights = weights_format(point)
        model = network(point).to(device=point.device, dtype=weights).eval()
        for batch, labels in held_out.batches(side, point.batch_size, done, point.device):
            with torch.autocast(kind, getattr(torch, amp)) if amp != point.dtype else nullcontext():
                scores = class_scores(model(batch.to(weights)), held_out.class_count)
            strange += int((~scores.isfinite()).any(dim=1).sum())
            first, best = hits(scores, labels)
            images, right, among = images + len(batch), right + first, among + best
            seen(images, right, len(held_out.images))
    except HvtBenchError:
        raise
    except Exception as failure:
        if is_out_of_memory(failure):
            raise HvtBenchError(f"out of memory at --batch-size {point.batch_size}; take a smaller one") from failure
        _, reason = diagnose(failure, point)
        raise HvtBenchError(f"{point.model}: {reason}") from failure
    if strange:
        rest = "look at its weights" if amp != "float16" else "float16 ends at 65,504; take bfloat16 or float32"
        raise HvtBenchError(f"{point.model}: its scores of {plural(strange, 'image')} are not finite numbers: {rest}")
    return right, among


def _warnings(held_out: HeldOut) -> list[str]:
    classes = held_out.classes
    if isinstance(classes, int) or not all(name.isdecimal() for name in classes):
        return []
    if list(classes) == sorted(classes, key=int):
        return []
    first = ", ".join(classes[:4])
    return [
        f"{held_out.where}: classes are counted in the order of their names: {first}, ...; if the weights count them "
        "as numbers, name the folders with leading zeros"
    ]


def printed_of(model: str, config: ModelConfig) -> tuple[Printed, ...]:
    """Return what is printed of the released weights of a network, each once; `model` is its name as a person wrote it.

    Tables of released weights print top-1 and top-5 on ImageNet-1k; lines of papers that quote others, or of trainings
    whose weights were not released, have no top-5.
    """
    variant, bare = model.partition(":")[0], config.model_copy(update={"checkpoint": None})
    found: dict[tuple[str, str, str], Printed] = {}
    for key in RELEASED:
        for line in published(key):
            if line.top5 and line.dataset == "ImageNet-1k" and line.ours == variant and named(line.network) == bare:
                found.setdefault((line.top1, line.top5, line.source), line)
    return tuple(found.values())
