"""Counts models in the checkout of another revision; run as a file of its own, by `revision.count_at`.

hvt_bench itself may be of that revision too, where it is the repository that is guarded: so nothing is imported from it
but what has long been there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Read what to count from stdin, and write what was found to the file `answer`."""
    asked = json.load(sys.stdin)
    sys.path[:0] = asked["paths"]
    sys.path.append(asked["library"])
    told = {name: _count(spec, asked["executed"]) for name, spec in asked["models"].items()}
    _refuse_code_of_now(Path(asked["top"]), Path(asked["tree"]))
    Path(asked["answer"]).write_text(json.dumps(told))


def _count(spec: Any, executed: bool) -> dict[str, Any]:
    from hvt_bench.errors import ConfigError, FieldError, HvtBenchError
    from hvt_bench.metrics.complexity import breakdown
    from hvt_bench.models import parse_model

    try:
        config = parse_model(spec)
        config.prepare()
    except ConfigError as error:  # code that raises while it is imported is there, and broken
        return {"new": error.__cause__ is None, "error": str(error)}
    try:
        counted = breakdown(config, executed=executed)
    except HvtBenchError as error:
        return {"new": isinstance(error, FieldError), "error": str(error)}
    return {"modules": {path: (c.macs, c.params, c.activations) for path, c in counted.modules.items()}}


def _refuse_code_of_now(top: Path, tree: Path) -> None:
    """Exit with a sentence if a module came from the working tree, though the revision has that file, too."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            continue
        path = Path(file).resolve()
        if path == Path(__file__).resolve() or path.is_relative_to(tree) or not path.is_relative_to(top):
            continue
        if (tree / path.relative_to(top)).exists():
            sys.exit(f"module '{name}' was loaded from {path}, and not as the revision has it; is it installed?")


if __name__ == "__main__":
    main()
