"""The house: imports point down only, and a few things are done in one place only. All is read from the source."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import tipx

# From the bottom. A module imports from layers below its own, a package also from itself; a new module is put in here.
LAYERS = (
    {"adapters", "cores", "errors", "moved", "noise", "types"},
    {"files"},
    {"spec", "signals", "slurm"},
    {"text", "stats", "grading"},
    {"sharding"},
    {"selectors", "divergences", "processes", "runs", "rollout"},
    {"vocab", "config", "agents"},
    {"display", "deepplanning"},
    {"models", "embedded"},
    {"data"},
    {"evals"},
    {"train", "report", "inspect"},
    {"memory"},
    {"export", "notebook", "sweep", "watch", "doctor"},
    {"cli"},
    {"__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ROOT = Path(tipx.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Who may touch a disk, and why.
WRITERS = {
    "files/atomic.py": "whole or not there",
    "runs/directory.py": "the run directory",
    "runs/checkpoints.py": "a checkpoint, in the run directory",
    "runs/metrics_file.py": "metrics.jsonl, in the run directory",
    "evals/runner.py": "results, in a folder it is given",
    "evals/journal.py": "answers so far, in the same folder",
    "evals/heldout.py": "results, in a folder it is given",
    "embedded/build.py": "the embedded pairs, each in a folder it is given",
    "report/output.py": "a report, in a folder it is given",
    "memory/report.py": "a prediction, in a folder it is given",
    "export/model.py": "a model, in the folder it is given",
    "export/publish.py": "what goes beside it, in the same folder",
    "deepplanning/archive.py": "what an archive holds, in a folder it is given",
    "deepplanning/pull.py": "the benchmark's data, in a folder it is given",
    "models/gguf.py": "converted models, in the user's cache",
    "models/sharded.py": "a checkpoint's model, in the folder it is given, and links in a temporary folder",
    "models/lora.py": "a checkpoint's model, in a folder it is given",
    "train/trainer.py": "a checkpoint's content, in the folder that `Run.save` moves into place",
    "rollout/colocated.py": "an engine's configuration, in a temporary folder, and its log in the run directory",
    "rollout/served.py": "the folder of a server's weights",
    "rollout/weights_folder.py": "weights, or a model, in a folder it is given",
    "train/ahead.py": "a checkpoint's content, in the same folder",
    "display/config_yaml.py": "nothing: YAML as text",
    "display/plots.py": "nothing: matplotlib gives a picture as bytes",
    "display/output.py": "nothing: pandas gives CSV as text",
    "report/formats.py": "nothing: pandas gives CSV as text",
    "runs/listed.py": "the list of runs, beside them",
    "runs/sweep_folder.py": "the plan of a sweep and its failures",
    "sweep/job.py": "what a point's process says, in a log",
    "inspect/save.py": "pages, tables and pictures, in the file it is given",
    "watch/page.py": "its page, in the file it is given",
    "train/meter.py": "/proc/self/clear_refs, to reset the memory peak",
}
# Who may catch anything at all, and why; it must raise again what it does not know.
CATCHERS = {
    "files/atomic.py": "a full disk has a class of its own in each of four libraries",
    "models/locate.py": "tokenizers says `Exception` itself of a file that it cannot read",
    "models/gguf.py": "as locate.py",
}
# Who may make tables of rich's own, in which a narrow terminal breaks words; all others make a FittedTable.
TABLES = {
    "display/fit.py": "the one that breaks none",
    "inspect/text.py": "tokens of a rollout, which are wrapped like text",
    "cli/kinds.py": "two columns, the second of prose",
    "display/explanation.py": "as kinds.py",
    "cli/reporting.py": "as kinds.py",
}
WRITES = {
    "write_text",
    "write_bytes",
    "write_json",
    "write_folder",
    "append_text",
    "mkdir",
    "touch",
    "unlink",
    "rmtree",
}
WRITES |= {
    "savefig",
    "save_pretrained",
    "save_file",
    "rename",
    "rmdir",
    "makedirs",
    "copytree",
    "copyfile",
    "symlink_to",
}
WRITES |= {"to_csv", "to_json", "to_parquet", "NamedTemporaryFile", "mkdtemp", "TemporaryDirectory"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Every imported module or name, dotted; also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top(dotted: str) -> str:
    """`selectors` of `tipx.selectors.topk.TopK`."""
    return dotted.split(".")[1]


def writes(tree: ast.AST) -> Iterator[str]:
    """Calls that change a disk."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        last = called.rsplit(".", 1)[-1]
        modes = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
        opens = last in ("open", "fdopen") and any(isinstance(m, str) and set(m) & set("wax+") for m in modes)
        if last in WRITES or opens or called in ("torch.save", "json.dump", "yaml.dump", "os.replace", "shutil.move"):
            yield called


def of_every_file(check: Callable[[tuple[str, ast.Module]], None]) -> Callable[[], None]:
    """One test, which names the file that fails: thousands of tests would take a while each."""

    def test() -> None:
        for path in FILES:
            try:
                check((name(path), parsed(path)))
            except AssertionError as error:
                error.add_note(name(path))
                raise

    return test


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_every_module_has_a_layer_and_every_layer_its_modules() -> None:
    assert sum(len(names) for names in LAYERS) == len(LEVEL), "a module is in two layers"
    there = {Path(name(path)).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert LEVEL.keys() == there


@of_every_file
def test_imports_point_down(source: tuple[str, ast.Module]) -> None:
    file, tree = source
    here = Path(file).parts[0].removesuffix(".py")
    used = {top(dotted) for dotted in imports(tree) if dotted.startswith("tipx.")}
    if here == "__init__":
        assert used == {"notebook"}
        return
    for other in used - {here}:
        assert LEVEL[other] < LEVEL[here], f"{here} imports {other}, which is not below it"


@of_every_file
def test_one_place_for_each_foreign_thing(source: tuple[str, ast.Module]) -> None:
    file, tree = source
    packages = {dotted.split(".")[0] for dotted in imports(tree)}
    if not file.startswith("config/"):
        assert not packages & {"hydra", "omegaconf"}
    if not file.startswith("cli/"):
        assert not packages & {"typer", "click"}
    if file != "train/loggers.py":
        assert not packages & {"wandb", "tensorboard", "trackio"}
    light = (
        "report/",
        "runs/",
        "files/",
        "stats/",
        "grading/",
        "display/console.py",
        "display/tables.py",
        "display/palette.py",
        "display/plots.py",
    )
    if file.startswith(light):
        assert not packages & {"torch", "transformers", "hydra", "omegaconf"}


@of_every_file
def test_consoles_are_made_in_one_place(source: tuple[str, ast.Module]) -> None:
    file, tree = source
    if file == "display/console.py":
        return
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    wrong = {"print", "Console", "rich.console.Console", "RichConsole", "typer.echo", "typer.secho", "Text.from_markup"}
    # What is printed may be somebody else's, and what it is printed to may break.
    assert not [name for name in called if name in wrong or name.startswith(("sys.stdout", "sys.stderr"))]


@of_every_file
def test_tables_break_no_word(source: tuple[str, ast.Module]) -> None:
    file, tree = source
    assert file in TABLES or not any(dotted.startswith("rich.table") for dotted in imports(tree))


@of_every_file
def test_signals_are_handled_in_one_place(source: tuple[str, ast.Module]) -> None:
    file, tree = source
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    # A timer's own signal is no wish to stop: it ends a template or a size that runs away.
    places = ("signals.py", "files/untrusted.py")
    assert not [name for name in called if name == "signal.signal" and file not in places]


@of_every_file
def test_only_a_few_modules_write(source: tuple[str, ast.Module]) -> None:
    file, tree = source
    found = sorted(writes(tree))
    assert bool(found) == (file in WRITERS), found


@of_every_file
def test_no_bug_is_swallowed(source: tuple[str, ast.Module]) -> None:
    file, tree = source
    for node in [n for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler)]:
        if re.search(r"\b(Base)?Exception\b", ast.unparse(node.type or ast.Name("BaseException"))):
            assert file in CATCHERS, f"line {node.lineno} catches bugs too"
            assert any(isinstance(part, ast.Raise) and part.exc is None for part in ast.walk(node))


@of_every_file
def test_no_device_by_name_no_lazy_annotations_no_globals(source: tuple[str, ast.Module]) -> None:
    _, tree = source
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    # accelerate says where things are: .to(device).
    assert not [call for call in calls if isinstance(call, ast.Attribute) and call.attr == "cuda"]
    # They turn off the checks of dataclasses and shapes.
    assert "__future__.annotations" not in set(imports(tree))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)]
