"""Teacher and student: where they come from, and whether they fit together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
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

from tipx.agents.chat import Chat
from tipx.errors import ModelError
from tipx.files.untrusted import printable
from tipx.models.folder import BrokenModel
from tipx.models.head import check_generation, check_head, check_logits, lm_head
from tipx.models.locate import LocatedModel, guard_model_loading, resolve_model_path
from tipx.models.offload import OnDevice, park_on_cpu
from tipx.models.pruning import Layers, keep_layers
from tipx.models.sizes import check_sizes
from tipx.spec import Auto, PathText, Words, spec
from tipx.text.chat_template import find_context_length, render_chat
from tipx.text.encoding import add_prefix_ids, encode_bare, encode_rendered, hide_special_tokens
from tipx.text.token_ids import count_rows, pad_id
from tipx.types import Prompt, Turn

TEMPLATE_REMEDY = "give the tokenizer another chat_template, or type template@model.template=plain"
PROBE_TEXT = "The answer is \\boxed{42}. tom has 14 pens . then 14 + 8 = 22 . a : <|im_end|> é 数"


Dtype = Literal["float32", "bfloat16", "float16"]


@spec
class ModelSource:
    """One model, and which of its layers are kept, e.g. [0-13, 20-29]; null keeps all.

    `path` is a hub id, a folder, a GGUF file, `package:NAME` for the model that an installed Python package brings, or
    `embedded:teacher` / `embedded:student` for the pair in this one (`embedded:agent/...` for the one that uses tools).
    `trust_remote_code` lets the model's own Python run, with all rights of who started tipx; else none of it runs.
    """

    path: PathText
    revision: Words | None
    dtype: Dtype
    attn: Words | None
    keep_layers: Layers | None
    trust_remote_code: bool = False

    def load(self, role: str, device: torch.device) -> PreTrainedModel:
        """The model in eval mode on `device`; raises ModelError with the remedies when it cannot be had."""
        key = f"model.{role}.path"
        with self.guard_loading(key, self.attn, whole=True) as (located, options):
            if located.folder is not None:
                config: PreTrainedConfig = AutoConfig.from_pretrained(located.folder, **options)
                check_sizes(config, located.weights, code=self.trust_remote_code)
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
        # transformers fills these with random numbers and warns.
        lacking = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
        if lacking:
            raise ModelError(
                f"{key}: {self.path!r} lacks {len(lacking)} weights of a {type(model).__name__}, or has "
                f"them in another shape, e.g. {lacking[0]}; give a folder that holds them all: "
                f"{key}=/models/{printable(Path(self.path).name)}"
            )
        if self.keep_layers is not None:
            keep_layers(model, self.keep_layers, f"model.{role}.keep_layers")
        return model.to(device).eval()

    def load_tokenizer(self, role: str) -> PreTrainedTokenizerBase:
        """Its tokenizer, padding on the left as generation needs; raises ModelError."""
        key = f"model.{role}.path"
        with self.guard_loading(key) as (located, options):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                located.name_or_path, padding_side="left", **options
            )
            # All of it is used later, where a broken file could not be told from a mistake of ours.
            words, end = set(tokenizer(PROBE_TEXT)["input_ids"]), tokenizer.eos_token_id
            tokenizer.decode(sorted(words))
            known = tokenizer.get_vocab(), len(tokenizer), tokenizer.pad_token_id, tokenizer.get_added_vocab()
        if end is None:
            raise ModelError(f"{key}: the tokenizer of {self.path!r} has no end-of-sequence token")
        # Without its files transformers makes an empty tokenizer of the model's kind.
        if len(words) < 2 or not known[0]:
            raise ModelError(
                f"{key}: the tokenizer of {self.path!r} knows no words; put its files (tokenizer.json, "
                "tokenizer_config.json) beside the model's"
            )
        return tokenizer

    def load_settings(self, role: str) -> tuple[PreTrainedConfig, GenerationConfig]:
        """Its configuration, checked against the weights, and how it ends what it generates; raises ModelError.

        The weights of a folder, or of one in the hub's cache, are compared by their number; those of the hub that are
        not here yet are not: what they lack shows when they are loaded.
        """
        key = f"model.{role}.path"
        with self.guard_loading(key) as (located, options):
            config: PreTrainedConfig = AutoConfig.from_pretrained(located.name_or_path, **options)
            there = located.weights
            if there is None and options["local_files_only"]:
                raise BrokenModel("there are no weights in it, model.safetensors or pytorch_model.bin")
            check_sizes(config, there, code=self.trust_remote_code)
            try:
                generation = GenerationConfig.from_pretrained(
                    located.name_or_path, revision=self.revision or "main", local_files_only=options["local_files_only"]
                )
            except OSError:  # many models have none; transformers makes it from the configuration, too
                generation = GenerationConfig.from_model_config(config)
            check_eos_tokens(generation)
        return config, generation

    def name_or_path(self, role: str) -> str:
        """What libraries are given for its configuration: a folder, or a hub id."""
        return resolve_model_path(self.path, None, f"model.{role}.path")

    @contextmanager
    def guard_loading(
        self, key: str, attn: str | None = None, *, whole: bool = False
    ) -> Iterator[tuple[LocatedModel, dict[str, Any]]]:
        """What lies there, and how every library is asked for it: no question on the terminal, no network for a folder.

        Around calls into libraries: what they say of a broken folder is one line. `whole`: with its weights.
        """
        place, code = resolve_model_path(self.path, self.dtype if whole else None, key), self.trust_remote_code
        options = {"revision": self.revision, "trust_remote_code": code, "local_files_only": Path(place).is_dir()}
        with guard_model_loading(key, self.path, self.revision, attn, place=place, code=code) as found:
            yield found, options


@spec
class Teacher(ModelSource):
    """A model that is only read. `offload=cpu`: its body is on the device only while it works."""

    offload: Literal["none", "cpu"]


@spec
class Template:
    """How a question becomes a prompt: through the chat template or as plain text, with an instruction after it.

    `chat=auto` is through the chat template where the tokenizer has one.
    """

    chat: bool | Auto
    instruction: str
    thinking: bool | None

    def encode(self, tokenizer: PreTrainedTokenizerBase, question: str, before: Sequence[Turn] = ()) -> list[int]:
        """Prompt token ids, generation prompt included; with a beginning of sequence where the tokenizer has one.

        A control token that a chat only spells is plain text; a plain question is encoded as it stands.
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
        texts, signs = hide_special_tokens(tokenizer, [*(turn.text for turn in before), text])
        messages = [{"role": role, "content": said} for role, said in zip(roles, texts, strict=True)]
        rendered = render_chat(tokenizer, messages, None, self.chat_variables, TEMPLATE_REMEDY)
        for role, said in zip(roles, texts, strict=True):
            if before and role != "assistant" and said.strip() not in rendered:
                raise ModelError(f"model: the chat template leaves out {role} turns; {TEMPLATE_REMEDY}")
        return add_prefix_ids(tokenizer, encode_rendered(tokenizer, rendered, signs))

    def resolve(self, tokenizer: PreTrainedTokenizerBase) -> "Template":
        """The template as it is for this tokenizer: `chat` is true or false."""
        return replace(self, chat=tokenizer.chat_template is not None) if self.chat == "auto" else self

    def check_length(self, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
        """Raises ModelError where the chat template is broken, or alone says more than the model reads."""
        if not self.resolve(tokenizer).chat:
            return
        length, most = len(self.encode(tokenizer, "?")), find_context_length(tokenizer, config)
        if most is not None and length > most:
            raise ModelError(
                f"model: with the chat template a question of one character has {length} tokens, and the model reads "
                f"{most}; {TEMPLATE_REMEDY}"
            )

    def encode_prompt(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
        """A question's token ids, or those that an agent's task begins with: always through the chat template."""
        if prompt.task is None:
            try:
                return self.encode(tokenizer, prompt.text, prompt.before)
            except ModelError as error:
                raise ModelError(f"prompt {prompt.id!r}: {error}") from error
        return self.build_chat(tokenizer, ()).start(prompt.task.messages, prompt.task.tools)

    def build_chat(self, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> Chat:
        """The chat template for conversations whose turns end with one of `ends`."""
        return Chat(tokenizer, tuple(ends), self.chat_variables)

    @property
    def chat_variables(self) -> dict[str, Any]:
        """Variables of the chat template."""
        return {} if self.thinking is None else {"enable_thinking": self.thinking}


@spec
class Pair:
    """A teacher, the student that learns from it, and the prompt template both see."""

    teacher: Teacher
    student: ModelSource
    template: Template

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The student's tokenizer, checked to give the same token ids as the teacher's; raises ModelError."""
        tokenizer = self.student.load_tokenizer("student")
        check_tokenizers(tokenizer, self.teacher.load_tokenizer("teacher"))
        return tokenizer

    def load(
        self, device: torch.device, tokenizer: PreTrainedTokenizerBase, student_from: Path | None = None
    ) -> "LoadedPair":
        """Both models, checked to fit the tokenizer and each other; raises ModelError.

        `student_from` is a checkpoint folder that takes the place of the student's own weights.
        """
        source = self.student
        if student_from is not None:  # its layers are gone already
            source = replace(source, path=str(student_from), revision=None, keep_layers=None)
        parked = self.teacher.offload == "cpu"
        teacher = self.teacher.load("teacher", torch.device("cpu") if parked else device)
        teacher.requires_grad_(requires_grad=False)
        awake = park_on_cpu(teacher, device) if parked else nullcontext
        student = source.load("student", device)
        rows = shared_rows(student, teacher, tokenizer)
        with awake():
            check_head("teacher", teacher)
        check_head("student", student)
        check_generation("student", student, pad_id(tokenizer))
        return LoadedPair(teacher, student, tokenizer, rows, awake)


@dataclass(frozen=True)
class LoadedPair:
    """Live models; `rows` is the number of LM-head rows that mean the same token in both.

    The teacher's body may be used inside `teacher_on_device()` only; its LM head always.
    """

    teacher: PreTrainedModel
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rows: int
    teacher_on_device: OnDevice = nullcontext


def check_eos_tokens(generation: GenerationConfig) -> None:
    """Raises Broken unless the tokens at which generation ends are whole numbers."""
    ends = generation.eos_token_id
    several = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(type(end) is int and 0 <= end < 2**31 for end in several):
        shown = printable(repr(ends))[:40]
        raise BrokenModel(f"generation_config.json: eos_token_id is {shown}, expected the number of a token or several")


def check_tokenizers(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> None:
    """Raises ModelError, with an example token, unless both map the same tokens to the same ids."""
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    for token in sorted(ours.keys() | theirs.keys(), key=lambda t: (ours.get(t, theirs.get(t, 0)), t)):
        if ours.get(token) != theirs.get(token):
            raise ModelError(
                f"model: teacher and student must share one tokenizer, but {token!r} has id {ours.get(token)} in "
                f"the student's and {theirs.get(token)} in the teacher's; take a pair of one family: `tipx list models`"
            )
    if student(PROBE_TEXT)["input_ids"] != teacher(PROBE_TEXT)["input_ids"]:
        raise ModelError(
            "model: teacher and student have one vocabulary but split text differently; take a pair of one family"
        )


def shared_rows(student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """LM-head rows in common. Families pad the embedding differently by size (Qwen2.5: 151,936 and 152,064)."""
    sizes = {"student": lm_head(student).weight_VD.shape[0], "teacher": lm_head(teacher).weight_VD.shape[0]}
    return check_rows(sizes, count_rows(tokenizer))


def check_subject(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> None:
    """Raises ModelError unless the model takes every token and computes numbers for the prompt `ids`."""
    embedding: Any = model.get_input_embeddings()
    check_rows({"student": embedding.weight.shape[0]}, count_rows(tokenizer))
    check_logits("student", model, ids)
    check_generation("student", model, pad_id(tokenizer))


def check_rows(sizes: Mapping[str, int], tokens: int) -> int:
    """The rows that heads of these sizes, by role, have in common; raises ModelError if a tokenizer has more tokens."""
    for role, size in sizes.items():
        if size < tokens:
            raise ModelError(
                f"model.{role}: the LM head has {size} rows but the tokenizer has {tokens} tokens: "
                f"the vocabulary does not match; give the tokenizer's own model as model.{role}.path"
            )
    return min(sizes.values(), default=tokens)
