"""Inputs on the wire, whether or not they are what the model says."""

import base64
import json
import struct
import urllib.parse

from .inputs import Time


def plain(value):
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case Time(seconds):
            return seconds
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
    return value


def to_json(value):
    return json.dumps(plain(value), ensure_ascii=False).encode("utf-8", "surrogatepass")


def head(major, argument):
    major <<= 5
    if argument < 24:
        return bytes([major | argument])
    for info, (form, limit) in enumerate([(">B", 1 << 8), (">H", 1 << 16), (">I", 1 << 32), (">Q", 1 << 64)], 24):
        if argument < limit:
            return bytes([major | info]) + struct.pack(form, argument)
    raise ValueError(argument)


def to_cbor(value):
    match value:
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case str():
            text = value.encode("utf-8", "surrogatepass")
            return head(3, len(text)) + text
        case bytes():
            return head(2, len(value)) + value
        case Time(seconds):
            return b"\xc1\xfb" + struct.pack(">d", seconds)
        case list():
            return head(4, len(value)) + b"".join(map(to_cbor, value))
        case dict():
            return head(5, len(value)) + b"".join(to_cbor(key) + to_cbor(item) for key, item in value.items())
    raise TypeError(value)


def flatten(value, prefix, out):
    match value:
        case None:
            pass
        case bool():
            out.append((prefix, "true" if value else "false"))
        case dict():
            for name, item in value.items():
                flatten(item, f"{prefix}.{name}" if prefix else name, out)
        case list():
            if not value:
                out.append((prefix, ""))
            for index, item in enumerate(value, 1):
                flatten(item, f"{prefix}.member.{index}", out)
        case bytes():
            out.append((prefix, base64.b64encode(value).decode()))
        case Time(seconds):
            out.append((prefix, str(seconds)))
        case _:
            out.append((prefix, str(value)))


def to_form(value, operation, version):
    pairs = [("Action", operation), ("Version", version)]
    flatten(value, "", pairs)
    return urllib.parse.urlencode(pairs, errors="surrogatepass").encode()


# ---- answers ---------------------------------------------------------------------------------------------------


class Reader:
    """As much of CBOR as answers use."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, count):
        self.at += count
        return self.body[self.at - count:self.at]

    def value(self):
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            forms = {25: ">e", 26: ">f", 27: ">d"}
            if info in forms:
                return struct.unpack(forms[info], self.take(1 << (info - 24)))[0]
            return {20: False, 21: True}.get(info)
        argument = info if info < 24 else int.from_bytes(self.take(1 << (info - 24)), "big")
        if major in (0, 1):
            return argument if major == 0 else -1 - argument
        if major in (2, 3):
            content = self.take(argument)
            return content if major == 2 else content.decode()
        if major == 4:
            return [self.value() for _ in range(argument)]
        if major == 5:
            return {self.value(): self.value() for _ in range(argument)}
        return self.value()


def from_cbor(body):
    return Reader(body).value()
