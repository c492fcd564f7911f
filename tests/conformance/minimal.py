"""The smallest parameters that an operation's model accepts, with names from a world that exists or none that does."""

import datetime
import json
import pathlib
import re

MANIFEST = json.loads((pathlib.Path(__file__).parents[2] / "models/manifest.json").read_text())

# Tried in turn against a string's pattern and length; the first that fits is sent.
SAMPLES = [
    "absent", "absent-name", "Absent", "absent/x", "main", "{}", "/absent/", "123456", "1234567890",
    "00000000-0000-4000-8000-000000000000", "v1", "AKIA0000000000000000", "ACCA0000000000000000",
    "arn:aws:iam::000000000000:policy/absent", "arn:aws:iam::000000000000:role/absent",
    "arn:aws:codebuild:us-east-1:000000000000:report/absent:00000000-0000-4000-8000-000000000000",
    "arn:aws:codepipeline:us-east-1:000000000000:absent",
    "arn:aws:codecommit:us-east-1:000000000000:absent", "arn:aws:logs:us-east-1:000000000000:log-group:absent",
    "a" * 40, "arn:aws:kms:us-east-1:000000000000:key/absent",
]


def text(shape):
    if shape.enum:
        return shape.enum[0]
    limits = shape.metadata
    pattern = limits.get("pattern")
    for sample in SAMPLES:
        long_enough = limits.get("min", 0) <= len(sample) <= limits.get("max", 1 << 20)
        try:
            fits = pattern is None or re.fullmatch(re.sub(r"\\p\{[A-Z]\w*\}", r"\\w", pattern), sample)
        except re.error:
            fits = True
        if long_enough and fits:
            return sample
    if pattern is None and limits.get("min", 0) > 0:
        return "a" * limits["min"]
    raise AssertionError(f"no sample fits {shape.name}: {limits}")


def value(shape, world, member=None, depth=0):
    """A value of `shape`; `world` names what exists, by member name."""
    kind = shape.type_name
    if member in world and kind == "string":
        return world[member]
    if kind == "structure":
        required = shape.required_members
        if getattr(shape, "is_tagged_union", False):
            required = list(shape.members)[:1]
        return {name: value(shape.members[name], world, name, depth + 1) for name in required}
    if kind == "list":
        inner = [value(shape.member, world, member, depth + 1)]
        return inner * max(1, shape.metadata.get("min", 1))
    if kind == "map":
        return {value(shape.key, {}, None): value(shape.value, world, None, depth + 1)}
    if kind == "string":
        return text(shape)
    if kind == "timestamp":
        return datetime.datetime.now(datetime.timezone.utc)
    if kind == "blob":
        return b"x"
    if kind == "boolean":
        return False
    return max(1, shape.metadata.get("min", 1))


def parameters(model, world, extra=()):
    """The required members, and those of `extra` that the operation has."""
    shape = model.input_shape
    if shape is None:
        return {}
    names = [*shape.required_members, *(name for name in extra if name in shape.members)]
    return {name: value(shape.members[name], world, name) for name in dict.fromkeys(names)}
