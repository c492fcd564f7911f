"""The service that the journey deploys: it says which revision it is and where it runs."""

import pathlib
import socket

import bottle

REVISION = (pathlib.Path(__file__).parent / "REVISION").read_text().strip()

app = bottle.Bottle()


@app.get("/")
def hello():
    bottle.response.content_type = "text/plain"
    return f"hello from {socket.gethostname()}, revision {REVISION}, bottle {bottle.__version__}\n"
