"""Servers that are made to be killed."""

import shutil

import pytest
from accounts import Account
from server import Server


class Gate:
    """A folder that builds see: what waits for `open` in it goes on when the test says so."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o755)

    def open(self):
        (self.folder / "open").touch()

    @property
    def wait(self):
        """A command that ends once the gate was open when its sandbox started, or never."""
        return f"echo at the gate; test -e {self.folder}/open || sleep 600"


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
