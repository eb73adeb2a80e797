"""tipx preflight"""

from tipx.cli.options import ConfigDir, Overrides


def preflight(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Check in seconds, without weights, whether model, data and lengths of a `tipx train` command fit together."""
    from tipx.display.console import console
    from tipx.display.tables import findings_table
    from tipx.errors import ModelError
    from tipx.jobs import check

    findings = check(overrides or [], config_dir)
    console().print(findings_table(findings))
    for finding in findings:
        if finding["level"] == "error":
            raise ModelError(finding["text"])
