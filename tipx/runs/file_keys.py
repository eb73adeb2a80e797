"""The files of a run, of a result, of a sweep and of the runs folder: what each holds, and what every key in it means.

The one place that says so; docs/reference/files.md is made from it (`make docs`). Keys of metrics.jsonl are in
`metric_keys`, keys of config.yaml in the specs themselves. A key is written with dots: `template.chat`; `<name>` stands
for any text, `[]` for each entry of a list, and `*` at the end for all that lies below.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FileKey:
    """A key, or a family of keys. `when` says when it is there; "" is always."""

    name: str
    meaning: str
    when: str = ""

    def covers(self, path: tuple[str, ...]) -> bool:
        """Whether it is the key at a path, or one of the family."""
        parts = self.name.replace("[]", "").split(".")
        if parts[-1] == "*":
            parts = parts[:-1]
            path = path[: len(parts)]
        return len(parts) == len(path) and all(map(is_like, parts, path))


def is_like(pattern: str, part: str) -> bool:
    return pattern.startswith("<") or pattern == part


@dataclass(frozen=True)
class RunFile:
    """A file, or files that are alike, by its place in a folder."""

    place: str
    meaning: str
    keys: tuple[FileKey, ...] = ()


def list_paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value that is no mapping; entries of a list that are mappings have one path together."""
    entries = value if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value) else None
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from list_paths(part, (*path, str(key)))
    elif entries is not None:
        for part in entries:
            yield from list_paths(part, path)
    else:
        yield path


# --- results ---------------------------------------------------------------------------------------------------------

GREEDY = "greedy=true"
AGENTS = "agents"
ANSWERS = "answers"
SEALED = (
    FileKey("answers_sha256", "Checksum of the file of answers beside it; a result that does not fit is refused"),
    FileKey("facts_sha256", "Checksum of this file's own facts, but those that differ between two equal evaluations"),
)

RESULT = RunFile(
    "evals/<step>/<benchmark>-<hash>/result.json",
    "The numbers of one evaluation; written last, so a folder without it is not finished. "
    "The hash is of all that decides the answers. Results of a model folder are under `runs/eval/<model>-<hash>/`",
    (
        FileKey("mean", "Accuracy from 0 to 1, or an agent's score: mean over problems of the mean over samples"),
        FileKey("mean_se", "Its standard error over problems; null for one problem"),
        FileKey("pass_at.<k>", "Share of problems that one of k samples solves, unbiased estimate", ANSWERS),
        FileKey("maj_at.<k>", "Accuracy of the most frequent answer of k samples", ANSWERS),
        FileKey("best_at.<k>", "Mean over tasks of the best score of k trajectories, unbiased estimate", AGENTS),
        FileKey(
            "outcomes.<outcome>",
            "Samples by how they ended; they add up. Answers: correct, wrong, no_answer, truncated, grader_error. "
            "Agents: eos, length, tokens, context, turns",
        ),
        FileKey("mean_length", "Sampled tokens of an answer or trajectory, mean; null where a server does not say it"),
        FileKey("mean_length_correct", "The same of correct answers; null if there is none", ANSWERS),
        FileKey("mean_length_wrong", "The same of all other answers; null if there is none", ANSWERS),
        FileKey("mean_text_length", "Tokens of the whole text, prompt and tool results included, mean", AGENTS),
        FileKey("clipped_ratio", "Share of samples that a limit ended: of answers the length, of agents any"),
        FileKey("mean_turns", "Turns of a trajectory, mean", AGENTS),
        FileKey("mean_calls", "Tool calls of a trajectory, mean", AGENTS),
        FileKey("mean_malformed", "Calls that could not be read, mean over trajectories", AGENTS),
        FileKey("mean_refused", "Calls over the limit of a turn, which were not run, mean over trajectories", AGENTS),
        FileKey("mean_shortened", "Tool results that were shown in part, mean over trajectories", AGENTS),
        FileKey("metrics.<score>.mean", "Every score of the tasks, mean over tasks", AGENTS),
        FileKey("metrics.<score>.se", "Its standard error over tasks", AGENTS),
        FileKey("slices.<slice>.tasks", "Tasks of a part of the benchmark", AGENTS),
        FileKey("slices.<slice>.mean", "Its mean score", AGENTS),
        FileKey("slices.<slice>.mean_se", "Its standard error over tasks", AGENTS),
        FileKey("aggregate.<score>", "The benchmark's own totals, mean over the n trajectories of each task", AGENTS),
        FileKey("scores.<id>", "Mean over samples of each problem, by its id: for paired tests"),
        FileKey("greedy", "Accuracy (or score) of the greedy answers", GREEDY),
        FileKey("greedy_se", "Its standard error over problems", GREEDY),
        FileKey("greedy_outcomes.<outcome>", "Greedy answers by how they ended", GREEDY),
        FileKey("greedy_metrics.<score>.mean", "Every score of greedy trajectories, mean", "agents, greedy=true"),
        FileKey("greedy_metrics.<score>.se", "Its standard error over tasks", "agents, greedy=true"),
        FileKey("greedy_aggregate.<score>", "The benchmark's own totals of greedy trajectories", "agents, greedy=true"),
        FileKey("benchmark", "Name of the benchmark"),
        FileKey("problems", "Problems that were asked"),
        FileKey("problems_sha256", "Fingerprint of these problems, with their gold answers"),
        FileKey("source", "Where the problems were read from: a file, an address, or embedded"),
        FileKey("partial", "Whether `limit` left problems out"),
        FileKey("n", "Samples for each problem"),
        FileKey("seed", "Seed of the sampling"),
        FileKey("template.chat", "Whether the chat template was used"),
        FileKey("template.instruction", "Text after each question"),
        FileKey("template.thinking", "enable_thinking of the chat template; null was left to it"),
        FileKey("max_new_tokens", "Limit of an answer in tokens; of agents, of all turns together"),
        FileKey("dtype", "Of the weights that answered", "models on this machine"),
        FileKey("temperature", "Sampling temperature", ANSWERS),
        FileKey("top_p", "Probability of the tokens sampled from; 1 is off", ANSWERS),
        FileKey("top_k", "Number of tokens sampled from; 0 is off", ANSWERS),
        FileKey("agent.*", "Settings of the agents, by the names of the `rollout` keys", AGENTS),
        FileKey("server", "Address of the server, without what may be secret", "eval=agent_chat"),
        FileKey("longest", "Tokens of text at which a trajectory ends as context; null is no limit", AGENTS),
        FileKey("grading.version", "Version of the grader; results of two versions are not compared", ANSWERS),
        FileKey("grading.readings.<case>", "What the grader takes leniently, in words", ANSWERS),
        FileKey("seconds", "Wall time of this start"),
        FileKey("answers_before", "Answers that an earlier start, which was stopped, had made"),
        FileKey("tokens_per_s", "Sampled tokens a second of this start; null where a server does not say lengths"),
        FileKey("trained_on", "Ids of problems that the model was trained on", "runs"),
        FileKey("first_prompt", "The first prompt as the model saw it"),
        FileKey("notes", "What makes the number not comparable, a line each", "where there is something to say"),
        FileKey("headline", "The score that counts", "DeepPlanning"),
        FileKey("plan_parse", "How plans are read: by rules, or as on the leaderboard", "DeepPlanning"),
        FileKey("wording", "Whose prompts and tool descriptions: own or official", "DeepPlanning"),
        FileKey("split", "Which share of the journeys", "DeepPlanning"),
        FileKey("data.*", "Revisions and checksums of the data; null for the embedded sample", "DeepPlanning"),
        *SEALED,
    ),
)

SAMPLES = RunFile(
    "evals/<step>/<benchmark>-<hash>/samples.jsonl",
    "Every answer or trajectory of an evaluation, one a line",
    (
        FileKey("mode", "sample or greedy"),
        FileKey("sample", "Number of the sample of its problem, from 0"),
        FileKey("id", "Id of the problem"),
        FileKey("slice", "Part of the benchmark", AGENTS),
        FileKey("prompt", "The prompt as the model saw it"),
        FileKey("gold", "The right answer; null for agents"),
        FileKey("response", "What the model said; of agents the last turn"),
        FileKey("extracted", "The answer that was read from it; null if there is none"),
        FileKey("outcome", "How it ended, one of the outcomes of result.json"),
        FileKey("value", "1 for a correct answer, else 0; of agents the score that counts"),
        FileKey("length", "Sampled tokens; null where a server does not say it"),
        FileKey("stop", "eos, or length; of agents also tokens, context, turns"),
        FileKey("scores.<score>", "Every score of the task", AGENTS),
        FileKey("turns", "Turns of the model", AGENTS),
        FileKey("calls", "Tool calls that were run", AGENTS),
        FileKey("malformed", "Calls that could not be read", AGENTS),
        FileKey("refused", "Calls over the limit of a turn", AGENTS),
        FileKey("shortened", "Tool results that were shown in part", AGENTS),
        FileKey("messages[].*", "All that was said, as chat messages with role and content", AGENTS),
        FileKey("text_length", "Tokens of the whole text; null where a server does not say it", AGENTS),
    ),
)

HELD_OUT = RunFile(
    "evals/<step>/heldout-<hash>/result.json",
    "Perplexity and divergence on held-out texts",
    (
        FileKey("texts", "Texts that were scored"),
        FileKey("tokens", "Their tokens that were scored"),
        FileKey("perplexity", "Perplexity of the student"),
        FileKey("perplexity_se", "Its standard error over texts; null for one text"),
        FileKey("teacher_perplexity", "Perplexity of the teacher"),
        FileKey("teacher_perplexity_se", "Its standard error over texts; null for one text"),
        FileKey("reverse_kl", "KL(student, teacher), mean over tokens, nats"),
        FileKey("reverse_kl_se", "Its standard error over texts; null for one text"),
        FileKey("forward_kl", "KL(teacher, student), mean over tokens, nats"),
        FileKey("forward_kl_se", "Its standard error over texts; null for one text"),
        *SEALED,
    ),
)

TEXTS = RunFile(
    "evals/<step>/heldout-<hash>/texts.jsonl",
    "Every held-out text, one a line: sums over its tokens",
    (
        FileKey("text", "Number of the text, from 0"),
        FileKey("tokens", "Tokens that were scored"),
        FileKey("student_logprob", "Sum of the student's log-probabilities of the tokens, nats"),
        FileKey("teacher_logprob", "Sum of the teacher's log-probabilities of the tokens, nats"),
        FileKey("reverse_kl", "Sum of KL(student, teacher), nats"),
        FileKey("forward_kl", "Sum of KL(teacher, student), nats"),
    ),
)

# --- a run -----------------------------------------------------------------------------------------------------------

CONFIG = RunFile("config.yaml", "The whole configuration, resolved: the keys of [configuration](configuration.md)")
METRICS = RunFile("metrics.jsonl", "One line a step: the keys of [metrics](metrics.md)")

FSDP = "hardware.strategy=fsdp"

PROVENANCE = RunFile(
    "provenance.json",
    "How the run was made",
    (
        FileKey("starts[].argv", "The command, one entry for each start of the run"),
        FileKey("starts[].commit", "Commit of the package's checkout; null outside one"),
        FileKey("starts[].dirty", "Whether files of the checkout were changed"),
        FileKey(
            "starts[].versions.<package>",
            "Versions of tipx, torch, transformers, accelerate, hydra-core, numpy, and vLLM where it is",
        ),
        FileKey("starts[].python", "Version of Python"),
        FileKey("starts[].platform", "Operating system"),
        FileKey("starts[].device", "cpu, or the name of the GPU"),
        FileKey("starts[].cores", "Processor cores of the machine"),
        FileKey("starts[].processes", "Processes that trained together"),
        FileKey("starts[].threads", "torch threads of each process on the CPU"),
        FileKey("starts[].strategy", "ddp, or fsdp where processes share the weights out"),
        FileKey("starts[].fsdp_size", "Processes that share one copy of the models", FSDP),
        FileKey("starts[].gather_dtype", "Type of weights while they are whole; own is that of the weights", FSDP),
        FileKey("choices.<group>", "Which file each config group took"),
        FileKey("overrides", "The overrides that were typed"),
        FileKey("guard.checked.<benchmark>", "Problems that training prompts were compared with, by benchmark"),
        FileKey("guard.unread", "Benchmarks that could not be read, so were not compared"),
        FileKey("guard.dropped.<benchmark>", "Ids of prompts that were left out because they are problems of it"),
        FileKey("guard.hashed", "Benchmarks that were compared by hashes alone"),
        FileKey("data.rows", "Prompts that were read"),
        FileKey("data.prompts", "Prompts that are trained on: neither too long nor left out"),
        FileKey("data.sha256", "Fingerprint of these; a run does not go on with others"),
        FileKey("data.files[].path", "A file that the prompts were read from", "tables"),
        FileKey("data.files[].bytes", "Its size", "tables"),
        FileKey("data.files[].sha256", "Its checksum", "tables"),
        FileKey("data.source", "Where the prompts were read from", "tables"),
    ),
)

SUMMARY = RunFile(
    "summary.json",
    "Written last: its presence means that the run is finished",
    (
        FileKey("steps", "Steps that were trained"),
        FileKey("bad_steps", "Steps whose update was skipped, for loss or gradient was not finite"),
        FileKey("last.*", "The last line of metrics.jsonl"),
        FileKey("before.*", "The first evaluation and the first measurement on held-out texts", "evaluated runs"),
        FileKey("after.*", "The last of each", "evaluated runs"),
    ),
)

PREFLIGHT = RunFile(
    "preflight.json",
    "What was checked before the first step: a list with one entry for each check",
    (
        FileKey("check", "Name of the check"),
        FileKey("level", "ok, warning or error"),
        FileKey("text", "What was seen"),
    ),
)

ROLLOUTS = RunFile(
    "rollouts/<step>.jsonl",
    "The first `loop.sample_count` rollouts of a sampled step, one a line; lists have one entry for each token",
    (
        FileKey("prompt", "The prompt as the student saw it"),
        FileKey("response", "The response, or the trajectory with tool results"),
        FileKey("tokens", "Token ids"),
        FileKey("pieces", "The text that each token adds"),
        FileKey("valid", "Whether the student sampled the token; false for tool results"),
        FileKey("stop", "How it ended: eos, length, or a limit of agents"),
        FileKey("weights", "Weight that the selector gave: 0 is dropped"),
        FileKey("stats.<statistic>", "Statistics of each token that the selector or the log needed, nats"),
        FileKey("id", "Id of the prompt"),
        FileKey("answer", "The right answer, if the prompt has one"),
        FileKey("score", "The score that counts", AGENTS),
    ),
)

SNAPSHOT = RunFile(
    "rollouts/<step>.npz",
    "Arrays of all tokens of a sampled step: B responses, N tokens one response after another, M of those with text",
    (
        FileKey("lengths_B", "Tokens of each response"),
        FileKey("tokens_N", "Token ids"),
        FileKey("valid_N", "Whether the student sampled the token"),
        FileKey("weights_N", "Weight that the selector gave"),
        FileKey("stats/student_entropy", "Entropy of the student, nats, shape N as all statistics"),
        FileKey("stats/teacher_entropy", "Entropy of the teacher, nats"),
        FileKey("stats/reverse_kl", "KL(student, teacher), nats"),
        FileKey("stats/forward_kl", "KL(teacher, student), nats"),
        FileKey("stats/jsd", "Jensen-Shannon divergence, nats"),
        FileKey("stats/student_logprob", "The student's log-probability of the token, nats"),
        FileKey("stats/teacher_logprob", "The teacher's log-probability of the token, nats"),
        FileKey("stats/loss", "The divergence that is trained, nats"),
        FileKey("top_ids/student", "The student's five likeliest tokens, shape (M, 5)"),
        FileKey("top_probs/student", "Their probabilities"),
        FileKey("top_ids/teacher", "The teacher's five likeliest tokens, shape (M, 5)"),
        FileKey("top_probs/teacher", "Their probabilities"),
        FileKey("meta", "JSON as bytes: format, seed, step"),
        FileKey("pieces", "JSON as bytes: the text of every token id used"),
    ),
)

LORA = "model.student.lora.r"
CHECKPOINT = RunFile(
    "checkpoints/<step>/",
    "A model folder of transformers, and what training needs to go on; whole or not there",
    (
        FileKey("config.json", "Configuration of the student"),
        FileKey("generation_config.json", "Its sampling and end-of-sequence tokens"),
        FileKey("model.safetensors", "Its weights; large ones are in several files with an index"),
        FileKey("adapter/adapter_model.safetensors", "Its adapters, and no other weights, as peft writes them", LORA),
        FileKey("adapter/adapter_config.json", "Settings of the adapters, as peft writes them", LORA),
        FileKey(
            "adapter/base.json",
            "The model that they belong to: path, revision, keep_layers, and sha256 of parts of its weight files",
            LORA,
        ),
        FileKey("tokenizer.json", "Its tokenizer"),
        FileKey("tokenizer_config.json", "Settings of the tokenizer"),
        FileKey("chat_template.jinja", "The chat template", "models that have one"),
        FileKey("trainer.pt", "State of the schedule, and of the optimizer"),
        FileKey("optimizer/", "State of the optimizer in place of that in trainer.pt, a file for each process", FSDP),
        FileKey(
            "next_batch.jsonl",
            "The next step's batch, a response a line: tokens, valid, stop, logprobs, numbers",
            "rollout.ahead=1",
        ),
        FileKey("manifest.json", "sha256 of every other file, by name: a damaged checkpoint is not taken"),
    ),
)

OTHERS = (
    RunFile("curve.png", "Loss and accuracy over the steps"),
    RunFile("evals/<step>/<benchmark>-<hash>/part-<process>.jsonl", "Answers of an evaluation that is not finished"),
    RunFile("wandb/", "The wandb run, with logger=wandb"),
    RunFile("vllm.log", "Log of an engine in the process, with rollout=vllm; vllm-1.log is that of process 1"),
    RunFile("evals/<step>/vllm.log", "The same of `tipx eval` with eval=vllm"),
    RunFile(".tipx-run", "The mark that tipx made the directory; only such directories are ever removed"),
    RunFile(".lock", "Held while a process writes here"),
)

# --- a sweep ---------------------------------------------------------------------------------------------------------

SWEEP = RunFile(
    "sweep.json",
    "The plan of a sweep, in its folder `runs/<group>/` beside the runs",
    (
        FileKey("name", "Name of the sweep"),
        FileKey("description", "First comment line of its file"),
        FileKey("command", "The command that makes the points that are missing"),
        FileKey("points[].run", "Directory of the point's run"),
        FileKey("points[].overrides", "Overrides that make it"),
        FileKey("points[].choices.<group>", "Which file each config group takes"),
    ),
)

FAILURE = RunFile(
    "failures/<run>.json",
    "Why a point failed; gone when it is run again",
    (
        FileKey("error", "The last line of the error"),
        FileKey("time", "When, in seconds since 1970"),
        FileKey("log", "The log of the point's process, in the sweep's folder"),
        FileKey("killed", "Whether a signal ended it, so that it may well end next time"),
    ),
)

SWEEP_OTHERS = (
    RunFile("logs/<run>.log", "What the process of a point said"),
    RunFile("logs/<run>.node1.log", "The same on another node, where a point has several"),
    RunFile("<run>/", "The run of a point"),
    RunFile("jobs/", "What Hydra writes when it starts points"),
    RunFile("report/", "Tables, figures and page of `tipx report`"),
    RunFile(".lock", "Held while the plan is written"),
)

# --- the runs folder -------------------------------------------------------------------------------------------------

LIST = RunFile(
    ".runs-list.json",
    "What `tipx runs` shows of runs that have not changed since, in `runs/`; it may be removed at any time. "
    "A first line with a checksum, then entries",
    (
        FileKey("<group>/<run>.files.*", "Inode, size and times of each file that the entry was read from"),
        FileKey("<group>/<run>.known.*", "What a list shows: configuration, choices, numbers of results"),
    ),
)
LIST_OTHERS = (RunFile(".lock", "Held while the list is written"),)

OF_RUN: tuple[RunFile, ...] = (
    *(CONFIG, METRICS, SUMMARY, PROVENANCE, PREFLIGHT, CHECKPOINT, ROLLOUTS, SNAPSHOT),
    *(RESULT, SAMPLES, HELD_OUT, TEXTS),
    *OTHERS,
)
OF_SWEEP: tuple[RunFile, ...] = (SWEEP, FAILURE, *SWEEP_OTHERS)
OF_RUNS: tuple[RunFile, ...] = (LIST, *LIST_OTHERS)
