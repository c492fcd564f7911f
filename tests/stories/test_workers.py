"""Builds on other machines: a server that builds nothing itself, and workers as processes with folders of their own."""

import gzip
import io
import json
import os
import signal
import urllib.error
import urllib.request
import zipfile

import pytest
from accounts import Account
from botocore.exceptions import ClientError
from server import Server, wait_for
from watch import Builds, Pipe, build_action, phases_of, repository_with, source_action
from workers import CONTENT, Worker, packed, results


class Site:
    """A server without slots of its own, and its workers."""

    def __init__(self, folder, extra=()):
        self.folder = folder
        self.gate = folder / "gate"
        self.gate.mkdir()
        self.gate.chmod(0o777)
        self.server = Server(folder, extra=["--build-slots", "0", *extra]).start()
        self.account = Account(self.server, "w")
        self.builds = Builds(self.account)
        self.workers = []

    def token(self, **more):
        made = self.server.towpath("token", "create", "worker", "--json", *sum(([f"--{k}", v] for k, v in more.items()), []))
        return json.loads(made.stdout)

    def worker(self, name, token=None, **more):
        token = token or self.token()["token"]
        extra = ["--pass-folder", str(self.gate), *more.pop("extra", ())]
        self.workers.append(Worker(self.folder, self.server, token, name, extra=extra, **more).start())
        return self.workers[-1]

    def listed(self):
        listing = json.loads(self.server.towpath("workers", "--json").stdout)
        return {one["name"]: one for one in listing["workers"]}

    def holder(self, build, among):
        """The worker that runs a build, once one does."""
        def look():
            listed = self.listed()
            return next((one for one in among if build in listed.get(one.name, {}).get("builds", [])), None)
        return wait_for(look, f"a worker runs {build}")

    def waiting(self, suffix, artifact=None):
        """A project whose build waits in its command, unless the gate was open when it began."""
        commands = [f"echo at the gate; test -e {self.gate}/open || sleep 600", "echo through > out.txt"]
        text = {"version": 0.2, "phases": {"build": {"commands": commands}}, "artifacts": {"files": ["out.txt"]}}
        return self.account.project(json.dumps(text), suffix=suffix, artifacts=artifact)

    def at_the_gate(self, build, times=1):
        wait_for(lambda: self.builds.lines(build).count("at the gate") >= times, f"{build} waits in its command")

    def open(self):
        (self.gate / "open").touch()


@pytest.fixture
def site(tmp_path):
    yield from site_of(tmp_path)


@pytest.fixture
def secure_site(tmp_path):
    yield from site_of(tmp_path, ["--tls"])


def site_of(folder, extra=()):
    made = Site(folder, extra)
    yield made
    try:
        for worker in made.workers:
            worker.stop()
    finally:
        if made.server.process.poll() is None:
            made.server.stop()


SUITE = """<testsuite name="s"><testcase name="adds"/><testcase name="subtracts"><failure>2 != 3</failure></testcase></testsuite>"""


def test_a_worker_builds_from_a_repository_with_logs_reports_and_artifacts(site):
    account, builds = site.account, site.builds
    worker = site.worker("one")
    spec = {"version": 0.2, "env": {"exported-variables": ["WORD"]},
            "phases": {"build": {"commands": ["./run.sh", "export WORD=told", "git log -1 --format=%s",
                                              "mkdir out && cat word > out/word && cp suite.xml out/"]}},
            "reports": {"suite": {"files": ["suite.xml"], "file-format": "JUNITXML"}},
            "artifacts": {"files": ["out/**/*"]}}
    files = {"buildspec.yml": json.dumps(spec), "run.sh": "#!/bin/sh\necho it runs\n", "word": "of the source\n", "suite.xml": SUITE}
    login = account.git_user()
    name, url = account.repository()
    folder = account.checkout(site.folder / "tree", url, login)
    commit = account.commit(folder, files, "the subject")
    account.git(folder, "push", "-q", "origin", "main")
    bucket = account.bucket("out")
    project = account.project(
        source={"type": "CODECOMMIT", "location": url},
        artifacts={"type": "S3", "location": bucket, "name": "app.zip", "packaging": "ZIP"},
        logsConfig={"s3Logs": {"status": "ENABLED", "location": f"{bucket}/logs"}})
    built = builds.run(project)
    assert built["resolvedSourceVersion"] == commit
    lines = builds.lines(built["id"])
    assert "it runs" in lines and "the subject" in lines, lines
    assert any("Phase complete: UPLOAD_ARTIFACTS State: SUCCEEDED" in line for line in lines)
    stored = account.s3.get_object(Bucket=bucket, Key="app.zip")["Body"].read()
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        assert archive.read("out/word") == b"of the source\n"
    assert built["exportedEnvironmentVariables"] == [{"name": "WORD", "value": "told"}]
    report = account.codebuild.batch_get_reports(reportArns=built["reportArns"])["reports"][0]
    assert report["status"] == "FAILED" and report["testSummary"]["total"] == 2
    key = next(one["Key"] for one in account.s3.list_objects_v2(Bucket=bucket, Prefix="logs/")["Contents"])
    kept = gzip.decompress(account.s3.get_object(Bucket=bucket, Key=key)["Body"].read()).decode()
    assert "it runs" in kept and "UPLOAD_ARTIFACTS State: SUCCEEDED" in kept
    # A source in S3, a buildspec in S3, and a role that may not.
    account.s3.put_object(Bucket=bucket, Key="spec.yml", Body=b"version: 0.2\nphases: {build: {commands: [cat word]}}\n")
    far = builds.run(project, buildspecOverride=f"arn:aws:s3:::{bucket}/spec.yml", artifactsOverride={"type": "NO_ARTIFACTS"})
    assert "of the source" in builds.lines(far["id"])
    powerless = account.project("version: 0.2\nphases: {build: {commands: ['true']}}\n", suffix="powerless",
                                source={"type": "CODECOMMIT", "location": url}, role=account.role("codebuild", ["logs:*"]))
    refused = builds.run(powerless, "FAILED")
    assert phases_of(refused)["DOWNLOAD_SOURCE"] == "FAILED" and "codecommit:GitPull" in json.dumps(refused["phases"], default=str)
    wait_for(lambda: not worker.builds_left(), "nothing of the builds stays on the worker")
    assert not os.listdir(site.server.data / "codebuild/builds"), "nor on the server"
    assert "one" in site.listed() and site.listed()["one"]["builds"] == []


def test_the_log_is_live_and_a_stop_reaches_the_worker(site):
    worker = site.worker("one")
    build = site.builds.start(site.waiting("stop"))
    site.at_the_gate(build)
    assert site.builds.get(build)["buildStatus"] == "IN_PROGRESS"
    assert site.holder(build, [worker]) is worker
    wait_for(worker.builds_left, "the worker has the build's folder")
    site.account.codebuild.stop_build(id=build)
    assert site.builds.get(build)["buildStatus"] == "STOPPED"
    wait_for(lambda: not worker.builds_left(), "the worker has dropped it", timeout=20)


def test_a_worker_builds_for_a_pipeline(site):
    account = site.account
    site.worker("one")
    spec = {"version": 0.2, "phases": {"build": {"commands": ["tr a-z A-Z < word > shout"]}}, "artifacts": {"files": ["shout"]}}
    repository, _, _ = repository_with(account, {"buildspec.yml": json.dumps(spec), "word": "quiet\n"})
    project = account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    bucket = account.bucket("pipe-artifacts")
    made = Pipe(account, account.pipeline(
        [("Source", [source_action(repository)]), ("Build", [build_action(project)])], bucket=bucket))
    made.wait(made.nth(1), timeout=90)
    stored = [account.s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
              for one in account.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    names = [zipfile.ZipFile(io.BytesIO(one)) for one in stored]
    built = [archive for archive in names if "shout" in archive.namelist()]
    assert len(built) == 1 and built[0].read("shout") == b"QUIET\n"


def test_builds_of_a_killed_and_of_a_frozen_worker_run_again_elsewhere_and_have_one_result(site):
    account, builds = site.account, site.builds
    bucket = account.bucket("out")
    lost, held = [], {}
    for name in ("killed", "frozen"):
        worker = site.worker(name, slots=1)
        to = {"type": "S3", "location": bucket, "name": f"{name}.zip", "packaging": "ZIP"}
        held[name] = builds.start(site.waiting(name, to))
        site.at_the_gate(held[name])
        assert site.holder(held[name], [worker]) is worker
        lost.append(worker)
    killed, frozen = lost
    site.open()
    killed.kill()
    frozen.signal(signal.SIGSTOP)
    site.worker("other")
    for build in held.values():
        assert builds.wait(build, timeout=120)["buildNumber"] == 1
        assert any("attempt 2" in line for line in builds.lines(build)), builds.log(build)
    look = lambda: {one["Key"]: (one["ETag"], one["LastModified"]) for one in account.s3.list_objects_v2(Bucket=bucket)["Contents"]}
    before = look()
    assert sorted(before) == ["frozen.zip", "killed.zip"]
    frozen.signal(signal.SIGCONT)
    wait_for(lambda: not frozen.builds_left(), "the revived worker has destroyed its sandbox", timeout=60)
    assert look() == before
    succeeded = [event["detail"]["build-id"] for event in site.server.events("aws.codebuild")
                 if event["detail-type"] == "CodeBuild Build State Change" and event["detail"]["build-status"] == "SUCCEEDED"]
    assert len(succeeded) == 2 and len(set(succeeded)) == 2
    assert frozen.process.poll() is None, "it is of use again"


def test_a_build_goes_on_while_its_server_is_killed_and_started_again(site):
    site.worker("one")
    text = {"version": 0.2, "phases": {"build": {"commands": ["echo at the gate", "sleep 8", "echo through"]}}}
    build = site.builds.start(site.account.project(json.dumps(text), suffix="restart"))
    site.at_the_gate(build)
    site.server.restart()
    site.builds.wait(build, timeout=90)
    lines = site.builds.lines(build)
    assert lines.count("at the gate") == 1 and "through" in lines, "it did not begin again"
    assert not any("attempt 2" in line for line in lines)


def test_the_servers_bounds_hold_on_a_worker(tmp_path):
    """What a build may use is the server's word, wherever it runs; a worker that logs beyond it is refused."""
    site = Site(tmp_path, ["--build-disk-bytes", str(64 << 20), "--build-log-bytes", str(64 << 10)])
    try:
        text = lambda command: json.dumps({"version": 0.2, "phases": {"build": {"commands": [command]}}})
        full = site.builds.start(site.account.project(text("head -c 300M /dev/zero > full; sleep 600"), suffix="disk"))
        loud = site.builds.start(site.account.project(text("yes | head -c 2M"), suffix="log"))
        worker = site.worker("one")
        ended = site.builds.wait(full, "FAILED")
        build = next(one for one in ended["phases"] if one["phaseType"] == "BUILD")
        assert build["contexts"][0]["statusCode"] == "DISK_QUOTA_EXCEEDED", ended["phases"]
        site.builds.wait(loud)
        assert any("The log is full at 65536 bytes" in line for line in site.builds.lines(loud))
        worker.stop()
        flooded = site.builds.start(site.account.project(text("true"), suffix="flood"))
        token = site.token()["token"]
        status, answer = ask(site, "claim", {"name": "liar", "slots": 1}, token)
        hold = answer["claimed"]["hold"]
        assert answer["claimed"]["bounds"] == {"disk_bytes": 64 << 20, "log_bytes": 64 << 10}
        assert ask(site, "open", hold, token)[0] == 200
        events = [{"timestamp": None, "message": "x" * 8000}] * 90
        told = [ask(site, "log", {"hold": hold, "events": events}, token) for _ in range(13)]
        assert [status for status, _ in told][:11] == [200] * 11 and told[-1][0] == 400, told
        assert "log is full" in json.dumps(told[-1][1])
        assert ask(site, "release", hold, token)[0] == 200
        site.account.codebuild.stop_build(id=flooded)
    finally:
        for worker in site.workers:
            worker.stop()
        site.server.stop()


def test_a_workers_results_are_no_more_than_the_servers_own_bounds(tmp_path):
    """What a build may write and log bounds what a worker may say that it left, whatever it says; and the rest is as
    large as a build's files could have made it."""
    disk, log = 16 << 20, 64 << 10
    site = Site(tmp_path, ["--build-disk-bytes", str(disk), "--build-log-bytes", str(log)])
    try:
        account, token = site.account, site.token()["token"]
        bucket = account.bucket("out")
        spec = {"version": 0.2, "phases": {"build": {"commands": ["true"]}}, "artifacts": {"files": ["*"]}}
        build = site.builds.start(account.project(json.dumps(spec), artifacts={"type": "S3", "location": bucket, "name": "a", "packaging": "ZIP"}))
        hold = ask(site, "claim", {"name": "liar", "slots": 1}, token)[1]["claimed"]["hold"]
        assert ask(site, "open", hold, token)[0] == 200
        done = {"PhaseDone": {"status": "Succeeded", "context": {"code": "", "message": ""}, "next": "UploadArtifacts"}}
        assert ask(site, "step", {"hold": hold, "number": 1, "step": {"input": done, "facts": "Nothing"}}, token)[0] == 200
        head = {"x-towpath-delivery": json.dumps({"hold": hold, "number": 2})}
        deliver = lambda manifest, files: ask(site, "results", packed(manifest, files), token, **head)
        put = lambda key, file: {"bucket": bucket, "key": key, "file": file, "once": False, "sha256": None, "content_type": None}
        case = {"name": "n", "prefix": None, "suite": None, "status": "Succeeded", "duration_ns": 1, "message": None, "file": "f"}
        report = lambda **wrong: {"group": "g", "create_group": True, "uuid": "0" * 8, "truncated": False, "cases": [case | wrong]}
        artifact = {"identifier": "i", "location": "l", "sha256": None}
        half = bytes(disk // 2 + (2 << 20))
        for manifest, files, told in (
                ({}, {"stage/a": half, "stage/b": half}, "artifacts of"),
                ({}, {"log.gz": bytes((9 << 20) + log)}, "log.gz is larger"),
                ({}, {"other": b"x"}, "none of a build's"),
                ({"puts": [put("one", "stage/a"), put("two", "stage/a")]}, {"stage/a": b"x"}, "one file for two objects"),
                ({"reports": [report() | {"uuid": str(number)} for number in range(6)]}, {}, "too many reports"),
                ({"reports": [report(message="x" * 5000)]}, {}, "no report file could have"),
                ({"reports": [report(name="x" * 5000)]}, {}, "no report file could have"),
                ({"reports": [report(duration_ns=(1 << 63) - 1)]}, {}, "no report file could have"),
                ({"reports": [report(duration_ns=-1)]}, {}, "no report file could have"),
                ({"artifacts": artifact | {"location": "x" * 5000}}, {}, "too long names"),
                ({"secondary": [artifact] * 13}, {}, "too many artifacts"),
                ({"exported": [["N", "x" * (600 << 10)]]}, {}, "exported variables")):
            status, answer = deliver(manifest, files)
            assert status == 400 and told in json.dumps(answer), (told, status, answer)
        # More than all of that together: refused by its announced size, before a byte of it is taken.
        request = urllib.request.Request(f"{site.server.url}/_towpath/work/results", data=b"", method="POST", headers={
            "Authorization": f"Bearer {token}", "Content-Length": str(2 << 30), **head})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 413, refused.value.read()
        assert site.builds.get(build)["buildStatus"] == "IN_PROGRESS"
        assert not list((site.server.data / "codebuild/builds").glob("*transfer*/*")), "nothing of it stays"
        # What fits is taken: all cases of a hundred years together are more than a number holds.
        long = {"reports": [report() | {"cases": [case | {"duration_ns": 3_200_000_000 * 10**9}] * 4}], "failures": ["x" * 100_000] * 300}
        assert deliver(long | {"puts": [put("a", "stage/a")]}, {"stage/a": bytes(disk // 2), "log.gz": b""})[0] == 200
        ended = site.builds.wait(build, "FAILED")
        assert account.s3.head_object(Bucket=bucket, Key="a")["ContentLength"] == disk // 2
        found = account.codebuild.batch_get_reports(reportArns=ended["reportArns"])["reports"][0]
        assert found["testSummary"]["durationInNanoSeconds"] == (1 << 63) - 1
        assert len(json.dumps(ended, default=str)) < 2 << 20
    finally:
        site.server.stop()


def test_a_worker_of_a_server_with_its_own_authority(secure_site):
    """The worker is given the authority; what its builds run needs none, and reaches the server all the same."""
    site = secure_site
    account, builds = site.account, site.builds
    (site.folder / "ca.pem").write_text(site.server.towpath("ca").stdout)
    stranger = site.worker("stranger")
    trusting = site.worker("trusting", extra=["--ca", str(site.folder / "ca.pem")])
    name, url, _ = repository_with(account, {"word": "of the source\n"})
    assert url.startswith("https://")
    user, password = account.git_user()
    login = f"!f() {{ echo username='{user}'; echo password='{password}'; }}; f"
    reach = "import os,urllib.request; print('health', urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/_towpath/health').status)"
    commands = ["cat word", f'python3 -c "{reach}"', f'git -c "credential.helper={login}" clone -q {url} again', "cat again/word",
                "echo $AWS_ENDPOINT_URL > out"]
    spec = {"version": 0.2, "phases": {"build": {"commands": commands}}, "artifacts": {"files": ["out"]}}
    bucket = account.bucket("out")
    project = account.project(json.dumps(spec), source={"type": "CODECOMMIT", "location": url},
                              artifacts={"type": "S3", "location": bucket, "name": "o", "packaging": "NONE"})
    built = builds.run(project)
    lines = builds.lines(built["id"])
    assert lines.count("of the source") == 2 and "health 200" in lines, lines
    told = account.s3.get_object(Bucket=bucket, Key="o/out")["Body"].read().decode()
    assert told.startswith("http://127.0.0.1:"), told
    # Whoever does not know the authority sends no token to the server.
    wait_for(lambda: "cannot ask for builds" in stranger.log(), "the stranger is told")
    assert "certificate" in stranger.log().lower() or "UnknownIssuer" in stranger.log(), stranger.log()
    assert set(site.listed()) == {"trusting"} and trusting.process.poll() is None


def ask(site, name, content, token, **headers):
    """A worker's request as a liar would make it; status and answer."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(f"{site.server.url}/_towpath/work/{name}", data=body, method="POST", headers=headers)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
    except (urllib.error.URLError, ConnectionError) as error:
        assert len(body) > 1 << 20, error
        return "cut off", None


def test_tokens_are_needed_listed_and_revoked(site):
    made = site.token(note="rack 3", days="7")
    claim = {"name": "liar", "slots": 1}
    forged = made["token"][:-1] + ("a" if made["token"][-1] != "a" else "b")
    for bad in (None, "", "twk_x_y", forged, made["token"] + "x"):
        assert ask(site, "claim", claim, bad)[0] == 401
    listing = json.loads(site.server.towpath("token", "list", "--json").stdout)["tokens"]
    assert [one["note"] for one in listing] == ["rack 3"]
    assert made["token"] not in json.dumps(listing) and made["token"].split("_")[2] not in site.server.log()
    stranger = site.account.user("codebuild:*")
    for words in (["token", "create", "worker"], ["token", "list"], ["token", "revoke", made["id"]], ["workers"]):
        done = site.server.towpath(*words, keys=stranger, check=False)
        assert done.returncode != 0 and "AccessDenied" in done.stderr, done.stderr
    worker = site.worker("one", token=made["token"])
    build = site.builds.start(site.waiting("revoked"))
    site.at_the_gate(build)
    site.server.towpath("token", "revoke", made["id"])
    assert worker.process.wait(timeout=60) != 0, "a worker without a token ends"
    assert "token" in worker.log()
    assert ask(site, "claim", claim, made["token"])[0] == 401
    assert site.builds.get(build)["buildStatus"] == "IN_PROGRESS", "it waits for another worker"
    site.open()
    site.worker("two")
    site.builds.wait(build)
    assert any("attempt 2" in line for line in site.builds.lines(build))


def test_a_worker_that_lies_is_refused(site):
    """It may not touch what it does not hold, end a build without results, or send more than there is room for."""
    account = site.account
    mine, other = site.token()["token"], site.token()["token"]
    build = site.builds.start(site.waiting("lies", {"type": "S3", "location": account.bucket("out"), "name": "a", "packaging": "ZIP"}))
    status, answer = ask(site, "claim", {"name": "liar", "slots": 1}, mine)
    claimed = answer["claimed"]
    assert status == 200 and claimed["doc"]["id"] == build
    hold = claimed["hold"]
    elsewhere = hold | {"build": hold["build"].replace(build, "other:" + "0" * 36)}
    step = lambda input, number=1, facts="Nothing": {"hold": hold, "number": number, "step": {"input": input, "facts": facts}}
    done = {"PhaseDone": {"status": "Succeeded", "context": {"code": "", "message": ""}, "next": "DownloadSource"}}
    # Builds that are not its own, by token, by fence, by name.
    for name, content in (("keep", hold), ("open", hold), ("buildspec", hold), ("release", hold), ("step", step(done)),
                          ("log", {"hold": hold, "events": []}), ("source", {"hold": hold, "index": 0})):
        assert ask(site, name, content, other)[0] == 409, name
        for wrong in (hold | {"fence": hold["fence"] + 1}, elsewhere):
            content = wrong if content == hold else content | {"hold": wrong}
            assert ask(site, name, content, mine)[0] == 409, name
    # Steps that are not a worker's to take, or out of turn.
    for input in ("Claimed", "Staged", "Lost", "Stop", "Finalized", {"Published": {"status": "Succeeded", "context": {"code": "", "message": ""}}},
                  {"PhaseDone": done["PhaseDone"] | {"next": "Queued"}}, {"PhaseDone": done["PhaseDone"] | {"next": "Completed"}}):
        assert ask(site, "step", step(input), mine)[0] == 400, input
    assert ask(site, "step", step(done, facts={"Stored": {"report_arns": ["x"], "uploaded": True}}), mine)[0] == 400
    assert ask(site, "step", step(done, number=2), mine)[0] == 400
    # The same step twice is one step.
    for _ in range(2):
        status, answer = ask(site, "step", step(done), mine)
        assert status == 200 and answer["doc"]["progress"]["phases"][-1]["kind"] == "DownloadSource"
    # Results before their time, and bodies beyond all bounds.
    head = json.dumps({"hold": hold, "number": 2})
    assert ask(site, "results", b"x", mine, **{"x-towpath-delivery": head})[0] == 400
    assert ask(site, "keep", b" " * (70 << 10), mine)[0] == 413
    assert ask(site, "log", b" " * (7 << 20), mine)[0] in (413, "cut off")
    assert site.builds.get(build)["buildStatus"] == "IN_PROGRESS"
    # Artifacts that are another's, that are not there, that lead out.
    upload = {"PhaseDone": done["PhaseDone"] | {"next": "UploadArtifacts"}}
    assert ask(site, "step", step(upload, 2), mine)[0] == 200
    head = json.dumps({"hold": hold, "number": 3})
    good = {"bucket": "out-of-reach", "key": "k", "file": "stage/a", "once": False, "sha256": None, "content_type": None}
    bucket = f"{account.name}-out"
    for put, files in ((good, ["stage/a"]), (good | {"bucket": bucket}, []), (good | {"bucket": bucket, "file": "/etc/passwd"}, []),
                       (good | {"bucket": bucket, "file": "../../identity/root-credentials.json"}, []),
                       (good | {"bucket": bucket, "file": "link"}, ["link"])):
        status, answer = ask(site, "results", results([put], files), mine, **{"x-towpath-delivery": head})
        assert status == 400, (put, answer)
    assert ask(site, "results", results([good | {"bucket": bucket}], ["stage/a"]), other, **{"x-towpath-delivery": head})[0] == 409
    assert site.builds.get(build)["buildStatus"] == "IN_PROGRESS"
    # What is true is taken, once.
    for _ in range(2):
        assert ask(site, "results", results([good | {"bucket": bucket}], ["stage/a"]), mine, **{"x-towpath-delivery": head})[0] == 200
    site.builds.wait(build)
    assert account.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == CONTENT
    assert ask(site, "keep", hold, mine)[0] == 409
    with pytest.raises(ClientError):
        account.s3.head_object(Bucket=bucket, Key="link")
