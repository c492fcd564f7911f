"""`aws-chunked` bodies made by hand, signed by botocore's signer: what SDKs stream, and what a forger would.

Formats: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and …/sigv4-streaming-trailers.html.
"""

import base64
import hashlib
import socket
import ssl
import zlib

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

EMPTY = hashlib.sha256(b"").hexdigest()
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def crc32(content):
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


class Signer(S3SigV4Auth):
    """Signs a payload that is named, not hashed."""

    def __init__(self, keys, payload):
        super().__init__(Credentials(*keys), "s3", "us-east-1")
        self.named = payload

    def payload(self, request):
        return self.named


class Stream:
    """A PUT whose body is `content` in chunks."""

    def __init__(self, server, path, content, kind, keys=None, trailer=None, chunk=64 << 10, headers=None):
        self.server, self.path, self.content, self.kind = server, path, content, kind
        self.signed = kind != UNSIGNED_TRAILER
        self.trailers = trailer if trailer is not None else {"x-amz-checksum-crc32": crc32(content)}
        if kind == SIGNED:
            self.trailers = {}
        self.chunks = [content[at:at + chunk] for at in range(0, len(content), chunk)] + [b""]
        told = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(content))}
        if self.trailers:
            told["x-amz-trailer"] = ",".join(self.trailers)
        self.signer = Signer(keys or server.root_keys(), kind)
        self.request = AWSRequest(method="PUT", url=server.url + path, data=b"", headers=told | (headers or {}))
        self.signer.add_auth(self.request)
        self.previous = self.request.headers["Authorization"].split("Signature=")[1]

    def sign(self, name, *lines):
        scope = self.signer.credential_scope(self.request)
        text = "\n".join([f"AWS4-HMAC-SHA256-{name}", self.request.context["timestamp"], scope, self.previous, *lines])
        self.previous = self.signer.signature(text, self.request)
        return self.previous

    def body(self):
        out = b""
        for chunk in self.chunks:
            out += f"{len(chunk):x}".encode()
            if self.signed:
                out += b";chunk-signature=" + self.sign("PAYLOAD", EMPTY, hashlib.sha256(chunk).hexdigest()).encode()
            out += b"\r\n" + (chunk + b"\r\n" if chunk else b"")
        for name, value in self.trailers.items():
            out += f"{name}:{value}\r\n".encode()
        if self.signed and self.trailers:
            text = "".join(f"{name}:{value}\n" for name, value in self.trailers.items())
            out += f"x-amz-trailer-signature:{self.sign('TRAILER', hashlib.sha256(text.encode()).hexdigest())}\r\n".encode()
        return out + b"\r\n"

    def headers(self, length):
        host = self.server.url.split("//")[1]
        return {"Host": host, **dict(self.request.headers.items()), "Content-Length": str(length)}


class Wire:
    """A bare connection: what is sent, and when, is the test's."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        if server.authority:
            trust = ssl.create_default_context(cafile=str(server.authority))
            self.socket = trust.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, content):
        self.socket.sendall(content)

    def head(self, method, path, headers):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())

    def answer(self):
        """(status, headers as a list of pairs, body) of the next answer; `100` has neither headers nor body."""
        status = int(self.file.readline().split(b" ")[1])
        headers = []
        while line := self.file.readline().strip():
            name, value = line.decode().split(":", 1)
            headers.append((name.lower(), value.strip()))
        told = dict(headers)
        if told.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.file.readline(), 16):
                body += self.file.read(size)
                self.file.readline()
            self.file.readline()
        else:
            body = self.file.read(int(told.get("content-length", 0)))
        return status, headers, body
