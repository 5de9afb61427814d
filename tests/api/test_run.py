"""`carronade run`, as scripts and people use it."""
import json
import os
import pty
import select
import signal
import subprocess

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
    terminal.type("/exit\n")
    while True:
        try:
            if not os.read(terminal.master, 4096):
                break
        except OSError:
            break
    assert terminal.process.wait(PATIENCE) == 0
