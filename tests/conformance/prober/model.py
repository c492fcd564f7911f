"""The service models as the prober reads them: straight from models/, by code of its own."""

import dataclasses
import functools
import json
import pathlib

FOLDER = pathlib.Path(__file__).parents[3] / "models"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())

JSON, QUERY, CBOR = "json", "query", "smithy-rpc-v2-cbor"
SCALARS = {"string", "integer", "long", "float", "double", "boolean", "blob", "timestamp"}

# Steps into a value. A member's step is its name.
ITEM, VALUE, KEY = object(), object(), object()


@dataclasses.dataclass(frozen=True)
class Place:
    """Somewhere in an operation's input: the steps to it, and the shape that is there."""
    path: tuple
    shape: str
    required: bool = False
    token: bool = False

    def __str__(self):
        names = {ITEM: "[]", VALUE: "{}", KEY: "{key}"}
        return ".".join(names.get(step, step) for step in self.path)


class Model:
    def __init__(self, name):
        data = json.loads((FOLDER / f"{name}.json").read_text())
        self.name, self.shapes, self.described = name, data["shapes"], data["operations"]
        metadata = data["metadata"]
        self.signing_name = metadata.get("signingName") or metadata["endpointPrefix"]
        self.target_prefix = metadata.get("targetPrefix")
        self.version = metadata["apiVersion"]
        self.protocols = metadata.get("protocols") or [metadata["protocol"]]
        self.operations = MANIFEST[name]

    def input(self, operation):
        """The name of the input's shape, or None."""
        return self.described[operation].get("input", {}).get("shape")

    def members(self, shape):
        return self.shapes[shape].get("members", {})

    def required(self, shape):
        """What must be there. A token that a client makes up may be left out, for the server makes one up too."""
        members = self.members(shape)
        return [name for name in self.shapes[shape].get("required", []) if not members[name].get("idempotencyToken")]

    def kind(self, shape):
        return self.shapes[shape]["type"]

    def errors(self, operation):
        """The codes on the wire of the errors that the operation's model lists."""
        found = set()
        for error in self.described[operation].get("errors", []):
            found |= {error["shape"], self.shapes[error["shape"]].get("error", {}).get("code", error["shape"])}
        return found

    def places(self, operation):
        """Every place of the input, each member of each structure once."""
        root, done = self.input(operation), set()

        def below(shape, path):
            kind = self.kind(shape)
            if kind == "structure":
                for name, member in self.members(shape).items():
                    if (shape, name) in done:
                        continue
                    done.add((shape, name))
                    token = member.get("idempotencyToken", False)
                    yield Place((*path, name), member["shape"], name in self.required(shape), token)
                    yield from below(member["shape"], (*path, name))
            elif kind == "list":
                inner = self.shapes[shape]["member"]["shape"]
                yield Place((*path, ITEM), inner)
                yield from below(inner, (*path, ITEM))
            elif kind == "map":
                yield Place((*path, KEY), self.shapes[shape]["key"]["shape"])
                inner = self.shapes[shape]["value"]["shape"]
                yield Place((*path, VALUE), inner)
                yield from below(inner, (*path, VALUE))

        return list(below(root, ())) if root else []


@functools.cache
def model(name):
    return Model(name)
