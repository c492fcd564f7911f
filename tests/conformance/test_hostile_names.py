"""Names that lead elsewhere, in every string of every operation: nothing outside the data folder's proper places is
made, changed or read, and each answer is a modelled one. The same for ARNs of other accounts and regions.

`zqx` marks what is made up here. TOWPATH_EVERY_NAME=1 sends every name to every place, and not some of them in turn.
"""

import itertools
import os
import pathlib
import re

import pytest
import raw
from prober.client import Client
from prober.model import CBOR, MANIFEST, model
from prober.probes import Maker
from prober.report import Report
from prober.test_probes import HEAVY
from server import wait_for
from world import World

SECRET = "the-canary-sings-" + "f81d4fae"
# What belongs into a data folder, by paths beneath it.
ID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
PROPER = [re.compile(pattern) for pattern in (
    r"connection\.json", r"identity(/[a-z.-]+)?", r"store(/(lock|towpath\.db(-shm|-wal)?))?",
    r"objects(/(files|tmp|[0-9a-f]{2})(/[0-9a-f-]+)*)?", r"scratch(/(codedeploy|codepipeline|s3))?",
    rf"codebuild(/(place|builds(/{ID}.*)?))?", rf"codecommit(/(gitconfig|pushes|trash)(/{ID}.*)?)?",
    rf"codecommit/repositories(/{ID}\.git(/(HEAD|config|description|packed-refs|info/attributes))?)?",
    rf"codecommit/repositories/{ID}\.git/(branches|info|hooks|logs|objects|refs|worktrees)(/.*)?",
    r"sandboxes(/(bench|hosts|layers|run|trash|groups)(/.*)?)?")]


def hostile(folder):
    """The first are sent to every place, of the rest some in turn."""
    always = ["../../zqx", f"{folder}/canary", "a/../../../../../../../../etc/passwd", "zqx\0/../zqx", "%2e%2e%2f%2e%2e%2fzqx", ".."]
    others = [".", "/", "/etc/passwd", "..\\..\\zqx", ".git/hooks/post-receive", "hooks/post-receive", "refs/heads/../../hooks/zqx",
              "\u2025/\u2025/zqx", "\uff0e\uff0e\uff0fzqx", "~/zqx", f"$(touch {folder}/zqx)", f"`touch {folder}/zqx`", "-zqx",
              f"--output={folder}/zqx", f"--upload-pack=touch {folder}/zqx", f"ext::touch {folder}/zqx", f"file://{folder}/canary",
              "zqx/" * 1000, "zqx" * 90, "zqx\n..", "zqx.lock", "@{zqx}", "zqx:../canary", "..;/zqx", "....//....//zqx",
              "zqx\u0000", "\x7f../zqx", " ../zqx", "../zqx ", "CON", "..%c0%af..%c0%afzqx"]
    return always, others


class Ground:
    """The folder in which a server works, and a canary beside its data."""

    def __init__(self, folder):
        self.folder, self.canary = folder, folder / "canary"
        self.canary.write_text(SECRET)
        self.told = self.canary.stat()
        self.world = World(folder)
        self.report = Report()
        self.cwd = pathlib.Path(os.readlink(f"/proc/{self.world.server.process.pid}/cwd"))
        self.around = {place: self.names(place) for place in (folder, pathlib.Path("/"), pathlib.Path("/etc"))}
        self.hooks = self.all_hooks()

    @staticmethod
    def names(place):
        return {entry.name for entry in place.iterdir()}

    def all_hooks(self):
        return sorted(self.world.server.data.glob("codecommit/repositories/*/hooks/*"))

    def run(self, chosen):
        """Sends probes; fails with all that was wrong."""
        before = len(self.report.wrong)
        for probe, answer in Client(self.world.server).all(chosen):
            assert SECRET.encode() not in answer.body and b"root:x:0:0" not in answer.body, (probe.operation, probe.what)
            self.report.take(probe, answer, model(probe.service))
        if len(self.report.wrong) > before:
            pytest.fail(self.report.failures(before), pytrace=False)

    def check(self):
        data = self.world.server.data
        assert self.canary.read_text() == SECRET and self.canary.stat().st_mtime_ns == self.told.st_mtime_ns
        for place, before in self.around.items():
            assert {name for name in self.names(place) - before if "zqx" in name or place == self.folder} == set()
        for place in {self.cwd, self.folder, data, pathlib.Path("/"), pathlib.Path("/tmp"), pathlib.Path("/root"), pathlib.Path("/etc")}:
            assert not os.path.lexists(place / "zqx"), place
        assert self.all_hooks() == self.hooks
        strange = []
        for folder, folders, files in os.walk(data):
            for name in folders + files:
                path = os.path.relpath(os.path.join(folder, name), data)
                if not any(pattern.fullmatch(path) for pattern in PROPER):
                    strange.append(path)
            if folder == str(data / "sandboxes"):
                folders.remove("layers")
        assert strange == []


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    made = Ground(tmp_path_factory.mktemp("names"))
    yield made
    made.world.server.stop()


def makers(ground):
    for service in MANIFEST:
        described = model(service)
        protocol = next(one for one in described.protocols if one != CBOR)
        yield service, Maker(described, protocol, ground.world.known.get(service, {}))


def texts(maker, operation):
    """Every place for a text of one's own choice."""
    for place in maker.model.places(operation):
        if maker.model.kind(place.shape) == "string" and not maker.model.shapes[place.shape].get("enum"):
            yield place


def test_names_that_lead_elsewhere_lead_nowhere(ground):
    always, others = hostile(ground.folder)
    every = os.environ.get("TOWPATH_EVERY_NAME")
    turn = itertools.cycle(others)

    def probes():
        for service, maker in makers(ground):
            for operation in maker.model.operations:
                # What would start real work is told elsewhere; here it names nothing that exists.
                mine = Maker(maker.model, maker.protocol, {}) if operation in HEAVY else maker
                for place in texts(maker, operation):
                    for name in [*always, *(others if every else itertools.islice(turn, 4))]:
                        try:
                            value = mine.inputs.whole(operation, place.path, name)
                        except AttributeError:
                            continue
                        yield mine.probe(operation, f"{place}: {name!r}", value)

    ground.run(probes())
    ground.check()


def test_objects_have_any_key_and_no_path(ground):
    server, s3 = ground.world.server, ground.world.account.s3
    always, others = hostile(ground.folder)
    s3.create_bucket(Bucket="keys")
    for name in always + others:
        sent = name.encode("utf-8").replace(b"\0", b"")[:1000].decode("utf-8", "ignore")
        # botocore would tidy nothing up either, but boto3 refuses some keys by itself.
        path = "/keys/" + "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}" for byte in sent.encode())
        headers = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        answers = [raw.call(server, "s3", headers, body, method=method, path=path + more)
                   for method, body, more in (("PUT", b"mine", ""), ("GET", b"", ""), ("HEAD", b"", ""), ("GET", b"", "?tagging"))]
        for answer in answers:
            assert answer.status < 500 and SECRET not in answer.text and "root:x:0:0" not in answer.text, (name, answer)
        if answers[0].status == 200 and sent.strip("/"):
            assert answers[1].body == b"mine", name
        copied = raw.call(server, "s3", headers | {"x-amz-copy-source": path}, method="PUT", path="/keys/copy")
        assert copied.status < 500, copied
        bucket = raw.call(server, "s3", headers, method="PUT", path="/" + path.removeprefix("/keys/"))
        assert bucket.status < 500 and SECRET not in bucket.text, bucket
    # A path that was not written as one should be, straight to the socket.
    for path in ("/keys/../../canary", "/keys/..%2f..%2fcanary", "/../canary", "//etc/passwd", f"/{ground.folder}/canary",
                 "/v1/repos/../../../canary/info/refs?service=git-upload-pack", "/v1/repos/..%2f..%2fcanary/info/refs?service=git-upload-pack",
                 "/v1/repos/repo/../../../canary", "/v1/repos/repo/objects/../../../../canary", "/v1/repos/repo/HEAD",
                 "/v1/repos/repo%00/info/refs?service=git-upload-pack", "/_towpath/../canary", "/_towpath/work/../../canary"):
        for method in ("GET", "POST"):
            answer = raw.send(server, method, path, {"Host": f"127.0.0.1:{server.port}"}, b"")
            assert 400 <= answer.status < 500 or answer.status == 501, (path, answer)
            assert SECRET not in answer.text, (path, answer)
    ground.check()


def test_builds_read_and_write_below_their_own_folder(ground):
    """What a build's settings name: a buildspec, sources, artifacts, streams."""
    account = ground.world.account
    bucket, role = account.bucket("out"), account.role("codebuild")
    spec = "version: 0.2\nphases: {build: {commands: ['echo made > made']}}\nartifacts: {files: ['%s']}\n"
    project = account.project(spec % "made", role=role, artifacts={"type": "S3", "location": bucket, "packaging": "ZIP"})
    canary, changes = f"{ground.folder}/canary", []
    for name in ("../../zqx", canary, "../../../../../../../../etc/passwd"):
        changes += [{"buildspecOverride": name}, {"buildspecOverride": spec % name},
                    {"artifactsOverride": {"type": "S3", "location": bucket, "name": name, "packaging": "ZIP"}},
                    {"artifactsOverride": {"type": "S3", "location": bucket, "path": name, "packaging": "NONE"}}]
    started = []
    for change in changes:
        try:
            started.append(account.codebuild.start_build(projectName=project, **change)["build"]["id"])
        except account.codebuild.exceptions.InvalidInputException:
            pass
    assert len(started) >= 6
    look = lambda: account.codebuild.batch_get_builds(ids=started)["builds"]
    wait_for(lambda: all(build["buildComplete"] for build in look()), "all builds end", timeout=120)
    assert {build["buildStatus"] for build in look()} <= {"SUCCEEDED", "FAILED"}
    for one in account.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        content = account.s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        assert SECRET.encode() not in content and b"root:x:0:0" not in content, one["Key"]
    ground.check()


FOREIGN = "999999999999"


def test_arns_of_others_are_refused_everywhere(ground):
    def others(arn):
        parts = arn.split(":", 5)
        yield "another account", ":".join([*parts[:4], FOREIGN, parts[5]])
        yield "no account", ":".join([*parts[:4], "", parts[5]])
        if parts[3]:
            yield "another region", ":".join([*parts[:3], "eu-west-1", *parts[4:]])
        yield "another partition", ":".join(["arn", "aws-cn", *parts[2:]])
        yield "another service", ":".join([*parts[:2], "dynamodb", *parts[3:]])
        # The other way to separate a kind from a name: a policy's denial of the one must not be evaded by the other.
        yield "another spelling", ":".join([*parts[:5], parts[5].translate(str.maketrans("/:", ":/"))])
        yield "another kind of thing", ":".join([*parts[:5], "zqx/" + parts[5]])
        yield "two accounts", f"{arn}:{FOREIGN}:zqx"

    def probes():
        for service, maker in makers(ground):
            known = maker.inputs.known
            for operation in maker.model.operations:
                for place in texts(maker, operation):
                    name = next((step for step in reversed(place.path) if isinstance(step, str)), "")
                    if "arn" not in name.lower() + place.shape.lower():
                        continue
                    own = known.get(name, "")
                    for what, arn in others(own := own if own.startswith("arn:") else ground.world.role):
                        if arn == own:
                            continue
                        yield maker.probe(operation, f"{place}: {what}", maker.inputs.whole(operation, place.path, arn))

    before, done = ground.world.snapshot(), []
    chosen = list(probes())
    assert len(chosen) > 200
    for probe, answer in Client(ground.world.server).all(chosen):
        ground.report.take(probe, answer, model(probe.service))
        # What asks for many at once is told what there is not.
        found = [value for name, value in (answer.output or {}).items() if value and not name.endswith("NotFound")] \
            if probe.operation.startswith("BatchGet") and answer.status < 300 else True
        if answer.status < 300 and found:
            done.append((probe.service, probe.operation, probe.what))
    if ground.report.wrong:
        pytest.fail(ground.report.failures(), pytrace=False)
    assert done == []
    assert ground.world.snapshot() == before
    ground.check()
