"""kill -9 at any moment: nothing acknowledged is lost, nothing ends wrong, nothing stays behind."""

import json
import os
import signal
import threading
import time

import pytest
from accounts import action
from botocore.exceptions import BotoCoreError, ClientError
from footprint import Footprint, descendants, name, stat, swept
from server import wait_for

ROOT = os.geteuid() == 0


def buildspec(*commands, artifact=None):
    text = "version: 0.2\nphases:\n  build:\n    commands:\n"
    text += "".join(f"      - {json.dumps(command)}\n" for command in commands)
    return text + (f"artifacts:\n  files: [{artifact}]\n" if artifact else "")


def build_of(team, build):
    return team.codebuild.batch_get_builds(ids=[build])["builds"][0]


def lines_of(team, build):
    """The build's log, from the log service."""
    where = build_of(team, build)["logs"]
    if "streamName" not in where:
        return []
    found, token = [], {}
    while True:
        page = team.logs.get_log_events(logGroupName=where["groupName"], logStreamName=where["streamName"],
                                        startFromHead=True, **token)
        found += [event["message"].rstrip("\n") for event in page["events"]]
        if not page["events"]:
            return found
        token = {"nextToken": page["nextForwardToken"]}


def at_the_gate(team, build, times=1):
    """Until the build's command runs (its log tells), for the `times`th time."""
    def told():
        found = build_of(team, build)
        assert not found["buildComplete"], (found["buildStatus"], found["phases"])
        try:
            return lines_of(team, build).count("at the gate") >= times
        except ClientError:
            return False
    wait_for(told, f"build {build} is in its command")


def ends(team, build, status, timeout=90):
    done = wait_for(lambda: (lambda found: found if found["buildComplete"] else None)(build_of(team, build)),
                    f"build {build} ends", timeout)
    assert done["buildStatus"] == status, (done["buildStatus"], done["phases"], lines_of(team, build))
    return done


def ended_events(server, build):
    """How often, and with what, the world was told that the build is over."""
    found = [event["detail"] for event in server.events("aws.codebuild")
             if event["detail-type"] == "CodeBuild Build State Change"]
    return [detail["build-status"] for detail in found
            if detail["build-id"].endswith(build) and detail["build-status"] != "IN_PROGRESS"]


def versions(team, bucket):
    return [found["Key"] for found in team.s3.list_object_versions(Bucket=bucket).get("Versions", [])]


def state_of(team, pipeline):
    return {stage["stageName"]: stage for stage in team.codepipeline.get_pipeline_state(name=pipeline)["stageStates"]}


def waiting_approval(team, pipeline):
    """The token that the pipeline's approval waits with."""
    for stage in state_of(team, pipeline).values():
        for found in stage["actionStates"]:
            if "token" in found.get("latestExecution", {}):
                return stage["stageName"], found["actionName"], found["latestExecution"]["token"]
    return None


def approve(team, pipeline):
    stage, one, token = wait_for(lambda: waiting_approval(team, pipeline), "the approval waits")
    team.codepipeline.put_approval_result(pipelineName=pipeline, stageName=stage, actionName=one, token=token,
                                          result={"summary": "yes", "status": "Approved"})


def executions(team, pipeline):
    return team.codepipeline.list_pipeline_executions(pipelineName=pipeline)["pipelineExecutionSummaries"]


def succeeds(team, pipeline, count=1, timeout=120):
    def over():
        found = executions(team, pipeline)
        return found if found and all(one["status"] not in ("InProgress", "Stopping") for one in found) else None
    found = wait_for(over, "the pipeline's executions are over", timeout)
    assert [one["status"] for one in found] == ["Succeeded"] * count, (found, state_of(team, pipeline))
    return found


def source(repository):
    return action("Source", "Source", "CodeCommit", {"RepositoryName": repository, "BranchName": "main"},
                  outputs=["source"])


# ---- builds ----------------------------------------------------------------------------------------


@pytest.fixture
def waiting_build(team, gate):
    """A build in the middle of its command, with artifacts into a bucket that keeps every version."""
    bucket = team.bucket()
    team.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    project = team.project(buildspec(gate.wait, "echo made > out.txt", "echo after the gate", artifact="out.txt"),
                           artifacts={"type": "S3", "location": bucket, "packaging": "ZIP", "name": "out.zip"})
    build = team.codebuild.start_build(projectName=project)["build"]["id"]
    at_the_gate(team, build)
    return build, bucket, project


def test_a_build_that_died_with_its_server_runs_again_as_one_build(server, team, gate, waiting_build):
    build, bucket, project = waiting_build
    before = Footprint(server)
    assert before.sandboxed and before.groups if ROOT else True
    server.kill()
    before.is_gone()
    gate.open()
    server.start()
    done = ends(team, build, "SUCCEEDED")
    assert [phase["phaseType"] for phase in done["phases"]].count("BUILD") == 1
    assert lines_of(team, build).count("after the gate") == 1
    assert versions(team, bucket) == ["out.zip"]
    assert team.codebuild.list_builds_for_project(projectName=project)["ids"] == [build]
    assert ended_events(server, build) == ["SUCCEEDED"]
    swept(server)


def test_a_server_that_is_told_to_stop_goes_on_with_its_builds(server, team, gate, waiting_build):
    build, bucket, _ = waiting_build
    before, begun = Footprint(server), time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 15
    before.is_gone()
    gate.open()
    server.start()
    ends(team, build, "SUCCEEDED")
    assert versions(team, bucket) == ["out.zip"] and ended_events(server, build) == ["SUCCEEDED"]
    swept(server)


def test_a_build_that_was_stopped_stays_stopped(server, team, gate, waiting_build):
    build, bucket, _ = waiting_build
    before = Footprint(server)
    team.codebuild.stop_build(id=build)
    server.restart()
    ends(team, build, "STOPPED")
    before.is_gone()
    assert versions(team, bucket) == [] and ended_events(server, build) == ["STOPPED"]
    swept(server)


def test_a_build_whose_supervisor_is_killed_ends_and_leaves_nothing(server, team, gate, waiting_build):
    build, bucket, project = waiting_build
    before = Footprint(server)
    supervisors = [pid for pid in before.processes if (stat(pid) or [None])[0] == before.server]
    assert len(supervisors) == 1, [name(pid) for pid in before.processes]
    gate.open()
    os.kill(supervisors[0], signal.SIGKILL)
    done = wait_for(lambda: (lambda found: found if found["buildComplete"] else None)(build_of(team, build)),
                    "the build ends")
    assert done["buildStatus"] in ("FAULT", "FAILED", "SUCCEEDED")
    del before.processes[before.server]
    before.is_gone()
    assert ended_events(server, build) == [done["buildStatus"]]
    assert versions(team, bucket) == (["out.zip"] if done["buildStatus"] == "SUCCEEDED" else [])
    ends(team, team.codebuild.start_build(projectName=project)["build"]["id"], "SUCCEEDED")
    swept(server)


def test_many_builds_die_at_once(server, team, gate):
    project = team.project(buildspec(gate.wait))
    builds = [team.codebuild.start_build(projectName=project)["build"]["id"] for _ in range(5)]
    wait_for(lambda: [build_of(team, build)["currentPhase"] for build in builds].count("BUILD") >= 2,
             "builds run beside each other")
    before = Footprint(server)
    server.kill()
    before.is_gone()
    gate.open()
    server.start()
    for build in builds:
        ends(team, build, "SUCCEEDED")
    assert all(ended_events(server, build) == ["SUCCEEDED"] for build in builds)
    swept(server)


# ---- pipelines -------------------------------------------------------------------------------------


def test_what_a_push_returned_is_kept_and_starts_one_execution(server, team, tmp_path):
    repository, url = team.repository()
    folder = team.checkout(str(tmp_path / "work"), url, team.git_user())
    first = team.commit(folder, {"a": "1"})
    team.git(folder, "push", "-q", "origin", "main")
    pipeline = team.pipeline([("Source", [source(repository)]),
                              ("Ask", [action("Ask", "Approval", "Manual")])], executionMode="QUEUED")
    approve(team, pipeline)
    succeeds(team, pipeline)
    for number in range(3):
        pushed = team.commit(folder, {"a": f"pushed {number}"})
        team.git(folder, "push", "-q", "origin", "main")
        server.restart()
        assert team.git(folder, "ls-remote", "origin", "main").stdout.split()[0] == pushed
        wait_for(lambda: len(executions(team, pipeline)) == number + 2, "the push started an execution")
        approve(team, pipeline)
        found = succeeds(team, pipeline, number + 2)
        revisions = [one["sourceRevisions"][0]["revisionId"] for one in found]
        assert revisions[0] == pushed and len(set(revisions)) == len(revisions) and revisions[-1] == first


def test_an_approval_waits_through_a_death(server, team, tmp_path):
    repository, _ = team.repository()
    team.codecommit.put_file(repositoryName=repository, branchName="main", filePath="a", fileContent=b"a")
    pipeline = team.pipeline([("Source", [source(repository)]), ("Ask", [action("Ask", "Approval", "Manual")])])
    waiting = wait_for(lambda: waiting_approval(team, pipeline), "the approval waits")
    server.restart()
    assert waiting_approval(team, pipeline) == waiting
    stage, one, token = waiting
    team.codepipeline.put_approval_result(pipelineName=pipeline, stageName=stage, actionName=one, token=token,
                                          result={"summary": "seen", "status": "Approved"})
    server.restart()
    succeeds(team, pipeline)
    asked = [found for found in server.events("aws.codepipeline")
             if found["detail-type"] == "CodePipeline Action Execution State Change"
             and found["detail"]["action"] == "Ask"]
    assert [found["detail"]["state"] for found in asked] == ["STARTED", "SUCCEEDED"]
    with pytest.raises(ClientError) as late:
        team.codepipeline.put_approval_result(pipelineName=pipeline, stageName=stage, actionName=one, token=token,
                                              result={"summary": "no", "status": "Rejected"})
    assert late.value.response["Error"]["Code"] in ("ApprovalAlreadyCompletedException", "InvalidApprovalTokenException")


def test_an_execution_survives_any_number_of_deaths(server, team, gate, tmp_path):
    repository, url = team.repository()
    folder = team.checkout(str(tmp_path / "work"), url, team.git_user())
    team.commit(folder, {"buildspec.yml": buildspec(gate.wait, "cp a out.txt", artifact="out.txt"), "a": "content"})
    team.git(folder, "push", "-q", "origin", "main")
    site, store = team.bucket("site"), team.bucket("store")
    for bucket in (site, store):
        team.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    project = team.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    pipeline = team.pipeline([
        ("Source", [source(repository)]),
        ("Build", [action("Build", "Build", "CodeBuild", {"ProjectName": project}, ["source"], ["built"])]),
        ("Ask", [action("Ask", "Approval", "Manual")]),
        ("Publish", [action("Publish", "Deploy", "S3", {"BucketName": site, "Extract": "true"}, ["built"])]),
    ], bucket=store)
    for _ in range(3):
        server.restart()
    build = wait_for(lambda: team.codebuild.list_builds_for_project(projectName=project)["ids"], "a build")[0]
    at_the_gate(team, build)
    for _ in range(3):
        server.restart()
    gate.open()
    server.restart()
    for _ in range(5):
        time.sleep(0.3)  # wherever it is by now
        server.restart()
    approve(team, pipeline)
    for _ in range(5):
        server.restart()
    succeeds(team, pipeline)
    assert team.codebuild.list_builds_for_project(projectName=project)["ids"] == [build]
    assert ended_events(server, build) == ["SUCCEEDED"]
    assert set(versions(team, site)) == {"out.txt"}
    assert team.s3.get_object(Bucket=site, Key="out.txt")["Body"].read() == b"content"
    stored = versions(team, store)
    assert len(stored) == len(set(stored)) == 2, "one source, one build output, each written once"
    states = [event["detail"]["state"] for event in server.events("aws.codepipeline")
              if event["detail-type"] == "CodePipeline Pipeline Execution State Change"]
    assert states == ["STARTED", "SUCCEEDED"]
    swept(server)


# ---- what was acknowledged -------------------------------------------------------------------------


def test_nothing_acknowledged_is_lost(server, team):
    """Writers that stop at the first error; whatever they were told is done is there afterwards."""
    bucket = team.bucket()
    team.logs.create_log_group(logGroupName="g")
    acknowledged = {"object": [], "event": [], "user": [], "file": []}
    team.codecommit.create_repository(repositoryName="r")

    def put_object(number):
        team.s3.put_object(Bucket=bucket, Key=f"k{number}", Body=f"content {number}".encode() * 100)

    def put_event(number):
        team.logs.create_log_stream(logGroupName="g", logStreamName=f"s{number}")
        team.logs.put_log_events(logGroupName="g", logStreamName=f"s{number}", logEvents=[
            {"timestamp": int(time.time() * 1000), "message": f"m{number}"}])

    def create_user(number):
        team.iam.create_user(UserName=f"u{number}")

    head = []

    def put_file(number):
        parent = {"parentCommitId": head[-1]} if head else {}
        head.append(team.codecommit.put_file(repositoryName="r", branchName="main", filePath=f"f{number}",
                                             fileContent=b"x", **parent)["commitId"])

    def write(kind, one):
        for number in range(100000):
            try:
                one(number)
            except (BotoCoreError, ClientError):
                return
            acknowledged[kind].append(number)

    writers = [threading.Thread(target=write, args=pair) for pair in [
        ("object", put_object), ("event", put_event), ("user", create_user), ("file", put_file)]]
    for writer in writers:
        writer.start()
    wait_for(lambda: all(len(done) >= 5 for done in acknowledged.values()), "all write")
    server.kill()
    for writer in writers:
        writer.join()
    server.start()
    for number in acknowledged["object"]:
        got = team.s3.get_object(Bucket=bucket, Key=f"k{number}")["Body"].read()
        assert got == f"content {number}".encode() * 100
    for number in acknowledged["event"]:
        got = team.logs.get_log_events(logGroupName="g", logStreamName=f"s{number}", startFromHead=True)["events"]
        assert [event["message"] for event in got] == [f"m{number}"]
    users = {user["UserName"] for page in team.iam.get_paginator("list_users").paginate() for user in page["Users"]}
    assert {f"u{number}" for number in acknowledged["user"]} <= users
    tip = team.codecommit.get_branch(repositoryName="r", branchName="main")["branch"]["commitId"]
    files = {found["absolutePath"] for found in
             team.codecommit.get_folder(repositoryName="r", commitSpecifier=tip, folderPath="/")["files"]}
    assert {f"f{number}" for number in acknowledged["file"]} <= files
    # And it goes on.
    put_object(-1), create_user(-1)
    team.codecommit.put_file(repositoryName="r", branchName="main", filePath="more", fileContent=b"x", parentCommitId=tip)


def test_a_build_log_that_was_read_is_still_there(server, team, gate, waiting_build):
    build, _, _ = waiting_build
    read = lines_of(team, build)
    server.restart()
    assert lines_of(team, build)[:len(read)] == read


def test_the_same_token_starts_one_thing(server, team, gate):
    project = team.project(buildspec("true"))
    first = team.codebuild.start_build(projectName=project, idempotencyToken="t1")["build"]["id"]
    server.restart()
    assert team.codebuild.start_build(projectName=project, idempotencyToken="t1")["build"]["id"] == first
    assert team.codebuild.list_builds_for_project(projectName=project)["ids"] == [first]
    ends(team, first, "SUCCEEDED")
    repository, _ = team.repository()
    team.codecommit.put_file(repositoryName=repository, branchName="main", filePath="a", fileContent=b"a")
    quiet = source(repository)
    quiet["configuration"]["PollForSourceChanges"] = "false"
    pipeline = team.pipeline([("Source", [quiet]), ("Ask", [action("Ask", "Approval", "Manual")])])
    approve(team, pipeline)
    succeeds(team, pipeline)
    token = "00000000-0000-4000-8000-000000000001"
    started = team.codepipeline.start_pipeline_execution(name=pipeline, clientRequestToken=token)
    server.restart()
    again = team.codepipeline.start_pipeline_execution(name=pipeline, clientRequestToken=token)
    assert again["pipelineExecutionId"] == started["pipelineExecutionId"]
    assert len(executions(team, pipeline)) == 2


def test_all_that_a_server_started_dies_with_it(server, team, gate, waiting_build):
    """The control of this file's leak checks: they see what is there while it is there."""
    footprint = Footprint(server)
    left = "\n".join(footprint.left())
    assert "process" in left and len(descendants(server.process.pid)) > 2
    if ROOT:
        assert "interface twp" in left and "control group" in left
