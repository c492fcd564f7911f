"""Input as it comes in real life, and worse: odd names, odd bytes, much output, processes that linger."""

import io
import json
import os
import zipfile

import pytest
from botocore.exceptions import ClientError

from accounts import zipped
from server import wait_for
from watch import build_action, commit_to, phases_of, publish_action, repository_with, source_action


def spec(*commands, **more):
    return json.dumps({"version": 0.2, "phases": {"build": {"commands": list(commands)}}} | more)


def unzipped(body):
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {entry.filename: (archive.read(entry), entry.external_attr >> 16 & 0o777) for entry in archive.infolist()
                if not entry.is_dir()}


def test_a_tree_with_odd_names_modes_and_bytes_arrives_as_it_was_pushed(account, pipe, tmp_path):
    repository, url = account.repository()
    tree = account.checkout(tmp_path / "tree", url, account.git_user())
    odd = {"with space.txt": "1", "grüße/日本.txt": "2", "a'quote\".txt": "3", "-dash": "4", "$HOME/`id`.txt": "5",
           "deep/" * 30 + "x": "6", "run.sh": "#!/bin/sh\necho ran\n", "crlf.txt": "a\r\nb\r\n"}
    account.commit(tree, odd)
    (tree / "bytes.bin").write_bytes(bytes(range(256)) * 64)
    (tree / "empty").write_bytes(b"")
    os.symlink("run.sh", tree / "link")
    os.symlink("/etc/passwd", tree / "outside")
    account.git(tree, "add", "-A")
    account.git(tree, "commit", "-q", "-m", "Grüße \U0001f600 \"quoted\" $(id)\n\nbody")
    account.git(tree, "push", "-q", "origin", "main")
    text = spec("sha256sum run.sh bytes.bin \"with space.txt\"", "./run.sh && ./link", "readlink link outside",
                "test -x run.sh && ! test -x crlf.txt", "rm outside link",
                artifacts={"files": ["**/*"]})
    project = account.project(text, source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    made = pipe([("Source", [source_action(repository)]), ("Build", [build_action(project)])])
    execution = made.newest()
    made.wait(execution)
    where = made.action(execution, "Build")["output"]["outputArtifacts"][0]["s3location"]
    found = unzipped(account.s3.get_object(Bucket=where["bucket"], Key=where["key"])["Body"].read())
    for name, content in odd.items():
        assert found[name][0].decode() == content, name
    assert found["bytes.bin"][0] == bytes(range(256)) * 64 and found["empty"][0] == b""
    assert found["run.sh"][1] & 0o111 and not found["crlf.txt"][1] & 0o111
    summary = made.executions()[0]["sourceRevisions"][0]["revisionSummary"]
    assert summary.startswith('Grüße \U0001f600 "quoted" $(id)')


def test_much_and_odd_output_is_kept_in_order(account, builds):
    lines = 30_000
    build = builds.run(account.project(spec(
        f"seq 1 {lines}", "printf 'no newline at the end'", "printf '\\377\\376 not UTF-8\\n'",
        "printf '\\033[31mred\\033[0m\\a\\n'", "head -c 300000 /dev/zero | tr '\\0' x; echo", "echo to stderr >&2",
        "printf 'a\\rb\\n'")))
    found = builds.lines(build["id"])
    numbers = [int(line) for line in found if line.isdigit()]
    assert numbers == list(range(1, lines + 1))
    whole = "\n".join(found)
    assert "no newline at the end" in whole and "not UTF-8" in whole and "red" in whole and "to stderr" in whole
    assert sum(line.count("x") for line in found if set(line) == {"x"}) == 300_000
    plain = account.server.towpath("logs", build["id"]).stdout
    assert "\x1b" not in plain and "\a" not in plain and "30000" in plain


def test_commands_that_end_the_shell_or_leave_processes_do_not_hang_a_build(account, builds):
    lingering = builds.run(account.project(spec("sleep 1000 & echo left one", "(setsid sleep 1000 >/dev/null 2>&1 &)", "echo went on")))
    assert "went on" in builds.lines(lingering["id"])
    for number, (command, status) in enumerate({"exit 0": "SUCCEEDED", "exit 9": "FAILED", "kill -9 $$": "FAILED", "false | true": "SUCCEEDED",
                            "exec true": "SUCCEEDED", "exec 1>&-; true": "SUCCEEDED", "set -e; false; true": "FAILED"}.items()):
        started = builds.start(account.project(spec(command), suffix=f"ends-{number}"))
        wait_for(lambda: builds.get(started)["buildComplete"], f"{command!r} ends", timeout=20)
        assert builds.get(started)["buildStatus"] == status, f"{command!r}: {builds.log(started)}"


def test_artifact_patterns_that_climb_or_are_absurd_are_refused(account, builds):
    bucket = account.bucket("out")
    project = account.project(spec("true"), artifacts={"type": "S3", "location": bucket, "name": "a.zip", "packaging": "ZIP"})
    for artifacts in ({"files": ["../../../../etc/hostname"]}, {"files": ["/etc/hostname"]},
                      {"files": ["*"], "base-directory": "../../../etc"}, {"files": ["*"], "base-directory": "/etc"},
                      {"files": ["[" * 500]}, {"files": ["{a," * 50 + "}" * 50]}):
        started = builds.start(project, buildspecOverride=spec("echo x > x", artifacts=artifacts))
        wait_for(lambda: builds.get(started)["buildComplete"], "its end", timeout=20)
        build = builds.get(started)
        stored = account.s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        assert build["buildStatus"] == "FAILED" and stored == [], f"{artifacts}: {build['phases']}"


@pytest.mark.parametrize("text", [
    "", "# nothing\n", "[]", "version: 0.2", "version: 0.2\nphases: {}\n", "version: 0.2\nphases:\n",
    "version: 0.2\nphases: {build: {commands: [a]}}\nphases: {build: {commands: [b]}}\n",
    "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nversion: 0.2\nphases: {build: {commands: [x]}}\n",
    "version: 0.2\nphases: {build: {commands: [!!python/object/apply:os.system [id]]}}\n",
    "{" * 5000, "\x00", "version: 0.2\n\tphases: {}\n",
], ids=range(12))
def test_documents_that_are_no_buildspecs_are_told_so(account, builds, text):
    project = account.project(spec("true"))
    _, url, _ = repository_with(account, {"b.yml": text})
    account.codebuild.update_project(name=project, source={"type": "CODECOMMIT", "location": url, "buildspec": "b.yml"})
    started = builds.start(project)
    wait_for(lambda: builds.get(started)["buildComplete"], "its end", timeout=20)
    build = builds.get(started)
    contexts = [one for phase in build["phases"] for one in phase.get("contexts", []) if one.get("statusCode")]
    assert build["buildStatus"] == "FAILED", builds.log(started)
    assert contexts[0]["statusCode"] == "YAML_FILE_ERROR" and contexts[0]["message"], contexts
    assert "BUILD" not in phases_of(build)


def test_an_archive_that_is_hostile_publishes_nothing(account, pipe):
    """An S3 source hands over what somebody uploaded; deploying it must write below its prefix only."""
    inbox, site = account.bucket("inbox"), account.bucket("site")
    account.s3.put_bucket_versioning(Bucket=inbox, VersioningConfiguration={"Status": "Enabled"})
    source = {"name": "Source", "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"},
              "configuration": {"S3Bucket": inbox, "S3ObjectKey": "a.zip", "PollForSourceChanges": "false"},
              "outputArtifacts": [{"name": "source"}]}
    account.s3.put_object(Bucket=inbox, Key="a.zip", Body=b"x")
    made = pipe([("Source", [source]), ("Publish", [publish_action(site, ObjectKey="below")])])
    made.wait(made.newest(), "Failed")
    link = io.BytesIO()
    with zipfile.ZipFile(link, "w") as archive:
        entry = zipfile.ZipInfo("leak")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/shadow")
        archive.writestr("leak/under", "x")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"zeros-{number}", b"\0" * (200 << 20))
    for what, body in {"climbs": zipped({"../up": "x"}), "absolute": zipped({"/etc/x": "x"}), "link": link.getvalue(),
                       "bomb": bomb.getvalue(), "cut": zipped({"a": "b" * 999})[:-30], "text": b"no zip"}.items():
        account.s3.put_object(Bucket=inbox, Key="a.zip", Body=body)
        execution = made.start()
        wait_for(lambda: made.get(execution)["status"] != "InProgress", what)
        assert made.get(execution)["status"] == "Failed", what
        error = made.latest("Publish", "Publish")["errorDetails"]
        assert error["message"], what
        assert account.s3.list_objects_v2(Bucket=site).get("Contents", []) == [], f"{what}: {error}"


def test_names_that_are_no_names_get_the_models_refusal(account):
    unchecked = lambda service: account.server.client(service, parameter_validation=False)
    for call in (
        lambda: unchecked("codecommit").create_repository(repositoryName="../up"),
        lambda: unchecked("codecommit").create_repository(repositoryName="x" * 101),
        lambda: unchecked("codecommit").create_repository(repositoryName="name.git"),
        lambda: unchecked("codebuild").create_project(name="a/b", source={"type": "NO_SOURCE"}),
        lambda: unchecked("codepipeline").get_pipeline(name="../../x"),
        lambda: unchecked("codedeploy").create_application(applicationName=""),
        lambda: unchecked("iam").create_user(UserName="a b"),
        lambda: unchecked("s3").create_bucket(Bucket="Not_A_Bucket"),
        lambda: unchecked("logs").create_log_group(logGroupName="a b"),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400, caught.value
    for name in ("../x", "a b", "", "x" * 300, "-x"):
        done = account.server.towpath("host", "run", "--", name, check=False)
        assert done.returncode != 0 and done.stdout == "", name


def test_a_host_of_a_taken_name_is_refused_and_the_first_stays(account, fleet):
    host = fleet.host("web")
    second = account.server.towpath("host", "run", host, check=False)
    assert second.returncode == 1 and host in second.stderr
    assert fleet.run(host, "hostname") == host


def test_many_pushes_in_a_row_end_with_the_newest_deployed(account, pipe):
    site = account.bucket("site")
    repository, _, _ = repository_with(account, {"a.txt": "0"})
    made = pipe([("Source", [source_action(repository)]), ("Publish", [publish_action(site)])])
    for number in range(1, 16):
        last = commit_to(account, repository, {"a.txt": str(number)})
    newest = lambda: account.s3.get_object(Bucket=site, Key="a.txt")["Body"].read() == b"15"
    wait_for(lambda: len(made.executions()) == 16, "sixteen executions")
    wait_for(lambda: all(one["status"] in ("Succeeded", "Superseded") for one in made.executions()), "all have ended")
    assert newest() and made.executions()[0]["sourceRevisions"][0]["revisionId"] == last


def test_many_builds_at_once_all_end(account, builds):
    project = account.project(spec("echo number $CODEBUILD_BUILD_NUMBER"))
    started = [builds.start(project) for _ in range(20)]
    for build in started:
        builds.wait(build, timeout=120)
    numbers = {builds.get(build)["buildNumber"] for build in started}
    assert numbers == set(range(1, 21))
