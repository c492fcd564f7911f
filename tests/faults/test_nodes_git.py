"""Repositories of several nodes: each node serves what any of them took in, and nothing else."""

import os
import subprocess

from accounts import Account, action
from nodes import Node
from server import wait_for
from test_kill import approve, source, succeeds
from test_nodes import cluster, postgres, store  # noqa: F401 (fixtures)

MANY = 32


def url_at(node, url):
    return node.url + url[url.index("/v1/"):]


def clone_at(team, node, folder, url, login):
    work = team.checkout(str(folder), url_at(node, url), login)
    team.git(work, "pull", "-q", "origin", "main")
    return work


def tip(node, repository, branch="main"):
    return node.client("codecommit").get_branch(repositoryName=repository, branchName=branch)["branch"]["commitId"]


def put(node, repository, path, content, parent, branch="main"):
    more = {"parentCommitId": parent} if parent else {}
    return node.client("codecommit").put_file(
        repositoryName=repository, branchName=branch, filePath=path, fileContent=content, **more)["commitId"]


def moves(node):
    found = [event["detail"] for event in node.events("aws.codecommit")]
    return [(one["event"], one["referenceName"], one.get("commitId")) for one in found]


def is_whole(node):
    for found in (node.data / "codecommit/repositories").iterdir():
        done = subprocess.run(["git", "--git-dir", found, "fsck", "--full", "--strict"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not list((node.data / "codecommit/pushes").iterdir())


def push_at_once(team, folders, gate):
    """Pushes that have all seen the same references before one of them sends anything."""
    if os.path.exists(gate):
        os.remove(gate)
    begun = []
    for folder in folders:
        hook = os.path.join(folder, ".git/hooks/pre-push")
        os.makedirs(os.path.dirname(hook), exist_ok=True)
        with open(hook, "w") as file:
            file.write(f"#!/bin/sh\n: > waiting\nfor _ in $(seq 600); do test -e '{gate}' && exit 0; sleep 0.1; done; exit 1\n")
        os.chmod(hook, 0o755)
        begun.append(subprocess.Popen(["git", "push", "--porcelain", "origin", "main"], cwd=folder,
                                      env=team.server.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    wait_for(lambda: all(os.path.exists(os.path.join(folder, "waiting")) for folder in folders), "both pushes wait")
    open(gate, "w").close()
    said = [one.communicate(timeout=120)[0] for one in begun]
    for folder in folders:
        os.remove(os.path.join(folder, ".git/hooks/pre-push"))
        os.remove(os.path.join(folder, "waiting"))
    return [one.returncode == 0 for one in begun], said


def test_what_one_node_takes_in_the_other_serves(cluster, tmp_path):
    a, b = cluster("a").start(), cluster("b").start()
    team = Account(a, "t")
    login = team.git_user()
    repository, url = team.repository()
    on_a = team.checkout(str(tmp_path / "a-work"), url_at(a, url), login)
    first = team.commit(on_a, {"word": "one\n"})
    team.git(on_a, "push", "-q", "origin", "main")
    told = [("referenceCreated", "main", first)]

    # B never had it on its disk: it serves it, and takes nothing for deleted.
    on_b = clone_at(team, b, tmp_path / "b-work", url, login)
    assert team.git(on_b, "rev-parse", "HEAD").stdout.strip() == first
    assert tip(b, repository) == first and moves(b) == told
    second = team.commit(on_b, {"word": "two\n"})
    team.git(on_b, "push", "-q", "origin", "main")
    file = a.client("codecommit").get_file(repositoryName=repository, filePath="word")
    assert (file["commitId"], file["fileContent"]) == (second, b"two\n")
    third = put(a, repository, "from-a", b"a", second)
    fourth = put(b, repository, "from-b", b"b", third)
    assert tip(a, repository) == tip(b, repository) == fourth
    told += [("referenceUpdated", "main", commit) for commit in (second, third, fourth)]
    assert moves(a) == told

    # Both have seen the same tip when they push: one wins, the other is told.
    gate = str(tmp_path / "gate-file")
    for number in range(3):
        for folder in (on_a, on_b):
            team.git(folder, "pull", "-q", "--rebase", "origin", "main")
        tips = [team.commit(folder, {f"file-{number}": f"{os.path.basename(folder)}\n"}) for folder in (on_a, on_b)]
        won, said = push_at_once(team, (on_a, on_b), gate)
        assert sorted(won) == [False, True], said
        lost = won.index(False)
        assert "fetch first" in said[lost] and "rejected" in said[lost], said
        team.git((on_a, on_b)[lost], "reset", "-q", "--hard", "origin/main")
        told.append(("referenceUpdated", "main", tips[won.index(True)]))
        assert moves(b) == told
    is_whole(a)
    is_whole(b)

    # Other branches do not get into each other's way, and what is deleted on one is gone on the other.
    for node, branch in ((a, "x"), (b, "y")):
        node.client("codecommit").create_branch(repositoryName=repository, branchName=branch, commitId=fourth)
    a.client("codecommit").delete_branch(repositoryName=repository, branchName="y")
    listed = team.git(on_b, "ls-remote", url_at(b, url)).stdout
    assert "refs/heads/x" in listed and "refs/heads/y" not in listed

    # Acknowledged means that the others have it, whatever becomes of this node.
    pipeline = team.pipeline([("Source", [source(repository)]), ("Ask", [action("Ask", "Approval", "Manual")])])
    approve(team, pipeline)
    succeeds(team, pipeline)
    team.git(on_a, "pull", "-q", "--rebase", "origin", "main")
    last = team.commit(on_a, {"last": "word\n"})
    team.git(on_a, "push", "-q", "origin", "main")
    a.kill()
    team = Account(b, "t")
    assert team.git(clone_at(team, b, tmp_path / "after", url, login), "rev-parse", "HEAD").stdout.strip() == last
    assert wait_for(lambda: moves(b)[-1] == ("referenceUpdated", "main", last), "the push has its event")
    # Its own copy is no more than that: without it, it is a node like any other.
    b.client("codecommit").delete_branch(repositoryName=repository, branchName="x")
    a.start()
    assert "refs/heads/x" not in team.git(tmp_path, "-c", f"credential.helper=!f() {{ echo username='{login[0]}'; "
                                          f"echo password='{login[1]}'; }}; f", "ls-remote", url_at(a, url)).stdout
    b.client("codecommit").delete_repository(repositoryName=repository)
    assert a.client("codecommit").list_repositories()["repositories"] == []


def test_many_packs_become_one(cluster, store, tmp_path):  # noqa: F811
    a = cluster("a").start()
    team = Account(a, "t")
    repository, url = team.repository()
    parent = None
    for number in range(MANY):
        parent = put(a, repository, f"file-{number}", os.urandom(100), parent)
    bucket = cluster.common["TOWPATH_OBJECTS"].split("/")[2]

    def packs():
        found = store.client("s3").list_objects_v2(Bucket=bucket, Prefix="towpath/files/codecommit/")
        return len(found.get("Contents", []))
    wait_for(lambda: packs() > MANY, "the packs are put together")
    parent = put(a, repository, "after", b"after", parent)
    # A node that has nothing yet reads the one pack and what came after it.
    c = Node(tmp_path, "c", cluster.common).start()
    try:
        work = clone_at(Account(c, "c"), c, tmp_path / "work", url, team.git_user())
        assert len(os.listdir(work)) == MANY + 2
        assert tip(c, repository) == parent
        kept = next((c.data / "codecommit/repositories").iterdir())
        assert len(list((kept / "objects/pack").glob("*.pack"))) < MANY
        is_whole(c)
    finally:
        c.stop()
