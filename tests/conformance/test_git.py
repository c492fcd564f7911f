"""Git as large and partial work needs it, by every git of this machine: shallow, partial and sparse clones, pushes from
them, pushes at the same moment, pushes that break off."""

import base64
import os
import pathlib
import shutil
import socket
import subprocess
import threading

import pytest
from server import wait_for

GITS = sorted({os.path.realpath(path) for folder in ("/usr/bin", *os.environ["PATH"].split(":"))
               if (path := shutil.which("git", path=folder))})


class Git:
    """One git program, with one login."""

    def __init__(self, account, program, login):
        self.account, self.program = account, program
        user, password = login
        self.helper = f"!f() {{ echo username='{user}'; echo password='{password}'; }}; f"

    def __call__(self, folder, *words, check=True, **environment):
        settings = ["-c", f"credential.helper={self.helper}", "-c", "user.name=Dev", "-c", "user.email=d@example.com"]
        done = subprocess.run([self.program, *settings, *map(str, words)], cwd=folder, capture_output=True, text=True,
                              env=self.account.server.env() | environment, timeout=180)
        assert not check or done.returncode == 0, f"git {' '.join(map(str, words))}: {done.stdout}{done.stderr}"
        return done

    def tell(self, folder, *words, **environment):
        return self(folder, *words, **environment).stdout.strip()


@pytest.fixture
def repository(account):
    return account.repository()


@pytest.fixture(params=GITS, ids=lambda path: path.strip("/").replace("/", "-"))
def git(account, request):
    return Git(account, request.param, account.git_user())


@pytest.fixture
def work(repository, git, tmp_path):
    """A checkout that has pushed five commits, a day apart."""
    folder = tmp_path / "work"
    git(tmp_path, "init", "-q", "-b", "main", folder)
    git(folder, "remote", "add", "origin", repository[1])
    for number in range(5):
        (folder / f"dir{number}").mkdir()
        (folder / f"dir{number}/file").write_text(f"{number}\n" * 100)
        git(folder, "add", "-A")
        date = f"2024-01-0{number + 1}T12:00:00Z"
        git(folder, "commit", "-q", "-m", f"commit {number}", GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
    git(folder, "push", "-q", "origin", "main")
    return folder


def disk(account, name):
    """The bare repository on the server's disk."""
    found = account.codecommit.get_repository(repositoryName=name)["repositoryMetadata"]["repositoryId"]
    return next(path for path in (account.server.data / "codecommit").rglob("*") if path.is_dir() and found in path.name)


def moves(account, name):
    """Every recorded move of a reference, oldest first."""
    events = account.server.events("aws.codecommit")
    return [event["detail"] for event in events if event["detail"].get("repositoryName") == name]


@pytest.mark.parametrize("version", ["0", "2"])
def test_the_protocol_version_is_the_one_that_was_asked_for(repository, git, work, tmp_path, version):
    trace = tmp_path / "trace"
    git(tmp_path, "-c", f"protocol.version={version}", "clone", "-q", repository[1], "clone", GIT_TRACE_PACKET=str(trace))
    packets = trace.read_text()
    assert ("version 2" in packets) == (version == "2")
    assert ("command=fetch" in packets) == (version == "2")
    assert git.tell(tmp_path / "clone", "rev-parse", "HEAD") == git.tell(work, "rev-parse", "HEAD")
    git(tmp_path / "clone", "fsck", "--strict")


def test_shallow_clones_deepen_and_push(repository, git, work, tmp_path):
    count = lambda folder: int(git.tell(folder, "rev-list", "--count", "HEAD"))
    git(tmp_path, "clone", "-q", "--depth", "1", repository[1], "one")
    git(tmp_path, "clone", "-q", "--shallow-since=2024-01-03T00:00:00Z", repository[1], "since")
    assert (count(tmp_path / "one"), count(tmp_path / "since")) == (1, 3)
    git(tmp_path / "one", "fetch", "-q", "--deepen", "2")
    assert count(tmp_path / "one") == 3
    (tmp_path / "since/new").write_text("from a shallow clone\n")
    git(tmp_path / "since", "add", "-A"), git(tmp_path / "since", "commit", "-q", "-m", "shallow")
    git(tmp_path / "since", "push", "-q", "origin", "main")
    git(tmp_path / "one", "fetch", "-q", "--unshallow")
    git(tmp_path / "one", "merge", "-q", "--ff-only", "origin/main")
    assert count(tmp_path / "one") == 6
    git(tmp_path / "one", "fsck", "--strict")
    git(work, "fetch", "-q", "--shallow-exclude=refs/heads/none", "origin", check=False)
    assert git.tell(work, "ls-remote", "origin", "main").split()[0] == git.tell(tmp_path / "one", "rev-parse", "HEAD")


def test_partial_and_sparse_clones_fetch_what_they_need(repository, git, work, tmp_path):
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--sparse", repository[1], "sparse")
    sparse = tmp_path / "sparse"
    missing = lambda: git.tell(sparse, "rev-list", "--objects", "--missing=print", "HEAD").count("?")
    assert missing() == 5 and not (sparse / "dir1").exists()
    git(sparse, "sparse-checkout", "set", "dir1")
    assert (sparse / "dir1/file").read_text() == "1\n" * 100 and not (sparse / "dir2").exists()
    assert missing() == 4
    (sparse / "dir1/file").write_text("changed\n")
    git(sparse, "commit", "-qam", "from a partial clone"), git(sparse, "push", "-q", "origin", "main")
    git(tmp_path, "clone", "-q", "--filter=tree:0", "--no-checkout", repository[1], "trees")
    git(tmp_path / "trees", "checkout", "-q", "main")
    assert (tmp_path / "trees/dir1/file").read_text() == "changed\n"
    git(work, "pull", "-q", "--ff-only", "origin", "main")
    git(work, "fsck", "--strict")


def test_of_two_pushes_at_once_one_moves_the_branch(account, repository, git, work, tmp_path):
    """Again and again, because both must be under way: one wins, the other is told cleanly, one event each time."""
    name, url = repository
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        git(tmp_path, "clone", "-q", url, folder)
    before = len(moves(account, name))
    for turn in range(4):
        for folder in folders:
            git(folder, "fetch", "-q", "origin"), git(folder, "reset", "-q", "--hard", "origin/main")
            (folder / f"{folder.name}{turn}").write_bytes(os.urandom(200_000))
            git(folder, "add", "-A"), git(folder, "commit", "-q", "-m", f"{folder.name} {turn}")
        done = {}
        push = lambda folder: done.update({folder: git(folder, "push", "origin", "main", check=False)})
        threads = [threading.Thread(target=push, args=[folder]) for folder in folders]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
        winners = [folder for folder in folders if done[folder].returncode == 0]
        assert len(winners) == 1, [one.stderr for one in done.values()]
        loser = done[next(folder for folder in folders if folder not in winners)].stderr
        assert "rejected" in loser and "error: failed to push some refs" in loser, loser
        assert "500" not in loser and "hung up" not in loser and "unpack" not in loser, loser
        assert git.tell(work, "ls-remote", "origin", "main").split()[0] == git.tell(winners[0], "rev-parse", "HEAD")
    recorded = moves(account, name)[before:]
    assert [(move["event"], move["referenceFullName"]) for move in recorded] == [("referenceUpdated", "refs/heads/main")] * 4
    # Each move begins where the one before ended.
    assert all(later["oldCommitId"] == earlier["commitId"] for earlier, later in zip(recorded, recorded[1:]))
    bare = disk(account, name)
    checked = subprocess.run([git.program, "-c", "safe.directory=*", "--git-dir", bare, "fsck", "--full", "--strict"],
                             capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0 and "error" not in checked.stderr, checked


def leftovers(bare):
    """What a push that ended early must not leave: quarantines, unfinished packs, locks."""
    names = [path.name for path in bare.rglob("*")]
    return [name for name in names if name.startswith(("tmp_", "incoming-", "tmp-")) or name.endswith(".lock")]


@pytest.mark.parametrize("git", GITS[:1], indirect=True, ids=["git"])
def test_a_big_push_that_is_cut_leaves_nothing(account, repository, git, work, tmp_path):
    """The client goes away in the middle of its pack: no reference moves, no event, nothing on the disk."""
    name, url = repository
    old, events, bare = git.tell(work, "rev-parse", "HEAD"), len(moves(account, name)), disk(account, name)
    stored = lambda: sum(path.stat().st_size for path in bare.rglob("*") if path.is_file())
    before = stored()
    (work / "big").write_bytes(os.urandom(12 << 20))
    git(work, "add", "-A"), git(work, "commit", "-q", "-m", "big")
    new = git.tell(work, "rev-parse", "HEAD")
    pack = subprocess.run([git.program, "pack-objects", "--revs", "--stdout", "-q"], cwd=work,
                          input=f"{new}\n^{old}\n".encode(), capture_output=True, timeout=120).stdout
    assert len(pack) > 12 << 20
    line = f"{old} {new} refs/heads/main\0report-status side-band-64k\n".encode()
    body = f"{len(line) + 4:04x}".encode() + line + b"0000" + pack
    user, password = account.git_user()
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    path = url.removeprefix(account.server.url) + "/git-receive-pack"
    head = (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{account.server.port}\r\nAuthorization: Basic {login}\r\n"
            f"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {len(body)}\r\n\r\n").encode()
    for part in (len(body) // 2, len(body) - 1):
        with socket.create_connection(("127.0.0.1", account.server.port), timeout=60) as connection:
            connection.sendall(head + body[:part])
        wait_for(lambda: not leftovers(bare) and stored() < before + (1 << 20), "what the cut push left is gone")
        assert git.tell(work, "ls-remote", "origin", "main").split()[0] == old
    assert len(moves(account, name)) == events
    git(work, "push", "-q", "origin", "main")
    assert git.tell(work, "ls-remote", "origin", "main").split()[0] == new
    assert pathlib.Path(bare).exists()
