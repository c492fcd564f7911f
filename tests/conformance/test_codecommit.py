"""CodeCommit through unmodified git and the aws CLI."""

import base64
import json
import os
import subprocess
import threading

import pytest
import raw
from botocore.exceptions import ClientError
from server import wait_for


@pytest.fixture
def repository(account):
    return account.repository()


def clone(account, url, folder, login, *words, check=True):
    """A clone with a login of its own; its folder, or the whole outcome with check=False."""
    user, password = login
    helper = f"!f() {{ echo username='{user}'; echo password='{password}'; }}; f"
    done = account.git(".", "-c", f"credential.helper={helper}", "clone", "-q", *words, url, str(folder), check=check)
    if not check:
        return done
    for key, value in {"user.name": "Dev", "user.email": "d@example.com", "credential.helper": helper}.items():
        account.git(folder, "config", key, value)
    return folder


@pytest.fixture
def work(account, repository, tmp_path):
    """A checkout that has pushed three commits, and a tag."""
    name, url = repository
    folder = account.checkout(str(tmp_path / "work"), url, account.git_user())
    for number in range(3):
        account.commit(folder, {"file.txt": f"{number}\n", f"dir/{number}.txt": "x" * 1000}, f"commit {number}")
    account.git(folder, "tag", "-a", "v1", "-m", "one")
    account.git(folder, "push", "-q", "origin", "main", "v1")
    return folder


def head(account, folder, what="HEAD"):
    return account.git(folder, "rev-parse", what).stdout.strip()


# ---- fetching --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_every_protocol_version_clones(account, repository, work, tmp_path, version):
    folder = clone(account, repository[1], tmp_path / "clone", account.git_user(), "-c", f"protocol.version={version}")
    assert head(account, folder) == head(account, work)
    assert account.git(folder, "describe", "--tags").stdout.strip() == "v1"
    account.git(folder, "fsck", "--strict")


def test_shallow_partial_and_single_branch_clones(account, repository, work, tmp_path):
    login = account.git_user()
    shallow = clone(account, repository[1], tmp_path / "shallow", login, "--depth", "1")
    assert account.git(shallow, "rev-list", "--count", "HEAD").stdout.strip() == "1"
    account.git(shallow, "fetch", "-q", "--unshallow")
    assert account.git(shallow, "rev-list", "--count", "HEAD").stdout.strip() == "3"
    partial = clone(account, repository[1], tmp_path / "partial", login, "--filter=blob:none", "--no-checkout")
    missing = account.git(partial, "rev-list", "--objects", "--missing=print", "HEAD").stdout
    assert missing.count("?") >= 4
    account.git(partial, "checkout", "-q", "main")
    assert (tmp_path / "partial/file.txt").read_text() == "2\n"
    account.commit(work, {"file.txt": "3\n"})
    account.git(work, "push", "-q", "origin", "main:other")
    single = clone(account, repository[1], tmp_path / "single", login, "--single-branch", "-b", "main")
    assert "other" not in account.git(single, "branch", "-r").stdout
    account.git(shallow, "fetch", "-q", "origin", "other:other")
    assert head(account, shallow, "other") == head(account, work)


def test_an_empty_repository_clones(account, repository, tmp_path):
    folder = clone(account, repository[1], tmp_path / "clone", account.git_user())
    assert account.git(folder, "status", "--porcelain").stdout == ""
    account.commit(folder, {"a": "a"})
    account.git(folder, "push", "-q", "origin", "HEAD:main")
    assert account.codecommit.get_repository(repositoryName=repository[0])["repositoryMetadata"]["defaultBranch"] == "main"


# ---- who may ---------------------------------------------------------------------------------------


def test_who_may_not_gets_nothing(account, repository, work, tmp_path):
    name, url = repository
    user, password = account.git_user()
    for login, words in [((user, "wrong"), ("403", "Authentication failed")), (("nobody-at-000000000000", "x"), ("403", "Authentication failed")),
                         ((account.server.root_keys()), ("403", "Authentication failed"))]:
        done = clone(account, url, tmp_path / "refused", login, check=False)
        assert done.returncode != 0 and any(word in done.stderr for word in words), done.stderr
        assert password not in done.stderr
    done = clone(account, url.replace(name, "absent"), tmp_path / "absent", (user, password), check=False)
    assert done.returncode != 0 and "not found" in done.stderr
    stranger = account.git_user("codecommit:GitPull", resource="arn:aws:codecommit:us-east-1:000000000000:another")
    assert "403" in clone(account, url, tmp_path / "denied", stranger, check=False).stderr
    done = account.git(".", "-c", "credential.helper=", "clone", "-q", url, str(tmp_path / "anonymous"), check=False)
    assert done.returncode != 0
    assert not any((tmp_path / one).exists() for one in ("refused", "absent", "denied", "anonymous"))


def test_an_inactive_credential_stops_at_once(account, repository, work, tmp_path):
    login = account.git_user()
    user = login[0].split("-at-")[0]
    clone(account, repository[1], tmp_path / "before", login)
    credential = account.iam.list_service_specific_credentials(UserName=user)["ServiceSpecificCredentials"][0]
    account.iam.update_service_specific_credential(
        UserName=user, Status="Inactive", ServiceSpecificCredentialId=credential["ServiceSpecificCredentialId"])
    assert clone(account, repository[1], tmp_path / "after", login, check=False).returncode != 0


def test_who_may_pull_may_not_push(account, repository, work, tmp_path):
    reader = clone(account, repository[1], tmp_path / "reader", account.git_user("codecommit:GitPull"))
    account.commit(reader, {"new": "x"})
    done = account.git(reader, "push", "origin", "main", check=False)
    assert done.returncode != 0 and "403" in done.stderr
    assert account.git(work, "ls-remote", "origin", "main").stdout.split()[0] == head(account, work)


def test_a_branch_that_a_policy_protects(account, repository, work, tmp_path):
    """The documented way: deny pushes whose codecommit:References hold the branch."""
    name, url = repository
    made = account.git_user()
    user = made[0].split("-at-")[0]
    account.iam.put_user_policy(UserName=user, PolicyName="protect", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{
            "Effect": "Deny", "Action": ["codecommit:GitPush", "codecommit:DeleteBranch", "codecommit:PutFile"],
            "Resource": "*", "Condition": {
                "StringEqualsIfExists": {"codecommit:References": ["refs/heads/main"]},
                "Null": {"codecommit:References": "false"}}}]}))
    folder = clone(account, url, tmp_path / "dev", made)
    account.commit(folder, {"feature": "x"})
    account.git(folder, "push", "-q", "origin", "HEAD:feature")
    for refs in (["HEAD:main"], [":main"], ["HEAD:feature2", "HEAD:main"], ["--force", "HEAD:main"]):
        done = account.git(folder, "push", "origin", *refs, check=False)
        assert done.returncode != 0, refs
    assert account.git(work, "ls-remote", "origin", "main").stdout.split()[0] == head(account, work)


# ---- pushing ---------------------------------------------------------------------------------------


def test_a_push_that_is_behind_is_refused_in_gits_words(account, repository, work, tmp_path):
    other = clone(account, repository[1], tmp_path / "other", account.git_user())
    account.commit(work, {"a": "1"})
    account.git(work, "push", "-q", "origin", "main")
    account.commit(other, {"b": "2"})
    done = account.git(other, "push", "origin", "main", check=False)
    assert done.returncode != 0 and "rejected" in done.stderr and "fetch first" in done.stderr
    account.git(other, "pull", "-q", "--rebase", "origin", "main")
    account.git(other, "push", "-q", "origin", "main")
    account.git(other, "push", "-q", "--force", "origin", "HEAD~2:main")
    assert account.git(work, "ls-remote", "origin", "main").stdout.split()[0] == head(account, other, "HEAD~2")


def test_of_two_pushes_at_once_one_wins(account, repository, work, tmp_path):
    login = account.git_user()
    folders = [clone(account, repository[1], tmp_path / f"c{number}", login) for number in range(4)]
    commits = [account.commit(folder, {f"f{number}": "x" * 20_000}) for number, folder in enumerate(folders)]
    done = [None] * len(folders)

    def push(number):
        done[number] = account.git(folders[number], "push", "origin", "main", check=False)

    threads = [threading.Thread(target=push, args=[number]) for number in range(len(folders))]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    winners = [commit for commit, one in zip(commits, done) if one.returncode == 0]
    assert len(winners) == 1, [one.stderr for one in done]
    assert account.git(work, "ls-remote", "origin", "main").stdout.split()[0] == winners[0]
    fresh = clone(account, repository[1], tmp_path / "fresh", login)
    account.git(fresh, "fsck", "--strict")


def test_pushes_to_different_branches_at_once_all_land(account, repository, work, tmp_path):
    login = account.git_user()
    folders = [clone(account, repository[1], tmp_path / f"c{number}", login) for number in range(4)]
    commits = [account.commit(folder, {f"f{number}": "x"}) for number, folder in enumerate(folders)]
    threads = [threading.Thread(target=account.git, args=(folder, "push", "-q", "origin", f"HEAD:b{number}"))
               for number, folder in enumerate(folders)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    told = dict(line.split()[::-1] for line in account.git(work, "ls-remote", "--heads", "origin").stdout.splitlines())
    assert [told[f"refs/heads/b{number}"] for number in range(4)] == commits


def test_a_big_push_in_gits_default_chunks(account, repository, tmp_path):
    """More than http.postBuffer (1 MiB), so git sends it chunked; and more than 50 MB."""
    login = account.git_user()
    folder = account.checkout(str(tmp_path / "big"), repository[1], login)
    (tmp_path / "big/random").write_bytes(os.urandom(55 << 20))
    account.git(folder, "add", "-A")
    account.git(folder, "-c", "core.compression=0", "commit", "-q", "-m", "big")
    account.git(folder, "push", "-q", "origin", "main")
    back = clone(account, repository[1], tmp_path / "back", login)
    assert (tmp_path / "back/random").read_bytes() == (tmp_path / "big/random").read_bytes()


def test_a_push_that_breaks_off_leaves_nothing(account, repository, work, tmp_path):
    _, url = repository
    user, password = account.git_user()
    headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(),
               "Content-Type": "application/x-git-receive-pack-request"}
    old = head(account, work)
    line = f"{old} {'1' * 40} refs/heads/main\0report-status\n".encode()
    for pack in (b"", b"PACK", b"PACK\0\0\0\2\0\0\0\1garbage", b"PACK\0\0\0\2\xff\xff\xff\xff" + b"x" * 1000):
        body = f"{len(line) + 4:04x}".encode() + line + b"0000" + pack
        answer = raw.send(account.server, "POST", url.removeprefix(account.server.url) + "/git-receive-pack", headers, body)
        assert b"ok refs/heads/main" not in answer.body
    assert account.git(work, "ls-remote", "origin", "main").stdout.split()[0] == old


def test_hooks_of_a_pushed_repository_never_run(account, repository, tmp_path):
    """Neither as files in the tree, nor as a configuration that names them."""
    folder = account.checkout(str(tmp_path / "evil"), repository[1], account.git_user())
    mark = tmp_path / "ran"
    script = f"#!/bin/sh\ntouch {mark}\n"
    for name in ("hooks/pre-receive", "hooks/post-receive", "hooks/update", "hooks/reference-transaction"):
        account.commit(folder, {name: script, "config": f"[core]\n\thooksPath = {folder}/hooks\n\tfsmonitor = touch {mark}\n"})
        os.chmod(os.path.join(folder, name), 0o755)
    account.git(folder, "add", "-A")
    account.git(folder, "commit", "-q", "-m", "executable")
    account.git(folder, "push", "-q", "origin", "main")
    account.codecommit.get_folder(repositoryName=repository[0], folderPath="/")
    assert not mark.exists()


@pytest.mark.parametrize("reference", ["refs/heads/../../evil", "refs/heads/a b", "HEAD", "refs/../config"])
def test_references_that_are_none(account, repository, work, reference):
    user, password = account.git_user()
    headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(),
               "Content-Type": "application/x-git-receive-pack-request"}
    line = f"{'0' * 40} {head(account, work)} {reference}\0report-status\n".encode()
    body = f"{len(line) + 4:04x}".encode() + line + b"0000"
    answer = raw.send(account.server, "POST", repository[1].removeprefix(account.server.url) + "/git-receive-pack", headers, body)
    assert f"ok {reference}".encode() not in answer.body
    names = account.git(work, "ls-remote", "origin").stdout
    assert "evil" not in names and "config" not in names


@pytest.mark.parametrize("path", ["/v1/repos/../../etc/passwd", "/v1/repos/x/objects/info/packs", "/v1/repos/x/HEAD",
                                  "/v1/repos/x/info/refs", "/v1/repos/%2e%2e/info/refs?service=git-upload-pack"])
def test_only_gits_two_services_are_served(account, repository, path):
    user, password = account.git_user()
    login = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    assert raw.send(account.server, "GET", path.replace("/x/", f"/{repository[0]}/"), login).status in (400, 403, 404)


def test_the_cli_signs_for_git(account, repository, work, tmp_path):
    """`aws codecommit credential-helper`, as AWS's guide sets it up; by a user, with the plain keys."""
    name, url = repository
    keys = account.user("codecommit:GitPull")
    done = subprocess.run(
        ["git", "-c", "credential.helper=!aws codecommit credential-helper --ignore-host-check $@",
         "-c", "credential.UseHttpPath=true", "clone", "-q", url, str(tmp_path / "signed")],
        env=account.server.env(keys), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "signed/file.txt").exists()


# ---- the API ---------------------------------------------------------------------------------------


def test_files_by_the_cli(account, repository, tmp_path):
    server, (name, url) = account.server, repository
    (tmp_path / "one").write_text("first\n")
    put = server.aws("codecommit", "put-file", "--repository-name", name, "--branch-name", "main", "--file-path",
                     "a/b.txt", "--file-content", f"fileb://{tmp_path}/one", "--commit-message", "by the CLI",
                     "--name", "Ann", "--email", "ann@example.com")
    got = server.aws("codecommit", "get-file", "--repository-name", name, "--file-path", "a/b.txt")
    assert base64.b64decode(got["fileContent"]) == b"first\n" and got["commitId"] == put["commitId"]
    made = server.aws("codecommit", "create-commit", "--repository-name", name, "--branch-name", "main",
                      "--parent-commit-id", put["commitId"], "--put-files", json.dumps([
                          {"filePath": "c.txt", "fileContent": base64.b64encode(b"second").decode()}]),
                      "--delete-files", json.dumps([{"filePath": "a/b.txt"}]))
    changes = server.aws("codecommit", "get-differences", "--repository-name", name, "--before-commit-specifier",
                         put["commitId"], "--after-commit-specifier", "main")["differences"]
    assert {(one["changeType"], one.get("afterBlob", one.get("beforeBlob"))["path"]) for one in changes} == {
        ("A", "c.txt"), ("D", "a/b.txt")}
    told = server.aws("codecommit", "get-commit", "--repository-name", name, "--commit-id", put["commitId"])["commit"]
    assert told["author"]["name"] == "Ann" and told["message"].strip() == "by the CLI"
    folder = clone(account, url, tmp_path / "clone", account.git_user())
    assert head(account, folder) == made["commitId"]
    assert sorted(os.listdir(folder)) == [".git", "c.txt"]
    listed = server.aws("codecommit", "get-folder", "--repository-name", name, "--folder-path", "/")
    assert [one["absolutePath"] for one in listed["files"]] == ["c.txt"]


def test_a_file_of_an_older_parent_is_refused(account, repository):
    name = repository[0]
    first = account.codecommit.put_file(repositoryName=name, branchName="main", filePath="a", fileContent=b"1")["commitId"]
    account.codecommit.put_file(repositoryName=name, branchName="main", filePath="a", fileContent=b"2", parentCommitId=first)
    for more, code in [({"parentCommitId": first}, "ParentCommitIdOutdatedException"), ({}, "ParentCommitIdRequiredException"),
                       ({"parentCommitId": "0" * 40}, "ParentCommitDoesNotExistException")]:
        with pytest.raises(ClientError) as refused:
            account.codecommit.put_file(repositoryName=name, branchName="main", filePath="a", fileContent=b"3", **more)
        assert refused.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("path", ["../a", "a/../b", ".git/config", "a/.git/hooks/x", "", "a//b"])
def test_paths_that_climb_are_refused(account, repository, path):
    with pytest.raises(ClientError) as refused:
        account.codecommit.put_file(repositoryName=repository[0], branchName="main", filePath=path, fileContent=b"1")
    assert refused.value.response["Error"]["Code"] in ("InvalidPathException", "PathRequiredException")


def test_what_is_absent_has_its_own_error(account, repository, work):
    name, client = repository[0], account.codecommit
    for call, code in [
        (lambda: client.get_repository(repositoryName="absent"), "RepositoryDoesNotExistException"),
        (lambda: client.create_repository(repositoryName=name), "RepositoryNameExistsException"),
        (lambda: client.create_repository(repositoryName="a.git"), "InvalidRepositoryNameException"),
        (lambda: client.get_branch(repositoryName=name, branchName="absent"), "BranchDoesNotExistException"),
        (lambda: client.create_branch(repositoryName=name, branchName="main", commitId=head(account, work)), "BranchNameExistsException"),
        (lambda: client.create_branch(repositoryName=name, branchName="b", commitId="0" * 40), "CommitDoesNotExistException"),
        (lambda: client.get_file(repositoryName=name, filePath="absent"), "FileDoesNotExistException"),
        (lambda: client.get_folder(repositoryName=name, folderPath="absent"), "FolderDoesNotExistException"),
        (lambda: client.get_blob(repositoryName=name, blobId="0" * 40), "BlobIdDoesNotExistException"),
        (lambda: client.get_commit(repositoryName=name, commitId="0" * 40), "CommitIdDoesNotExistException"),
        (lambda: client.delete_branch(repositoryName=name, branchName="main"), "DefaultBranchCannotBeDeletedException"),
    ]:
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == code


def test_a_deleted_repository_is_gone(account, repository, work):
    account.codecommit.delete_repository(repositoryName=repository[0])
    assert account.git(work, "ls-remote", "origin", check=False).returncode != 0
    assert "repositoryId" not in account.codecommit.delete_repository(repositoryName=repository[0])
    account.codecommit.create_repository(repositoryName=repository[0])
    assert account.git(work, "ls-remote", "origin").stdout == ""


def test_a_push_is_an_event(account, repository, work):
    found = wait_for(lambda: [event["detail"] for event in account.server.events("aws.codecommit")
                              if event["detail"].get("repositoryName") == repository[0]], "the push's events")
    kinds = [(one["event"], one["referenceType"], one["referenceName"]) for one in found]
    assert ("referenceCreated", "branch", "main") in kinds and ("referenceCreated", "tag", "v1") in kinds
