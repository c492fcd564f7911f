"""A backup of a server that works meanwhile, restored; and a data folder of the version before this one."""

import pathlib
import subprocess
import threading

import pytest
from accounts import Account
from botocore.exceptions import BotoCoreError, ClientError
from kept import check, fill, unpack
from server import BIN, Server, wait_for
from watch import commit_to

OLD = sorted((pathlib.Path(__file__).parent / "data").glob("*.tar.gz"))


def towpath(*words):
    return subprocess.run([BIN, *map(str, words)], capture_output=True, text=True, timeout=120)


@pytest.fixture
def restored(tmp_path):
    """A server that is not started, for a data folder that a restore will make."""
    (tmp_path / "restored").mkdir()
    made = Server(tmp_path / "restored")
    yield made
    made.stop()


def body_of(key):
    """Every second one is too large to be kept in the database."""
    return key.encode() * (100 if int(key[1:]) % 2 else 10_000)


class Busy:
    """Somebody who writes objects, deletes some, commits and tags, all the while."""

    def __init__(self, account):
        self.account, self.bucket = account, account.bucket("busy")
        self.repository, _ = account.repository("busy")
        self.stop, self.written = threading.Event(), []
        self.commits = 0
        self.threads = [threading.Thread(target=self.run, args=(work,)) for work in (self.put, self.commit)]
        [thread.start() for thread in self.threads]

    def run(self, work):
        number = 0
        while not self.stop.is_set():
            number += 1
            try:
                work(number)
            except (BotoCoreError, ClientError) as error:
                self.written.append(error)
                return

    def put(self, number):
        key = f"k{number:05}"
        self.account.s3.put_object(Bucket=self.bucket, Key=key, Body=body_of(key))
        self.written.append(key)
        if number % 3 == 0:
            self.account.s3.delete_object(Bucket=self.bucket, Key=key)

    def commit(self, number):
        commit_to(self.account, self.repository, {"n.txt": f"{number}\n"})
        self.commits = number

    def begun(self):
        """Waits until the backup has something of both to hold: an object and a commit."""
        wait_for(lambda: self.written and self.commits, "the first object and the first commit")

    def end(self):
        self.stop.set()
        [thread.join() for thread in self.threads]
        errors = [one for one in self.written if isinstance(one, Exception)]
        assert not errors, errors


def test_a_backup_of_a_working_server_is_whole(own_server, restored, tmp_path):
    facts = fill(own_server)
    account = Account(own_server, "busy")
    busy = Busy(account)
    archive = tmp_path / "backup.tar"
    try:
        busy.begun()
        before = len(busy.written)
        made = towpath("backup", archive, "--data", own_server.data)
        assert made.returncode == 0, made.stderr
    finally:
        busy.end()
    assert archive.stat().st_mode & 0o777 == 0o600, "it holds secrets"
    assert not list(own_server.data.glob("backup-*")), "nothing of it stays in the data folder"
    own_server.stop()

    done = towpath("restore", archive, "--data", restored.data)
    assert done.returncode == 0, done.stderr
    restored.start()
    check(restored, facts, tmp_path / "checkout")
    again = Account(restored, "again")
    there = {one["Key"] for page in again.s3.get_paginator("list_objects_v2").paginate(Bucket=busy.bucket)
             for one in page.get("Contents", [])}
    kept = {key for at, key in enumerate(busy.written[:before], 1) if isinstance(key, str) and int(key[1:]) % 3}
    assert kept <= there, "what was acknowledged before the backup began is in it"
    for key in sorted(there):
        assert again.s3.get_object(Bucket=busy.bucket, Key=key)["Body"].read() == body_of(key)
    url = restored.url + f"/v1/repos/{busy.repository}"
    busy_folder = again.checkout(tmp_path / "busy", url, again.git_user())
    again.git(busy_folder, "fetch", "-q", "origin")
    again.git(busy_folder, "fsck", "--strict")
    head = again.codecommit.get_branch(repositoryName=busy.repository, branchName="main")["branch"]["commitId"]
    assert again.git(busy_folder, "rev-parse", "origin/main").stdout.strip() == head


def test_what_cannot_be_backed_up_or_restored_is_told(own_server, tmp_path):
    archive = tmp_path / "backup.tar"
    refused = towpath("backup", archive, "--data", tmp_path / "nothing")
    assert refused.returncode == 1 and "no data folder" in refused.stderr and not archive.exists()
    assert towpath("backup", archive, "--data", own_server.data).returncode == 0
    refused = towpath("backup", archive, "--data", own_server.data)
    assert refused.returncode == 1 and "is there already" in refused.stderr
    refused = towpath("restore", archive, "--data", own_server.data)
    assert refused.returncode == 1 and "is not empty" in refused.stderr
    whole = archive.read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "changed": whole.replace(b"SQLite format 3", b"SQLite format 4", 1)}.items():
        damaged = tmp_path / f"{name}.tar"
        damaged.write_bytes(content)
        refused = towpath("restore", damaged, "--data", tmp_path / "new")
        assert refused.returncode == 1 and "not a whole backup" in refused.stderr, refused.stderr
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("archive", OLD, ids=[path.name for path in OLD])
def test_data_of_an_earlier_version_opens(archive, tmp_path):
    facts = unpack(archive, tmp_path)
    server = Server(tmp_path).start()
    try:
        check(server, facts, tmp_path / "checkout")
        server.restart()
        assert server.client("codepipeline").get_pipeline(name=facts["pipeline"])
    finally:
        server.stop()


def test_there_is_data_of_an_earlier_version():
    assert OLD, "the upgrade test has nothing to open"
