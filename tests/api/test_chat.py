"""The OpenAI SDK against a real model."""
import concurrent.futures
import json

import openai
import pytest

HELLO = [{"role": "user", "content": "Say hello."}]
STORY = [{"role": "user", "content": "Tell me a very long story about the sea."}]


def ask(client, messages=HELLO, **fields):
    fields = {"temperature": 0, "max_tokens": 12, **fields}
    return client.chat.completions.create(model="tiny", messages=messages, **fields)


def streamed(client, messages=HELLO, **fields):
    return list(ask(client, messages, stream=True, **fields))


def text_of(chunks) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_models_are_listed(client):
    models = client.models.list().data
    assert [m.id for m in models] == ["tiny"]
    assert models[0].max_model_len == 4096
    assert client.models.retrieve("tiny").id == "tiny"


def test_an_answer_has_text_usage_and_a_reason(client):
    answer = ask(client)
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content.strip()
    assert choice.finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_a_stream_says_the_same_as_one_answer(client):
    whole = ask(client)
    chunks = streamed(client, stream_options={"include_usage": True})
    assert text_of(chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == [whole.choices[0].finish_reason]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])
    assert len({c.id for c in chunks}) == 1


def test_without_asking_a_stream_has_no_usage(client):
    assert all(c.usage is None and c.choices for c in streamed(client))


def test_max_tokens_ends_with_length(client):
    answer = ask(client, STORY, max_tokens=5)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 5
    assert ask(client, STORY, max_tokens=None, max_completion_tokens=4).usage.completion_tokens == 4


def test_stop_strings_cut_the_answer(client):
    whole = ask(client, STORY, max_tokens=30).choices[0].message.content
    stop = whole[8:11]
    answer = ask(client, STORY, max_tokens=30, stop=["never in it", stop])
    assert answer.choices[0].message.content == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].stop_reason == stop
    assert text_of(streamed(client, STORY, max_tokens=30, stop=stop)) == whole[: whole.index(stop)]
    kept = ask(client, STORY, max_tokens=30, stop=stop, extra_body={"include_stop_str_in_output": True})
    assert kept.choices[0].message.content == whole[: whole.index(stop) + len(stop)]


def test_a_seed_gives_the_same_answer_again(client):
    fields = {"temperature": 1.5, "max_tokens": 24}
    first = ask(client, STORY, seed=7, **fields).choices[0].message.content
    assert ask(client, STORY, seed=7, **fields).choices[0].message.content == first
    assert text_of(streamed(client, STORY, seed=7, **fields)) == first
    assert ask(client, STORY, seed=8, **fields).choices[0].message.content != first


def test_logprobs_cover_the_answers_tokens(client):
    choice = ask(client, logprobs=True, top_logprobs=3).choices[0]
    entries = choice.logprobs.content
    assert b"".join(bytes(e.bytes) for e in entries).decode() == choice.message.content
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.token == entry.top_logprobs[0].token  # greedy: the drawn one is the most probable
    chunks = streamed(client, logprobs=True)
    assert sum(len(c.choices[0].logprobs.content) for c in chunks if c.choices[0].logprobs) == len(entries)


def test_logit_bias_forbids_and_forces(client):
    token = ask(client, max_tokens=1, logprobs=True, top_logprobs=2).choices[0].logprobs.content[0]
    biased = ask(client, max_tokens=6, logit_bias={"2": -100}, extra_body={"ignore_eos": True})
    assert biased.usage.completion_tokens == 6
    forced = ask(client, max_tokens=3, logit_bias={"100": 100}).choices[0].message.content
    assert len(set(forced[i : i + len(forced) // 3] for i in range(0, len(forced), len(forced) // 3))) == 1
    assert token.logprob > token.top_logprobs[1].logprob


def test_system_messages_and_parts_are_read(client):
    parts = [{"role": "system", "content": [{"type": "text", "text": "You are"}, {"type": "text", "text": "a parrot."}]}, *HELLO]
    plain = [{"role": "system", "content": "You are\na parrot."}, *HELLO]
    assert ask(client, parts).usage.prompt_tokens == ask(client, plain).usage.prompt_tokens
    assert ask(client, plain).usage.prompt_tokens != ask(client).usage.prompt_tokens


def test_control_tokens_in_a_message_are_text(client):
    safe = ask(client, [{"role": "user", "content": "a <|im_end|> b"}], max_tokens=1).usage.prompt_tokens
    bare = ask(client, [{"role": "user", "content": "a  b"}], max_tokens=1).usage.prompt_tokens
    assert safe > bare + 2  # as one control token it would add one at most


def test_two_clients_at_once(server, client):
    alone = ask(client, STORY, max_tokens=16).choices[0].message.content
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: text_of(streamed(client, STORY, max_tokens=16)) if i % 2 else
                                ask(client, STORY, max_tokens=16).choices[0].message.content, range(4)))
    assert answers == [alone] * 4


def test_a_closed_stream_frees_the_model(server, client):
    before = server.mark()
    stream = ask(client, STORY, stream=True, max_tokens=3000, extra_body={"ignore_eos": True})
    next(iter(stream))
    next(iter(stream))
    stream.close()
    line = server.wait_for(r"(\d+) answer tokens .*cancelled: the client went away", before)
    assert int(line.group(1)) < 3000
    assert ask(client, max_tokens=1).usage.completion_tokens == 1


def test_the_last_turns_thought_is_not_in_the_prompt(client):
    def turn(**answer):
        return ask(client, [*HELLO, {"role": "assistant", **answer}, *HELLO], max_tokens=1).usage.prompt_tokens

    plain = turn(content="Hello!")
    assert turn(content="Hello!", reasoning="A long thought about greetings.") == plain
    assert turn(content="Hello!", reasoning_content="A long thought about greetings.") == plain


BAD = [
    ("messages", {"messages": []}),
    ("messages[0].role", {"messages": [{"role": "king", "content": "x"}]}),
    ("messages[0].content", {"messages": [{"role": "user"}]}),
    ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
    ("max_tokens", {"max_tokens": "5"}),
    ("max_tokens", {"max_tokens": 0}),
    ("temperature", {"temperature": -1}),
    ("temperature", {"temperature": "hot"}),
    ("top_p", {"top_p": 0}),
    ("top_k", {"top_k": -5}),
    ("min_p", {"min_p": 2}),
    ("n", {"n": 0}),
    ("presence_penalty", {"presence_penalty": 3}),
    ("frequency_penalty", {"frequency_penalty": -3}),
    ("repetition_penalty", {"repetition_penalty": 0}),
    ("seed", {"seed": 1.5}),
    ("stop", {"stop": [""]}),
    ("stop", {"stop": 5}),
    ("logit_bias", {"logit_bias": {"9999999": 1}}),
    ("top_logprobs", {"top_logprobs": 2}),
    ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
    ("response_format", {"response_format": {"type": "json_object"}}),
    ("stream_options", {"stream_options": {"include_usage": True}}),
    ("chat_template_kwargs", {"chat_template_kwargs": {"messages": []}}),
    ("temprature", {"temprature": 1}),
    ("model", {"model": "another"}),
]


@pytest.mark.parametrize("param,fields", BAD, ids=[f"{p}-{i}" for i, (p, _) in enumerate(BAD)])
def test_a_bad_field_is_named(client, param, fields):
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 1, **fields}
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    error = caught.value.response.json()["error"]
    status = 404 if param == "model" else 400
    assert caught.value.status_code == status and error["code"] == status
    assert error["param"] == param and error["message"]


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(client):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, [{"role": "user", "content": "word " * 6000}])
    message = caught.value.response.json()["error"]["message"]
    assert "4096" in message and "--max-model-len" in message


def test_unknown_routes_are_errors_of_the_dialect(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="tiny", input="x")
    with pytest.raises(openai.APIStatusError) as caught:
        client.get("/chat/completions", cast_to=object)
    assert caught.value.status_code == 405
    assert json.loads(caught.value.response.text)["error"]["code"] == 405
