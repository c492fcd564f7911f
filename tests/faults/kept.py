"""A team's work on a server, and that all of it is there: after a restore, and after an upgrade.

As a program it makes the data folder that an upgrade is tested with, with the version that is about to be
followed by another:

    TOWPATH_BIN=target/debug/towpath python tests/faults/kept.py tests/faults/data/VERSION.tar.gz
"""

import json
import pathlib
import sys
import tarfile
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from accounts import Account  # noqa: E402
from server import Server  # noqa: E402
from watch import Builds, Pipe, approval_action, build_action, commit_to, repository_with, source_action  # noqa: E402

FACTS = "facts.json"
BUILDSPEC = """\
version: 0.2
phases:
  build:
    commands:
      - echo built once
      - date +%s%N > built.txt
artifacts:
  files: [built.txt]
"""


def fill(server):
    """Everything that a team keeps; answers what must be found again. An approval is left waiting."""
    account = Account(server, "kept")
    name, url, commit = repository_with(account, {"buildspec.yml": BUILDSPEC, "readme.txt": "first\n"})
    login = account.git_user()
    keys = account.user("s3:GetObject", "s3:ListBucket")
    bucket = account.bucket()
    account.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    versions = [account.s3.put_object(Bucket=bucket, Key="a/b c+ü.txt", Body=body)["VersionId"] for body in (b"one", b"two")]
    account.s3.put_object(Bucket=bucket, Key="large", Body=bytes(range(256)) * 64)
    project = account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    pipeline = account.pipeline([("Source", [source_action(name)]), ("Build", [build_action(project)]),
                                 ("Approve", [approval_action()])], bucket=bucket)
    pipe = Pipe(account, pipeline)
    pipe.waiting()
    build = account.codebuild.list_builds_for_project(projectName=project)["ids"][0]
    account.codedeploy.create_application(applicationName=account.name, computePlatform="Server")
    account.codedeploy.create_deployment_group(
        applicationName=account.name, deploymentGroupName="web", serviceRoleArn=account.role("codedeploy"),
        onPremisesInstanceTagFilters=[{"Key": "role", "Value": "web", "Type": "KEY_AND_VALUE"}])
    account.iam.tag_user(UserName=account.iam.list_users()["Users"][0]["UserName"], Tags=[{"Key": "k", "Value": "v"}])
    return {"name": account.name, "repository": name, "commit": commit, "login": login, "keys": keys, "bucket": bucket,
            "versions": versions, "project": project, "pipeline": pipeline, "execution": pipe.newest(), "build": build,
            "log": Builds(account).lines(build)}


def check(server, facts, folder):
    """All of it is there, and what waited goes on."""
    account = Account(server, "kept")
    account.name = facts["name"]
    reader = server.client("s3", keys=tuple(facts["keys"]))
    assert reader.get_object(Bucket=facts["bucket"], Key="a/b c+ü.txt")["Body"].read() == b"two"
    first, second = (account.s3.get_object(Bucket=facts["bucket"], Key="a/b c+ü.txt", VersionId=version)["Body"].read()
                     for version in facts["versions"])
    assert (first, second) == (b"one", b"two")
    assert reader.get_object(Bucket=facts["bucket"], Key="large")["Body"].read() == bytes(range(256)) * 64
    checkout(account, facts, folder)
    builds = Builds(account)
    assert builds.get(facts["build"])["buildStatus"] == "SUCCEEDED"
    assert builds.lines(facts["build"]) == facts["log"]
    assert account.codedeploy.list_deployment_groups(applicationName=facts["name"])["deploymentGroups"] == ["web"]
    pipe = Pipe(account, facts["pipeline"])
    pipe.answer(execution=facts["execution"])
    pipe.wait(facts["execution"])
    # And it goes on working: a change runs through, on what was built before.
    before = len(pipe.executions())
    commit_to(account, facts["repository"], {"readme.txt": "second\n"})
    newer = pipe.nth(before + 1)
    pipe.answer(execution=newer)
    pipe.wait(newer)


def checkout(account, facts, folder):
    """By git, with the password from before."""
    url = account.codecommit.get_repository(repositoryName=facts["repository"])["repositoryMetadata"]["cloneUrlHttp"]
    # The server may listen somewhere else now than when it was asked.
    url = account.server.url + url[url.index("/v1/"):]
    account.checkout(folder, url, facts["login"])
    account.git(folder, "fetch", "-q", "origin")
    account.git(folder, "fsck", "--strict")
    assert account.git(folder, "rev-parse", "origin/main").stdout.strip() == facts["commit"]


def unpack(archive, folder):
    """The data folder of an archive that `main` made, and its facts."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return json.loads((folder / FACTS).read_text())


def main(archive):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        server = Server(folder).start()
        try:
            facts = fill(server)
        finally:
            server.stop()
        (folder / FACTS).write_text(json.dumps(facts, indent=1))
        with tarfile.open(archive, "w:gz") as tar:
            for name in ("data/store", "data/objects", "data/codecommit", "data/identity", FACTS):
                tar.add(folder / name, arcname=name)


if __name__ == "__main__":
    main(sys.argv[1])
