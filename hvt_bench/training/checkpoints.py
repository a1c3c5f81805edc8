"""The state of a training after an epoch, on disk, so that an interruption costs at most the epoch in flight."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
from collections.abc import Callable, Mapping
from operator import eq
from pathlib import Path
from typing import Any

import torch

from hvt_bench.errors import HvtBenchError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Checkpoint:
    """One file, which holds the latest state of one training.

    `identity` says which training, on which machine: a state of another one, of which `alike` decides, is not gone on
    from, nor is a damaged one, and then the training begins anew.
    """

    def __init__(
        self, path: Path, identity: Mapping[str, Any], alike: Callable[[dict[str, Any], dict[str, Any]], bool] = eq
    ) -> None:
        self._path, self._identity, self._alike = path, dict(identity), alike

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a state, which then takes the place of the one before. Raises HvtBenchError where the disk is full."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                torch.save({"identity": self._identity, "state": dict(state)}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer has no kind of error of its own
            raise HvtBenchError(
                f"{self._path}: the state of the training cannot be written: {_reason(error)}, and --retry error "
                + ("goes on from the epoch before" if self._path.is_file() else "begins anew: nothing was kept yet")
            ) from None
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()

    def load(self) -> dict[str, Any] | None:
        """Return the state; None where there is none of this training."""
        try:
            content = torch.load(self._path, map_location="cpu", weights_only=True)
            if self._alike(content["identity"], self._identity):
                return dict(content["state"])
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError):
            pass
        return None


def _reason(error: OSError | RuntimeError) -> str:
    """Return what kept a file from being written, and what to do; PyTorch's writer has words of its own for it."""
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.errno not in _FULL:
        return f"{cause.strerror}: {cause.filename}; make it a folder that can be written into"
    reason = cause.strerror if isinstance(cause, OSError) else str(error).strip().splitlines()[0]
    return f"{reason}; free some space"


def checkpoint_path(folder: Path, point_id: str, number: int) -> Path:
    """Return where the state of a round is: `run.checkpoints/POINT.ROUND.pt`."""
    return folder / f"{point_id}.{number}.pt"


def forget(folder: Path, point_id: str, number: int) -> None:
    """Remove the state of a round that is done, and the folder once nothing is in it."""
    with contextlib.suppress(OSError):
        checkpoint_path(folder, point_id, number).unlink()
        folder.rmdir()
