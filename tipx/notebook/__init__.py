"""What `import tipx` offers to notebooks and scripts: runs, results and rules as frames.

The command line reads through the same functions. Errors are the same one-liners (`tipx.errors.TipxError`).
"""

from tipx.notebook.loaded import LoadedRun
from tipx.notebook.reports import ReportTable, compare, make_report
from tipx.notebook.runs import list_runs, list_selectors, load_run

__all__ = ["LoadedRun", "ReportTable", "compare", "list_runs", "list_selectors", "load_run", "make_report"]
