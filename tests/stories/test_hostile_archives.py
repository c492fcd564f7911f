"""Archives that mean harm, at every door where users hand in archives: the source of a build, the input of a build in
a pipeline, a deployment to S3, a revision on its way to hosts. Each is refused by name, nothing is changed by it, and
the next good one goes through. What each format's reader refuses, the tests of platform/archive tell in full."""

import gzip
import io
import lzma
import tarfile
import warnings
import zipfile

import pytest

from accounts import action, zipped
from server import wait_for
from watch import build_action, phases_of, publish_action
from test_deployments import appspec, bundle, word
from test_rough_input import spec

LINK, FILE = 0o120777, 0o100644


def packed(*entries, method=zipfile.ZIP_STORED):
    """A zip of (name, mode, content)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # Python's own, of names that come twice
        for name, mode, content in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, method
            archive.writestr(entry, content)
    return buffer.getvalue()


def tarred(*entries):
    """A tar of (name, kind, content or target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, what in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(what)
                archive.addfile(entry, io.BytesIO(what.encode()))
            else:
                entry.linkname = what
                archive.addfile(entry)
    return buffer.getvalue()


def changed(body, at, value):
    """Another byte in the directory's first header."""
    at += body.index(b"PK\x01\x02")
    return body[:at] + bytes([value]) + body[at + 1:]


def hostile_zips(outside):
    """What each is, with the words that a person is told. `outside` is a file that none of them may change."""
    pair = packed(("a", FILE, "same"), ("b", FILE, "same"))
    second = pair.rindex(b"PK\x01\x02")
    bomb = packed(*((f"zeros-{number}", FILE, b"\0" * (35 << 20)) for number in range(2)), method=zipfile.ZIP_DEFLATED)
    return {
        "climbs": (packed(("a", FILE, "x"), ("../" * 30 + outside[1:], FILE, "x")), "climbs out with '..'"),
        "absolute": (packed(("a", FILE, "x"), (outside, FILE, "x")), "is absolute"),
        "through-a-link": (packed(("l", LINK, "d"), ("l/f", FILE, "x")), "entry 'l/f' is refused: a symlink is on its path"),
        "twice": (packed(("a", FILE, "x"), ("a", LINK, "b")), "entry 'a' is refused: its name comes twice"),
        "overlaps": (pair[:second + 42] + bytes(4) + pair[second + 46:], "overlaps"),
        "device": (packed(("d", 0o020666, "")), "entry 'd' is refused: it is a device"),
        "lies": (changed(packed(("a", FILE, "xyz"), method=zipfile.ZIP_DEFLATED), 24, 2), "another size or checksum"),
        "encrypted": (changed(packed(("a", FILE, "x")), 8, 1), "entry 'a' is encrypted"),
        "method": (packed(("a", FILE, "x" * 99), method=zipfile.ZIP_BZIP2), "compressed by method 12 (bzip2)"),
        "bomb": (bomb, "more than 250 times its size"),
        "cut": (pair[:-9], "cut off"),
        "two-in-one": (pair + pair, "something was put before its entries"),
        "xz": (lzma.compress(b"x" * 999), "xz-compressed data"),
    }


@pytest.fixture
def outside(tmp_path):
    file = tmp_path / "outside"
    file.write_text("mine")
    yield str(file)
    assert file.read_text() == "mine" and [one.name for one in tmp_path.iterdir()] == ["outside"]


def test_a_build_does_not_open_a_hostile_source(account, builds, outside):
    bucket, archives = account.bucket("sources"), hostile_zips(outside)
    project = account.project(spec("cat word"), source={"type": "S3", "location": f"{bucket}/good.zip"})
    for what, (body, _) in archives.items():
        account.s3.put_object(Bucket=bucket, Key=f"{what}.zip", Body=body)
    started = {what: builds.start(project, sourceLocationOverride=f"{bucket}/{what}.zip") for what in archives}
    for what, (_, words) in archives.items():
        build = builds.wait(started[what], "FAILED")
        told = [one for phase in build["phases"] for one in phase.get("contexts", []) if one.get("statusCode")]
        assert [one["statusCode"] for one in told] == ["CLIENT_ERROR"] and words in told[0]["message"], f"{what}: {told}"
        assert phases_of(build)["DOWNLOAD_SOURCE"] == "FAILED" and "BUILD" not in phases_of(build), what
    account.s3.put_object(Bucket=bucket, Key="good.zip", Body=zipped({"word": "good\n"}))
    assert "good" in builds.lines(builds.run(project)["id"])


def s3_source(account):
    inbox = account.bucket("inbox")
    account.s3.put_bucket_versioning(Bucket=inbox, VersioningConfiguration={"Status": "Enabled"})
    put = lambda body: account.s3.put_object(Bucket=inbox, Key="a.zip", Body=body)
    return put, action("Source", "Source", "S3", {"S3Bucket": inbox, "S3ObjectKey": "a.zip", "PollForSourceChanges": "false"},
                       outputs=["source"])


def test_a_pipeline_neither_builds_nor_publishes_what_is_hostile(account, pipe, outside):
    put, source = s3_source(account)
    site = account.bucket("site")
    project = account.project(spec("cat word"), source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    archives = hostile_zips(outside)
    # One file and six hundred links to it would become 19 GB of objects.
    links = [(f"link-{number}", LINK, "zeros") for number in range(600)]
    grows = packed(("zeros", FILE, b"\0" * (32 << 20)), *links, method=zipfile.ZIP_DEFLATED)
    not_utf8 = zipped({"aa": "x"}).replace(b"aa", b"\xff\xfe")
    chosen = {what: archives[what] for what in ("climbs", "twice", "overlaps", "lies", "bomb")}
    put(zipped({"word": "first\n"}))
    work = [publish_action(site, ObjectKey="v"), build_action(project, outputs=())]
    made = pipe([("Source", [source]), ("Work", work)])
    made.wait(made.newest())
    only = {"grows": (grows, "its files and links are more than 17179869184 bytes"), "not-utf8": (not_utf8, "not UTF-8"),
            # To a build it is a file like any other.
            "xz": archives["xz"]}
    for what, (body, words) in (chosen | only).items():
        put(body)
        execution = made.start()
        made.wait(execution, "Failed")
        told = made.action(execution, "Publish")["output"]["executionResult"]
        latest = made.latest("Work", "Publish")["errorDetails"]
        assert latest["code"] == "JobFailed" and words in latest["message"], f"{what}: {told} {latest}"
        assert [one["Key"] for one in account.s3.list_objects_v2(Bucket=site)["Contents"]] == ["v/word"], what
        if what in chosen:
            ran = wait_for(lambda: (found := made.action(execution, "Build"))["status"] != "InProgress" and found, what)
            assert ran["status"] == "Failed", f"{what}: {ran}"
            build = builds_of(account, project)[0]
            assert phases_of(build)["DOWNLOAD_SOURCE"] == "FAILED" and "BUILD" not in phases_of(build), what
    put(zipped({"word": "second\n"}))
    made.wait(made.start())
    assert account.s3.get_object(Bucket=site, Key="v/word")["Body"].read() == b"second\n"


def builds_of(account, project):
    """Newest first."""
    ids = account.codebuild.list_builds_for_project(projectName=project)["ids"]
    return account.codebuild.batch_get_builds(ids=ids[:1])["builds"]


def revision(fleet, body, kind, key):
    fleet.account.s3.put_object(Bucket=fleet.revisions, Key=key, Body=body)
    return {"revisionType": "S3", "s3Location": {"bucket": fleet.revisions, "key": key, "bundleType": kind}}


def hostile_bundles(outside):
    """Revisions that are well but for one entry."""
    files = {"appspec.yml": appspec(), "word.txt": "bad\n"}
    regular = [(name, tarfile.REGTYPE, text) for name, text in files.items()]
    plain = [(name, FILE, text) for name, text in files.items()]
    climbing = "../" * 30 + outside[1:]
    return {
        "zip-climbs": ("zip", packed(*plain, (climbing, FILE, "x")), "climbs out with '..'"),
        "zip-link": ("zip", packed(*plain, ("l", LINK, outside)), "its link leads out of the folder"),
        "zip-twice": ("zip", packed(*plain, ("word.txt", FILE, "x")), "entry 'word.txt' is refused: its name comes twice"),
        "tar-climbs": ("tar", tarred(*regular, (climbing, tarfile.REGTYPE, "x")), "climbs out with '..'"),
        "tar-link": ("tar", tarred(*regular, ("l", tarfile.SYMTYPE, "d"), ("l/f", tarfile.REGTYPE, "x")), "a symlink is on its path"),
        "tar-hard-link": ("tar", tarred(*regular, ("l", tarfile.LNKTYPE, climbing)), "its hard link leads out of the folder"),
        "tar-device": ("tar", tarred(*regular, ("d", tarfile.CHRTYPE, "")), "entry 'd' is refused: it is a device"),
        "tgz-cut": ("tgz", gzip.compress(tarred(*regular))[:-12], "cut off"),
        "tgz-two": ("tgz", gzip.compress(tarred(*regular)) * 2, "something comes after its end mark"),
        "tgz-xz": ("tgz", lzma.compress(tarred(*regular)), "expected a tgz archive, found xz-compressed data"),
    }


def test_a_hostile_revision_is_refused_by_the_server_and_by_the_host(account, fleet):
    host, group = fleet.host("a"), fleet.group()
    fleet.wait(fleet.deploy(fleet.revision(bundle("good"))))
    target = "/opt/app/word.txt"
    # A service role that may not read the revision leaves the looking to the agent.
    fleet.role = account.role("codedeploy", ["logs:CreateLogGroup"])
    blind = fleet.group("blind")
    for what, (kind, body, words) in hostile_bundles(target).items():
        location = revision(fleet, body, kind, f"{what}.{kind}")
        told = fleet.wait(fleet.deploy(location, group), "Failed")["errorInformation"]
        assert told["code"] == "INVALID_REVISION" and words in told["message"], f"{what}: {told}"
        failed = fleet.deploy(location, blind)
        fleet.wait(failed, "Failed")
        events = {one["lifecycleEventName"]: one for one in fleet.target(failed, host)["lifecycleEvents"]}
        assert events["DownloadBundle"]["status"] == "Failed" and events["Install"]["status"] in ("Pending", "Skipped"), what
        told = events["DownloadBundle"]["diagnostics"]
        assert told["errorCode"] == "UnknownError" and words in told["message"], f"{what}: {told}"
        assert word(fleet, host) == "good", what
    left = fleet.run(host, "sh", "-c", "find /opt/codedeploy-agent -name deployment-archive-temp -o -name bundle.tar")
    assert left == "", left
    fleet.wait(fleet.deploy(fleet.revision(bundle("better"), key="next.zip"), blind))
    assert word(fleet, host) == "better"
