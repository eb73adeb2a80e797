"""tipx doctor"""

from pathlib import Path

from tipx.cli.options import AsJson, RunsDir


def doctor(runs_dir: RunsDir = Path("runs"), as_json: AsJson = False) -> None:
    """Print what a bug report needs: versions, devices, and where things are found (~ is your home folder)."""
    from tipx.display.console import console
    from tipx.display.output import print_json
    from tipx.doctor import examine_machine

    facts = examine_machine(runs_dir)
    if as_json:
        print_json(facts)
        return
    screen = console(soft_wrap=True, highlight=False)
    for topic, values in facts.items():
        screen.print(topic)
        for name, value in values.items():
            text = ", ".join(value) if isinstance(value, list) else value
            screen.print(f"  {name:<24} {'-' if text is None else text}")
