"""Workers of several nodes: a worker stays with its build when a node dies, and a build with its lease."""

import json
import urllib.request

import pytest
from accounts import Account
from nodes import Forwarder, Front
from server import wait_for
from test_kill import ended_events
from test_nodes import MOVED, cluster, postgres, store  # noqa: F401 (fixtures)
from watch import Builds
from workers import Worker, results


def token_of(node):
    return json.loads(node.towpath("token", "create", "worker", "--json").stdout)["token"]


@pytest.fixture
def worker(tmp_path):
    """Makes workers of some nodes, and ends them."""
    made = []

    def start(name, *nodes, **more):
        made.append(Worker(tmp_path, nodes[0], token_of(nodes[0]), name, endpoints=[node.url for node in nodes], **more).start())
        return made[-1]

    yield start
    for one in made:
        one.stop()


class Liar:
    """A worker's requests, one by one, so that it can die between any two."""

    def __init__(self, node):
        self.node, self.token, self.number = node, token_of(node), 0

    def ask(self, name, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.node.url}/_towpath/work/{name}", data=body, method="POST",
                                         headers={"Authorization": f"Bearer {self.token}", **headers})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def claim(self):
        found = wait_for(lambda: self.ask("claim", {"name": "liar", "slots": 1})["claimed"], "there is a build")
        self.hold = found["hold"]
        return found["doc"]["id"]

    def until(self, phase):
        self.number += 1
        done = {"PhaseDone": {"status": "Succeeded", "context": {"code": "", "message": ""}, "next": phase}}
        return self.ask("step", {"hold": self.hold, "number": self.number, "step": {"input": done, "facts": "Nothing"}})

    def deliver(self, puts, files):
        self.number += 1
        head = json.dumps({"hold": self.hold, "number": self.number})
        return self.ask("results", results(puts, files), **{"x-towpath-delivery": head})


LONG = ["git config --get-all url.$AWS_ENDPOINT_URL/.insteadOf", "echo at the gate",
        # Longer than a lease, so that it can only end where it began when another node renewed it.
        "sleep 26",
        "python3 -c 'import os,urllib.request; print(\"reached\", urllib.request.urlopen(os.environ[\"AWS_ENDPOINT_URL\"] + "
        "\"/_towpath/health\").status)'", "echo by the real worker > out"]


def test_a_node_stands_still_with_builds_of_workers(cluster, store, worker):  # noqa: F811
    """Its worker goes on with another node. What a worker handed over to it and died is stored while the node is
    well, and built once more when it is not; the node that comes back with it changes nothing."""
    # What A stores goes over a wire that can be cut.
    wire = Forwarder(lambda: ("127.0.0.1", store.port))
    through = cluster.common["TOWPATH_OBJECTS"].replace(f":{store.port}", f":{wire.port}")
    assert through != cluster.common["TOWPATH_OBJECTS"]
    a, b = cluster("a", "--build-slots", "0", TOWPATH_OBJECTS=through).start(), cluster("b", "--build-slots", "0").start()
    team = Account(b, "w")
    builds, bucket = Builds(team), team.bucket("out")

    def project(name, commands):
        spec = {"version": 0.2, "phases": {"build": {"commands": commands}}, "artifacts": {"files": ["out"]}}
        return team.project(json.dumps(spec), suffix=name,
                            artifacts={"type": "S3", "location": bucket, "name": name, "packaging": "NONE"})

    def handed_over(name, before=lambda: None):
        """A build whose worker is not heard of any more after its results arrived at A."""
        build = builds.start(project(name, ["echo by the real worker > out"]))
        liar = Liar(a)
        assert liar.claim() == build
        liar.until("DownloadSource"), liar.until("UploadArtifacts")
        before()
        liar.deliver([{"bucket": bucket, "key": f"{name}/by-the-dead", "file": "stage/a", "once": False, "sha256": None,
                       "content_type": None}], ["stage/a"])
        return build

    def keys():
        return sorted(one["Key"] for one in team.s3.list_objects_v2(Bucket=bucket)["Contents"])

    builds.wait(handed_over("stored"))
    lost = handed_over("lost", wire.cut)
    assert builds.get(lost)["buildStatus"] == "IN_PROGRESS" and keys() == ["stored/by-the-dead"]
    one = worker("one", a, b)
    long = builds.start(project("long", LONG))
    wait_for(lambda: "at the gate" in builds.lines(long), "it is in its command")
    assert {f"{node.url}/" for node in (a, b)} <= set(builds.lines(long)), "git finds the clone URLs of both"
    a.freeze()
    wait_for(lambda: "going to another server" in one.log(), "the worker goes to B", timeout=25)
    done = builds.wait(long, timeout=MOVED)
    lines = builds.lines(long)
    assert lines.count("at the gate") == 1 and "reached 200" in lines, lines
    assert done["buildStatus"] == "SUCCEEDED" and not any("attempt 2" in line for line in lines)
    builds.wait(lost, timeout=MOVED)
    assert any("attempt 2" in line for line in builds.lines(lost)), builds.log(lost)
    whole = ["long/out", "lost/out", "stored/by-the-dead"]
    assert keys() == whole

    wire.open = True
    a.thaw()
    wait_for(lambda: not list((a.data / "codebuild/builds").iterdir()), "A has dropped what it had", MOVED)
    wait_for(lambda: Front.answers(a), "A goes on")
    assert keys() == whole
    b.kill()
    again = Builds(Account(a, "w"))
    assert [ended_events(a, build) for build in (lost, long)] == [["SUCCEEDED"]] * 2
    again.wait(again.start(team_project(again, "after")))
    wire.stop()


def team_project(builds, name):
    return builds.account.project("version: 0.2\nphases: {build: {commands: ['true']}}\n", suffix=name)
