"""An explicit Deny on a resource holds however a request writes that resource: by name or ARN, in another case, encoded,
by another host, with what some parser may skip.

Each way is first tried by somebody whom nothing is denied. Where it leads to the resource, the denied one must be told
AccessDenied; where it does not, it must not lead there for the denied one either.
"""

import json
import subprocess
import urllib.parse

import pytest
import raw
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

MARK = b"what is denied"
DENIED = {"AccessDenied", "AccessDeniedException"}
ARN = "arn:aws:{}:us-east-1:000000000000:{}".format


def users(account, actions, resources):
    """The keys of one who may do everything, and of one who may do everything but this."""
    free, denied = account.user("*"), account.user("*", suffix="denied")
    name = next(user["UserName"] for user in account.iam.list_users()["Users"]
                if any(key["AccessKeyId"] == denied[0] for key in account.iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]))
    account.iam.put_user_policy(UserName=name, PolicyName="deny", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": actions, "Resource": resources}]}))
    return free, denied


def outcome(way, client):
    """What a way gives, or the code of its refusal."""
    try:
        return way(client), None
    except ClientError as error:
        return None, error.response["Error"]["Code"]
    except BotoCoreError as error:
        return None, type(error).__name__


def check(account, service, ways, free, denied, least):
    client = {keys: account.server.client(service, keys=keys) for keys in (free, denied)}
    lead = 0
    for name, way in ways.items():
        got, code = outcome(way, client[denied])
        assert not got, f"{service}: {name} leads around the Deny"
        reached, _ = outcome(way, client[free])
        if reached:
            lead += 1
            assert code in DENIED or got is False, f"{service}: {name} is refused with {code}"
    assert lead >= least, f"only {lead} ways of {list(ways)} lead to the resource at all"


# ---- S3 ------------------------------------------------------------------------------------------


def sent(server, keys, method, path, host=None, headers=None):
    """A request whose target goes out as it stands, with the signature of what it means."""
    host = host or f"127.0.0.1:{server.port}"
    path_meant, _, query = path.partition("?")
    pairs = [(urllib.parse.unquote(name), urllib.parse.unquote(value)) for name, _, value in (
        pair.partition("=") for pair in query.split("&") if pair)]
    meant = urllib.parse.quote(urllib.parse.unquote_to_bytes(path_meant), safe="/~") + (
        f"?{urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote)}" if pairs else "")
    request = AWSRequest(method=method, url=f"http://{host}{meant}", headers={"Host": host, **(headers or {})})
    S3SigV4Auth(Credentials(*keys), "s3", "us-east-1").add_auth(request)
    return raw.send(server, method, path, dict(request.headers.items()))


@pytest.fixture
def secret(account):
    """A bucket with two versions of an object."""
    bucket = account.bucket()
    account.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = account.s3.put_object(Bucket=bucket, Key="secret/k", Body=MARK + b", before")["VersionId"]
    account.s3.put_object(Bucket=bucket, Key="secret/k", Body=MARK)
    return bucket, first


def test_reading_an_object(account, secret):
    bucket, first = secret
    free, denied = users(account, "s3:GetObject*", f"arn:aws:s3:::{bucket}/secret/*")
    port = account.server.port
    letter = f"%{ord(bucket[0]):02x}"
    paths = [f"/{bucket}/{rest}" for rest in (
        "secret/k", "secret%2Fk", "secret%2fk", "%73ecret/k", "%73%65%63%72%65%74%2f%6b", "/secret/k", "secret//k", "secret/k/", "./secret/k",
        "x/../secret/k", "secret/./k", "x/%2e%2e/secret/k", "Secret/k", "secret/k%00", "secret/k%20", "secret/k#", "secret/k%3F", "secret/k;x",
        "secret/k?", f"secret/k?versionId={first}", f"secret/k?version%49d={first}", "secret/k?versionId=", "secret/k?versionId", "secret/k?x-id=GetObject",
        "secret/k?partNumber=1", "secret/k?response-content-type=a/b", "secret/k?attributes")]
    paths += [f"//{bucket}/secret/k", f"/./{bucket}/secret/k", f"/{letter}{bucket[1:]}/secret/k", f"/{bucket.upper()}/secret/k", f"/{bucket}%2Fsecret/k"]
    places = [(path, None) for path in paths]
    for host in (f"{bucket}.localhost:{port}", f"{bucket}.LOCALHOST:{port}", f"{bucket.upper()}.localhost:{port}", f"{bucket}.localhost.:{port}"):
        places += [(path, host) for path in ("/secret/k", "/%73ecret/k", "//secret/k", "/secret%2Fk", f"/secret/k?versionId={first}")]
    lead = 0
    for path, host in places:
        answer = sent(account.server, denied, "GET", path, host)
        assert MARK not in answer.body and answer.status >= 400, (path, host, answer)
        if MARK in sent(account.server, free, "GET", path, host).body:
            lead += 1
            assert answer.status == 403, (path, host, answer)
    assert lead >= 14, lead


def test_an_object_as_the_source_of_a_copy(account, secret):
    bucket, first = secret
    free, denied = users(account, "s3:GetObject*", f"arn:aws:s3:::{bucket}/secret/*")
    target = account.bucket("copies")
    upload = account.s3.create_multipart_upload(Bucket=target, Key="parts")["UploadId"]
    lead = 0
    for number, source in enumerate((
            "secret/k", "secret%2Fk", "%73ecret/k", f"secret/k?versionId={first}", "/secret/k", "./secret/k", "secret/k?versionId=",
            f"secret/k?version%49d={first}", f"secret%2Fk%3FversionId={first}")):
        for form in (f"{bucket}/{source}", f"/{bucket}/{source}", f"{bucket}%2F{source}", f"arn:aws:s3:::{bucket}/{source}"):
            for path in (f"/{target}/{number}", f"/{target}/parts?partNumber=1&uploadId={upload}"):
                headers = {"x-amz-copy-source": form}
                answer = sent(account.server, denied, "PUT", path, headers=headers)
                assert answer.status >= 400, (form, path, answer)
                if sent(account.server, free, "PUT", path, headers=headers).status == 200:
                    lead += 1
                    assert answer.status == 403, (form, path, answer)
    assert lead >= 10, lead


def test_a_version_is_deleted_by_whom_it_is_not_denied_alone(account, secret):
    """Deleting a version for good is an action of its own, however the version is named."""
    bucket, first = secret
    free, denied = users(account, "s3:DeleteObjectVersion", f"arn:aws:s3:::{bucket}/*")
    there = lambda: first in {one["VersionId"] for one in account.s3.list_object_versions(Bucket=bucket).get("Versions", [])}
    for query in (f"versionId={first}", f"version%49d={first}", f"x-id=DeleteObject&versionId={first}", f"%76ersionId={first}", f"&versionId={first}",
                  f"versionId={first}&versionId=null", f"versionid={first}"):
        sent(account.server, denied, "DELETE", f"/{bucket}/secret/k?{query}")
        assert there(), query
    answer = account.server.client("s3", keys=denied).delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "secret/k", "VersionId": first}]})
    assert [one["Code"] for one in answer["Errors"]] == ["AccessDenied"] and there()
    sent(account.server, free, "DELETE", f"/{bucket}/secret/k?version%49d={first}")
    assert not there(), "that way does lead there"


def test_an_empty_version_is_no_way_to_the_newest(account, secret):
    bucket, first = secret
    _, denied = users(account, "s3:GetObject", f"arn:aws:s3:::{bucket}/*")
    assert MARK in sent(account.server, denied, "GET", f"/{bucket}/secret/k?versionId={first}").body, "another action, which is not denied"
    for query in ("versionId=", "versionId", "version%49d=", "&versionId=", "versionId=&versionId="):
        answer = sent(account.server, denied, "GET", f"/{bucket}/secret/k?{query}")
        assert MARK not in answer.body and answer.status in (400, 403, 404), (query, answer)


# ---- the others ----------------------------------------------------------------------------------


def spellings(name):
    return [name, name.upper(), name.capitalize(), f"{name}/", f"/{name}", f"{name}:*", f"{name} ", f"{name}.git", f"{name}\0", f"./{name}", f"{name}*"]


def test_a_repository(account):
    name, url = account.repository()
    account.codecommit.put_file(repositoryName=name, branchName="main", filePath="f", fileContent=MARK)
    arn = ARN("codecommit", name)
    free, denied = users(account, "codecommit:*", arn)
    ways = {"tags": lambda client: client.list_tags_for_resource(resourceArn=arn), "tag": lambda client: client.tag_resource(resourceArn=arn, tags={"a": "b"})}
    for one in spellings(name) + [arn]:
        ways |= {f"get {one!r}": lambda client, one=one: client.get_repository(repositoryName=one),
                 f"batch {one!r}": lambda client, one=one: bool(client.batch_get_repositories(repositoryNames=[one])["repositories"]),
                 f"file {one!r}": lambda client, one=one: client.get_file(repositoryName=one, filePath="f"),
                 f"put {one!r}": lambda client, one=one: client.update_repository_description(repositoryName=one, repositoryDescription="x")}
    check(account, "codecommit", ways, free, denied, 5)
    # By git, with a login of its own.
    free, denied = account.git_user("codecommit:*"), account.git_user("codecommit:*")
    user = next(one["UserName"] for one in account.iam.list_users()["Users"] if any(
        made["ServiceUserName"] == denied[0] for made in account.iam.list_service_specific_credentials(UserName=one["UserName"])["ServiceSpecificCredentials"]))
    account.iam.put_user_policy(UserName=user, PolicyName="deny", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "codecommit:*", "Resource": arn}]}))
    path, lead = url[url.index("/v1/"):], 0
    encoded = f"/v1/repos/%{ord(name[0]):02x}{name[1:]}"
    for way in (path, f"{path}/", f"{path}.git", f"/{path}", f"/v1//repos/{name}", f"/v1/repos//{name}", f"/v1/repos/./{name}", f"/v1/repos/x/../{name}",
                encoded, f"/v1/repos/{name.upper()}", f"/V1/repos/{name}", f"{path}%2F", f"{path}%00"):
        told = {}
        for who, (login, password) in (("denied", denied), ("free", free)):
            address = f"http://{login}:{urllib.parse.quote(password, safe='')}@127.0.0.1:{account.server.port}{way}"
            told[who] = subprocess.run(["git", "ls-remote", address], env=account.server.env(), capture_output=True, text=True, timeout=60)
        assert told["denied"].returncode != 0 and "refs/heads/main" not in told["denied"].stdout, way
        lead += told["free"].returncode == 0
    assert lead >= 1


def test_a_build_project_and_its_builds(account):
    spec = {"version": 0.2, "phases": {"build": {"commands": ["true"]}}}
    name = account.project(json.dumps(spec))
    build = account.codebuild.start_build(projectName=name)["build"]
    arn, id = ARN("codebuild", f"project/{name}"), build["id"]
    free, denied = users(account, "codebuild:*", [arn, ARN("codebuild", f"build/{name}:*")])
    ways = {}
    for one in spellings(name) + [arn, f"{arn}:", arn.upper(), arn.replace("us-east-1", "US-EAST-1"), f"project/{name}"]:
        ways |= {f"get {one!r}": lambda client, one=one: bool(client.batch_get_projects(names=[one])["projects"]),
                 f"start {one!r}": lambda client, one=one: client.start_build(projectName=one),
                 f"list {one!r}": lambda client, one=one: client.list_builds_for_project(projectName=one),
                 f"update {one!r}": lambda client, one=one: client.update_project(name=one, description="x")}
    for one in [id, build["arn"], id.upper(), f"{name.upper()}:{id.split(':')[1]}", f"{id} ", f"build/{id}", f":{id}"]:
        ways |= {f"build {one!r}": lambda client, one=one: bool(client.batch_get_builds(ids=[one])["builds"]),
                 f"stop {one!r}": lambda client, one=one: client.stop_build(id=one),
                 f"retry {one!r}": lambda client, one=one: client.retry_build(id=one)}
    check(account, "codebuild", ways, free, denied, 7)


def test_a_pipeline(account):
    source = {"name": "S", "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"}, "runOrder": 1,
              "configuration": {"S3Bucket": account.bucket("s"), "S3ObjectKey": "k", "PollForSourceChanges": "false"}, "outputArtifacts": [{"name": "o"}]}
    ask = {"name": "A", "actionTypeId": {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}, "runOrder": 1}
    name = account.pipeline([("S", [source]), ("A", [ask])])
    arn = ARN("codepipeline", name)
    free, denied = users(account, "codepipeline:*", [arn, f"{arn}/*"])
    ways = {"tags": lambda client: client.list_tags_for_resource(resourceArn=arn),
            "tag": lambda client: client.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])}
    for one in spellings(name) + [arn]:
        ways |= {f"get {one!r}": lambda client, one=one: client.get_pipeline(name=one),
                 f"state {one!r}": lambda client, one=one: client.get_pipeline_state(name=one),
                 f"start {one!r}": lambda client, one=one: client.start_pipeline_execution(name=one),
                 f"list {one!r}": lambda client, one=one: client.list_pipeline_executions(pipelineName=one)}
    check(account, "codepipeline", ways, free, denied, 5)


def test_a_log_group(account):
    name = f"{account.name}/group"
    account.logs.create_log_group(logGroupName=name)
    account.logs.create_log_stream(logGroupName=name, logStreamName="s")
    arn = ARN("logs", f"log-group:{name}")
    for resources in ([arn, f"{arn}:*"], [f"{arn}:*"]):
        free, denied = users(account, "logs:*", resources)
        ways = {}
        for one in spellings(name) + [arn, f"{arn}:*", f"{arn}:", arn.upper(), f"{arn}:log-stream:s"]:
            ways |= {f"streams {one!r}": lambda client, one=one: client.describe_log_streams(logGroupName=one),
                     f"streams of {one!r}": lambda client, one=one: client.describe_log_streams(logGroupIdentifier=one),
                     f"events {one!r}": lambda client, one=one: client.get_log_events(logGroupName=one, logStreamName="s"),
                     f"events of {one!r}": lambda client, one=one: client.get_log_events(logGroupIdentifier=one, logStreamName="s"),
                     f"filter {one!r}": lambda client, one=one: client.filter_log_events(logGroupIdentifier=one),
                     f"make {one!r}": lambda client, one=one: client.create_log_stream(logGroupName=one, logStreamName=f"x{len(ways)}")}
        check(account, "logs", ways, free, denied, 6)


def test_an_application(account):
    name = f"{account.name}-app"
    account.codedeploy.create_application(applicationName=name)
    account.codedeploy.create_deployment_group(applicationName=name, deploymentGroupName="g", serviceRoleArn=account.role("codedeploy"))
    arn = ARN("codedeploy", f"application:{name}")
    free, denied = users(account, "codedeploy:*", [arn, ARN("codedeploy", f"deploymentgroup:{name}/*")])
    ways = {"tags": lambda client: client.list_tags_for_resource(ResourceArn=arn)}
    for one in spellings(name) + [arn]:
        ways |= {f"get {one!r}": lambda client, one=one: client.get_application(applicationName=one),
                 f"batch {one!r}": lambda client, one=one: bool(client.batch_get_applications(applicationNames=[one])["applicationsInfo"]),
                 f"groups {one!r}": lambda client, one=one: client.list_deployment_groups(applicationName=one),
                 f"group {one!r}": lambda client, one=one: client.get_deployment_group(applicationName=one, deploymentGroupName="g"),
                 f"update {one!r}": lambda client, one=one: client.update_deployment_group(applicationName=one, currentDeploymentGroupName="g")}
    check(account, "codedeploy", ways, free, denied, 5)


def test_a_user_and_a_role(account):
    user, role = f"{account.name}-boss", f"{account.name}-role"
    account.iam.create_user(UserName=user, Path="/team/")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}]}
    account.iam.create_role(RoleName=role, Path="/team/", AssumeRolePolicyDocument=json.dumps(trust))
    arns = [f"arn:aws:iam::000000000000:user/team/{user}", f"arn:aws:iam::000000000000:role/team/{role}"]
    free, denied = users(account, ["iam:*", "sts:*"], arns)
    ways = {}
    for one in spellings(user) + [arns[0], f"team/{user}", f"/team/{user}"]:
        ways |= {f"get {one!r}": lambda client, one=one: client.get_user(UserName=one),
                 f"tag {one!r}": lambda client, one=one: not client.tag_user(UserName=one, Tags=[{"Key": "a", "Value": "b"}])["ResponseMetadata"]["RetryAttempts"],
                 f"policies {one!r}": lambda client, one=one: client.list_user_policies(UserName=one)}
    for one in spellings(role) + [arns[1], f"team/{role}"]:
        ways |= {f"role {one!r}": lambda client, one=one: client.get_role(RoleName=one),
                 f"role policies {one!r}": lambda client, one=one: client.list_role_policies(RoleName=one)}
    check(account, "iam", ways, free, denied, 5)
    assume = {one: lambda client, one=one: client.assume_role(RoleArn=one, RoleSessionName="session") for one in (
        arns[1], arns[1].upper(), arns[1].replace("/team/", "/"), arns[1].replace("/team/", "/Team/"), f"{arns[1]}/", arns[1].replace("/team/", "//team//"),
        arns[1].replace("role/", "Role/"), arns[1].replace("::", ":us-east-1:"), arns[1].replace(":aws:", ":aws-cn:"), arns[1].replace(role, role.upper()))}
    check(account, "sts", assume, free, denied, 1)
