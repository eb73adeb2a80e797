"""tipx preflight"""

from tipx.cli.options import ConfigDir, Overrides


def preflight(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Check in seconds, without weights, whether model, data and lengths of a `tipx train` command fit together."""
    from rich.console import Console

    from tipx.errors import ModelError
    from tipx.jobs import check
    from tipx.tables import findings_table

    findings = check(overrides or [], config_dir)
    Console().print(findings_table(findings))
    for finding in findings:
        if finding["level"] == "error":
            raise ModelError(finding["text"])
