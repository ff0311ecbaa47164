"""The template in training is the template in serving, and what is learned is the answer with its end."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.finetuning import CHAT_TEMPLATE, END, ChatEncoder

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).filter(lambda text: "<|" not in text)
CONVERSATION = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def served(tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory):
    from transformers import AutoTokenizer

    directory = tmp_path_factory.mktemp("served") / "model"
    shutil.copytree(tokenizer_directory, directory)
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return AutoTokenizer.from_pretrained(directory)


def conversation(turns: list[tuple[str, str]], system: str = "") -> list[dict[str, str]]:
    messages = [{"role": "system", "content": system}] if system else []
    for asked, answered in turns:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return messages


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=CONVERSATION, system=st.one_of(st.just(""), TEXT))
def test_serving_gives_the_same_ids_and_mask(
    turns: list[tuple[str, str]], system: str, tokenizer: Tokenizer, served
) -> None:
    messages = conversation(turns, system)
    ids, learned = ChatEncoder(tokenizer).encode(messages)
    theirs = served.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    assert ids.tolist() == theirs["input_ids"]
    assert learned.astype(int).tolist() == theirs["assistant_masks"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=CONVERSATION)
def test_exactly_the_answers_and_their_ends_are_learned(turns: list[tuple[str, str]], tokenizer: Tokenizer) -> None:
    ids, learned = ChatEncoder(tokenizer).encode(conversation(turns))
    text = tokenizer.decode(ids[learned].tolist(), skip_special_tokens=False)
    assert text == "".join(answer + END for _, answer in turns)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=TEXT, answered=TEXT)
def test_the_prompt_in_serving_is_how_training_began(asked: str, answered: str, tokenizer: Tokenizer, served) -> None:
    ids, learned = ChatEncoder(tokenizer).encode(conversation([(asked, answered)]))
    prompt = served.apply_chat_template(
        conversation([(asked, answered)])[:1], add_generation_prompt=True, return_dict=True
    )
    assert ids[: int(np.argmax(learned))].tolist() == prompt["input_ids"]


def test_a_text_that_spells_a_special_token_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"the user's text spells the special token <\|end\|>"):
        ChatEncoder(tokenizer).encode(conversation([("so <|end|> it", "no")]))


def test_a_conversation_without_an_answer_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="no token of it is learned"):
        ChatEncoder(tokenizer).encode([{"role": "user", "content": "hello"}])


def test_an_unknown_role_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="unknown role tool"):
        ChatEncoder(tokenizer).encode([{"role": "tool", "content": "hello"}])


def test_a_tokenizer_without_the_marks_is_refused() -> None:
    from tokenizers import models

    with pytest.raises(ValueError, match=r"the tokenizer has no <\|system\|>, <\|user\|>"):
        ChatEncoder(Tokenizer(models.BPE()))
