"""tipx runs"""

from pathlib import Path

from tipx.cli.options import RunsDir


def runs(runs_dir: RunsDir = Path("runs")) -> None:
    """List runs: what each is, how far it got, and its accuracy before and after."""
    from rich.console import Console

    from tipx.tables import runs_frame, show_frame

    frame = runs_frame(runs_dir)
    if frame.empty:
        Console().print(f"no runs under {runs_dir}; `tipx train` makes one", highlight=False)
        return
    shown = frame.drop(columns=["path", "group", "student", "steps"])
    Console().print(show_frame(shown, f"{len(frame)} runs under {runs_dir}"))
