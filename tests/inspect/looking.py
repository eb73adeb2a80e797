"""What a test sees of a page."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from tipx.runs.snapshot import Snapshot

Open = Callable[..., Page]
SETTLE = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def of(path: Path) -> Snapshot:
    """What the page at runs/.../inspect/000020.html shows."""
    return Snapshot.read(path.parent.parent / "rollouts" / f"{path.stem}.npz")


def classes(page: Page) -> list[set[str]]:
    found: list[str] = page.eval_on_selector_all("#columns .t", "all => all.map((one) => one.className)")
    return [set(name.split()) for name in found]


def nothing_fits(page: Page) -> bool:
    """It says so, and no rollout stays in sight."""
    gone = ["#title", "#columns .t", "#prompt", "#rollouts li", "#details", "#scatter", "#legend"]
    return page.locator("#none").is_visible() and not any(page.locator(name).first.is_visible() for name in gone)
