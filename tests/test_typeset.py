"""Tables as text: whole outputs."""

import csv
import io

import pytest

from hvt_bench.analysis.pick import Baseline, in_order, keep, parse_condition
from hvt_bench.errors import RequestError
from hvt_bench.row import COLUMNS, Row
from hvt_bench.typeset import FORMS, missing_ratios, not_whole, typeset, varying
from tests.rows import row

ROWS = [
    row(macs=2_402_020_608, latency_ms=12.3456, throughput_img_s=80.0),
    row(model="deit_small", macs=4_598_882_304, latency_ms=20.5, throughput_img_s=None),
    row(model="deit_tiny", macs=1_253_683_200, latency_ms=12.3456, throughput_img_s=79.25),
]
COLUMNS_SHOWN = ["model", "macs", "latency_ms", "throughput_img_s"]


def test_markdown_shows_the_columns_that_vary():
    rows = [
        Row({"model": "m", "status": "ok", "depth": 6, "macs": 2_402_020_608, "latency_ms": 1234.5, "in_chans": 3}),
        Row({"model": "m", "status": "ok", "depth": 12, "macs": 1_234_567, "latency_ms": 0.01234, "in_chans": 3}),
    ]
    assert typeset(rows) == (
        "| model | depth |    macs (G) | latency_ms |\n"
        "| ----- | ----: | ----------: | ---------: |\n"
        "| m     |     6 |      2.40   |   1234.5   |\n"
        "| m     |    12 | **0.00123** | **0.0123** |"
    )


def test_ratios_that_the_baseline_cannot_give_are_counted():
    failed = row(model="deit_small", macs=4_598_882_304, status="oom", point_id="failed")
    rows = [ROWS[0], failed, ROWS[2]]
    assert missing_ratios(rows, COLUMNS_SHOWN, Baseline(rows, "deit_small")) == [
        "4 ratios missing: deit_small has no latency_ms and no throughput_img_s above 0, its status is oom"
    ]
    assert missing_ratios(ROWS, ["macs", "latency_ms"], Baseline(ROWS, "deit_small")) == []


def test_markdown_says_why_a_row_is_not_ok():
    rows = [Row({"model": "m", "status": "oom", "error": "no | room\nat all"})]
    assert typeset(rows).splitlines()[-1] == "| m     | oom    | no \\| room at all |"


def test_the_best_are_bold_and_ratios_stand_behind():
    base = Baseline(ROWS, "deit_small")
    assert (
        typeset(ROWS, "markdown", COLUMNS_SHOWN, base)
        == """\
| model      | macs (G) | macs / deit_small | latency_ms | latency_ms / deit_small | throughput_img_s | throughput_img_s / deit_small |
| ---------- | -------: | ----------------: | ---------: | ----------------------: | ---------------: | ----------------------------: |
| hvt_s_1    |   2.40   |             x0.52 |   **12.3** |                   x0.60 |         **80.0** |                               |
| deit_small |   4.60   |             x1.00 |     20.5   |                   x1.00 |                  |                               |
| deit_tiny  | **1.25** |             x0.27 |   **12.3** |                   x0.60 |           79.2   |                               |"""  # noqa: E501
    )


def test_latex():
    assert (
        typeset(ROWS, "latex", ["model", "macs", "latency_ms", "params"], Baseline(ROWS, "deit_small"))
        == r"""% needs \usepackage{booktabs}
\begin{tabular}{lrrrrrr}
\toprule
model & MACs (G) & MACs / deit\_small & latency (ms) & latency / deit\_small & parameters (M) & parameters / deit\_small \\
\midrule
hvt\_s\_1 & 2.40 & $\times$0.52 & \textbf{12.3} & $\times$0.60 &  &  \\
deit\_small & 4.60 & $\times$1.00 & 20.5 & $\times$1.00 &  &  \\
deit\_tiny & \textbf{1.25} & $\times$0.27 & \textbf{12.3} & $\times$0.60 &  &  \\
\bottomrule
\end{tabular}"""  # noqa: E501
    )


def test_html():
    assert (
        typeset(ROWS[:2], "html", ["model", "macs"], Baseline(ROWS, "deit_small"))
        == """\
<style>.number { text-align: right; font-variant-numeric: tabular-nums }</style>
<table>
<thead>
<tr><th scope="col">model</th><th scope="col" class="number">MACs (G)</th><th scope="col" class="number">MACs / deit_small</th></tr>
</thead>
<tbody>
<tr><td>hvt_s_1</td><td class="number"><strong>2.40</strong></td><td class="number">×0.52</td></tr>
<tr><td>deit_small</td><td class="number">4.60</td><td class="number">×1.00</td></tr>
</tbody>
</table>"""  # noqa: E501
    )


def test_csv_has_every_digit():
    base = Baseline(ROWS, "deit_small")
    assert typeset(ROWS, "csv", COLUMNS_SHOWN, base).splitlines() == [
        "model,macs,macs_ratio,latency_ms,latency_ms_ratio,throughput_img_s,throughput_img_s_ratio",
        "hvt_s_1,2402020608,0.522305,12.3456,0.602224,80,",
        "deit_small,4598882304,1,20.5,1,,",
        "deit_tiny,1253683200,0.272606,12.3456,0.602224,79.25,",
    ]


NASTY = r"""a & b % $x_1$ #{}~^\ <b>"bold"</b> | 'q', z"""


def test_what_a_format_would_read_as_its_own_is_escaped():
    rows = [row(model=NASTY)]
    assert typeset(rows, "latex", ["model"]).splitlines()[5] == (
        r"a \& b \% \$x\_1\$ \#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{} "
        r"""\textless{}b\textgreater{}"bold"\textless{}/b\textgreater{} \textbar{} 'q', z \\"""
    )
    html = typeset(rows, "html", ["model"])
    assert "&lt;b&gt;&quot;bold&quot;&lt;/b&gt; | &#x27;q&#x27;" in html
    assert "<b>" not in html
    assert "\\|" in typeset(rows, "markdown", ["model"])
    assert next(csv.reader(io.StringIO(typeset(rows, "csv", ["model"]).splitlines()[1]))) == [NASTY]


def test_the_baseline_is_escaped_too():
    rows = [row(model="<i>&_")]
    assert "&lt;i&gt;&amp;_" in typeset(rows, "html", ["macs"], Baseline(rows, "<i>&_"))
    assert r"\textless{}i\textgreater{}\&\_" in typeset(rows, "latex", ["macs"], Baseline(rows, "<i>&_"))


@pytest.mark.parametrize("form", FORMS)
def test_every_column_can_be_shown_and_no_rows_are_a_table_too(form):
    text = typeset([*ROWS, row(seq_lens=(196, 97), warnings=("noisy",), compile=True)], form, list(COLUMNS))
    assert "196 97" in text
    assert "true" in text
    assert typeset([], form, ["model", "macs"], None)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((29.94, 131.1), ("29.9", "131.1")),
        ((5.0, 0.0512), ("5.0000", "0.0512")),
        ((2500.0, 12345.6), ("2500", "12346")),
        ((0.0123, 1234.56), ("0.0123", "1234.56")),
        ((3.63e10, 4.4e10), ("3.63e+10", "4.4e+10")),
        ((0.0, 1.5), ("0.00", "1.50")),
    ],
)
def test_numbers_of_one_column_have_digits_in_common(values, texts):
    rows = [row(latency_spread_pct=value) for value in values]
    assert (
        tuple(
            typeset(rows, "html", ["latency_spread_pct"]).split('<td class="number">')[n].split("<")[0] for n in (1, 2)
        )
        == texts
    )


def test_nothing_is_best_where_all_are_alike_or_no_value_is():
    alike = [row(macs=5, depth=6), row(macs=5, depth=12)]
    assert "**" not in typeset(alike, "markdown", ["macs", "depth"])
    assert "**" not in typeset([row(depth=6), row(depth=12)], "markdown", ["depth"])


def test_a_best_is_declared_where_the_column_is():
    low = {name for name, column in COLUMNS.items() if column.best == "low"}
    assert {"macs", "latency_ms", "peak_memory_mib", "energy_mj_per_img"} <= low
    assert {name for name, column in COLUMNS.items() if column.best == "high"} >= {"throughput_img_s", "macs_per_s"}
    assert COLUMNS["params"].best == COLUMNS["depth"].best == ""


def test_labels_leave_the_unit_to_the_unit():
    assert (COLUMNS["device_latency_ms"].label, COLUMNS["latency_ms_p95"].label) == ("device latency", "latency p95")
    assert COLUMNS["stable_pct"].label == "stable"


def test_columns_that_vary():
    assert varying(ROWS) == COLUMNS_SHOWN


@pytest.mark.parametrize(
    ("form", "columns", "sentence"),
    [
        ("word", [], "--format: unknown format 'word'; known: csv, html, latex, markdown"),
        ("csv", ["macs", "mac"], "--columns: unknown column 'mac'; did you mean 'macs'?"),
    ],
)
def test_what_cannot_be_typeset_is_a_sentence(form, columns, sentence):
    with pytest.raises(RequestError) as caught:
        typeset(ROWS, form, columns)
    assert str(caught.value) == sentence


# --- accuracy ---------------------------------------------------------------------------------------------------------

VIT = row(model="vit", macs=4_000_000_000, top1=82.766, top1_spread=0.406, top5=99.0, data="digits", recipe="small")
TRAINED = [
    Row({**VIT, "model": "hvt", "macs": 2_000_000_000, "top1": 84.464, "top1_spread": 0.286}),
    VIT,
    Row({**VIT, "model": "once", "top1": 80.0, "top1_spread": None}),
    Row({**VIT, "model": "elsewhere", "top1": 90.0, "data": "cifar10"}),
]


def test_top1_has_its_spread_behind_it_and_differs_from_the_baseline_by_points():
    assert typeset(TRAINED, "markdown", ["model", "macs", "top1"], Baseline(TRAINED, "vit")) == (
        "| model     | macs (G) | macs / vit |         top1 | top1 - vit |\n"
        "| --------- | -------: | ---------: | -----------: | ---------: |\n"
        "| hvt       | **2.00** |      x0.50 | 84.46 ± 0.29 |      +1.70 |\n"
        "| vit       |   4.00   |      x1.00 | 82.77 ± 0.41 |      +0.00 |\n"
        "| once      |   4.00   |      x1.00 |        80.00 |      -2.77 |\n"
        "| elsewhere |   4.00   |      x1.00 | 90.00 ± 0.41 |            |"
    )
    assert "**84.46 ± 0.29**" in typeset(TRAINED[:3], "markdown", ["top1"])  # the best of what compares
    assert missing_ratios(TRAINED, ["macs", "top1"], Baseline(TRAINED, "vit")) == [
        "1 difference of top1 missing: vit was trained on other data or by another recipe"
    ]


def test_an_accuracy_of_some_of_the_trainings_is_neither_the_best_nor_compared():
    rows = [Row({**VIT, "model": "lost", "top1": 90.0, "status": "error"}), *TRAINED[:2]]
    columns = ["model", "top1"]
    assert typeset(rows, "markdown", columns, Baseline(rows, "vit")).splitlines()[2:4] == [
        "| lost  |   90.00 ± 0.41   |            |",
        "| hvt   | **84.46 ± 0.29** |      +1.70 |",
    ]
    said = (
        "1 row (lost) of which not every training ended well: top1 of the others alone, so never the best nor compared"
    )
    assert not_whole(rows, columns) == [said]
    assert not_whole(rows, ["model", "macs"]) == not_whole(rows[1:], columns) == []


def test_a_spread_with_a_column_of_its_own_is_not_repeated():
    assert "±" not in typeset(TRAINED, "markdown", ["model", "top1", "top1_spread"])
    assert "82.77 $\\pm$ 0.41" in typeset(TRAINED, "latex", ["top1"])


def test_csv_has_every_digit_of_a_difference():
    table = list(csv.DictReader(io.StringIO(typeset(TRAINED, "csv", ["model", "top1"], Baseline(TRAINED, "vit")))))
    assert table[0] == {"model": "hvt", "top1": "84.464", "top1_difference": "1.698"}
    assert table[3]["top1_difference"] == ""


def test_rows_are_sorted_and_kept_by_top1():
    kept = in_order(keep(TRAINED, [parse_condition("top1>80"), parse_condition("data=digits")]), ["top1"])
    assert [found["model"] for found in kept] == ["hvt", "vit"]
