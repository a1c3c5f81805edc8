"""Kills the real program at random moments of a real sweep, again and again: `python -m tests.killing SEED KILLS DIR`.

Loading PyTorch takes seconds, so the program is forked from this process, which has loaded it, and its workers from
one fork server, which is loaded too; all else is as when a person starts it. SIGKILL ends the program, one of its
workers, or both at once.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

from hvt_bench import cli, event_lines, progress, run  # noqa: F401
from hvt_bench.executors import make_executor
from hvt_bench.journal import read_journal
from hvt_bench.metrics.complexity import count
from hvt_bench.output import journal_of
from hvt_bench.sweep import load_sweep
from hvt_bench.table import read_table

FILE = """\
name: small
models: [{name: tiny, family: hvt, img_size: 32, embed_dim: 64, depth: 2, num_classes: 10}]
axes: {depth: [1], num_classes: [20]}
protocol: {device: cpu, rounds: 3, warmup_s: 0.0, warmup_passes: 1, min_time_s: 0.001, num_threads: 1}
"""
ROUNDS = 9
COMMAND = ["sweep", "sweep.yaml", "--out", "run.csv", "--json", "--retry", "crashed,error"]
PATIENCE_S = 60.0


def main(seed: int, kills: int) -> None:
    """Kill that many starts, in the current folder; print what that took. Raises AssertionError."""
    Path("sweep.yaml").write_text(FILE)
    for point in load_sweep("sweep.yaml").points:
        count(point.config)
    list(make_executor("process", cli.measure.PRELOAD).map(abs, [1]))  # starts the fork server
    forkserver._forkserver.ensure_running = lambda: None  # it is this process's and not a start's to watch over
    moments, tables, killed = random.Random(seed), 0, Counter()
    while killed.total() < kills:
        for path in Path().glob("run.*"):
            path.unlink()
        seen: set[tuple[str, int]] = set()
        length_s = 1.0
        while True:
            last = killed.total() >= kills
            how = None if last else moments.choice(["program", "worker", "both"])
            began = time.monotonic()
            code, told, hit = start(how, moments.uniform(0, length_s))
            seen |= told
            if hit:
                killed[str(how)] += 1
            check(seen)
            if code == 0:
                length_s = max(0.2, time.monotonic() - began)
                break
        tables += 1
        complete()
    print(f"seed {seed}: {killed.total()} kills ({dict(killed)}), {tables} complete tables")


def start(how: str | None, after_s: float) -> tuple[int | None, set[tuple[str, int]], bool]:
    """Start the program and kill it; return its exit code, the rounds that it told of, and whether it was hit."""
    reader, writer = os.pipe()
    program = os.fork()
    if program == 0:
        os.setsid()
        os.dup2(writer, 1)
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.close(reader)
        sys.argv = ["hvt-bench", *COMMAND]
        code = 70
        try:
            cli.main(COMMAND)
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(writer)
    hit = False
    if how is not None:
        time.sleep(after_s)
        victims = workers() if how != "program" else []
        hit = kill(victims[:1] if how == "worker" else [program, *victims])
    with open(reader, "rb") as pipe:
        told = pipe.read()  # until nobody has it open
    _, status = os.waitpid(program, 0)
    deadline = time.monotonic() + PATIENCE_S
    while workers():
        assert time.monotonic() < deadline, "a worker outlives its program"
        time.sleep(0.005)
    whole = told[: told.rfind(b"\n") + 1].splitlines()
    events = [json.loads(line) for line in whole]
    rounds = {(e["point_id"], e["round"]) for e in events if e["event"] == "measured" and e["status"] == "ok"}
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1, -signal.SIGKILL), f"exit code {code}: {Path('stderr').read_text()[-2000:]}"
    return code, rounds, hit


def kill(pids: list[int]) -> bool:
    """Kill them all; say whether any was there still."""
    hit = False
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            hit = True
        except ProcessLookupError:
            continue
    return hit


def workers() -> list[int]:
    """Return the children of the fork server."""
    pid = forkserver._forkserver._forkserver_pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def check(seen: set[tuple[str, int]]) -> None:
    """See that every round which the program told of is in the journal, and none of them twice."""
    path = journal_of(Path("run.csv"))
    if not path.exists():
        assert not seen
        return
    content = path.read_bytes()
    lines = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    samples = [line["sample"] for line in lines if "sample" in line]
    well = Counter((found["point_id"], found["round"]) for found in samples if found["status"] == "ok")
    assert seen <= well.keys(), f"lost: {seen - well.keys()}"
    assert set(well.values()) <= {1}, f"twice: {well}"
    read_journal(path)


def complete() -> None:
    """See that the table has every row, and that it is the journal's."""
    rows = read_table("run.csv")
    assert [(row["status"], row["rounds"]) for row in rows] == [("ok", 3)] * 3, rows
    assert [row.line for row in rows] == [row.line for row in read_journal(journal_of(Path("run.csv"))).rows()]


if __name__ == "__main__":
    os.chdir(sys.argv[3])
    main(int(sys.argv[1]), int(sys.argv[2]))
