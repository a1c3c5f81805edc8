"""What one network is and costs, as text: its fields, tokens and MACs per block, totals."""

from __future__ import annotations

from collections.abc import Mapping

from tabulate import tabulate

from hvt_bench.metrics.complexity import ModuleCost, breakdown
from hvt_bench.models import yaml_text
from hvt_bench.models.config import ModelConfig


def describe(name: str, config: ModelConfig) -> str:
    """Return the text of `hvt-bench show`. Raises CountError where the cost is not certain."""
    counted = breakdown(config)
    total = counted.total
    fields = {key: value for key in type(config).model_fields if (value := getattr(config, key)) is not None}
    lens = {f"blocks.{block}": tokens for block, tokens in enumerate(total.seq_lens or ())}
    rows = [
        [
            module,
            lens.get(module, ""),
            f"{cost.macs:,}",
            f"{100 * cost.macs / total.macs:.1f}",
            f"{cost.params:,}",
        ]
        for module, cost in _parts(counted.modules).items()
    ]
    rows.append(["total", "", f"{total.macs:,}", "100.0", f"{total.params:,}"])
    table = tabulate(
        rows,
        headers=["module", "tokens", "MACs", "%", "params"],
        tablefmt="simple",
        colalign=("left", "right", "right", "right", "right"),
        disable_numparse=True,
    )
    return "\n".join(
        [
            f"{name} (family {config.family})",
            "  ".join(f"{key}={yaml_text(value)}" for key, value in fields.items()),
            "",
            table,
            "",
            f"macs          {total.macs:,} ({total.macs / 1e9:.2f} G multiply-adds of one image)",
            f"fvcore_flops  {total.fvcore_flops:,}" if total.fvcore_flops is not None else "fvcore_flops  unknown",
            f"activations   {total.activations:,}",
            f"params        {total.params:,} ({total.params / 1e6:.2f} M)",
        ]
    )


def _parts(modules: Mapping[str, ModuleCost]) -> dict[str, ModuleCost]:
    """Return the parts of a network in order: its children, the blocks each on a line of its own.

    What a network holds itself, its position table say, is the part `(its own)`.
    """
    children = [name for name in modules if name and "." not in name]
    names = [
        part
        for child in children
        for part in (
            [name for name in modules if name.startswith(f"{child}.") and name.count(".") == 1]
            if child == "blocks"
            else [child]
        )
    ]
    parts = {name: modules[name] for name in names}
    rest = {
        key: getattr(modules[""], key) - sum(getattr(part, key) for part in parts.values())
        for key in ("params", "macs", "activations")
    }
    return {"(its own)": ModuleCost(**rest), **parts} if any(rest.values()) else parts
