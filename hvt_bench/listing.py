"""What there is: the texts of `hvt-bench list`."""

from __future__ import annotations

from tabulate import tabulate

from hvt_bench.metrics import METRICS
from hvt_bench.models import FAMILIES, VARIANTS, make_config, yaml_text
from hvt_bench.records import columns_of
from hvt_bench.row import COLUMNS


def variants() -> str:
    """Return every variant: its family, the fields it gives, MACs of one image."""
    rows = []
    for name, (family, fields) in VARIANTS.items():
        macs = make_config(name, {}).closed_form_macs()
        given = " ".join(f"{key}={yaml_text(value)}" for key, value in fields.items())
        rows.append([name, family, f"{macs / 1e9:.2f}" if macs else "", given])
    return _table(rows, ["variant", "family", "GMACs", "fields"], "llrl")


def families() -> str:
    """Return every family and the fields of its config with their defaults."""
    texts = []
    for name, config_class in FAMILIES.items():
        columns = columns_of(config_class)
        defaults = {key: field.default for key, field in config_class.model_fields.items()}
        rows = [
            [key, "" if defaults[key] is None else yaml_text(defaults[key]), column.doc]
            for key, column in columns.items()
        ]
        texts.append(f"{name}\n{_table(rows, ['field', 'default', 'meaning'], 'lll')}")
    return "\n\n".join(texts)


def metrics() -> str:
    """Return every metric, in measuring order, and the columns it fills."""
    rows = [[name, " ".join(columns_of(metric))] for name, metric in METRICS.items()]
    return _table(rows, ["metric", "columns"], "ll")


def figures() -> str:
    """Return every figure and what it shows."""
    from hvt_bench.plots import FIGURES

    return _table([[name, figure.doc] for name, figure in FIGURES.items()], ["figure", "shows"], "ll")


def columns() -> str:
    """Return every column of the CSV, its unit and its meaning."""
    rows = [[name, column.unit, column.doc] for name, column in COLUMNS.items()]
    return _table(rows, ["column", "unit", "meaning"], "lll")


def _table(rows: list[list[str]], header: list[str], aligned: str) -> str:
    alignment = [{"l": "left", "r": "right"}[letter] for letter in aligned]
    return tabulate(rows, header, tablefmt="simple", colalign=alignment, disable_numparse=True)
