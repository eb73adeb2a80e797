"""tipx doctor"""

from tipx.cli.options import AsJson, RunsDir, RunsDirWords, refuse_words, take_runs_dir


def doctor(words: RunsDirWords = None, runs_dir: RunsDir = None, *, as_json: AsJson = False) -> None:
    """Print what a bug report needs: versions, devices, and where things are found (~ is your home folder).

    `tipx doctor --json`
    """
    from tipx.display.console import console
    from tipx.display.output import print_json
    from tipx.doctor import examine_machine

    rest, place = take_runs_dir(words, runs_dir)
    refuse_words(rest, "doctor")
    facts = examine_machine(place)
    if as_json:
        print_json(facts)
        return
    screen = console(soft_wrap=True, highlight=False)
    for topic, values in facts.items():
        screen.print(topic)
        for name, value in values.items():
            text = ", ".join(value) if isinstance(value, list) else value
            screen.print(f"  {name:<24} {'-' if text is None else text}")
