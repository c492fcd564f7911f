"""Servers that are made to be killed."""

import shutil

import pytest
from accounts import Account
from gate import Gate
from server import Server


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


@pytest.fixture
def server(tmp_path, gate):
    """A server that the test may kill, whose builds see the gate."""
    made = Server(tmp_path, extra=["--pass-folder", str(gate.folder)]).start()
    yield made
    if made.process.poll() is not None:
        made.start()
    made.towpath("host", "stop", "--all", check=False)
    made.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def team(server):
    """Clients, roles and helpers on the server that the test may kill."""
    return Account(server, "t")
