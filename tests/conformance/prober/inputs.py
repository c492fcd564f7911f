"""The smallest input that holds a wanted place: its required members, and what leads to the place."""

import dataclasses
import itertools

from . import strings
from .model import ITEM, KEY, VALUE

ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Time:
    """Seconds since the epoch."""
    seconds: float


class Inputs:
    """`known` has values by the names of members: what exists in the world that is probed."""

    def __init__(self, model, known):
        self.model, self.known = model, known

    def text(self, shape, name=None):
        limits = self.model.shapes[shape]
        if limits.get("enum"):
            return limits["enum"][0]
        known = self.known.get(name)
        least, most = limits.get("min", 0), limits.get("max", 1 << 30)
        if known is not None and least <= len(known) <= most and (
                "pattern" not in limits or strings.matches(limits["pattern"], known)):
            return known
        for length in itertools.chain([None], range(max(1, least), min(most, least + 64) + 1)):
            text = ("a" * max(1, least)) if "pattern" not in limits else strings.matching(limits["pattern"], length)
            if text is not None and least <= len(text) <= most and (text or length is not None):
                return text
        raise AssertionError(f"no text fits {shape}: {limits}")

    def value(self, shape, name=None):
        limits, kind = self.model.shapes[shape], self.model.kind(shape)
        match kind:
            case "structure":
                required = self.model.required(shape)
                if limits.get("union"):
                    required = list(limits["members"])[:1]
                return {one: self.value(limits["members"][one]["shape"], one) for one in required}
            case "list":
                return self.items(limits, name, max(1, limits.get("min", 1)))
            case "map":
                return self.entries(limits, max(1, limits.get("min", 1)))
            case "string":
                return self.text(shape, name)
            case "blob":
                return b"x" * max(1, limits.get("min", 1))
            case "timestamp":
                return Time(1_700_000_000.0)
            case "boolean":
                return False
        return max(1, limits.get("min", 1))

    def items(self, limits, name, count):
        return [self.value(limits["member"]["shape"], name) for _ in range(count)]

    def entries(self, limits, count):
        """So many entries, or None when the keys' shape has not so many keys."""
        key, value = limits["key"]["shape"], self.value(limits["value"]["shape"])
        shape = self.model.shapes[key]
        if shape.get("enum"):
            keys = shape["enum"][:count]
        else:
            base = self.text(key)
            keys = [base] + [text for number in range(count * 4) if (text := f"{base}{number}") and self.fits(shape, text)]
            keys = keys[:count]
        return dict.fromkeys(keys, value) if len(keys) == count else None

    @staticmethod
    def fits(shape, text):
        return (shape.get("min", 0) <= len(text) <= shape.get("max", 1 << 30)
                and ("pattern" not in shape or strings.matches(shape["pattern"], text)))

    def at(self, shape, path, leaf, name=None):
        """A smallest value of `shape` in which `leaf` is at `path`."""
        if not path:
            return leaf
        step, rest = path[0], path[1:]
        limits = self.model.shapes[shape]
        if step is ITEM:
            found = self.value(shape, name)
            return [self.at(limits["member"]["shape"], rest, leaf, name), *found[1:]]
        if step is VALUE:
            found = self.value(shape)
            return found | {next(iter(found)): self.at(limits["value"]["shape"], rest, leaf)}
        if step is KEY:
            return {leaf: self.value(limits["value"]["shape"])}
        found = {} if limits.get("union") else self.value(shape)
        if not rest and leaf is ABSENT:
            found.pop(step, None)
        else:
            found[step] = self.at(limits["members"][step]["shape"], rest, leaf, step)
        return found

    def whole(self, operation, path=(), leaf=None):
        """The operation's input with `leaf` at `path`."""
        shape = self.model.input(operation)
        if shape is None:
            return {}
        return self.at(shape, path, leaf) if path else self.value(shape)
