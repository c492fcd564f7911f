"""What can come and go while a listing is read: one way to make an item that is told among the first, and to take
it away. Where the API takes nothing away, things only come.
"""

import dataclasses
import time
from typing import Callable

from accounts import action, allow, trust
from server import wait_for

S3_MARKERS = {"ListObjects": [("Marker", "NextMarker")], "ListParts": [("PartNumberMarker", "NextPartNumberMarker")],
              "ListObjectVersions": [("KeyMarker", "NextKeyMarker"), ("VersionIdMarker", "NextVersionIdMarker")],
              "ListMultipartUploads": [("KeyMarker", "NextKeyMarker"), ("UploadIdMarker", "NextUploadIdMarker")]}


@dataclasses.dataclass
class Churn:
    make: Callable
    remove: Callable | None

    def page(self, reader, listing, token):
        """Two items a page, where the client may say; S3's markers are as good as tokens here."""
        markers = S3_MARKERS.get(listing.operation) if listing.service == "s3" else None
        if markers is None:
            return reader.page(listing, token, listing.size and 2)
        size = {"ListMultipartUploads": "MaxUploads", "ListParts": "MaxParts"}.get(listing.operation, "MaxKeys")
        answer = reader.client("s3")._make_api_call(listing.operation, listing.parameters | {size: 2} | (token or {}))
        if not answer["IsTruncated"]:
            return answer, None
        if listing.operation == "ListObjects":
            return answer, {"Marker": answer["Contents"][-1]["Key"]}
        return answer, {sent: answer[told] for sent, told in markers if told in answer}


CHURN = {}
# Reports come by builds alone; a unit test of their pages has what this has.
ONLY_BY_BUILDS = {"codebuild-ListReports", "codebuild-ListReportsForReportGroup"}


def churn(*names):
    def take(function):
        for name in names:
            CHURN[name] = function
        return function
    return take


def named(world, name):
    return f"0{world.name}-{name}"


@churn("iam-ListUsers", "iam-ListGroups", "iam-ListRoles")
def entities(world, listing):
    kind, iam = listing.operation[4:-1], world.account.iam
    more = {"AssumeRolePolicyDocument": trust("codebuild")} if kind == "Role" else {}

    def make(name):
        getattr(iam, f"create_{kind.lower()}")(**{f"{kind}Name": named(world, name)}, Path=f"/{world.name}/", **more)
        return {f"{kind}Name": named(world, name)}

    return Churn(make, lambda one: getattr(iam, f"delete_{kind.lower()}")(**one))


def policy(world, name):
    made = world.account.iam.create_policy(PolicyName=named(world, name), Path=f"/{world.name}/", PolicyDocument=allow("s3:*"))
    return made["Policy"]["Arn"]


@churn("iam-ListPolicies")
def policies(world, _):
    return Churn(lambda name: policy(world, name), lambda arn: world.account.iam.delete_policy(PolicyArn=arn))


@churn("iam-ListAttachedUserPolicies", "iam-ListAttachedGroupPolicies", "iam-ListAttachedRolePolicies")
def attached(world, listing):
    kind, iam = listing.operation[len("ListAttached"):-len("Policies")].lower(), world.account.iam

    def make(name):
        arn = policy(world, name)
        getattr(iam, f"attach_{kind}_policy")(**listing.parameters, PolicyArn=arn)
        return arn

    def remove(arn):
        getattr(iam, f"detach_{kind}_policy")(**listing.parameters, PolicyArn=arn)
        iam.delete_policy(PolicyArn=arn)

    return Churn(make, remove)


@churn("iam-ListUserPolicies", "iam-ListGroupPolicies", "iam-ListRolePolicies")
def inline(world, listing):
    kind, iam = listing.operation[len("List"):-len("Policies")].lower(), world.account.iam

    def make(name):
        getattr(iam, f"put_{kind}_policy")(**listing.parameters, PolicyName=name, PolicyDocument=allow("s3:*"))
        return name

    return Churn(make, lambda name: getattr(iam, f"delete_{kind}_policy")(**listing.parameters, PolicyName=name))


@churn("iam-GetGroup")
def members(world, listing):
    iam = world.account.iam

    def make(name):
        user = {"UserName": named(world, name)}
        iam.create_user(**user)
        iam.add_user_to_group(**listing.parameters, **user)
        return user

    def remove(user):
        iam.remove_user_from_group(**listing.parameters, **user)
        iam.delete_user(**user)

    return Churn(make, remove)


@churn("iam-ListGroupsForUser")
def groups(world, listing):
    iam = world.account.iam

    def make(name):
        group = {"GroupName": named(world, name)}
        iam.create_group(**group)
        iam.add_user_to_group(**listing.parameters, **group)
        return group

    def remove(group):
        iam.remove_user_from_group(**listing.parameters, **group)
        iam.delete_group(**group)

    return Churn(make, remove)


@churn("iam-ListEntitiesForPolicy")
def holders(world, listing):
    iam = world.account.iam

    def make(name):
        user = {"UserName": named(world, name)}
        iam.create_user(**user)
        iam.attach_user_policy(**listing.parameters, **user)
        return user

    def remove(user):
        iam.detach_user_policy(**listing.parameters, **user)
        iam.delete_user(**user)

    made = Churn(make, remove)
    # What kind of entity it is told as, not which: so nothing more may be told as a user than the one that is kept.
    made.page = lambda reader, one, token: only(world, reader.page(one, token, 2))
    return made


def only(world, told):
    answer, token = told
    answer["PolicyUsers"] = [one for one in answer["PolicyUsers"] if one["UserName"] == world.name]
    return answer, token


@churn("iam-ListPolicyVersions")
def versions(world, listing):
    iam = world.account.iam
    make = lambda _: iam.create_policy_version(**listing.parameters, PolicyDocument=allow("s3:*"))["PolicyVersion"]["VersionId"]
    made = Churn(make, lambda version: iam.delete_policy_version(**listing.parameters, VersionId=version))
    made.page = lambda reader, one, token: reader.page(one, token, 1)
    return made


@churn("iam-ListUserTags", "iam-ListRoleTags", "iam-ListPolicyTags")
def tags(world, listing):
    kind, iam = listing.operation[len("List"):-len("Tags")].lower(), world.account.iam

    def make(name):
        getattr(iam, f"tag_{kind}")(**listing.parameters, Tags=[{"Key": name, "Value": "v"}])
        return name

    return Churn(make, lambda name: getattr(iam, f"untag_{kind}")(**listing.parameters, TagKeys=[name]))


@churn("codecommit-ListBranches")
def branches(world, listing):
    client, repository = world.account.codecommit, listing.parameters
    commit = client.get_branch(**repository, branchName="main")["branch"]["commitId"]

    def make(name):
        client.create_branch(**repository, branchName=name, commitId=commit)
        return name

    return Churn(make, lambda name: client.delete_branch(**repository, branchName=name))


@churn("codecommit-GetDifferences")
def files(world, listing):
    """The branch that is asked for moves."""
    client, repository = world.account.codecommit, {"repositoryName": listing.parameters["repositoryName"]}
    tip = lambda: client.get_branch(**repository, branchName="main")["branch"]["commitId"]

    def make(name):
        client.put_file(**repository, branchName="main", filePath=name, fileContent=name.encode(), parentCommitId=tip())
        return name

    return Churn(make, lambda name: client.delete_file(**repository, branchName="main", filePath=name, parentCommitId=tip()))


@churn("codebuild-ListProjects")
def projects(world, _):
    client, role = world.account.codebuild, world.account.role("codebuild")

    def make(name):
        client.create_project(
            name=named(world, name), serviceRole=role, source={"type": "NO_SOURCE", "buildspec": "version: 0.2"},
            artifacts={"type": "NO_ARTIFACTS"}, environment={
                "type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"})
        return named(world, name)

    return Churn(make, lambda name: client.delete_project(name=name))


@churn("codebuild-ListBuilds", "codebuild-ListBuildsForProject")
def builds(world, _):
    """They end before their sandbox would begin."""
    client = world.account.codebuild
    project = world.at("ListBuildsForProject").parameters["projectName"]

    def remove(build):
        wait_for(lambda: client.batch_get_builds(ids=[build])["builds"][0]["buildComplete"], "the build ends")
        client.batch_delete_builds(ids=[build])

    make = lambda _: client.start_build(projectName=project, buildspecOverride="no buildspec")["build"]["id"]
    return Churn(make, remove)


@churn("codebuild-ListReportGroups")
def report_groups(world, _):
    client = world.account.codebuild
    make = lambda name: client.create_report_group(name=named(world, name), type="TEST", exportConfig={
        "exportConfigType": "NO_EXPORT"})["reportGroup"]["arn"]
    return Churn(make, lambda arn: client.delete_report_group(arn=arn))


@churn("codepipeline-ListPipelines")
def pipelines(world, _):
    """They stay at their approvals: the source is not there."""
    client, account = world.account.codepipeline, world.account
    role, bucket = account.role("codepipeline"), f"{account.name}-store"
    source = action("Source", "Source", "S3", {"S3Bucket": f"{account.name}-source", "S3ObjectKey": "k",
                                               "PollForSourceChanges": "false"}, outputs=["s"])

    def make(name):
        client.create_pipeline(pipeline={
            "name": named(world, name), "roleArn": role, "artifactStore": {"type": "S3", "location": bucket},
            "stages": [{"name": "Source", "actions": [source]},
                       {"name": "Ask", "actions": [action("Ask", "Approval", "Manual")]}]})
        return named(world, name)

    return Churn(make, lambda name: client.delete_pipeline(name=name))


@churn("codepipeline-ListPipelineExecutions", "codepipeline-ListActionExecutions")
def executions(world, listing):
    return Churn(lambda _: world.account.codepipeline.start_pipeline_execution(name=listing.parameters["pipelineName"]), None)


@churn("codepipeline-ListTagsForResource")
def pipeline_tags(world, listing):
    client = world.account.codepipeline

    def make(name):
        client.tag_resource(**listing.parameters, tags=[{"key": name, "value": "v"}])
        return name

    return Churn(make, lambda name: client.untag_resource(**listing.parameters, tagKeys=[name]))


@churn("codedeploy-ListApplications")
def applications(world, _):
    client = world.account.codedeploy

    def make(name):
        client.create_application(applicationName=named(world, name))
        return named(world, name)

    return Churn(make, lambda name: client.delete_application(applicationName=name))


@churn("codedeploy-ListDeploymentGroups")
def deployment_groups(world, listing):
    client, role = world.account.codedeploy, world.account.role("codedeploy")

    def make(name):
        client.create_deployment_group(**listing.parameters, deploymentGroupName=name, serviceRoleArn=role)
        return name

    return Churn(make, lambda name: client.delete_deployment_group(**listing.parameters, deploymentGroupName=name))


@churn("codedeploy-ListApplicationRevisions")
def revisions(world, listing):
    location = {"bucket": f"{world.name}-revisions", "bundleType": "zip"}
    return Churn(lambda name: world.account.codedeploy.register_application_revision(
        **listing.parameters, revision={"revisionType": "S3", "s3Location": location | {"key": f"{name}{time.monotonic_ns()}"}}), None)


@churn("codedeploy-ListOnPremisesInstances")
def instances(world, listing):
    client = world.account.codedeploy
    tagged = [{"Key": "fleet", "Value": world.name}]

    def make(name):
        made = world.account.iam.create_user(UserName=f"{world.name}-i{name}")["User"]["Arn"]
        client.register_on_premises_instance(instanceName=named(world, name), iamUserArn=made)
        client.add_tags_to_on_premises_instances(instanceNames=[named(world, name)], tags=tagged)
        return named(world, name)

    return Churn(make, lambda name: client.remove_tags_from_on_premises_instances(instanceNames=[name], tags=tagged))


@churn("codedeploy-ListDeployments")
def deployments(world, _):
    app, location = f"{world.name}-0", {"bucket": f"{world.name}-revisions", "key": "k", "bundleType": "zip"}
    groups = iter(range(50, 100))  # of which none is deployed to any more
    return Churn(lambda _: world.account.codedeploy.create_deployment(
        applicationName=app, deploymentGroupName=f"g{next(groups)}", revision={"revisionType": "S3", "s3Location": location}), None)


@churn("logs-DescribeLogGroups")
def log_groups(world, _):
    logs = world.account.logs

    def make(name):
        logs.create_log_group(logGroupName=f"{world.name}/!{name}".replace("!", "-"))
        return f"{world.name}/-{name}"

    return Churn(make, lambda name: logs.delete_log_group(logGroupName=name))


@churn("logs-DescribeLogStreams")
def log_streams(world, listing):
    logs = world.account.logs

    def make(name):
        logs.create_log_stream(**listing.parameters, logStreamName=name)
        return name

    return Churn(make, lambda name: logs.delete_log_stream(**listing.parameters, logStreamName=name))


@churn("logs-FilterLogEvents")
def events(world, listing):
    return Churn(lambda name: world.account.logs.put_log_events(**listing.parameters, logStreamName="s0", logEvents=[
        {"timestamp": int(time.time() * 1000), "message": f"later {name} {time.monotonic_ns()}"}]), None)


@churn("s3-ListObjects", "s3-ListObjectsV2")
def objects(world, listing):
    s3, bucket = world.account.s3, listing.parameters

    def make(name):
        return {"Key": name, "VersionId": s3.put_object(**bucket, Key=name, Body=b"x")["VersionId"]}

    return Churn(make, lambda one: s3.delete_object(**bucket, **one))


CHURN["s3-ListObjectVersions"] = objects


@churn("s3-ListMultipartUploads")
def uploads(world, listing):
    s3, bucket = world.account.s3, listing.parameters

    def make(name):
        return {"Key": name, "UploadId": s3.create_multipart_upload(**bucket, Key=name)["UploadId"]}

    return Churn(make, lambda one: s3.abort_multipart_upload(**bucket, **one))


@churn("s3-ListParts")
def parts(world, listing):
    numbers = iter((10, 11, 12))
    return Churn(lambda _: world.account.s3.upload_part(**listing.parameters, PartNumber=next(numbers), Body=b"x"), None)


@churn("s3-ListBuckets")
def buckets(world, _):
    s3 = world.account.s3

    def make(name):
        s3.create_bucket(Bucket=f"{world.name}-other--{name}")
        return f"{world.name}-other--{name}"

    return Churn(make, lambda name: s3.delete_bucket(Bucket=name))
