"""What tests run on a cluster: light, so that a task costs a fraction of a second."""

import os
import signal
import time
from pathlib import Path


def act(order):
    """Do what `order` says, `NUMBER how folder`, and return what a round would: what it was given, and where it ran."""
    number, how, folder = order
    (Path(folder) / f"{number}.{os.environ['SLURMD_NODENAME']}.{os.getpid()}.ran").touch()
    if how == "raise":
        raise ValueError("no such number")
    if how == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(600)
    if how == "take the task along":
        os.kill(os.getppid(), signal.SIGKILL)  # the server, without which the task fails
        time.sleep(600)
    if how.startswith("sleep"):
        time.sleep(float(how.split()[1]))
    start = time.time()
    if how.startswith("hold"):
        time.sleep(float(how.split()[1]))
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"number": number, "node": os.environ["SLURMD_NODENAME"], "gpu": gpu, "held": (start, time.time())}


def key(order):
    return f"{order[0]}.0.1"


def double(number):
    if number == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == "raise":
        raise ValueError("no such number")
    return 2 * number


def count(item):
    folder, _, _ = item
    with (Path(folder) / "count").open("a") as file:
        file.write(".")
    return item


def first(pair):
    return pair[0]


def wait_there(folder):
    (Path(folder) / "there").write_text(str(os.getpid()))
    time.sleep(600)
