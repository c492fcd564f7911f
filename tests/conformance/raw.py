"""Requests that no SDK would send: signed by botocore's signer, changed before or after, sent by urllib3."""

import datetime
import json

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.body = response.data

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:600]!r}"


def send(server, method, path, headers, body=b""):
    kind, more = urllib3.HTTPConnectionPool, {}
    if server.authority:
        kind, more = urllib3.HTTPSConnectionPool, {"ca_certs": str(server.authority)}
        host = {name.lower(): value for name, value in headers.items()}.get("host", "127.0.0.1").split(":")[0]
        more |= {"server_hostname": host, "assert_hostname": host} if host != "127.0.0.1" else {}
    with kind("127.0.0.1", server.port, timeout=60, **more) as pool:
        return Answer(pool.urlopen(method, path, body=body, headers=headers, retries=False, redirect=False))


def signed(server, service, headers, body=b"", method="POST", path="/", keys=None, token=None, region="us-east-1",
           at=None):
    """The request's headers with a signature; `at` signs for another time."""
    access, secret = keys or server.root_keys()
    request = AWSRequest(method=method, url=server.url + path, data=body, headers=headers)
    signer = SigV4Auth(Credentials(access, secret, token), service, region)
    if at is None:
        signer.add_auth(request)
    else:
        request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        if token:
            request.headers["X-Amz-Security-Token"] = token
        canonical = signer.canonical_request(request)
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        request.headers["Authorization"] = ", ".join([
            f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}",
            f"SignedHeaders={signer.signed_headers(signer.headers_to_sign(request))}", f"Signature={signature}"])
    return dict(request.headers.items())


def call(server, service, headers, body=b"", **options):
    method, path = options.get("method", "POST"), options.get("path", "/")
    return send(server, method, path, signed(server, service, headers, body, **options), body)


def hours(number):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=number)


def target(name, version="1.1"):
    return {"X-Amz-Target": name, "Content-Type": f"application/x-amz-json-{version}"}
