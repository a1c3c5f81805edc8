"""Reading a .safetensors file, which takes no package: eight bytes of length, a header in JSON, the numbers.

The format: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

MAX_HEADER = 100_000_000  # bytes, the limit of the reference implementation
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip

_NOTES = "__metadata__"  # the key of the header that is no tensor


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name. Raises ValueError where it holds something else, OSError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, path.stat().st_size - 8):
            raise ValueError("its first eight bytes are not the length of a header")
        header = json.loads(file.read(length))  # a JSONDecodeError and a UnicodeDecodeError are ValueErrors
        if not isinstance(header, dict):
            raise ValueError("its header is no mapping")
        return {name: _tensor(file, 8 + length, name, entry) for name, entry in header.items() if name != _NOTES}


def _tensor(file: BinaryIO, start: int, name: str, entry: Any) -> Tensor:
    try:
        dtype, shape, (begin, end) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        size = math.prod(shape) * dtype.itemsize
        if begin < 0 or end - begin != size:
            raise ValueError
        file.seek(start + begin)
        numbers = bytearray(file.read(size))
        if len(numbers) != size:
            raise ValueError
        return torch.frombuffer(numbers, dtype=dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"the entry of its tensor '{name}' cannot be read: {str(entry)[:100]}") from None
