"""What the benchmark of the API asks for: the same things made through boto3 on either server, the same requests."""

import time

from world import Account, action, wait_for, zipped

MOST_CLIENTS = 64
MANY = range(MOST_CLIENTS)
LINE = "a line of a build's log, as long as most are"


class Things:
    """Pipelines, a build, a repository, objects, log streams and users."""

    def __init__(self, server):
        self.server, self.account = server, (account := Account(server, "api"))
        self.role, self.bucket = account.role("codepipeline"), account.bucket()
        self.pipelines = [self.pipeline(f"p{number}") for number in range(10)]
        self.repository, _ = account.repository()
        account.s3.put_object(Bucket=self.bucket, Key="source.zip", Body=zipped({"file": "text"}))
        source = {"type": "S3", "location": f"{self.bucket}/source.zip"}
        self.project = account.project("version: 0.2\nphases:\n  build:\n    commands:\n      - 'true'\n", source)
        self.build = account.codebuild.start_build(projectName=self.project)["build"]["id"]
        batch = lambda: account.codebuild.batch_get_builds(ids=[self.build])["builds"][0]
        wait_for(lambda: batch()["buildStatus"] != "IN_PROGRESS", "the build is over", timeout=120)
        account.s3.put_object(Bucket=self.bucket, Key="object", Body=b"x" * 512)
        account.logs.create_log_group(logGroupName="bench")
        for number in MANY:
            account.logs.create_log_stream(logGroupName="bench", logStreamName=f"s{number}")
            account.iam.create_user(UserName=f"bench-{number}")

    def stages(self):
        source = {"S3Bucket": self.bucket, "S3ObjectKey": "in.zip", "PollForSourceChanges": "false"}
        return [("Source", [action("Source", "Source", "S3", source, outputs=["source"])]),
                ("Approve", [action("Approve", "Approval", "Manual")])]

    def pipeline(self, suffix):
        return self.account.pipeline(self.stages(), role=self.role, suffix=suffix, bucket=self.bucket)


def query(wire, service, action_name, version, **members):
    body = "&".join(f"{name}={value}" for name, value in {"Action": action_name, "Version": version, **members}.items())
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return wire.request("POST", "/", service, body, headers)


def pipeline_request(wire, operation, **members):
    return wire.json("codepipeline", f"CodePipeline_20150709.{operation}", members)


def reads(wire, things):
    build = lambda operation, **members: wire.json("codebuild", f"CodeBuild_20161006.{operation}", members)
    name = things.pipelines[0]
    return {
        "GetPipelineState": [pipeline_request(wire, "GetPipelineState", name=name)],
        "GetPipeline": [pipeline_request(wire, "GetPipeline", name=name)],
        "ListPipelines": [pipeline_request(wire, "ListPipelines")],
        "BatchGetProjects": [build("BatchGetProjects", names=[things.project])],
        "BatchGetBuilds": [build("BatchGetBuilds", ids=[things.build])],
        "GetRepository": [wire.json("codecommit", "CodeCommit_20150413.GetRepository", {"repositoryName": things.repository})],
        "GetUser": [query(wire, "iam", "GetUser", "2010-05-08", UserName="bench-0")],
        "GetObject, 512 bytes": [wire.request("GET", f"/{things.bucket}/object", "s3")],
        "DescribeLogStreams, 50": [wire.json("logs", "Logs_20140328.DescribeLogStreams", {"logGroupName": "bench", "limit": 50})],
    }


def writes(wire, things):
    """Each client changes a thing of its own; what is changed is made here, after the reads were measured."""
    account, own = things.account, [things.pipeline(f"w{number}") for number in MANY]
    declared = [account.codepipeline.get_pipeline(name=name)["pipeline"] for name in own]
    event = {"timestamp": int(time.time() * 1000), "message": LINE}
    return {
        "PutObject, 512 bytes": [wire.request("PUT", f"/{things.bucket}/key-{n}", "s3", "x" * 512) for n in MANY],
        "PutLogEvents, one line": [wire.json("logs", "Logs_20140328.PutLogEvents", {
            "logGroupName": "bench", "logStreamName": f"s{n}", "logEvents": [event]}) for n in MANY],
        "UpdatePipeline": [pipeline_request(wire, "UpdatePipeline", pipeline=one) for one in declared],
        "TagUser": [query(wire, "iam", "TagUser", "2010-05-08", UserName=f"bench-{n}", **{
            "Tags.member.1.Key": "a", "Tags.member.1.Value": "b"}) for n in MANY],
    }
