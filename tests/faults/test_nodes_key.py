"""The cluster key is replaced as docs/configuration.md says it, node by node, while clients go on working."""

import json
import secrets
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest
from accounts import Account
from botocore.exceptions import ClientError
from nodes import Front
from server import wait_for
from test_nodes import cluster, postgres, refused, store  # noqa: F401 (fixtures)


def opened(url):
    """What a presigned URL gives. A node may stop under a request: it is sent again, as every client does."""
    for attempt in range(10):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if attempt == 9:
                raise


class Life:
    """What clients have from before the change, and what they do all the time. Every failure is kept."""

    def __init__(self, front, folder):
        self.front, self.folder = front, folder
        self.team = team = Account(front, "k")
        self.bucket, self.keys = team.bucket(), team.user("*")
        for name in ("one", "two"):
            team.s3.put_object(Bucket=self.bucket, Key=name, Body=name.encode())
        session = front.client("sts", keys=self.keys).get_session_token()["Credentials"]
        self.session = (session["AccessKeyId"], session["SecretAccessKey"]), session["SessionToken"]
        self.urls = [
            front.client("s3", keys=self.keys, signature_version=version).generate_presigned_url(
                "get_object", Params={"Bucket": self.bucket, "Key": "one"}, ExpiresIn=3600) for version in ("s3v4", "s3")]
        self.urls.append(self.by_session("s3", signature_version="s3v4").generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": "one"}, ExpiresIn=3600))
        self.page = team.s3.list_objects_v2(Bucket=self.bucket, MaxKeys=1)["NextContinuationToken"]
        self.users = team.iam.list_users(MaxItems=1)
        team.user(suffix="second")
        self.users = team.iam.list_users(MaxItems=1)["Marker"]
        self.repository, self.url = team.repository()
        self.login = team.git_user()
        self.made, self.failures, self.rounds, self.ended = [], [], 0, False
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def by_session(self, service, **config):
        keys, token = self.session
        return self.front.client(service, keys=keys, token=token, **config)

    def go_on(self):
        while not self.ended:
            try:
                self.round()
            except Exception as error:  # whatever it is, the test ends with it
                self.failures.append(repr(error))
            self.rounds += 1

    def round(self):
        for url in self.urls:
            assert opened(url) == b"one", url
        self.by_session("sts").get_caller_identity()
        token = {"ContinuationToken": self.page}
        assert [one["Key"] for one in self.team.s3.list_objects_v2(Bucket=self.bucket, **token)["Contents"]][0] == "two"
        self.team.iam.list_users(Marker=self.users)
        # A key that one node makes is for every node, at once and ever after.
        name = f"{self.team.name}-{len(self.made)}"
        self.team.iam.create_user(UserName=name)
        self.made.append(self.key_of(name))
        for keys in (self.made[0], self.made[-1], self.keys):
            self.front.client("sts", keys=keys).get_caller_identity()
        self.clone()

    def key_of(self, user, node=None):
        made = (node or self.front).client("iam").create_access_key(UserName=user)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def clone(self):
        user, password = self.login
        url = self.front.url.replace("://", f"://{user}:{urllib.parse.quote(password, safe='')}@")
        url += self.url[self.url.index("/v1/"):]
        for _ in range(10):
            done = subprocess.run(["git", "ls-remote", url], env=self.front.env(), capture_output=True, text=True)
            cut_off = any(word in done.stderr for word in ("Empty reply", "Failed to connect", "Recv failure", "502"))
            if done.returncode == 0 or not cut_off:
                break
        assert done.returncode == 0, done.stderr

    def whole_rounds(self):
        """Everything is done twice more from here."""
        seen = self.rounds + 3
        wait_for(lambda: self.rounds >= seen or self.failures, "clients go on", 120)
        assert not self.failures, self.failures

    def end(self):
        self.ended = True
        self.thread.join(timeout=60)
        assert not self.failures, self.failures


def step(life, nodes, key):
    """One start of all nodes, one after the other."""
    for node in nodes:
        node.environment["TOWPATH_CLUSTER_KEY"] = key
        node.stop()
        wait_for(lambda: node not in life.front.healthy, "the balancer sends nobody to it")
        node.start()
        wait_for(lambda: node in life.front.healthy, "the balancer knows it again")
        life.whole_rounds()


def test_the_key_is_replaced_while_clients_go_on(cluster, tmp_path):  # noqa: F811
    a, b = cluster("a").start(), cluster("b").start()
    old, new = cluster.common["TOWPATH_CLUSTER_KEY"], secrets.token_hex(32)
    other = "is not the one that the database"
    stranger = cluster("stranger", TOWPATH_CLUSTER_KEY=new)
    assert other in refused(stranger), "the new key alone, before any step"
    root = a.root_keys()
    life = Life(Front(tmp_path, [a, b]).start(), tmp_path)
    try:
        life.whole_rounds()
        step(life, [a, b], f"{old},{new}")
        assert other in refused(stranger), "nothing is sealed with it yet"

        # The second step: A seals with the new key, B still with the old one.
        step(life, [a], f"{new},{old}")
        late = life.key_of(life.team.iam.list_users(MaxItems=1)["Users"][0]["UserName"], node=b)
        told = refused(stranger)
        assert "is sealed with a key that this node was not given" in told, told
        step(life, [b], f"{new},{old}")
        session = b.client("sts", keys=life.keys).get_session_token()["Credentials"]
        life.end()

        # The third: credentials that were made under the old key and are temporary end here, and nothing else.
        for node in (a, b):
            node.environment["TOWPATH_CLUSTER_KEY"] = new
            node.stop()
            node.start()
        for keys in (root, life.keys, late, *life.made):
            for node in (a, b):
                node.client("sts", keys=keys).get_caller_identity()
        assert len(life.made) > 6
        keys, token = (session["AccessKeyId"], session["SecretAccessKey"]), session["SessionToken"]
        a.client("sts", keys=keys, token=token).get_caller_identity()
        keys, token = life.session
        with pytest.raises(ClientError) as error:
            a.client("sts", keys=keys, token=token).get_caller_identity()
        assert error.value.response["Error"]["Code"] == "InvalidClientTokenId"
        life.clone()
        for url in life.urls[:2]:
            assert opened(url) == b"one"
        stranger.environment["TOWPATH_CLUSTER_KEY"] = old
        assert other in refused(stranger), "the old key opens nothing any more"
        assert json.loads((a.data / "identity/root-credentials.json").read_text())["access_key_id"] == root[0]
    finally:
        life.ended = True
        life.front.stop()
