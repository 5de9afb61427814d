import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]
from server import Server, client_of  # noqa: E402


@pytest.fixture(scope="session")
def server():
    with Server() as running:
        yield running
    assert running.process.returncode == 0, "".join(running.log)


@pytest.fixture
def client(server):
    with client_of(server) as made:
        yield made
