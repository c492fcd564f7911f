"""Pipelines as their users see them: what starts them, how they go through their stages, how people steer."""

import json

import pytest

from accounts import action, zipped
from server import wait_for
from steps import refused, simple, text_of
from watch import (Pipe, approval_action, build_action, commit_to, publish_action, repository_with, source_action)


# ---- what starts a pipeline --------------------------------------------------------------------------


@pytest.mark.parametrize("poll", [None, "true"])
def test_one_push_starts_exactly_one_execution(account, pipe, tmp_path, poll):
    repository, url = account.repository()
    tree = account.checkout(tmp_path / "tree", url, account.git_user())
    account.commit(tree, {"a.txt": "1\n"})
    account.git(tree, "push", "-q", "origin", "main")
    source = source_action(repository, **({"PollForSourceChanges": poll} if poll else {}))
    target = account.bucket("site")
    made = pipe([("Source", [source]), ("Publish", [publish_action(target)])])
    made.wait(made.newest())
    commit = account.commit(tree, {"a.txt": "2\n"}, message="second of two\n\nwith a body")
    account.git(tree, "push", "-q", "origin", "main")
    second = made.nth(2)
    made.wait(second)
    summary = made.executions()[0]
    assert summary["sourceRevisions"][0]["revisionId"] == commit
    assert summary["sourceRevisions"][0]["revisionSummary"].startswith("second of two")
    assert summary["trigger"]["triggerType"] in ("CloudWatchEvent", "PollForSourceChanges"), summary["trigger"]
    assert text_of(account, target, "a.txt") == "2\n"
    account.git(tree, "push", "-q", "origin", "main:other")
    account.git(tree, "push", "-q", "origin", "main")
    third = made.start()
    made.wait(third)
    assert len(made.executions()) == 3, "another branch, or nothing new, starts nothing"


def test_polling_that_is_off_leaves_pushes_to_rules(account, pipe):
    made, repository = simple(account, pipe, source={"PollForSourceChanges": "false"})
    watching = Pipe(account, account.pipeline(
        [("Source", [source_action(repository)]), ("Approve", [approval_action()])], suffix="watching"))
    made.waiting()
    commit_to(account, repository, {"a.txt": "2\n"})
    watching.nth(2)  # the same event has reached this one
    assert len(made.executions()) == 1


def test_git_filters_choose_by_branch_tag_and_path(account, pipe, tmp_path):
    repository, url = account.repository()
    tree = account.checkout(tmp_path / "tree", url, account.git_user())
    account.commit(tree, {"docs/a.md": "1\n"})
    account.git(tree, "push", "-q", "origin", "main")
    trigger = lambda push: [{"providerType": "CodeStarSourceConnection", "gitConfiguration": {
        "sourceActionName": "Source", "push": push}}]
    stages = [("Source", [source_action(repository)]), ("Approve", [approval_action()])]
    branches = pipe(stages, suffix="branches", executionMode="PARALLEL", triggers=trigger([{
        "branches": {"includes": ["release/**"], "excludes": ["release/old"]},
        "filePaths": {"includes": ["src/**"], "excludes": ["src/**/*.md"]}}]))
    tags = pipe(stages, suffix="tags", executionMode="PARALLEL", triggers=trigger([{"tags": {"includes": ["v*"]}}]))
    for made in (branches, tags):
        made.newest()
    push = lambda *names: account.git(tree, "push", "-q", "origin", *names)
    account.commit(tree, {"src/main.c": "int x;\n"})
    push("main", "main:release/old")  # neither branch is included
    push("main:release/1")  # a new branch
    account.commit(tree, {"docs/b.md": "2\n", "src/notes.md": "n\n"})
    push("main:release/1")  # no included path
    commit = account.commit(tree, {"src/main.c": "int y;\n"}, message="code")
    push("main:release/1")
    account.git(tree, "tag", "v1.0")
    account.git(tree, "tag", "other")
    push("other")
    push("v1.0")
    tagged = tags.nth(2)
    wait_for(lambda: tags.get(tagged).get("artifactRevisions"), "the tag's revision")
    assert tags.get(tagged)["artifactRevisions"][0]["revisionId"] == commit
    assert len(tags.executions()) == 2
    wait_for(lambda: any(rev["revisionId"] == commit for one in branches.executions()
                         for rev in one.get("sourceRevisions", [])), "the branch's revision")
    started = [rev["revisionSummary"] for one in branches.executions() for rev in one.get("sourceRevisions", [])]
    assert started[0] == "code" and started.count("code") == 1
    assert len(branches.executions()) <= 3, started  # the pipeline's creation, the branch's creation, the code
    newest = branches.executions()[0]
    source = branches.action(newest["pipelineExecutionId"], "Source")
    assert source["output"]["outputVariables"]["BranchName"] == "release/1"


def test_an_object_starts_a_pipeline_and_its_files_are_deployed(account, pipe):
    inbox, site = account.bucket("inbox"), account.bucket("site")
    account.s3.put_bucket_versioning(Bucket=inbox, VersioningConfiguration={"Status": "Enabled"})
    account.s3.put_object(Bucket=inbox, Key="in/app.zip", Body=zipped({"x.txt": "1", "sub/y.txt": "2"}))
    source = action("Source", "Source", "S3", {"S3Bucket": inbox, "S3ObjectKey": "in/app.zip"}, outputs=["source"])
    keep = publish_action(site, name="Keep", Extract="false", ObjectKey="kept/app.zip")
    made = pipe([("Source", [source]),
                 ("Publish", [publish_action(site, ObjectKey="v", CacheControl="max-age=60"), keep])])
    made.wait(made.newest())
    assert (text_of(account, site, "v/x.txt"), text_of(account, site, "v/sub/y.txt")) == ("1", "2")
    found = account.s3.get_object(Bucket=site, Key="v/x.txt")
    assert (found["CacheControl"], found["ContentType"]) == ("max-age=60", "text/plain")
    assert account.s3.get_object(Bucket=site, Key="kept/app.zip")["Body"].read(2) == b"PK"
    version = account.s3.put_object(Bucket=inbox, Key="in/app.zip", Body=zipped({"x.txt": "new"}))["VersionId"]
    second = made.nth(2)
    made.wait(second)
    assert made.executions()[0]["sourceRevisions"][0]["revisionId"] == version
    assert text_of(account, site, "v/x.txt") == "new"


# ---- order, variables --------------------------------------------------------------------------------


def test_actions_of_one_run_order_run_side_by_side_and_the_next_order_after_them(account, pipe):
    site = account.bucket("site")
    made, _ = simple(account, pipe, ("Work", [
        approval_action("One", 1), approval_action("Two", 1), publish_action(site, run_order=2),
        approval_action("Three", 3)]))
    one, two = made.waiting("Work", "One"), made.waiting("Work", "Two")
    assert made.latest("Work", "Publish") == {}
    made.answer(stage="Work", name="Two", token=two)
    wait_for(lambda: made.latest("Work", "Two")["status"] == "Succeeded", "Two is done")
    assert made.latest("Work", "Publish") == {}, "it waits for both"
    made.answer(stage="Work", name="One", token=one)
    made.answer(stage="Work", name="Three")
    execution = made.newest()
    made.wait(execution)
    times = {detail["actionName"]: detail["startTime"] for detail in made.actions(execution)}
    assert times["One"] < times["Publish"] <= times["Three"] and times["Two"] < times["Publish"]


def test_variables_reach_a_build_and_its_exports_reach_later_actions(account, pipe, builds):
    spec = """\
version: 0.2
env:
  exported-variables: [VERSION, EMPTY]
phases:
  build:
    commands:
      - echo "commit=$COMMIT stage=$TARGET execution=$EXECUTION"
      - export VERSION="1.$(echo "$TARGET" | tr a-z A-Z)"
"""
    project = account.project(spec, source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    account.codebuild.update_project(name=project, source={"type": "CODEPIPELINE", "buildspec": spec})
    environment = json.dumps([
        {"name": "COMMIT", "value": "#{Code.CommitId}", "type": "PLAINTEXT"},
        {"name": "TARGET", "value": "#{variables.target}"},
        {"name": "EXECUTION", "value": "#{codepipeline.PipelineExecutionId}"}])
    repository, _, commit = repository_with(account, {"a.txt": "1\n"})
    made = pipe([
        ("Source", [source_action(repository) | {"namespace": "Code"}]),
        ("Build", [build_action(project, outputs=(), more={"EnvironmentVariables": environment}, namespace="Built")]),
        ("Approve", [approval_action(CustomData="Release #{Built.VERSION} of #{Code.BranchName}?")])],
        variables=[{"name": "target", "defaultValue": "staging"}])
    made.newest()
    made.waiting()
    execution = made.start(variables=[{"name": "target", "value": "live"}])
    made.answer(execution=made.executions()[-1]["pipelineExecutionId"])
    made.waiting(execution=execution)
    run = made.action(execution, "Build")
    assert run["output"]["outputVariables"]["VERSION"] == "1.LIVE"
    log = builds.log(run["output"]["executionResult"]["externalExecutionId"])
    assert f"commit={commit} stage=live execution={execution}" in log
    asked = made.action(execution, "Ask")["input"]["resolvedConfiguration"]
    assert asked["CustomData"] == "Release 1.LIVE of main?"
    assert {"name": "target", "resolvedValue": "live"} in made.get(execution)["variables"]
    made.answer(execution=execution)
    made.wait(execution)
    message = refused(lambda: made.start(variables=[{"name": "nope", "value": "x"}]), "ValidationException")
    assert "nope" in message


# ---- execution modes -----------------------------------------------------------------------------------


def test_superseded_the_newest_that_waits_takes_the_place_of_older_ones(account, pipe):
    made, _ = simple(account, pipe)
    first = made.newest()
    token = made.waiting()
    second, third = made.start(), made.start()
    made.wait(second, "Superseded")
    assert made.get(third)["status"] == "InProgress"
    made.answer(token=token)
    made.wait(first)
    made.answer(execution=third)
    made.wait(third)


def test_queued_every_execution_has_its_turn_in_order(account, pipe):
    made, _ = simple(account, pipe, mode="QUEUED")
    order = [made.newest()]
    made.waiting(execution=order[0])
    order += [made.start(), made.start()]
    for execution in order:
        assert made.get(execution)["executionMode"] == "QUEUED"
        made.answer(execution=execution)
        made.wait(execution)
    assert [one["pipelineExecutionId"] for one in made.executions()] == order[::-1]


def test_parallel_executions_know_nothing_of_one_another(account, pipe):
    made, _ = simple(account, pipe, mode="PARALLEL")
    started = [made.newest(), made.start(), made.start()]
    asked = lambda execution: (found := made.action(execution, "Ask")) and found["status"] == "InProgress"
    for execution in started:
        wait_for(lambda: asked(execution), "its approval waits beside the others'")
    for execution in started:
        made.client.stop_pipeline_execution(
            pipelineName=made.name, pipelineExecutionId=execution, abandon=True, reason="seen")
        made.wait(execution, "Stopped")


# ---- people steer --------------------------------------------------------------------------------------


def build_that_waits(account):
    return account.project("version: 0.2\nphases:\n  build:\n    commands: ['echo begun; sleep 60']\n",
                           source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})


def test_stop_waits_for_what_runs_and_abandon_does_not(account, pipe):
    made, _ = simple(account, pipe, ("Approve", [approval_action()]), ("Never", [approval_action("Later")]))
    first = made.newest()
    token = made.waiting()
    made.client.stop_pipeline_execution(pipelineName=made.name, pipelineExecutionId=first, reason="bad news")
    assert made.get(first)["status"] == "Stopping"
    again = refused(lambda: made.client.stop_pipeline_execution(
        pipelineName=made.name, pipelineExecutionId=first), "DuplicatedStopRequestException")
    assert "already in a Stopping state" in again
    made.answer(token=token)
    made.wait(first, "Stopped")
    assert made.executions()[0]["stopTrigger"]["reason"] == "bad news"
    assert made.latest("Never", "Later") == {}
    second = made.start()
    made.waiting(execution=second)
    made.client.stop_pipeline_execution(pipelineName=made.name, pipelineExecutionId=second, abandon=True)
    made.wait(second, "Stopped")
    assert made.latest("Approve", "Ask")["status"] == "Abandoned"
    refused(lambda: made.client.stop_pipeline_execution(
        pipelineName=made.name, pipelineExecutionId=second, abandon=True), "PipelineExecutionNotStoppableException")


def test_abandoning_a_running_build_ends_the_execution_at_once(account, pipe, builds):
    project = build_that_waits(account)
    made, _ = simple(account, pipe, ("Build", [build_action(project)]))
    execution = made.newest()
    id = wait_for(lambda: made.latest("Build", "Build").get("externalExecutionId"), "the build's id")
    wait_for(lambda: "begun" in builds.log(id), "the build runs")
    made.client.stop_pipeline_execution(pipelineName=made.name, pipelineExecutionId=execution, abandon=True)
    made.wait(execution, "Stopped")
    account.codebuild.stop_build(id=id)
    builds.wait(id, "STOPPED")


def test_a_failed_stage_is_retried_failed_actions_or_all(account, pipe):
    site, missing = account.bucket("site"), f"{account.name}-missing"
    made, _ = simple(account, pipe, ("Publish", [publish_action(site, "Good"), publish_action(missing, "Bad")]))
    execution = made.newest()
    made.wait(execution, "Failed")
    assert missing in json.dumps(made.latest("Publish", "Bad")["errorDetails"])
    runs = lambda name: len([one for one in made.actions(execution) if one["actionName"] == name])
    retry = lambda mode: made.client.retry_stage_execution(
        pipelineName=made.name, stageName="Publish", pipelineExecutionId=execution, retryMode=mode)
    retry("FAILED_ACTIONS")
    wait_for(lambda: runs("Bad") == 2 and made.get(execution)["status"] == "Failed", "failed once more")
    assert runs("Good") == 1
    account.s3.create_bucket(Bucket=missing)
    assert retry("ALL_ACTIONS")["pipelineExecutionId"] == execution
    made.wait(execution)
    assert (runs("Good"), runs("Bad"), runs("Source")) == (2, 3, 1)
    assert text_of(account, missing, "a.txt") == "1\n"
    refused(lambda: retry("FAILED_ACTIONS"), "StageNotRetryableException")


def test_a_closed_transition_holds_what_comes_until_it_opens(account, pipe):
    site = account.bucket("site")
    made, _ = simple(account, pipe, ("Approve", [approval_action()]), ("Publish", [publish_action(site)]))
    made.client.disable_stage_transition(
        pipelineName=made.name, stageName="Publish", transitionType="Inbound", reason="release freeze")
    execution = made.newest()
    made.answer()
    inbound = lambda: made.stages()["Publish"].get("inboundExecution", {}).get("pipelineExecutionId") == execution
    wait_for(inbound, "it waits before the stage")
    transition = made.stages()["Publish"]["inboundTransitionState"]
    assert (transition["enabled"], transition["disabledReason"]) == (False, "release freeze")
    assert made.get(execution)["status"] == "InProgress" and made.latest("Publish", "Publish") == {}
    made.client.enable_stage_transition(pipelineName=made.name, stageName="Publish", transitionType="Inbound")
    made.wait(execution)
    assert made.stages()["Publish"]["inboundTransitionState"]["enabled"] is True


def test_a_stage_rolls_back_to_what_an_earlier_execution_deployed(account, pipe):
    site = account.bucket("site")
    made, repository = simple(account, pipe, ("Publish", [publish_action(site)]))
    first = made.newest()
    made.wait(first)
    commit_to(account, repository, {"a.txt": "2\n"})
    second = made.nth(2)
    made.wait(second)
    assert text_of(account, site, "a.txt") == "2\n"
    back = made.client.rollback_stage(
        pipelineName=made.name, stageName="Publish", targetPipelineExecutionId=first)["pipelineExecutionId"]
    made.wait(back)
    assert text_of(account, site, "a.txt") == "1\n"
    told = made.get(back)
    assert told["executionType"] == "ROLLBACK"
    assert told["rollbackMetadata"]["rollbackTargetPipelineExecutionId"] == first
    assert [one["actionName"] for one in made.actions(back)] == ["Publish"], "no source, no build"
    refused(lambda: made.client.rollback_stage(
        pipelineName=made.name, stageName="Source", targetPipelineExecutionId=first), "UnableToRollbackStageException")


def test_approvals_take_the_token_of_the_run_that_waits(account, pipe):
    made, _ = simple(account, pipe)
    first = made.newest()
    token = made.waiting()
    wrong = refused(lambda: made.answer(token="00000000-0000-4000-8000-000000000000"), "InvalidApprovalTokenException")
    assert wrong
    answered = made.answer("Approved", token=token, summary="ship it")
    assert answered["approvedAt"]
    made.wait(first)
    assert made.latest("Approve", "Ask")["summary"] == "ship it"
    refused(lambda: made.answer(token=token), "ApprovalAlreadyCompletedException")
    second = made.start()
    made.waiting(execution=second)
    refused(lambda: made.answer(token=token), "InvalidApprovalTokenException")
    assert made.latest("Approve", "Ask")["status"] == "InProgress", "an old token decides nothing"
    made.answer("Rejected", execution=second, summary="the header is broken")
    made.wait(second, "Failed")
    latest = made.latest("Approve", "Ask")
    assert latest["status"] == "Failed" and latest["lastUpdatedBy"].endswith(":root")
    assert "the header is broken" in json.dumps([latest.get("summary"), latest.get("errorDetails")])


def test_who_may_not_approve_does_not(account, pipe):
    made, _ = simple(account, pipe)
    token = made.waiting()
    resource = f"arn:aws:codepipeline:*:*:{made.name}/Approve/Other"
    stranger = account.server.client("codepipeline", account.user("codepipeline:PutApprovalResult", resource=resource))
    say = lambda client: client.put_approval_result(pipelineName=made.name, stageName="Approve", actionName="Ask",
                                                    token=token, result={"status": "Approved", "summary": ""})
    message = refused(lambda: say(stranger), "AccessDeniedException")
    assert "codepipeline:PutApprovalResult" in message and message.startswith("User: arn:aws:iam::")
    approver = account.user("codepipeline:PutApprovalResult", resource=resource.replace("Other", "Ask"), suffix="boss")
    say(account.server.client("codepipeline", approver))
    made.wait(made.newest())


# ---- roles, jobs -----------------------------------------------------------------------------------------


def test_a_pipeline_whose_role_may_not_start_a_build_fails_and_says_so(account, pipe):
    project = account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    role = account.role("codepipeline", ["codecommit:*", "s3:*"])
    made, _ = simple(account, pipe, ("Build", [build_action(project)]), role=role)
    execution = made.newest()
    made.wait(execution, "Failed")
    error = made.latest("Build", "Build")["errorDetails"]
    assert "codebuild:StartBuild" in error["message"] and "not authorized" in error["message"], error
    assert account.codebuild.list_builds_for_project(projectName=project)["ids"] == []


def test_a_job_worker_carries_out_a_custom_action(account, pipe):
    provider = f"Jenkins{account.name[-6:]}"
    details = {"minimumCount": 0, "maximumCount": 1}
    made_type = account.codepipeline.create_custom_action_type(
        category="Test", provider=provider, version="1", inputArtifactDetails=details, outputArtifactDetails=details,
        configurationProperties=[{"name": "Job", "required": True, "key": True, "secret": False, "queryable": True}])
    type_id = made_type["actionType"]["id"]
    assert type_id["owner"] == "Custom"
    check = action("Check", "Test", provider, {"Job": "web"}, ["source"], namespace="Checked")
    check["actionTypeId"]["owner"] = "Custom"
    asking = approval_action(CustomData="#{Checked.Tests} tests")
    made, _ = simple(account, pipe, ("Test", [check]), ("Approve", [asking]))
    client = account.codepipeline
    poll = lambda job: client.poll_for_jobs(actionTypeId=type_id, maxBatchSize=1, queryParam={"Job": job})["jobs"]
    job = wait_for(lambda: poll("web"), "a job")[0]
    assert poll("other") == []
    location = job["data"]["inputArtifacts"][0]["location"]["s3Location"]
    keys = job["data"]["artifactCredentials"]
    worker = account.server.client("s3", (keys["accessKeyId"], keys["secretAccessKey"]), keys["sessionToken"])
    assert worker.get_object(Bucket=location["bucketName"], Key=location["objectKey"])["Body"].read(2) == b"PK"
    refused(lambda: client.acknowledge_job(jobId=job["id"], nonce="999999"), "InvalidNonceException")
    assert client.acknowledge_job(jobId=job["id"], nonce=job["nonce"])["status"] == "InProgress"
    assert client.get_job_details(jobId=job["id"])["jobDetails"]["data"]["pipelineContext"]["pipelineName"] == made.name
    client.put_job_success_result(jobId=job["id"], outputVariables={"Tests": "42"},
                                  executionDetails={"summary": "42 passed", "externalExecutionId": "run-7"})
    made.waiting()
    assert made.latest("Test", "Check")["summary"] == "42 passed"
    execution = made.newest()
    assert made.action(execution, "Ask")["input"]["resolvedConfiguration"]["CustomData"] == "42 tests"
    made.answer()
    second = made.start()
    job = wait_for(lambda: poll("web"), "its second job")[0]
    client.acknowledge_job(jobId=job["id"], nonce=job["nonce"])
    client.put_job_failure_result(jobId=job["id"], failureDetails={"type": "JobFailed", "message": "3 tests failed"})
    made.wait(second, "Failed")
    assert made.latest("Test", "Check")["errorDetails"]["message"] == "3 tests failed"
