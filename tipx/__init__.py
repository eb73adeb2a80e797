"""tipx: which tokens matter in on-policy distillation.

In a notebook: `runs`, `load_run`, `compare`, `report` and `selectors` give frames of what the command line prints;
`help(tipx.load_run)` says more. Nothing is loaded before it is used.

`tipx.runs`, `tipx.report` and `tipx.selectors` are packages as well. They can be called: `tipx.runs()` is
`tipx.list_runs()`, `tipx.report(...)` is `tipx.make_report(...)`, `tipx.selectors()` is `tipx.list_selectors()`. Type
checkers know the longer names only.
"""

import sys
from types import ModuleType

TYPE_CHECKING = False  # type checkers take it for true; `typing` itself takes longer to import than all of this
if TYPE_CHECKING:
    from tipx.notebook import LoadedRun, ReportTable, compare, list_runs, list_selectors, load_run, make_report
else:

    def __getattr__(name: str) -> object:
        """What stands in `__all__`, imported when it is first asked for."""
        from importlib import import_module

        if name in CALLED_PACKAGES:
            return import_module(f"tipx.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'tipx' has no attribute {name!r}")
        return getattr(import_module("tipx.notebook"), name)


__version__ = "0.2.0"
__all__ = ["LoadedRun", "ReportTable", "compare", "list_runs", "list_selectors", "load_run", "make_report"]
CALLED_PACKAGES = {"runs": "list_runs", "report": "make_report", "selectors": "list_selectors"}
"""Packages that do what a function of the notebook does when they are called."""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *CALLED_PACKAGES})


class CalledPackage(ModuleType):
    """One of `CALLED_PACKAGES`."""

    def __call__(self, *args: object, **named: object) -> object:
        function = getattr(sys.modules["tipx"], CALLED_PACKAGES[self.__name__.removeprefix("tipx.")])
        return function(*args, **named)


class Tipx(ModuleType):
    """This module. Importing a package sets it as an attribute here, whoever imports it: then it becomes callable."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in CALLED_PACKAGES and type(value) is ModuleType:
            value.__class__ = CalledPackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = Tipx
