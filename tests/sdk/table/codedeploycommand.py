"""The agents' protocol: one deployment from its first host command to its end, as an agent sees it.

No SDK and no CLI ships this service. botocore drives it with the model from `models/`; AWS's agent and
Towpath's speak it in the stories about hosts.
"""

import json

from .core import NOTHING, SOME, TEXT, Table
from .roles import delete_role, make_role

step = Table("codedeploycommand")
GROUP = {"applicationName": "${n}-agent", "deploymentGroupName": "group"}
HOST, ME = "${n}-agent", {"HostIdentifier": "${host}"}
REVISION = {"revisionType": "S3", "s3Location": {"bucket": "${n}-bundles", "key": "one.zip", "bundleType": "zip"}}
NO_SCRIPT = {"Format": "JSON", "Payload": json.dumps({"IsCommandNoop": True})}
A_SCRIPT = {"Format": "JSON", "Payload": json.dumps({"IsCommandNoop": False})}
DONE = {"Format": "JSON", "Payload": json.dumps({"error_code": 0, "script_name": "", "message": "Succeeded", "log": ""})}

make_role(step, "codedeploy", "s3:Get*")
step("CreateUser", {"UserName": HOST}, by="iam", save={"host": "User.Arn"})
step("CreateAccessKey", {"UserName": HOST}, by="iam", setup=True, save={"user_key": "AccessKey.AccessKeyId", "user_secret": "AccessKey.SecretAccessKey"})
step("RegisterOnPremisesInstance", {"instanceName": HOST, "iamUserArn": "${host}"}, by="codedeploy")
step("AddTagsToOnPremisesInstances", {"instanceNames": [HOST], "tags": [{"Key": "agent", "Value": "${n}"}]}, by="codedeploy")
step("CreateBucket", {"Bucket": "${n}-bundles"}, by="s3")
step("PutObject", {"Bucket": "${n}-bundles", "Key": "one.zip", "Body": "${bundle}"}, by="s3")
step("CreateApplication", {"applicationName": "${n}-agent"}, by="codedeploy")
step("CreateDeploymentGroup", GROUP | {"serviceRoleArn": "${role}", "onPremisesInstanceTagFilters": [
    {"Key": "agent", "Value": "${n}", "Type": "KEY_AND_VALUE"}]}, by="codedeploy")
step("CreateDeployment", GROUP | {"revision": REVISION}, by="codedeploy", save={"deployment": "deploymentId"})

COMMAND = {"HostCommandIdentifier": "${command}"}
for event in ("ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"):
    step("PollHostCommand", ME, as_user=True, until={"HostCommand": SOME},
         save={"command": "HostCommand.HostCommandIdentifier", "execution": "HostCommand.DeploymentExecutionId"}, want={
             "HostCommand.CommandName": event, "HostCommand.HostIdentifier": "${host}", "HostCommand.HostCommandIdentifier": TEXT})
    if event not in ("DownloadBundle", "Install"):
        step("PutHostCommandAcknowledgement", COMMAND | {"Diagnostics": NO_SCRIPT}, as_user=True, want={"CommandStatus": "Succeeded"})
        continue
    step("GetDeploymentSpecification", ME | {"DeploymentExecutionId": "${execution}"}, as_user=True, want={
        "DeploymentSystem": "CodeDeploy", "DeploymentSpecification.GenericEnvelope.Format": TEXT,
        "DeploymentSpecification.GenericEnvelope.Payload": TEXT})
    step("PutHostCommandAcknowledgement", COMMAND | {"Diagnostics": A_SCRIPT}, as_user=True, want={"CommandStatus": "InProgress"})
    step("PostHostCommandUpdate", COMMAND, as_user=True, want={"CommandStatus": "InProgress"})
    step("PutHostCommandComplete", COMMAND | {"CommandStatus": "Succeeded", "Diagnostics": DONE}, as_user=True)
step("GetDeployment", {"deploymentId": "${deployment}"}, by="codedeploy", until={"deploymentInfo.status": "Succeeded"}, want={
    "deploymentInfo.deploymentOverview.Succeeded": 1, "deploymentInfo.errorInformation": NOTHING})

step("DeregisterOnPremisesInstance", {"instanceName": HOST}, by="codedeploy")
step("DeleteApplication", {"applicationName": "${n}-agent"}, by="codedeploy")
step("DeleteAccessKey", {"UserName": HOST, "AccessKeyId": "${user_key}"}, by="iam")
step("DeleteUser", {"UserName": HOST}, by="iam")
step("DeleteObject", {"Bucket": "${n}-bundles", "Key": "one.zip"}, by="s3")
step("DeleteBucket", {"Bucket": "${n}-bundles"}, by="s3")
delete_role(step, "codedeploy")
