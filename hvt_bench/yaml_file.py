"""Reading a YAML file a person wrote: safely, with the line of every key for the error messages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hvt_bench.errors import FileError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50

# 014 is octal and 1:30 is sixty times 1 plus 30
_SURPRISING = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-5]?[0-9])+(\.[0-9_]*)?)")

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlFile:
    """What a YAML file holds, and on which line each key and item stands."""

    path: Path
    data: dict[str, Any]
    lines: dict[Place, int]
    text: str = ""
    """The whole file, its line ends as they are."""
    spans: dict[Place, tuple[int, int]] = field(default_factory=dict)
    """Where in `text` each value begins and ends."""

    def error(self, place: Place, sentence: str) -> FileError:
        """Return an error that points at `place`, or at the nearest place above it that has a line."""
        while place and place not in self.lines:
            place = place[:-1]
        return FileError(f"{self.path}:{self.lines.get(place, 1)}: {sentence}")


def load_yaml(path: Path, empty: bool = False) -> YamlFile:
    """Read a YAML file that holds a mapping. Raises FileError, as `parse_yaml` does, and for what cannot be read."""
    return parse_yaml(path, _read(path), empty)


def parse_yaml(path: Path, text: str, empty: bool = False) -> YamlFile:
    """Read `text` as what the file at `path` holds: a mapping; or, if it may be `empty`, nothing.

    Raises FileError for what is no YAML, nests deeper than MAX_DEPTH, holds aliases or a key twice.
    """
    try:
        root = _Loader(path, text).get_single_node()
    except (ValueError, OverflowError):
        raise FileError(f"{path}: this is not YAML: it holds a character code that does not exist") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FileError(
            f"{path}:{line}: this is not YAML: unacceptable character #x{error.character:04x}: "
            "special characters are not allowed"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if "alias" in (getattr(error, "context", None) or ""):
            problem += "; text that begins with '*' needs quotes"
        raise FileError(f"{path}:{line}: this is not YAML: {problem}") from None
    if empty and (root is None or root.value == ""):
        return YamlFile(path, {}, {}, text)
    if root is None:
        raise FileError(f"{path}: the file is empty; sweeps/smoke.yaml shows what a small one looks like")
    lines: dict[Place, int] = {}
    spans: dict[Place, tuple[int, int]] = {}
    data = _value(path, root, (), lines, spans)
    if not isinstance(data, dict):
        raise FileError(f"{path}:1: expected 'key: value' lines, found a {type(data).__name__}")
    return YamlFile(path, data, lines, text, spans)


def _read(path: Path) -> str:
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            raise FileError(f"{path}: is a device, a pipe or a socket; name a YAML file")
        if path.stat().st_size > MAX_BYTES:
            raise FileError(f"{path}: larger than {MAX_BYTES:,} bytes; this cannot be a sweep or budget file")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise FileError(f"{path}: is a directory; name a YAML file in it") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: is not a text file; a sweep or budget file is YAML in UTF-8") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None


class _Loader(yaml.SafeLoader):
    """Composes what a person wrote, and refuses bombs before they are."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self._path = path
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node and what lies in it. Raises FileError."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise FileError(f"{self._path}:{line}: '*{event.anchor}': aliases are not accepted; write the value out")
        inside = isinstance(event, yaml.CollectionStartEvent)
        if inside and self._depth == MAX_DEPTH:
            raise FileError(f"{self._path}:{line}: nested deeper than {MAX_DEPTH} levels")
        self._depth += inside
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= inside
        return node


def _value(
    path: Path, node: yaml.Node, place: Place, lines: dict[Place, int], spans: dict[Place, tuple[int, int]]
) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    spans[place] = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.SequenceNode):
        return [_value(path, item, (*place, i), lines, spans) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _scalar(path, key_node)
            if not isinstance(key, str):
                raise FileError(f"{path}:{line}: the key {key!r} is no text; put it in quotes if it is meant")
            if key in mapping:
                first = lines[(*place, key)]
                raise FileError(f"{path}:{line}: the key '{key}' stands here twice, first on line {first}")
            lines[(*place, key)] = line
            mapping[key] = _value(path, value_node, (*place, key), lines, spans)
        return mapping
    value = _scalar(path, node)
    if not isinstance(value, str | int | float | None):
        line = node.start_mark.line + 1
        kind = type(value).__name__
        raise FileError(f"{path}:{line}: YAML reads '{node.value}' as a {kind}; put it in quotes if text is meant")
    return value


def _scalar(path: Path, node: yaml.Node) -> Any:
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node, deep=True)
    except Exception as error:  # PyYAML answers some wrong tags with KeyError, IndexError or AttributeError
        line = node.start_mark.line + 1
        problem = str(getattr(error, "problem", None) or error)
        raise FileError(f"{path}:{line}: '{str(node.value)[:60]}' cannot be read: {problem[:200]}") from None
    if surprise := surprising(node.value, value):
        raise FileError(f"{path}:{node.start_mark.line + 1}: {surprise}")
    return value


def surprising(text: Any, value: object) -> str | None:
    """Say so if YAML reads `text` as a number that few would; None if not."""
    if isinstance(value, int | float) and _SURPRISING.fullmatch(text):
        return f"YAML reads '{text}' as {value}; write {value}, or quotes"
    return None
