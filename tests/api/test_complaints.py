"""The rows of docs/complaints.md: their tests are there, and those that stand nowhere else are here."""
import pathlib
import re

import pytest
from server import Server, client_of
from test_chat import HELLO, ask

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / "docs/complaints.md").read_text().splitlines() if "::" in line]


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:40] for row in ROWS])
def test_every_row_is_held_by_tests_that_are_there(row):
    named = re.findall(r"`([\w./]+)::(\w+)`", row)
    assert named
    for file, name in named:
        text = (ROOT / file).read_text()
        assert re.search(rf"^def {name}\(|^TEST\w*\(\w+, {name}\)", text, re.MULTILINE), f"{file} has no test {name}"


def test_a_short_question_costs_few_tokens(client):
    assert ask(client, HELLO, max_tokens=1).usage.prompt_tokens < 60


def test_a_restart_keeps_what_was_read(tmp_path):
    words = [{"role": "user", "content": "Remember this: " + "the sea is wide and the ship is small; " * 20}]
    answers = []
    for _ in range(2):
        with Server("--kv-disk", "1GiB", "--data-dir", str(tmp_path), page=False) as server:
            answers.append(ask(client_of(server), words, max_tokens=8))
    first, second = answers
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert second.usage.prompt_tokens_details.cached_tokens > 100
    assert second.choices[0].message.content == first.choices[0].message.content
