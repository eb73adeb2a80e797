"""What `tipx watch` does: look, show, wait; until it is told to stop."""

import time
from pathlib import Path

from tipx.display.console import console
from tipx.watch.page import save_page
from tipx.watch.screen import open_screen, render_snapshot
from tipx.watch.snapshot import RunsWatcher


def print_state(watcher: RunsWatcher, html: Path | None, *, as_json: bool) -> None:
    """Print one state, as a table or as JSON, and write the page if there is to be one."""
    snapshot = watcher.look()
    if html is not None:
        save_page(snapshot, html, None)
    if as_json:
        from tipx.display.output import print_json

        print_json(snapshot.as_json())
    else:
        console(highlight=False).print(render_snapshot(snapshot))


def watch_runs(watcher: RunsWatcher, html: Path | None, every_s: float) -> None:
    """Show the state again and again. When a signal ends it, the page says that nobody writes it any more."""
    snapshot = None
    try:
        with open_screen() as show:
            while True:
                snapshot = watcher.look()
                if html is not None:
                    save_page(snapshot, html, every_s)
                show(snapshot)
                time.sleep(every_s)
    finally:
        if html is not None and snapshot is not None:
            save_page(snapshot, html, None)
