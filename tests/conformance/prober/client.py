"""Sends probes, signed, over connections that are kept: SigV4 by hand, because an SDK would mend what is broken.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import concurrent.futures
import dataclasses
import datetime
import hashlib
import hmac
import http.client
import json
import re
import threading
import xml.etree.ElementTree as ElementTree

from . import codecs
from .model import CBOR, JSON, model

TYPES = {JSON: "application/x-amz-json-1.1", CBOR: "application/cbor"}
FORM = "application/x-www-form-urlencoded"
THREADS = 4


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes
    code: str | None = None
    text: str | None = None
    output: object = None


class Client:
    def __init__(self, server, keys=None):
        self.server, (self.access, self.secret) = server, keys or server.root_keys()
        self.local = threading.local()
        self.keys = {}

    def signed(self, service, method, path, headers, body):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        day, host = now[:8], f"127.0.0.1:{self.server.port}"
        headers = {name.lower(): value for name, value in headers.items()} | {"host": host, "x-amz-date": now}
        names = ";".join(sorted(headers))
        canonical = "\n".join([method, path, "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names,
                               hashlib.sha256(body).hexdigest()])
        scope = f"{day}/us-east-1/{service}/aws4_request"
        if (day, service) not in self.keys:
            key = f"AWS4{self.secret}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self.keys[day, service] = key
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.new(self.keys[day, service], text.encode(), "sha256").hexdigest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={names}, "
                                    f"Signature={signature}")
        return headers

    def exchange(self, method, path, headers, body):
        """One request; over a new connection when the server had closed the kept one."""
        for attempt in range(2):
            if getattr(self.local, "connection", None) is None or attempt:
                self.local.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
            try:
                self.local.connection.request(method, path, body=body, headers=headers)
                response = self.local.connection.getresponse()
                content = response.read()
                found = {name.lower(): value for name, value in response.getheaders()}
                if found.get("connection") == "close":
                    self.local.connection.close()
                    self.local.connection = None
                return Answer(response.status, found, content)
            except (http.client.HTTPException, OSError):
                self.local.connection.close()
                if attempt:
                    raise

    def send(self, probe):
        service, path = model(probe.service), "/"
        headers = {"content-type": probe.content_type or TYPES.get(probe.protocol, FORM)}
        if probe.protocol == JSON:
            headers["x-amz-target"] = f"{service.target_prefix}.{probe.operation}"
        elif probe.protocol == CBOR:
            headers |= {"smithy-protocol": "rpc-v2-cbor", "accept": "application/cbor"}
            path = f"/service/{service.target_prefix}/operation/{probe.operation}"
        headers = self.signed(service.signing_name, probe.method, path, headers, probe.body)
        return read(probe.protocol, self.exchange(probe.method, path, headers, probe.body))

    def call(self, service, operation, value, protocol=None):
        """A plain call, by a value of the prober's own."""
        from .probes import Maker
        described = model(service)
        protocol = protocol or described.protocols[-1]
        return self.send(Maker(described, protocol, {}).probe(operation, "", value, None))

    def all(self, probes):
        """(probe, answer) for each, several at a time."""
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            waiting = []
            for probe in probes:
                waiting.append((probe, pool.submit(self.send, probe)))
                if len(waiting) >= 64:
                    probe, answer = waiting.pop(0)
                    yield probe, answer.result()
            for probe, answer in waiting:
                yield probe, answer.result()


def read(protocol, answer):
    """Fills in an answer's output, or its error's code and text."""
    refused = answer.status >= 300
    if protocol == "query":
        root = ElementTree.fromstring(re.sub(rb' xmlns="[^"]*"', b"", answer.body, count=1))
        answer.output = root
        if refused:
            answer.code, answer.text = root.findtext("Error/Code"), root.findtext("Error/Message") or ""
        return answer
    if protocol == CBOR:
        assert answer.headers.get("smithy-protocol") == "rpc-v2-cbor", answer
        answer.output = codecs.from_cbor(answer.body) if answer.body else {}
    else:
        answer.output = json.loads(answer.body)
    if refused:
        answer.code = answer.output["__type"].rpartition("#")[2]
        answer.text = answer.output.get("message") or answer.output.get("Message") or ""
    return answer
