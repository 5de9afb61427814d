"""A budget for thoughts: DeepSeek-R1's own template, over a model that never thinks by itself."""
import pathlib
import sys

import pytest
from server import Server, client_of

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "golden" / "text")]
import peers  # noqa: E402
import vocabularies  # noqa: E402

SUM = [{"role": "user", "content": "What is 17 plus 25?"}]


@pytest.fixture(scope="module")
def r1_template(tmp_path_factory):
    template = tmp_path_factory.mktemp("template") / "r1.jinja"
    text = vocabularies.read_gguf_metadata(peers.vocabulary_file("deepseek-r1"))["tokenizer.chat_template"].decode()
    # The file is of the first days; since then the template opens the thought in the prompt.
    opened = text.replace("{{'<｜Assistant｜>'}}{% endif %}", "{{'<｜Assistant｜><think>\\n'}}{% endif %}")
    assert opened != text
    template.write_text(opened)
    return template


@pytest.fixture(scope="module")
def thinker(r1_template):
    with Server("--chat-template", str(r1_template), page=False) as server, client_of(server) as client:
        yield client


def ask(client, budget, **fields):
    body = {} if budget is None else {"thinking_token_budget": budget}
    return client.chat.completions.create(model="tiny", messages=SUM, temperature=0, extra_body={**body, "ignore_eos": True}, **fields)


@pytest.mark.parametrize("budget", [1, 16, 40])
def test_the_thought_ends_and_an_answer_follows(thinker, budget):
    answer = ask(thinker, budget, max_tokens=budget + 40)
    message = answer.choices[0].message
    reasoning = answer.usage.completion_tokens_details.reasoning_tokens
    assert budget <= reasoning <= budget + 12  # the closing mark is a few tokens in this vocabulary
    assert message.content.strip() and "</think>" not in message.content
    assert "</think>" not in (message.reasoning or "")  # one token may be white space


def test_without_a_budget_it_thinks_on(thinker):
    answer = ask(thinker, None, max_tokens=60)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 60
    assert not answer.choices[0].message.content


def test_a_budget_of_nothing_is_no_thought(thinker):
    answer = ask(thinker, 0, max_tokens=20)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0
    assert answer.choices[0].message.content.strip() and not getattr(answer.choices[0].message, "reasoning", None)


def test_a_stream_says_the_same(thinker):
    whole = ask(thinker, 16, max_tokens=50).choices[0].message
    chunks = list(ask(thinker, 16, max_tokens=50, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(getattr(d, "reasoning", None) or "" for d in deltas) == whole.reasoning
    assert "".join(d.content or "" for d in deltas) == whole.content
