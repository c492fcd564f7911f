"""The aws CLI, v1 from PyPI and v2 from Debian: the real command line, many calls in one process.

`cli_child.py` runs under the interpreter that the CLI belongs to. A few commands run as processes of their own
in `test_clients_cli.py`; a process for each of a thousand calls would take most of an hour.
"""

import base64
import json
import pathlib
import sys
import tempfile

from .child import Child, nulls, unwrap

CHILD = pathlib.Path(__file__).with_name("cli_child.py")
INTERPRETERS = {"cli1": sys.executable, "cli2": "/usr/bin/python3"}


class Cli:
    def __init__(self, server, name):
        self.name = name
        self.server = server
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=server.folder))
        self.children = {}
        self.left_out = set()

    def child(self, keys):
        if keys not in self.children:
            # Isolated: the one interpreter must not find the other's packages.
            command = [INTERPRETERS[self.name], "-I", str(CHILD)]
            environment = self.server.env(keys) | {"HOME": str(self.folder), "AWS_MAX_ATTEMPTS": "1"}
            self.children[keys] = Child(command, environment, self.folder, self.name)
        return self.children[keys]

    def call(self, service, operation, parameters, keys=None):
        """Blobs of the first level go through files, as people do it; those within are JSON's."""
        files = {}
        plain = {}
        for name, value in parameters.items():
            if isinstance(value, bytes):
                path = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
                path.write_bytes(value)
                files[name] = str(path)
            else:
                plain[name] = self.to_json(value)
        outfile = str(self.folder / "out") if (service, operation) == ("s3", "GetObject") else None
        told = self.child(keys).ask({"service": service, "operation": operation, "input": plain, "files": files,
                                     "outfile": outfile, "endpoint": self.server.url})
        self.left_out |= set(told.get("left_out", ()))
        text = unwrap(told)
        answer = json.loads(text) if text.strip() else {}
        if outfile:
            answer["Body"] = pathlib.Path(outfile).read_bytes()
        # Of a listing that it pages through, the CLI writes null for what no page had.
        answer = {name: value for name, value in answer.items() if value is not None}
        assert not list(nulls(answer, "")), f"nulls: {list(nulls(answer, ''))}"
        return answer

    def to_json(self, value):
        if isinstance(value, bytes):
            return value.decode() if self.name == "cli1" else base64.b64encode(value).decode()
        if isinstance(value, dict):
            return {name: self.to_json(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.to_json(inner) for inner in value]
        return value

    def stop(self):
        for child in self.children.values():
            child.stop()
