"""The clients that people have: OpenAI's SDK for Node, LangChain, litellm, and editors that fill gaps. Those of other environments are
scripts in tests/clients, which say what they got; all start at once."""
import http.client
import json
import os
import pathlib
import subprocess

import pytest
from peers import cache_folder
from server import BINARY, PATIENCE, Server, client_of, environment
from test_chat import HELLO, ask

SCRIPTS = pathlib.Path(__file__).resolve().parents[1] / "clients"
INSTALLED = pathlib.Path(os.environ.get("CARRONADE_CLIENTS", cache_folder() / "clients"))
FRANCE = "The capital of France is"
COMMANDS = {
    "node_sdk": ["node", SCRIPTS / "node_sdk.mjs", "{base}", INSTALLED / "node"],
    "langchain": [INSTALLED / "bin/python3", SCRIPTS / "langchain_chat.py", "{base}"],
    "litellm": [INSTALLED / "bin/python3", SCRIPTS / "litellm_chat.py", "{base}"],
}


@pytest.fixture(scope="module")
def found(server):
    """What each client said, by its name."""
    if not (INSTALLED / "installed").exists():
        assert not os.environ.get("CARRONADE_REQUIRE_MODELS"), "scripts/setup.sh test has not installed the clients"
        pytest.skip("scripts/setup.sh test installs the clients")
    running = {
        name: subprocess.Popen([str(part).format(base=f"{server.url}/v1") for part in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(NO_PROXY="*"))
        for name, command in COMMANDS.items()
    }
    answers = {}
    try:
        for name, process in running.items():
            said, complaint = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, (name, said, complaint)
            answers[name] = dict(json.loads(line) for line in said.splitlines() if line.startswith("["))
    finally:
        for process in running.values():
            process.kill()
    return answers


@pytest.fixture(scope="module")
def expected(server):
    """The same by the SDK for Python."""
    with client_of(server) as client:
        completion = client.completions.create(model="tiny", prompt=FRANCE, max_tokens=4, temperature=0)
        return ask(client), completion.choices[0].text


def test_node_sdk_has_the_same_answers(found, expected):
    said, (answer, completion) = found["node_sdk"], expected
    assert said["models"] == ["tiny"]
    assert {said[name] for name in ("text", "streamed", "assembled", "deltas")} == {answer.choices[0].message.content}
    for usage in (said["usage"], said["streamed_usage"]):
        assert usage["total_tokens"] == answer.usage.total_tokens
    assert len(said["several"]) == 2 and said["several"][0] != said["several"][1]
    assert said["rated"] == [2] * 4
    assert said["completion"] == said["completion_streamed"] == completion


def test_node_sdk_knows_the_errors(found):
    said = found["node_sdk"]
    assert said["unknown_model"] == {"kind": "NotFoundError", "status": 404, "param": "model"}
    assert said["bad_field"] == {"kind": "BadRequestError", "status": 400, "param": "temperature"}


def test_node_sdk_leaves_a_stream_and_the_answer_ends(found, server):
    assert found["node_sdk"]["left_after"] == 3
    server.wait_for("cancelled: the client went away")


def test_langchain_has_the_same_answers(found, expected):
    said, (answer, completion) = found["langchain"], expected
    text = answer.choices[0].message.content
    assert {said["text"], said["streamed"], said["async"], *said["batch"]} == {text}
    for usage in (said["usage"], said["streamed_usage"]):
        assert (usage["input_tokens"], usage["output_tokens"]) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert said["reason"] == answer.choices[0].finish_reason
    assert said["rated"] == [2] * answer.usage.completion_tokens
    assert said["stopped"] == text.split("l")[0]
    assert said["completion"] == said["completion_streamed"] == completion


def test_langchain_sends_whole_conversations(found, server):
    said = found["langchain"]
    turns = [("system", "Be brief."), ("user", "Say hello."), ("assistant", "Hello!"), ("user", "Say it again.")]
    brief = [("system", "Be brief."), ("user", "What is the sea?")]
    with client_of(server) as client:
        of = lambda messages, **fields: ask(client, [{"role": r, "content": c} for r, c in messages], **fields)  # noqa: E731
        assert said["turns"] == of(turns, max_tokens=1).usage.prompt_tokens
        assert said["chain"] == of(brief).choices[0].message.content
    assert said["bad_field"] == "temperature"


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_litellm_has_the_same_answers(found, expected, provider):
    said, (answer, completion) = found["litellm"], expected
    texts = {said[f"{provider}.{name}"] for name in ("text", "streamed", "assembled", "async")}
    assert texts == {answer.choices[0].message.content}
    usage = answer.usage
    assert said[f"{provider}.usage"] == [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens]
    assert said[f"{provider}.unknown_model"] == "NotFoundError" and said[f"{provider}.bad_field"] == "BadRequestError"
    assert said["completion"] == completion


def test_litellm_hands_on_what_vllm_has_beside_openai(found):
    assert found["litellm"]["vllm_fields"] == 12


# ---- Editors. With a model that was taught to fill gaps.
CODER = "qwen2.5-coder-0.5b"
BEFORE, AFTER = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"
# What plugins that write the model's marks themselves send as ends.
MARKS = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
         "<|im_start|>", "<|im_end|>", "/src/", "#- coding: utf-8", "```"]  # fmt: skip


@pytest.fixture(scope="module")
def coder():
    listed = subprocess.run([BINARY, "list", "--json"], capture_output=True, text=True, check=True, env=environment())
    if CODER not in [entry["name"] for entry in json.loads(listed.stdout)["installed"]]:
        assert not os.environ.get("CARRONADE_REQUIRE_MODELS"), f"{CODER} is not there"
        pytest.skip(f"{CODER} is not installed")
    with Server(model=CODER, page=False) as running:
        yield running


def typed(server, **body):
    """The events of an answer as an editor reads them, off the socket; and how it hangs up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    body = {"model": "tiny", "stream": True, "temperature": 0, "max_tokens": 32, **body}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none", "Accept": "text/event-stream"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    if reply.status != 200 or not reply.getheader("Content-Type").startswith("text/event-stream"):
        raise AssertionError((reply.status, reply.getheaders(), reply.read()))

    def hang_up():
        reply.close()
        connection.close()

    return (line.removeprefix(b"data: ").strip() for line in iter(reply.readline, b"") if line.strip()), hang_up


def filled(server, **body) -> str:
    lines, hang_up = typed(server, **body)
    *chunks, done = lines
    hang_up()
    assert done == b"[DONE]"
    return "".join(json.loads(chunk)["choices"][0]["text"] for chunk in chunks)


def test_an_editor_fills_a_gap(coder):
    """As minuet and Continue's providers with a suffix do."""
    assert filled(coder, prompt=BEFORE, suffix=AFTER, stop=["\n"]).strip() == "a + b"


def test_an_editor_that_writes_the_marks_itself_gets_the_same(coder):
    """As Continue, Twinny and Tabby do: one prompt with the model's marks in it, and many ends."""
    marked = f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>"
    assert filled(coder, prompt=marked, stop=MARKS) == filled(coder, prompt=BEFORE, suffix=AFTER)


def test_a_gap_at_the_end_and_at_the_beginning_of_a_file(coder):
    assert "a + b" in filled(coder, prompt=BEFORE, suffix="", max_tokens=8)
    assert "def" in filled(coder, prompt="", suffix="    return a + b\n\nprint(add(1, 2))\n", max_tokens=16)


def test_typing_on_drops_the_answer(coder):
    before = coder.mark()
    lines, hang_up = typed(coder, prompt=BEFORE, suffix=AFTER, max_tokens=2000, ignore_eos=True)
    next(lines)
    hang_up()
    coder.wait_for("completion, .*cancelled: the client went away", before)
    assert filled(coder, prompt=BEFORE, suffix=AFTER, stop=["\n"]).strip() == "a + b"
