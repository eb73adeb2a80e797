"""tipx explain"""

from typing import Annotated

import typer

from tipx.cli.options import WORDS, AsJson, ConfigDir, Overrides


def explain(
    key: Annotated[
        str,
        typer.Argument(
            **(WORDS | {"metavar": "KEY"}),
            help="A key (loop.steps) or its end (lr), a group (selector), a choice (q3_only), a key of metrics.jsonl",
        ),
    ],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """What a key means: its type, range and default, and which files of conf/ set it. `tipx explain optim.lr`."""
    from tipx.config import look_up
    from tipx.display.console import console
    from tipx.display.explanation import show_explanation
    from tipx.display.output import print_json

    facts = look_up(key, overrides or [], config_dir)
    if as_json:
        print_json(facts)
    else:
        console().print(show_explanation(facts))
