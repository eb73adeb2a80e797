"""A run as frames."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tipx.errors import ConfigError
from tipx.inspect.frame import token_frame
from tipx.inspect.rules import apply_rules
from tipx.notebook.words import Words, split
from tipx.report.listing import numbers
from tipx.runs import metric_keys as keys
from tipx.runs.reader import StoredRun


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """A run as frames; `tipx.load_run` makes one. Each file is read when it is asked for, and nothing is written.

    A file that is not as tipx wrote it raises `tipx.errors.Damaged`, which names it.
    """

    stored: StoredRun

    def __repr__(self) -> str:
        return f"LoadedRun({str(self.path)!r}, {self.state})"

    @property
    def name(self) -> str:
        """The name of its directory: model, selector and hash, unless `name=` was typed."""
        return self.stored.name

    @property
    def path(self) -> Path:
        """Its directory."""
        return self.stored.path

    @property
    def state(self) -> str:
        """finished, running, stopped or damaged."""
        return self.stored.state

    @property
    def config(self) -> dict[str, Any]:
        """The whole resolved configuration, nested: `run.config["optim"]["lr"]`."""
        return self.stored.tree

    @property
    def choices(self) -> dict[str, str]:
        """Which file each config group took: `{"model": "tiny", "selector": "q3_only", ...}`."""
        return self.stored.choices

    @property
    def overrides(self) -> list[str]:
        """What was typed after `tipx train`."""
        return self.stored.overrides

    @property
    def seed(self) -> int:
        return int(self.stored.seed)

    @property
    def steps(self) -> int:
        """How many steps are planned; `metrics()` says how many are done."""
        return self.stored.steps

    @property
    def sampled_steps(self) -> list[int]:
        """Steps of which rollouts and token statistics were saved, in order."""
        return self.stored.sampled_steps

    def metrics(self) -> pd.DataFrame:
        """One row a step: `step`, then every key of metrics.jsonl.

        Losses, entropies and divergences are in nats a token, `*_frac` and `tokens/q1` to `q4` are shares from 0 to 1,
        `time/*` seconds, `memory/*` MiB. A key that was not logged at a step is NaN there.
        """
        return pd.DataFrame(self.stored.rows)

    def evals(self) -> pd.DataFrame:
        """One row a result, over all evaluated steps: `step`, `benchmark`, and every number of its result.json.

        On a benchmark: `problems`, `n` samples of each, the `mean` accuracy from 0 to 1 with its standard error over
        problems `mean_se`, `greedy` and `greedy_se`, `pass@k`. On held-out texts `benchmark` is None, and there are
        `perplexity`, `reverse_kl` and `forward_kl` (nats a token), each with its error over texts in `*_se`. `file` is
        where it stands.
        """
        found = ((step, one) for step in self.stored.evaluated_steps for one in self.stored.results_at(step))
        rows = [
            {keys.STEP: step, "benchmark": one.benchmark} | dict(numbers(one.facts)) | {"file": str(one.file)}
            for step, one in found
        ]
        return pd.DataFrame(rows, columns=None if rows else [keys.STEP, "benchmark", "mean", "mean_se", "n", "file"])

    def samples(self, step: int | None = None) -> pd.DataFrame:
        """One row a rollout that was saved to be read, of one sampled step or of all.

        `step`, `rollout` (its place in the step, from 0, as in `tokens`), `id`, `prompt`, `response`, the gold
        `answer`, how it ended (`stop`), `length` and `kept` (both in tokens), and an agent's `score`.
        """
        steps = self.stored.need_samples() if step is None else [self.stored.sampled(step).snapshot.step]
        texts = ("id", "prompt", "response", "answer", "stop")
        rows = [
            {keys.STEP: number, "rollout": i}
            | {name: row.get(name) for name in texts}
            | {"length": len(row["tokens"]), "kept": sum(weight > 0 for weight in row["weights"])}
            | ({"score": row["score"]} if "score" in row else {})
            for number in steps
            for i, row in enumerate(self.stored.samples(number))
        ]
        return pd.DataFrame(rows)

    def tokens(self, step: int | None = None) -> pd.DataFrame:
        """One row a token of all rollouts of a sampled step (without one: the last), one rollout after another.

        `rollout` and `position` are its place, from 0; `token` and `text` its id and text. `valid` says whether the
        student sampled it: what tools and templates said has no statistics (0) and no weight. `quadrant` is 1 to 4 at
        the run's own quantiles over the step, 0 where not valid. `weight` is its weight in the loss, `kept` whether
        that is above 0. Every statistic of the step follows, as the selector saw it, in nats: `student_entropy`,
        `reverse_kl`, `forward_kl`, `student_logprob`, `teacher_logprob`, ...
        """
        return token_frame(self.stored.sampled(step))

    def apply_rule(self, rule: Words, step: int | None = None, *, config_dir: str | Path | None = None) -> pd.Series:
        """The weights that another selection rule would have given the tokens of a sampled step, random draws included.

        `rule` is what is typed for `tipx train`, as in `"selector=q3_only ratio=0.1"`; what it does not name is as in
        this run. The series (fp32, 0 where not kept) has the index of `tokens(step)`. Raises ConfigError for words that
        are no part of a selection rule, and for several rules.
        """
        words = split(rule)
        found = apply_rules(self.stored.sampled(step), words, Path(config_dir) if config_dir else None)
        if len(found) > 1:
            raise ConfigError(f"{' '.join(words)}: expected one rule, got {', '.join(one.name for one in found)}")
        return pd.Series(found[0].weights_N, name=found[0].name)
