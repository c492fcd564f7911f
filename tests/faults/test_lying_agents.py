"""Agents that lie: raw signed calls of the host-agent protocol, in the name of hosts and of strangers.

Every lie is refused with AWS's code or changes nothing; nothing changes on other hosts; deployments end as the
honest reports say.
"""

import datetime
import json
import sys
import pathlib

import pytest

from accounts import zipped
from server import wait_for
from watch import Fleet

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "conformance"))

import raw  # noqa: E402

EVENTS = ("ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart",
          "ValidateService")
# More than an envelope may hold.
TOO_LARGE = 8193


def envelope(**payload):
    return {"Format": "JSON", "Payload": json.dumps(payload)}


class Agent:
    """Signs as one identity and says what it is told to say."""

    def __init__(self, server, keys, arn, token=None):
        self.server, self.keys, self.arn, self.token = server, keys, arn, token

    def request(self, operation, members, at=None):
        body = members if isinstance(members, bytes) else json.dumps(members).encode()
        headers = raw.target(f"CodeDeployCommandService_v20141006.{operation}")
        return raw.signed(self.server, "codedeploy-commands", headers, body, keys=self.keys, token=self.token, at=at), body

    def call(self, operation, members, at=None):
        headers, body = self.request(operation, members, at)
        return raw.send(self.server, "POST", "/", headers, body)

    def poll(self, arn=None):
        return self.call("PollHostCommand", {"HostIdentifier": arn or self.arn})

    def next(self):
        """The next host command, once there is one."""
        def look():
            answer = self.poll()
            assert answer.status == 200, answer
            return answer.json().get("HostCommand")
        return wait_for(look, f"a command for {self.arn}")

    def acknowledge(self, command, noop=False):
        return self.call("PutHostCommandAcknowledgement",
                         {"HostCommandIdentifier": command, "Diagnostics": envelope(IsCommandNoop=noop)})

    def update(self, command):
        return self.call("PostHostCommandUpdate", {"HostCommandIdentifier": command})

    def complete(self, command, status="Succeeded", **more):
        members = {"HostCommandIdentifier": command, "CommandStatus": status, "Diagnostics": envelope(error_code=0)}
        return self.call("PutHostCommandComplete", members | more)

    def specification(self, execution, arn=None):
        return self.call("GetDeploymentSpecification",
                         {"DeploymentExecutionId": execution, "HostIdentifier": arn or self.arn})

    def honest(self, status="Succeeded"):
        """Takes the next command and ends it; answers its identifier."""
        command = self.next()["HostCommandIdentifier"]
        assert self.acknowledge(command).json() == {"CommandStatus": "InProgress"}
        assert self.complete(command, status).status == 200
        return command


def refused(answer, code):
    assert answer.status == 400 and answer.json()["__type"].split("#")[-1] == code, answer


class Site(Fleet):
    def agent(self, name, tag="fleet"):
        """A host that is nothing but its identity."""
        user = f"{self.account.name}-{name}"
        arn = self.account.iam.create_user(UserName=user)["User"]["Arn"]
        made = self.account.iam.create_access_key(UserName=user)["AccessKey"]
        self.register(name, tag, iamUserArn=arn)
        return Agent(self.server, (made["AccessKeyId"], made["SecretAccessKey"]), arn)

    def instance(self, name):
        return f"{self.account.name}-{name}"

    def register(self, name, tag="fleet", **identity):
        self.client.register_on_premises_instance(instanceName=self.instance(name), **identity)
        self.client.add_tags_to_on_premises_instances(
            instanceNames=[self.instance(name)], tags=[{"Key": tag, "Value": self.account.name}])

    def begin(self, group="web", **more):
        bundle = zipped({"appspec.yml": "version: 0.0\nos: linux\n", "word.txt": "w\n"})
        return self.deploy(self.revision(bundle), group, **more)

    def states(self, deployment, name):
        found = self.target(deployment, self.instance(name))
        events = [one["status"] for one in found["lifecycleEvents"]]
        return found["status"], events


@pytest.fixture
def site(account):
    return Site(account)


def test_claims_about_ones_own_events_count_once_and_in_order(site):
    agent = site.agent("one")
    site.group()
    deployment = site.begin()
    name = site.instance("one")
    command = agent.next()["HostCommandIdentifier"]
    assert command == f"{deployment}.0.{name}"
    later = [f"{deployment}.{index}.{name}" for index in range(1, 7)]
    # Success of what was never begun, now or ever; and of what nobody ever gave.
    for lie in [command, *later]:
        refused(agent.complete(lie), "ClientException")
    for lie in later:
        refused(agent.acknowledge(lie), "ClientException")
        refused(agent.update(lie), "ClientException")
        refused(agent.complete(lie, "Failed"), "ClientException")
    invented = ["", "x", deployment, f"{deployment}.7.{name}", f"{deployment}.-1.{name}", f"{deployment}.00000000000000000000001.{name}",
                f"{deployment}.1e0.{name}", f"{deployment}.0.{name}x", f"{deployment}.0.{name}.", f"../{deployment}.0.{name}",
                f"{deployment}.0.{name}/../{name}", f"{deployment}.0.\x00{name}", f"d-{'A' * 9}.0.{name}", "a" * 100_000]
    for lie in invented:
        for answer in (agent.acknowledge(lie), agent.update(lie), agent.complete(lie), agent.complete(lie, "Failed")):
            refused(answer, "ClientException")
    assert site.states(deployment, "one") == ("InProgress", ["Pending"] * 7)
    assert agent.acknowledge(command).json() == {"CommandStatus": "InProgress"}
    # Ends that are none, and diagnostics that are no diagnostics.
    refused(agent.complete(command, "Pending"), "ClientException")
    refused(agent.complete(command, "InProgress"), "ClientException")
    for status in ("", "Done", "succeeded", "Succeeded ", "\x00"):
        refused(agent.complete(command, status), "ValidationException")
    for status in (1, True, ["Succeeded"], {"Succeeded": 1}):
        refused(agent.complete(command, status), "SerializationException")
    refused(agent.complete(command, Diagnostics={"Format": "JSON", "Payload": "x" * TOO_LARGE}), "ValidationException")
    refused(agent.complete(command, Diagnostics={"Format": "x" * 65, "Payload": "{}"}), "ValidationException")
    refused(agent.complete(command, Diagnostics="{}"), "SerializationException")
    refused(agent.call("PutHostCommandComplete", {"HostCommandIdentifier": command}), "ValidationException")
    refused(agent.call("PutHostCommandComplete", b'{"HostCommandIdentifier":'), "SerializationException")
    assert site.states(deployment, "one") == ("InProgress", ["InProgress"] + ["Pending"] * 6)
    # What cannot be read is kept as that; the event ended nevertheless.
    assert agent.complete(command, Diagnostics={"Format": "JSON", "Payload": "[" * 8000}).status == 200
    for late in (agent.complete(command), agent.complete(command, "Failed")):
        assert late.status == 200 and late.json() == {}
    assert agent.acknowledge(command).json() == {"CommandStatus": "Succeeded"}
    assert agent.update(command).json() == {"CommandStatus": "Succeeded"}
    assert site.states(deployment, "one") == ("InProgress", ["Succeeded"] + ["Pending"] * 6)
    # There is always a bundle to download and something to install.
    download = agent.next()["HostCommandIdentifier"]
    assert agent.acknowledge(download, noop=True).json() == {"CommandStatus": "InProgress"}
    texts = {"error_code": 9e99, "script_name": "\u202e\x1b[2J" * 200, "message": "m" * 3000, "log": "\ud800"}
    assert agent.complete(download, Diagnostics=envelope(**texts)).status == 200
    told = site.target(deployment, site.instance("one"))["lifecycleEvents"][1]["diagnostics"]
    assert told["errorCode"] == "Success" and all(len(told[one].encode()) <= 2048 for one in ("scriptName", "message", "logTail"))
    for _ in range(5):
        agent.honest()
    site.wait(deployment)
    # It is over: nothing that is said now counts.
    before = site.target(deployment, site.instance("one"))
    for lie in [command, *later]:
        assert agent.complete(lie, "Failed").status == 200
        assert agent.acknowledge(lie).json() == {"CommandStatus": "Succeeded"}
    assert site.target(deployment, site.instance("one")) == before
    assert site.get(deployment)["status"] == "Succeeded" and agent.poll().json() == {}


def test_what_one_agent_says_of_another_host_changes_nothing_there(site):
    liar, honest = site.agent("liar"), site.agent("honest")
    other = site.agent("other", tag="other")
    site.group(config="CodeDeployDefault.AllAtOnce")
    site.group("apart", tags={"other": site.account.name})
    deployment, apart = site.begin(), site.begin("apart")
    theirs, far = honest.next(), other.next()
    # Polls as another, by name and by signing as somebody whom no host knows.
    for arn in (honest.arn, other.arn, honest.arn + "x", "arn:aws:iam::999999999999:user/one", "", "*", "arn:aws:iam::000000000000:root"):
        refused(liar.poll(arn) if arn else liar.call("PollHostCommand", {"HostIdentifier": ""}), "AccessDeniedException")
    root = Agent(site.server, site.server.root_keys(), honest.arn)
    refused(root.poll(), "AccessDeniedException")
    # Other hosts' commands, of this deployment and of one that the liar has no part in.
    for command in (theirs["HostCommandIdentifier"], far["HostCommandIdentifier"]):
        for answer in (liar.acknowledge(command), liar.acknowledge(command, noop=True), liar.update(command),
                       liar.complete(command), liar.complete(command, "Failed"), root.complete(command, "Failed")):
            refused(answer, "AccessDeniedException")
    # The specification of another host, or of a deployment that does not come here.
    execution, elsewhere = theirs["DeploymentExecutionId"], far["DeploymentExecutionId"]
    assert liar.specification(execution).status == 200
    refused(liar.specification(execution, honest.arn), "AccessDeniedException")
    refused(liar.specification(elsewhere), "ClientException")
    refused(liar.specification(elsewhere, other.arn), "AccessDeniedException")
    account, region, kind, _ = execution.split("/")
    for wrong in (f"999999999999/{region}/{kind}/{deployment}", f"{account}/eu-west-1/{kind}/{deployment}",
                  f"{account}/{region}/x/{deployment}", f"a/b/c/{deployment}", f"a/b/c/../../{deployment}"):
        refused(liar.specification(wrong), "ClientException")
    for wrong in ("x", "", "a" * 200):
        refused(liar.specification(wrong), "ValidationException")
    assert site.states(deployment, "honest") == ("InProgress", ["Pending"] * 7)
    assert site.states(apart, "other") == ("InProgress", ["Pending"] * 7)
    # The liar's own failure is its own alone.
    liar.honest("Failed")
    for agent, first in ((honest, theirs), (other, far)):
        command = first["HostCommandIdentifier"]
        assert agent.acknowledge(command, noop=True).json() == {"CommandStatus": "Succeeded"}
        for _ in range(6):
            agent.honest()
    site.wait(deployment)
    site.wait(apart)
    assert site.states(deployment, "liar")[0] == "Failed" and site.states(deployment, "honest")[0] == "Succeeded"


def test_identities_and_requests_that_are_over_count_no_more(site):
    agent, left = site.agent("one"), site.agent("left")
    site.group(config="CodeDeployDefault.AllAtOnce")
    deployment = site.begin()
    command, own = agent.next()["HostCommandIdentifier"], left.next()["HostCommandIdentifier"]
    now = datetime.datetime.now(datetime.timezone.utc)
    for minutes in (-16, 16):
        at = now + datetime.timedelta(minutes=minutes)
        refused(agent.call("PutHostCommandComplete", {"HostCommandIdentifier": command, "CommandStatus": "Failed"}, at=at),
                "InvalidSignatureException")
    # Said once, heard twice.
    said = [agent.request("PutHostCommandAcknowledgement", {"HostCommandIdentifier": command, "Diagnostics": envelope(IsCommandNoop=False)}),
            agent.request("PutHostCommandComplete", {"HostCommandIdentifier": command, "CommandStatus": "Succeeded"})]
    for headers, body in said:
        assert raw.send(site.server, "POST", "/", headers, body).status == 200
    before = site.states(deployment, "one")
    assert before == ("InProgress", ["Succeeded"] + ["Pending"] * 6)
    for headers, body in said:
        assert raw.send(site.server, "POST", "/", headers, body).status == 200
        changed = body.replace(b".0.", b".1.")
        refused(raw.send(site.server, "POST", "/", headers, changed), "InvalidSignatureException")
    assert site.states(deployment, "one") == before
    # A host that was deregistered has no say, although its user still has keys.
    site.client.deregister_on_premises_instance(instanceName=site.instance("left"))
    refused(left.poll(), "AccessDeniedException")
    for answer in (left.acknowledge(own), left.update(own), left.complete(own), left.complete(own, "Failed")):
        refused(answer, "AccessDeniedException")
    assert site.states(deployment, "left") == ("InProgress", ["Pending"] * 7)
    # A key that was deleted ends with its next request.
    user = agent.arn.split("/")[-1]
    fresh = site.account.iam.create_access_key(UserName=user)["AccessKey"]
    site.account.iam.delete_access_key(UserName=user, AccessKeyId=agent.keys[0])
    refused(agent.poll(), "UnrecognizedClientException")
    agent.keys = fresh["AccessKeyId"], fresh["SecretAccessKey"]
    for _ in range(6):
        agent.honest()
    assert site.states(deployment, "one") == ("Succeeded", ["Succeeded"] * 7)
    site.client.stop_deployment(deploymentId=deployment)
    assert site.wait(deployment, "Stopped")["deploymentOverview"]["Succeeded"] == 1


def test_a_sessions_host_is_that_session_and_ends_with_its_role(site):
    iam, name = site.account.iam, site.instance("session")
    keys = site.account.user("sts:AssumeRole")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    sts = site.server.client("sts", keys)
    agents = {}
    for session in ("web-1", "web-2"):
        made = sts.assume_role(RoleArn=role, RoleSessionName=session)
        given = made["Credentials"]
        agents[session] = Agent(site.server, (given["AccessKeyId"], given["SecretAccessKey"]),
                                made["AssumedRoleUser"]["Arn"], given["SessionToken"])
    good, twin = agents["web-1"], agents["web-2"]
    site.register("session", iamSessionArn=good.arn)
    site.group()
    deployment = site.begin()
    command = good.next()["HostCommandIdentifier"]
    for lie in (twin.poll(), twin.poll(good.arn), twin.complete(command, "Failed")):
        refused(lie, "AccessDeniedException")
    for token in (twin.token, good.token[:-2] + "AA", "x", ""):
        mixed = Agent(site.server, good.keys, good.arn, token)
        answer = mixed.complete(command, "Failed")
        assert answer.status == 400 and answer.json()["__type"].split("#")[-1] in (
            "UnrecognizedClientException", "InvalidSignatureException"), answer
    good.acknowledge(command)
    iam.delete_role(RoleName=name)
    answer = good.complete(command)
    assert answer.status == 400 and answer.json()["__type"].split("#")[-1] in (
        "UnrecognizedClientException", "ExpiredTokenException"), answer
    assert site.states(deployment, "session") == ("InProgress", ["InProgress"] + ["Pending"] * 6)
    site.client.stop_deployment(deploymentId=deployment)
