"""tipx memory"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tipx.cli.options import PATH, AsCsv, AsJson, ConfigDir, Overrides, RunsDir, add_runs_dir

TOKENS: Any = {"min": 1, "max": 10**7}
RANKS: Any = {"min": 1, "max": 10**5}


class How(StrEnum):
    """Implementations of the step."""

    TILED = "tiled"
    MATERIALISE = "materialise"
    BOTH = "both"


class Device(StrEnum):
    """What the step runs on: tiles and the optimizer's temporaries differ."""

    CUDA = "cuda"
    CPU = "cpu"


def memory(  # noqa: PLR0913 - each is an option of its own
    overrides: Overrides = None,
    *,
    tokens: Annotated[int | None, typer.Option(**TOKENS, help="Tokens of each response, by default the limit")] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(**TOKENS, help="Tokens of each prompt, by default the limit")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(**RANKS, help="Processes that share a step's sequences, by default loop.processes")
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(**RANKS, help="Short for hardware.strategy=fsdp hardware.fsdp_size=SHARD on so many processes"),
    ] = None,
    device: Annotated[Device, typer.Option(help="What to predict for; none is needed")] = Device.CUDA,
    rollout: Annotated[bool, typer.Option(help="--no-rollout: the answers come from elsewhere")] = True,
    time: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Seconds and hours too: on h100, a100, ..., or here (measured)")
    ] = None,
    on: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="What is left of a device's memory: h200, h100, ..., or here")
    ] = None,
    device_spec: Annotated[
        list[str] | None, typer.Option(help="A figure of a device, e.g. h100.efficiency=0.4; see conf/devices.yaml")
    ] = None,
    implementation: Annotated[How, typer.Option(help="materialise: all logits first, then select")] = How.TILED,
    out: Annotated[Path | None, typer.Option(**PATH, help="A folder for memory.csv, .json and .png")] = None,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Predict the peak memory of a training step, and its time, without GPU, weights or network.

    `tipx memory model=qwen3 selector=q3_only ratio=1,0.5,0.2,0.1`: several values give a row each. JSON and CSV are
    in GiB. `tipx memory model=qwen3 --time h100`, `tipx memory model=llama --shard 8 --on h200`
    """
    from tipx.display.console import console
    from tipx.display.output import Form, choose_form, print_frame
    from tipx.errors import ConfigError
    from tipx.memory import GIB, Layout, find_device, make_folder, memory_frame, memory_tables, save_report, time_tables

    form = choose_form(as_json=as_json, as_csv=as_csv)
    settings = device_spec or ()
    timed = None if time is None else find_device(time, settings, config_dir)
    holder = timed if on is None else find_device(on, settings, config_dir, "--on")
    if timed is not None and holder is not None and timed.kind != holder.kind:
        raise ConfigError(f"--time {time} --on {on}: one is a CPU and the other is not; name one device")
    shared = ["hardware.strategy=fsdp", f"hardware.fsdp_size={shard}"] if (shard or 1) > 1 else []
    layout = Layout(
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        processes=max(processes or 1, shard or 1) if processes or shard else None,
        device=device.value if holder is None else holder.kind,
        rollout=rollout,
        memory=None if holder is None else round(holder.memory_gib * GIB),
    )
    if out:
        make_folder(out)
    frame = memory_frame(
        add_runs_dir([*(overrides or ()), *shared], runs_dir), layout, implementation.value, config_dir, timed
    )
    if form is Form.TABLE:
        tables = memory_tables(frame, layout)
        for table in tables if timed is None else [*tables, *time_tables(frame, str(time), timed)]:
            console().print(table)
    else:
        print_frame(frame, "memory", form)
    notes = console(stderr=form is not Form.TABLE, soft_wrap=True, highlight=False)
    for path in save_report(out, frame, layout) if out else []:
        notes.print(f"saved    {path}")
