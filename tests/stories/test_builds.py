"""Builds as their users see them: buildspecs, logs while they run, reports, artifacts, and what a build may see."""

import io
import json
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import zipfile

import pytest
from botocore.exceptions import ClientError

from accounts import Account, zipped
from server import BIN, Server, wait_for
from watch import Builds, build_action, commit_to, deploy_action, needs_root, phases_of, repository_with, source_action

ORDER = ["SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD",
         "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED"]


def spec(*commands, **more):
    """A buildspec (JSON is YAML) that runs `commands` in its build phase."""
    phases = {"build": {"commands": list(commands)}} | more.pop("phases", {})
    return json.dumps({"version": 0.2, "phases": phases} | more)


def context(build, phase):
    found = next(one for one in build["phases"] if one["phaseType"] == phase)
    return " ".join(f"{one.get('statusCode')}: {one.get('message')}" for one in found.get("contexts", []))


def stored(account, bucket, key):
    return account.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def keys(account, bucket):
    return sorted(one["Key"] for one in account.s3.list_objects_v2(Bucket=bucket).get("Contents", []))


# ---- buildspecs ----------------------------------------------------------------------------------------


def test_the_buildspec_is_inline_in_the_source_or_an_object(account, builds):
    inline = account.project(spec("echo from-inline"))
    assert "from-inline" in builds.log(builds.run(inline)["id"])
    files = {"buildspec.yml": "version: 0.2\nphases: {build: {commands: [echo from-$(cat word)]}}\n",
             "ci/other.yml": "version: 0.2\nphases: {build: {commands: [echo other-$(cat word)]}}\n", "word": "source\n"}
    repository, url, commit = repository_with(account, files)
    project = account.project(source={"type": "CODECOMMIT", "location": url}, suffix="source")
    built = builds.run(project)
    assert built["resolvedSourceVersion"] == commit
    assert "from-source" in builds.log(built["id"])
    other = builds.run(project, buildspecOverride="ci/other.yml")
    assert "other-source" in builds.log(other["id"])
    bucket = account.bucket("specs")
    account.s3.put_object(Bucket=bucket, Key="b.yml", Body=spec("echo from-object $(cat word)").encode())
    far = builds.run(project, buildspecOverride=f"arn:aws:s3:::{bucket}/b.yml")
    assert "from-object source" in builds.log(far["id"])
    missing = builds.run(project, "FAILED", buildspecOverride="nope.yml")
    assert context(missing, "DOWNLOAD_SOURCE") == "YAML_FILE_ERROR: YAML file does not exist"


def test_an_s3_source_and_a_version_of_a_repository(account, builds):
    bucket = account.bucket("sources")
    account.s3.put_object(Bucket=bucket, Key="src.zip", Body=zipped({"word": "zipped", "run.sh": "#!/bin/sh\ncat word\n"}))
    project = account.project(spec("./run.sh"), source={"type": "S3", "location": f"{bucket}/src.zip"})
    assert "zipped" in builds.lines(builds.run(project)["id"])
    repository, url, first = repository_with(account, {"word": "first\n"})
    commit_to(account, repository, {"word": "second\n"})
    git = account.project(spec("cat word"), source={"type": "CODECOMMIT", "location": url}, suffix="git")
    assert "second" in builds.lines(builds.run(git)["id"])
    assert "first" in builds.lines(builds.run(git, sourceVersion=first)["id"])


@pytest.mark.parametrize("text, expected", [
    ("version: 0.2\nphases:\n  build:\n    comands:\n      - make\n", ["comands", "line 4"]),
    ("version: 0.2\nphases:\n  bild:\n    commands: [make]\n", ["bild", "line 3"]),
    ("version: 0.2\nphases:\n  build:\n    commands: {a: 1}\n", ["expected Commands to be a list", "line 4"]),
    ("version: 0.3\nphases:\n  build:\n    commands: [make]\n", ["0.3", "line 1"]),
    ("version: 0.2\nphases:\n  build:\n    commands: [make\n", ["line"]),
])
def test_a_wrong_buildspec_is_explained_by_line_and_key_and_nothing_runs(account, builds, text, expected):
    build = builds.run(account.project(text), "FAILED")
    told = context(build, "DOWNLOAD_SOURCE")
    assert told.startswith("YAML_FILE_ERROR: ") and all(one in told for one in expected), told
    assert "BUILD" not in phases_of(build)


def test_phases_and_statuses_are_true(account, builds):
    text = spec("echo building", phases={"install": {"commands": ["true"]}, "post_build": {"commands": ["true"]}})
    build = builds.run(account.project(text))
    found = phases_of(build)
    assert list(found) == ORDER
    assert all(status == "SUCCEEDED" for phase, status in found.items() if phase != "COMPLETED")
    assert build["currentPhase"] == "COMPLETED" and build["buildNumber"] == 1
    starts = [one["startTime"] for one in build["phases"]]
    assert starts == sorted(starts)
    assert build["startTime"] <= build["endTime"]


def test_commands_share_a_shell_and_a_failure_skips_to_post_build(account, builds):
    steps = {"pre_build": {"commands": ["export WORD=kept", "mkdir -p deep && cd deep", "greet() { echo hi $1; }"]},
             "build": {"commands": ['echo "word is $WORD in $(basename "$PWD")"', "greet you", "exit 3", "echo never"],
                       "finally": ["echo finally ran"]},
             "post_build": {"commands": ['echo "succeeding=$CODEBUILD_BUILD_SUCCEEDING"']}}
    build = builds.run(account.project(spec(phases=steps, env={"shell": "bash"})), "FAILED")
    log = builds.log(build["id"])
    for line in ("word is kept in deep", "hi you", "finally ran", "succeeding=0"):
        assert line in log, log
    assert "\nnever" not in log
    assert (phases_of(build)["BUILD"], phases_of(build)["POST_BUILD"]) == ("FAILED", "SUCCEEDED")
    assert "COMMAND_EXECUTION_ERROR" in context(build, "BUILD") and "exit status 3" in context(build, "BUILD")


def test_variables_start_over_project_over_buildspec(account, builds):
    text = spec('echo "A=$A B=$B C=$C"', "env | grep ^CODEBUILD_ | sort", env={"variables": {"A": "spec", "B": "spec", "C": "spec"}})
    project = account.project(text)
    account.codebuild.update_project(name=project, environment={
        "type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL",
        "environmentVariables": [{"name": "B", "value": "project"}, {"name": "C", "value": "project"}]})
    build = builds.run(project, environmentVariablesOverride=[{"name": "C", "value": "start"}])
    log = builds.log(build["id"])
    assert "A=spec B=project C=start" in log
    assert f"CODEBUILD_BUILD_ID={build['id']}" in log and f"CODEBUILD_BUILD_ARN={build['arn']}" in log
    assert "CODEBUILD_BUILD_NUMBER=1" in log and "CODEBUILD_CI=true" in log


# ---- while it runs -------------------------------------------------------------------------------------


def test_the_log_is_read_while_the_build_runs(account, builds):
    """The aws CLI and `towpath logs -f` both see lines before the build has ended; then it is stopped."""
    project = account.project(spec("echo first line", "while [ ! -e done ]; do sleep 0.1; done"))
    build = builds.start(project)
    followed = subprocess.Popen([BIN, "logs", "-f", build], env=account.server.env(), stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: "first line" in builds.log(build), "the first line")
        where = builds.get(build)["logs"]
        read = account.server.aws("logs", "get-log-events", "--log-group-name", where["groupName"],
                                  "--log-stream-name", where["streamName"], "--start-from-head")
        assert any(event["message"].strip() == "first line" for event in read["events"])
        assert builds.get(build)["buildStatus"] == "IN_PROGRESS" and builds.get(build)["currentPhase"] == "BUILD"
        for line in followed.stdout:
            if line.strip() == "first line":
                break
        assert builds.get(build)["buildStatus"] == "IN_PROGRESS", "it was followed, not read afterwards"
        account.codebuild.stop_build(id=build)
        stopped = builds.wait(build, "STOPPED")
        assert phases_of(stopped)["BUILD"] == "STOPPED" and "UPLOAD_ARTIFACTS" not in phases_of(stopped)
        assert followed.wait(timeout=30) == 1, "the build did not succeed, so following it did not"
    finally:
        followed.kill()


def test_a_timeout_below_awss_shortest_is_refused(account, builds):
    project = account.project(spec("true"))
    unchecked = account.server.client("codebuild", parameter_validation=False)
    with pytest.raises(ClientError) as caught:
        unchecked.start_build(projectName=project, timeoutInMinutesOverride=1)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert "timeoutInMinutesOverride" in str(caught.value) and "greater than or equal to 5" in str(caught.value)
    assert account.codebuild.list_builds_for_project(projectName=project)["ids"] == []
    build = builds.run(project, timeoutInMinutesOverride=6, queuedTimeoutInMinutesOverride=7)
    assert (build["timeoutInMinutes"], build["queuedTimeoutInMinutes"]) == (6, 7)


def test_retry_runs_the_same_build_again(account, builds):
    repository, url, commit = repository_with(account, {"word": "first\n"})
    project = account.project(spec("cat word", '[ "$PASS" = yes ]'), source={"type": "CODECOMMIT", "location": url})
    no = [{"name": "PASS", "value": "no"}]
    failed = builds.run(project, "FAILED", sourceVersion=commit, environmentVariablesOverride=no)
    commit_to(account, repository, {"word": "second\n"})
    again = account.codebuild.retry_build(id=failed["id"])["build"]
    ended = builds.wait(again["id"], "FAILED")
    assert ended["resolvedSourceVersion"] == commit and ended["buildNumber"] == 2
    assert account.codebuild.list_builds_for_project(projectName=project)["ids"] == [again["id"], failed["id"]]


# ---- tests and reports -----------------------------------------------------------------------------------

SUITE = """\
import unittest
class Sums(unittest.TestCase):
    def test_adds(self): self.assertEqual(1 + 1, 2)
    def test_subtracts(self): self.assertEqual(3 - 1, %s)
    @unittest.skip("later")
    def test_divides(self): pass
"""
RUNNER = """\
import sys, unittest, xml.etree.ElementTree as tree
from xml.sax.saxutils import escape
suite = unittest.defaultTestLoader.discover(".")
class Result(unittest.TextTestResult):
    seen = []
    def addSuccess(self, test): super().addSuccess(test); self.seen.append((test.id(), ""))
    def addFailure(self, test, err):
        super().addFailure(test, err); self.seen.append((test.id(), "<failure message='%s'/>" % escape(str(err[1]))))
    def addSkip(self, test, why): super().addSkip(test, why); self.seen.append((test.id(), "<skipped/>"))
result = unittest.TextTestRunner(resultclass=Result).run(suite)
cases = "".join("<testcase classname='sums' name='%s' time='0.001'>%s</testcase>" % (i.split(".")[-1], x) for i, x in Result.seen)
open("junit.xml", "w").write("<testsuite name='sums'>%s</testsuite>" % cases)
sys.exit(not result.wasSuccessful())
"""
TESTED = """\
version: 0.2
phases:
  build:
    commands: [python3 run.py]
  post_build:
    commands: [echo post_build ran]
reports:
  unit:
    files: junit.xml
artifacts:
  files: ["**/*"]
"""


def report_of(account, build):
    report = account.codebuild.batch_get_reports(reportArns=build["reportArns"])["reports"][0]
    cases = account.codebuild.describe_test_cases(reportArn=report["arn"])["testCases"]
    return report, {case["name"]: case for case in cases}


def test_a_failing_test_suite_fails_the_build_and_never_reaches_a_host(account, builds, pipe, fleet):
    host = fleet.host("web")
    fleet.group()
    appspec = "version: 0.0\nos: linux\nfiles:\n  - source: /test_sums.py\n    destination: /opt/sums\n"
    repository, _, _ = repository_with(account, {
        "test_sums.py": SUITE % "3", "run.py": RUNNER, "buildspec.yml": TESTED, "appspec.yml": appspec})
    project = account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    made = pipe([("Source", [source_action(repository)]), ("Build", [build_action(project)]),
                 ("Deploy", [deploy_action(fleet.application, "web")])])
    first = made.newest()
    made.wait(first, "Failed")
    build = builds.get(made.latest("Build", "Build")["externalExecutionId"])
    assert (build["buildStatus"], phases_of(build)["POST_BUILD"]) == ("FAILED", "SUCCEEDED")
    assert "post_build ran" in builds.log(build["id"])
    report, cases = report_of(account, build)
    assert report["status"] == "FAILED"
    counts = report["testSummary"]["statusCounts"]
    assert (report["testSummary"]["total"], counts["SUCCEEDED"], counts["FAILED"], counts["SKIPPED"]) == (3, 1, 1, 1)
    assert cases["test_subtracts"]["status"] == "FAILED" and "2 != 3" in cases["test_subtracts"]["message"]
    assert "latestExecution" not in made.stages()["Deploy"]
    assert fleet.client.list_deployments(applicationName=fleet.application, deploymentGroupName="web")["deployments"] == []
    assert fleet.run(host, "ls", "/opt/sums", check=False).returncode != 0
    # The repaired suite passes, and only then is the host touched.
    commit_to(account, repository, {"test_sums.py": SUITE % "2"})
    second = made.nth(2)
    made.wait(second, timeout=90)
    report, cases = report_of(account, builds.get(made.latest("Build", "Build")["externalExecutionId"]))
    assert report["status"] == "SUCCEEDED" and report["testSummary"]["statusCounts"]["FAILED"] == 0
    assert "3 - 1, 2" in fleet.read(host, "/opt/sums/test_sums.py")


def test_exported_variables_are_told(account, builds):
    text = spec("export A=one", "B=two", "export C='x y'", env={"exported-variables": ["A", "B", "C"]})
    build = builds.run(account.project(text))
    told = {one["name"]: one["value"] for one in build["exportedEnvironmentVariables"]}
    assert told["A"] == "one" and told["C"] == "x y"


# ---- artifacts -------------------------------------------------------------------------------------------


def test_artifacts_as_zip_as_files_and_secondary(account, builds):
    bucket = account.bucket("out")
    make = "mkdir -p dist/sub && echo one > dist/one.txt && echo two > dist/sub/two.txt && echo doc > doc.md"
    text = spec(make, artifacts={"files": ["**/*"], "base-directory": "dist", "secondary-artifacts": {
        "docs": {"files": ["*.md"], "name": "docs.zip"}}})
    to = {"type": "S3", "location": bucket}
    project = account.project(
        text, artifacts=to | {"name": "app.zip", "packaging": "ZIP"},
        secondaryArtifacts=[to | {"artifactIdentifier": "docs", "name": "docs.zip", "packaging": "ZIP"}])
    build = builds.run(project)
    assert keys(account, bucket) == ["app.zip", "docs.zip"]
    with zipfile.ZipFile(io.BytesIO(stored(account, bucket, "app.zip"))) as archive:
        assert archive.read("one.txt") == b"one\n" and archive.read("sub/two.txt") == b"two\n"
    assert build["artifacts"]["location"] == f"arn:aws:s3:::{bucket}/app.zip"
    assert build["secondaryArtifacts"][0]["artifactIdentifier"] == "docs"
    loose = account.project(spec(make, artifacts={"files": ["dist/**/*"], "discard-paths": "yes"}), suffix="loose",
                            artifacts=to | {"name": "loose", "packaging": "NONE"})
    builds.run(loose)
    assert keys(account, bucket) == ["app.zip", "docs.zip", "loose/one.txt", "loose/two.txt"]
    nothing = builds.run(account.project(spec("true", artifacts={"files": ["*.jar"]}), suffix="nothing",
                                         artifacts=to | {"name": "n.zip", "packaging": "ZIP"}), "FAILED")
    assert "no matching artifact paths found" in context(nothing, "UPLOAD_ARTIFACTS")
    assert "n.zip" not in keys(account, bucket)


@pytest.mark.parametrize("target", ["/etc/shadow", "../../../../../../../../etc/shadow", "/proc/1/environ"])
@pytest.mark.parametrize("follow", ["no", "yes"])
def test_a_symlink_in_artifacts_leaks_nothing_of_the_host(account, builds, target, follow):
    bucket = account.bucket("out")
    text = spec(f"ln -s {target} leak && mkdir d && ln -s /etc d/etc && echo ok > ok.txt",
                artifacts={"files": ["leak", "ok.txt", "d/**/*"], "enable-symlinks": follow})
    project = account.project(text, artifacts={"type": "S3", "location": bucket, "name": "a.zip", "packaging": "ZIP"})
    build = builds.start(project)
    wait_for(lambda: builds.get(build)["buildComplete"], "its end")
    if keys(account, bucket):
        with zipfile.ZipFile(io.BytesIO(stored(account, bucket, "a.zip"))) as archive:
            for entry in archive.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                assert entry.filename == "ok.txt" or kind == stat.S_IFLNK, f"{entry.filename} was followed"
    else:
        assert "symbolic link" in context(builds.get(build), "UPLOAD_ARTIFACTS")


# ---- what a build sees -----------------------------------------------------------------------------------


@pytest.fixture
def homely_server(tmp_path):
    """A server whose user has secrets and a tool in a home of their own, outside the private /tmp."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="towpath-home-", dir="/var/tmp"))
    for name in (".ssh/id_ed25519", ".aws/credentials", ".netrc", ".bash_history", ".config/gh/hosts.yml"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("hush-hush\n")
    tool = home / "tools/bin/home-tool"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho the tool of the home ran\n")
    tool.chmod(0o755)
    server = Server(home, environment={
        "HOME": str(home), "PATH": f"{tool.parent}:{os.environ['PATH']}", "HTTPS_PROXY": "http://proxy.invalid:3128",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt", "PRIVATE_TOKEN": "hush-hush", "NAMED": "passed on"},
        extra=["--pass-env", "NAMED"]).start()
    (server.data / "planted").write_text("hush-hush\n")
    yield server, home
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


def test_a_build_sees_toolchains_and_proxies_and_no_secret_of_the_servers_user(homely_server):
    server, home = homely_server
    account = Account(server, "sees")
    builds = Builds(account)
    secrets = [home / name for name in (".ssh/id_ed25519", ".aws/credentials", ".netrc", ".bash_history",
                                        ".config/gh/hosts.yml")] + [server.data / "planted"]
    assert all("hush" in path.read_text() for path in secrets), "the control: outside they can be read"
    looks = [f"cat {path} || echo refused {number}" for number, path in enumerate(secrets)]
    roots = [path for path in ("/root/.ssh", "/root/.aws", "/root/.netrc") if os.path.exists(path)]
    looks += [f"ls -A {path} || echo hidden {path}" for path in roots]
    build = builds.run(account.project(spec(
        "home-tool", "python3 -c 'print(6 * 7)'", "git --version", *looks,
        f"grep -rs hush-hush {home} {server.data} | sed 's/^/leak: /'",
        'echo "proxy=$HTTPS_PROXY cert=$SSL_CERT_FILE named=$NAMED private=$PRIVATE_TOKEN"',
        'test -r "$SSL_CERT_FILE" && echo certificates are readable',
        "grep -c hush /proc/*/environ | grep -v ':0$' | sed 's/^/leak: /'", "head -c1 /etc/hostname >/dev/null && echo control")))
    lines = builds.lines(build["id"])
    for number in range(len(secrets)):
        assert f"refused {number}" in lines
    for path in roots:
        assert f"hidden {path}" in lines
    assert "the tool of the home ran" in lines and "42" in lines and "control" in lines
    assert "proxy=http://proxy.invalid:3128 cert=/etc/ssl/certs/ca-certificates.crt named=passed on private=" in lines
    assert "certificates are readable" in lines
    assert not any(line.startswith(("leak: ", "hush-hush")) for line in lines), lines


@needs_root
def test_what_a_build_does_to_its_root_is_gone_with_it(account, builds):
    probe = f"/opt/probe-{account.name}"
    build = builds.run(account.project(spec(f"mkdir -p {probe} && echo x > {probe}/x && cat {probe}/x")))
    assert "x" in builds.lines(build["id"])
    assert not os.path.exists(probe)
    again = builds.run(account.project(spec(f"ls {probe} || echo fresh"), suffix="again"))
    assert "fresh" in builds.lines(again["id"])


ASK_WHO = """\
import datetime, hashlib, hmac, os, urllib.parse, urllib.request
env, body, now = os.environ, b"Action=GetCallerIdentity&Version=2011-06-15", datetime.datetime.now(datetime.timezone.utc)
url = env["AWS_ENDPOINT_URL"]; day, at = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
headers = {"content-type": "application/x-www-form-urlencoded", "host": urllib.parse.urlparse(url).netloc,
           "x-amz-date": at, "x-amz-security-token": env["AWS_SESSION_TOKEN"]}
sha = lambda data: hashlib.sha256(data).hexdigest()
signed = ";".join(sorted(headers))
canonical = "\\n".join(["POST", "/", "", *(f"{k}:{headers[k]}" for k in sorted(headers)), "", signed, sha(body)])
scope = f"{day}/{env['AWS_REGION']}/sts/aws4_request"
key = ("AWS4" + env["AWS_SECRET_ACCESS_KEY"]).encode()
for part in scope.split("/"): key = hmac.new(key, part.encode(), hashlib.sha256).digest()
text = "\\n".join(["AWS4-HMAC-SHA256", at, scope, sha(canonical.encode())])
signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={env['AWS_ACCESS_KEY_ID']}/{scope}, "
                            f"SignedHeaders={signed}, Signature={signature}")
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(urllib.request.Request(url, body, headers), timeout=10).read().decode())
"""


def test_a_build_acts_as_its_service_role(account, builds):
    role = account.role("codebuild")
    _, url, _ = repository_with(account, {"who.py": ASK_WHO})
    project = account.project(spec("python3 who.py"), source={"type": "CODECOMMIT", "location": url}, role=role)
    log = builds.log(builds.run(project)["id"])
    assert f":assumed-role/{role.split('/')[-1]}/" in log, log


def test_a_role_without_rights_fails_the_build_and_says_which(account, builds):
    role = account.role("codebuild", ["logs:*"])
    _, url, _ = repository_with(account, {"a": "1"})
    build = builds.run(account.project(spec("true"), source={"type": "CODECOMMIT", "location": url}, role=role), "FAILED")
    assert "codecommit:GitPull" in context(build, "DOWNLOAD_SOURCE"), build["phases"]


def test_who_may_not_start_builds_is_told(account):
    project = account.project(spec("true"))
    stranger = account.server.client("codebuild", account.user("codebuild:ListProjects"))
    with pytest.raises(ClientError) as caught:
        stranger.start_build(projectName=project)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert "codebuild:StartBuild" in str(caught.value)
    assert account.codebuild.list_builds_for_project(projectName=project)["ids"] == []


@pytest.mark.skipif(shutil.which("aws") is None, reason="the server's PATH has no aws CLI to give to builds")
def test_the_aws_cli_and_git_inside_a_build_speak_to_the_server(account, builds):
    other, _, _ = repository_with(account, {"word": "of the other repository\n"}, suffix="other")
    bucket = account.bucket("made")
    role = account.role("codebuild", ["logs:*", "s3:*", "codecommit:*"])
    text = spec("aws sts get-caller-identity --query Arn --output text", f"echo made > f && aws s3 cp f s3://{bucket}/f",
                f"URL=$(aws codecommit get-repository --repository-name {other} --query repositoryMetadata.cloneUrlHttp --output text)",
                "git clone -q \"$URL\" other && cat other/word", env={"git-credential-helper": "yes"})
    log = builds.log(builds.run(account.project(text, role=role))["id"])
    assert f":assumed-role/{role.split('/')[-1]}/" in log and "of the other repository" in log
    assert stored(account, bucket, "f") == b"made\n"


def test_a_phase_that_fails_may_be_retried_or_passed_over(account, builds):
    steps = {"pre_build": {"on-failure": "CONTINUE", "commands": ["false", "echo not this"]},
             "build": {"on-failure": "RETRY-2", "commands": ["echo try >> tries", "[ $(wc -l < tries) -ge 3 ]", "echo at last"]}}
    started = builds.start(account.project(spec(phases=steps)))
    build = wait_for(lambda: (now := builds.get(started))["buildComplete"] and now, "its end")
    assert (phases_of(build)["PRE_BUILD"], phases_of(build)["BUILD"]) == ("FAILED", "SUCCEEDED")
    lines = builds.lines(build["id"])
    assert "at last" in lines and "not this" not in lines


def test_a_secret_of_the_builds_role_is_masked_in_its_log(account, builds):
    build = builds.run(account.project(spec("echo key=$AWS_SECRET_ACCESS_KEY token=$AWS_SESSION_TOKEN", "env | grep -c ^AWS_SECRET")))
    assert "key=*** token=***" in builds.lines(build["id"])
