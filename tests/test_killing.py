"""Killed at random moments, the program loses nothing."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("HVT_BENCH_KILLS", "10"))  # .ci/run: 100


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers through /proc")
def test_a_sweep_that_is_killed_again_and_again_ends_with_a_complete_table(tmp_path, repository):
    seed = int(os.environ.get("HVT_BENCH_SEED", random.SystemRandom().randrange(10**6)))
    command = [sys.executable, "-m", "tests.killing", str(seed), str(KILLS), str(tmp_path)]
    killing = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=900)
    print(killing.stdout)
    assert killing.returncode == 0, f"HVT_BENCH_SEED={seed}\n{killing.stdout}\n{killing.stderr}"
