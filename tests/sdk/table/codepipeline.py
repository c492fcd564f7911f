"""CodePipeline: a pipeline with a job worker's action and an approval; its executions, retried, stopped, rolled back."""

from .core import FALSE, NOTHING, NOW, SOME, TEXT, TRUE, Has, Table, length, matching
from .roles import delete_role, make_role

step = Table("codepipeline")
NAME, PIPE, PROVIDER = "${n}-pipe", {"pipelineName": "${n}-pipe"}, "P-${n}"
ARN = "arn:aws:codepipeline:us-east-1:000000000000:${n}-pipe"
UUID = matching("[0-9a-f-]{36}")
WORKER = {"category": "Test", "owner": "Custom", "provider": PROVIDER, "version": "1"}


def aws(category, provider):
    return {"category": category, "owner": "AWS", "provider": provider, "version": "1"}


STAGES = [
    {"name": "Source", "actions": [{
        "name": "Source", "actionTypeId": aws("Source", "CodeCommit"), "outputArtifacts": [{"name": "source"}],
        "configuration": {"RepositoryName": "${n}-source", "BranchName": "main", "PollForSourceChanges": "false"}}]},
    {"name": "Test", "actions": [{
        "name": "Check", "actionTypeId": WORKER, "configuration": {"Job": "web"}, "inputArtifacts": [{"name": "source"}]}]},
    {"name": "Ask", "actions": [{
        "name": "Ask", "actionTypeId": aws("Approval", "Manual"), "configuration": {"CustomData": "look at it"}}]},
]
PIPELINE = {"name": NAME, "roleArn": "${role}", "artifactStore": {"type": "S3", "location": "${n}-artifacts"},
            "stages": STAGES, "pipelineType": "V2"}


def take_job(**ends):
    """Steps of a job worker that takes the next job and ends it."""
    step("PollForJobs", {"actionTypeId": WORKER, "maxBatchSize": 1, "queryParam": {"Job": "web"}},
         until={"jobs": SOME}, save={"job": "jobs[0].id", "nonce": "jobs[0].nonce"}, want={
             "jobs[0].accountId": "000000000000", "jobs[0].data.actionConfiguration.configuration": {"Job": "web"},
             "jobs[0].data.inputArtifacts[0].name": "source", "jobs[0].data.artifactCredentials.sessionToken": TEXT,
             "jobs[0].data.pipelineContext.pipelineName": NAME})
    step("AcknowledgeJob", {"jobId": "${job}", "nonce": "${nonce}"}, want={"status": "InProgress"})
    for operation, members in ends.items():
        step(operation, {"jobId": "${job}"} | members)


def approve(status):
    step("GetPipelineState", {"name": NAME}, until={"stageStates[2].actionStates[0].latestExecution.token": TEXT},
         save={"token": "stageStates[2].actionStates[0].latestExecution.token"})
    step("PutApprovalResult", PIPE | {"stageName": "Ask", "actionName": "Ask", "token": "${token}",
                                      "result": {"status": status, "summary": "looked at it"}}, want={"approvedAt": NOW})


def execution(name, status, **want):
    step("GetPipelineExecution", PIPE | {"pipelineExecutionId": f"${{{name}}}"}, until={"pipelineExecution.status": status},
         want={"pipelineExecution.pipelineName": NAME} | want)


make_role(step, "codepipeline", "codecommit:*", "s3:*")
step("CreateBucket", {"Bucket": "${n}-artifacts"}, by="s3")
step("CreateRepository", {"repositoryName": "${n}-source"}, by="codecommit", setup=True)
step("PutFile", {"repositoryName": "${n}-source", "branchName": "main", "filePath": "readme", "fileContent": b"hello",
                 "commitMessage": "the first", "name": "Dev", "email": "dev@example.com"},
     by="codecommit", setup=True, save={"commit": "commitId"})
DETAILS = {"minimumCount": 0, "maximumCount": 1}
step("CreateCustomActionType", {
    "category": "Test", "provider": PROVIDER, "version": "1", "inputArtifactDetails": DETAILS, "outputArtifactDetails": DETAILS,
    "configurationProperties": [{"name": "Job", "required": True, "key": True, "secret": False, "queryable": True}]}, want={
    "actionType.id": WORKER, "actionType.inputArtifactDetails": DETAILS,
    "actionType.actionConfigurationProperties[0].name": "Job"})
step("ListActionTypes", {"actionOwnerFilter": "Custom"}, want={"actionTypes[].id": Has(WORKER)})
step("CreatePipeline", {"pipeline": PIPELINE, "tags": [{"key": "team", "value": "a"}]}, want={
    "pipeline.name": NAME, "pipeline.version": 1, "pipeline.stages[1].actions[0].actionTypeId": WORKER,
    "pipeline.stages[0].actions[0].runOrder": 1, "pipeline.artifactStore.location": "${n}-artifacts",
    "tags": [{"key": "team", "value": "a"}]})
step("CreatePipeline", {"pipeline": PIPELINE}, refused="PipelineNameInUseException")
step("GetPipeline", {"name": NAME}, want={
    "pipeline.roleArn": "${role}", "metadata.pipelineArn": ARN, "metadata.created": NOW, "metadata.updated": NOW})
step("ListPipelines", want={"pipelines[?name=='${n}-pipe'] | [0].version": 1, "pipelines[0].created": NOW, "pipelines[0].updated": NOW})

# ---- the first execution: a job that fails, then its retry, then the approval --------------------------
step("ListPipelineExecutions", PIPE, until={"pipelineExecutionSummaries": SOME},
     save={"first": "pipelineExecutionSummaries[0].pipelineExecutionId"}, want={
         "pipelineExecutionSummaries[0].startTime": NOW, "pipelineExecutionSummaries[0].lastUpdateTime": NOW,
         "pipelineExecutionSummaries[0].trigger.triggerType": "CreatePipeline"})
take_job()
step("GetJobDetails", {"jobId": "${job}"}, want={
    "jobDetails.id": "${job}", "jobDetails.data.actionTypeId": WORKER, "jobDetails.data.pipelineContext.stage.name": "Test"})
step("PutJobFailureResult", {"jobId": "${job}", "failureDetails": {"type": "JobFailed", "message": "one failed"}})
execution("first", "Failed")
step("RetryStageExecution", PIPE | {"stageName": "Test", "pipelineExecutionId": "${first}", "retryMode": "FAILED_ACTIONS"},
     want={"pipelineExecutionId": "${first}"})
take_job(PutJobSuccessResult={"executionDetails": {"summary": "all passed", "externalExecutionId": "7", "percentComplete": 100}})
approve("Approved")
execution("first", "Succeeded", **{
    "pipelineExecution.artifactRevisions[0].revisionId": "${commit}", "pipelineExecution.artifactRevisions[0].name": "source",
    "pipelineExecution.artifactRevisions[0].created": NOW, "pipelineExecution.pipelineVersion": 1})
step("ListActionExecutions", PIPE | {"filter": {"pipelineExecutionId": "${first}"}}, want={
    "actionExecutionDetails[].actionName | sort(@)": ["Ask", "Check", "Check", "Source"],
    "actionExecutionDetails[0].startTime": NOW, "actionExecutionDetails[0].lastUpdateTime": NOW,
    "actionExecutionDetails[0].actionExecutionId": UUID})
step("GetPipelineState", {"name": NAME}, want={
    "pipelineName": NAME, "pipelineVersion": 1, "created": NOW, "updated": NOW, "stageStates[].stageName": ["Source", "Test", "Ask"],
    "stageStates[1].latestExecution.status": "Succeeded", "stageStates[1].actionStates[0].latestExecution.summary": "all passed",
    "stageStates[1].actionStates[0].latestExecution.externalExecutionId": "7",
    "stageStates[0].actionStates[0].latestExecution.lastStatusChange": NOW,
    "stageStates[0].actionStates[0].currentRevision.revisionId": "${commit}", "stageStates[1].inboundTransitionState.enabled": TRUE})

# ---- a transition that is closed; an execution that is stopped ----------------------------------------
GATE = PIPE | {"stageName": "Ask", "transitionType": "Inbound"}
step("DisableStageTransition", GATE | {"reason": "not now"})
step("GetPipelineState", {"name": NAME}, want={
    "stageStates[2].inboundTransitionState.enabled": FALSE, "stageStates[2].inboundTransitionState.disabledReason": "not now",
    "stageStates[2].inboundTransitionState.lastChangedAt": NOW, "stageStates[2].inboundTransitionState.lastChangedBy": TEXT})
step("EnableStageTransition", GATE)
step("StartPipelineExecution", {"name": NAME, "clientRequestToken": "${n}-token"}, save={"second": "pipelineExecutionId"}, want={
    "pipelineExecutionId": UUID})
step("StartPipelineExecution", {"name": NAME, "clientRequestToken": "${n}-token"}, want={"pipelineExecutionId": "${second}"})
take_job(PutJobSuccessResult={})
step("GetPipelineState", {"name": NAME}, until={"stageStates[2].actionStates[0].latestExecution.token": TEXT})
step("StopPipelineExecution", PIPE | {"pipelineExecutionId": "${second}", "abandon": True, "reason": "enough"}, want={
    "pipelineExecutionId": "${second}"})
execution("second", "Stopped")
step("ListPipelineExecutions", PIPE | {"maxResults": 10}, want={
    "pipelineExecutionSummaries[].pipelineExecutionId": ["${second}", "${first}"],
    "pipelineExecutionSummaries[0].stopTrigger.reason": "enough", "pipelineExecutionSummaries[0].sourceRevisions[0].revisionId": "${commit}"})

# ---- back to the first --------------------------------------------------------------------------------
step("RollbackStage", PIPE | {"stageName": "Test", "targetPipelineExecutionId": "${first}"}, save={"back": "pipelineExecutionId"},
     want={"pipelineExecutionId": UUID})
step("StopPipelineExecution", PIPE | {"pipelineExecutionId": "${back}", "abandon": True})
execution("back", "Stopped", **{"pipelineExecution.executionType": "ROLLBACK"})

# ---- a new structure ----------------------------------------------------------------------------------
changed = PIPELINE | {"stages": [*STAGES[:2], STAGES[2] | {"actions": [STAGES[2]["actions"][0] | {"configuration": {"CustomData": "again"}}]}]}
step("UpdatePipeline", {"pipeline": changed}, want={
    "pipeline.version": 2, "pipeline.stages[2].actions[0].configuration": {"CustomData": "again"}})
step("GetPipeline", {"name": NAME, "version": 1}, want={"pipeline.stages[2].actions[0].configuration.CustomData": "look at it"})

step("TagResource", {"resourceArn": ARN, "tags": [{"key": "other", "value": "b c"}]})
step("ListTagsForResource", {"resourceArn": ARN}, want={"tags": length(2), "tags[?key=='other'] | [0].value": "b c"})
step("UntagResource", {"resourceArn": ARN, "tagKeys": ["other"]})
step("ListTagsForResource", {"resourceArn": ARN}, want={"tags": [{"key": "team", "value": "a"}]})
step("DeletePipeline", {"name": NAME})
step("GetPipeline", {"name": NAME}, refused="PipelineNotFoundException")
step("DeleteCustomActionType", {"category": "Test", "provider": PROVIDER, "version": "1"})
step("ListActionTypes", {"actionOwnerFilter": "Custom"}, want={"actionTypes[?id.provider=='P-${n}']": NOTHING})
step("DeleteRepository", {"repositoryName": "${n}-source"}, by="codecommit", setup=True)
delete_role(step, "codepipeline")
