"""Every operation of every service through unmodified clients: one table of scenarios, driven by each.

The scenarios are in `sdk/table`; a scenario runs once per client, and each of its operations is one test here.
"""

import json
import pathlib
import re

import pytest
from minimal import MANIFEST
from sdk.clients.boto import Boto
from sdk.clients.cli import Cli
from sdk.clients.js import Js
from sdk.clients.rust import Rust
from sdk.runner import Run
from sdk.strict import problems_of
from sdk.table import TABLES, operations
from server import Server

ROOT = pathlib.Path(__file__).parents[2]
S3_LIST = (ROOT / "services/s3/src/api/mod.rs").read_text().split("operations! {")[1]
EVERY = MANIFEST | {"s3": re.findall(r"^\s*\w+: (\w+)Input", S3_LIST, re.M)}


def protocols(service):
    if service == "s3":
        return ["rest-xml"]
    return json.loads((ROOT / f"models/{service}.json").read_text())["metadata"]["protocols"]


def listing(protocol):
    return [service for service in EVERY if protocol in protocols(service)]


# The agents' service is in no SDK and no CLI: botocore drives it with our own model, AWS's agent in the stories.
SHIPPED = [service for service in EVERY if service != "codedeploycommand"]
CLIENTS = {
    "boto3": (Boto, EVERY),
    "cbor": (lambda server: Boto(server, "cbor", protocol="smithy-rpc-v2-cbor"), listing("smithy-rpc-v2-cbor")),
    "json10": (lambda server: Boto(server, "json10", protocol="json", json_version="1.0"), listing("json")),
    "cli1": (lambda server: Cli(server, "cli1"), SHIPPED),
    "cli2": (lambda server: Cli(server, "cli2"), SHIPPED),
    "js": (Js, SHIPPED),
    "rust": (Rust, SHIPPED),
}
# Debian's CLI is of early 2023, before these.
LACKING = {"cli2": {("codepipeline", "RollbackStage")}}
LEFT_OUT = {"cli1": set(), "cli2": {"CreatePipeline.pipeline.pipelineType", "UpdatePipeline.pipeline.pipelineType"}}


def test_the_table_has_every_operation_and_no_other():
    assert set(TABLES) == set(EVERY)
    for service, wanted in EVERY.items():
        assert operations(service) == set(wanted), f"{service}: the scenario table and the manifest differ"


def test_every_protocol_of_every_model_has_its_client():
    driven = {"json", "smithy-rpc-v2-cbor", "query", "rest-xml"}
    assert {one for service in EVERY for one in protocols(service)} <= driven
    assert len(listing("smithy-rpc-v2-cbor")) == 3 and len(listing("json")) == 6 and len(listing("query")) == 2


class Runs:
    """Each client's run of each service's scenario, made when the first test asks for it."""

    def __init__(self, server):
        self.server = server
        self.helper = Boto(server)
        self.clients = {}
        self.found = {}

    def client(self, name):
        if name not in self.clients:
            self.clients[name] = CLIENTS[name][0](self.server)
        return self.clients[name]

    def outcomes(self, name, service):
        if (name, service) not in self.found:
            self.found[name, service] = Run(self.client(name), self.helper, service).outcomes()
        return self.found[name, service]

    def stop(self):
        for client in self.clients.values():
            client.stop()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """On a server of their own: a listing's first page must not be full of other tests' things."""
    server = Server(tmp_path_factory.mktemp("clients")).start()
    made = Runs(server)
    yield made
    made.stop()
    server.stop()


@pytest.mark.parametrize(("client", "service", "operation"), [
    (client, service, operation) for client, (_, services) in CLIENTS.items() for service in services
    for operation in EVERY[service]])
def test_operation(runs, client, service, operation):
    steps = [one for one in runs.outcomes(client, service) if (one.step.service, one.step.operation) == (service, operation)]
    assert steps, f"the scenario of {service} does not use {operation}"
    problems = [f"{one.step}: {one.problem}" for one in steps if one.problem]
    assert not problems, "\n".join(problems)
    if (service, operation) in LACKING.get(client, ()):
        assert all(one.lacking for one in steps), f"{client} has {service} {operation} by now"
        pytest.skip(steps[0].lacking)
    done = [one for one in steps if not (one.lacking or one.step.refused or one.step.setup)]
    assert done, f"{service} {operation} was not carried out: {[one.lacking for one in steps]}"


@pytest.mark.parametrize(("client", "service"), [
    (client, service) for client, (_, services) in CLIENTS.items() for service in services])
def test_what_the_scenario_needed_worked_too(runs, client, service):
    """The steps in other services: roles, buckets, hosts, and what they leave behind."""
    problems = [f"{one.step}: {one.problem}" for one in runs.outcomes(client, service) if one.problem]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("client", LEFT_OUT)
def test_what_a_client_is_too_old_to_say(runs, client):
    for service in CLIENTS[client][1]:
        runs.outcomes(client, service)
    assert runs.client(client).left_out == LEFT_OUT[client]


SPOILT = {
    "a null": ({"pipelines": [{"name": None}]}, "is null"),
    "a member that is not there": ({"pipelines": [{"title": "p"}]}, "not in the model"),
    "a number for a text": ({"pipelines": [{"name": 7}]}, "is no string"),
    "no value of the enum": ({"pipelines": [{"pipelineType": "V9"}]}, "none of"),
    "a time in milliseconds": ({"pipelines": [{"created": 1.7e12}]}, "is no timestamp"),
    "a time of parts of milliseconds": ({"pipelines": [{"created": 1700000000.1234}]}, "is no timestamp"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_what_the_look_at_the_wire_sees(runs, spoilt):
    answer, told = SPOILT[spoilt]
    shape = runs.helper.client("codepipeline").meta.service_model.operation_model("ListPipelines").output_shape
    assert problems_of("json", shape, b'{"pipelines": [{"name": "p", "created": 1700000000.123}]}') == []
    assert [told in one for one in problems_of("json", shape, json.dumps(answer).encode())] == [True]
