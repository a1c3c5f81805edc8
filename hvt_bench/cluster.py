"""SlurmSection: what the tasks of a sweep ask a Slurm cluster for, as `slurm:` of a sweep file says."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from hvt_bench.errors import RequestError
from hvt_bench.records import Record


def _one_line(text: str) -> str:
    """Refuse what would end the line of the batch script that it is written into."""
    if not text or not text.isprintable():
        raise ValueError(f"{text!r} is no word of Slurm: it is empty, or has a line end or a control character")
    return text


Word = Annotated[str, AfterValidator(_one_line)]


class SlurmSection(Record):
    """The keys of `slurm:` in a sweep file, and of the option --slurm; what is not given is the cluster's usual."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    """Features that a node must have, such as `a100`, so that all points run on GPUs of one kind."""
    time_min: Annotated[int, Field(ge=1, le=527_040)] | None = None
    """Time limit of a task; if not given, what its rounds may take by `timeout_s`, and ten minutes."""
    mem_gb: Annotated[float, Field(gt=0, le=100_000)] | None = None
    cpus_per_task: Annotated[int, Field(ge=1, le=4096)] = 1
    """Also the `num_threads` of points that give none."""
    gpus_per_task: Annotated[int, Field(ge=1, le=64)] = 1
    """Of points on `cuda`, each of which uses one; those on `cpu` get none."""
    exclusive: bool = False
    """Whether a task has its node for itself, so that nothing disturbs what it times."""
    points_per_task: Annotated[int, Field(ge=1, le=100_000)] = 1
    tasks_at_once: Annotated[int, Field(ge=1, le=100_000)] = 256
    sbatch: dict[Word, Word | int | bool] = Field(default_factory=dict)
    """Any other options of sbatch, by their long names, such as `{reservation: lab}`."""

    def parameters(self, device: str) -> dict[str, Any]:
        """Return what a task whose points run on `device` asks for, in submitit's words."""
        asked = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "time": self.time_min,
            "mem": None if self.mem_gb is None else f"{max(1, round(self.mem_gb * 1024))}M",
            "cpus_per_task": self.cpus_per_task,
            "gpus_per_node": self.gpus_per_task if device.startswith("cuda") else None,
            "exclusive": self.exclusive or None,
            "array_parallelism": self.tasks_at_once,
            "additional_parameters": dict(self.sbatch),
        }
        return {name: value for name, value in asked.items() if value is not None}

    def device(self, wanted: str) -> str:
        """Turn a device that is asked for into one of a task's own. Raises RequestError where a task has no such."""
        if wanted == "cpu":
            return wanted
        if wanted in ("cuda", "cuda:0"):
            return "cuda:0"  # Slurm shows a task its own GPU only
        if wanted == "auto":
            raise RequestError(
                "device 'auto': what the nodes have is not known here; write cuda or cpu, or give --device"
            )
        raise RequestError(f"device '{wanted}': each task has one GPU, cuda, or none, cpu")
