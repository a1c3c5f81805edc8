"""A device whose passes take the times of a script: no clock, no GPU, no network."""

import torch

from hvt_bench.metrics.stopwatch import Stopwatch


class Script(Stopwatch):
    """Each pass takes the next of some times, once the host waits for it; `fails_at` says which fail, and how."""

    def __init__(self, *times, then=None, phases=(), recorded=None, fails_at=None):
        super().__init__("script")
        self.times, self.then = list(times), times[-1] if then is None else then
        self.phases, self.fails_at = phases, fails_at or {}
        self.clock = self.pending = 0.0
        self.passes = 0
        self.log = []
        self.graph_allowed = None
        self._recorded = recorded
        self.model = torch.nn.Identity()

    def run(self, mark=lambda: None):
        if self.passes in self.fails_at:
            raise self.fails_at[self.passes]
        seconds = self.times[self.passes] if self.passes < len(self.times) else self.then
        self.passes += 1
        self.log.append("run")
        start = self.pending
        for share in self.phases:
            self.pending += share * seconds
            mark()
        self.pending = start + seconds

    __call__ = run

    @property
    def resolution_s(self):
        return 1e-9

    def synchronize(self):
        self.clock += self.pending
        self.pending = 0.0
        self.log.append("wait")

    def now(self):
        self.log.append("now")
        return self.clock

    def mark(self):
        return self.now() + self.pending

    def recorded(self, run, graph):
        self.graph_allowed = graph
        if self._recorded is None:
            return None
        source, seconds = self._recorded
        return source, lambda passes: passes * seconds
