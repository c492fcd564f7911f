"""From push to two hosts: Towpath beside a shell script that does the same steps, and an empty pipeline.

Both sides build the same commit of the same project (bottle's sdist with its own test suite), install pytest
from the same wheels, which the project carries so that no package index is measured, and run the same hook
scripts. Towpath isolates builds and hosts; the script works in plain folders: it is the least that the
steps can cost.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time

import timeline
from report import median, spread
from world import ROOT, Account, Outbox, action, folder, free_port, running

HOSTS = ("web-1", "web-2")
SDIST = "bottle==0.13.4"
OVERLAY = ROOT / "examples/journey/overlay"
# The hook scripts work in the paths of a host of their own; here also below a folder, on a given port.
SCRIPT_PATHS = {"/opt/hello": "${HOST_ROOT:-}/opt/hello", "/var/log/": "${HOST_ROOT:-}/var/log/",
                "/run/hello": "${HOST_ROOT:-}/run/hello", "8080": "${PORT:-8080}"}
TRIVIAL = {
    "buildspec.yml": "version: 0.2\nphases:\n  build:\n    commands:\n      - 'true'\n"
                     "artifacts:\n  files:\n    - appspec.yml\n    - file.txt\n",
    "appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - source: /file.txt\n    destination: /opt/empty\n"
                   "file_exists_behavior: OVERWRITE\n",
}


def project_files(downloads):
    """The journey's project with its wheels and with scripts that can also run in a folder."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "-d"]
    subprocess.run([*pip, downloads, "--no-deps", "--no-binary", ":all:", SDIST], check=True)
    archive = next(downloads.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(downloads, filter="data")
    project = downloads / archive.name.removesuffix(".tar.gz")
    shutil.copytree(OVERLAY, project, dirs_exist_ok=True)
    subprocess.run([*pip, project / "wheels", "pytest"], check=True)
    for script in (project / "scripts").iterdir():
        text = script.read_text()
        for fixed, free in SCRIPT_PATHS.items():
            text = text.replace(fixed, free)
        if script.name == "validate.sh":
            text = text.replace("'import urllib", '"import urllib').replace(".decode())'", ".decode())\"")
            text = text.replace('u.urlopen("http', "u.urlopen('http").replace('/", timeout', "/', timeout")
        script.write_text(text)
    buildspec = project / "buildspec.yml"
    buildspec.write_text(buildspec.read_text().replace("--quiet pytest", "--quiet --no-index --find-links wheels pytest"))
    return project


class Bench:
    """One server, one pipeline, two hosts; a round is one commit that travels."""

    def __init__(self, server, path, name, compute=None):
        self.server, self.path, self.outbox = server, path, Outbox(server)
        self.account = Account(server, name)
        self.repository, url = self.account.repository()
        self.project = self.account.checkout(path / f"project-{name}", url, self.account.git_user())
        self.pipeline, self.round = None, 0

    def start_hosts(self, names, tag):
        for name in names:
            self.server.towpath("host", "run", name, "--tag", f"role={tag}")

    def make_pipeline(self, tag, approval):
        build = self.account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
        application = self.account.name
        deploy = self.account.codedeploy
        deploy.create_application(applicationName=application, computePlatform="Server")
        deploy.create_deployment_group(
            applicationName=application, deploymentGroupName="web", serviceRoleArn=self.account.role("codedeploy"),
            deploymentConfigName="CodeDeployDefault.OneAtATime",
            onPremisesInstanceTagFilters=[{"Key": "role", "Value": tag, "Type": "KEY_AND_VALUE"}])
        stages = [
            ("Source", [action("Source", "Source", "CodeCommit",
                               {"RepositoryName": self.repository, "BranchName": "main"}, outputs=["source"])]),
            ("Build", [action("Build", "Build", "CodeBuild", {"ProjectName": build}, ["source"], ["built"])]),
            ("Deploy", [action("Deploy", "Deploy", "CodeDeploy",
                               {"ApplicationName": application, "DeploymentGroupName": "web"}, ["built"])]),
        ]
        if approval:
            stages.insert(2, ("Approval", [action("Approve", "Approval", "Manual")]))
        self.pipeline = self.account.pipeline(stages)
        self.first_execution_is_over()

    def first_execution_is_over(self):
        """Creating a pipeline starts it; there is nothing in the repository yet, so that one fails."""
        self.outbox.until(timeline.has_ended, "the execution that creating a pipeline starts is over")

    def commit(self, files):
        self.round += 1
        return self.account.commit(self.project, files, f"round {self.round}")

    def approve(self):
        """At once, as soon as the token is there."""
        while True:
            state = self.account.codepipeline.get_pipeline_state(name=self.pipeline)
            stage = next(stage for stage in state["stageStates"] if stage["stageName"] == "Approval")
            token = stage["actionStates"][0].get("latestExecution", {}).get("token")
            if token:
                break
        self.account.codepipeline.put_approval_result(
            pipelineName=self.pipeline, stageName="Approval", actionName="Approve", token=token,
            result={"summary": "bench", "status": "Approved"})

    def travel_to_the_end(self):
        """One push, and nothing measured."""
        self.outbox.skip()
        self.account.git(self.project, "push", "--quiet", "origin", "main")
        self.outbox.until(timeline.is_over, "the pipeline is over")

    def travel(self, approval):
        """One push; answers the timeline of everything until both hosts are verified."""
        self.outbox.skip()
        line = timeline.Timeline(time.time())
        self.account.git(self.project, "push", "--quiet", "origin", "main")
        line.pushed = time.time()
        events = []
        if approval:
            events += self.outbox.until(timeline.is_waiting, "the approval waits")
            self.approve()
            line.answered = time.time()
        events += self.outbox.until(timeline.is_over, "the pipeline is over")
        line.read(events)
        line.read_build(self.account.codebuild)
        line.read_deployment(self.account.codedeploy)
        return line


def script_round(project, path, hosts):
    """The same commit by the shell script; answers {step: seconds}."""
    work = path / "script-work"
    shutil.rmtree(work, ignore_errors=True)
    words = [f"{folder}:{port}" for folder, port in hosts.items()]
    done = subprocess.run([str(pathlib.Path(__file__).with_name("reference.sh")), str(project), str(path / "bare.git"),
                           str(work), *words], capture_output=True, text=True, env=plain_environment())
    if done.returncode != 0:
        raise SystemExit(f"reference.sh failed:\n{done.stdout}{done.stderr}\n{(work / 'test.log').read_text()[-2000:]}")
    marks = [(name, float(at)) for name, at in (line.split() for line in done.stdout.splitlines() if " " in line)]
    steps = {}
    for (_, before), (name, after) in zip(marks, marks[1:]):
        steps.setdefault(name, []).append(after - before)
    shutil.rmtree(work, ignore_errors=True)
    steps = {name: values[0] if len(values) == 1 else values for name, values in steps.items()}
    return steps | {"total": marks[-1][1] - marks[0][1]}


def plain_environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VIRTUAL_ENV"))}
    return kept | {"GIT_CONFIG_GLOBAL": "/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def quiet(server):
    """Waits until what is deleted in the background is gone, so that one side does not pay for the other."""
    end = time.monotonic() + 10
    while time.monotonic() < end and any(entry for trash in server.data.rglob("trash") for entry in trash.iterdir()):
        time.sleep(0.1)
    os.sync()


def real(report, rounds):
    report.title(f"journey: push to two verified hosts ({SDIST}, its own tests), {rounds} rounds, interleaved")
    with folder("journey") as path, running(path) as server:
        bench = Bench(server, path, "journey")
        downloads = path / "downloads"
        downloads.mkdir()
        shutil.copytree(project_files(downloads), bench.project, dirs_exist_ok=True)
        bench.start_hosts(HOSTS, "web")
        bench.make_pipeline("web", approval=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path / "bare.git")], check=True)
        hosts = {str(path / "hosts" / name): free_port() for name in HOSTS}
        app, lines, scripts = (bench.project / "app.py").read_text(), [], []
        try:
            for number in range(rounds + 1):
                bench.commit({"app.py": f"{app}\n# round {number}\n"})
                quiet(server)
                sides = [lambda: lines.append(bench.travel(approval=True)),
                         lambda: scripts.append(script_round(bench.project, path, hosts))]
                for side in sides if number % 2 else reversed(sides):
                    side()
        finally:
            stop_services(bench.project, hosts)
    # The first round fills the page cache and starts from empty hosts: it is not counted.
    show_real(report, lines[1:], scripts[1:])


def stop_services(project, hosts):
    for host in hosts:
        subprocess.run([project / "scripts/stop.sh"], env=os.environ | {"HOST_ROOT": host}, check=False)


def show_real(report, lines, scripts):
    rows = timeline.side_by_side(lines, scripts)
    report.table(["phase (seconds: median (least–most))", "towpath", "shell script"], rows)
    ratios = [line.total / script["total"] for line, script in zip(lines, scripts)]
    overhead = (median(ratios) - 1) * 100
    report.say(f"  ratio of each pair: median {median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f}), "
               f"overhead {overhead:.1f} %")
    report.goal("less than 10 % more than the script", overhead < 10)
    report.keep("journey", {"towpath_seconds": [line.total for line in lines],
                            "script_seconds": [script["total"] for script in scripts], "ratio_median": median(ratios),
                            "phases": [line.phases() for line in lines], "script_steps": scripts})


def empty(report, rounds):
    report.title(f"empty pipeline: build command `true`, one file deployed to one host, {rounds} rounds")
    with folder("empty") as path, running(path) as server:
        bench = Bench(server, path, "empty")
        bench.start_hosts(["one"], "empty")
        bench.make_pipeline("empty", approval=False)
        lines = []
        for number in range(rounds + 1):
            bench.commit(TRIVIAL | {"file.txt": f"round {number}\n"})
            lines.append(bench.travel(approval=False))
    lines = lines[1:]
    rows = [[name, spread([line.phases()[name] * 1000 for line in lines])] for name in lines[0].phases()]
    totals = [line.total * 1000 for line in lines]
    after = [(line.total - (line.pushed - line.started)) * 1000 for line in lines]
    report.table(["phase (milliseconds: median (least–most))", "towpath"],
                 [*rows, ["push begun to deployed", spread(totals)], ["push acknowledged to deployed", spread(after)]])
    report.goal("at most 300 ms from push to deployed", median(totals) <= 300)
    report.keep("empty_pipeline", {"milliseconds": totals, "phases": [line.phases() for line in lines]})


def run(report, rounds):
    real(report, rounds)
    empty(report, max(rounds, 10))
