"""A sweep file that someone broke gives a plan or a sentence, never a traceback."""

import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvt_bench.errors import RequestError
from hvt_bench.sweep import load_sweep

MUTATIONS = int(os.environ.get("HVT_BENCH_MUTATIONS", "300"))  # .ci/run: 10,000
FILES = (
    """\
name: small
models: [hvt_ti_1, {name: tiny, family: vit, img_size: 64, embed_dim: 64, depth: 4}]
axes:                     # one at a time
  depth: [2, 4]
  pool_stages: [0, 1]
grid: {batch_size: [1, 4]}
measure: [complexity, memory]
protocol: {device: cpu, dtype: float32, rounds: 2, warmup_s: 0.1, min_time_s: 0.1, num_threads: 1}
slurm: {partition: gpu, mem_gb: 4, time_min: 30, exclusive: true, sbatch: {nice: 10}}
""",
    """\
name: other.1
models:
  - mvit_b_16_conv
  - {family: dynamicvit, keep_rate: null, name: whole}
  - "hvt:depth=6,pool=avg"
axes: {img_size: [160, 224], stage_depths: [[1, 2, 11, 2]], mode: [infer, train]}
protocol: {device: cpu, attention: auto, max_batch: true, num_threads: 1}
""",
)
WORDS = (
    "", " ", "null", "true", "off", "-1", "0", "1e6", "014", "0.5", "99999999999999999999", ".nan", "inf", "auto", "[]",
    "{}", "[1, [2]]", "{a: b}", "'", '"', "*x", "&x", "!!python/object:os.system", "|", "%", "\t", "\x00", "é", "depth",
    "depht", "name", "hvt", "hvt_s_1", "hvt_s_9", "model", "cpu", "cuda:99", "tpu", "train", "eager", "sdpa_flash",
    "- ", ": ", "#", "---", "\n", ",", "axes:", "2" * 400,
)  # fmt: skip
TOKEN = re.compile(r"[\w.]+|[^\w\s]|\n *")


def change(text, place, kind, word):
    """Change one token of a file: leave it out, replace it, put a word before it, or say it twice."""
    tokens = [*TOKEN.finditer(text)]
    token = tokens[place % len(tokens)]
    new = {"drop": "", "replace": word, "insert": f"{word}{token[0]}", "double": f"{token[0]} {token[0]}"}[kind]
    return text[: token.start()] + new + text[token.end() :]


changes = st.tuples(
    st.integers(0, 500), st.sampled_from(["drop", "replace", "insert", "double"]), st.sampled_from(WORDS)
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated") / "sweep.yaml"


@settings(
    max_examples=MUTATIONS,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(file=st.sampled_from(FILES), mutations=st.lists(changes, min_size=1, max_size=3))
def test_a_mutated_file_is_a_plan_or_a_sentence(path, file, mutations):
    for mutation in mutations:
        file = change(file, *mutation)
    path.write_text(file, encoding="utf-8")
    sentence, sweep = "", None
    try:
        sweep = load_sweep(path)
    except RequestError as error:
        sentence = str(error)
    if sweep is None:
        assert sentence.startswith(f"{path}:")
        assert "\n" not in sentence
        assert len(sentence) < 2000
    else:
        assert sweep.points
        assert len({cell.point_id for cell in sweep.cells}) == len(sweep.cells)


@pytest.mark.parametrize("file", FILES)
def test_the_files_as_they_are_are_plans(path, file):
    path.write_text(file, encoding="utf-8")
    assert len(load_sweep(path).points) > 4
