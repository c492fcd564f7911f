"""TLS: an authority of the server's own, certificates from files, and every client of the server over both."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import pytest
import raw
from accounts import Account, zipped
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError
from server import BIN, Server, wait_for
from watch import Builds, Fleet, commit_to, repository_with


@pytest.fixture(scope="module")
def secure_server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("tls"), ["--tls"]).start()
    yield server
    server.towpath("host", "stop", "--all", check=False)
    server.stop()


@pytest.fixture
def secure(secure_server, request):
    """Names of the test's own, on a server with an authority of its own."""
    return Account(secure_server, request.node.name)


def shown(server, name="127.0.0.1", authority=None):
    """The certificate that a client who trusts the authority gets to see."""
    trust = ssl.create_default_context(cafile=str(authority or server.authority))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        with trust.wrap_socket(plain, server_hostname=name) as opened:
            return opened.getpeercert()


# ---- the port --------------------------------------------------------------------------------------


def test_the_port_speaks_tls_and_nothing_else(secure_server):
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(f"http://127.0.0.1:{secure_server.port}/_towpath/health", timeout=30)
    assert told.value.code == 400 and b"use https://" in told.value.read()
    trust = secure_server.trust()
    trust.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", secure_server.port), timeout=30) as plain:
        with trust.wrap_socket(plain, server_hostname="localhost") as opened:
            assert opened.selected_alpn_protocol() == "http/1.1" and opened.version() == "TLSv1.3"
    old = secure_server.trust()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", secure_server.port), timeout=30) as plain:
        with old.wrap_socket(plain, server_hostname="localhost") as opened:
            assert opened.version() == "TLSv1.2"


def test_the_authority_is_the_servers_own_and_stays(tmp_path):
    server = Server(tmp_path, ["--tls"]).start()
    try:
        authority = server.towpath("ca").stdout
        assert authority == server.authority.read_text() and "PRIVATE" not in authority
        assert server.towpath("ca", "--path").stdout.strip() == str(server.authority)
        key = server.data / "tls/authority-key.pem"
        assert key.stat().st_mode & 0o777 == 0o600 and key.parent.stat().st_mode & 0o777 == 0o700
        first = shown(server)
        assert ("DNS", "localhost") in first["subjectAltName"] and ("IP Address", "127.0.0.1") in first["subjectAltName"]
        server.restart()
        assert server.towpath("ca").stdout == authority
        assert shown(server)["serialNumber"] != first["serialNumber"]
    finally:
        server.stop()


def test_who_does_not_trust_the_authority_sends_nothing(secure_server):
    client = boto3.client("s3", endpoint_url=secure_server.url, region_name="us-east-1", verify=True,
                          aws_access_key_id="a", aws_secret_access_key="b", config=Config(retries={"max_attempts": 0}))
    with pytest.raises(SSLError):
        client.list_buckets()
    without = {name: value for name, value in secure_server.env().items() if not name.startswith(("AWS_CA", "GIT_CONFIG_"))}
    done = subprocess.run([BIN, "status", "--endpoint-url", secure_server.url], env=without | {"TOWPATH_DATA": "/nonexistent"},
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "certificate" in done.stderr, done.stderr


def test_a_plain_server_has_no_authority(shared_server):
    done = shared_server.towpath("ca", check=False)
    assert done.returncode != 0 and "--tls" in done.stderr


def test_slow_handshakes_keep_nobody_out(tmp_path):
    """More of them than there may be: some silent, some that stop within their first message."""
    server = Server(tmp_path, ["--tls"]).start()
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        slow = []
        for number in range(400):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            if number % 2:
                one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
            slow.append(one)
        for _ in range(5):
            started = time.monotonic()
            assert urllib.request.urlopen(server.url + "/_towpath/health", timeout=30, context=server.trust()).status == 200
            # A handshake's own limit is 10 s: nobody waited for one.
            assert time.monotonic() - started < 9
        # The oldest made room.
        assert slow[0].recv(1) == b""
        assert "panicked" not in server.log()


# ---- clients ---------------------------------------------------------------------------------------


def test_s3_by_path_and_by_virtual_host(secure):
    """Over TLS boto3 sends its checksums in a trailer."""
    bucket, content = secure.bucket("b"), os.urandom(3 << 20)
    secure.s3.put_object(Bucket=bucket, Key="k", Body=content, ChecksumAlgorithm="SHA256")
    assert secure.s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == content
    server = secure.server
    session = boto3.Session(*server.root_keys(), region_name="us-east-1")
    for version in ("s3", "s3v4"):
        client = session.client("s3", endpoint_url=f"https://localhost:{server.port}",
                                config=Config(s3={"addressing_style": "virtual"}, signature_version=version))
        url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        host = f"{bucket}.localhost:{server.port}"
        assert url.startswith(f"https://{host}/k?")
        answer = raw.send(server, "GET", url.removeprefix(f"https://{host}"), {"Host": host})
        assert answer.status == 200 and answer.body == content, answer


def test_aws_secure_transport_tells_the_truth(secure, account):
    """The same policy on a server with TLS and on one without; and a denial of what is not secure."""
    for one, allowed in ((secure, True), (account, False)):
        keys = one.user(suffix="u")
        user = one.server.client("sts", keys=keys).get_caller_identity()["Arn"].split("/")[-1]
        document = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": ["s3:ListAllMyBuckets", "iam:ListUsers"], "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]}
        one.iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(document))
        calls = [one.server.client("s3", keys=keys).list_buckets, one.server.client("iam", keys=keys).list_users]
        for call in calls:
            if allowed:
                call()
                continue
            with pytest.raises(ClientError) as denied:
                call()
            assert denied.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")


def test_the_environment_and_a_profile_are_all_that_tools_need(secure, tmp_path):
    server = secure.server
    told = json.loads(server.towpath("env", "--json").stdout)
    assert told["AWS_ENDPOINT_URL"] == server.url and told["AWS_CA_BUNDLE"] == str(server.authority)
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_PAGER": ""}
    bucket = secure.bucket("b")
    listed = subprocess.run(["aws", "s3", "ls"], env=plain | told, capture_output=True, text=True, timeout=120)
    assert listed.returncode == 0 and bucket in listed.stdout, listed.stderr
    made = subprocess.run([BIN, "profile", "--data", str(server.data)], env=plain, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    listed = subprocess.run(["aws", "--profile", "towpath", "s3", "ls"], env=plain, capture_output=True, text=True, timeout=120)
    assert listed.returncode == 0 and bucket in listed.stdout, listed.stderr
    assert server.towpath("status").returncode == 0
    user, password = secure.git_user()
    name, url = secure.repository()
    commit_to(secure, name, {"file": "1\n"})
    url = url.replace("://", f"://{user}:{urllib.parse.quote(password, safe='')}@")
    # What git trusts otherwise stays, but for this server.
    (tmp_path / "other.pem").write_text("")
    evaluated = subprocess.run(["bash", "-c", f'eval "$({BIN} env --data {server.data})"; git ls-remote {url}; git config http.sslCAInfo'],
                               env=plain | {"GIT_SSL_CAINFO": str(tmp_path / "other.pem")}, capture_output=True, text=True, timeout=60)
    assert "refs/heads/main" in evaluated.stdout and str(tmp_path / "other.pem") in evaluated.stdout, evaluated


def test_git_over_https(secure, tmp_path):
    name, url = secure.repository()
    assert url.startswith("https://")
    work = secure.checkout(str(tmp_path / "work"), url, secure.git_user())
    secure.commit(work, {"file": "1\n"})
    secure.git(work, "push", "-q", "origin", "main")
    secure.git(tmp_path, "clone", "-q", "-c", f"credential.helper={secure.git(work, 'config', 'credential.helper').stdout.strip()}",
               url, "back")
    assert (tmp_path / "back/file").read_text() == "1\n"


def test_git_remote_codecommit_clones_and_pushes(secure, tmp_path):
    """As its users have it: a profile, and a URL that names it."""
    server = secure.server
    name, _ = secure.repository()
    commit_to(secure, name, {"file": "1\n"})
    access, secret = secure.user("codecommit:GitPull", "codecommit:GitPush")
    (tmp_path / "aws").write_text(
        f"[profile dev]\nregion = us-east-1\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
    environment = {variable: value for variable, value in server.env().items()
                   if variable not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    environment |= {"AWS_CONFIG_FILE": str(tmp_path / "aws"), "CODE_COMMIT_ENDPOINT": server.url.removeprefix("https://"),
                    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

    def git(*words, cwd=tmp_path, check=True):
        done = subprocess.run(["git", *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, done.stderr
        return done

    git("clone", "-q", f"codecommit://dev@{name}", "work")
    (tmp_path / "work/file").write_text("2\n")
    git("commit", "-qam", "two", cwd=tmp_path / "work")
    git("push", "-q", "origin", "HEAD", cwd=tmp_path / "work")
    git("clone", "-q", f"codecommit::us-east-1://dev@{name}", "again")
    assert (tmp_path / "again/file").read_text() == "2\n"
    secure.iam.update_access_key(UserName=server.client("sts", keys=(access, secret)).get_caller_identity()["Arn"].split("/")[-1],
                                 AccessKeyId=access, Status="Inactive")
    refused = git("ls-remote", f"codecommit://dev@{name}", check=False)
    assert refused.returncode != 0


def test_the_clis_credential_helper_clones_and_pushes(secure, tmp_path):
    name, url = secure.repository()
    commit_to(secure, name, {"file": "1\n"})
    environment = secure.server.env(secure.user("codecommit:GitPull", "codecommit:GitPush"))
    helper = "!f() { test \"$1\" != get || aws codecommit credential-helper --ignore-host-check get; }; f"
    (tmp_path / "gitconfig").write_text(
        f"[credential]\n\thelper = {json.dumps(helper)}\n\tUseHttpPath = true\n[user]\n\tname = a\n\temail = a@b\n")
    environment["GIT_CONFIG_GLOBAL"] = str(tmp_path / "gitconfig")

    def git(*words, cwd):
        done = subprocess.run(["git", *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    git("clone", "-q", url, "work", cwd=tmp_path)
    (tmp_path / "work/file").write_text("2\n")
    git("commit", "-qam", "two", cwd=tmp_path / "work")
    git("push", "-q", "origin", "HEAD", cwd=tmp_path / "work")
    got = secure.codecommit.get_file(repositoryName=name, filePath="file")
    assert got["fileContent"] == b"2\n"


# ---- machines --------------------------------------------------------------------------------------


def test_a_build_reaches_the_server(secure):
    """By the aws CLI, and by git with the clone URL that the API tells."""
    other, url, _ = repository_with(secure, {"word": "of the other repository\n"}, suffix="other")
    assert url.startswith("https://")
    role, bucket = secure.role("codebuild", ["logs:*", "s3:*", "codecommit:*"]), secure.bucket("made")
    commands = [f"echo made > f && aws s3 cp f s3://{bucket}/f", f"git clone -q {url} other && cat other/word"]
    text = json.dumps({"version": 0.2, "env": {"git-credential-helper": "yes"}, "phases": {"build": {"commands": commands}}})
    builds = Builds(secure)
    log = builds.log(builds.wait(builds.start(secure.project(text, role=role)), timeout=120)["id"])
    assert "of the other repository" in log
    assert secure.s3.get_object(Bucket=bucket, Key="f")["Body"].read() == b"made\n"


def test_agents_deploy_in_a_host_and_outside(secure, tmp_path):
    fleet = Fleet(secure)
    plain = f"{secure.name}-plain"[-60:].lstrip("-")
    # Each instance its own folder; the group takes both.
    host = fleet.host("host")
    log = open(tmp_path / "agent.log", "w")
    environment = secure.server.env() | {"AWS_CA_BUNDLE": ""}
    agent = subprocess.Popen(
        [BIN, "agent", "--endpoint", secure.server.url, "--ca", str(secure.server.authority), "--name", plain,
         "--tag", f"fleet={secure.name}", "--root-dir", str(tmp_path / "agent")], env=environment, stdout=log, stderr=log)
    log.close()
    try:
        found = lambda: len(fleet.client.list_on_premises_instances(tagFilters=[
            {"Key": "fleet", "Value": secure.name, "Type": "KEY_AND_VALUE"}])["instanceNames"]) == 2
        wait_for(lambda: agent.poll() is not None or found(), "both agents are registered")
        assert agent.poll() is None, (tmp_path / "agent.log").read_text()
        fleet.group()
        spec = ("version: 0.0\nos: linux\nfiles:\n  - source: /word\n    destination: %s\n"
                "file_exists_behavior: OVERWRITE\n" % ("/tmp/towpath-tls-" + secure.name))
        fleet.wait(fleet.deploy(fleet.revision(zipped({"appspec.yml": spec, "word": "w\n"}))))
        assert fleet.read(host, f"/tmp/towpath-tls-{secure.name}/word") == "w"
    finally:
        agent.terminate()
        agent.wait(timeout=60)
        fleet.stop()
        subprocess.run(["rm", "-rf", f"/tmp/towpath-tls-{secure.name}"], check=False)


# ---- certificates from files -----------------------------------------------------------------------


def openssl(folder, *words):
    done = subprocess.run(["openssl", *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def issue(folder, name, kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), hosts="IP:127.0.0.1,DNS:localhost"):
    """A key and a certificate with its chain: root, intermediate, server."""
    if not (folder / "root.pem").exists():
        openssl(folder, "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", "root-key.pem", "-out", "root.pem",
                "-subj", "/CN=test root", "-days", "2")
        openssl(folder, "req", "-newkey", *kind, "-nodes", "-keyout", "middle-key.pem", "-out", "middle.csr", "-subj", "/CN=test middle")
        (folder / "middle.ext").write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n")
        openssl(folder, "x509", "-req", "-in", "middle.csr", "-CA", "root.pem", "-CAkey", "root-key.pem", "-CAcreateserial",
                "-extfile", "middle.ext", "-out", "middle.pem", "-days", "2")
    openssl(folder, "req", "-newkey", *kind, "-nodes", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    (folder / f"{name}.ext").write_text(f"subjectAltName={hosts}\nextendedKeyUsage=serverAuth\n")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "middle.pem", "-CAkey", "middle-key.pem", "-CAcreateserial",
            "-extfile", f"{name}.ext", "-out", f"{name}-leaf.pem", "-days", "2")
    chain = (folder / f"{name}-leaf.pem").read_text() + (folder / "middle.pem").read_text()
    (folder / f"{name}.pem").write_text(chain)
    return folder / f"{name}.pem", folder / f"{name}-key.pem"


@pytest.mark.parametrize("kind", [("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), ("rsa:2048",)], ids=["ec", "rsa"])
def test_a_certificate_from_files_is_shown_with_its_chain_and_replaced_on_sighup(tmp_path, kind):
    certificate, key = issue(tmp_path, "one", kind)
    server = Server(tmp_path, ["--tls-cert", str(certificate), "--tls-key", str(key)])
    server.authority = tmp_path / "root.pem"
    server.start()
    try:
        name = lambda: dict(part[0] for part in shown(server)["subject"])["commonName"]
        assert name() == "one"
        # The server's own tools, too: they trust what AWS_CA_BUNDLE names.
        assert server.towpath("status").returncode == 0
        told = server.towpath("ca", check=False)
        assert told.returncode != 0 and "--tls-cert" in told.stderr
        next_certificate, next_key = issue(tmp_path, "two", kind)
        certificate.write_text("no certificate")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the certificate was not replaced" in server.log(), "the refusal is in the log")
        assert name() == "one"
        certificate.write_text(next_certificate.read_text()), key.write_text(next_key.read_text())
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: name() == "two", "the new certificate is shown")
    finally:
        server.stop()


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path):
    certificate, key = issue(tmp_path, "one")
    _, other = issue(tmp_path, "two")
    server = Server(tmp_path, ["--tls"])
    for words, told in [
        (["--tls-cert", certificate, "--tls-key", other], "is not the key of the certificate"),
        (["--tls-cert", tmp_path / "none.pem", "--tls-key", key], "none.pem"),
        (["--tls-cert", key, "--tls-key", key], "has no certificate"),
        (["--tls-cert", certificate, "--tls-key", certificate], "has no private key"),
        (["--tls-cert", certificate], "both tls-cert and tls-key"),
        (["--tls=false", "--tls-cert", certificate, "--tls-key", key], "tls is"),
    ]:
        done = subprocess.run([BIN, "up", "--listen", f"127.0.0.1:{server.port}", "--data", str(server.data), *map(str, words)],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and told in done.stderr, (words, done.stderr)
