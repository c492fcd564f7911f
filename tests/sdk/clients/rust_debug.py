"""Reads what Rust's derived Debug writes (`Name { field: Some("x"), list: [1] }`) back into values."""

import dataclasses
import datetime
import re

from ..table.core import Hidden

REDACTED = "*** Sensitive Data Redacted ***"
# A text, a time, a number, a name, a mark.
TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(\d{4}-\d\d-\d\dT[\d:.]+Z)|(-?\d+(?:\.\d+)?(?:e-?\d+)?)|((?:r#)?[A-Za-z_]\w*(?:::\w+)*)|([{}()\[\],:]))')
BLOB = re.compile(r"\bBlob \{ inner: ([0-9a-f]*) \}")
ESCAPE = re.compile(r"\\(u\{([0-9a-f]+)\}|.)")
PLAIN = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


@dataclasses.dataclass
class Struct:
    name: str
    fields: dict


class Unit(str):
    """A name alone: an enum's variant."""


class Redacted(dict):
    """What the SDK does not show: it was there, and any member of it is called so."""

    def get(self, _name, default=None):  # noqa: ARG002 - as a dict is asked
        return Hidden()


def unescape(text):
    return ESCAPE.sub(lambda found: chr(int(found[2], 16)) if found[2] else PLAIN.get(found[1], found[1]), text[1:-1])


class Reader:
    def __init__(self, text):
        self.tokens = []
        at = 0
        while at < len(text.rstrip()):
            found = TOKEN.match(text, at)
            assert found, f"not Debug text at: {text[at:at + 60]!r}"
            self.tokens.append(found)
            at = found.end()
        self.at = 0

    def peek(self):
        return self.tokens[self.at][0].strip() if self.at < len(self.tokens) else None

    def take(self, expected=None):
        found = self.tokens[self.at]
        assert expected in (None, found[0].strip()), f"{found[0]} where {expected} was expected"
        self.at += 1
        return found

    def value(self):
        found = self.take()
        string, time, number, name, mark = found.groups()
        if time:
            return datetime.datetime.fromisoformat(time)
        if string:
            text = unescape(string)
            return Redacted() if text == REDACTED else text
        if number:
            return float(number) if "." in number else int(number)
        if name:
            return self.named(name)
        return self.sequence("]") if mark == "[" else self.members()

    def named(self, name):
        if name in ("true", "false", "None"):
            return {"true": True, "false": False, "None": None}[name]
        if self.peek() == "(":
            self.take()
            inner = self.sequence(")")
            return inner[0] if name == "Some" else Struct(name, dict(enumerate(inner)))
        if self.peek() == "{":
            self.take()
            return Struct(name, self.members())
        return Unit(name)

    def sequence(self, end):
        told = []
        while self.peek() != end:
            told.append(self.value())
            if self.peek() == ",":
                self.take()
        self.take(end)
        return told

    def members(self):
        told = {}
        while self.peek() != "}":
            found = self.take()
            name = unescape(found[1]) if found[1] else found[0].strip()
            self.take(":")
            told[name] = self.value()
            if self.peek() == ",":
                self.take()
        self.take("}")
        return told


def parse(text):
    """A blob shows itself as bare hexadecimal digits, which are put between quotes first."""
    return Reader(BLOB.sub(r'Blob("\1")', text)).value()
