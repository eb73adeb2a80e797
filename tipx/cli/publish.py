"""tipx publish"""

from typing import Annotated

import typer

from tipx.cli.options import GROUP, PLACE, WORDS, RunName, RunsDir, RunsDirWords, refuse_words, spell_run, take_runs_dir


def publish(
    run: RunName,
    words: RunsDirWords = None,
    *,
    to: Annotated[
        str, typer.Option("--to", **PLACE | {"metavar": "FOLDER|OWNER/NAME"}, help="Where to, also on the hub")
    ],
    checkpoint: Annotated[str, typer.Option(**WORDS, help="A step, or last")] = "last",
    report: Annotated[str | None, typer.Option(**GROUP, help="A report that shows the run, as controls")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there")] = False,
    runs_dir: RunsDir = None,
) -> None:
    """Write a run's student with its card, configuration, metrics and results, for others; nothing private is in it.

    Nothing is uploaded: the command that does it is printed.

    `tipx publish demo --to my-student`
    """
    from tipx.display.console import console
    from tipx.export.publish import publish_run

    rest, place = take_runs_dir(words, runs_dir)
    refuse_words(rest, "publish")
    done = publish_run(spell_run(run, place), to, checkpoint, report, place, force=force)
    page = f"\nreport   {done.report}" if done.report else ""
    console().print(
        f"{done.run.name}, step {done.step}\nmodel    {done.place.folder}{page}\nupload   {done.upload}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    hints = console(stderr=True, soft_wrap=True, highlight=False)
    if done.report is None and done.reports:
        hints.print(f"reports that show the run: {', '.join(done.reports)}; --report NAME adds one")
    taken = ", ".join(f"{count} x {kind}" for kind, count in sorted(done.removed.items()))
    hints.print(f"taken out: {taken or 'nothing'}; look through the folder before you upload it")
