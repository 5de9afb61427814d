"""`carronade run`, as scripts and people use it."""
import json
import os
import pty
import select
import signal
import subprocess

import pytest

from server import BINARY, MODEL, PATIENCE, environment


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    return subprocess.run([str(BINARY), "run", *arguments], input=stdin, capture_output=True, text=True, timeout=PATIENCE, env=environment())


def test_json_has_answer_usage_and_timings():
    result = run(MODEL, "Say hello.", "--temperature", "0", "--max-tokens", "8", "--json")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["answer"].strip() and answer["reasoning"] is None
    assert answer["finish_reason"] in ("stop", "length") and 0 < answer["usage"]["completion_tokens"] <= 8
    assert answer["timings"]["decode_seconds"] > 0 and answer["timings"]["first_token_seconds"] > 0


def test_standard_input_is_the_prompt():
    fields = ("--temperature", "0", "--max-tokens", "8")
    piped = run(MODEL, *fields, stdin="Say hello.\n")
    given = run(MODEL, "Say hello.", *fields)
    assert piped.returncode == given.returncode == 0
    assert piped.stdout == given.stdout and piped.stdout.strip()
    both = json.loads(run(MODEL, "Say", *fields, "--json", stdin="hello.").stdout)
    assert both["usage"]["prompt_tokens"] > json.loads(run(MODEL, "Say", *fields, "--json").stdout)["usage"]["prompt_tokens"]


def test_the_same_seed_gives_the_same_answer():
    fields = ("Tell me a story.", "--temperature", "1.5", "--max-tokens", "16", "--json")
    first, again, other = (json.loads(run(MODEL, *fields, "--seed", seed).stdout) for seed in ("3", "3", "4"))
    assert first["answer"] == again["answer"] != other["answer"]
    assert first["seed"] == 3


def test_nothing_to_ask_is_an_error():
    result = run(MODEL)
    assert result.returncode == 1 and "nothing to ask" in result.stderr


class Terminal:
    """The program on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([str(BINARY), "run", *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment(),
                                        start_new_session=True)
        os.close(slave)
        self.text = ""

    def read_until(self, part: str, start: int = 0) -> None:
        while part not in self.text[start:]:
            ready, _, _ = select.select([self.master], [], [], PATIENCE)
            assert ready, f"no {part!r} in:\n{self.text}"
            self.text += os.read(self.master, 65536).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


def test_a_conversation_in_which_ctrl_c_stops_the_answer_only():
    terminal = Terminal(MODEL, "--max-tokens", "3000", "--temperature", "0", "--seed", "1")
    terminal.read_until(">>> ")
    begin = len(terminal.text)
    terminal.type("/help\n")
    terminal.read_until("/clear", begin)
    terminal.read_until(">>> ", begin)
    begin = len(terminal.text)
    terminal.type("Tell me a very long story about the sea.\n")
    terminal.read_until("sea.\r\n", begin)
    start = len(terminal.text)
    while len(terminal.text) < start + 30:  # some of the answer
        terminal.text += os.read(terminal.master, 4096).decode(errors="replace")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until(">>> ", start)
    assert terminal.process.poll() is None
    end(terminal, "/exit\n")


def end(terminal: Terminal, with_keys: str = "/bye\r") -> None:
    terminal.type(with_keys)
    while True:
        try:
            if not os.read(terminal.master, 4096):
                break
        except OSError:
            break
    assert terminal.process.wait(PATIENCE) == 0


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's own folder, empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "carronade"


def talk(*arguments: str) -> Terminal:
    terminal = Terminal(MODEL, "--max-tokens", "6", "--temperature", "0", *arguments)
    terminal.read_until(">>> ")
    return terminal


def say(terminal: Terminal, keys: str, expected: str = ">>> ") -> str:
    """Types, and waits for the next prompt; what came in between."""
    begin = len(terminal.text)
    terminal.type(keys)
    terminal.read_until(expected, begin)
    if expected != ">>> ":
        terminal.read_until(">>> ", terminal.text.index(expected, begin))
    return terminal.text[begin:]


def kept(home, name: str) -> list[dict]:
    return json.loads((home / "conversations" / f"{name}.json").read_text())["messages"]


def test_a_conversation_is_saved_and_loaded(home):
    terminal = talk("--system", "Be brief.")
    say(terminal, "Hello there.\r", "\r\n")
    assert "Kept in" in say(terminal, "/save first\r", "Kept in")
    end(terminal)
    assert (home / "conversations" / "first.json").stat().st_mode & 0o077 == 0
    messages = kept(home, "first")
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    assert messages[1]["content"] == "Hello there." and messages[2]["content"]

    terminal = talk()
    assert "first" in say(terminal, "/load\r", "kept so far")
    assert "there is no" in say(terminal, "/load none\r", "there is no")
    assert "3 messages" in say(terminal, "/load first\r", "3 messages")
    say(terminal, "And then?\r", "\r\n")
    say(terminal, "/save second\r", "Kept in")
    end(terminal)
    assert [message["content"] for message in kept(home, "second")][:4] == [*(m["content"] for m in messages), "And then?"]


def test_several_lines_in_their_three_ways(home):
    terminal = talk()
    for first, second in (('"""one', 'two"""'), ("three\\", "four")):
        begin = len(terminal.text)
        terminal.type(first + "\r")
        terminal.read_until("... ", begin)
        say(terminal, second + "\r", "\r\n")
    say(terminal, "five\x1b\rsix\r", "six")
    say(terminal, "/save lines\r", "Kept in")
    end(terminal)
    questions = [message["content"] for message in kept(home, "lines") if message["role"] == "user"]
    assert questions == ["one\ntwo", "three\nfour", "five\nsix"]


def test_earlier_inputs_come_back_with_the_arrow_key_and_after_a_restart(home):
    terminal = talk()
    say(terminal, "/set seed 41\r")
    say(terminal, "\x1b[A\x7f2\r")  # up, and the last digit changed
    assert "seed                  42" in say(terminal, "/set\r", "thinking")
    end(terminal, "\x04")  # Ctrl-D
    assert (home / "history").stat().st_mode & 0o077 == 0
    terminal = talk()
    say(terminal, "\x1b[A\x1b[A\r")  # before the last, of the session before
    assert "seed                  42" in say(terminal, "/set\r", "thinking")
    end(terminal)


def test_settings_and_figures(home):
    terminal = talk()
    assert "did you mean temperature?" in say(terminal, "/set temprature 0.5\r", "temprature")
    assert "did you mean /stats?" in say(terminal, "/stat\r", "did you mean")
    assert "no answer yet" in say(terminal, "/stats\r", "no answer yet")
    say(terminal, "/set max_tokens 3\r")
    say(terminal, "Tell me a story.\r", "\r\n")
    figures = say(terminal, "/stats\r", "seed")
    assert "answer    3 tokens" in figures and "tokens/s" in figures and "of 4096 tokens" in figures
    assert "no thought" in say(terminal, "/thought\r", "no thought")
    end(terminal)


def test_ctrl_c_leaves_the_line_and_not_the_program(home):
    terminal = talk()
    assert "/bye ends" in say(terminal, "half a que\x03", "/bye ends")
    say(terminal, "/set seed 1\r")
    end(terminal)


@pytest.fixture
def thinking_template(tmp_path):
    """Any model thinks when its prompt has opened the thought."""
    path = tmp_path / "thinking.jinja"
    path.write_text("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<think>\n"
                    "{# ends at </think> #}")
    return str(path)


def test_a_thought_is_dimmed_and_folded(home, thinking_template):
    terminal = Terminal(MODEL, "--max-tokens", "12", "--temperature", "0", "--chat-template", thinking_template)
    terminal.read_until(">>> ")
    seen = say(terminal, "Say hello.\r", "Thought for")
    assert "\x1b[2m" in seen and "\x1b[J" in seen  # dimmed while it came, then taken back
    thought = say(terminal, "/thought\r", "\x1b[2m")
    assert len(thought.split("\x1b[2m")[1]) > 10
    assert "12 of them thought" in say(terminal, "/stats\r", "seed")
    say(terminal, "/set thinking hide\r")
    assert "Thought for" not in say(terminal, "Say hello again.\r", "\r\n")
    end(terminal)


def test_piped_a_thought_is_left_out_and_json_has_it(thinking_template):
    fields = ("Say hello.", "--max-tokens", "12", "--temperature", "0", "--chat-template", thinking_template)
    assert run(MODEL, *fields).stdout.strip() == ""
    answer = json.loads(run(MODEL, *fields, "--json").stdout)
    assert answer["answer"] == "" and answer["reasoning"].strip() and answer["usage"]["reasoning_tokens"] == 12
