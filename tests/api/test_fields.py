"""Every field that is documented somewhere is honoured or refused by name; and those of vLLM do what they say, against a real model."""
import json
import pathlib
import re
import typing
import urllib.request

import openai
import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from server import Server, client_of
from test_chat import HELLO, STORY, ask, streamed, text_of
from test_completions import PROMPT, complete, post

# What vLLM's protocol has beside OpenAI's fields (ChatCompletionRequest, CompletionRequest), and what it had.
VLLM_BOTH = """use_beam_search top_k min_p repetition_penalty length_penalty early_stopping stop_token_ids include_stop_str_in_output ignore_eos
    min_tokens skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens truncation_side allowed_token_ids prompt_logprobs bad_words
    add_special_tokens structured_outputs guided_json guided_regex guided_choice guided_grammar guided_decoding_backend guided_whitespace_pattern
    priority request_id return_tokens_as_token_ids return_token_ids return_token_offsets cache_salt kv_transfer_params ec_transfer_params
    vllm_xargs repetition_detection thinking_token_budget logits_processors response_format best_of""".split()
VLLM_CHAT = """echo add_generation_prompt continue_final_message documents chat_template chat_template_kwargs media_io_kwargs
    mm_processor_kwargs return_prompt_text return_assistant_tokens_mask include_reasoning reasoning_effort tools tool_choice
    parallel_tool_calls""".split()
VLLM_COMPLETIONS = ["prompt_embeds"]

CALLS = {
    "/v1/chat/completions": (chat_create_params.CompletionCreateParamsBase, VLLM_BOTH + VLLM_CHAT, {"messages": HELLO}),
    "/v1/completions": (completion_create_params.CompletionCreateParamsBase, VLLM_BOTH + VLLM_COMPLETIONS, {"prompt": "x"}),
}


@pytest.fixture(scope="module")
def document(server):
    with urllib.request.urlopen(f"{server.url}/openapi.json") as reply:
        return json.load(reply)


def taken(document, route) -> dict:
    reference = document["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return document["components"]["schemas"][reference.rsplit("/", 1)[1]]["properties"]


def post_any(client, route, body):
    return client.post(route.removeprefix("/v1"), body=body, cast_to=object)


@pytest.mark.parametrize("route", CALLS)
def test_no_field_of_openai_or_vllm_is_unknown(client, document, route):
    params, of_vllm, body = CALLS[route]
    known = taken(document, route)
    names = set(typing.get_type_hints(params)) | {"stream"} | set(of_vllm)
    assert len(names) > 40
    for name in sorted(names - set(known)):
        with pytest.raises(openai.BadRequestError) as refused:
            post_any(client, route, {**body, "max_tokens": 1, name: {"asks": "for something"}})
        error = refused.value.response.json()["error"]
        assert error["param"] == name and "unknown" not in error["message"], error


@pytest.mark.parametrize("route", CALLS)
def test_every_field_that_works_is_sent_by_a_test(document, route):
    sent = "".join(path.read_text() for path in pathlib.Path(__file__).parent.glob("test_*.py"))
    for name, schema in taken(document, route).items():
        if schema.get("description", "").startswith("accepted, without effect"):
            continue
        assert re.search(rf"\b{name}=|\"{name}\":|\"{name}\", ", sent), f"no test sends {name}"


@pytest.mark.parametrize("route", CALLS)
def test_what_is_accepted_without_effect_has_none(client, document, route):
    body = {**CALLS[route][2], "max_tokens": 4, "temperature": 0}
    idle = {name: "x" for name, schema in taken(document, route).items() if schema["description"].startswith("accepted, without effect")}
    assert "user" in idle and "safety_identifier" in idle
    plain, other = post_any(client, route, body), post_any(client, route, {**body, **idle})
    assert plain["choices"] == other["choices"]


# ---- Conversations


def turns(text: str) -> list[dict]:
    return [*HELLO, {"role": "assistant", "content": text}]


def extra(client, messages=HELLO, **fields):
    """One answer, of fields that the SDK does not know."""
    return ask(client, messages, extra_body=fields)


def test_continue_final_message_goes_on_with_the_words_of_the_answer(client):
    whole = ask(client).choices[0].message.content
    begun = whole[: len(whole) // 2].rsplit(" ", 1)[0]  # at a border of words, so of tokens
    rest = extra(client, turns(begun), continue_final_message=True, add_generation_prompt=False).choices[0].message
    assert (begun + rest.content).startswith(whole) and rest.role == "assistant"
    echoed = extra(client, turns(begun), continue_final_message=True, echo=True).choices[0].message.content
    assert echoed == begun + rest.content
    chunks = streamed(client, turns(begun), extra_body={"continue_final_message": True, "echo": True})
    assert text_of(chunks) == echoed
    with pytest.raises(openai.BadRequestError) as refused:
        extra(client, turns(begun), continue_final_message=True, add_generation_prompt=True)
    assert refused.value.body["param"] == "continue_final_message"


def test_add_generation_prompt_false_ends_the_prompt_behind_the_last_message(client, server):
    shown = extra(client, return_prompt_text=True, return_token_ids=True).model_extra
    bare = extra(client, return_prompt_text=True, add_generation_prompt=False)
    assert shown["prompt_text"].startswith(bare.model_extra["prompt_text"])
    assert shown["prompt_text"].removeprefix(bare.model_extra["prompt_text"]) == "<|im_start|>assistant\n"
    assert post(server, "/tokenize", {"messages": HELLO})["tokens"] == shown["prompt_token_ids"]
    fewer = post(server, "/tokenize", {"messages": HELLO, "add_generation_prompt": False})["count"]
    assert fewer == bare.usage.prompt_tokens < len(shown["prompt_token_ids"])


def test_documents_reach_a_template_that_shows_them(client, tmp_path):
    documents = [{"title": "Sea", "text": "It is blue."}, {"title": "Sky", "text": "It is <|im_end|> grey."}]
    with pytest.raises(openai.BadRequestError) as refused:
        extra(client, documents=documents)
    assert refused.value.body["param"] == "documents"
    template = tmp_path / "documents.jinja"
    template.write_text("{% for d in documents or [] %}{{ d.title }}: {{ d.text }}\n{% endfor %}{{ messages[-1].content }}")
    with Server("--chat-template", str(template), page=False) as other, client_of(other) as its_client:
        answer = extra(its_client, documents=documents, return_prompt_text=True)
        assert answer.model_extra["prompt_text"] == "Sea: It is blue.\nSky: It is <|im_end|> grey.\nSay hello."
        assert extra(its_client, return_prompt_text=True).model_extra["prompt_text"] == "Say hello."


# ---- Tokens


def test_return_token_ids_are_those_of_the_text(client, server):
    answer = extra(client, return_token_ids=True)
    ids = answer.choices[0].model_extra["token_ids"]
    assert len(ids) == answer.usage.completion_tokens
    assert post(server, "/detokenize", {"tokens": ids})["prompt"] == answer.choices[0].message.content
    prompt = answer.model_extra["prompt_token_ids"]
    assert len(prompt) == answer.usage.prompt_tokens
    chunks = streamed(client, extra_body={"return_token_ids": True})
    assert chunks[0].model_extra["prompt_token_ids"] == prompt and all("prompt_token_ids" not in c.model_extra for c in chunks[1:])
    assert [token for c in chunks for token in c.choices[0].model_extra.get("token_ids", [])] == ids
    assert "token_ids" not in ask(client).choices[0].model_extra


def test_return_token_ids_have_the_end_token(client, server):
    answer = ask(client, max_tokens=200, extra_body={"return_token_ids": True})
    assert answer.choices[0].finish_reason == "stop"
    ids = answer.choices[0].model_extra["token_ids"]
    text = post(server, "/detokenize", {"tokens": ids})["prompt"]
    assert text == answer.choices[0].message.content + "<|im_end|>"


def test_return_token_ids_of_completions(client):
    answer = complete(client, extra_body={"return_token_ids": True}).choices[0].model_extra
    chunks = list(complete(client, stream=True, extra_body={"return_token_ids": True}))
    assert chunks[0].choices[0].model_extra["prompt_token_ids"] == answer["prompt_token_ids"]
    assert [token for c in chunks for token in c.choices[0].model_extra["token_ids"]] == answer["token_ids"]
    again = complete(client, prompt=answer["prompt_token_ids"] + answer["token_ids"][:4], extra_body={"return_token_ids": True}, max_tokens=4)
    assert again.choices[0].model_extra["token_ids"] == answer["token_ids"][4:]


def test_allowed_token_ids_are_all_that_comes(client, server):
    allowed = post(server, "/tokenize", {"prompt": " yes no"})["tokens"]
    answer = extra(client, STORY, allowed_token_ids=allowed, return_token_ids=True)
    assert set(answer.choices[0].model_extra["token_ids"]) <= set(allowed)
    assert answer.usage.completion_tokens == 12 and answer.choices[0].finish_reason == "length"  # nothing allowed ends it
    drawn = ask(client, STORY, temperature=2, extra_body={"allowed_token_ids": allowed, "return_token_ids": True})
    assert set(drawn.choices[0].model_extra["token_ids"]) <= set(allowed)
    for wrong in ([], [10**6]):
        with pytest.raises(openai.BadRequestError) as refused:
            extra(client, allowed_token_ids=wrong)
        assert refused.value.body["param"] == "allowed_token_ids"


def test_a_request_that_forbids_every_token_is_its_own_fault(client, server):
    [token] = post(server, "/tokenize", {"prompt": "yes"})["tokens"]
    with pytest.raises(openai.BadRequestError) as refused:
        extra(client, allowed_token_ids=[token], bad_words=["yes"])
    assert "allowed_token_ids" in refused.value.body["message"]


def test_skip_special_tokens_false_leaves_them_in(client, server):
    end = post(server, "/tokenize", {"prompt": "<|im_start|>"})["tokens"]
    fields = {"allowed_token_ids": end, "return_token_ids": True}
    assert ask(client, max_tokens=2, extra_body=fields).choices[0].message.content == ""
    shown = ask(client, max_tokens=2, extra_body={**fields, "skip_special_tokens": False})
    assert shown.choices[0].message.content == "<|im_start|>" * 2


def test_return_tokens_as_token_ids_spells_numbers(client):
    answer = ask(client, logprobs=True, top_logprobs=1, extra_body={"return_tokens_as_token_ids": True, "return_token_ids": True}).choices[0]
    assert [entry.token for entry in answer.logprobs.content] == [f"token_id:{t}" for t in answer.model_extra["token_ids"]]


def test_truncate_prompt_tokens_keeps_an_end(client, server):
    ids = post(server, "/tokenize", {"prompt": PROMPT})["tokens"]
    cut = lambda **fields: complete(client, extra_body={"return_token_ids": True, **fields}).choices[0].model_extra["prompt_token_ids"]  # noqa: E731
    assert cut(truncate_prompt_tokens=3) == ids[-3:]
    assert cut(truncate_prompt_tokens=3, truncation_side="right") == ids[:3]
    assert cut(truncate_prompt_tokens=100) == ids
    long = complete(client, prompt=PROMPT * 2000, extra_body={"truncate_prompt_tokens": -1}, max_tokens=4096 - 16)
    assert long.usage.prompt_tokens == 16
    with pytest.raises(openai.BadRequestError) as refused:
        extra(client, truncate_prompt_tokens=3)
    assert refused.value.body["param"] == "truncate_prompt_tokens"


def test_add_special_tokens_begins_as_the_models_files_say(client, server):
    """This model's say nothing, so both are the same; that others have their token is in the unit tests."""
    bare = complete(client, extra_body={"add_special_tokens": False, "return_token_ids": True}).choices[0].model_extra
    assert bare["prompt_token_ids"] == post(server, "/tokenize", {"prompt": PROMPT, "add_special_tokens": True})["tokens"]


# ---- How a token is drawn


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1}])
def test_a_stage_that_leaves_one_token_takes_the_most_probable(client, fields):
    narrow = ask(client, STORY, temperature=1.5, seed=3, extra_body=fields).choices[0].message.content
    assert narrow == ask(client, STORY).choices[0].message.content
    assert narrow != ask(client, STORY, temperature=1.5, seed=3).choices[0].message.content


@pytest.mark.parametrize("fields", [{"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 1.5}])
def test_penalties_make_for_more_different_tokens(client, fields):
    different = lambda **more: len(set(ask(client, STORY, max_tokens=80, extra_body={"return_token_ids": True, "ignore_eos": True, **more})  # noqa: E731
                                       .choices[0].model_extra["token_ids"]))  # fmt: skip
    assert different(**fields) > different()


def test_dry_grows_with_its_base_and_begins_at_its_length(client):
    text = lambda **fields: ask(client, STORY, max_tokens=150, extra_body={"ignore_eos": True, **fields}).choices[0].message.content  # noqa: E731
    usual = text()
    assert text(dry_multiplier=0.001, dry_base=1, dry_penalty_last_n=-1) == usual
    assert text(dry_multiplier=0.001, dry_base=100, dry_penalty_last_n=-1) != usual
    assert text(dry_multiplier=5, dry_allowed_length=1000, dry_penalty_last_n=-1) == usual


def test_best_of_must_be_n(client):
    assert len(ask(client, n=2, extra_body={"best_of": 2}).choices) == 2
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, n=1, extra_body={"best_of": 2})
    assert refused.value.body["param"] == "best_of"


def test_continuous_usage_stats_count_in_every_chunk(client):
    chunks = streamed(client, stream_options={"include_usage": True, "continuous_usage_stats": True})
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts[0] == 0 and counts == sorted(counts) and counts[-1] == ask(client).usage.completion_tokens


# ---- Who shares, who waits, what it is called


def test_cache_salt_says_who_shares_prefixes(client):
    words = [{"role": "user", "content": "A salted story: " + "the sea is wide and the ship is small; " * 8}]
    cached = lambda **fields: ask(client, words, max_tokens=1, extra_body=fields).usage.prompt_tokens_details.cached_tokens  # noqa: E731
    assert cached() < 32 < cached()  # the template's own beginning may be there from other tests
    assert cached(cache_salt="a") == 0 and cached(cache_salt="a") > 0
    assert cached(cache_salt="b") == 0


def test_priority_above_zero_gives_the_same_answer(client):
    assert extra(client, priority=5).choices[0].message.content == ask(client).choices[0].message.content
    with pytest.raises(openai.BadRequestError) as refused:
        extra(client, priority=-1)
    assert refused.value.body["param"] == "priority"


def test_request_id_names_the_answer(client, server):
    assert extra(client, request_id="my-1").id == "chatcmpl-my-1"
    server.wait_for(r"\(my-1\): chat")
    assert complete(client, extra_body={"request_id": "my-2"}).id == "cmpl-my-2"
    header = ask(client, extra_headers={"X-Request-Id": "of-the-header"}, extra_body={"request_id": "my-3"})
    assert header.id == "chatcmpl-of-the-header"  # as vLLM has it


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_reasoning_effort_is_taken_by_a_model_that_does_not_think(client, effort):
    assert ask(client, max_tokens=1, extra_body={"reasoning_effort": effort, "thinking_token_budget": -1, "include_reasoning": True}).choices
