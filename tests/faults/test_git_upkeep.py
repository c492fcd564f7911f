"""kill -9 while a repository's packs are put together and indexed, with clones and pushes under way: nothing is lost,
nothing is left, and the work is done in the end."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import threading
import time

import pytest
from accounts import Account
from server import Server, wait_for

GIT = shutil.which("git")
LARGE = 5 << 20
# More than a repository may have before they are put together.
MANY_PACKS = 31
UPKEEP = "multi-pack-index.lock", "commit-graph.lock", ".tmp-", "tmp_", "bitmap-ref-tips_"

# Git for the server: upkeep stops in its first step, with the lock taken that git takes, until it is let go.
HELD = """#!/bin/sh
case "$3" in multi-pack-index|repack)
  test -e "$2/objects/pack/multi-pack-index.lock" && echo locked > {gate}/failed
  if ! test -e {gate}/open; then
    : > "$2/objects/pack/multi-pack-index.lock"
    echo $$ > {gate}/begun.new && mv {gate}/begun.new {gate}/begun
    while ! test -e {gate}/open; do sleep 0.05; done
    rm "$2/objects/pack/multi-pack-index.lock"
  fi
esac
exec {git} "$@"
"""


def bare(server):
    return next((server.data / "codecommit/repositories").iterdir())


def leftovers(repository):
    objects = repository / "objects"
    found = [path.name for folder in (objects, objects / "pack", objects / "info") for path in folder.iterdir()]
    return [name for name in found if name.startswith(UPKEEP)]


def is_tended(repository):
    packs = list((repository / "objects/pack").glob("*.pack"))
    bitmaps = list((repository / "objects/pack").glob("*.bitmap"))
    return len(packs) < MANY_PACKS and len(bitmaps) == 1 and (repository / "objects/info/commit-graph").exists() and not leftovers(repository)


def on_disk(repository, *words, **more):
    done = subprocess.run([GIT, "--git-dir", repository, *words], capture_output=True, text=True, timeout=120, **more)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.strip()


def is_whole(repository):
    on_disk(repository, "fsck", "--full", "--strict")
    on_disk(repository, "multi-pack-index", "verify", "--no-progress")


def lives(pid):
    """A zombie does not: whoever inherited it may never ask for it."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def commit(team, folder, name):
    (pathlib.Path(folder) / name).write_bytes(os.urandom(LARGE))
    return team.commit(folder, {"last": name})


@pytest.fixture
def gate(tmp_path):
    made = tmp_path / "gate"
    made.mkdir()
    (made / "bin").mkdir()
    (made / "bin/git").write_text(HELD.format(gate=made, git=GIT))
    (made / "bin/git").chmod(0o755)
    return made


@pytest.fixture
def server(tmp_path, gate):
    made = Server(tmp_path, environment={"PATH": f"{gate}/bin:{os.environ['PATH']}"})
    yield made.start()
    (gate / "open").touch()
    if made.process.poll() is None:
        made.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_an_upkeep_that_outlives_its_server_is_ended(server, gate, tmp_path):
    team = Account(server, "t")
    _, url = team.repository()
    login = team.git_user()
    folder = team.checkout(str(tmp_path / "work"), url, login)
    commit(team, folder, "first")
    team.git(folder, "push", "-q", "origin", "main")
    wait_for((gate / "begun").exists, "upkeep begins")
    orphan = int((gate / "begun").read_text())

    # It is in nobody's way.
    second = commit(team, folder, "second")
    team.git(folder, "push", "-q", "origin", "main")
    other = team.checkout(str(tmp_path / "other"), url, login)
    team.git(other, "pull", "-q", "origin", "main")
    assert team.git(other, "rev-parse", "HEAD").stdout.strip() == second

    server.kill()
    assert lives(orphan), "it has a life of its own"
    (gate / "begun").unlink()
    server.start()
    wait_for(lambda: not lives(orphan), "the next server has ended it", timeout=10)
    assert "multi-pack-index.lock" in leftovers(bare(server)), "as it was killed"
    (gate / "open").touch()
    third = commit(team, folder, "third")
    team.git(folder, "push", "-q", "origin", "main")
    wait_for(lambda: is_tended(bare(server)), "the next server's upkeep is done")
    assert not (gate / "failed").exists(), "a lock that nobody held was still there"
    team.git(other, "pull", "-q", "origin", "main")
    assert team.git(other, "rev-parse", "HEAD").stdout.strip() == third
    is_whole(bare(server))


def crowd(repository):
    """Packs of objects that nothing refers to, as pushes leave that were overtaken. Upkeep must keep them all."""
    made = []
    for _ in range(MANY_PACKS):
        blob = on_disk(repository, "hash-object", "-w", "--stdin", input=os.urandom(20).hex())
        on_disk(repository, "pack-objects", "-q", repository / "objects/pack/pack", input=blob + "\n")
        made.append(blob)
    on_disk(repository, "prune-packed", "-q")
    return made


def test_kill_9_at_any_moment_of_upkeep(server, gate, tmp_path):
    (gate / "open").touch()
    team = Account(server, "t")
    _, url = team.repository()
    login = team.git_user()
    folder = team.checkout(str(tmp_path / "work"), url, login)
    commit(team, folder, "first")
    team.git(folder, "push", "-q", "origin", "main")
    repository, blobs, acknowledged, killed_in = bare(server), [], [], []

    def push(number):
        tip = commit(team, folder, f"file{number}")
        if team.git(folder, "push", "-q", "origin", "main", check=False).returncode == 0:
            acknowledged.append(tip)

    def clone(number):
        """What arrives is whole, or the clone says that it failed."""
        into = tmp_path / f"clone-{number}"
        helper = f"!f() {{ echo username='{login[0]}'; echo password='{login[1]}'; }}; f"
        done = team.git(str(tmp_path), "-c", f"credential.helper={helper}", "clone", "-q", "--bare", url, str(into), check=False)
        if done.returncode == 0:
            on_disk(into, "fsck", "--full")
        shutil.rmtree(into, ignore_errors=True)

    failures = []

    def guarded(work, number):
        try:
            work(number)
        except AssertionError as error:
            failures.append(error)

    for number in range(4):
        blobs += crowd(repository)
        threads = [threading.Thread(target=guarded, args=(work, number)) for work in (push, clone)]
        [thread.start() for thread in threads]
        end = time.monotonic() + 20
        # Later in each round's upkeep than in the one before.
        seen = 0
        while seen <= number and time.monotonic() < end:
            found = leftovers(repository)
            seen += bool(found)
            time.sleep(0.002)
        server.kill()
        killed_in.append(leftovers(repository))
        [thread.join() for thread in threads]
        server.start()
        assert not failures, failures[0]
        heads = on_disk(repository, "rev-list", "main").split()
        assert set(acknowledged) <= set(heads)
    assert any(killed_in), "no round was killed in its upkeep"

    push(99)
    assert acknowledged[-1] == team.git(folder, "rev-parse", "HEAD").stdout.strip()
    wait_for(lambda: is_tended(repository), "upkeep is done in the end")
    is_whole(repository)
    have = on_disk(repository, "cat-file", "--batch-check=%(objectname) %(objecttype)", input="\n".join(blobs) + "\n")
    assert have.split("\n") == [f"{blob} blob" for blob in blobs]
    clone("last")
