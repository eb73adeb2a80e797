"""A step as one HTML file that needs no network: its own style, script and data, and no right to anything else."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from tipx.inspect.payload import header_and_columns, packed
from tipx.inspect.rules import Rule
from tipx.runs.reader import SampledStep

SCRIPTS = ("text.js", "data.js", "scatter.js", "details.js", "folds.js", "reader.js", "side.js", "app.js")


def page(step: SampledStep, rules: Sequence[Rule]) -> str:
    """The file's content."""
    header, columns = header_and_columns(step, rules)
    data = {"header": header, "columns": {name: packed(values) for name, values in columns.items()}}
    style, script = asset("page.css"), bundle()
    title = f"{header['run']}, step {header['step']}: tokens"
    parts = {
        "TITLE": html.escape(title),
        # Whatever a rollout says, nothing but this script runs, and nothing is loaded from anywhere.
        "POLICY": f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; base-uri 'none'",
        "STYLE": style,
        "DATA": inert(json.dumps(data)),
        "SCRIPT": script,
    }
    out = asset("page.html")
    head, *rest = out.split("{{")
    return head + "".join(parts[piece.split("}}")[0]] + piece.split("}}", 1)[1] for piece in rest)


def inert(text: str) -> str:
    """JSON (ASCII already) that cannot end the element it stands in."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def digest(text: str) -> str:
    """How a content security policy names an element's text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def asset(name: str) -> str:
    """A file that lies beside this one."""
    return (files("tipx.inspect") / name).read_text(encoding="utf-8")


def bundle() -> str:
    """All scripts as one, in a scope of their own."""
    return "(() => {\n'use strict';\n" + "\n".join(asset(name) for name in SCRIPTS) + "})();\n"
