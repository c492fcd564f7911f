"""Stages that help themselves, sources that are pinned or cloned, several inputs: what V2 pipelines offer."""

import json

import pytest
from botocore.exceptions import ClientError

from server import wait_for
from steps import text_of
from watch import Pipe, approval_action, build_action, commit_to, publish_action, repository_with, source_action


def with_failure(pipe_of, account, stages, on_failure, **more):
    """A pipeline whose last stage has an `onFailure`."""
    name = f"{account.name}-helped"
    declared = [{"name": stage, "actions": actions} for stage, actions in stages]
    declared[-1]["onFailure"] = on_failure
    account.codepipeline.create_pipeline(pipeline={
        "name": name, "roleArn": account.role("codepipeline"), "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": account.bucket("helped-artifacts")}, "stages": declared, **more})
    return pipe_of(account, name)


def test_a_failed_stage_goes_back_by_itself_to_what_succeeded_last(account):
    """The bucket of the second action exists at first and is gone when the second revision comes."""
    site, fragile = account.bucket("site"), account.bucket("fragile")
    repository, _, _ = repository_with(account, {"a.txt": "1\n"})
    made = with_failure(Pipe, account, [
        ("Source", [source_action(repository)]),
        ("Publish", [publish_action(site), publish_action(fragile, name="Check", run_order=2)])], {"result": "ROLLBACK"})
    first = made.newest()
    made.wait(first)
    account.s3.delete_object(Bucket=fragile, Key="a.txt")
    account.s3.delete_bucket(Bucket=fragile)
    commit_to(account, repository, {"a.txt": "2\n"})
    second = made.nth(2)
    made.wait(second, "Failed")
    back = made.nth(3)
    told = wait_for(lambda: (found := made.get(back))["executionType"] == "ROLLBACK" and found, "a rollback")
    assert told["rollbackMetadata"]["rollbackTargetPipelineExecutionId"] == first
    assert told["trigger"]["triggerType"] == "AutomatedRollback" and second in told["trigger"]["triggerDetail"]
    wait_for(lambda: text_of(account, site, "a.txt") == "1\n", "the first revision is back")
    made.wait(back, "Failed")  # its check fails as well, and that starts no rollback of a rollback
    assert len(made.executions()) == 3


def test_a_failed_stage_is_tried_once_more_by_itself(account):
    repository, _, _ = repository_with(account, {"a.txt": "1\n"})
    made = with_failure(Pipe, account, [
        ("Source", [source_action(repository)]), ("Publish", [publish_action(f"{account.name}-missing")])],
        {"result": "RETRY", "retryConfiguration": {"retryMode": "ALL_ACTIONS"}})
    execution = made.newest()
    runs = lambda: [one["status"] for one in made.actions(execution) if one["actionName"] == "Publish"]
    wait_for(lambda: runs() == ["Failed", "Failed"], "two failed runs")
    made.wait(execution, "Failed")
    assert runs() == ["Failed", "Failed"], "once, not for ever"
    told = made.stages()["Publish"]["retryStageMetadata"]
    assert told["autoStageRetryAttempt"] == 1 and told["latestRetryTrigger"] == "AutomatedStageRetry"


def test_a_start_may_pin_a_revision(account, pipe):
    site = account.bucket("site")
    repository, _, first = repository_with(account, {"a.txt": "1\n"})
    commit_to(account, repository, {"a.txt": "2\n"})
    made = pipe([("Source", [source_action(repository)]), ("Publish", [publish_action(site)])])
    made.wait(made.newest())
    assert text_of(account, site, "a.txt") == "2\n"
    pin = lambda commit, name="Source": [{"actionName": name, "revisionType": "COMMIT_ID", "revisionValue": commit}]
    made.wait(made.start(sourceRevisions=pin(first)))
    assert text_of(account, site, "a.txt") == "1\n"
    assert made.executions()[0]["sourceRevisions"][0]["revisionId"] == first
    count = len(made.executions())
    with pytest.raises(ClientError):
        made.start(sourceRevisions=pin(first, "Nope"))
    assert len(made.executions()) == count
    unknown = made.start(sourceRevisions=pin("0" * 40))
    made.wait(unknown, "Failed")
    assert "0" * 40 in made.latest("Source", "Source")["errorDetails"]["message"]


def test_a_full_clone_brings_its_history_to_the_build(account, pipe, builds):
    spec = "version: 0.2\nphases: {build: {commands: [git log --format=%s, git status --short --branch]}}\n"
    project = account.project(spec, source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    repository, _, _ = repository_with(account, {"a.txt": "1\n"})
    commit_to(account, repository, {"a.txt": "2\n"}, message="the second commit")
    made = pipe([("Source", [source_action(repository, OutputArtifactFormat="CODEBUILD_CLONE_REF")]),
                 ("Build", [build_action(project, outputs=())])])
    made.wait(made.newest())
    lines = builds.lines(made.latest("Build", "Build")["externalExecutionId"])
    assert lines.index("the second commit") < lines.index("change")


def test_a_build_takes_several_inputs_and_gives_several_outputs(account, pipe, builds):
    spec = json.dumps({"version": 0.2, "phases": {"build": {"commands": [
        "cat a.txt \"$CODEBUILD_SRC_DIR_second/b.txt\"", "cp \"$CODEBUILD_SRC_DIR_second/b.txt\" copied.txt"]}},
        "artifacts": {"secondary-artifacts": {"one": {"files": ["a.txt"]}, "two": {"files": ["copied.txt"]}}}})
    project = account.project(spec, source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    first, _, _ = repository_with(account, {"a.txt": "from a\n"}, suffix="first")
    second, _, _ = repository_with(account, {"b.txt": "from b\n"}, suffix="second")
    other = source_action(second, name="Second") | {"outputArtifacts": [{"name": "second"}]}
    site = account.bucket("site")
    made = pipe([
        ("Source", [source_action(first), other]),
        ("Build", [build_action(project, inputs=["source", "second"], outputs=["one", "two"], more={"PrimarySource": "source"})]),
        ("Publish", [publish_action(site, name="One", inputs=["one"]), publish_action(site, name="Two", inputs=["two"])])])
    made.wait(made.newest())
    log = builds.log(made.latest("Build", "Build")["externalExecutionId"])
    assert "from a\nfrom b" in log
    assert (text_of(account, site, "a.txt"), text_of(account, site, "copied.txt")) == ("from a\n", "from b\n")
    assert len(made.executions()[0]["sourceRevisions"]) == 2


def test_a_pipeline_that_changes_cancels_what_runs_and_mixes_no_versions(account, pipe):
    site = account.bucket("site")
    repository, _, _ = repository_with(account, {"a.txt": "1\n"})
    made = pipe([("Source", [source_action(repository)]), ("Approve", [approval_action()]),
                 ("Publish", [publish_action(site)])])
    first = made.newest()
    token = made.waiting()
    changed = made.client.get_pipeline(name=made.name)["pipeline"]
    changed["stages"][2]["actions"][0]["configuration"]["ObjectKey"] = "below"
    assert made.client.update_pipeline(pipeline=changed)["pipeline"]["version"] == 2
    made.answer(token=token)
    made.wait(first, "Cancelled")
    assert made.get(first)["pipelineVersion"] == 1
    assert account.s3.list_objects_v2(Bucket=site)["KeyCount"] == 0
    second = made.start()
    made.answer(execution=second)
    made.wait(second)
    assert made.get(second)["pipelineVersion"] == 2 and text_of(account, site, "below/a.txt") == "1\n"


def test_builds_side_by_side_share_nothing(account, pipe, builds):
    """Two builds of one stage run at the same time, each in a folder and a root of its own."""
    spec = ("version: 0.2\nphases: {build: {commands: ['touch \"/tmp/$CODEBUILD_BUILD_NUMBER\"', 'sleep 1', 'ls /tmp > seen', "
            "'cat seen']}}\n")
    project = account.project(spec, source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    repository, _, _ = repository_with(account, {"a.txt": "1\n"})
    made = pipe([("Source", [source_action(repository)]),
                 ("Build", [build_action(project, name=name, outputs=()) for name in ("One", "Two")])])
    execution = made.newest()
    made.wait(execution)
    ran = [builds.get(made.latest("Build", name)["externalExecutionId"]) for name in ("One", "Two")]
    spans = [next((one["startTime"], one["endTime"]) for one in build["phases"] if one["phaseType"] == "BUILD") for build in ran]
    assert spans[0][0] < spans[1][1] and spans[1][0] < spans[0][1], "at the same time"
    for build, other in zip(ran, ran[::-1]):
        lines = builds.lines(build["id"])
        assert str(build["buildNumber"]) in lines and str(other["buildNumber"]) not in lines


def test_an_action_has_a_timeout_of_its_own(account, pipe):
    """It is validated by the model's and AWS's bounds; only approvals' may be chosen so long."""
    repository, _, _ = repository_with(account, {"a.txt": "1\n"})
    asking = approval_action() | {"timeoutInMinutes": 10}
    made = pipe([("Source", [source_action(repository)]), ("Approve", [asking])])
    declared = made.client.get_pipeline(name=made.name)["pipeline"]["stages"][1]["actions"][0]
    assert declared["timeoutInMinutes"] == 10


def test_an_unknown_variable_is_refused_when_the_pipeline_is_made(account, pipe):
    repository, _, _ = repository_with(account, {"a.txt": "1\n"})
    with pytest.raises(ClientError) as caught:
        pipe([("Source", [source_action(repository)]), ("Approve", [approval_action(CustomData="#{Nobody.Word}")])])
    assert "Nobody" in str(caught.value)


def test_v1_pipelines_know_nothing_of_v2(account, pipe):
    repository, _, _ = repository_with(account, {"a.txt": "1\n"})
    stages = [("Source", [source_action(repository)]), ("Approve", [approval_action()])]
    for more, text in ({"executionMode": "QUEUED"}, "QUEUED"), ({"variables": [{"name": "x", "defaultValue": "1"}]}, "variables"):
        with pytest.raises(ClientError) as caught:
            pipe(stages, suffix=f"old-{text.lower()}", pipelineType="V1", **more)
        assert caught.value.response["Error"]["Code"] == "InvalidStructureException" and text in str(caught.value)
    made = Pipe(account, f"{account.name}-v1")
    account.codepipeline.create_pipeline(pipeline={
        "name": made.name, "roleArn": account.role("codepipeline"),
        "artifactStore": {"type": "S3", "location": account.bucket("v1-artifacts")},
        "stages": [{"name": name, "actions": actions} for name, actions in stages]})
    assert made.client.get_pipeline(name=made.name)["pipeline"]["pipelineType"] == "V1"
    made.answer()
    made.wait(made.newest())
