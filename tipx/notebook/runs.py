"""Which runs and selectors there are."""

from pathlib import Path

import pandas as pd

from tipx.config import describe_choices
from tipx.notebook.loaded import LoadedRun
from tipx.notebook.words import Place, Words, split
from tipx.report.listing import chosen, wide_row
from tipx.runs.reader import open_run


def list_runs(runs_dir: Place = "runs", where: Words = ()) -> pd.DataFrame:
    """One row a run, oldest first; `where` filters as `tipx runs` does: `"selector=soft_or,q3_only seed=0"`.

    First what `tipx runs` shows: `run` (its name), `group`, `state` (finished, running, stopped, damaged), `path`, the
    last `step` of how many `steps`, `student`, `rule`, `ratio`, `seed`, the share of tokens `kept` at the last step,
    accuracy `before` and `after` training, from 0 to 1. Then each number measured at the last step, as in
    `math500.mean`, `math500.mean_se` or `heldout.perplexity`; which file each config group took, as in `selector`; and
    every key of the configuration, as in `optim.lr`. A damaged run has nothing but its place. There may be no row.
    """
    return pd.DataFrame([wide_row(run) for run in chosen(Path(runs_dir), split(where))])


def load_run(run: Place, runs_dir: Place = "runs") -> LoadedRun:
    """A run by its path, its name, the beginning of its name, or its hash; raises RunError for none, and for several.

    `"@last"` is the run that was trained last, and the name of a group the one of its runs that was trained last.
    """
    return LoadedRun(open_run(str(run), Path(runs_dir)))


def list_selectors(config_dir: Place | None = None) -> dict[str, str]:
    """What `selector=` may be, each with a line on it; `config_dir` is a folder of your own YAML, laid out as conf/."""
    return describe_choices("selector", Path(config_dir) if config_dir else None)
