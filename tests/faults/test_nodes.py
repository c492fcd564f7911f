"""Several nodes: what one does the others see at once, and what one leaves undone another does."""

import hashlib
import json
import os
import subprocess
import urllib.error
import urllib.request

import pytest
from accounts import Account, allow, zipped
from botocore.exceptions import ClientError
from gate import Gate
from nodes import Node, shared
from postgres import Postgres
from server import BIN, Server, wait_for
from test_kill import at_the_gate, build_of, ended_events, ends, lines_of

# A lease of 20 s must run out, on a machine that does other things too.
MOVED = 120


@pytest.fixture(scope="module")
def postgres():
    made = Postgres()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The S3 that the nodes keep their objects in."""
    made = Server(tmp_path_factory.mktemp("store")).start()
    yield made
    made.stop()


@pytest.fixture
def cluster(tmp_path, postgres, store):
    """Makes nodes of one cluster, by name, and ends them."""
    common = shared(postgres, store, f"objects-{os.urandom(4).hex()}")
    gate = Gate(tmp_path / "gate")
    made = []

    def node(name, *extra, **environment):
        made.append(Node(tmp_path, name, common, extra=["--pass-folder", str(gate.folder), *extra],
                         environment=environment))
        return made[-1]

    node.gate, node.common = gate, common
    yield node
    for one in made:
        one.stop()


def refused(node):
    """What a node says that does not start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    words = [BIN, "server", "--listen", f"127.0.0.1:{node.port}", "--data", str(node.data), *node.extra]
    done = subprocess.run(words, env=environment | node.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0, done.stdout
    return done.stderr


def code_of(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def test_what_one_node_does_holds_on_the_other_at_once(cluster):
    a, b = cluster("a").start(), cluster("b").start()
    assert a.root_keys() == b.root_keys()
    team = Account(a, "t")
    keys = team.user("s3:*")
    bucket = team.bucket()
    # A key made on A opens B; its first use there is its first use anywhere.
    on_b = b.client("s3", keys=keys)
    content = {"small": os.urandom(1000), "large": os.urandom(19 << 20)}
    for name, body in content.items():
        a.client("s3", keys=keys).put_object(Bucket=bucket, Key=name, Body=body)
        found = on_b.get_object(Bucket=bucket, Key=name)["Body"].read()
        assert hashlib.sha256(found).hexdigest() == hashlib.sha256(body).hexdigest()
    part = on_b.get_object(Bucket=bucket, Key="large", Range="bytes=8388600-8388699")["Body"].read()
    assert part == content["large"][8388600:8388700]
    on_b.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "small"})
    a.client("s3", keys=keys).delete_object(Bucket=bucket, Key="small")
    assert on_b.get_object(Bucket=bucket, Key="copy")["Body"].read() == content["small"]
    assert code_of(on_b.get_object, Bucket=bucket, Key="small") == "NoSuchKey"
    # Policies, back and forth: each change is asked for on the other node right after it.
    user = team.iam.list_access_keys  # the root's client on A
    name = next(found["UserName"] for found in team.iam.list_users()["Users"]
                if any(key["AccessKeyId"] == keys[0] for key in user(UserName=found["UserName"])["AccessKeyMetadata"]))
    for _ in range(5):
        b.client("iam").put_user_policy(UserName=name, PolicyName="p", PolicyDocument=allow("logs:*"))
        assert code_of(a.client("s3", keys=keys).list_objects_v2, Bucket=bucket) == "AccessDenied"
        a.client("iam").put_user_policy(UserName=name, PolicyName="p", PolicyDocument=allow("s3:*"))
        on_b.list_objects_v2(Bucket=bucket)
    a.client("iam").delete_access_key(UserName=name, AccessKeyId=keys[0])
    assert code_of(on_b.list_objects_v2, Bucket=bucket) == "InvalidAccessKeyId"


def test_the_nodes_are_shown_to_those_who_may_see_them(cluster):
    a, b = cluster("a").start(), cluster("b").start()
    team = Account(b, "t")
    may, may_not = team.user("towpath:ListNodes"), team.user("s3:*")
    def states():
        listed = json.loads(b.towpath("status", "--nodes", "--json", keys=may).stdout)["nodes"]
        return {node["name"]: node["state"] for node in listed}
    wait_for(lambda: states() == {"a": "ready", "b": "ready"}, "both nodes are shown")
    denied = b.towpath("status", "--nodes", keys=may_not, check=False)
    assert denied.returncode != 0 and "towpath:ListNodes" in denied.stderr, denied.stderr
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(b.url + "/_towpath/nodes")
    assert "MissingAuthenticationToken" in error.value.read().decode(), error.value
    a.kill()
    wait_for(lambda: states() == {"a": "silent", "b": "ready"}, "the dead node is silent", MOVED)


def test_a_node_that_does_not_belong_is_refused(cluster, tmp_path, postgres, store):
    a = cluster("a").start()
    assert "is not the one that the database" in refused(cluster("key", TOWPATH_CLUSTER_KEY="00" * 32))
    assert "64 hexadecimal digits" in refused(cluster("short", TOWPATH_CLUSTER_KEY="secret"))
    assert "eu-west-1" in refused(cluster("region", "--region", "eu-west-1"))
    other = cluster.common | {"TOWPATH_DATABASE": postgres.database()}
    assert "belongs to another database" in refused(Node(tmp_path, "objects", other))
    assert "--objects" in refused(Node(tmp_path, "without", cluster.common | {"TOWPATH_OBJECTS": ""}))
    same = cluster("same")
    same.data = a.data
    assert "in use by another node" in refused(same)
    alone = subprocess.run([BIN, "up", "--data", str(tmp_path / "alone"), "--objects", "s3://b"],
                           capture_output=True, text=True, timeout=60)
    assert alone.returncode != 0 and "--objects is for `towpath server`" in alone.stderr, alone.stderr


def gated_project(team, gate):
    """A build from S3 that waits at the gate, leaves a word of its own, and stores it."""
    bucket = team.bucket()
    team.s3.put_object(Bucket=bucket, Key="source.zip", Body=zipped({"word": "from S3\n"}))
    commands = ["cat word", "cat /proc/sys/kernel/random/uuid > own", gate]
    spec = {"version": 0.2, "phases": {"build": {"commands": commands}}, "artifacts": {"files": ["own"]}}
    project = team.project(
        json.dumps(spec), source={"type": "S3", "location": f"{bucket}/source.zip"},
        artifacts={"type": "S3", "location": bucket, "name": "out", "packaging": "NONE"})
    return bucket, project


def test_a_killed_nodes_build_ends_on_another(cluster):
    a = cluster("a").start()
    team = Account(a, "t")
    bucket, project = gated_project(team, cluster.gate.wait)
    build = team.codebuild.start_build(projectName=project)["build"]["id"]
    at_the_gate(team, build)
    b = cluster("b").start()
    team = Account(b, "t")
    cluster.gate.open()
    a.kill()
    done = ends(team, build, "SUCCEEDED", MOVED)
    assert "from S3" in lines_of(team, build)
    assert ended_events(b, build) == ["SUCCEEDED"]
    stored = [found["Key"] for found in team.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert sorted(stored) == ["out/own", "source.zip"], done


def test_a_frozen_nodes_build_is_taken_over_and_its_late_writes_are_refused(cluster):
    a = cluster("a").start()
    team = Account(a, "t")
    # The command ends by itself while the node is frozen, so that its first act afterwards is to report that.
    gate = cluster.gate.wait.replace("sleep 600", "sleep 15")
    bucket, project = gated_project(team, gate)
    build = team.codebuild.start_build(projectName=project)["build"]["id"]
    at_the_gate(team, build)
    b = cluster("b").start()
    on_b = Account(b, "t")
    cluster.gate.open()
    a.freeze()
    done = ends(on_b, build, "SUCCEEDED", MOVED)
    own = on_b.s3.get_object(Bucket=bucket, Key="out/own")
    word = own["Body"].read()
    a.thaw()
    wait_for(lambda: "a job was cancelled or claimed by another worker" in a.log(), "A knows that it lost the build")
    again = on_b.s3.get_object(Bucket=bucket, Key="out/own")
    assert (again["Body"].read(), again["LastModified"]) == (word, own["LastModified"])
    seen = [Account(node, "t") for node in (a, b)]
    assert all(build_of(one, build)["phases"] == done["phases"] for one in seen)
    assert ended_events(a, build) == ["SUCCEEDED"]
    # And A is a good node again.
    assert a.client("s3").get_object(Bucket=bucket, Key="out/own")["Body"].read() == word
