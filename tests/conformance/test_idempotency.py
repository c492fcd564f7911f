"""Members that say "this is the same request again": one effect and one answer, however often, at once, and after a
crash; and a refusal where the request is another one by then.

https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html
https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_StartPipelineExecution.html
"""

import concurrent.futures
import dataclasses
import uuid
from typing import Callable

import pytest
from accounts import Account, action
from botocore.exceptions import ClientError
from minimal import MANIFEST
from prober.model import model
from server import Server, wait_for

AT_ONCE = 8


@dataclasses.dataclass
class Scene:
    """`call(token, other)` answers what was made; `count()` how many there are."""

    call: Callable
    count: Callable
    mismatch: str


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its own, for it is killed."""
    made = Server(tmp_path_factory.mktemp("idempotency")).start()
    yield made
    made.stop()


@pytest.fixture
def account(server):
    return Account(server, "again")


def start_build(account):
    """Builds that end before their sandbox would begin."""
    project, client = account.project("no buildspec"), account.codebuild

    def call(token, other=False):
        more = {"sourceVersion": "other"} if other else {}
        return client.start_build(projectName=project, idempotencyToken=token, **more)["build"]["id"]

    return Scene(call, lambda: len(client.list_builds_for_project(projectName=project)["ids"]), "InvalidInputException")


def retry_build(account):
    project, client = account.project("no buildspec"), account.codebuild
    old = [client.start_build(projectName=project)["build"]["id"] for _ in range(2)]
    over = lambda: all(one["buildComplete"] for one in client.batch_get_builds(ids=old)["builds"])
    wait_for(over, "the first builds end")

    def call(token, other=False):
        return client.retry_build(id=old[other], idempotencyToken=token)["build"]["id"]

    count = lambda: len(client.list_builds_for_project(projectName=project)["ids"]) - len(old)
    return Scene(call, count, "InvalidInputException")


def start_execution(account):
    source = action("Source", "Source", "S3", {"S3Bucket": account.bucket("s"), "S3ObjectKey": "k", "PollForSourceChanges": "false"}, outputs=["s"])
    name = account.pipeline([("Source", [source]), ("Ask", [action("Ask", "Approval", "Manual")])],
                            variables=[{"name": "Env", "defaultValue": "test"}])
    client = account.codepipeline

    def call(token, other=False):
        more = {"variables": [{"name": "Env", "value": "prod"}]} if other else {}
        return client.start_pipeline_execution(name=name, clientRequestToken=token, **more)["pipelineExecutionId"]

    def count():
        found = client.list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"]
        return sum(one["trigger"]["triggerType"] == "StartPipelineExecution" for one in found)

    return Scene(call, count, "ValidationException")


SCENES = {
    ("codebuild", "StartBuild", "idempotencyToken"): start_build,
    ("codebuild", "RetryBuild", "idempotencyToken"): retry_build,
    ("codepipeline", "StartPipelineExecution", "clientRequestToken"): start_execution,
}


def test_every_such_member_of_the_models_is_here():
    found = set()
    for service in MANIFEST:
        described = model(service)
        for operation in described.operations:
            for place in described.places(operation):
                name = place.path[-1]
                by_name = isinstance(name, str) and name.lower() in ("idempotencytoken", "clientrequesttoken", "clienttoken")
                # A job worker's clientToken is its proof, and comes from the server.
                if place.token or (by_name and described.operations and place.shape != "ClientToken"):
                    found.add((service, operation, name))
    assert found == SCENES.keys()


@pytest.mark.parametrize("member", SCENES, ids=lambda one: one[1])
def test_once_however_often_and_at_once(account, member):
    scene = SCENES[member](account)
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    made = scene.call(first)
    assert scene.call(first) == made and scene.count() == 1
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        told = set(pool.map(lambda _: scene.call(second), range(AT_ONCE)))
    assert len(told) == 1 and told != {made}
    assert scene.count() == 2


@pytest.mark.parametrize("member", SCENES, ids=lambda one: one[1])
def test_another_request_with_the_same_token_is_refused_also_after_a_crash(account, member):
    scene = SCENES[member](account)
    token = str(uuid.uuid4())
    made = scene.call(token)
    for crash in (False, True):
        if crash:
            account.server.restart(kill=True)
        with pytest.raises(ClientError) as refused:
            scene.call(token, other=True)
        assert refused.value.response["Error"]["Code"] == scene.mismatch
        assert member[2] in refused.value.response["Error"]["Message"]
        assert scene.call(token) == made
        assert scene.count() == 1
