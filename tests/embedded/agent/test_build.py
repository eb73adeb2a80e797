"""What the embedded agents learn, and how well they do."""

from random import Random

from transformers import AutoModelForCausalLM, AutoTokenizer

from tipx.agents.chat import Chat
from tipx.embedded.agent.build import AGENTS as PAIR
from tipx.embedded.agent.build import encode_trajectory, measure
from tipx.embedded.agent.family import BENCHMARK_SIZE, ERRANDS
from tipx.embedded.tuning import IGNORE, reproducible
from tipx.models.locate import AGENTS


def test_only_what_the_assistant_says_is_learned(chat: Chat) -> None:
    for errand in ERRANDS.held_out(20):
        ids, labels = encode_trajectory(chat, errand, Random(0))
        assert all(label in (IGNORE, token) for label, token in zip(labels, ids, strict=True))
        text = chat.text(ids)
        # What stands between the opening of a turn and the end of it, three times.
        said = [part.partition("<|im_end|>")[0].split() for part in text.split("<|im_start|> assistant")[1:]]
        learned = chat.text([label for label in labels if label != IGNORE]).split("<|im_end|>")
        assert [part.split() for part in learned[:-1]] == said
        assert len(said) == 3


def test_the_embedded_teacher_runs_errands_and_the_student_now_and_then_does() -> None:
    accuracy = {}
    for name in PAIR.recipes:
        model = AutoModelForCausalLM.from_pretrained(AGENTS / name, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(AGENTS / name)
        with reproducible(0):
            accuracy[name] = measure(model, tokenizer, ERRANDS.held_out(BENCHMARK_SIZE), 1.0).mean
    assert accuracy["teacher"] >= 0.88
    assert 0.28 <= accuracy["student"] <= 0.48
