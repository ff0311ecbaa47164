import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from models.network import PRESETS, Transformer
from models.training.loop import train
from models.training.reporter import AloneReporter
from models.training.samples import SampleWriter
from models.training.settings import SamplesSettings
from tests.models.training.toy import Reports, lines, spec

CPU = torch.device("cpu")
LONGEST = PRESETS["tiny"].maximum_positions


@pytest.fixture(scope="module")
def tokenizer():
    """Token n is the letter with code point 0x100 + n; the last one ends a text."""
    vocabulary = {chr(0x100 + number): number for number in range(255)} | {"<|endoftext|>": 255}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.add_special_tokens(["<|endoftext|>"])
    return made.to_str()


@pytest.fixture(scope="module")
def network():
    return Transformer(PRESETS["tiny"], seed=2)


def text(*tokens):
    return "".join(chr(0x100 + token) for token in tokens)


def tokens_of(written):
    return [ord(letter) - 0x100 for letter in written.replace(" ", "")]


def test_the_likeliest_tokens_are_those_of_the_logits(tokenizer, network):
    prompts = (text(5, 6, 7), text(9))
    writer = SampleWriter(SamplesSettings(prompts=prompts, tokens=6, temperature=0), tokenizer, LONGEST, 1)
    for prompt, written in zip(prompts, writer(network, CPU, 3), strict=True):
        assert (written["step"], written["prompt"]) == (3, prompt)
        ids = tokens_of(prompt)
        for _ in range(6):
            with torch.no_grad():
                following = int(network(torch.tensor([ids]))[0, -1].argmax())
            if following == 255:
                break
            ids.append(following)
        assert tokens_of(written["text"]) == ids[len(prompt) :]


def test_draws_depend_on_seed_step_and_place_only(tokenizer, network):
    settings = SamplesSettings(prompts=(text(5), text(5)), tokens=8, temperature=1)
    made = [SampleWriter(settings, tokenizer, LONGEST, seed)(network, CPU, 4) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert made[0][0]["text"] != made[0][1]["text"]
    state = torch.get_rng_state()
    SampleWriter(settings, tokenizer, LONGEST, 1)(network, CPU, 4)
    assert torch.equal(state, torch.get_rng_state())


def test_an_empty_prompt_begins_a_text_and_a_long_one_is_cut(tokenizer, network):
    settings = SamplesSettings(prompts=("", text(*range(200)) * 4), tokens=8, temperature=0)
    written = SampleWriter(settings, tokenizer, LONGEST, 1)(network, CPU, 1)
    assert all(len(tokens_of(each["text"])) <= 8 for each in written)


def test_the_loop_writes_them_and_training_is_the_same(tmp_path, tokenizer):
    from dataclasses import replace

    samples = {"prompts": [text(1, 2), text(3)], "every_steps": 8, "tokens": 4}
    reports = Reports()
    run = replace(spec(tmp_path, samples=samples), tokenizer_json=tokenizer)
    loss = train(run, reports)["loss"]
    written = lines(tmp_path, "samples.jsonl")
    assert [(each["step"], each["prompt"]) for each in written] == [
        (step, prompt) for step in (8, 16, 20) for prompt in samples["prompts"]
    ]
    assert len([said for said in reports.said if said.startswith("step 16: ")]) == 2
    assert train(spec(None), AloneReporter())["loss"] == loss
    assert json.dumps(written, ensure_ascii=False)


def test_without_a_tokenizer_there_are_no_texts():
    with pytest.raises(ValueError, match="needs a tokenizer"):
        train(spec(None, samples={"prompts": ["a"]}), AloneReporter())
