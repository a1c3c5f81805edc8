"""Weights that people already have: the files of DeiT, HVT, DynamicViT, SlowFast and timm.

Nothing that a file holds is run: PyTorch's `weights_only`, and of all classes that are none of its own only
`argparse.Namespace`, which HVT's files hold beside the weights. All weights of the network must be in the file and no
others, and nothing is interpolated.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hvt_bench.errors import ConfigError, FieldError, plural
from hvt_bench.models.safetensors import read_safetensors

WRAPPERS = ("model", "model_state", "state_dict_ema", "state_dict", "model_ema")
"""Keys under which a file holds its weights, in the order in which they are tried. `model`: DeiT, HVT and DynamicViT,
whose own evaluation takes it before `model_ema`; `model_state`: SlowFast; the others: timm, which takes the average
(`_ema`) before the last weights."""
PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every key
FEW = 3  # keys that an error names of each kind


class Loaded(NamedTuple):
    """What a file gave a network."""

    tensors: int
    key: str | None
    """Under which of WRAPPERS they stood; None where the file is the weights and nothing else."""


def load_checkpoint(network: nn.Module, path: str) -> Loaded:
    """Load the weights of a file into a network, in the network's number format.

    A network on `meta` takes the tensors of the file as they are. Raises FieldError where `path` is no checkpoint,
    ConfigError where it is one of another network.
    """
    weights, key = _read(path)
    on_meta = any(tensor.is_meta for tensor in network.state_dict().values() if isinstance(tensor, Tensor))
    try:
        network.load_state_dict(weights, strict=True, assign=on_meta)
    except Exception as error:  # a network that is not ours may read its weights in a way of its own
        difference = _difference(_shapes(network.state_dict()), _shapes(weights))
        text = difference or f"{type(error).__name__}: {_in_one_line(error)}"
        raise ConfigError(f"checkpoint {path} does not fit: {text}") from None
    return Loaded(len(weights), key)


# --- the file ---------------------------------------------------------------------------------------------------------


def _read(path: str) -> tuple[dict[str, Tensor], str | None]:
    """Return the weights of a file, and the key under which they stood."""
    file = Path(path)
    if file.is_dir():
        raise FieldError(f"checkpoint {path}: this is a folder; name a file in it")
    if not file.exists():
        raise FieldError(f"checkpoint {path}: there is no such file; a path starts at the current folder")
    content: Any = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    key = None
    if not _is_state_dict(content):
        if not isinstance(content, Mapping):
            raise FieldError(f"checkpoint {path}: holds a {type(content).__name__} and no weights; save a state_dict")
        key = next((key for key in WRAPPERS if _is_state_dict(content.get(key))), None)
        if key is None:
            found = f"holds {', '.join(map(str, list(content)[:10]))}" if content else "is empty"
            known = ", ".join(WRAPPERS)
            raise FieldError(f"checkpoint {path}: {found}, and weights under none of {known}; save a state_dict alone")
        content = content[key]
    for name, tensor in content.items():
        if tensor.layout is not torch.strided or tensor.is_complex():
            kind = "complex" if tensor.is_complex() else "sparse"
            raise FieldError(f"checkpoint {path}: {name} is {kind}; save it as a dense tensor of real numbers")
    return _without_prefixes(content), key


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return read_safetensors(file)
    except (ValueError, OSError) as error:
        raise FieldError(f"checkpoint {file}: this is no safetensors file: {_in_one_line(error)}") from None


def _read_pickle(file: Path) -> object:
    """Return what `torch.save` wrote; where that was a zip archive, tensors are read when they are used."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            return torch.load(str(file), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # of pickle, zip and struct, in many kinds
        text = _in_one_line(error)
        if refused := re.search(r"GLOBAL ([\w.]+)", text):
            raise FieldError(
                f"checkpoint {file}: holds an object of {refused[1]}, which could run code when it is read; "
                "save its weights alone (the state_dict) where you trust it"
            ) from None
        raise FieldError(
            f"checkpoint {file}: this is no checkpoint: {_why_not(file, text)}; "
            "take a file of torch.save, or .safetensors"
        ) from None


def _why_not(file: Path, text: str) -> str:
    """Return why a file cannot be read: in PyTorch's words, where those are of something in an archive of its own."""
    with contextlib.suppress(OSError), file.open("rb") as opened:
        start = opened.read(2)
        if not start:
            return "it is empty"
        if not zipfile.is_zipfile(file):
            return "it is cut short or damaged" if start == b"PK" else "it is not what torch.save writes"
    return _short_of(text)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:2000] or type(error).__name__


def _short_of(text: str) -> str:
    """Return what PyTorch found wrong, without its advice to read the file with code in it."""
    text = text.rpartition("WeightsUnpickler error: ")[2]
    return re.split(r" (?:Please file an issue|Check the documentation)", text)[0][:150].rstrip(". ")


def _is_state_dict(content: object) -> bool:
    if not isinstance(content, Mapping) or not content:
        return False
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())


def _without_prefixes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in weights)), None):
        weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items()}
    return dict(weights)


# --- what does not fit ------------------------------------------------------------------------------------------------

_Shapes = Mapping[str, tuple[int, ...]]


def _shapes(weights: Mapping[str, Any]) -> _Shapes:
    return {key: tuple(getattr(value, "shape", ())) for key, value in weights.items()}


def _difference(own: _Shapes, given: _Shapes) -> str | None:
    """Say how the keys of a network and of a file differ, and what to do; None if they do not."""
    missing, unexpected = [key for key in own if key not in given], [key for key in given if key not in own]
    reshaped = [key for key in own if key in given and own[key] != given[key]]
    if reshaped and not missing and not unexpected and all(_is_longer_table(own[key], given[key]) for key in reshaped):
        key = reshaped[0]
        return (
            f"its {key} is for {given[key][1]:,} tokens, that of the network for {own[key][1]:,}; these are weights of "
            "another resolution: give the img_size and patch_size that they were trained with, nothing is interpolated"
        )
    spelt = [f"{key} {_size(given[key])}, here {_size(own[key])}" for key in reshaped]
    parts = [
        _counted(keys, text)
        for keys, text in (
            (missing, "missing from the file"),
            (unexpected, "unknown to the network"),
            (spelt, "of another shape"),
        )
        if keys
    ]
    return f"{'; '.join(parts)}. Give the fields of the network whose weights these are" if parts else None


def _is_longer_table(own: tuple[int, ...], given: tuple[int, ...]) -> bool:
    """Say whether two shapes, (1, N, D), are of tables of positions that differ in their length alone."""
    return len(own) == len(given) == 3 and own[0] == given[0] == 1 and own[2] == given[2]


def _counted(names: Sequence[str], what: str) -> str:
    more = ", ..." if len(names) > FEW else ""
    return f"{plural(len(names), 'key')} {what} ({', '.join(names[:FEW])}{more})"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
