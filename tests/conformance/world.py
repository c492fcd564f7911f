"""A server on which every kind of thing exists: what a test needs that calls every operation."""

import json

import raw
from accounts import Account, action, allow, trust
from botocore.exceptions import ClientError
from minimal import MANIFEST, parameters
from server import Server, wait_for

# The agents' service is no service of boto3's.
OWN_TEST = {"codedeploycommand"}
OPERATIONS = [
    (service, operation) for service, operations in MANIFEST.items() if service not in OWN_TEST
    for operation in operations
]

# Optional members without which an operation names nothing.
TELLING = ["UserName", "repositoryName", "branchName", "id", "logGroupName", "applicationName",
           "newApplicationName", "deploymentGroupName", "projectName"]


class World:
    """A server on which every kind of thing exists, and a user who may do nothing."""

    def __init__(self, folder):
        self.server = Server(folder).start()
        try:
            self.make()
        except BaseException:
            self.server.stop()
            raise

    def make(self):
        self.account = Account(self.server, "w")
        self.known = {"sts": {}, "s3": {}}
        self.make_identities()
        self.make_source()
        self.make_build()
        self.make_deployment()
        self.make_pipeline()
        self.make_logs()
        self.nobody = self.account.user()
        self.clients = {}

    def make_identities(self):
        iam, known = self.account.iam, {}
        iam.create_user(UserName="ann")
        iam.create_group(GroupName="team")
        iam.add_user_to_group(GroupName="team", UserName="ann")
        self.role = iam.create_role(
            RoleName="worker", AssumeRolePolicyDocument=json.dumps({
                "Version": "2012-10-17", "Statement": [
                    *json.loads(trust("codebuild"))["Statement"],
                    {"Effect": "Allow", "Principal": {"Service": ["codepipeline.amazonaws.com",
                                                                  "codedeploy.amazonaws.com"]},
                     "Action": "sts:AssumeRole"}]}))["Role"]["Arn"]
        document = allow("*")
        for put, name in [(iam.put_user_policy, {"UserName": "ann"}), (iam.put_group_policy, {"GroupName": "team"}),
                          (iam.put_role_policy, {"RoleName": "worker"})]:
            put(**name, PolicyName="inline", PolicyDocument=document)
        policy = iam.create_policy(PolicyName="managed", PolicyDocument=document)["Policy"]["Arn"]
        iam.create_policy_version(PolicyArn=policy, PolicyDocument=document)
        for attach, name in [(iam.attach_user_policy, {"UserName": "ann"}),
                             (iam.attach_group_policy, {"GroupName": "team"}),
                             (iam.attach_role_policy, {"RoleName": "worker"})]:
            attach(**name, PolicyArn=policy)
        key = iam.create_access_key(UserName="ann")["AccessKey"]["AccessKeyId"]
        credential = iam.create_service_specific_credential(
            UserName="ann", ServiceName="codecommit.amazonaws.com")["ServiceSpecificCredential"]
        known = {"UserName": "ann", "GroupName": "team", "RoleName": "worker", "PolicyName": "inline",
                 "PolicyArn": policy, "VersionId": "v2", "AccessKeyId": key, "PolicyDocument": document,
                 "AssumeRolePolicyDocument": trust("codebuild"), "PermissionsBoundary": policy,
                 "ServiceSpecificCredentialId": credential["ServiceSpecificCredentialId"],
                 "ServiceName": "codecommit.amazonaws.com"}
        self.known["iam"] = known
        self.known["sts"] = {"RoleArn": self.role, "RoleSessionName": "session", "AccessKeyId": key}

    def make_source(self):
        made = self.account.codecommit.create_repository(repositoryName="repo")["repositoryMetadata"]
        put = self.account.codecommit.put_file(repositoryName="repo", branchName="main", filePath="readme",
                                               fileContent=b"hello")
        commit = put["commitId"]
        self.account.codecommit.create_branch(repositoryName="repo", branchName="next", commitId=commit)
        self.known["codecommit"] = {
            "repositoryName": "repo", "repositoryNames": "repo", "oldName": "repo", "newName": "other",
            "branchName": "next", "defaultBranchName": "next", "commitId": commit, "commitIds": commit,
            "parentCommitId": commit, "afterCommitSpecifier": commit, "filePath": "readme", "folderPath": "/",
            "blobId": put["blobId"], "resourceArn": made["Arn"], "tagKeys": "absent"}

    def make_build(self):
        builds = self.account.codebuild
        builds.create_project(name="project", serviceRole=self.role, artifacts={"type": "NO_ARTIFACTS"},
                              source={"type": "NO_SOURCE", "buildspec": "version: 0.2\nphases: {build: {commands: ['true']}}"},
                              environment={"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0",
                                           "computeType": "BUILD_GENERAL1_SMALL"})
        build = builds.start_build(projectName="project")["build"]["id"]
        wait_for(lambda: builds.batch_get_builds(ids=[build])["builds"][0]["buildComplete"], "the build is over")
        group = builds.create_report_group(name="reports", type="TEST",
                                           exportConfig={"exportConfigType": "NO_EXPORT"})["reportGroup"]["arn"]
        report = group.replace("report-group/", "report/") + ":00000000-0000-4000-8000-000000000000"
        self.known["codebuild"] = {
            "name": "project", "names": "project", "projectName": "project", "id": build, "ids": build,
            "serviceRole": self.role, "reportGroupArns": group, "reportGroupArn": group, "arn": group,
            "reportArns": report, "reportArn": report}

    def make_deployment(self):
        deploy = self.account.codedeploy
        deploy.create_application(applicationName="app", computePlatform="Server")
        deploy.create_deployment_group(applicationName="app", deploymentGroupName="group", serviceRoleArn=self.role)
        deploy.create_deployment_config(deploymentConfigName="config",
                                        minimumHealthyHosts={"type": "HOST_COUNT", "value": 1})
        deploy.register_on_premises_instance(
            instanceName="host", iamUserArn="arn:aws:iam::000000000000:user/ann")
        self.account.s3.create_bucket(Bucket="revisions")
        self.account.s3.put_object(Bucket="revisions", Key="one.zip", Body=b"no archive")
        revision = {"revisionType": "S3", "s3Location": {"bucket": "revisions", "key": "one.zip", "bundleType": "zip"}}
        deploy.register_application_revision(applicationName="app", revision=revision)
        made = deploy.create_deployment(applicationName="app", deploymentGroupName="group", revision=revision)
        made = made["deploymentId"]
        wait_for(lambda: deploy.get_deployment(deploymentId=made)["deploymentInfo"]["status"] in (
            "Failed", "Succeeded"), "the deployment to no host is over")
        self.known["codedeploy"] = {
            "applicationName": "app", "applicationNames": "app", "newApplicationName": "renamed",
            "deploymentGroupName": "group", "deploymentGroupNames": "group", "currentDeploymentGroupName": "group",
            "deploymentConfigName": "config", "serviceRoleArn": self.role, "deploymentId": made,
            "deploymentIds": made, "instanceName": "host", "instanceNames": "host", "targetId": "host",
            "targetIds": "host", "instanceId": "host", "instanceIds": "host", "bucket": "revisions", "key": "one.zip",
            "ResourceArn": "arn:aws:codedeploy:us-east-1:000000000000:application:app", "TagKeys": "absent"}

    def make_pipeline(self):
        pipelines = self.account.codepipeline
        source = action("Source", "Source", "CodeCommit", {
            "RepositoryName": "repo", "BranchName": "main", "PollForSourceChanges": "false"}, outputs=["source"])
        self.account.s3.create_bucket(Bucket="store")
        pipelines.create_pipeline(pipeline={
            "name": "pipe", "roleArn": self.role, "pipelineType": "V2",
            "artifactStore": {"type": "S3", "location": "store"},
            "stages": [{"name": "Source", "actions": [source]},
                       {"name": "Ask", "actions": [action("Ask", "Approval", "Manual")]}]})
        waiting = wait_for(lambda: next((
            found["latestExecution"] for stage in pipelines.get_pipeline_state(name="pipe")["stageStates"]
            for found in stage["actionStates"] if "token" in found.get("latestExecution", {})), None),
            "the pipeline waits for its approval")
        execution = pipelines.list_pipeline_executions(pipelineName="pipe")["pipelineExecutionSummaries"][0]
        pipelines.create_custom_action_type(
            category="Build", provider="Mine", version="1", inputArtifactDetails={"minimumCount": 0, "maximumCount": 1},
            outputArtifactDetails={"minimumCount": 0, "maximumCount": 1})
        self.known["codepipeline"] = {
            "name": "pipe", "pipelineName": "pipe", "pipelineExecutionId": execution["pipelineExecutionId"],
            "targetPipelineExecutionId": execution["pipelineExecutionId"], "stageName": "Ask", "actionName": "Ask",
            "token": waiting["token"], "category": "Build", "owner": "Custom", "provider": "Mine", "version": "1",
            "roleArn": self.role, "resourceArn": "arn:aws:codepipeline:us-east-1:000000000000:pipe",
            "tagKeys": "absent"}

    def make_logs(self):
        logs = self.account.logs
        logs.create_log_group(logGroupName="group")
        logs.create_log_stream(logGroupName="group", logStreamName="stream")
        logs.put_log_events(logGroupName="group", logStreamName="stream", logEvents=[
            {"timestamp": int(raw.hours(0).timestamp() * 1000), "message": "one"}])
        self.known["logs"] = {"logGroupName": "group", "logStreamName": "stream", "tagKeys": "absent",
                              "resourceArn": "arn:aws:logs:us-east-1:000000000000:log-group:group"}

    def client(self, service, keys=None):
        found = self.clients.get((service, keys))
        if found is None:
            found = self.clients[service, keys] = self.server.client(service, keys=keys)
        return found

    def call(self, service, operation, known, keys=None):
        """Answers (error code, response)."""
        client = self.client(service, keys)
        model = client.meta.service_model.operation_model(operation)
        try:
            return None, client._make_api_call(operation, parameters(model, known, TELLING))
        except ClientError as error:
            return error.response["Error"]["Code"], error.response

    def snapshot(self):
        """What every reading operation tells root."""
        seen = {}
        for service, operation in OPERATIONS:
            reading = operation.startswith(("List", "Get", "BatchGet", "Describe", "Filter"))
            if reading and operation not in ("GetSessionToken", "GetAccessKeyLastUsed"):
                code, answer = self.call(service, operation, self.known[service])
                answer.pop("ResponseMetadata", None)
                seen[service, operation] = (code, json.dumps(answer, default=str, sort_keys=True))
        buckets = self.account.s3.list_buckets()["Buckets"]
        for bucket in buckets:
            found = self.account.s3.list_object_versions(Bucket=bucket["Name"])
            found.pop("ResponseMetadata")
            seen["s3", bucket["Name"]] = (None, json.dumps(found, default=str, sort_keys=True))
        return seen
