"""What is sent: for every place of an operation's input, what its shape forbids and what it just allows."""

import collections
import dataclasses

from . import codecs, oracle, strings
from .inputs import ABSENT, Inputs
from .model import CBOR, ITEM, JSON, KEY, QUERY, SCALARS, VALUE

# A text longer than this says no more than one of this length, and a body has its own limit.
LONGEST = 300_000
MANY = 3_000


@dataclasses.dataclass
class Probe:
    service: str
    operation: str
    protocol: str
    what: str
    body: bytes
    # What the answer must be; None where the model has nothing against the input.
    refusal: oracle.Refusal | None
    method: str = "POST"
    content_type: str | None = None


class Maker:
    def __init__(self, model, protocol, known):
        self.model, self.protocol = model, protocol
        self.inputs = Inputs(model, known)

    def probe(self, operation, what, value, refusal=ABSENT):
        if refusal is ABSENT:
            refusal = oracle.judge(self.model, operation, self.protocol, value)
        return Probe(self.model.name, operation, self.protocol, what, self.encode(operation, value), refusal)

    def encode(self, operation, value):
        match self.protocol:
            case "json":
                return codecs.to_json(value)
            case "query":
                return codecs.to_form(value, operation, self.model.version)
        return codecs.to_cbor(value)

    def all(self, operation):
        yield from self.bodies(operation)
        for place in self.model.places(operation):
            for what, leaf in self.leaves(place):
                try:
                    value = self.inputs.whole(operation, place.path, leaf)
                except AttributeError:
                    continue
                yield self.probe(operation, f"{place}: {what}", value)
            yield from self.types(operation, place)

    def leaves(self, place):
        """What may be at a place, and what its constraints forbid there."""
        limits, kind = self.model.shapes[place.shape], self.model.kind(place.shape)
        # The query protocol has no null, and a list or map nothing that could be missing.
        inside = place.path[-1] in (ITEM, VALUE, KEY)
        if not inside:
            yield "missing", ABSENT
        if self.protocol != QUERY and place.path[-1] is not KEY:
            yield "null", None
        least, most = limits.get("min"), limits.get("max")
        if kind == "string":
            yield from self.texts(limits, place, least, most)
        elif kind in ("integer", "long"):
            wide = (1 << 31 if kind == "integer" else 1 << 63) - 1
            for number, what in [(least, "min"), (most, "max"), (wide, "widest"), (-wide - 1, "lowest")]:
                if number is not None:
                    yield what, number
            yield from ((f"{what} and one", number) for number, what in [
                (least - 1 if least is not None else None, "min less"),
                (most + 1 if most is not None else None, "max more")] if number is not None)
        elif kind == "blob":
            for size in {0, least or 0, (most or 0) + 1 if (most or LONGEST) < LONGEST else 0}:
                yield f"{size} bytes", b"x" * size
        elif kind == "boolean":
            yield from (("true", True), ("false", False))
        elif kind == "timestamp":
            yield "right", self.inputs.value(place.shape)
        elif kind == "list":
            for size in {0, 1, (least or 1) - 1, least or 1, most or 1, min((most or 0) + 1, MANY)}:
                if 0 <= size <= MANY:
                    yield f"{size} items", self.inputs.items(limits, None, size)
        elif kind == "map":
            for size in {0, 1, (least or 1) - 1, least or 1, most or 1, min((most or 0) + 1, MANY)}:
                entries = self.inputs.entries(limits, size) if 0 < size <= MANY else {}
                if entries is not None:
                    yield f"{size} entries", entries
        elif kind == "structure":
            yield "smallest", self.inputs.value(place.shape)

    def texts(self, limits, place, least, most):
        right = self.inputs.text(place.shape, place.path[-1] if isinstance(place.path[-1], str) else None)
        yield "right", right
        if limits.get("enum"):
            yield "unknown value", "NoSuchValue"
            yield "other case", right.swapcase()
            return
        sizes = {0, 1, least or 0, (least or 1) - 1}
        if most is not None and most < LONGEST:
            sizes |= {most, most + 1}
        for size in sorted(sizes):
            text = strings.of_length(limits, size)
            if text is None:
                text = "a" * size
            yield f"length {size}", text
        if "pattern" in limits:
            wrong = strings.mismatching(limits, right)
            if wrong is not None:
                yield "against the pattern", wrong
        for odd in ("\u2603\U0001f600", "a\u0000b", " ", "../../etc/passwd", "%00%2e%2e", "${jndi:x}"):
            yield f"odd text {odd!r}", odd

    def types(self, operation, place):
        """Values of every other JSON type."""
        if place.path[-1] is KEY:
            return
        if self.protocol == QUERY:
            yield from self.form_types(operation, place)
            return
        wrongs = ["x", 1, True, ["x"], {"x": "y"}] + ([1.5, 1 << 40, 1 << 64] if self.protocol == JSON else [])
        for wrong in wrongs:
            value = self.inputs.whole(operation, place.path, wrong)
            refusal = oracle.judge(self.model, operation, self.protocol, value)
            if refusal is None or refusal.code != "SerializationException":
                continue
            if self.protocol == CBOR:
                # What CBOR's types are called is nowhere told; the code is.
                refusal = oracle.Refusal("SerializationException")
            yield self.probe(operation, f"{place}: {wrong!r} for a {self.model.kind(place.shape)}", value, refusal)
        if self.model.kind(place.shape) == "structure":
            value = self.inputs.whole(operation, place.path, self.inputs.value(place.shape) | {"noSuchMember": [{}]})
            yield self.probe(operation, f"{place}: an unknown member", value)

    def form_types(self, operation, place):
        """A form's values are texts: only numbers, booleans and times can be of a wrong type, and structures."""
        kind = self.model.kind(place.shape)
        malformed = oracle.Refusal("MalformedInput")
        if kind in SCALARS - {"string", "blob"}:
            for wrong in ("x", "", "1.5", "1e3", "0x1", " 1", "99999999999999999999"):
                value = self.inputs.whole(operation, place.path, wrong)
                yield self.probe(operation, f"{place}: {wrong!r} for a {kind}", value, malformed)
        elif kind in ("list", "structure"):
            text = {"list": "Unexpected list element termination"}.get(kind)
            value = self.inputs.whole(operation, place.path, "x")
            yield self.probe(operation, f"{place}: a text for a {kind}", value, oracle.Refusal("MalformedInput", text))
        if kind in SCALARS:
            for wrong in ({"member": {"1": "x"}}, {"Name": "x"}):
                value = self.inputs.whole(operation, place.path, wrong)
                yield self.probe(operation, f"{place}: {wrong} for a {kind}", value, malformed)
        if kind == "list":
            for index, text in (("x", "Start of list found where not expected"), ("0", "0 is not a valid index")):
                value = self.inputs.whole(operation, place.path, {"member": {index: "x"}})
                refusal = oracle.Refusal("MalformedInput", text)
                yield self.probe(operation, f"{place}: index {index}", value, refusal)

    # ---- whole bodies --------------------------------------------------------------------------------------------

    def bodies(self, operation):
        shape = self.model.input(operation)
        right = self.inputs.whole(operation)
        yield self.probe(operation, "the smallest input", right)
        yield self.probe(operation, "an unknown member", right | {"noSuchMember": "x"})
        first = next(iter(self.model.members(shape)), None) if shape else None
        make = {JSON: self.json_bodies, QUERY: self.form_bodies, CBOR: self.cbor_bodies}[self.protocol]
        for what, body, refusal in make(operation, right, first):
            yield Probe(self.model.name, operation, self.protocol, what, body, refusal)
        unknown = oracle.Refusal("UnknownOperationException")
        if self.protocol != QUERY:
            for method in ("GET", "PUT", "DELETE"):
                body = b"" if method == "GET" else self.encode(operation, right)
                yield Probe(self.model.name, operation, self.protocol, f"by {method}", body, unknown, method)
            yield Probe(self.model.name, operation, self.protocol, "as text/plain", self.encode(operation, right),
                        unknown, content_type="text/plain")

    def json_bodies(self, operation, right, first):
        broken = oracle.Refusal("SerializationException")
        text = codecs.to_json(right)
        lists = oracle.Refusal("SerializationException", "Start of list found where not expected")
        # What is ignored may be of any depth.
        ignored = text[:-1] + (b"," if right else b"") + b'"noSuchMember":'
        as_right = oracle.judge(self.model, operation, JSON, right)
        yield "an unknown member of 100,000 levels", ignored + b"[" * 100_000 + b"]" * 100_000 + b"}", as_right
        yield "an unknown member twice", ignored + b'1,"noSuchMember":[]}', as_right
        yield "half a body", text[:-1], broken
        yield "two bodies", text + text, broken
        yield "a trailing comma", ignored + b"1,}", broken
        yield "single quotes", b"{'a':1}", broken
        if not first:
            yield "an empty body", b"", as_right
            return
        for what, body in [("an empty body", b""), ("null", b"null"), ("a text", b'"x"'), ("a number", b"1")]:
            yield what, body, broken
        yield "a list", b"[]", lists
        name = codecs.to_json(first)
        for what, value in [
                ("NaN", b"NaN"), ("a huge exponent", b"1e999"), ("bytes that are no UTF-8", b'"\xff\xfe"'),
                ("a lone surrogate", b'"\\ud800"'), ("100,000 levels", b"[" * 100_000 + b"]" * 100_000),
                ("100,000 levels, unclosed", b"[" * 100_000)]:
            yield what, b"{" + name + b":" + value + b"}", broken
        if first in right:
            yield "a member twice", text[:-1] + b"," + name + b":" + codecs.to_json(right[first]) + b"}", as_right

    def cbor_bodies(self, operation, right, first):
        broken = oracle.Refusal("SerializationException")
        body = codecs.to_cbor(right)
        if not first:
            yield "an empty body", b"", oracle.judge(self.model, operation, CBOR, right)
        else:
            yield "an empty body", b"", broken
            yield "a list", b"\x80", broken
            yield "a text", b"\x61x", broken
            yield "null", b"\xf6", broken
            yield "a text that is no UTF-8", b"\xa1" + codecs.to_cbor(first) + b"\x62\xff\xfe", broken
        yield "half a body", body[:-1], broken
        yield "two bodies", body + body, broken
        yield "a key that is no text", b"\xa1\x01\x01", broken
        yield "100,000 levels", b"\xa1\x61x" + b"\x81" * 100_000 + b"\x00", broken
        yield "a text of 2^63 bytes", b"\xa1\x61x\x7b\x7f" + b"\xff" * 7, broken
        yield "a list of 2^63 items", b"\xa1\x61x\x9b\x7f" + b"\xff" * 7, broken
        yield "a reserved head", b"\xa1\x61x\x1c", broken
        yield "a break alone", b"\xa1\x61x\xff", broken

    def form_bodies(self, operation, right, first):
        broken = oracle.Refusal("MalformedInput")
        form = codecs.to_form(right, operation, self.model.version)
        yield "bytes that are no UTF-8", form + b"&x=%ff%fe", broken
        yield "a parameter twice", form + b"&x=1&x=2", broken
        yield "100,000 levels", form + b"&x" + b".1" * 100_000 + b"=1", broken
        yield "50,000 parameters", form + b"".join(b"&p%d=1" % number for number in range(50_000)), broken
        yield "another version", codecs.to_form(right, operation, "1999-01-01"), oracle.Refusal("InvalidAction")
        yield "no action", codecs.to_form(right, "", self.model.version), oracle.Refusal("MissingAction")


def made(model, protocol, known):
    """All probes of a service over a protocol, each request once."""
    maker, seen = Maker(model, protocol, known), collections.defaultdict(set)
    for operation in model.operations:
        for probe in maker.all(operation):
            key = (probe.body, probe.method, probe.content_type)
            if key not in seen[operation]:
                seen[operation].add(key)
                yield probe
