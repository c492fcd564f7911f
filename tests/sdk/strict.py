"""Looks at an answer as it came over the wire: every member is the model's, of the model's type, and never null.

SDKs drop what they do not know, so that a wrong name goes unseen; this does not.
"""

import datetime
import json
from xml.etree import ElementTree

from botocore.parsers import RpcV2CBORParser

# What AWS says and its model does not: https://docs.aws.amazon.com/IAM/latest/APIReference/API_AttachedPermissionsBoundary.html
BESIDE_THE_MODEL = {"PermissionsBoundaryAttachmentType": {"Policy"}}


def problems_of(protocol, shape, body):
    """What is wrong with a successful answer's body."""
    if shape is None:
        return []
    if protocol == "json":
        return list(of_value(json.loads(body or b"{}"), shape, ""))
    if protocol == "smithy-rpc-v2-cbor":
        reader = RpcV2CBORParser()
        stream = reader.get_peekable_stream_from_bytes(body)
        told = list(of_value(reader.parse_data_item(stream), shape, ""))
        rest = stream.read()
        return told + ([f"{len(rest)} bytes too many"] if rest else [])
    if protocol == "query":
        wrapper = shape.serialization.get("resultWrapper")
        result = next((child for child in ElementTree.fromstring(body) if name_of(child) == wrapper), None)
        return [f"there is no {wrapper}"] if result is None else list(of_element(result, shape, ""))
    return []


def of_value(value, shape, path):
    kind = shape.type_name
    if value is None:
        yield f"{path} is null"
    elif kind == "structure":
        if not isinstance(value, dict):
            yield f"{path} is no structure: {value!r}"
            return
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name, inner in value.items():
            if name not in names:
                yield f"{path}.{name} is not in the model"
            else:
                yield from of_value(inner, names[name], f"{path}.{name}")
    elif kind == "list":
        for index, inner in enumerate(value):
            yield from of_value(inner, shape.member, f"{path}[{index}]")
    elif kind == "map":
        for name, inner in value.items():
            yield from of_value(inner, shape.value, f"{path}.{name}")
    else:
        yield from of_scalar(value, shape, path)


def is_time(value):
    """Seconds since the epoch with whole milliseconds; CBOR's are already read."""
    if isinstance(value, datetime.datetime):
        return value.microsecond % 1000 == 0 and value.year > 2000
    return isinstance(value, (int, float)) and 1e9 < value < 1e11 and round(value, 3) == value


def of_scalar(value, shape, path):
    kind = shape.type_name
    right = {"string": lambda: isinstance(value, str), "boolean": lambda: isinstance(value, bool),
             "timestamp": lambda: is_time(value),
             "blob": lambda: isinstance(value, (str, bytes)), "integer": lambda: type(value) is int,
             "long": lambda: type(value) is int}.get(kind, lambda: isinstance(value, (int, float)))
    if not right():
        yield f"{path} is no {kind}: {value!r}"
    elif kind == "string" and is_strange(value, shape):
        yield f"{path} is {value!r}, none of {shape.enum}"


def is_strange(value, shape):
    return bool(shape.enum) and value not in shape.enum and value not in BESIDE_THE_MODEL.get(shape.name, ())


def name_of(element):
    return element.tag.rsplit("}", 1)[-1]


def of_element(element, shape, path):
    kind = shape.type_name
    if kind == "structure":
        names = {}
        for name, member in shape.members.items():
            flat = member.type_name == "list" and member.serialization.get("flattened")
            names[member.serialization.get("name", name)] = member.member if flat else member
        for child in element:
            if name_of(child) not in names:
                yield f"{path}.{name_of(child)} is not in the model"
            else:
                yield from of_element(child, names[name_of(child)], f"{path}.{name_of(child)}")
    elif kind == "list":
        item = shape.member.serialization.get("name", "member")
        for child in element:
            if name_of(child) != item:
                yield f"{path} has a {name_of(child)} in its list"
            yield from of_element(child, shape.member, f"{path}[]")
    elif kind == "string":
        if is_strange(element.text or "", shape):
            yield f"{path} is {element.text!r}, none of {shape.enum}"
    elif kind != "map" and not (element.text or "").strip():
        yield f"{path} is empty"
