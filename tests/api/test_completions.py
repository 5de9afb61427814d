"""Text completions, several answers, rated prompts, tokens: the OpenAI SDK and plain HTTP against a real model."""
import json
import urllib.error
import urllib.request

import openai
import pytest
from test_chat import HELLO, ask, streamed

PROMPT = "The capital of France is"


def complete(client, prompt=PROMPT, **fields):
    return client.completions.create(model="tiny", prompt=prompt, **{"temperature": 0, "max_tokens": 8, **fields})


def post(server, path, body):
    request = urllib.request.Request(f"{server.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.loads(reply.read())


def test_a_text_goes_on(client):
    answer = complete(client)
    assert "Paris" in answer.choices[0].text
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 8
    assert complete(client, max_tokens=openai.NOT_GIVEN).usage.completion_tokens == 16


def test_a_stream_says_the_same(client):
    whole = complete(client)
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


def test_prompts_come_in_four_forms(server, client):
    ids = post(server, "/tokenize", {"prompt": PROMPT})["tokens"]
    text = complete(client).choices[0].text
    assert complete(client, prompt=ids).choices[0].text == text
    assert [c.text for c in complete(client, prompt=[PROMPT, PROMPT]).choices] == [text, text]
    batch = complete(client, prompt=[ids, ids], n=2)
    assert [c.text for c in batch.choices] == [text] * 4 and [c.index for c in batch.choices] == [0, 1, 2, 3]
    assert batch.usage.prompt_tokens == 2 * len(ids)


def test_echo_and_logprobs_rate_the_whole_text(client):
    answer = complete(client, echo=True, logprobs=2)
    rated = answer.choices[0].logprobs
    assert answer.choices[0].text.startswith(PROMPT) and "".join(rated.tokens) == answer.choices[0].text
    assert rated.token_logprobs[0] is None and rated.top_logprobs[0] is None
    for token, logprob, top, offset in list(zip(rated.tokens, rated.token_logprobs, rated.top_logprobs, rated.text_offset))[1:]:
        assert logprob <= 0 and top[token] == logprob and max(top.values()) >= logprob
        assert answer.choices[0].text.encode()[offset:].startswith(token.encode())
    alone = complete(client, echo=True, logprobs=0, max_tokens=0)
    assert alone.choices[0].text == PROMPT and alone.usage.completion_tokens == 0
    assert alone.choices[0].logprobs.token_logprobs == rated.token_logprobs[:len(alone.choices[0].logprobs.tokens)]


def test_a_model_without_marks_for_a_gap_says_so(client):
    with pytest.raises(openai.BadRequestError) as refused:
        complete(client, suffix="b")
    assert refused.value.body["param"] == "suffix"


def test_several_answers_to_one_question(client):
    drawn = ask(client, n=3, temperature=1, seed=5, max_tokens=8)
    texts = [c.message.content for c in drawn.choices]
    assert [c.index for c in drawn.choices] == [0, 1, 2] and len(set(texts)) > 1
    assert drawn.usage.completion_tokens <= 24
    assert drawn.usage.prompt_tokens == ask(client).usage.prompt_tokens
    chunks = streamed(client, n=3, temperature=1, seed=5, max_tokens=8)
    for number, text in enumerate(texts):
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices[0].index == number) == text
    assert ask(client, temperature=1, seed=5, max_tokens=8).choices[0].message.content == texts[0]


def test_prompt_logprobs_as_vllm_has_them(client):
    answer = ask(client, extra_body={"prompt_logprobs": 1})
    rated = answer.model_extra["prompt_logprobs"]
    assert rated[0] is None and len(rated) == answer.usage.prompt_tokens
    for place in rated[1:]:
        assert 1 <= len(place) <= 2 and any(token["rank"] == 1 for token in place.values())
        assert all(token["logprob"] <= 0 for token in place.values())


def test_tokens_there_and_back(server):
    said = post(server, "/tokenize", {"prompt": "Grüße, 世界!", "return_token_strs": True})
    assert said["count"] == len(said["tokens"]) == len(said["token_strs"]) and said["max_model_len"] == 4096
    assert post(server, "/detokenize", {"tokens": said["tokens"]}) == {"prompt": "Grüße, 世界!"}
    chat = post(server, "/tokenize", {"messages": HELLO})
    assert "Say hello." in post(server, "/detokenize", {"tokens": chat["tokens"]})["prompt"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, "/detokenize", {"tokens": [10**9]})
    assert refused.value.code == 400


def test_the_api_describes_itself(server):
    with urllib.request.urlopen(f"{server.url}/openapi.json") as reply:
        document = json.load(reply)
    assert document["openapi"] == "3.1.0" and "/v1/completions" in document["paths"]
    with urllib.request.urlopen(f"{server.url}/docs") as reply:
        assert reply.headers["Content-Type"].startswith("text/html") and b"docs" in reply.read()
