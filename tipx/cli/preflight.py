"""tipx preflight"""

from tipx.cli.options import ConfigDir, Overrides


def preflight(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Check in seconds, without weights, whether model, data and lengths of a `tipx train` command fit together."""
    from tipx.errors import ModelError
    from tipx.jobs import check
    from tipx.tables import findings_table
    from tipx.terminal import console

    findings = check(overrides or [], config_dir)
    console().print(findings_table(findings))
    for finding in findings:
        if finding["level"] == "error":
            raise ModelError(finding["text"])
