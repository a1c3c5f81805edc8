"""README is true: its commands run, their output is what it shows, nothing public goes unmentioned."""

import re
import shlex
import shutil
import statistics

import pytest

from hvt_bench.analysis.savings import usual_baseline
from hvt_bench.cli import app, main
from hvt_bench.metrics.complexity import count
from hvt_bench.models import FAMILIES, make_config
from hvt_bench.report.findings import find
from hvt_bench.row import COLUMNS
from hvt_bench.table import read_table
from tests import test_accuracy_judge
from tests.test_judge import normal, shares

LONG_SWEEP = "sweeps/scaling.yaml"  # in its place, the docs test runs sweeps/smoke.yaml
EXAMPLE = "reports/examples/scaling_cpu/run.csv"
TRAININGS = "reports/examples/accuracy/run.csv"


@pytest.fixture(scope="module")
def readme(repository):
    return (repository / "README.md").read_text()


def commands_of(readme):
    """(command, shown output) of every `$ hvt-bench` line in a console block."""
    for block in re.findall(r"```console\n(.*?)```", readme, flags=re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            yield command, output.strip("\n")


def without_the_gate(readme):
    """README without the section that has a repository of its own (test_gate_user)."""
    return re.sub(r"## Guard your model in five minutes\n.*?\n### ", "### ", readme, flags=re.S)


def without_times(text):
    """`text` with a # for each decimal number, and none of the space that numbers of other lengths would take."""
    return re.sub(r" {2,}", " ", re.sub(r"-{2,}", "-", re.sub(r"\d[\d,]*\.\d+", "#", text)))


def matches(shown, printed):
    """Whether `printed` is `shown`, in which a line `...` stands for any lines."""
    pieces = [re.escape(piece.strip("\n")) for piece in re.split(r"^\.\.\.$", shown, flags=re.M)]
    return re.fullmatch(r"(?s)\n*" + r".*?".join(pieces) + r"\n*", printed.strip("\n")) is not None


def test_the_commands_of_readme_run_and_print_what_it_shows(readme, repository, tmp_path, monkeypatch, capsys):
    shutil.copytree(repository / "sweeps", tmp_path / "sweeps")
    shutil.copytree(repository / "reports" / "examples", tmp_path / "reports" / "examples")
    shutil.copy(repository / EXAMPLE, tmp_path / "reports" / "run.csv")
    monkeypatch.chdir(tmp_path)
    seen = []
    for command, shown in commands_of(without_the_gate(readme)):
        program, *arguments = shlex.split(command, comments=True)
        if program != "hvt-bench":
            continue
        seen.append(arguments[0])
        if arguments[0] == "sweep":
            continue  # test_sweeps_of_readme_exist and the slow tests of test_cli run sweeps
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        if "--time" in arguments:
            shown, printed = without_times(shown), printed._replace(out=without_times(printed.out))
        assert matches(shown, printed.out), f"$ {command}\nREADME shows\n{shown}\nit prints\n{printed.out}"
    assert {"sweep", "plot", "check", "show", "compare", "table", "fit", "match"} <= set(seen)


def test_what_readme_shows_of_the_sweep_is_the_committed_run(readme, repository):
    shown = dict(commands_of(readme))[f"hvt-bench sweep {LONG_SWEEP}"]
    rows = read_table(repository / EXAMPLE)
    assert shown.splitlines()[-1] == f"wrote reports/run.csv: {len(rows)} rows, {len(rows)} ok, 0 invalid"
    assert all(row["status"] == "ok" for row in rows)


def test_what_readme_says_of_the_committed_run_is_in_it(readme, repository):
    rows = read_table(repository / EXAMPLE)
    centres = {row["model"]: row for row in rows if row["axis"] is None}
    hvt, deit = centres["hvt_s_1"], centres["deit_small"]
    spreads = [row["latency_spread_pct"] for row in rows]
    sentence = (
        f"HVT-S-1 costs {hvt['macs'] / deit['macs']:.2f} x the MACs of DeiT-S and took "
        f"{hvt['latency_ms'] / deit['latency_ms']:.2f} x its time, with rounds of one point up to "
        f"{max(spreads):.0f} % apart, half of the points less than {statistics.median(spreads):.0f} %."
    )
    assert sentence in " ".join(readme.split())


def test_the_finding_that_readme_shows_is_what_the_report_finds(readme, repository):
    rows = read_table(repository / EXAMPLE)
    first, *_ = find(rows, None, usual_baseline(rows))
    assert f'"{first.text}" It is marked `Unsure`' in " ".join(readme.split())
    assert not first.sure


def test_what_readme_says_of_scripted_noise_is_so(readme):
    one, slower, two, two_slower = (
        shares(normal, percent, percent, factor) for percent in (1.0, 2.0) for factor in (1.0, 1.05)
    )
    sentence = (
        f"With 1 % of noise between rounds (standard deviation), of 2,000 scripted pairs of 5 rounds {_false(one)} "
        f"of unchanged points were called `FASTER` or `SLOWER` and {_share(one, 'UNSURE')} `UNSURE`; 5 % of added time "
        f"was found in {_share(slower, 'SLOWER')}. With 2 % of noise: {_false(two)}, {_share(two, 'UNSURE')}, "
        f"{_share(two_slower, 'SLOWER')}."
    )
    assert sentence in " ".join(readme.split())


def test_what_readme_says_of_scripted_seeds_is_so(readme):
    none, twice, thrice = (test_accuracy_judge.shares(shift) for shift in (0.0, 2.0, 3.0))
    called = 100 * (none["supported"] + none["contradicted"]) / none.total()
    sentence = (
        f"Of {none.total():,} scripted pairs of five seeds without a difference, {called:.1f} % were called "
        "`supported` or `contradicted`. A difference of twice the standard deviation between seeds was found in "
        f"{_share(twice, 'supported')}, of three times in {_share(thrice, 'supported')}."
    )
    assert sentence in " ".join(readme.split())


def test_readme_shows_the_claims_of_the_committed_trainings(readme):
    """Its output is held to what is printed by the test of all commands."""
    assert f"hvt-bench reproduce --claims {TRAININGS}" in dict(commands_of(readme))


def _false(found):
    return _share(found, "FASTER", "SLOWER")


def _share(found, *verdicts):
    return f"{100 * sum(found[verdict] for verdict in verdicts) / found.total():.0f} %"


FIGURES_OF = {
    EXAMPLE: ["scaling", "speedup", "tokens", "breakdown", "roofline"],
    "reports/examples/neighbours/run.csv": ["scaling"],
    TRAININGS: ["accuracy"],
}


@pytest.mark.parametrize("example", FIGURES_OF)
def test_the_committed_figures_are_drawn_from_the_committed_run(repository, tmp_path, example):
    """By the shapes of lines and bars and their words: where these stand depends on the version of matplotlib."""
    from hvt_bench.plots import save_figures

    rows = read_table(repository / example)
    for path in save_figures(rows, tmp_path / "run.csv", FIGURES_OF[example], ["svg"]).paths:
        drawn, committed = path.read_text(), (repository / example).with_name(path.name).read_text()
        assert _words(drawn) == _words(committed), path.name
        assert _shapes(drawn) == pytest.approx(_shapes(committed), abs=0.01), path.name


def test_every_figure_in_readme_is_held_to_its_data(readme, repository):
    shown = set(re.findall(r"\]\((reports/examples/[^)]*)\.png\)", readme))
    assert shown == {path.removesuffix(".csv") + f".{name}" for path, names in FIGURES_OF.items() for name in names}
    assert all((repository / f"{path}.{suffix}").exists() for path in shown for suffix in ("png", "svg"))


def test_every_figure_is_explained_in_readme(readme):
    from hvt_bench.plots import FIGURES

    assert re.findall(r"^\| `(\w+)` \| ", readme.partition("| figure | |")[2].partition("\n\n")[0], flags=re.M) == list(
        FIGURES
    )


def test_what_readme_says_of_the_saving_is_in_the_committed_run(readme, repository):
    from hvt_bench.analysis.savings import pairs

    (pair,) = (pair for pair in pairs(read_table(repository / EXAMPLE), "deit_small") if pair.row["axis"] is None)
    assert f"HVT-S-1 realised {100 * pair.realised:.0f} % of its saving in this run." in " ".join(readme.split())


def test_the_page_of_the_committed_run_is_as_large_as_readme_says(readme, repository, tmp_path):
    from hvt_bench.report import write_report

    size = write_report(repository / EXAMPLE, tmp_path / "page.html").stat().st_size
    assert f"The run above makes {size / 1e6:.1f} MB." in " ".join(readme.split())


def _words(svg):
    return sorted(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


def _shapes(svg):
    """Coordinates of the lines through the data, each line stretched over a unit square."""
    found = []
    for line in re.findall(r'<path d="([^"]*)" clip-path', svg):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", line)]
        for along in (numbers[0::2], numbers[1::2]):
            low, high = min(along), max(along)
            found += [(value - low) / (high - low) if high - low > 1 else 0.0 for value in along]
    return found


def test_every_command_is_in_readme(readme):
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        assert f"hvt-bench {name}" in readme, name


def test_every_column_is_in_readme(readme):
    for name in COLUMNS:
        assert f"`{name}`" in readme, name


def test_every_file_that_readme_names_is_there(readme, repository):
    named = set(re.findall(r"(?:\]\(|`)((?:hvt_bench|sweeps|tests|reports|\.ci|\.github)/[\w./-]+)[)`]", readme))
    assert named
    made_by_a_run = {"reports/run.csv", "reports/run.journal.jsonl", "reports/run.slurm/", "reports/gpu.zip"}
    assert [name for name in sorted(named - made_by_a_run) if not (repository / name).exists()] == []


def test_every_sweep_file_says_how_to_run_it_and_what_must_come_out(repository):
    for path in (repository / "sweeps").glob("*.yaml"):
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert any(line.startswith("# hvt-bench ") and f"sweeps/{path.name}" in line for line in head), path.name
        assert any(line.startswith("# Expect: ") for line in head), path.name


def test_the_committed_run_counts_what_this_code_counts(repository):
    neighbours = read_table(repository / "reports/examples/neighbours/run.csv")
    for row in (*read_table(repository / EXAMPLE), *(row for row in neighbours if row["axis"] is None)):
        family = row["family"]
        fields = {name: row[name] for name in FAMILIES[family].model_fields if row[name] is not None}
        counted = count(make_config(family, fields))
        assert (row["macs"], row["params"]) == (counted.macs, counted.params), row["point_id"]


def test_numbers_of_the_table_in_readme_are_counted(readme):
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ([\d.]+) \| ([\d,]+) \|", readme, flags=re.M)
    assert len(rows) >= 9
    for name, macs, printed, params in rows:
        counted = count(name)
        assert f"{counted.macs:,}" == macs
        assert f"{counted.params:,}" == params
        digits = len(printed.partition(".")[2])
        assert f"{counted.macs / 1e9:.{digits}f}" == printed
