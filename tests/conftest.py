"""What every test may ask for. A test that breaks the server on purpose takes a server of its own."""

import shutil
import sys
import pathlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from accounts import Account  # noqa: E402
from server import Server  # noqa: E402


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One server for all tests that only use it."""
    server = Server(tmp_path_factory.mktemp("shared")).start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may kill."""
    server = Server(tmp_path).start()
    yield server
    if server.process.poll() is None:
        server.towpath("host", "stop", "--all", check=False)
    server.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def account(shared_server, request):
    """Names of the test's own, on the shared server."""
    return Account(shared_server, request.node.name)
