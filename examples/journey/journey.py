"""From `git push` to a running deployment: Towpath's main job, end to end, on real input.

The project is bottle, as PyPI's sdist has it, with its own test suite. Everything is done by git, the aws
CLI and boto3, which know nothing of Towpath; only the hosts are made by `towpath host`.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import boto3

HERE = pathlib.Path(__file__).resolve().parent
SDIST = "bottle==0.13.4"
HOSTS = ("web-1", "web-2")
REPOSITORY = PIPELINE = "hello"


class Journey:
    def __init__(self, towpath, work, keep, port):
        self.towpath = towpath
        self.work = work
        self.keep = keep
        self.port = port
        self.started = time.monotonic()
        self.server = None
        self.env = None

    # ---- telling -------------------------------------------------------------------------------

    def say(self, text):
        print(f"[{time.monotonic() - self.started:6.2f} s] {text}", flush=True)

    def run(self, *command, cwd=None, quiet=False, check=True):
        """Runs a command as a person would type it, and shows it."""
        if not quiet:
            self.say("$ " + " ".join(str(word) for word in command))
        done = subprocess.run([str(word) for word in command], cwd=cwd, env=self.env, text=True, capture_output=True)
        if check and done.returncode != 0:
            raise SystemExit(f"{command[0]} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def aws(self, *words):
        out = self.run("aws", *words, "--output", "json")
        return json.loads(out) if out.strip() else {}

    def client(self, service):
        return boto3.Session(
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name=self.env["AWS_REGION"],
        ).client(service, endpoint_url=self.env["AWS_ENDPOINT_URL"])

    # ---- the steps -----------------------------------------------------------------------------

    def start_server(self):
        data = self.work / "data"
        self.say(f"$ towpath up --listen 127.0.0.1:{self.port} --data {data}")
        log = open(self.work / "server.log", "wb")
        begun = time.monotonic()
        self.server = subprocess.Popen(
            [self.towpath, "up", "--listen", f"127.0.0.1:{self.port}", "--data", data],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )
        url = f"http://127.0.0.1:{self.port}/_towpath/health"
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).read()
                break
            except OSError:
                if self.server.poll() is not None or time.monotonic() - begun > 30:
                    raise SystemExit(f"the server did not start:\n{(self.work / 'server.log').read_text()}")
                time.sleep(0.005)
        self.say(f"ready after {(time.monotonic() - begun) * 1000:.0f} ms")
        exports = json.loads(subprocess.check_output([self.towpath, "env", "--json", "--data", data]))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") or "CA_BUNDLE" in name}
        self.env = kept | exports | {"AWS_PAGER": "", "TOWPATH_DATA": str(data), "GIT_TERMINAL_PROMPT": "0"}

    def make_project(self):
        downloads = self.work / "downloads"
        self.run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                 SDIST, "-d", downloads)
        archive = next(downloads.glob("*.tar.gz"))
        self.run("tar", "-xzf", archive, "-C", downloads)
        project = self.work / "project"
        shutil.copytree(downloads / archive.name.removesuffix(".tar.gz"), project)
        shutil.copytree(HERE / "overlay", project, dirs_exist_ok=True)
        return project

    def make_identities(self):
        """A developer who may push, and one role per service with what it needs."""
        iam = self.client("iam")
        iam.create_user(UserName="dev")
        iam.attach_user_policy(UserName="dev", PolicyArn="arn:aws:iam::aws:policy/AWSCodeCommitPowerUser")
        git = self.aws("iam", "create-service-specific-credential", "--user-name", "dev",
                       "--service-name", "codecommit.amazonaws.com")["ServiceSpecificCredential"]
        roles = {}
        permissions = {
            "codepipeline": ["codecommit:*", "codebuild:*", "codedeploy:*", "s3:*"],
            "codebuild": ["logs:*", "s3:*", "codecommit:GitPull", "codebuild:*"],
            "codedeploy": ["s3:Get*"],
        }
        for service, actions in permissions.items():
            trust = {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Action": "sts:AssumeRole",
                "Principal": {"Service": f"{service}.amazonaws.com"}}]}
            policy = {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Action": actions, "Resource": "*"}]}
            role = iam.create_role(RoleName=service, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
            iam.put_role_policy(RoleName=service, PolicyName="work", PolicyDocument=json.dumps(policy))
            roles[service] = role["Arn"]
        self.say(f"user dev with a git credential; roles {', '.join(roles)}")
        return git, roles

    def make_pipeline(self, roles):
        self.aws("s3api", "create-bucket", "--bucket", "artifacts")
        self.client("codebuild").create_project(
            name=PIPELINE, serviceRole=roles["codebuild"],
            source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"},
            environment={"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0",
                         "computeType": "BUILD_GENERAL1_SMALL"})
        deploy = self.client("codedeploy")
        deploy.create_application(applicationName=PIPELINE, computePlatform="Server")
        deploy.create_deployment_group(
            applicationName=PIPELINE, deploymentGroupName="web", serviceRoleArn=roles["codedeploy"],
            deploymentConfigName="CodeDeployDefault.OneAtATime",
            onPremisesInstanceTagFilters=[{"Key": "role", "Value": "web", "Type": "KEY_AND_VALUE"}],
            autoRollbackConfiguration={"enabled": True, "events": ["DEPLOYMENT_FAILURE"]})
        action = lambda category, provider, config, inputs=(), outputs=(): {
            "name": provider, "actionTypeId": {
                "category": category, "owner": "AWS", "provider": provider, "version": "1"},
            "configuration": config,
            "inputArtifacts": [{"name": name} for name in inputs],
            "outputArtifacts": [{"name": name} for name in outputs]}
        stages = [
            ("Source", action("Source", "CodeCommit",
                              {"RepositoryName": REPOSITORY, "BranchName": "main"}, outputs=["source"])),
            ("Build", action("Build", "CodeBuild", {"ProjectName": PIPELINE}, ["source"], ["built"])),
            ("Approval", action("Approval", "Manual", {"CustomData": "Ship it?"})),
            ("Deploy", action("Deploy", "CodeDeploy",
                              {"ApplicationName": PIPELINE, "DeploymentGroupName": "web"}, ["built"])),
        ]
        self.client("codepipeline").create_pipeline(pipeline={
            "name": PIPELINE, "roleArn": roles["codepipeline"], "pipelineType": "V2",
            "artifactStore": {"type": "S3", "location": "artifacts"},
            "stages": [{"name": name, "actions": [action]} for name, action in stages]})
        self.say("pipeline: Source → Build → Approval → Deploy")

    def start_hosts(self):
        addresses = {}
        for name in HOSTS:
            begun = time.monotonic()
            host = json.loads(self.run(self.towpath, "host", "run", name, "--tag", "role=web", "--publish", "8080",
                                       "--json"))
            address = host["published"][0]
            addresses[name] = f"http://{address}/"
            self.say(f"host {name} up after {(time.monotonic() - begun) * 1000:.0f} ms; port 8080 is {addresses[name]}")
        return addresses

    def push(self, project, git):
        url = self.aws("codecommit", "get-repository", "--repository-name", REPOSITORY)
        url = url["repositoryMetadata"]["cloneUrlHttp"]
        user, password = git["ServiceUserName"], git["ServicePassword"]
        helper = f"!f() {{ echo username='{user}'; echo password='{password}'; }}; f"
        self.run("git", "init", "--quiet", "--initial-branch", "main", cwd=project)
        self.run("git", "config", "user.name", "Dev", cwd=project, quiet=True)
        self.run("git", "config", "user.email", "dev@example.com", cwd=project, quiet=True)
        self.run("git", "config", "credential.helper", helper, cwd=project, quiet=True)
        self.run("git", "add", "--all", cwd=project)
        self.run("git", "commit", "--quiet", "-m", f"{SDIST}, ready to ship", cwd=project)
        self.run("git", "remote", "add", "origin", url, cwd=project)
        self.run("git", "push", "--quiet", "origin", "main", cwd=project)

    def watch(self, done):
        """Prints each action's state as it changes, until `done(state)`."""
        pipelines, shown = self.client("codepipeline"), {}
        while True:
            state = pipelines.get_pipeline_state(name=PIPELINE)
            for stage in state["stageStates"]:
                for action in stage["actionStates"]:
                    latest = action.get("latestExecution", {})
                    status = latest.get("status")
                    if status and shown.get(stage["stageName"]) != (latest.get("actionExecutionId"), status):
                        shown[stage["stageName"]] = (latest.get("actionExecutionId"), status)
                        self.say(f"{stage['stageName']:<9} {status:<11} {latest.get('summary', '')}".rstrip())
                    if status in ("Failed", "Abandoned"):
                        raise SystemExit(f"{stage['stageName']} failed: {json.dumps(latest, default=str, indent=1)}")
            result = done({stage["stageName"]: stage for stage in state["stageStates"]})
            if result:
                return result
            time.sleep(0.05)

    def show_build(self):
        builds = self.client("codebuild")
        newest = builds.list_builds_for_project(projectName=PIPELINE)["ids"][0]
        build = builds.batch_get_builds(ids=[newest])["builds"][0]
        phases = ", ".join(f"{p['phaseType']} {p.get('durationInSeconds', 0)} s" for p in build["phases"]
                           if p["phaseType"] in ("INSTALL", "BUILD", "UPLOAD_ARTIFACTS"))
        report = builds.batch_get_reports(reportArns=build["reportArns"])["reports"][0]
        counts = report["testSummary"]["statusCounts"]
        self.say(f"build {newest}: {phases}")
        self.say(f"tests: {counts.get('SUCCEEDED', 0)} passed, {counts.get('FAILED', 0)} failed, "
                 f"{counts.get('SKIPPED', 0)} skipped of {report['testSummary']['total']}")

    def approve(self, stage):
        action = stage["actionStates"][0]
        self.aws("codepipeline", "put-approval-result", "--pipeline-name", PIPELINE, "--stage-name", "Approval",
                 "--action-name", action["actionName"], "--token", action["latestExecution"]["token"],
                 "--result", "summary=looks good,status=Approved")

    def show_deployment(self, addresses):
        deploy = self.client("codedeploy")
        newest = deploy.list_deployments(applicationName=PIPELINE, deploymentGroupName="web")["deployments"][0]
        info = deploy.get_deployment(deploymentId=newest)["deploymentInfo"]
        self.say(f"deployment {newest}: {info['status']}, {json.dumps(info['deploymentOverview'])}")
        for target in deploy.list_deployment_targets(deploymentId=newest)["targetIds"]:
            found = deploy.get_deployment_target(deploymentId=newest, targetId=target)["deploymentTarget"]
            events = found["instanceTarget"]["lifecycleEvents"]
            told = ", ".join(f"{event['lifecycleEventName']} {event['status']}" for event in events)
            self.say(f"  {target}: {told}")
        for name, url in addresses.items():
            answer = urllib.request.urlopen(url, timeout=10).read().decode().strip()
            self.say(f"{url} answers: {answer}")

    def travel(self):
        self.start_server()
        git, roles = self.make_identities()
        project = self.make_project()
        self.aws("codecommit", "create-repository", "--repository-name", REPOSITORY)
        addresses = self.start_hosts()
        self.make_pipeline(roles)
        pushed = time.monotonic()
        self.push(project, git)
        waiting = self.watch(lambda stages: next(
            (stages["Approval"] for action in stages["Approval"]["actionStates"]
             if "token" in action.get("latestExecution", {})), None))
        self.show_build()
        self.approve(waiting)
        self.watch(lambda stages: stages["Deploy"].get("latestExecution", {}).get("status") == "Succeeded")
        self.show_deployment(addresses)
        self.say(f"from push to two verified hosts in {time.monotonic() - pushed:.1f} s")

    def how_to_go_on(self):
        data = self.work / "data"
        print(f"""
It keeps running. Go on with:
  eval "$({self.towpath} env --data {data})"
  {self.towpath} status {PIPELINE}
  {self.towpath} logs {PIPELINE}
  {self.towpath} host exec web-1 --data {data} -- cat /opt/hello/REVISION
  cd {self.work / 'project'}    # change app.py, commit, push, `towpath approve {PIPELINE}`
Ctrl-C stops and removes everything.""", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass

    def clean_up(self):
        if self.env:
            subprocess.run([self.towpath, "host", "stop", "--all"], env=self.env, capture_output=True)
        if self.server and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            self.server.wait(timeout=30)
        shutil.rmtree(self.work / "data", ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--towpath", required=True, help="the binary")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="a folder of the journey's own")
    parser.add_argument("--keep", action="store_true", help="keep running at the end, until Ctrl-C")
    parser.add_argument("--port", type=int, default=4599)
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    journey = Journey(arguments.towpath, arguments.work.resolve(), arguments.keep, arguments.port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        journey.travel()
        if journey.keep:
            journey.how_to_go_on()
    finally:
        journey.clean_up()
    print("\nThe whole path works. `cargo xtask journey --keep` leaves it running for you to look at.")


if __name__ == "__main__":
    main()
