"""A report nobody wrote: of a group of runs, with what varies in the rows."""

from tipx.report.guards import varying
from tipx.report.keys import RATIO, under
from tipx.report.spec import FigureSpec, Report
from tipx.report.store import Store


def plain(name: str, store: Store) -> Report:
    """Rows are what the commands of the runs set in different ways; else every key that varies."""
    typed = {key for run in store.finished for key in run.typed}
    found = varying(store.finished)
    named = [key for key in found if key in typed or (key == "ratio" and RATIO in typed)]
    keys = sorted(named or found, key=lambda key: (key == "ratio", "." in key))
    # A group says what its own keys say.
    rows = [key for key in keys if key == "ratio" or not under(key, [k for k in keys if k != key])]
    results = [facts for run in store.finished for _, facts in run.results]
    measures = {"mean": "benchmark", "perplexity": "perplexity"}
    measured = [value for value, key in measures.items() if any(key in facts for facts in results)]
    full = "selector" in rows and any(run.choices.get("selector") == "full" for run in store.finished)
    return Report(
        title=name,
        rows=tuple(rows or ["model" if store.finished[0].choices else "name"]),
        values=(*measured[:1], "kept", "quadrants"),
        baseline={"selector": "full"} if full else {},
        figures=(FigureSpec(kind="bars"),),
    )
