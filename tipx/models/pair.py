"""Teacher and student: loads both, and checks that they fit together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tipx.adapters import is_adapted
from tipx.agents.chat import Chat
from tipx.errors import ModelError
from tipx.files.untrusted import printable_text
from tipx.models.folder import BrokenModel
from tipx.models.head import check_generation, check_head, check_logits
from tipx.models.locate import (
    EMBEDDED,
    PACKAGE,
    LocatedModel,
    find_weights,
    guard_model_loading,
    is_local,
    resolve_model_path,
    silence_libraries,
)
from tipx.models.lora import (
    Base,
    LoRA,
    SavedAdapter,
    add_adapter,
    check_base,
    check_same_adapters,
    describe_targets,
    fingerprint_weights,
    import_peft,
    load_adapter,
    read_adapter,
)
from tipx.models.offload import OnDevice, park_on_cpu
from tipx.models.pruning import Layers, keep_layers
from tipx.models.sharded import allocate_shards, build_empty, find_weight_files, read_slices, take_whole
from tipx.models.sizes import check_sizes
from tipx.processes import World
from tipx.sharding import Sharding, whole_weights
from tipx.spec import Auto, PathText, Words, spec
from tipx.text.chat_template import find_context_length, render_chat
from tipx.text.encoding import add_prefix_ids, encode_bare, encode_rendered, hide_special_tokens
from tipx.text.token_ids import count_rows, pad_id
from tipx.types import Prompt, Turn

TEMPLATE_REMEDY = "give the tokenizer another chat_template, or type template@model.template=plain"
PROBE_TEXT = "The answer is \\boxed{42}. tom has 14 pens . then 14 + 8 = 22 . a : <|im_end|> é 数"


Adapt = Callable[[PreTrainedModel], None]
"""Adds adapters to a model, in place."""
Dtype = Literal["float32", "bfloat16", "float16"]


@spec
class ModelSource:
    """One model, and how it is loaded."""

    path: PathText
    """A hub id, a folder, a GGUF file, package:NAME for the model in an installed package, or embedded:teacher,
    embedded:student, embedded:agent/... for the pairs in tipx."""
    revision: Words | None
    """Branch, tag or commit of a hub id. null is main."""
    dtype: Dtype
    """Of the weights. Weights in bfloat16 hardly move at a learning rate of 1e-6. float16 is refused for a student
    that is trained."""
    attn: Words | None
    """Attention implementation of transformers, as sdpa, eager or flash_attention_2. null is its own choice."""
    keep_layers: Layers | None
    """Layers that are kept, from 0, as [0-13, 20-29] with both ends; the others are removed. null keeps all."""
    trust_remote_code: bool = False
    """true runs the Python code that comes with the model, with all rights of the user."""

    def load(self, role: str, device: torch.device) -> PreTrainedModel:
        """The model in eval mode on `device`. Raises ModelError, which says what to do, if it cannot be loaded.

        A checkpoint with adapters becomes its base with these adapters.
        """
        key = f"model.{role}.path"
        if (saved := self.read_adapter(key)) is not None:
            return self.load_adapted(saved, role, device)
        with self.guard_loading(key, self.attn, whole=True) as (located, options):
            if located.folder is not None:
                config: PreTrainedConfig = AutoConfig.from_pretrained(located.folder, **options)
                check_sizes(config, located.weight_counts, code=self.trust_remote_code)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                located.name_or_path,
                dtype=getattr(torch, self.dtype),
                attn_implementation=self.attn,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
            model, info = loaded
            if model.generation_config is not None:
                check_eos_tokens(model.generation_config)
        # transformers only warns, and fills these with random numbers.
        lacking = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
        if lacking:
            raise ModelError(
                f"{key}: {self.path!r} lacks {len(lacking)} weights of a {type(model).__name__}, or has "
                f"them in another shape, e.g. {lacking[0]}; give a folder that holds them all: "
                f"{key}=/models/{printable_text(Path(self.path).name)}"
            )
        if self.keep_layers is not None:
            keep_layers(model, self.keep_layers, f"model.{role}.keep_layers")
        return model.to(device).eval()

    def load_sharded(
        self, role: str, world: World, sharding: Sharding, *, offload: bool, adapt: Adapt | None = None
    ) -> PreTrainedModel:
        """The model in eval mode, shared out over processes; all must call it. Raises ModelError.

        Each process reads its own slices. Weights that are not in safetensors files by the model's own names are read
        by the main process, whole and into its memory, and sent to the others. `adapt` adds adapters, which must be
        there when the model is shared out.
        """
        key, device = f"model.{role}.path", torch.device("cpu") if offload else world.device
        if (saved := self.read_adapter(key)) is not None:
            base = self.find_base(saved, key)
            check_base(saved.base, base.describe_base(key), saved.folder)
            return base.load_sharded(
                role, world, sharding, offload=offload, adapt=lambda model: load_adapter(model, saved, key)
            )
        with self.guard_loading(key, self.attn, whole=True) as (located, options):
            config: PreTrainedConfig = AutoConfig.from_pretrained(located.name_or_path, **options)
            check_sizes(config, located.weight_counts, code=self.trust_remote_code)
            if getattr(config, "quantization_config", None) is not None:
                raise BrokenModel("its weights are quantised, which hardware.strategy=fsdp cannot share out")
            model = build_empty(config, self.dtype, self.attn, code=self.trust_remote_code)
            names = {id(value): name for name, value in model.state_dict(keep_vars=True).items()}
            if self.keep_layers is not None:
                keep_layers(model, self.keep_layers, f"model.{role}.keep_layers")
            files = find_weight_files(located, self.revision)
        if adapt is not None:
            adapt(model)
        kept = model.state_dict(keep_vars=True)
        stored = {name: names[id(value)] for name, value in kept.items() if id(value) in names}
        sharding.shard(model, offload=offload)
        allocate_shards(model, device)
        tied = set(model.all_tied_weights_keys)
        state = model.state_dict()
        wanted = {stored[name]: state[name] for name in stored if name not in tied}
        with self.guard_loading(key, self.attn, whole=True):
            read = read_slices(wanted, files)
        if not read:
            with world.shared_failure():
                whole = self.load(role, torch.device("cpu")) if world.is_main else None
                if whole is not None and adapt is not None and not is_adapted(whole):
                    adapt(whole)
            take_whole(model, whole)
        return model

    def load_tokenizer(self, role: str) -> PreTrainedTokenizerBase:
        """The model's tokenizer, which pads on the left, as generation needs. Raises ModelError."""
        key = f"model.{role}.path"
        with self.guard_loading(key) as (located, options):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                located.name_or_path, padding_side="left", **options
            )
            # Use every part that is needed later: an error there would look like a bug of tipx.
            words, eos_id = set(tokenizer(PROBE_TEXT)["input_ids"]), tokenizer.eos_token_id
            tokenizer.decode(sorted(words))
            parts = tokenizer.get_vocab(), len(tokenizer), tokenizer.pad_token_id, tokenizer.get_added_vocab()
        if eos_id is None:
            raise ModelError(f"{key}: the tokenizer of {self.path!r} has no end-of-sequence token")
        # If its files are missing, transformers makes an empty tokenizer.
        if len(words) < 2 or not parts[0]:
            raise ModelError(
                f"{key}: the tokenizer of {self.path!r} knows no words; put its files (tokenizer.json, "
                "tokenizer_config.json) beside the model's"
            )
        return tokenizer

    def load_settings(self, role: str) -> tuple[PreTrainedConfig, GenerationConfig]:
        """The configuration, checked against the weights, and the generation settings. Raises ModelError.

        The check compares the numbers of elements. It needs weights on disk, in a folder or in the hub's cache. Without
        them nothing is compared; loading will find missing weights later.
        """
        key = f"model.{role}.path"
        with self.guard_loading(key) as (located, options):
            config: PreTrainedConfig = AutoConfig.from_pretrained(located.name_or_path, **options)
            counts = located.weight_counts
            if counts is None and options["local_files_only"] and self.read_adapter(key) is None:
                raise BrokenModel("there are no weights in it, model.safetensors or pytorch_model.bin")
            check_sizes(config, counts, code=self.trust_remote_code)
            try:
                generation = GenerationConfig.from_pretrained(
                    located.name_or_path, revision=self.revision or "main", local_files_only=options["local_files_only"]
                )
            except OSError:  # many models have no such file; transformers itself then does the same
                generation = GenerationConfig.from_model_config(config)
            check_eos_tokens(generation)
        return config, generation

    def load_adapted(self, saved: SavedAdapter, role: str, device: torch.device) -> PreTrainedModel:
        """The base of adapters, with the adapters. Raises ModelError, also if the base is not what it was."""
        key = f"model.{role}.path"
        base = self.find_base(saved, key)
        model = base.load(role, device)
        check_base(saved.base, base.describe_base(key), saved.folder)
        load_adapter(model, saved, key)
        return model

    def find_base(self, saved: SavedAdapter, key: str) -> "ModelSource":
        """The model that saved adapters belong to. Raises ModelError."""
        import_peft(key)
        base = ModelSource(
            path=saved.base.path,
            revision=saved.base.revision,
            dtype=self.dtype,
            attn=self.attn,
            keep_layers=saved.base.keep_layers,
            trust_remote_code=self.trust_remote_code,
        )
        if base.read_adapter(key) is not None:
            raise ModelError(
                f"{key}: the base of the adapters in {self.path!r} holds adapters itself; merge those first"
            )
        return base

    def read_adapter(self, key: str) -> SavedAdapter | None:
        """What the folder says of its adapters; None for a whole model. Raises ModelError if that is damaged."""
        try:
            return read_adapter(Path(self.path))
        except BrokenModel as error:
            raise ModelError(f"{key}: {self.path!r} cannot be loaded ({error}); take another checkpoint") from error

    def describe_base(self, key: str) -> Base:
        """The model, as adapters that are trained on it name it."""
        place, path = find_weights(self.path, self.revision, key), self.path
        if is_local(path) and not path.startswith((EMBEDDED, PACKAGE)):
            path = str(Path(path).expanduser().absolute())
        sha256 = None if place is None else fingerprint_weights(place)
        return Base(path, self.revision, self.keep_layers, sha256)

    def name_or_path(self, role: str) -> str:
        """The folder or hub id to give to libraries for the model's configuration."""
        return resolve_model_path(self.path, None, f"model.{role}.path")

    @contextmanager
    def guard_loading(
        self, key: str, attn: str | None = None, *, whole: bool = False
    ) -> Iterator[tuple[LocatedModel, dict[str, Any]]]:
        """The located model, and the options for every `from_pretrained`, in a block that turns errors into ModelError.

        The options forbid questions on the terminal, and the network for a folder. `whole` includes the weights.
        """
        path, code = resolve_model_path(self.path, self.dtype if whole else None, key), self.trust_remote_code
        options = {"revision": self.revision, "trust_remote_code": code, "local_files_only": Path(path).is_dir()}
        with guard_model_loading(key, self.path, self.revision, attn, name_or_path=path, code=code) as located:
            yield located, options


@spec
class Teacher(ModelSource):
    """A model that is never trained."""

    offload: Literal["none", "cpu"]
    """cpu keeps the teacher's body on the CPU and moves it to the device only while it works: less memory, more
    time. none leaves it there."""


@spec
class Student(ModelSource):
    """The model that is trained."""

    lora: LoRA | None = None
    """Adapters of low rank that are trained in place of its own weights. null, or lora.r=null, trains these."""

    @property
    def adapters(self) -> LoRA | None:
        """The adapters that are trained. None if the student's own weights are."""
        return None if self.lora is None or self.lora.r is None else self.lora

    def load(self, role: str, device: torch.device) -> PreTrainedModel:
        key = f"model.{role}.lora"
        if self.adapters is not None:
            import_peft(key)  # before the weights
        model = super().load(role, device)
        if self.adapters is not None:
            add_adapter(model, self.adapters, key)
        return model

    def load_sharded(
        self, role: str, world: World, sharding: Sharding, *, offload: bool, adapt: Adapt | None = None
    ) -> PreTrainedModel:
        key, lora = f"model.{role}.lora", self.adapters
        if lora is not None:
            import_peft(key)
            adapt = partial(add_adapter, lora=lora, key=key)
        return super().load_sharded(role, world, sharding, offload=offload, adapt=adapt)

    def describe_adapters(self, config: PreTrainedConfig) -> str:
        """What of the student is trained, told without its weights. Raises ModelError."""
        if self.adapters is None:
            return "none: all weights of the student are trained"
        key = "model.student"
        import_peft(f"{key}.lora")
        with silence_libraries(), torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=self.trust_remote_code)
        if self.keep_layers is not None:
            keep_layers(model, self.keep_layers, f"{key}.keep_layers")
        return describe_targets(model, self.adapters, f"{key}.lora")

    def read_adapter(self, key: str) -> SavedAdapter | None:
        """None. Raises ModelError for a checkpoint with adapters: it must be clear what is trained."""
        if super().read_adapter(key) is not None:
            raise ModelError(
                f"{key}: {self.path!r} holds adapters of a run; merge them into a model folder, and give that: "
                "tipx export RUN DIR"
            )
        return None

    def at_checkpoint(self, folder: Path) -> ModelSource:
        """Where the weights of a checkpoint of this student come from. Raises ModelError if it is another student's."""
        key, kinds = "model.student.path", {True: "a whole model", False: "adapters"}
        source = ModelSource(
            path=str(folder),
            revision=None,
            dtype=self.dtype,
            attn=self.attn,
            keep_layers=None,  # it is pruned already
            trust_remote_code=self.trust_remote_code,
        )
        saved = source.read_adapter(key)
        if (saved is None) != (self.adapters is None):
            raise ModelError(
                f"{folder} holds {kinds[saved is None]}, and model.student.lora wants {kinds[self.adapters is None]}; "
                "train anew with --fresh"
            )
        if saved is not None and self.adapters is not None:
            check_base(saved.base, self.describe_base(key), folder)
            check_same_adapters(saved.lora, self.adapters, folder)
        return source


@spec
class Template:
    """How a question becomes a prompt."""

    chat: bool | Auto
    """true uses the model's chat template, false plain text. auto uses the template if the tokenizer has one."""
    instruction: str
    """Text that follows each question."""
    thinking: bool | None
    """enable_thinking of the chat template. null leaves it to the template. Where it has no effect a warning says
    so."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, question: str, before: Sequence[Turn] = ()) -> list[int]:
        """The prompt's token ids, generation prompt included, with the tokenizer's beginning-of-sequence token if any.

        In a chat, a special token that the text only spells becomes plain text. A plain question is encoded as it is.
        """
        text = question + self.instruction
        if not self.resolve(tokenizer).chat:
            if before:
                raise ModelError(
                    "model.template.chat=false: a system turn or earlier turns need a chat template; type "
                    "template@model.template=chat"
                )
            return add_prefix_ids(tokenizer, encode_bare(tokenizer, text))
        if tokenizer.chat_template is None:
            raise ModelError(
                "model.template.chat=true: the tokenizer has no chat template; take an Instruct model, or type "
                "template@model.template=plain"
            )
        roles = [*(turn.role for turn in before), "user"]
        contents, stand_ins = hide_special_tokens(tokenizer, [*(turn.text for turn in before), text])
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        rendered = render_chat(tokenizer, messages, None, self.chat_variables, TEMPLATE_REMEDY)
        for role, content in zip(roles, contents, strict=True):
            if before and role != "assistant" and content.strip() not in rendered:
                raise ModelError(f"model: the chat template leaves out {role} turns; {TEMPLATE_REMEDY}")
        return add_prefix_ids(tokenizer, encode_rendered(tokenizer, rendered, stand_ins))

    def resolve(self, tokenizer: PreTrainedTokenizerBase) -> "Template":
        """The template with `chat` true or false, as this tokenizer decides `auto`."""
        return replace(self, chat=tokenizer.chat_template is not None) if self.chat == "auto" else self

    def check_length(self, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
        """Raises ModelError if the chat template is broken, or alone is longer than the model reads."""
        if not self.resolve(tokenizer).chat:
            return
        length, most = len(self.encode(tokenizer, "?")), find_context_length(tokenizer, config)
        if most is not None and length > most:
            raise ModelError(
                f"model: with the chat template a question of one character has {length} tokens, and the model reads "
                f"{most}; {TEMPLATE_REMEDY}"
            )

    def encode_prompt(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
        """The token ids of a question, or of the beginning of an agent's task, which always uses the chat template."""
        if prompt.task is None:
            try:
                return self.encode(tokenizer, prompt.text, prompt.before)
            except ModelError as error:
                raise ModelError(f"prompt {prompt.id!r}: {error}") from error
        return self.build_chat(tokenizer, ()).start(prompt.task.messages, prompt.task.tools)

    def build_chat(self, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> Chat:
        """The encoder for conversations by the chat template. Each turn ends with one of the token ids `ends`."""
        return Chat(tokenizer, tuple(ends), self.chat_variables)

    @property
    def chat_variables(self) -> dict[str, Any]:
        """Variables of the chat template."""
        return {} if self.thinking is None else {"enable_thinking": self.thinking}


@spec
class Pair:
    """A teacher and the student that learns from it."""

    teacher: Teacher
    """The model whose distributions are learned. It must share the student's tokens."""
    student: Student
    """The model that is trained."""
    template: Template
    """How a question becomes a prompt, for both models."""

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The student's tokenizer. Raises ModelError unless the teacher's gives the same token ids."""
        tokenizer = self.student.load_tokenizer("student")
        check_tokenizers(tokenizer, self.teacher.load_tokenizer("teacher"))
        return tokenizer

    def load(
        self,
        device: torch.device,
        tokenizer: PreTrainedTokenizerBase,
        student_from: Path | None = None,
        world: World | None = None,
    ) -> "LoadedPair":
        """Load both models. Raises ModelError unless they fit the tokenizer and each other.

        `student_from` is a checkpoint folder. Its weights are loaded instead of the student's own. `world` says how
        weights are shared out, if they are; then every process must call it.
        """
        source = self.student if student_from is None else self.student.at_checkpoint(student_from)
        parked = self.teacher.offload == "cpu"
        awake: OnDevice = nullcontext
        sharding = None if world is None else world.sharding
        if world is not None and sharding is not None:
            teacher = self.teacher.load_sharded("teacher", world, sharding, offload=parked)
            student = source.load_sharded("student", world, sharding, offload=sharding.offload)
        else:
            teacher = self.teacher.load("teacher", torch.device("cpu") if parked else device)
            student = source.load("student", device)
        teacher.requires_grad_(requires_grad=False)
        if parked and sharding is None:
            awake = park_on_cpu(teacher, device)
        rows = shared_rows(student, teacher, tokenizer)
        with awake():
            check_head("teacher", teacher)
        check_head("student", student)
        with whole_weights(student):
            check_generation("student", student, pad_id(tokenizer))
        base = None if self.student.adapters is None else self.student.describe_base("model.student.path")
        return LoadedPair(teacher, student, tokenizer, rows, awake, base)


@dataclass(frozen=True)
class LoadedPair:
    """The loaded models. `rows` is the number of LM-head rows that mean the same token in both.

    `base` is what the student's adapters belong to, None without adapters. Use the teacher's backbone only inside
    `teacher_on_device()`. Its LM head may be used at any time.
    """

    teacher: PreTrainedModel
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rows: int
    teacher_on_device: OnDevice = nullcontext
    base: Base | None = None


def check_eos_tokens(generation: GenerationConfig) -> None:
    """Raises BrokenModel unless the end-of-sequence tokens are token ids."""
    ends = generation.eos_token_id
    several = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(type(end) is int and 0 <= end < 2**31 for end in several):
        shown = printable_text(repr(ends))[:40]
        raise BrokenModel(f"generation_config.json: eos_token_id is {shown}, expected the number of a token or several")


def check_tokenizers(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> None:
    """Raises ModelError, with an example, unless both tokenizers map the same tokens to the same ids."""
    student_ids, teacher_ids = student.get_vocab(), teacher.get_vocab()
    tokens = student_ids.keys() | teacher_ids.keys()
    for token in sorted(tokens, key=lambda t: (student_ids.get(t, teacher_ids.get(t, 0)), t)):
        if student_ids.get(token) != teacher_ids.get(token):
            raise ModelError(
                f"model: teacher and student must share one tokenizer, but {token!r} has id {student_ids.get(token)} "
                f"in the student's and {teacher_ids.get(token)} in the teacher's; take a pair of one family: "
                "`tipx list models`"
            )
    if student(PROBE_TEXT)["input_ids"] != teacher(PROBE_TEXT)["input_ids"]:
        raise ModelError(
            "model: teacher and student have one vocabulary but split text differently; take a pair of one family"
        )


def shared_rows(student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The number of LM-head rows in common. Models of one family may pad differently (Qwen2.5: 151,936 and 152,064)."""
    heads: dict[str, Any] = {"student": student.get_output_embeddings(), "teacher": teacher.get_output_embeddings()}
    return check_rows({role: head.weight.shape[0] for role, head in heads.items()}, count_rows(tokenizer))


def check_subject(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> None:
    """Raises ModelError unless the model has a row for every token and gives finite logits for the prompt `ids`."""
    embedding: Any = model.get_input_embeddings()
    check_rows({"student": embedding.weight.shape[0]}, count_rows(tokenizer))
    check_logits("student", model, ids)
    check_generation("student", model, pad_id(tokenizer))


def check_rows(sizes: Mapping[str, int], tokens: int) -> int:
    """The number of rows that LM heads of these `sizes` have in common. Raises ModelError if one is below `tokens`."""
    for role, size in sizes.items():
        if size < tokens:
            raise ModelError(
                f"model.{role}: the LM head has {size} rows but the tokenizer has {tokens} tokens: "
                f"the vocabulary does not match; give the tokenizer's own model as model.{role}.path"
            )
    return min(sizes.values(), default=tokens)
