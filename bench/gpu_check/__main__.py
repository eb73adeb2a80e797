"""Parse, run each section, report. The exit code: 0 if all checks passed, 1 if some did not, 2 for wrong input."""

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path
from shutil import which
from tempfile import TemporaryFile
from time import localtime, monotonic, strftime

import torch
from rich.console import Console

from bench.gpu_check import report
from bench.gpu_check.results import Section
from bench.gpu_check.sections import SECTIONS, run_section, start_section
from tipx.runs.provenance import find_version, git_output

PACKAGES = ("torch", "triton", "transformers", "accelerate", "trl", "liger-kernel", "vllm")
MINUTES = 10.0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description="What one GPU does to tipx.")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, to see whether the script itself runs")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="what does not fit into these is skipped")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--out", type=Path, help="a folder for the report; default: a new one under this folder")
    parser.add_argument("--section", choices=list(SECTIONS), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.minutes > 0:
        parser.exit(2, f"--minutes {args.minutes:g}: expected more than 0\n")
    return args


def find_mistake(args: argparse.Namespace) -> str | None:
    """What is wrong with the input, in one line. Makes the folder of the report."""
    if args.device == "cuda" and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU"
        return (
            f"--device cuda: expected a GPU, and torch {torch.__version__} (built for {built}) sees none; to see "
            "whether the script runs: --device cpu --small"
        )
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=args.out):
            pass
    except OSError as error:
        return f"--out {args.out}: expected a folder that can be written to ({error.strerror}); name another one"
    return None


def describe_machine(device: str, *, small: bool) -> dict[str, str]:
    """Driver and versions, for the report."""
    about = {"date": strftime("%Y-%m-%d %H:%M", localtime()), "sizes": "small" if small else "full"}
    if device == "cuda":
        about["driver"] = driver_version() or "unknown"
    about["python"] = platform.python_version()
    about["tipx"] = git_output("rev-parse", "--short", "HEAD") or find_version("tipx") or "unknown"
    return about | {name: find_version(name) or "not installed" for name in PACKAGES}


def driver_version() -> str | None:
    """As nvidia-smi tells it; None where it does not."""
    command = which("nvidia-smi")
    if command is None:
        return None
    done = subprocess.run(
        [command, "--query-gpu=driver_version", "--format=csv,noheader"], check=False, capture_output=True, text=True
    )
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def new_folder() -> Path:
    """A name that is not taken, under the current folder."""
    base = f"gpu-check-{strftime('%Y%m%d-%H%M%S', localtime())}"
    names = (base, *(f"{base}-{number}" for number in range(2, 100)))
    return next(path for name in names if not (path := Path(name)).exists())


def run_all(args: argparse.Namespace, console: Console) -> list[Section]:
    """Each section that is asked for, as long as there is time. The report is written after each."""
    about = describe_machine(args.device, small=args.small)
    deadline = monotonic() + 60 * args.minutes
    sections: list[Section] = []
    for name in args.only:
        part, left = SECTIONS[name], deadline - monotonic()
        if left < part.fewest_s:
            why = f"{max(left, 0):.0f} s of {args.minutes:g} minutes are left, and it takes {part.fewest_s:g} or more"
            sections.append(Section(name, "skipped", why))
        else:
            console.print(f"{name}: {part.what}; {left:.0f} s left")
            is_last = len(sections) + 1 == len(args.only)
            seconds = left if is_last else max(left * part.share, part.fewest_s)

            def tell(text: str) -> None:
                console.print(f"  {text}; {deadline - monotonic():.0f} s left")

            sections.append(
                start_section(name, args.device, small=args.small, seconds=seconds, out=args.out, tell=tell)
            )
        last = sections[-1]
        passed = sum(check.passed for check in last.checks)
        console.print(f"{name}: {last.status}, {passed} of {len(last.checks)} checks passed {last.why}".rstrip())
        report.write(about, sections, args.out)
    return sections


def main() -> int:
    """The exit code."""
    args = parse_arguments()
    if args.section:
        run_section(args.section, args.device, small=args.small, seconds=args.seconds, file=args.file)
        return 0
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    args.out = args.out or new_folder()
    mistake = find_mistake(args)
    if mistake:
        console.print(mistake)
        return 2
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    try:
        sections = run_all(args, console)
    except KeyboardInterrupt:
        console.print(f"stopped; what was found so far is in {args.out}")
        return 130
    passed, lines = report.verdict(sections)
    for line in [*lines, "all checks passed" if passed else "not all checks passed"]:
        console.print(line)
    console.print(f"{args.out}: {report.NAME}.json, {report.NAME}.md, and a log of each section")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
