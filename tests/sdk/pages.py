"""Resources enough for more than one page of every listing, and what each listing must then tell."""

import dataclasses
import datetime
import json
import subprocess

import jmespath

from accounts import Account, action, allow, trust, zipped
from server import wait_for

BY_HAND = {"ListServiceSpecificCredentials"}  # it pages, and no SDK has a paginator of it
MANY = 103  # services that take no page size page at 100


@dataclasses.dataclass
class Listing:
    """`items` is a JMESPath into each page; `names` what all pages together tell, once each."""

    service: str
    operation: str
    parameters: dict
    items: str
    names: set
    size: int | None = 1
    within: bool = False

    def __str__(self):
        return f"{self.service}-{self.operation}"

    def wrong_with(self, pages):
        told = [one for page in pages for one in jmespath.search(self.items, page) or []]
        told = [json.dumps(one, sort_keys=True) if isinstance(one, dict) else one for one in told]
        if len(pages) < 2:
            return f"{len(pages)} page of {len(told)} items"
        if len(told) != len(set(told)):
            return f"told twice: {sorted(one for one in told if told.count(one) > 1)[:5]}"
        missing, more = self.names - set(told), set(told) - self.names
        if missing or (more and not self.within):
            return f"missing: {sorted(missing)[:5]}; unexpected: {sorted(more)[:5]}"
        return None


class World:
    def __init__(self, server):
        self.server = server
        self.account = Account(server, "page")
        self.name = self.account.name
        self.listings = []
        for make in (self.identities, self.source, self.objects, self.logs, self.builds, self.deployments, self.pipelines):
            make()

    def add(self, service, operation, parameters, items, names, size=1, within=False):
        self.listings.append(Listing(service, operation, parameters, items, set(names), size, within))

    def identities(self):
        iam, n = self.account.iam, self.name
        user, group, role = {"UserName": n}, {"GroupName": n}, {"RoleName": n}
        tags = [{"Key": f"k{i}", "Value": "v"} for i in range(3)]
        iam.create_user(**user, Path=f"/{n}/", Tags=tags)
        iam.create_group(**group, Path=f"/{n}/")
        iam.create_role(**role, Path=f"/{n}/", AssumeRolePolicyDocument=trust("codebuild"), Tags=tags)
        policies = [iam.create_policy(PolicyName=f"{n}-{i}", Path=f"/{n}/", PolicyDocument=allow("s3:*"), Tags=tags)["Policy"]["Arn"]
                    for i in range(3)]
        iam.create_policy_version(PolicyArn=policies[0], PolicyDocument=allow("iam:*"))
        keys = [iam.create_access_key(**user)["AccessKey"]["AccessKeyId"] for _ in range(2)]
        for i in range(2):
            iam.create_user(UserName=f"{n}-{i}", Path=f"/{n}/")
            iam.create_role(RoleName=f"{n}-{i}", Path=f"/{n}/", AssumeRolePolicyDocument=trust("codebuild"))
            iam.create_group(GroupName=f"{n}-{i}", Path=f"/{n}/")
            iam.add_user_to_group(**user, GroupName=f"{n}-{i}")
            iam.add_user_to_group(UserName=f"{n}-{i}", **group)
        iam.add_user_to_group(**user, **group)
        ours = [n, f"{n}-0", f"{n}-1"]
        for kind, who in (("user", user), ("group", group), ("role", role)):
            for policy in policies:
                getattr(iam, f"attach_{kind}_policy")(**who, PolicyArn=policy)
            for name in ("a", "b", "c"):
                getattr(iam, f"put_{kind}_policy")(**who, PolicyName=name, PolicyDocument=allow("s3:*"))
            title = kind.title()
            self.add("iam", f"ListAttached{title}Policies", who, "AttachedPolicies[].PolicyArn", policies)
            self.add("iam", f"List{title}Policies", who, "PolicyNames", "abc")
            self.add("iam", f"List{title}s", {"PathPrefix": f"/{n}/"}, f"{title}s[].{title}Name", ours)
        self.add("iam", "GetGroup", group, "Users[].UserName", ours)
        self.add("iam", "ListGroupsForUser", user, "Groups[].GroupName", ours)
        credentials = [iam.create_service_specific_credential(**user, ServiceName="codecommit.amazonaws.com")
                       ["ServiceSpecificCredential"]["ServiceSpecificCredentialId"] for _ in range(2)]
        self.add("iam", "ListServiceSpecificCredentials", user,
                 "ServiceSpecificCredentials[].ServiceSpecificCredentialId", credentials)
        self.add("iam", "ListAccessKeys", user, "AccessKeyMetadata[].AccessKeyId", keys)
        self.add("iam", "ListPolicies", {"PathPrefix": f"/{n}/"}, "Policies[].Arn", policies)
        self.add("iam", "ListPolicyVersions", {"PolicyArn": policies[0]}, "Versions[].VersionId", ["v1", "v2"])
        self.add("iam", "ListEntitiesForPolicy", {"PolicyArn": policies[0]}, "[PolicyUsers[].UserName, PolicyGroups[].GroupName && ['group'], PolicyRoles[].RoleName && ['role']][]",
                 {n, "group", "role"})
        for operation, who in (("ListUserTags", user), ("ListRoleTags", role), ("ListPolicyTags", {"PolicyArn": policies[0]})):
            self.add("iam", operation, who, "Tags[].Key", ["k0", "k1", "k2"])

    def source(self):
        """ListRepositories has one page only: an account holds as many repositories as a page."""
        name, url = self.account.repository()
        client, repository = self.account.codecommit, {"repositoryName": name}
        files = [f"f{i}" for i in range(3)]
        first = client.create_commit(**repository, branchName="main", putFiles=[{"filePath": "readme", "fileContent": b"x"}])["commitId"]
        client.create_commit(**repository, branchName="main", parentCommitId=first,
                             putFiles=[{"filePath": path, "fileContent": b"x"} for path in files])
        self.add("codecommit", "GetDifferences", repository | {"beforeCommitSpecifier": first, "afterCommitSpecifier": "main"},
                 "differences[].afterBlob.path", files)
        branches = {f"b{i:04}" for i in range(1003)}
        clone = self.server.folder / f"{name}.git"
        user, password = self.account.git_user()
        url = url.replace("://", f"://{user}:{password.replace('/', '%2F').replace('+', '%2B').replace('=', '%3D')}@")
        subprocess.run(["git", "clone", "--quiet", "--bare", url, str(clone)], check=True, env=self.server.env())
        refs = "".join(f"create refs/heads/{branch} {first}\n" for branch in sorted(branches))
        subprocess.run(["git", "-C", str(clone), "update-ref", "--stdin"], input=refs, text=True, check=True)
        subprocess.run(["git", "-C", str(clone), "push", "--quiet", url, "refs/heads/b*:refs/heads/b*"], check=True,
                       env=self.server.env())
        self.add("codecommit", "ListBranches", repository, "branches", branches | {"main"}, size=None)

    def objects(self):
        bucket, s3 = self.account.bucket(), self.account.s3
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        keys = [f"k {i}+ä" for i in range(3)]
        versions = [s3.put_object(Bucket=bucket, Key=key, Body=b"x")["VersionId"] for key in keys]
        uploads = [s3.create_multipart_upload(Bucket=bucket, Key="k 0+ä")["UploadId"] for _ in range(3)]
        part = {"Bucket": bucket, "Key": "k 0+ä", "UploadId": uploads[0]}
        for number in (1, 2, 3):
            s3.upload_part(**part, PartNumber=number, Body=b"x")
        self.add("s3", "ListObjects", {"Bucket": bucket}, "Contents[].Key", keys)
        self.add("s3", "ListObjectsV2", {"Bucket": bucket}, "Contents[].Key", keys)
        self.add("s3", "ListObjectVersions", {"Bucket": bucket}, "Versions[].VersionId", versions)
        self.add("s3", "ListMultipartUploads", {"Bucket": bucket}, "Uploads[].UploadId", uploads)
        self.add("s3", "ListParts", part, "Parts[].PartNumber", [1, 2, 3])
        others = {self.account.bucket(f"other-{i}") for i in range(2)}
        self.add("s3", "ListBuckets", {"Prefix": f"{self.name}-other"}, "Buckets[].Name", others)

    def logs(self):
        logs, n = self.account.logs, self.name
        now = int(datetime.datetime.now().timestamp() * 1000)
        for i in range(3):
            logs.create_log_group(logGroupName=f"{n}/{i}")
            logs.create_log_stream(logGroupName=f"{n}/0", logStreamName=f"s{i}")
        logs.put_log_events(logGroupName=f"{n}/0", logStreamName="s0",
                            logEvents=[{"timestamp": now + i, "message": f"m{i}"} for i in range(3)])
        self.add("logs", "DescribeLogGroups", {"logGroupNamePrefix": f"{n}/"}, "logGroups[].logGroupName", [f"{n}/{i}" for i in range(3)])
        self.add("logs", "DescribeLogStreams", {"logGroupName": f"{n}/0"}, "logStreams[].logStreamName", ["s0", "s1", "s2"])
        self.add("logs", "FilterLogEvents", {"logGroupName": f"{n}/0"}, "events[].message", ["m0", "m1", "m2"])

    def builds(self):
        client, n = self.account.codebuild, self.name
        groups = [client.create_report_group(name=f"{n}-{i}", type="TEST", exportConfig={"exportConfigType": "NO_EXPORT"})
                  ["reportGroup"]["arn"] for i in range(2)]
        cases = "".join(f'<testcase classname="c" name="t{i}"/>' for i in range(3))
        spec = (f"version: 0.2\nphases: {{build: {{commands: ['echo ''<testsuite name=\"s\">{cases}</testsuite>'' > t.xml']}}}}\n"
                f"reports:\n  '{groups[0]}': {{files: [t.xml]}}\n  '{groups[1]}': {{files: [t.xml]}}\n")
        role = self.account.role("codebuild")
        project = self.account.project(spec, role=role)
        ids = [client.start_build(projectName=project)["build"]["id"] for _ in range(2)]
        done = [wait_for(lambda one=one: (lambda found: found if found["buildComplete"] else None)(
            client.batch_get_builds(ids=[one])["builds"][0]), "the build ends") for one in ids]
        reports = {arn for one in done for arn in one["reportArns"]}
        assert len(reports) == 4, [one["phases"] for one in done]
        # Builds that end before their sandbox would begin.
        ids += [client.start_build(projectName=project, buildspecOverride="no buildspec")["build"]["id"] for _ in range(MANY - 2)]
        empty = {self.account.project(spec, role=role, suffix=f"p{i}") for i in range(MANY - 1)}
        self.add("codebuild", "ListBuildsForProject", {"projectName": project}, "ids", ids, size=None)
        self.add("codebuild", "ListBuilds", {}, "ids", ids, size=None, within=True)
        self.add("codebuild", "ListProjects", {}, "projects", empty | {project}, size=None, within=True)
        self.add("codebuild", "ListReportGroups", {}, "reportGroups", groups, within=True)
        self.add("codebuild", "ListReports", {}, "reports", reports, within=True)
        mine = [arn for arn in reports if f"{n}-0:" in arn]
        self.add("codebuild", "ListReportsForReportGroup", {"reportGroupArn": groups[0]}, "reports", mine)
        self.add("codebuild", "DescribeTestCases", {"reportArn": mine[0]}, "testCases[].name", ["t0", "t1", "t2"])

    def deployments(self):
        client, n, many = self.account.codedeploy, self.name, range(MANY)
        role = self.account.role("codedeploy")
        applications = [f"{n}-{i}" for i in many]
        for name in applications:
            client.create_application(applicationName=name)
            user = self.account.iam.create_user(UserName=f"{name}-host")["User"]["Arn"]
            client.register_on_premises_instance(instanceName=name, iamUserArn=user)
        for at in (0, 100):  # the most that one call takes
            client.add_tags_to_on_premises_instances(instanceNames=applications[at:at + 100], tags=[{"Key": "fleet", "Value": n}])
        app = {"applicationName": applications[0]}
        tagged = [{"Key": "fleet", "Value": n, "Type": "KEY_AND_VALUE"}]
        for i in many:
            client.create_deployment_group(**app, deploymentGroupName=f"g{i}", serviceRoleArn=role, **(
                {"onPremisesInstanceTagFilters": tagged} if i == 0 else {}))
        bucket = self.account.bucket("revisions")
        self.account.s3.put_object(Bucket=bucket, Key="k", Body=zipped({"appspec.yml": "version: 0.0\nos: linux\n"}))
        revision = {"revisionType": "S3", "s3Location": {"bucket": bucket, "key": "k", "bundleType": "zip"}}
        for i in many:
            client.register_application_revision(**app, revision={
                "revisionType": "S3", "s3Location": revision["s3Location"] | {"key": f"k{i}"}})
        fleet = client.create_deployment(**app, deploymentGroupName="g0", revision=revision)["deploymentId"]
        wait_for(lambda: client.get_deployment(deploymentId=fleet)["deploymentInfo"]["status"] == "InProgress", "the fleet's deployment")
        none = [client.create_deployment(**app, deploymentGroupName=f"g{i}", revision=revision)["deploymentId"] for i in many if i]
        self.fleet = fleet
        self.add("codedeploy", "ListApplications", {}, "applications", applications, size=None, within=True)
        self.add("codedeploy", "ListDeploymentGroups", app, "deploymentGroups", [f"g{i}" for i in many], size=None)
        self.add("codedeploy", "ListApplicationRevisions", app, "revisions[].s3Location.key", [*(f"k{i}" for i in many), "k"], size=None)
        self.add("codedeploy", "ListOnPremisesInstances", {"tagFilters": tagged}, "instanceNames", applications, size=None)
        self.add("codedeploy", "ListDeployments", {}, "deployments", [fleet, *none], size=None, within=True)
        self.add("codedeploy", "ListDeploymentTargets", {"deploymentId": fleet}, "targetIds", applications, size=None)
        self.add("codedeploy", "ListDeploymentInstances", {"deploymentId": fleet}, "instancesList", applications, size=None)

    def pipelines(self):
        client, n = self.account.codepipeline, self.name
        source = action("Source", "Source", "S3", {"S3Bucket": self.account.bucket("source"), "S3ObjectKey": "k",
                                                   "PollForSourceChanges": "false"}, outputs=["s"])
        stages = [("Source", [source]), ("Ask", [action("Ask", "Approval", "Manual")])]
        role, bucket = self.account.role("codepipeline"), self.account.bucket("store")
        names = [self.account.pipeline(stages, role=role, bucket=bucket, suffix=f"{i}") for i in range(2)]
        executions = {client.start_pipeline_execution(name=names[0])["pipelineExecutionId"] for _ in range(2)}
        ended = lambda: (found := client.list_pipeline_executions(pipelineName=names[0])["pipelineExecutionSummaries"]) and all(
            one["status"] in ("Failed", "Superseded") for one in found) and found
        executions |= {one["pipelineExecutionId"] for one in wait_for(ended, "the executions end")}
        actions = {one["actionExecutionId"] for one in client.list_action_executions(pipelineName=names[0])["actionExecutionDetails"]}
        arn = f"arn:aws:codepipeline:us-east-1:000000000000:{names[0]}"
        client.tag_resource(resourceArn=arn, tags=[{"key": f"k{i}", "value": "v"} for i in range(3)])
        self.add("codepipeline", "ListPipelines", {}, "pipelines[].name", names, within=True)
        self.add("codepipeline", "ListPipelineExecutions", {"pipelineName": names[0]},
                 "pipelineExecutionSummaries[].pipelineExecutionId", executions)
        self.add("codepipeline", "ListActionExecutions", {"pipelineName": names[0]}, "actionExecutionDetails[].actionExecutionId", actions)
        self.add("codepipeline", "ListTagsForResource", {"resourceArn": arn}, "tags[].key", ["k0", "k1", "k2"])

    def at(self, operation, service=None):
        """The listing of an operation."""
        return next(one for one in self.listings if one.operation == operation and service in (None, one.service))

    def stop(self):
        client = self.account.codedeploy
        try:
            client.stop_deployment(deploymentId=self.fleet)
        except client.exceptions.DeploymentAlreadyCompletedException:
            pass  # Nobody carries it out, so it has failed after a while.
