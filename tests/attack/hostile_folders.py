"""Model folders that a stranger broke: each a change of a good one, by kind; and one command on one of them.

Run in a process of its own, which may die: that is a fault too.
"""

import contextlib
import io
import json
import os
import pickle
import re
import resource
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Harm = Callable[[Path], object]
GIB = 2**30
HUGE = (10**9, 2**63, -1, 0, 1.5, "16", None, True, [16], 1e308)


@dataclass(frozen=True)
class Ended:
    """How a command on a hostile folder ended."""

    code: int
    err: str
    peak: int
    ran: bool


def edit(name: str, change: Callable[[Any], Any]) -> Harm:
    """A change of what a JSON file holds; the file is made if it is not there."""

    def harm(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(change(value)))

    return harm


def setting(name: str, *keys: str, to: Any) -> Harm:
    """One value of a JSON file, by its path."""

    def change(value: Any) -> Any:
        inner = value
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = to
        return value

    return edit(name, change)


def without(name: str, *keys: str) -> Harm:
    def change(value: Any) -> Any:
        inner = value
        for key in keys[:-1]:
            inner = inner[key]
        inner.pop(keys[-1], None)
        return value

    return edit(name, change)


def write(name: str, content: bytes | str) -> Harm:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def a_folder(name: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return harm


def a_loop(name: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder / name)

    return harm


def a_pipe(name: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return harm


def chat(template: Any) -> Harm:
    return setting("tokenizer_config.json", "chat_template", to=template)


def header(change: Callable[[dict[str, Any]], Any]) -> Harm:
    """The head of the safetensors file, changed and written again."""

    def harm(folder: Path) -> None:
        whole = (folder / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", whole[:8])[0]
        new = json.dumps(change(json.loads(whole[8 : 8 + size]))).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(new)) + new + whole[8 + size :])

    return harm


def shape(value: list[int]) -> Harm:
    def change(head: dict[str, Any]) -> dict[str, Any]:
        head[next(name for name in head if name != "__metadata__")]["shape"] = value
        return head

    return header(change)


def filled(value: float, only: str = "") -> Harm:
    """Every number of the tensors whose name holds `only`."""

    def harm(folder: Path) -> None:
        import torch
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        new = {name: torch.full_like(t, value) if only in name else t for name, t in tensors.items()}
        save_file(new, folder / "model.safetensors", {"format": "pt"})

    return harm


def typed(dtype: str) -> Harm:
    def harm(folder: Path) -> None:
        import torch
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        new = {name: t.to(getattr(torch, dtype)) for name, t in tensors.items()}
        save_file(new, folder / "model.safetensors", {"format": "pt"})

    return harm


class Runs:
    """Unpickled, it touches a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


def pickled(name: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps({"a": Runs(folder.parent / "canary")}))

    return harm


def binary(content: bytes) -> Harm:
    def harm(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return harm


def index(value: Any) -> Harm:
    def harm(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "a.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(value))

    return harm


def gone(*names: str) -> Harm:
    return lambda folder: [(folder / name).unlink() for name in names]


def code(auto_map: dict[str, Any], **more: Any) -> Harm:
    """Python in the folder that touches the canary when it is imported."""

    def harm(folder: Path) -> None:
        text = f"from pathlib import Path\nPath({str(folder.parent / 'canary')!r}).touch()\n"
        for name in ("modeling_own.py", "tokenization_own.py", "custom_generate/generate.py", "generate.py"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        edit("config.json", lambda value: value | {"auto_map": auto_map} | more)(folder)
        edit("tokenizer_config.json", lambda value: value | {"auto_map": auto_map})(folder)

    return harm


def adapter(folder: Path) -> None:
    gone("config.json", "model.safetensors")(folder)
    facts = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8}
    (folder / "adapter_config.json").write_text(json.dumps(facts))
    (folder / "adapter_model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")


DEEP = "[" * 100_000 + "]" * 100_000
BROKEN = {"empty": "", "no JSON": "{", "a list": "[1]", "a number": "3", "null": "null", "NUL": b"\0" * 64}
BROKEN |= {"deep": '{"a": ' + DEEP + "}", "Latin-1": b'{"a": "\xe9"}', "a word": '"x"', "cut": '{"a": [1, 2'}
JSON = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")
SIZES = ("hidden_size", "vocab_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
SIZES += ("num_key_value_heads", "head_dim", "max_position_embeddings")


def config_cases() -> dict[str, Harm]:
    cases: dict[str, Harm] = {"missing": gone("config.json")}
    cases |= {f"{key}={value!r}": setting("config.json", key, to=value) for key in SIZES for value in HUGE}
    odd: dict[str, Any] = {
        "model_type": ["nosuch", 3, None, [], {}, "t5", "bert", "clip", "whisper", "mamba", "\x1b[31mred\n", "../x"],
        "architectures": ["x", 3, [3], ["NoSuch"], {}],
        "hidden_act": ["nosuch", 3, None],
        "rope_parameters": [3, "x", [], {"rope_type": "nosuch"}, {"rope_type": "yarn"}, {"rope_theta": "x"}],
        "rope_scaling": [{"type": "nosuch"}, 3],
        "layer_types": [3, [], ["nosuch"], ["full_attention"] * 7],
        "eos_token_id": [-1, "x", [], [[1]], 10**12, 1.5],
        "pad_token_id": [-1, "x", 10**12],
        "rms_norm_eps": ["x", -1, None, 1e308],
        "tie_word_embeddings": ["x", 3, False],
        "dtype": ["nosuch", 3, "int8"],
        "num_attention_heads": [3, 5, 7],
        "quantization_config": [
            3,
            {},
            {"quant_method": "nosuch"},
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            {"quant_method": "gptq", "bits": 4},
            {"quant_method": "awq"},
            {"quant_method": "fp8"},
        ],
        "attn_implementation": ["org/kernel", "nosuch", 3],
        "_attn_implementation": ["org/kernel"],
        "is_encoder_decoder": [True],
        "transformers_weights": ["../x.safetensors", "/etc/passwd", 3],
        "tokenizer_class": ["NoSuch", 3, "BertTokenizer"],
        "text_config": [3, {}, {"hidden_size": 10**9}],
        "sliding_window": ["x", -1],
        "attention_dropout": ["x", 2],
    }
    cases |= {f"{k}={v!r:.40}": setting("config.json", k, to=v) for k, values in odd.items() for v in values}
    return cases


def file_cases() -> dict[str, Harm]:
    cases = {f"{name}: {how}": write(name, content) for name in JSON for how, content in BROKEN.items()}
    more = ("special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json", "preprocessor_config.json")
    cases |= {f"{name}: {how}": write(name, BROKEN[how]) for name in more for how in ("no JSON", "a list", "NUL")}
    every = (*JSON, "model.safetensors")
    kinds = {"a folder": a_folder, "a loop": a_loop, "a pipe": a_pipe}
    return cases | {f"{name}: {how}": make(name) for name in every for how, make in kinds.items()}


def tokenizer_cases() -> dict[str, Harm]:
    def words(change: Callable[[dict[str, int]], Any]) -> Harm:
        def inner(value: Any) -> Any:
            value["model"]["vocab"] = change(value["model"]["vocab"])
            return value

        return edit("tokenizer.json", inner)

    cases: dict[str, Harm] = {"no files": gone("tokenizer.json", "tokenizer_config.json")}
    cases["no tokenizer.json"] = gone("tokenizer.json")
    parts = ("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor")
    for part in (*parts, "decoder", "model"):
        cases |= {f"{part}={v!r}": setting("tokenizer.json", part, to=v) for v in (3, "x", {}, {"type": "NoSuch"})}
        cases[f"no {part}"] = without("tokenizer.json", part)
    cases |= {
        "ids beyond the head": words(lambda v: v | {"far": 10**6}),
        "ids far beyond": words(lambda v: v | {"far": 2**32 - 1}),
        "ids below 0": words(lambda v: v | {"far": -1}),
        "ids of letters": words(lambda v: v | {"far": "x"}),
        "no words": words(lambda _: {}),
        "two of one id": words(lambda v: dict.fromkeys(v, 0)),
        "a list of words": words(list),
        "odd words": words(lambda v: v | {"\ud800": len(v), "\x1b[31m": len(v) + 1}),
        "padding": setting("tokenizer.json", "padding", to={"strategy": {"Fixed": 10**12}, "direction": "Left"}),
        "truncation": setting("tokenizer.json", "truncation", to={"max_length": 0, "stride": 10**9}),
        "no unknown": setting("tokenizer.json", "model", "unk_token", to="nosuch"),
        "an added token": setting("tokenizer.json", "added_tokens", to=[{"id": 10**9, "content": "far"}]),
        "added tokens.json": write("added_tokens.json", '{"far": 99999999, "b": "x"}'),
        "special tokens": write("special_tokens_map.json", '{"eos_token": 3, "pad_token": {"content": []}}'),
    }
    odd: dict[str, Any] = {
        "tokenizer_class": ["NoSuch", 3, [], "BertTokenizer", "../x"],
        "eos_token": [3, None, [], {}, {"content": 3}, "nosuch", "\ud800"],
        "pad_token": [3, [], "nosuch"],
        "model_max_length": ["x", -1, 0, 1, None, 1e308, 10**30, []],
        "padding_side": ["up", 3],
        "added_tokens_decoder": [3, [], {"x": {}}, {"0": 3}, {"99999999": {"content": "far"}}],
        "extra_special_tokens": [3, "x", {"a": 3}],
        "clean_up_tokenization_spaces": ["x", []],
        "backend": [3, "nosuch"],
        "model_input_names": [3, "x", [3]],
    }
    name = "tokenizer_config.json"
    cases |= {f"{key}={v!r:.40}": setting(name, key, to=v) for key, values in odd.items() for v in values}
    return cases


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}x"
TEMPLATES: dict[str, Any] = {
    "syntax": "{% if %}",
    "open": "{{ messages",
    "undefined": "{{ a.b.c }}",
    "raises": "{{ raise_exception('no\nline') }}",
    "zero": "{{ 1 / 0 }}",
    "type": "{{ 'a' + 1 }}",
    "key": "{{ {}['a'] + 1 }}",
    "filter": "{{ 'a' | nosuch }}",
    "test": "{{ 'a' is nosuch }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "sandbox": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "format": "{{ '{0.__class__}'.format(1) }}",
    "long": "{{ 'a ' * 10000000000 }}",
    "wide": "{{ 'a' | center(10000000000) }}",
    "padded": "{{ '%010000000000d' | format(1) }}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "loops": LOOP,
    "doubling": "{% set n = namespace(s='a ') %}{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "a list": "{{ [0] * 10000000000 }}",
    "lorem": "{{ lipsum(n=100000) }}",
    "over the context": "{% for i in range(2000) %}tom {% endfor %}",
    "over any context": "{% for i in range(90000) %}{{ 'tom ' * 90 }}{% endfor %}",
    "nested": "{{" + "(" * 5000 + ")" * 5000 + "}}",
    "nested ifs": "{% if true %}" * 3000 + "{% endif %}" * 3000,
    "surrogate": "{{ '\\ud800' }} tom {{ messages[0]['content'] }}",
    "nothing": "",
    "not text": 3,
    "list": ["a"],
    "names": [{"name": "a", "template": "tom {{ messages[0]['content'] }}"}],
    "names without text": [{"name": "default", "template": 3}],
    "object": {"a": 3},
    "time": "{{ strftime_now(3) }}",
    "json": "{{ messages | tojson(indent=10000000000) }}",
    "break": "{% break %}",
}


def generation_cases() -> dict[str, Harm]:
    odd: dict[str, Any] = {
        "eos_token_id": ["x", -1, 10**12, [], ["x"], [[1]], {}, 1.5, True, None],
        "pad_token_id": ["x", -1, 10**12, []],
        "max_length": ["x", -1, 10**12],
        "max_new_tokens": ["x", -1],
        "temperature": ["x", -1, 0, None],
        "top_p": [2, "x"],
        "top_k": [-1, "x"],
        "num_beams": ["x", -1, 10**9],
        "do_sample": ["x", 3],
        "cache_implementation": ["nosuch", 3],
        "compile_config": [3],
        "watermarking_config": [3],
        "transformers_version": [3],
    }
    name = "generation_config.json"
    return {f"{key}={v!r}": setting(name, key, to=v) for key, values in odd.items() for v in values}


def weight_cases() -> dict[str, Harm]:
    def cut(share: float) -> Harm:
        def harm(folder: Path) -> None:
            path = folder / "model.safetensors"
            os.truncate(path, int(path.stat().st_size * share))

        return harm

    def rename(head: dict[str, Any]) -> dict[str, Any]:
        return {f"other.{name}" if name != "__metadata__" else name: value for name, value in head.items()}

    first = "a.safetensors"
    return {
        "none": gone("model.safetensors"),
        **{f"cut to {share:.0%}": cut(share) for share in (0, 0.0005, 0.01, 0.5, 0.99)},
        "a head of 2^63": lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}"),
        "a head of 10^11": lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 10**11) + b"{}"),
        "text": write("model.safetensors", "hello " * 99),
        "other names": header(rename),
        "a huge shape": shape([10**9, 10**9]),
        "a negative shape": shape([-1]),
        "no shape": shape([]),
        "NaN": filled(float("nan")),
        "infinite": filled(float("inf"), "embed"),
        "NaN in one": filled(float("nan"), "norm"),
        "numbers too large": filled(1e38),
        "float64": typed("float64"),
        "int8": typed("int8"),
        "bool": typed("bool"),
        "fp8": typed("float8_e4m3fn"),
        "complex": typed("complex64"),
        "a pickle that runs": pickled("pytorch_model.bin"),
        "garbage": binary(b"\x80\x05garbage"),
        "an empty bin": binary(b""),
        "a zip": binary(b"PK\3\4" + b"\0" * 99),
        "an index outside": index({"weight_map": {"a": "../a.safetensors"}}),
        "an index of a device": index({"weight_map": {"a": "/dev/zero"}}),
        "an index of nothing": index({"weight_map": {}}),
        "an index without": index({"a": 3}),
        "an index of numbers": index({"weight_map": {"a": 3}}),
        "an index of missing": index({"weight_map": {"a": "b.safetensors"}}),
        "an index of a list": index({"weight_map": [first]}),
        "an index, odd metadata": index({"metadata": 3, "weight_map": {"a": first}}),
    }


def other_cases() -> dict[str, Harm]:
    own = {"AutoConfig": "modeling_own.Own", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    tokenizer = {"AutoTokenizer": ["tokenization_own.Own", None]}
    return {
        "an adapter": adapter,
        "an adapter beside": lambda f: (f / "adapter_config.json").write_text("{}"),
        "nothing": lambda f: [path.unlink() for path in f.iterdir()],
        "code": code(own, model_type="own"),
        "code of a known type": code(own),
        "code for the tokenizer": code(tokenizer, model_type="own"),
        "code of the tokenizer alone": code(tokenizer),
        "code of another repository": code({"AutoConfig": "org/repo--modeling_own.Own"}, model_type="own"),
        "odd code": code({"AutoConfig": 3, "AutoTokenizer": 3}, model_type="own"),
        "a map of nothing": setting("config.json", "auto_map", to=3),
        "code that generates": code({}, custom_generate="custom_generate"),
        "a template in a file": write("chat_template.jinja", "{% if %}"),
        "a template of bytes": write("chat_template.jinja", b"\xff\xfe"),
        "a long name": lambda f: f.rename(f.parent / ("n" * 200)),
        "an odd name": lambda f: f.rename(f.parent / "red\x1b[31m\nname"),
        "an odd name, broken": lambda f: (gone("config.json")(f), f.rename(f.parent / "red\x1b[31m\nname")),
        "a name of bytes": lambda f: (gone("config.json")(f), f.rename(os.fsdecode(os.fsencode(f.parent) + b"/\xff"))),
    }


KINDS: dict[str, dict[str, Harm]] = {
    "config.json": config_cases(),
    "files": file_cases(),
    "tokenizer": tokenizer_cases(),
    "chat template": {name: chat(template) for name, template in TEMPLATES.items()},
    "generation": generation_cases(),
    "weights": weight_cases(),
    "others": other_cases(),
}
COMMANDS = ("preflight", "eval", "train")


def arguments(command: str, target: Path, teacher: Path, *, template: bool) -> list[str]:
    """The command line that reads the folder: as the student of a run, or by itself."""
    quoted = str(target).replace("\\", "\\\\").replace("'", "\\'")
    shared = ["hardware.device=cpu", f"{'' if command == 'eval' else 'model.'}template.chat={str(template).lower()}"]
    if command == "eval":
        return ["eval", str(target), *shared, "limit=2", "n=1", "eval.sampling.max_new_tokens=4"]
    few = ["data.size=4", "loop.steps=1", "loop.prompts=2", "rollout.max_new_tokens=4", "loop.eval_every=0"]
    few += ["loop.eval_last=false", "loop.save_every=1", "loop.sample_every=0", "optim.warmup_steps=0"]
    places = [f"model.teacher.path={teacher}", f"model.student.path='{quoted}'"]
    return [command, *places, *shared, *few]


def attempt(kind: str, name: str, command: str, good: Path, space: Path, limit: int) -> Ended:
    """Break a copy of `good` in `space` and run the command on it, in this process, with `limit` bytes more at most."""
    from tipx.cli import main

    space.mkdir(parents=True)
    target = space / "model"
    shutil.copytree(good, target)
    KINDS[kind][name](target)
    if not target.exists():  # it has another name now
        target = next(path for path in space.iterdir() if path.name != "canary")
    args = arguments(command, target, good, template=kind == "chat template" or "template" in name)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with contextlib.suppress(OSError):  # resets the peak, where a process may
        Path("/proc/self/clear_refs").write_text("5")
    before, code, err = resident("VmRSS"), 0, space.with_suffix(".err")
    os.chdir(space)
    sys.argv = ["tipx", *args]
    os.environ |= {"COLUMNS": "240", "TIPX_CACHE": str(space / "cache")}
    with err.open("w", errors="backslashreplace") as handle, contextlib.redirect_stdout(io.StringIO()):
        os.dup2(handle.fileno(), 2)  # what is not written in Python, too
        with contextlib.redirect_stderr(handle):
            try:
                main()
            except SystemExit as stop:
                code = int(stop.code or 0)
            except Exception as error:  # noqa: BLE001 - what a user would see as a traceback
                code = 1
                handle.write(f"Traceback: {type(error).__name__}: {error}"[:300])
    ended = Ended(code, err.read_text(), resident("VmHWM") - before, (space / "canary").exists())
    shutil.rmtree(space, ignore_errors=True)
    err.unlink()
    return ended


def resident(mark: str) -> int:
    """Bytes of this process's memory, as Linux counts them."""
    found = re.search(rf"^{mark}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def fault(ended: Ended) -> str | None:
    """What is wrong with how a command ended; None where it is one line, or the change did no harm."""
    if ended.ran:
        return "code of the folder ran"
    if ended.peak > GIB:
        return f"took {ended.peak / GIB:.1f} GiB"
    lines = ended.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    # A run that began well and cannot go on stops with code 1: warnings may stand before its one error.
    stopped = ended.code == 1 and len(errors) == 1 and errors[0].startswith("error: stopped: ")
    if "Traceback" in ended.err or not (ended.code in (0, 2) or stopped):
        return f"exit code {ended.code}: {ended.err[-200:]!r}"
    if ended.code == 2 and (len(lines) != 1 or not errors):
        return f"{len(lines)} lines: {ended.err[-300:]!r}"
    if not all(c.isprintable() for line in errors for c in line):
        return f"unprintable: {ended.err!r}"
    return None
