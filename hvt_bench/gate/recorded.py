"""What the modules of each model cost when its budget was last written: `budgets.modules.json` beside `budgets.yaml`.

It says which modules moved, and decides nothing. Equal modules are one line, so that a change reads well in a diff:
`"blocks.0-11.attn": [146000640, 591360, 454278]`, in the order of `columns`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hvt_bench.errors import FileError
from hvt_bench.gate.changes import COSTS, NOTHING, Cost, Modules
from hvt_bench.gate.paths import merged, spelt_out

MAX_BYTES = 20_000_000


def path_of(budgets: Path) -> Path:
    """Return where the record of a budgets file stands."""
    return budgets.with_suffix(".modules.json")


def read_record(path: Path) -> dict[str, dict[str, Cost]]:
    """Return what is recorded, by model and module; nothing where there is no file. Raises FileError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileError(f"{path}: larger than {MAX_BYTES:,} bytes; `hvt-bench check --update` writes it anew")
        told = json.loads(path.read_bytes())
        if told["columns"] != list(COSTS):
            raise ValueError("its columns are others")
        return {str(name): _modules(modules) for name, modules in told["models"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise FileError(f"{path}: is no record of modules ({what}); remove it, and --update writes it anew") from None


def _modules(told: Mapping[str, list[int]]) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for run, costs in told.items():
        if len(costs) != len(COSTS) or not all(type(cost) is int for cost in costs):
            raise ValueError(f"'{run}' does not have {len(COSTS)} whole numbers")
        macs, params, activations = costs
        found |= dict.fromkeys(spelt_out(run), (macs, params, activations))
    return found


def record_text(models: Mapping[str, Modules]) -> str:
    """Return the text of a record: a line for each module, or run of equal ones, that costs something."""
    lines = []
    for name, modules in models.items():
        told = merged({path: cost for path, cost in modules.items() if cost != NOTHING or not path})
        costs = ",\n".join(f"   {json.dumps(path)}: {json.dumps(list(cost))}" for path, cost in told.items())
        lines.append(f"  {json.dumps(name)}: {{\n{costs}\n  }}")
    inner = ",\n".join(lines)
    return f'{{\n "columns": {json.dumps(COSTS)},\n "models": {{\n{inner}\n }}\n}}\n'
