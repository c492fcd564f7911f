"""The AWS SDK for Rust: typed calls in one process, whose answers come as their Debug text."""

import ast
import pathlib

import botocore.session

from ..runner import Refused
from ..table.core import Hidden
from .child import Child, nulls, unwrap
from .rust_debug import Redacted, Struct, Unit, parse

DRIVER = pathlib.Path(__file__).parents[3] / "target/sdk-rust/debug/towpath-sdk-rust"

# Variants that are called otherwise than on the wire: CodeCommit's kinds of change.
VARIANTS = {"Added": "A", "Deleted": "D", "Modified": "M"}


class Rust:
    name = "rust"

    def __init__(self, server):
        self.server = server
        self.session = botocore.session.Session()
        environment = {name: value for name, value in server.env().items() if not name.startswith("AWS_")}
        assert DRIVER.is_file(), f"{DRIVER} is built by `cargo xtask test`"
        self.child = Child([str(DRIVER)], environment, server.folder, "rust")

    def call(self, service, operation, parameters, keys=None):
        access, secret = keys or self.server.root_keys()
        told = self.child.ask({"service": service, "operation": operation, "input": to_json(parameters),
                               "access": access, "secret": secret, "endpoint": self.server.url})
        if "refused" in told:
            code, status = told["refused"]["code"], told["refused"]["status"]
            # An answer to HEAD has no code but its status.
            raise Refused(str(status) if code in (None, "NotFound") else code, told["refused"]["message"])
        shown, _, body = unwrap(told).partition("\n")
        shape = self.session.get_service_model(service).operation_model(operation).output_shape
        answer = in_model(parse(shown), shape) if shape else {}
        if body:
            answer["Body"] = bytes(ast.literal_eval(body))
        assert not list(nulls(answer, "")), f"nulls: {list(nulls(answer, ''))}"
        return answer

    def stop(self):
        self.child.stop()


def to_json(value):
    if isinstance(value, bytes):
        return {"$bytes": list(value)}
    if isinstance(value, dict):
        return {name: to_json(inner) for name, inner in value.items()}
    return [to_json(inner) for inner in value] if isinstance(value, list) else value


def plain(name):
    return "".join(one for one in name if one.isalnum()).lower()


def in_model(value, shape):
    """A parsed Debug value in the model's names; what is None was not in the answer."""
    kind = shape.type_name
    if isinstance(value, Redacted):
        return value if kind == "structure" else Hidden()
    if kind == "structure":
        names = {plain(name): (name, member) for name, member in shape.members.items()}
        told = {}
        for field, inner in value.fields.items():
            # A member called `build` would hide the builder's method, and is called otherwise.
            found = names.get(plain(field)) or names.get(plain(field.removesuffix("_value")))
            if inner is None or found is None:
                continue  # what the answer had not, and the SDK's own fields: request ids, streams
            name, member = found
            if not member.serialization.get("streaming"):
                told[name] = in_model(inner, member)
        return told
    if kind == "list":
        return [in_model(inner, shape.member) for inner in value]
    if kind == "map":
        return {name: in_model(inner, shape.value) for name, inner in value.items()}
    if isinstance(value, Unit):  # a variant of an enum
        return VARIANTS.get(value) or next((one for one in shape.enum if plain(one) == plain(value)), f"unknown variant {value}")
    if isinstance(value, Struct) and value.name == "DateTime":
        return value.fields[0]
    if isinstance(value, Struct) and value.name == "Blob":
        return bytes.fromhex(value.fields[0])
    if isinstance(value, Struct):  # Unknown(UnknownVariantValue("Policy"))
        text = value.fields[0].fields[0]
        # The region us-east-1 is told as an empty one; the type of boundary is beside the model, as AWS's is.
        return text if text in ("", "Policy") else f"unknown variant {text}"
    return value
