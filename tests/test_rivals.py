"""Networks of equal cost, measured beside their target: what is measured, how it is judged, ranked and said."""

import csv
import io
import json

import pytest

from hvt_bench.analysis.match import match
from hvt_bench.errors import HvtBenchError, RequestError
from hvt_bench.executors import make_executor
from hvt_bench.point import InvalidCell
from hvt_bench.rivals import judge_contest, parse_protocol, plan_contest
from hvt_bench.rivals.render import render_contest
from hvt_bench.row import Row
from hvt_bench.run import Finished, run_sweep
from tests.conftest import describe, fake_measure
from tests.rows import STEADY

SMALL = "deit_tiny:img_size=32,depth=2,num_classes=10"
PROTOCOL = {"device": "cpu", "num_threads": 1}


@pytest.fixture(scope="module")
def found():
    return match(SMALL, "hvt", [], ["embed_dim=192,256", "pool_stages=0,1"], 30)


@pytest.fixture(scope="module")
def plan(found):
    return plan_contest(found, ["latency", "memory"], parse_protocol([], **PROTOCOL), 10)


def rows_of(plan, **times):
    """Rows as a sweep would find them; `times` are those of each network, by its width and stages, over STEADY."""
    return [row_of(cell, 1.0 if cell is plan.target else times[key_of(cell)]) for cell in plan.sweep.cells]


def key_of(cell):
    return f"w{cell.config.embed_dim}_{cell.config.pool_stages}"


def row_of(cell, factor, **changes):
    rounds = tuple(factor * ms for ms in STEADY)
    measured = {"latency_ms_rounds": rounds, "latency_ms": rounds[0], "peak_memory_mib": 20 * factor, "macs": 10**7}
    return Row({**cell.columns(), "device_name": "Test CPU", "status": "ok", **measured, **changes})


def test_the_target_and_the_designs_within_the_tolerance_are_measured_once_each(plan):
    assert [key_of(cell) for _, _, cell in plan.entries] == ["w256_1", "w192_0"]
    assert plan.sweep.metrics == ("complexity", "memory", "latency")
    assert plan.sweep.cells[0].config == plan.found.target.config
    assert {cell.rounds for cell in plan.sweep.points} == {5}
    kinds = {key_of(cell): kinds for _, kinds, cell in plan.entries}
    assert "pool_stages alone" in kinds["w192_0"]
    assert any(kind.startswith("joint ") for kind in kinds["w192_0"])


def test_rivals_are_ranked_by_measured_time_and_judged_by_rounds(plan):
    contest = judge_contest(plan, rows_of(plan, w192_0=1.1, w256_1=0.5))
    assert [key_of_rival(rival) for rival in contest.rivals] == ["w256_1", "w192_0"]
    assert [rival.found.verdict for rival in contest.rivals] == ["FASTER", "SAME"]  # within 30 % is equal
    assert contest.rivals[0].ratios == {"latency": pytest.approx(0.5), "memory": pytest.approx(0.5)}


def key_of_rival(rival):
    return f"w{rival.match.config.embed_dim}_{rival.match.config.pool_stages}"


def test_noise_is_unsure(plan):
    rows = rows_of(plan, w192_0=1.0, w256_1=1.0)
    noisy = Row({**rows[1], "latency_ms_rounds": (10.0, 20.0, 30.0, 12.0, 9.0)})
    contest = judge_contest(plan, [rows[0], noisy, rows[2]])
    verdicts = {rival.row["point_id"]: rival.found.verdict for rival in contest.rivals}
    assert verdicts[noisy["point_id"]] == "UNSURE"
    assert verdicts[rows[2]["point_id"]] == "SAME"


def test_one_round_is_unsure_and_says_so(plan):
    rows = [Row({**row, "latency_ms_rounds": (10.0,)}) for row in rows_of(plan, w192_0=1.0, w256_1=1.0)]
    contest = judge_contest(plan, rows)
    assert [rival.found for rival in contest.rivals] == [None, None]
    assert "UNSURE" in render_contest(contest)


def test_a_network_that_failed_comes_last_with_its_reason(plan):
    rows = rows_of(plan, w192_0=1.0, w256_1=1.0)
    failed = Row({**rows[1], "status": "oom", "error": "out of memory", "latency_ms_rounds": None, "latency_ms": None})
    contest = judge_contest(plan, [rows[0], failed, rows[2]])
    assert contest.rivals[-1].row is failed
    assert contest.rivals[-1].ratios == {"latency": None, "memory": None}
    assert f"oom        {failed['model']}: out of memory" in render_contest(contest)


def test_a_target_that_failed_is_a_failure(plan):
    target, *others = rows_of(plan, w192_0=1.0, w256_1=1.0)
    broken = Row({**target, "status": "timeout", "error": "took too long"})
    with pytest.raises(HvtBenchError, match=r"was not measured \(timeout: took too long\)"):
        judge_contest(plan, [broken, *others])


def test_by_memory_alone_there_is_no_verdict(found):
    plan = plan_contest(found, ["memory"], parse_protocol([], **PROTOCOL), 10)
    contest = judge_contest(plan, rows_of(plan, w192_0=2.0, w256_1=0.5))
    assert [rival.ratios["memory"] for rival in contest.rivals] == [0.5, 2.0]
    assert [rival.found for rival in contest.rivals] == [None, None]
    assert "verdict" not in render_contest(contest)


def test_a_network_that_cannot_be_measured_so_is_listed():
    """Talking heads have no fused attention."""
    found = match(SMALL, "patchdiv", [], ["depth=2", "talking_heads=true,false"], 40)
    plan = plan_contest(found, ["latency"], parse_protocol(["attention=sdpa"], **PROTOCOL), 10)
    (invalid,) = (cell for _, _, cell in plan.entries if isinstance(cell, InvalidCell))
    rows = [
        Row(cell.columns()) if cell is invalid else row_of(cell, 1.0)
        for cell in (plan.target, *(cell for _, _, cell in plan.entries))
    ]
    assert judge_contest(plan, rows).rivals[-1].row["status"] == "invalid"


def test_a_sweep_measures_them(plan, tmp_path):
    """The same rounds as of any sweep, through an executor; only the clock is left out."""
    events = run_sweep(plan.sweep, make_executor("inline"), tmp_path / "match.csv", fake_measure, describe=describe)
    (rows,) = (event.rows for event in events if isinstance(event, Finished))
    contest = judge_contest(plan, rows)
    assert contest.target["macs"] == plan.found.target.macs
    assert {rival.found.verdict for rival in contest.rivals} == {"SAME"}
    assert {len(rival.row["latency_ms_rounds"]) for rival in contest.rivals} == {5}


def test_the_table(plan):
    text = render_contest(judge_contest(plan, rows_of(plan, w192_0=1.1, w256_1=0.5)))
    table, remarks = text.split("\n\n")
    header, _, target, first, second = (line.split() for line in table.splitlines())
    assert header[:4] == ["what", "model", "embed_dim", "pool_stages"]
    assert target[:2] == ["target", SMALL]
    assert "256 x1.33" in table
    assert first[-5:] == ["to", "0.505", "FASTER", "10.0", "0.500"]
    assert second[-3:] == ["SAME", "22.0", "1.100"]
    assert remarks.splitlines()[0] == (
        "measured   Test CPU, float32, batch_size 1, infer, sdpa, num_threads 1; rounds of all "
        "networks in turns, each in a process of its own"
    )


def test_csv_and_json_hold_the_same(plan):
    contest = judge_contest(plan, rows_of(plan, w192_0=1.1, w256_1=0.5))
    records = list(csv.DictReader(io.StringIO(render_contest(contest, "csv"))))
    said = json.loads(render_contest(contest, "json"))
    assert [record["model"] for record in records] == [rival["model"] for rival in said["rivals"]]
    assert [record["verdict"] for record in records] == ["FASTER", "SAME"]
    assert said["rivals"][0]["latency_ms_ratio"] == pytest.approx(0.5)
    assert said["rivals"][0]["embed_dim_ratio"] == pytest.approx(256 / 192)
    assert [record["pool_stages_ratio"] for record in records] == ["", ""]  # the target has none
    assert said["ranked_by"] == "latency_ms"


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        (["round=3"], "--protocol: unknown key 'round'; did you mean 'rounds'"),
        (["max_batch=true"], "--protocol: unknown key 'max_batch'; known: attention, "),
        (["rounds=0"], "--protocol: rounds: 0 does not fit: should be greater than or equal to 1"),
        (["device=cuda:99"], "device 'cuda:99': PyTorch finds "),
    ],
)
def test_a_protocol_that_cannot_be_is_a_sentence(protocol, sentence):
    with pytest.raises(RequestError) as caught:
        parse_protocol(protocol)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("measured", "limit", "sentence"),
    [
        (["energy"], 10, "--measure: unknown metric 'energy'; known: latency, memory"),
        (["latency"], 0, "--limit 0: give 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(found, measured, limit, sentence):
    with pytest.raises(RequestError) as caught:
        plan_contest(found, measured, parse_protocol([], **PROTOCOL), limit)
    assert str(caught.value) == sentence


def test_without_a_design_there_is_nothing_to_measure():
    nothing = match(SMALL, "hvt", [], ["embed_dim=384"], 1)
    with pytest.raises(
        RequestError, match=r"^no design is within 1 % of deit_tiny.*; raise --tolerance, or vary more$"
    ):
        plan_contest(nothing, ["latency"], parse_protocol([], **PROTOCOL), 10)


def test_another_format_is_a_sentence(plan):
    with pytest.raises(RequestError, match=r"^--format: unknown format 'xml'"):
        render_contest(judge_contest(plan, rows_of(plan, w192_0=1.0, w256_1=1.0)), "xml")
