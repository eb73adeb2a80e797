"""What a command prints on standard output: a table to look at, or JSON or CSV for a program."""

import json
import math
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any

import pandas as pd

from tipx.display.console import console, escape_text, print_text
from tipx.display.tables import show_frame
from tipx.errors import ConfigError


class Form(StrEnum):
    """For eyes or for programs."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def choose_form(*, as_json: bool = False, as_csv: bool = False) -> Form:
    """The form that `--json` or `--csv` asks for; raises ConfigError for both."""
    if as_json and as_csv:
        raise ConfigError("--json and --csv: expected one of them, got both")
    if as_json:
        return Form.JSON
    return Form.CSV if as_csv else Form.TABLE


def print_frame(frame: pd.DataFrame, title: str, form: Form) -> None:
    """A table on standard output. JSON is a list with one object a row; what is not known is null, in CSV empty."""
    if form is Form.TABLE:
        console().print(show_frame(frame, title))
    elif form is Form.JSON:
        print_json(frame.to_dict("records"))
    else:
        print_text(frame.to_csv(index=False, lineterminator="\n"))


def print_json(value: Any) -> None:
    """A value as JSON on standard output."""
    text = json.dumps(plain_value(value), indent=1, ensure_ascii=False, allow_nan=False)
    print_text(f"{escape_text(text)}\n")


def plain_value(value: Any) -> Any:
    """A value of what JSON has: numpy's numbers become Python's, dates text, and what is missing or infinite null.

    Raises TypeError for what is none of these.
    """
    if isinstance(value, Mapping):
        return {str(name): plain_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")
