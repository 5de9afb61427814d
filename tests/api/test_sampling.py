"""Sampling fields beyond OpenAI's own, as users of vLLM and llama.cpp's server send them."""
import json
import subprocess

import gguf
import openai
import pytest
from server import BINARY, MODEL, environment

STORY = [{"role": "user", "content": "Write a long list of short sentences about a cat."}]


def ask(client, max_tokens: int = 40, temperature: float = 0, **fields):
    return client.chat.completions.create(model="tiny", messages=STORY, temperature=temperature, max_tokens=max_tokens, extra_body=fields)


def text_of(reply) -> str:
    return reply.choices[0].message.content


def longest_repetition(words: list[str]) -> int:
    """Of how many words is the longest sequence that comes twice?"""
    longest = 0
    for size in range(1, len(words)):
        places = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        if len(set(places)) == len(places):
            break
        longest = size
    return longest


def test_bad_words_never_come(client):
    usual = text_of(ask(client))
    words = sorted({word.strip(".,!?\"'") for word in usual.split()}, key=len)[-4:]
    assert all(word in usual for word in words)
    other = text_of(ask(client, bad_words=words))
    assert other and not any(word in other.split() for word in words)


def test_dry_breaks_a_loop(client):
    """Without an end a small model goes in circles; DRY lets it not."""
    usual = text_of(ask(client, 250, ignore_eos=True))
    dry = text_of(ask(client, 250, ignore_eos=True, dry_multiplier=2.0, dry_penalty_last_n=-1, dry_sequence_breakers=["\u0001"]))
    assert longest_repetition(usual.split()) > 8 > longest_repetition(dry.split())


def test_a_stop_token_counts_even_when_the_end_does_not(client):
    shown = subprocess.run([BINARY, "show", MODEL, "--json"], capture_output=True, text=True, check=True, env=environment())
    tokens = gguf.GGUFReader(json.loads(shown.stdout)["path"]).fields["tokenizer.ggml.tokens"].contents()
    whole = ask(client, 40, ignore_eos=True)
    assert whole.choices[0].finish_reason == "length" and "." in text_of(whole)
    stopped = ask(client, 40, ignore_eos=True, stop_token_ids=[tokens.index(".")])
    assert stopped.choices[0].finish_reason == "stop" and stopped.choices[0].model_extra["stop_reason"] == tokens.index(".")
    assert text_of(stopped) == text_of(whole).split(".")[0]


def test_min_tokens_hold_off_the_end(client):
    assert ask(client, 60, min_tokens=60).usage.completion_tokens == 60


@pytest.mark.parametrize("fields", [{"typical_p": 0.5}, {"min_p": 0.2}, {"repetition_penalty": 1.3}, {"dry_multiplier": 0.8}])
def test_a_seed_gives_the_same_answer_with_each_stage(client, fields):
    first, again, other = (text_of(ask(client, 24, 1.2, seed=seed, **fields)) for seed in (5, 5, 6))
    assert first == again != other


@pytest.mark.parametrize(("field", "value"), [("bad_words", [""]), ("bad_words", [5]), ("dry_base", 0.5), ("dry_multiplier", -1),
                                              ("dry_penalty_last_n", -2), ("typical_p", 0), ("min_tokens", 100)])
def test_what_cannot_be_names_its_field(client, field, value):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **{field: value})
    assert refused.value.body["param"] == field
