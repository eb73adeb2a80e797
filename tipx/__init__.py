"""tipx: which tokens matter in on-policy distillation.

In a notebook: `list_runs`, `load_run`, `compare`, `make_report` and `list_selectors` give frames of what the command
line prints; `help(tipx.load_run)` says more. Nothing is loaded before it is used.
"""

TYPE_CHECKING = False  # type checkers take it for true; `typing` itself takes longer to import than all of this
if TYPE_CHECKING:
    from tipx.notebook import LoadedRun, ReportTable, compare, list_runs, list_selectors, load_run, make_report
else:

    def __getattr__(name: str) -> object:
        """What stands in `__all__`, imported when it is first asked for."""
        if name not in __all__:
            raise AttributeError(f"module 'tipx' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module("tipx.notebook"), name)


__version__ = "0.1.0"
__all__ = ["LoadedRun", "ReportTable", "compare", "list_runs", "list_selectors", "load_run", "make_report"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
