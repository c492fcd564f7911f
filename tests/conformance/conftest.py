"""What more than one file of these tests asks for."""

import pytest
from sdk.pages import World
from server import Server


@pytest.fixture(scope="session")
def listed_world(tmp_path_factory):
    """More than one page of every listing. On a server of its own, for no other test should have to list hundreds
    of things."""
    server = Server(tmp_path_factory.mktemp("pages")).start()
    try:
        made = World(server)
        yield made
        made.stop()
    finally:
        server.stop()
