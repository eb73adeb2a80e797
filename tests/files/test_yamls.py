"""YAML of others: what is a tree of ordinary size is read, and all else is one line that names file and line."""

import os
import time
from pathlib import Path

import pytest
import yaml

from tipx.config import load
from tipx.errors import ConfigError, ReportError
from tipx.files.yamls import BYTES, DEPTH, NODES, first_comment, parse_yaml, read_yaml
from tipx.report.spec import load as load_report
from tipx.sweep.question import read_sweep


def bomb(levels: int, width: int = 10) -> str:
    """`width ** levels` leaves in a line for each level."""
    lines = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * width)}]" for i in range(levels)]
    return "\n".join(lines) + "\n"


WRONG: dict[str, tuple[str | bytes, str]] = {
    "aliases that double": (bomb(30), r"line 6: more than 200000 keys and values, every alias written out"),
    "merged": ("a: &a {x: 1}\n" + bomb(30).replace("[x", "[*a"), "more than 200000 keys and values"),
    "recursive": ("x: 1\na: &a [*a]\n", r"line 2: \*a stands inside what it names"),
    "recursive, further down": ("a: &a {b: {c: [1, *a]}}\n", r"\*a stands inside what it names"),
    "deep": ("a: " + "[" * 100_000, "line 1: more than 50 mappings and lists inside each other"),
    "many": ("a: [" + "1," * NODES + "]", "more than 200000 keys"),
    "large": (b"#" * (BYTES + 1), "is larger than 4 MiB"),
    "NUL": ("a: 1\nb: \0", "line 2: holds a NUL byte"),
    "not UTF-8": (b"a: 1\n\nb: \xff", "line 3: is no UTF-8 text"),
    "control": ("a: \x01", "is no YAML: unacceptable character"),
    "tag": ("a: 1\nb: !!python/object/apply:os.system [ls]", r"line 2: a tag \(.*os.system\); write the plain value"),
    "tag of a type": ("a: !!timestamp x", "line 1: a tag"),
    "twice": ("a: 1\nb: {c: 1,\n  c: 2}", r"line 3: 'c' stands twice"),
    "list": ("# list\n- a", "line 2: expected a mapping, KEY: VALUE"),
    "torn": ("a: [1\nb: 2", "line 2: is no YAML: "),
    "two": ("a: 1\n---\na: 2", "line 2: is no YAML: but found another document"),
    "unknown alias": ("a: 1\nb: *c", "line 2: is no YAML: found undefined alias"),
    "unhashable": ("? [a]\n: 1", "line 1: is no YAML: found unhashable key"),
    "a key of another kind": ("1: 2", "expected text as keys, got 1"),
    "no date": ("a: 2024-99-99", r"a value that cannot be read \(month must be in 1..12"),
    "many digits": ("a: " + "9" * 5000, "a value that cannot be read"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(case: str, tmp_path: Path) -> None:
    content, said = WRONG[case]
    file = tmp_path / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    start = time.process_time()
    with pytest.raises(ConfigError, match=f"mine.yaml: .*{said}.*; mend it$") as caught:
        read_yaml(file, ConfigError, "mend it")
    assert "\n" not in str(caught.value)
    assert time.process_time() - start < 5
    # Each reader of others' files has it from here.
    with pytest.raises(ConfigError, match=said):
        read_sweep(str(file), None)
    with pytest.raises(ReportError, match=said):
        load_report(str(file), None)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert parse_yaml(text, "it", ConfigError, "") == {}


def test_ordinary_yaml_is_what_the_library_says() -> None:
    text = """
    base: &base [model=tiny, &rate optim.lr=1e-3]
    more: {<<: &m {x: 1, y: 2}, y: 3, z: [*rate, 1.5, null, true, 2024-01-02]}
    again: [*base, *base, *m]
    "é": |
      two
      lines
    """
    assert parse_yaml(text, "it", ConfigError, "") == yaml.safe_load(text)
    ends = "a: " + "[" * (DEPTH - 1) + "]" * (DEPTH - 1)
    assert parse_yaml(ends, "it", ConfigError, "") == yaml.safe_load(ends)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path, "is no file"),
        (tmp_path / "pipe", "is no file"),
        (Path("/dev/zero"), "is no file"),
        (tmp_path / "none", "No such file"),
        (tmp_path / ("x" * 300), "File name too long"),
        (Path("a\0b"), "null byte"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_yaml(path, ConfigError, "mend it")
        assert first_comment(path) == ""


def test_a_first_comment(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("# @package _global_\n# What it is\n# more\n")
    assert first_comment(file) == "What it is"
    file.write_bytes(b"# \xff")
    assert first_comment(file) == ""


def test_a_folder_of_ones_own_is_looked_through_before_hydra_reads_it(tmp_path: Path) -> None:
    group = tmp_path / "selector"
    group.mkdir()
    mine = group / "mine.yaml"
    mine.write_text("defaults: [soft_or]\n")
    assert load(["selector=mine"], config_dir=tmp_path).selector.score._target_.endswith("SoftOr")
    mine.write_text(bomb(20))
    with pytest.raises(ConfigError, match=r"selector/mine.yaml: line 6: more than .*; mend it, or take it out of"):
        load(["selector=mine"], config_dir=tmp_path)
    mine.unlink()
    mine.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"cannot read .*selector/mine.yaml: No such file"):
        load([], config_dir=tmp_path)
    mine.unlink()
    (group / "again").symlink_to(tmp_path, target_is_directory=True)
    (group / "once").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ConfigError, match=r"holds more than 10000 files; give one laid out like conf/"):
        load([], config_dir=tmp_path)
