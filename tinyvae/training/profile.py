"""Where the time of training goes: a table of milliseconds for each layer and each other part.

The timed code holds no line for it. Profile replaces methods of the trainer, the optimizer, the
model and its layers by methods that also read the clock. A method's time does not include the time
of the timed methods that it calls.
"""

import time
from collections import defaultdict

from tinyvae.engine.layers import Sequential
from tinyvae.engine.module import Layer

STEP, AROUND = "all of a step", "all around the steps"  # the two groups of rows, and their sums


class Profile:
    """The time of trainer.fit(), by part.

    With several threads, only the calling thread is timed. On a GPU, only the time of launching the
    work is seen, not the time of the work.
    """

    def __init__(self, trainer):
        self.trainer = trainer
        trainer.steps.records = False  # of a replay Python sees no parts
        trainer.parallel.renew = lambda: None  # copies of a watched model would be watched too
        self.steps = 0
        self.seconds = defaultdict(float)  # (group, part, direction): own time
        self._inside = 0.0  # the time of the timed methods that the running method has called
        self._muted = False  # whether the running method is timed as a whole
        for name, layer in trainer.model.named_modules():
            if isinstance(layer, Layer) and not isinstance(layer, Sequential):
                part = f"{name} {type(layer).__name__}"
                self._watch(layer, "forward", (STEP, part, "forward"))
                self._watch(layer, "backward", (STEP, part, "backward"))
        part = "sample, likelihood, KL"
        self._watch(trainer.model, "terms", (STEP, part, "forward"))
        self._watch(trainer.model, "terms_backward", (STEP, part, "backward"))
        self._watch(trainer.parallel, "gradient", (STEP, "other threads, sum of gradients", ""))
        self._watch(trainer.optimizer, "step", (STEP, "optimizer", ""))
        self._watch(trainer.steps, "do", (STEP, "is all finite?", ""))
        self._watch(trainer.feed, "begin", (AROUND, "noise and order", ""))
        self._watch(trainer.feed, "inputs", (AROUND, "minibatches", ""))
        self._watch(trainer, "_end_epoch", (AROUND, "evaluation", ""), whole=True)
        self._watch(trainer, "save", (AROUND, "checkpoint", ""), whole=True)
        self._watch(trainer, "fit", (AROUND, "progress and bookkeeping", ""))

    def fit(self):
        """Train, and return the table."""
        before = self.trainer.step
        self.trainer.fit()
        self.steps += self.trainer.step - before
        return self.table() if self.steps else "the run was finished: no step to profile"

    def _watch(self, owner, method, key, whole=False):
        """Time owner.method; with `whole` its time includes everything that it calls."""
        function = getattr(owner, method)

        def timed(*arguments, **options):
            if self._muted:
                return function(*arguments, **options)
            before, self._inside, self._muted = self._inside, 0.0, whole
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                elapsed = time.perf_counter() - start
                self.seconds[key] += elapsed - self._inside
                self._inside, self._muted = before + elapsed, False

        setattr(owner, method, timed)

    def table(self):
        """Rows of milliseconds a step, and the shares of the whole time."""
        total = sum(self.seconds.values())
        lines = [f"{'milliseconds a step':44}{'forward':>9}{'backward':>10}{'share':>8}"]

        def row(part, times):
            ms = {direction: f"{1e3 * s / self.steps:.2f}" for direction, s in times.items()}
            forward, backward = ms.get("forward", ms.get("", "")), ms.get("backward", "")
            share = sum(times.values()) / total
            lines.append(f"{part:44}{forward:>9}{backward:>10}{share:8.1%}")

        for group in (STEP, AROUND):
            # part: {direction: seconds}, in the order in which they first ended
            parts = defaultdict(dict)
            for (its_group, part, direction), seconds in self.seconds.items():
                if its_group == group:
                    parts[part][direction] = seconds
            for part, times in parts.items():
                row(part, times)
            row(group, {"": sum(sum(times.values()) for times in parts.values())})
        return "\n".join(lines)
