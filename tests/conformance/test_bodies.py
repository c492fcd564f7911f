"""Bodies on the wire: announced and held back, in signed chunks, with trailers, gzipped; and what is wrong with them."""

import base64
import gzip
import hashlib
import json
import os
import zlib

import boto3
import pytest
import raw
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from streams import SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, Stream, Wire, crc32


@pytest.fixture
def bucket(account):
    return account.bucket("b")


def put(stream, body=None):
    body = stream.body() if body is None else body
    with Wire(stream.server) as wire:
        wire.head("PUT", stream.path, stream.headers(len(body)))
        wire.send(body)
        return wire.answer()


def code(answer):
    return answer[2].decode().split("<Code>")[1].split("</Code>")[0]


def absent(account, bucket, key="k"):
    found = account.s3.list_objects_v2(Bucket=bucket, Prefix=key)
    return found["KeyCount"] == 0


# ---- 100-continue ----------------------------------------------------------------------------------


def plain_put(server, path, content, keys=None, **headers):
    request = AWSRequest(method="PUT", url=server.url + path, data=content, headers=headers)
    S3SigV4Auth(Credentials(*(keys or server.root_keys())), "s3", "us-east-1").add_auth(request)
    return {"Host": server.url.split("//")[1], **dict(request.headers.items()), "Content-Length": str(len(content))}


def test_a_body_that_waits_is_asked_for(account, bucket):
    content = os.urandom(300_000)
    with Wire(account.server) as wire:
        wire.head("PUT", f"/{bucket}/k", plain_put(account.server, f"/{bucket}/k", content) | {"Expect": "100-continue"})
        assert wire.answer()[0] == 100
        wire.send(content)
        status, headers, _ = wire.answer()
        assert status == 200 and dict(headers)["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
        # The connection goes on.
        wire.head("GET", "/_towpath/health", {"Host": "x"})
        assert wire.answer()[0] == 200


@pytest.mark.parametrize("service", ["s3", "codepipeline"])
def test_who_is_denied_hears_it_before_the_body_is_sent(account, bucket, service):
    server, content = account.server, b"x" * 100_000
    strangers = [("AKIAUNKNOWN", "x")]
    if service == "s3":
        strangers += [(server.root_keys()[0], "wrong"), account.user(suffix="nobody")]
    for keys in strangers:
        path = f"/{bucket}/k" if service == "s3" else "/"
        if service == "s3":
            headers = plain_put(server, path, content, keys)
        else:
            headers = raw.signed(server, service, raw.target("CodePipeline_20150709.ListPipelines"), content, keys=keys)
            headers |= {"Host": server.url.split("//")[1], "Content-Length": str(len(content))}
        with Wire(server) as wire:
            wire.head("PUT" if service == "s3" else "POST", path, headers | {"Expect": "100-continue"})
            status, _, body = wire.answer()
            assert status in (400, 403), (status, body)
    assert absent(account, bucket)


# ---- chunks and trailers ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_a_chunked_body_is_stored_as_it_was_before(account, bucket, kind, size):
    content = os.urandom(size)
    answer = put(Stream(account.server, f"/{bucket}/k", content, kind))
    assert answer[0] == 200, answer
    got = account.s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == content
    assert "ContentEncoding" not in got
    if kind != SIGNED:
        assert got["ChecksumCRC32"] == crc32(content)


@pytest.mark.parametrize("kind", [SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("name,value", [
    ("x-amz-checksum-crc32", crc32(b"something else")),
    ("x-amz-checksum-sha256", base64.b64encode(hashlib.sha256(b"something else").digest()).decode()),
    ("x-amz-checksum-sha1", base64.b64encode(hashlib.sha1(b"something else").digest()).decode()),
])
def test_a_trailer_that_does_not_fit_is_refused(account, bucket, kind, name, value):
    answer = put(Stream(account.server, f"/{bucket}/k", b"hello" * 1000, kind, trailer={name: value}))
    assert (answer[0], code(answer)) == (400, "BadDigest"), answer
    assert name.split("-")[-1].upper() in answer[2].decode().split("<Message>")[1].replace("-", "")
    assert absent(account, bucket)


def test_a_trailer_that_was_announced_must_come(account, bucket):
    stream = Stream(account.server, f"/{bucket}/k", b"hello", UNSIGNED_TRAILER)
    stream.trailers = {}
    answer = put(stream)
    assert answer[0] == 400 and code(answer) in ("MalformedTrailerError", "InvalidRequest"), answer
    assert absent(account, bucket)


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_TRAILER])
def test_a_chunk_that_was_changed_is_refused(account, bucket, kind):
    content = b"a" * 200_000
    body = Stream(account.server, f"/{bucket}/k", content, kind)
    spoilt = body.body().replace(b"aaaa", b"aaab", 1)
    answer = put(body, spoilt)
    assert (answer[0], code(answer)) == (403, "SignatureDoesNotMatch"), answer
    swapped = Stream(account.server, f"/{bucket}/k", b"a" * 65536 + b"b" * 65536, kind)
    text = swapped.body()
    first, second = text.index(b"10000;"), text.index(b"10000;", 10)
    length = second - first
    answer = put(swapped, text[second:second + length] + text[:length] + text[second + length:])
    assert (answer[0], code(answer)) == (403, "SignatureDoesNotMatch"), answer
    assert absent(account, bucket)


def pieces(stream):
    """The chunks of a body as they travel, the last and empty one with its trailers."""
    body, found = stream.body(), []
    for chunk in stream.chunks[:-1]:
        end = body.index(b"\r\n") + 2 + len(chunk) + 2
        found.append(body[:end])
        body = body[end:]
    return [*found, body]


@pytest.mark.parametrize("kind", [SIGNED, SIGNED_TRAILER])
def test_chunks_come_once_and_in_their_order(account, bucket, kind):
    def stream(content=b"".join(letter * 8192 for letter in (b"a", b"b", b"c")), **headers):
        return Stream(account.server, f"/{bucket}/k", content, kind, chunk=8192, headers=headers)

    # Other signed headers: those of a request, and so its time to the second, are all that tells it from another.
    twin = pieces(stream(b"A" * 8192 + b"b" * 16384, **{"x-amz-meta-twin": "1"}))
    for what, change in {
        "swapped": lambda a, b, c, end: [b, a, c, end],
        "one twice": lambda a, b, c, end: [a, a, c, end],
        "one twice, and another left out": lambda a, b, c, end: [a, b, b, end],
        "one of another request with the same content": lambda a, b, c, end: [a, twin[1], c, end],
        "another request's end": lambda a, b, c, end: [a, b, c, twin[3]],
        "all of another request": lambda a, b, c, end: twin,
        "none but the end": lambda a, b, c, end: [end],
    }.items():
        made = stream()
        answer = put(made, b"".join(change(*pieces(made))))
        assert answer[0] in (400, 403) and code(answer) in ("SignatureDoesNotMatch", "IncompleteBody"), (what, answer)
        assert absent(account, bucket), what
    made = stream()
    assert put(made, b"".join(pieces(made)))[0] == 200
    # The whole request again, byte for byte, makes the same object and no other.
    before = account.s3.head_object(Bucket=bucket, Key="k")["ETag"]
    again = stream()
    body = again.body()
    assert [put(again, body)[0] for _ in range(2)] == [200, 200]
    assert account.s3.head_object(Bucket=bucket, Key="k")["ETag"] == before


def test_a_trailers_signature_is_checked(account, bucket):
    stream = Stream(account.server, f"/{bucket}/k", b"hello", SIGNED_TRAILER)
    body = stream.body()
    at = body.index(b"x-amz-trailer-signature:") + len(b"x-amz-trailer-signature:")
    answer = put(stream, body[:at] + b"0" * 64 + body[at + 64:])
    assert (answer[0], code(answer)) == (403, "SignatureDoesNotMatch"), answer
    assert absent(account, bucket)


@pytest.mark.parametrize("kind", [SIGNED, UNSIGNED_TRAILER])
def test_bytes_that_are_missing_or_too_many_are_told(account, bucket, kind):
    for decoded, wanted in ((99, "too many"), (101, "too few")):
        stream = Stream(account.server, f"/{bucket}/k", b"x" * 100, kind, headers={"x-amz-decoded-content-length": str(decoded)})
        answer = put(stream)
        assert answer[0] == 400, (wanted, answer)
    stream = Stream(account.server, f"/{bucket}/k", b"x" * 100, kind)
    body = stream.body()
    answer = put(stream, body[:body.index(b"xxx") + 50])
    assert (answer[0], code(answer)) == (400, "IncompleteBody"), answer
    assert absent(account, bucket)


def test_the_hash_that_was_signed_is_the_bodys(account, bucket):
    headers = plain_put(account.server, f"/{bucket}/k", b"signed")
    with Wire(account.server) as wire:
        wire.head("PUT", f"/{bucket}/k", headers)
        wire.send(b"change")
        answer = wire.answer()
    assert (answer[0], code(answer)) == (400, "XAmzContentSHA256Mismatch"), answer
    assert "does not match what was computed" in answer[2].decode()
    assert absent(account, bucket)


def test_content_md5_is_checked(account, bucket):
    with pytest.raises(ClientError) as refused:
        account.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5=base64.b64encode(b"1" * 16).decode())
    assert refused.value.response["Error"]["Code"] == "BadDigest"
    with pytest.raises(ClientError) as refused:
        account.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5="nonsense")
    assert refused.value.response["Error"]["Code"] == "InvalidDigest"
    assert absent(account, bucket)


@pytest.mark.parametrize("algorithm,name", [("CRC32", "x-amz-checksum-crc32"), ("SHA256", "x-amz-checksum-sha256")])
def test_parts_are_checked_like_objects(account, bucket, algorithm, name):
    upload = account.s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm)["UploadId"]
    path = f"/{bucket}/k?partNumber=1&uploadId={upload}"
    wrong = {"x-amz-checksum-crc32": crc32(b"other"), "x-amz-checksum-sha256": base64.b64encode(b"0" * 32).decode()}[name]
    answer = put(Stream(account.server, path, b"part", UNSIGNED_TRAILER, trailer={name: wrong}))
    assert (answer[0], code(answer)) == (400, "BadDigest"), answer
    assert not account.s3.list_parts(Bucket=bucket, Key="k", UploadId=upload).get("Parts")


# ---- gzip ------------------------------------------------------------------------------------------


def test_gzip_where_the_model_has_it_and_nowhere_else(account):
    """No service that is served has the `requestcompression` trait: a gzipped request is refused by name."""
    body = gzip.compress(b"{}")
    headers = raw.target("CodePipeline_20150709.ListPipelines") | {"Content-Encoding": "gzip"}
    answer = raw.call(account.server, "codepipeline", headers, body)
    assert answer.status == 400 and "Content-Encoding 'gzip' is not supported" in answer.text, answer


def test_an_objects_own_encoding_is_the_clients_affair(account, bucket):
    body = gzip.compress(b"hello")
    account.s3.put_object(Bucket=bucket, Key="k", Body=body, ContentEncoding="gzip")
    got = account.s3.get_object(Bucket=bucket, Key="k")
    assert got["ContentEncoding"] == "gzip" and got["Body"].read() == body


# ---- answers ---------------------------------------------------------------------------------------


def test_every_answer_has_one_date_and_one_request_id(account, bucket):
    account.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    server = account.server
    host = {"Host": server.url.split("//")[1]}
    s3 = lambda method, path: (method, path, host | signed_s3(server, method, path))
    json_headers = raw.signed(server, "codepipeline", raw.target("CodePipeline_20150709.ListPipelines"), b"{}")
    asked = [
        s3("GET", f"/{bucket}/k"), s3("GET", f"/{bucket}/none"), s3("HEAD", f"/{bucket}/none"), s3("GET", f"/{bucket}"),
        ("GET", f"/{bucket}/k", host), ("GET", "/_towpath/health", host), ("GET", "/", host),
        ("GET", "/v1/repos/none/info/refs?service=git-upload-pack", host),
        ("POST", "/", host | json_headers | {"Content-Length": "2"}),
    ]
    for method, path, headers in asked:
        with Wire(server) as wire:
            wire.head(method, path, headers)
            if method == "POST":
                wire.send(b"{}")
            if method == "HEAD":
                lines = iter(wire.file.readline, b"\r\n")
                told = [line.split(b":")[0].decode().lower() for line in lines]
            else:
                _, pairs, body = wire.answer()
                told = [name for name, _ in pairs]
                if "x-amz-crc32" in told:
                    assert int(dict(pairs)["x-amz-crc32"]) == zlib.crc32(body)
        assert told.count("date") == 1, (method, path, told)
        assert told.count("x-amz-request-id") + told.count("x-amzn-requestid") == 1, (method, path, told)


def signed_s3(server, method, path):
    request = AWSRequest(method=method, url=server.url + path)
    S3SigV4Auth(Credentials(*server.root_keys()), "s3", "us-east-1").add_auth(request)
    return dict(request.headers.items())
