"""CodeCommit: repositories, branches, files, commits."""

from .core import NOTHING, NOW, TEXT, Has, Table, content, matching

step = Table("codecommit")
REPO, BRANCH = {"repositoryName": "${n}-repo"}, {"repositoryName": "${n}-repo", "branchName": "main"}
ARN = "arn:aws:codecommit:us-east-1:000000000000:${n}-repo"
COMMIT = matching("[0-9a-f]{40}")

step("CreateRepository", REPO | {"repositoryDescription": "first", "tags": {"team": "a"}}, want={
    "repositoryMetadata.repositoryName": "${n}-repo", "repositoryMetadata.Arn": ARN,
    "repositoryMetadata.accountId": "000000000000", "repositoryMetadata.creationDate": NOW,
    "repositoryMetadata.lastModifiedDate": NOW, "repositoryMetadata.cloneUrlHttp": TEXT,
    "repositoryMetadata.repositoryId": TEXT})
step("CreateRepository", REPO, refused="RepositoryNameExistsException")
step("PutFile", BRANCH | {"filePath": "docs/readme", "fileContent": b"\x00\xff\n", "commitMessage": "first",
                          "name": "Dev", "email": "dev@example.com"},
     save={"first": "commitId", "blob": "blobId"}, want={"commitId": COMMIT, "blobId": COMMIT, "treeId": COMMIT})
step("GetRepository", REPO, want={"repositoryMetadata.defaultBranch": "main", "repositoryMetadata.repositoryDescription": "first"})
step("GetBranch", BRANCH, want={"branch.branchName": "main", "branch.commitId": "${first}"})
step("CreateCommit", BRANCH | {"parentCommitId": "${first}", "authorName": "Ann", "email": "ann@example.com",
                               "commitMessage": "second", "putFiles": [
                                   {"filePath": "run.sh", "fileMode": "EXECUTABLE", "fileContent": b"#!/bin/sh\n"},
                                   {"filePath": "docs/more", "fileContent": "hä\n".encode()}]},
     save={"second": "commitId"}, want={"commitId": COMMIT, "treeId": COMMIT, "filesAdded[].absolutePath | sort(@)": ["docs/more", "run.sh"]})
step("GetCommit", REPO | {"commitId": "${second}"}, want={
    "commit.commitId": "${second}", "commit.parents": ["${first}"], "commit.message": "second",
    "commit.author.name": "Ann", "commit.author.email": "ann@example.com", "commit.author.date": matching(r"\d+ [+-]\d{4}")})
step("BatchGetCommits", REPO | {"commitIds": ["${first}", "0" * 40]}, want={
    "commits[].commitId": ["${first}"], "errors[0].commitId": "0" * 40, "errors[0].errorCode": TEXT})
step("GetFile", REPO | {"filePath": "docs/more", "commitSpecifier": "main"}, want={
    "fileContent": content("hä\n"), "fileSize": 4, "filePath": "docs/more", "fileMode": "NORMAL", "commitId": "${second}"})
step("GetFolder", REPO | {"folderPath": "docs"}, want={
    "folderPath": "docs", "files[].relativePath | sort(@)": ["more", "readme"], "commitId": "${second}"})
step("GetBlob", REPO | {"blobId": "${blob}"}, want={"content": content(b"\x00\xff\n")})
step("GetDifferences", REPO | {"beforeCommitSpecifier": "${first}", "afterCommitSpecifier": "main"}, want={
    "differences[].afterBlob.path | sort(@)": ["docs/more", "run.sh"], "differences[].changeType": ["A", "A"]})
step("CreateBranch", REPO | {"branchName": "next", "commitId": "${first}"})
step("ListBranches", REPO, want={"branches | sort(@)": ["main", "next"]})
step("UpdateDefaultBranch", REPO | {"defaultBranchName": "next"})
step("DeleteBranch", BRANCH, want={"deletedBranch.branchName": "main", "deletedBranch.commitId": "${second}"})
step("GetBranch", BRANCH, refused="BranchDoesNotExistException")
step("DeleteFile", REPO | {"branchName": "next", "filePath": "docs/readme", "parentCommitId": "${first}"}, want={
    "commitId": COMMIT, "blobId": "${blob}", "filePath": "docs/readme"})
step("GetFile", REPO | {"filePath": "docs/readme"}, refused="FileDoesNotExistException")
step("TagResource", {"resourceArn": ARN, "tags": {"other": "b c"}})
step("ListTagsForResource", {"resourceArn": ARN}, want={"tags": {"team": "a", "other": "b c"}})
step("UntagResource", {"resourceArn": ARN, "tagKeys": ["other"]})
step("ListTagsForResource", {"resourceArn": ARN}, want={"tags": {"team": "a"}})
step("UpdateRepositoryDescription", REPO | {"repositoryDescription": "second"})
step("UpdateRepositoryName", {"oldName": "${n}-repo", "newName": "${n}-renamed"})
step("ListRepositories", {"sortBy": "repositoryName", "order": "ascending"}, want={
    "repositories[].repositoryName": Has("${n}-renamed"), "repositories[0].repositoryId": TEXT})
step("BatchGetRepositories", {"repositoryNames": ["${n}-renamed", "${n}-repo"]}, want={
    "repositories[].repositoryDescription": ["second"], "repositoriesNotFound": ["${n}-repo"]})
step("DeleteRepository", {"repositoryName": "${n}-renamed"}, want={"repositoryId": TEXT})
step("DeleteRepository", {"repositoryName": "${n}-renamed"}, want={"repositoryId": NOTHING})
step("GetRepository", {"repositoryName": "${n}-renamed"}, refused="RepositoryDoesNotExistException")
