"""The search for content that nobody names, over an object store that is a real S3: what it removes, and what not.

The age of content is the store's word. So the store, another Towpath, is stopped and its records are set back by seven
hours; which is an hour more than what a node leaves in peace.
"""

import json
import os
import socket
import sqlite3
import threading

import pytest
from accounts import Account
from botocore.exceptions import ClientError
from nodes import Forwarder, Node, shared
from server import Server, wait_for
from test_nodes import MOVED, postgres  # noqa: F401 (fixtures)
from test_nodes_git import clone_at, put

HOURS_MS = 3_600_000
SWEPT = "removed content that no record named"
# Larger than what a node keeps in the database.
SIZE = 64 << 10
PART = 5 << 20


class Home:
    """The object store of some nodes."""

    def __init__(self, folder):
        self.server = Server(folder).start()
        self.bucket = "home"

    @property
    def s3(self):
        return self.server.client("s3")

    def blobs(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="towpath/blobs/")
        return {one["Key"] for page in pages for one in page.get("Contents", [])}

    def all_older(self):
        """Everything in it was stored seven hours earlier."""
        self.server.stop()
        with sqlite3.connect(self.server.data / "store/towpath.db") as database:
            for kind in ("s3.version", "s3.current"):
                found = database.execute("SELECT key, body FROM documents WHERE kind = ?", [kind]).fetchall()
                for key, body in found:
                    document = json.loads(body)
                    document["last_modified"] -= 7 * HOURS_MS
                    database.execute("UPDATE documents SET body = ? WHERE kind = ? AND key = ?", [json.dumps(document), kind, key])
        database.close()
        self.server.start()


class Uploads:
    """A client that goes on storing things, small parts and large objects, and knows what it was told is stored."""

    def __init__(self, node, bucket):
        self.client, self.bucket, self.stored, self.failures, self.ended = node.client("s3"), bucket, {}, [], False
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def go_on(self):
        while not self.ended:
            name, body = f"during-{len(self.stored)}", os.urandom(SIZE)
            try:
                self.client.put_object(Bucket=self.bucket, Key=name, Body=body)
                self.stored[name] = body
            except Exception as error:  # the test tells it
                self.failures.append(repr(error))

    def more(self):
        wanted = len(self.stored) + 3
        wait_for(lambda: len(self.stored) >= wanted or self.failures, "uploads go on", 90)

    def end(self):
        self.ended = True
        self.thread.join(timeout=90)
        assert not self.failures, self.failures
        return self.stored


class Late:
    """A PUT of which the node has half, and has asked for it: it has looked at everything but the rest of the body."""

    def __init__(self, node, bucket):
        url = node.client("s3", signature_version="s3v4").generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "late"})
        self.connection = socket.create_connection(("127.0.0.1", node.port), timeout=180)
        head = f"PUT {url[len(node.url):]} HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\nContent-Length: {SIZE}\r\n"
        self.connection.sendall(f"{head}Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
        answer = self.connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 100"), answer
        self.connection.sendall(b"x" * (SIZE // 2))

    def finish(self):
        self.connection.sendall(b"x" * (SIZE - SIZE // 2))

    def answer(self):
        answer = b""
        with self.connection:
            while data := self.connection.recv(1 << 16):
                answer += data
        return answer


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    made = Home(tmp_path / "home")
    yield made
    made.server.stop()


@pytest.fixture
def cluster(tmp_path, postgres, home):  # noqa: F811
    common, made = shared(postgres, home.server, home.bucket), []

    def node(name, **environment):
        made.append(Node(tmp_path, name, common, environment=environment))
        return made[-1]

    node.common = common
    yield node
    for one in made:
        one.stop()


def content_of(node, bucket, name):
    return node.client("s3").get_object(Bucket=bucket, Key=name)["Body"].read()


def test_what_nobody_names_goes_and_what_is_named_or_on_its_way_stays(cluster, home, postgres, tmp_path):  # noqa: F811
    a = cluster("a").start()
    wire = Forwarder(lambda: ("127.0.0.1", postgres.port))
    b = cluster("b", TOWPATH_DATABASE=cluster.common["TOWPATH_DATABASE"].replace(f":{postgres.port}/", f":{wire.port}/")).start()
    team = Account(a, "w")
    bucket, s3 = team.bucket(), team.s3
    # What is named: an object, a copy whose source went, an upload of which one part is there, a repository.
    kept = {"plain": os.urandom(SIZE), "copy": os.urandom(20 << 20)}
    s3.put_object(Bucket=bucket, Key="plain", Body=kept["plain"])
    s3.put_object(Bucket=bucket, Key="source", Body=kept["copy"])
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
    s3.delete_object(Bucket=bucket, Key="source")
    upload = {"Bucket": bucket, "Key": "parts", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]}
    first, second = os.urandom(PART), os.urandom(SIZE)
    tags = [s3.upload_part(**upload, PartNumber=1, Body=first)["ETag"]]
    repository, url = team.repository()
    put(a, repository, "large", os.urandom(SIZE), None)
    named = home.blobs()
    assert len(named) >= 3
    # What nobody names: left by somebody long ago, and by a node that stopped between storing and recording.
    digits = len(max(named).rsplit("/", 1)[1])
    left = [f"towpath/blobs/{shard}/{shard:0<{digits}}" for shard in ("ab", "cd")]
    home.s3.put_object(Bucket=home.bucket, Key=left[0], Body=b"nobody's")
    late = Late(b, bucket)
    wire.cut()
    late.finish()
    (unrecorded,) = wait_for(lambda: home.blobs() - named - set(left), "B has stored content and not recorded it", 30)
    b.freeze()
    home.all_older()
    home.s3.put_object(Bucket=home.bucket, Key=left[1], Body=b"perhaps soon somebody's")
    uploads = Uploads(a, bucket)
    uploads.more()

    # A node's start is when the search begins; it is whose turn it is that does it.
    c = cluster("c").start()
    wait_for(lambda: SWEPT in a.log() + c.log(), "the search is over", MOVED)
    uploads.more()
    stored = uploads.end()
    left_over = home.blobs()
    assert left[0] not in left_over and unrecorded not in left_over
    assert left[1] in left_over, "what is young may be named yet"
    assert named <= left_over, "what is named stays, and what was named a moment ago stays for backups"

    # B comes back with content that is gone, and may not record it any more.
    b.thaw()
    wire.open = True
    answer = late.answer()
    assert answer.startswith((b"HTTP/1.1 409", b"HTTP/1.1 5")), answer
    with pytest.raises(ClientError) as error:
        content_of(c, bucket, "late")
    assert error.value.response["Error"]["Code"] == "NoSuchKey"
    wait_for(lambda: b.is_ready(), "B is a good node again")
    tags.append(b.client("s3").upload_part(**upload, PartNumber=2, Body=second)["ETag"])
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    b.client("s3").complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    for name, body in (kept | stored | {"parts": first + second}).items():
        assert content_of(c, bucket, name) == body, name
    work = clone_at(team, c, tmp_path / "work", url, team.git_user())
    assert (tmp_path / "work/large").stat().st_size == SIZE, work
    wire.stop()
