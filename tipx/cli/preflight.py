"""tipx preflight"""

from typing import Annotated

import typer

from tipx.cli.options import AsCsv, AsJson, ConfigDir, Overrides, RunsDir, add_runs_dir


def preflight(  # noqa: PLR0913 - each is an option of its own
    overrides: Overrides = None,
    *,
    on: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Another device than this machine's: h200, h100, a100, ...")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes that could be started, by default loop.processes")
    ] = None,
    device_spec: Annotated[
        list[str] | None, typer.Option(help="A figure of a device, e.g. h100.memory_gib=94; see conf/devices.yaml")
    ] = None,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Check in seconds, without weights, whether model, data and lengths of a `tipx train` command fit together.

    `tipx preflight model=qwen3 loop.max_prompt_tokens=1024`, `tipx preflight model=llama --on h200 --processes 8`
    """
    import pandas as pd

    from tipx import config
    from tipx.display.console import console
    from tipx.display.output import Form, choose_form, print_frame
    from tipx.display.tables import findings_table
    from tipx.errors import ModelError
    from tipx.memory.devices import find_device
    from tipx.memory.finding import find_target, memory_finding, time_finding
    from tipx.models.quiet import quiet_libraries
    from tipx.train.preflight import examine_facts, gather_facts

    form = choose_form(as_json=as_json, as_csv=as_csv)
    exp = config.build(config.load(add_runs_dir(overrides, runs_dir), "train", config_dir), config_dir)
    device = None if on is None else find_device(on, device_spec or (), config_dir, "--on")
    target = find_target(exp, device, on or "", processes)
    quiet_libraries()
    checks = (*examine_facts(gather_facts(exp)), memory_finding(exp, target), time_finding(exp, device))
    findings = [finding.row() for finding in checks]
    if form is Form.TABLE:
        console().print(findings_table(findings))
    else:
        print_frame(pd.DataFrame(findings), "findings", form)
    for finding in findings:
        if finding["level"] == "error":
            raise ModelError(finding["text"])
