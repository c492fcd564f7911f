"""What pipelines tell of themselves, and declarations that are refused."""

import json

import pytest
from botocore.exceptions import ClientError

from accounts import action
from steps import refused, simple
from watch import approval_action, build_action, publish_action, source_action


def test_lists_and_states_tell_what_happened(account, pipe):
    site = account.bucket("site")
    made, repository = simple(account, pipe, ("Publish", [publish_action(site)]))
    first = made.newest()
    made.wait(first)
    second = made.start(clientRequestToken="once-0001")
    assert made.start(clientRequestToken="once-0001") == second, "a token starts once"
    made.wait(second)
    server = account.server
    listed = server.aws("codepipeline", "list-pipelines")["pipelines"]
    assert {"V2", made.name} <= set(next(one for one in listed if one["name"] == made.name).values())
    page = made.client.list_pipeline_executions(pipelineName=made.name, maxResults=1)
    assert page["pipelineExecutionSummaries"][0]["pipelineExecutionId"] == second
    rest = made.client.list_pipeline_executions(pipelineName=made.name, nextToken=page["nextToken"])
    assert [one["pipelineExecutionId"] for one in rest["pipelineExecutionSummaries"]] == [first]
    commit = account.codecommit.get_branch(repositoryName=repository, branchName="main")["branch"]["commitId"]
    told = made.get(second)
    assert (told["status"], told["pipelineVersion"], told["executionType"]) == ("Succeeded", 1, "STANDARD")
    assert told["artifactRevisions"][0]["revisionId"] == commit
    assert told["trigger"]["triggerType"] == "StartPipelineExecution"
    state = server.aws("codepipeline", "get-pipeline-state", "--name", made.name)
    assert [one["stageName"] for one in state["stageStates"]] == ["Source", "Publish"]
    source = state["stageStates"][0]["actionStates"][0]
    assert source["currentRevision"]["revisionId"] == commit
    assert all(one["latestExecution"]["pipelineExecutionId"] == second for one in state["stageStates"])
    published = made.action(second, "Publish")
    assert published["input"]["actionTypeId"]["provider"] == "S3"
    assert published["input"]["configuration"]["BucketName"] == site
    assert published["startTime"] <= published["lastUpdateTime"]
    kinds = [one["id"]["provider"] for one in made.client.list_action_types(actionOwnerFilter="AWS")["actionTypes"]]
    assert {"CodeCommit", "CodeBuild", "CodeDeploy", "Manual", "S3"} <= set(kinds)
    events = [one["detail"] for one in server.events("aws.codepipeline") if one["detail"].get("execution-id") == second]
    assert [one["state"] for one in events if "stage" not in one] == ["STARTED", "SUCCEEDED"]
    assert [one["state"] for one in events if one.get("action") == "Publish"] == ["STARTED", "SUCCEEDED"]


def declared(account, *stages, **more):
    return {"name": f"{account.name}-bad", "roleArn": f"arn:aws:iam::000000000000:role/{account.name}",
            "pipelineType": "V2", "artifactStore": {"type": "S3", "location": f"{account.name}-store"},
            "stages": [{"name": name, "actions": actions} for name, actions in stages]} | more


SOURCE = ("Source", [source_action("repo")])
ASK = ("Ask", [approval_action()])
BAD = {
    "one stage": ([SOURCE], "InvalidStructureException", "minimum of 2 stages"),
    "no source first": ([ASK, SOURCE], "InvalidStructureException", "should start with a stage that only contains source"),
    "a stage twice": ([SOURCE, ASK, ASK], "InvalidStageDeclarationException", "unique"),
    "an action twice": ([SOURCE, ("Ask", [approval_action(), approval_action()])],
                        "InvalidActionDeclarationException", "unique"),
    "an artifact of nobody": ([SOURCE, ("Put", [publish_action("b", inputs=["other"])])],
                              "InvalidActionDeclarationException", "Input Artifact Bundle other in action Publish"),
    "an artifact made twice": ([("Source", [source_action("a"), source_action("b", name="B")]), ASK],
                               "InvalidActionDeclarationException", "has been used more than once"),
    "a required key": ([SOURCE, ("Put", [action("Put", "Deploy", "S3", {"Extract": "true"}, ["source"])])],
                       "InvalidActionDeclarationException", "missing required configuration 'BucketName'"),
    "an unknown key": ([SOURCE, ("Put", [publish_action("b", Nope="1")])],
                       "InvalidActionDeclarationException", "Nope"),
    "an unknown provider": ([SOURCE, ("Put", [action("Put", "Deploy", "Nobody")])],
                            "InvalidActionDeclarationException", "Nobody"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_structure_gets_awss_code_and_changes_nothing(account, case):
    stages, code, text = BAD[case]
    message = refused(lambda: account.codepipeline.create_pipeline(pipeline=declared(account, *stages)), code)
    assert text in message
    refused(lambda: account.codepipeline.get_pipeline(name=f"{account.name}-bad"), "PipelineNotFoundException")


def test_the_aws_cli_says_what_is_wrong_with_a_structure(account, tmp_path):
    document = tmp_path / "pipeline.json"
    document.write_text(json.dumps({"pipeline": declared(account, SOURCE)}))
    done = account.server.aws("codepipeline", "create-pipeline", "--cli-input-json", f"file://{document}", check=False)
    assert done.returncode != 0
    assert ("An error occurred (InvalidStructureException) when calling the CreatePipeline operation: Pipeline has "
            "only 1 stage(s). There should be a minimum of 2 stages in a pipeline") in done.stderr


def test_an_update_that_is_wrong_leaves_the_pipeline_as_it_was(account, pipe):
    made, _ = simple(account, pipe)
    before = made.client.get_pipeline(name=made.name)["pipeline"]
    refused(lambda: made.client.update_pipeline(pipeline=before | {"stages": before["stages"][:1]}),
            "InvalidStructureException")
    after = made.client.get_pipeline(name=made.name)["pipeline"]
    assert after == before and after["version"] == 1
    changed = made.client.update_pipeline(pipeline=before | {"executionMode": "QUEUED"})["pipeline"]
    assert changed["version"] == 2
    refused(lambda: made.client.create_pipeline(pipeline=before), "PipelineNameInUseException")
    made.client.delete_pipeline(name=made.name)
    refused(lambda: made.start(), "PipelineNotFoundException")


def test_options_that_are_not_done_are_refused_by_name(account):
    lambda_action = action("Call", "Invoke", "Lambda", {"FunctionName": "f"})
    declaration = declared(account, SOURCE, ("Call", [lambda_action]))
    with pytest.raises(ClientError) as caught:
        account.codepipeline.create_pipeline(pipeline=declaration)
    assert "Lambda" in str(caught.value)


def test_a_source_that_is_not_there_is_named(account, pipe):
    inbox = account.bucket("inbox")
    account.s3.put_bucket_versioning(Bucket=inbox, VersioningConfiguration={"Status": "Enabled"})
    source = action("Source", "Source", "S3", {"S3Bucket": inbox, "S3ObjectKey": "app.zip"}, outputs=["source"])
    made = pipe([("Source", [source]), ("Approve", [approval_action()])])
    made.wait(made.newest(), "Failed")
    assert f"s3://{inbox}/app.zip" in made.latest("Source", "Source")["errorDetails"]["message"]
    repository, _ = account.repository()
    empty = pipe([("Source", [source_action(repository)]), ("Approve", [approval_action()])], suffix="empty")
    empty.wait(empty.newest(), "Failed")
    message = empty.latest("Source", "Source")["errorDetails"]["message"]
    assert "main" in message, message


def test_what_a_pipeline_needs_and_no_longer_finds_is_named(account, pipe):
    project = account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    role = account.role("codepipeline")
    made, repository = simple(account, pipe, ("Build", [build_action(project, outputs=())]), role=role,
                              files={"buildspec.yml": "version: 0.2\nphases: {build: {commands: ['true']}}\n"})
    made.wait(made.newest())

    def fails_with(stage, name):
        made.wait(made.start(), "Failed")
        return made.latest(stage, name)["errorDetails"]["message"]
    account.codebuild.delete_project(name=project)
    assert f"project/{project}" in fails_with("Build", "Build")
    account.codecommit.delete_repository(repositoryName=repository)
    assert f"{repository} does not exist" in fails_with("Source", "Source")
    name = role.split("/")[-1]
    account.iam.delete_role_policy(RoleName=name, PolicyName="p")
    account.iam.delete_role(RoleName=name)
    assert role in fails_with("Source", "Source")
    refused(lambda: pipe([SOURCE, ASK], role=role, suffix="other"), "InvalidStructureException")


def test_a_deleted_pipeline_is_gone_and_its_name_free(account, pipe):
    made, repository = simple(account, pipe)
    made.waiting()
    made.client.delete_pipeline(name=made.name)
    made.client.delete_pipeline(name=made.name)  # as at AWS, once more is no error
    refused(made.stages, "PipelineNotFoundException")
    again = account.pipeline([("Source", [source_action(repository)]), ("Approve", [approval_action()])],
                             bucket=account.bucket("again"))
    assert again == made.name
    made.waiting()
    assert len(made.executions()) == 1, "nothing of the one before"


def test_the_queue_of_a_pipeline_has_awss_limit(account, pipe):
    made, _ = simple(account, pipe, mode="QUEUED")
    made.waiting()
    for _ in range(49):
        made.start()
    refused(made.start, "ConcurrentPipelineExecutionsLimitExceededException")
    assert len(made.executions()) == 50
