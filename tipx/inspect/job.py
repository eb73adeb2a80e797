"""From a step to its page."""

from collections.abc import Sequence
from pathlib import Path

from tipx.errors import RunError
from tipx.inspect.page import page
from tipx.inspect.rules import compare_rules, own_rule
from tipx.inspect.save import save_page
from tipx.runs.reader import SampledStep


def make_page(step: SampledStep, overrides: Sequence[str], config_dir: Path | None, out: Path | None) -> Path:
    """Write the page of a step under the run's own rule, or under those that overrides stand for; returns its place."""
    if not step.rows:
        raise RunError(f"{step.run.path}: no rollout was saved to be read; train with loop.sample_count=8")
    rules = compare_rules(step, overrides, config_dir) if overrides else [own_rule(step, config_dir)]
    return save_page(step.run.directory, step.snapshot.step, page(step, rules), out)
