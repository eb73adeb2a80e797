"""What a command prints on standard output: a table to look at, or JSON or CSV for a program."""

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pandas as pd

from tipx.display.console import console, print_text
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
        print_json([known_values(row) for row in frame.to_dict("records")])
    else:
        print_text(frame.to_csv(index=False))


def known_values(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row with None for each value that pandas calls missing."""
    return {str(name): value if not is_missing(value) else None for name, value in row.items()}


def is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def print_json(value: Any) -> None:
    """A value as JSON, which has no NaN; numpy's numbers become Python's."""
    print_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=plain_number) + "\n")


def plain_number(value: Any) -> Any:
    """A number of numpy's as Python's; raises TypeError for what is none."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON")
