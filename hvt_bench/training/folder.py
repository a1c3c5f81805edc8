"""An imagefolder on a disk: which files are its images, of which class, and what lies there and is none of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hvt_bench.errors import FileError, plural

MOST_SHOWN = 3  # folders or endings, in a message


@dataclass(frozen=True)
class Listing:
    """The files of `folder/CLASS/.../IMAGE`, in the order of torchvision's ImageFolder."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    """Of each path, the place of its class in `classes`."""
    classes: tuple[str, ...]
    """In order of their names."""
    left_out: tuple[str, ...]
    """A sentence for each kind of what is there and not read."""


def class_names(folder: Path) -> list[str]:
    """Return the classes of a folder, in order; hidden folders, such as .ipynb_checkpoints, are none.

    Raises FileError where there is none.
    """
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not _hidden(entry.name))
    if not names:
        raise FileError(
            f"{folder}: holds no folder of a class; put the images of each class into a folder of its name, "
            f"{folder}/CLASS/IMAGE"
        )
    return names


def list_folder(folder: Path) -> Listing:
    """Return the images of a folder. Raises FileError where it has no class, or a class no image."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    classes = class_names(folder)
    paths: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    others: Counter[str] = Counter()
    hidden = [entry.name for entry in folder.iterdir() if entry.is_dir() and _hidden(entry.name)]
    for label, name in enumerate(classes):
        before = len(paths)
        for root, files in sorted(_walk(str(folder / name), hidden)):
            for file in sorted(files):
                if file.lower().endswith(IMG_EXTENSIONS):
                    paths.append(os.path.join(root, file))
                    labels.append(label)
                elif not _hidden(file):
                    others[Path(file).suffix or "no ending"] += 1
        if len(paths) == before:
            empty.append(name)
    if empty:
        more = f" (and {plural(len(empty) - 1, 'more folder')})" if len(empty) > 1 else ""
        raise FileError(
            f"{folder / empty[0]}{more}: holds no image, a file that ends in {', '.join(IMG_EXTENSIONS)}; put the "
            "images of the class there, or, if it is no class, take the folder away"
        )
    return Listing(tuple(paths), tuple(labels), tuple(classes), tuple(_left_out(folder, hidden, others)))


def _walk(folder: str, hidden: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below one that is not hidden, with its files; add the names of hidden ones to `hidden`."""
    for root, names, files in os.walk(folder, followlinks=True):
        hidden += filter(_hidden, names)
        names[:] = [name for name in names if not _hidden(name)]
        yield root, files


def _left_out(folder: Path, hidden: list[str], others: Counter[str]) -> Iterator[str]:
    if hidden:
        verb = "is" if len(hidden) == 1 else "are"
        yield f"{folder}: {plural(len(hidden), 'hidden folder')} {verb} left out ({_some(sorted(set(hidden)))})"
    if others:
        what = "file is no image" if others.total() == 1 else "files are no images"
        yield f"{folder}: {others.total():,} {what} of a known ending ({_some(sorted(others))})"


def _some(names: list[str]) -> str:
    return ", ".join([*names[:MOST_SHOWN], *(["..."] if len(names) > MOST_SHOWN else [])])


def _hidden(name: str) -> bool:
    return name.startswith(".")
