"""The AWS SDK for JavaScript v3, in one Node process."""

import base64
import datetime
import pathlib

from ..runner import Refused
from .child import Child, nulls, unwrap

FOLDER = pathlib.Path(__file__).parents[1] / "js"
MODULES = pathlib.Path(__file__).parents[3] / "target/js"


class Js:
    name = "js"

    def __init__(self, server):
        self.server = server
        environment = {name: value for name, value in server.env().items() if not name.startswith("AWS_")}
        self.child = Child(["node", str(FOLDER / "driver.mjs"), str(MODULES)], environment, server.folder, "js")

    def ask(self, service, operation, parameters, keys=None, **more):
        question = {"service": service, "operation": operation, "input": tag(parameters), "attempts": 1,
                    "keys": keys or self.server.root_keys(), "endpoint": self.server.url}
        return self.child.ask(question | more)

    def call(self, service, operation, parameters, keys=None, **more):
        told = self.ask(service, operation, parameters, keys, **more)
        if told.get("refused", {}).get("name") == "NotFound":
            raise Refused("404", told["refused"]["message"])  # an answer to HEAD has no code
        answer = untag(unwrap(told))
        assert not list(nulls(answer, "")), f"nulls: {list(nulls(answer, ''))}"
        return answer

    def stop(self):
        self.child.stop()


def tag(value):
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime):
        return {"$time": value.isoformat()}
    if isinstance(value, dict):
        return {name: tag(inner) for name, inner in value.items()}
    return [tag(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def untag(value):
    if isinstance(value, dict):
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        if "$time" in value:
            return datetime.datetime.fromisoformat(value["$time"])
        return {name: untag(inner) for name, inner in value.items()}
    return [untag(inner) for inner in value] if isinstance(value, list) else value
