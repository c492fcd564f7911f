"""What a team sets up before it works: users, roles, repositories, projects, pipelines. By boto3 and git."""

import io
import json
import os
import re
import subprocess
import uuid
import zipfile


def trust(service):
    return json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}]})


def allow(*actions, resource="*"):
    return json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": list(actions), "Resource": resource}]})


def zipped(files):
    """A zip in memory of {name: content}; a script keeps its executable bit."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


class Account:
    ROLE_ACTIONS = {
        "codepipeline": ["codecommit:*", "codebuild:*", "codedeploy:*", "s3:*"],
        "codebuild": ["logs:*", "s3:*", "codecommit:GitPull", "codebuild:*"],
        "codedeploy": ["s3:Get*"],
    }

    def __init__(self, server, name="t"):
        self.server = server
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24]
        self.name = f"{slug}-{uuid.uuid4().hex[:6]}"
        self.iam = server.client("iam")
        self.s3 = server.client("s3")
        self.codecommit = server.client("codecommit")
        self.codebuild = server.client("codebuild")
        self.codepipeline = server.client("codepipeline")
        self.codedeploy = server.client("codedeploy")
        self.logs = server.client("logs")

    # ---- people and roles ------------------------------------------------------------------------

    def user(self, *actions, resource="*", suffix="user"):
        """A user with a policy; answers their keys."""
        name = f"{self.name}-{suffix}-{uuid.uuid4().hex[:4]}"
        self.iam.create_user(UserName=name)
        if actions:
            self.iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=allow(*actions, resource=resource))
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def git_user(self, *actions, resource="*"):
        """A user with a service-specific credential; answers (name, password)."""
        name = f"{self.name}-git-{uuid.uuid4().hex[:4]}"
        self.iam.create_user(UserName=name)
        actions = actions or ("codecommit:GitPull", "codecommit:GitPush")
        self.iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=allow(*actions, resource=resource))
        made = self.iam.create_service_specific_credential(UserName=name, ServiceName="codecommit.amazonaws.com")
        made = made["ServiceSpecificCredential"]
        return made["ServiceUserName"], made["ServicePassword"]

    def role(self, service, actions=None):
        name = f"{self.name}-{service}-{uuid.uuid4().hex[:4]}"
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))["Role"]["Arn"]
        actions = self.ROLE_ACTIONS[service] if actions is None else actions
        if actions:
            self.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allow(*actions))
        return arn

    # ---- source ----------------------------------------------------------------------------------

    def repository(self, suffix="repo"):
        name = f"{self.name}-{suffix}"
        made = self.codecommit.create_repository(repositoryName=name)
        return name, made["repositoryMetadata"]["cloneUrlHttp"]

    def git(self, folder, *words, check=True):
        done = subprocess.run(["git", *words], cwd=folder, env=self.server.env(), capture_output=True, text=True)
        if check:
            assert done.returncode == 0, f"git {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def checkout(self, folder, url, login):
        """A fresh work tree that pushes to `url`."""
        os.makedirs(folder, exist_ok=True)
        user, password = login
        helper = f"!f() {{ echo username='{user}'; echo password='{password}'; }}; f"
        self.git(folder, "init", "-q", "-b", "main")
        for key, value in {"user.name": "Dev", "user.email": "dev@example.com", "credential.helper": helper}.items():
            self.git(folder, "config", key, value)
        self.git(folder, "remote", "add", "origin", url)
        return folder

    def commit(self, folder, files, message="change"):
        for name, content in files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(content)
            if name.endswith(".sh"):
                os.chmod(path, 0o755)
        self.git(folder, "add", "-A")
        self.git(folder, "commit", "-q", "-m", message)
        return self.git(folder, "rev-parse", "HEAD").stdout.strip()

    # ---- build, deploy, pipeline -----------------------------------------------------------------

    def bucket(self, suffix="bucket"):
        name = f"{self.name}-{suffix}".lower()
        self.s3.create_bucket(Bucket=name)
        return name

    def project(self, buildspec=None, source=None, artifacts=None, role=None, suffix="build", **more):
        name = f"{self.name}-{suffix}"
        source = source or {"type": "NO_SOURCE"}
        if buildspec is not None:
            source["buildspec"] = buildspec
        self.codebuild.create_project(
            name=name, serviceRole=role or self.role("codebuild"), source=source,
            artifacts=artifacts or {"type": "NO_ARTIFACTS"},
            environment={"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0",
                         "computeType": "BUILD_GENERAL1_SMALL"}, **more)
        return name

    def pipeline(self, stages, role=None, suffix="pipe", bucket=None, **more):
        """`stages` is [(name, [action, …])]; see `action`."""
        name = f"{self.name}-{suffix}"
        self.codepipeline.create_pipeline(pipeline={
            "name": name, "roleArn": role or self.role("codepipeline"), "pipelineType": "V2",
            "artifactStore": {"type": "S3", "location": bucket or self.bucket(f"{suffix}-artifacts")},
            "stages": [{"name": stage, "actions": actions} for stage, actions in stages]} | more)
        return name


def action(name, category, provider, configuration=None, inputs=(), outputs=(), run_order=1, **more):
    return {
        "name": name,
        "actionTypeId": {"category": category, "owner": "AWS", "provider": provider, "version": "1"},
        "configuration": configuration or {}, "runOrder": run_order,
        "inputArtifacts": [{"name": one} for one in inputs],
        "outputArtifacts": [{"name": one} for one in outputs], **more,
    }
