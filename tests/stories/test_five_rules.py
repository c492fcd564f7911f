"""The five rules of a delivery pipeline, each from the outside: real pushes, builds, hosts and objects.

A build that writes a random number makes any second build visible: its number would be another.
"""

import io
import zipfile

from accounts import zipped
from steps import text_of
from watch import (approval_action, build_action, commit_to, deploy_action, publish_action, repository_with,
                   source_action)

APPSPEC = """\
version: 0.0
os: linux
files:
  - source: /number.txt
    destination: /opt/app
file_exists_behavior: OVERWRITE
"""
BUILDSPEC = """\
version: 0.2
phases:
  build:
    commands:
      - od -An -N8 -tx8 /dev/urandom > number.txt
artifacts:
  files: ["**/*"]
"""


def number(account, bucket):
    return text_of(account, bucket, "number.txt").strip()


def keys(account, bucket):
    return [one["Key"] for one in account.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def delivery(account, pipe, stages, buildspec=BUILDSPEC, files=None, **more):
    """Source and Build, then `stages`; answers the pipeline, its repository and its build project."""
    repository, _, _ = repository_with(account, {"buildspec.yml": buildspec, "appspec.yml": APPSPEC} | (files or {}))
    project = account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    made = pipe([("Source", [source_action(repository)]), ("Build", [build_action(project)]), *stages], **more)
    return made, repository, project


def test_artifacts_are_built_once(account, pipe):
    staging, production = account.bucket("staging"), account.bucket("production")
    store = account.bucket("store")
    account.s3.put_bucket_versioning(Bucket=store, VersioningConfiguration={"Status": "Enabled"})
    made, _, project = delivery(account, pipe, [
        ("Staging", [publish_action(staging, inputs=["built"])]),
        ("Production", [publish_action(production, name="Release", inputs=["built"])])], bucket=store)
    execution = made.newest()
    made.wait(execution)
    assert len(account.codebuild.list_builds_for_project(projectName=project)["ids"]) == 1
    built = made.action(execution, "Build")["output"]["outputArtifacts"][0]["s3location"]
    for name in ("Publish", "Release"):
        assert made.action(execution, name)["input"]["inputArtifacts"][0]["s3location"] == built
    versions = account.s3.list_object_versions(Bucket=store, Prefix=built["key"])["Versions"]
    assert len(versions) == 1, "the artifact was written once"
    first = number(account, staging)
    assert len(first) == 16 and number(account, production) == first


def test_artifacts_are_immutable_an_overwritten_one_is_refused(account, pipe):
    staging, production = account.bucket("staging"), account.bucket("production")
    made, _, _ = delivery(account, pipe, [
        ("Staging", [publish_action(staging, inputs=["built"])]),
        ("Approve", [approval_action()]),
        ("Production", [publish_action(production, name="Release", inputs=["built"])])])
    execution = made.newest()
    token = made.waiting()
    assert keys(account, staging)
    where = made.action(execution, "Build")["output"]["outputArtifacts"][0]["s3location"]
    account.s3.put_object(Bucket=where["bucket"], Key=where["key"], Body=zipped({"number.txt": "evil"}))
    made.answer(token=token)
    made.wait(execution, "Failed")
    refused = made.latest("Production", "Release")["errorDetails"]
    assert refused["code"] == "ArtifactChanged" and where["key"] in refused["message"], refused
    assert keys(account, production) == [], "what was not tested is not deployed"


def test_artifacts_are_immutable_with_versions_what_was_tested_is_deployed(account, pipe):
    staging, production, store = account.bucket("staging"), account.bucket("production"), account.bucket("store")
    account.s3.put_bucket_versioning(Bucket=store, VersioningConfiguration={"Status": "Enabled"})
    made, _, _ = delivery(account, pipe, [
        ("Staging", [publish_action(staging, inputs=["built"])]),
        ("Approve", [approval_action()]),
        ("Production", [publish_action(production, name="Release", inputs=["built"])])], bucket=store)
    execution = made.newest()
    made.waiting()
    where = made.action(execution, "Build")["output"]["outputArtifacts"][0]["s3location"]
    account.s3.put_object(Bucket=where["bucket"], Key=where["key"], Body=zipped({"number.txt": "evil"}))
    made.answer()
    made.wait(execution)
    assert number(account, production) == number(account, staging) != "evil"


def test_production_comes_after_a_copy_of_production(account, pipe, fleet):
    """Staging is deployed exactly as production is; where it fails, production is never touched."""
    hosts = {where: fleet.host(where, role=where) for where in ("staging", "production")}
    for where in hosts:
        fleet.group(where, tags={"fleet": account.name, "role": where})
    check = "hooks:\n  ValidateService:\n    - location: check.sh\n      timeout: 20\n"
    made, repository, _ = delivery(account, pipe, [
        (where.capitalize(), [deploy_action(fleet.application, where)]) for where in hosts],
        files={"appspec.yml": APPSPEC + check, "check.sh": "#!/bin/sh\ntrue\n"})
    made.wait(made.newest(), timeout=90)
    good = fleet.read(hosts["staging"], "/opt/app/number.txt")
    assert good and fleet.read(hosts["production"], "/opt/app/number.txt") == good
    commit_to(account, repository, {"check.sh": "#!/bin/sh\necho it does not answer >&2\nexit 1\n"})
    second = made.nth(2)
    made.wait(second, "Failed", timeout=90)
    assert made.latest("Staging", "Deploy")["status"] == "Failed"
    assert made.action(second, "Deploy")["stageName"] == "Staging", "production was not begun"
    assert fleet.read(hosts["production"], "/opt/app/number.txt") == good
    deployments = fleet.client.list_deployments(
        applicationName=fleet.application, deploymentGroupName="production")["deployments"]
    assert len(deployments) == 1


def test_a_failed_step_stops_what_follows(account, pipe, fleet, builds):
    host = fleet.host("web")
    fleet.group()
    production = account.bucket("production")
    failing = BUILDSPEC.replace("commands:\n", "commands:\n      - echo 2 tests failed; exit 1\n")
    made, _, project = delivery(account, pipe, [
        ("Deploy", [deploy_action(fleet.application, "web"), publish_action(production, inputs=["built"])])],
        buildspec=failing)
    execution = made.newest()
    made.wait(execution, "Failed")
    states = made.stages()
    assert states["Build"]["latestExecution"]["status"] == "Failed"
    assert "latestExecution" not in states["Deploy"], "the stage never began"
    assert [one["actionName"] for one in made.actions(execution)] == ["Build", "Source"]
    assert "2 tests failed" in builds.log(account.codebuild.list_builds_for_project(projectName=project)["ids"][0])
    assert fleet.client.list_deployments(applicationName=fleet.application, deploymentGroupName="web")["deployments"] == []
    assert fleet.read(host, "/opt/app/number.txt") is None
    assert keys(account, production) == []


def test_a_deployment_run_twice_changes_nothing_the_second_time(account, fleet):
    host = fleet.host("web")
    fleet.group()
    files = {"appspec.yml": APPSPEC + "permissions:\n  - object: /opt/app\n    pattern: '*.txt'\n    mode: 640\n",
             "number.txt": "42\n"}
    revision = fleet.revision(zipped(files))
    look = lambda: fleet.run(host, "stat", "-c", "%n %i %Y %Z %s %a %U", "/opt/app", "/opt/app/number.txt")
    fleet.wait(fleet.deploy(revision))
    before = look()
    assert " 640 " in before
    fleet.wait(fleet.deploy(revision))
    assert look() == before


def test_publishing_twice_writes_no_object_the_second_time(account, pipe):
    production = account.bucket("production")
    account.s3.put_bucket_versioning(Bucket=production, VersioningConfiguration={"Status": "Enabled"})
    repository, _, _ = repository_with(account, {"index.html": "<p>hello"})
    made = pipe([("Source", [source_action(repository)]), ("Deploy", [publish_action(production)])])
    made.wait(made.newest())
    before = account.s3.list_object_versions(Bucket=production)["Versions"]
    made.wait(made.start())
    assert account.s3.list_object_versions(Bucket=production)["Versions"] == before
    body = account.s3.get_object(Bucket=production, Key="index.html")
    assert body["Body"].read() == b"<p>hello" and body["ContentType"] == "text/html"


def test_what_an_artifact_holds_is_what_the_build_selected(account, pipe):
    """The stored artifact is the zip that the build made: the same entries, their content untouched."""
    made, _, _ = delivery(account, pipe, [("Approve", [approval_action()])])
    execution = made.newest()
    made.waiting()
    where = made.action(execution, "Build")["output"]["outputArtifacts"][0]["s3location"]
    body = account.s3.get_object(Bucket=where["bucket"], Key=where["key"])["Body"].read()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert sorted(archive.namelist()) == ["appspec.yml", "buildspec.yml", "number.txt"]
        assert archive.read("appspec.yml").decode() == APPSPEC
