"""Random inputs, mostly right: what no list of boundaries thinks of. A seed gives the same inputs again."""

import random
import string

from . import strings
from .inputs import Time
from .probes import Maker

ODD = ["", " ", "\u0000", "\u2603", "a" * 5000, "../..", "/", ":", "arn:aws:iam::000000000000:role/absent", "-1", "0",
       "null", "*", "$LATEST", "{}", "[]", "\n", "#{SourceVariables.CommitId}", "arn:aws:s3:::", "refs/heads/main"]
ENOUGH_DEPTH = 12


class Fuzz(Maker):
    def __init__(self, model, protocol, known, seed):
        super().__init__(model, protocol, known)
        self.known = known
        self.random = random.Random(f"{seed} {model.name} {protocol}")

    def probes(self, operations, count):
        """`count` probes, over the operations in turn."""
        for number in range(count):
            operation = operations[number % len(operations)]
            shape = self.model.input(operation)
            yield self.probe(operation, f"random input {number}", self.some(shape) if shape else {})

    def some(self, shape, name=None, depth=0):
        limits, kind, roll = self.model.shapes[shape], self.model.kind(shape), self.random.random()
        if kind == "structure":
            members, required = self.model.members(shape), self.model.required(shape)
            likely = 0.4 if depth < 3 else 0.15
            chosen = [one for one in members if one in required or depth < ENOUGH_DEPTH and self.random.random() < likely]
            if limits.get("union"):
                chosen = [self.random.choice(list(members))]
            return {one: self.some(members[one]["shape"], one, depth + 1) for one in chosen}
        if kind == "list":
            size = self.random.choice([limits.get("min", 0), 1, 1, 2, 3])
            return [self.some(limits["member"]["shape"], name, depth + 1)
                    for _ in range(max(size, limits.get("min", 0)))]
        if kind == "map":
            return {self.text(limits["key"]["shape"]): self.some(limits["value"]["shape"], None, depth + 1)
                    for _ in range(self.random.choice([1, 1, 2, 3]))}
        if kind == "string":
            return self.text(shape, name)
        if kind == "boolean":
            return roll < 0.5
        if kind == "timestamp":
            return Time(self.random.choice([0.0, 1.5, 1_700_000_000.0, 4_000_000_000.0, -1.0]))
        if kind == "blob":
            return self.random.randbytes(self.random.choice([0, 1, 20, 2000]))
        least, most = limits.get("min", -3), limits.get("max", 1 << 20)
        return self.random.choice([least, most, 0, 1, self.random.randint(least, most)])

    def text(self, shape, name=None):
        limits, roll = self.model.shapes[shape], self.random.random()
        if limits.get("enum"):
            return self.random.choice(limits["enum"]) if roll < 0.97 else "Other"
        if roll < 0.5:
            return self.inputs.text(shape, name)
        if roll < 0.6:
            return self.random.choice(ODD)
        if roll < 0.7 and self.known:
            return str(self.random.choice(list(self.known.values())))
        least, most = limits.get("min", 0), min(limits.get("max", 40), 4000)
        size = self.random.choice([max(least, 1), most, self.random.randint(least, max(least, most))])
        if "pattern" in limits:
            return strings.matching(limits["pattern"], size) or self.inputs.text(shape, name)
        return "".join(self.random.choices(string.ascii_letters + string.digits + "-_/.: ", k=size))
