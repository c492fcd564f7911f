"""What a person types every day: status, logs, approve, reject, retry, events, env, profile, and what they
read when something is missing."""

import configparser
import json
import os
import subprocess
import urllib.request

import pytest

from server import BIN, free_port, wait_for
from watch import approval_action, build_action, publish_action, repository_with, source_action


def released(account, pipe, *, commands="echo compiling", target=None):
    """Source → Build → Approve → Publish."""
    repository, _, _ = repository_with(account, {
        "buildspec.yml": f"version: 0.2\nphases: {{build: {{commands: ['{commands}']}}}}\nartifacts: {{files: ['**/*']}}\n"})
    project = account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    target = target or account.bucket("site")
    made = pipe([("Source", [source_action(repository)]), ("Build", [build_action(project)]),
                 ("Approve", [approval_action(CustomData="Ship it?")]), ("Publish", [publish_action(target)])])
    return made, project


def test_a_release_by_the_command_line(account, pipe):
    towpath = account.server.towpath
    made, project = released(account, pipe)
    made.waiting()
    told = towpath("status", made.name).stdout
    lines = [line.split() for line in told.splitlines()]
    assert lines[0] == [made.name]
    assert ["Build", "Succeeded"] in [words[:2] for words in lines] and "`towpath approve`" in told
    assert "\x1b" not in told, "no colours in a pipe"
    state = json.loads(towpath("status", made.name, "--json").stdout)
    assert state[0]["pipelineName"] == made.name and state[0]["stageStates"][2]["stageName"] == "Approve"
    log = towpath("logs", project).stdout
    assert "compiling" in log.splitlines()
    events = [json.loads(line) for line in towpath("logs", project, "--json").stdout.splitlines()]
    assert any(event["message"].strip() == "compiling" and event["timestamp"] > 0 for event in events)
    answer = towpath("approve", made.name, "-m", "looked at staging").stdout
    assert answer == f"approved {made.name}/Approve/Ask\n"
    made.wait(made.newest())
    assert made.latest("Approve", "Ask")["summary"] == "looked at staging"
    twice = towpath("approve", made.name, check=False)
    assert twice.returncode == 1 and f"no approval of {made.name} waits" in twice.stderr
    everyone = towpath("status").stdout
    assert made.name in everyone


def test_a_rejection_ends_it_and_a_retry_asks_again(account, pipe):
    towpath = account.server.towpath
    made, _ = released(account, pipe)
    execution = made.newest()
    made.waiting()
    assert towpath("reject", made.name, "-m", "wrong header").stdout == f"rejected {made.name}/Approve/Ask\n"
    made.wait(execution, "Failed")
    assert "wrong header" in towpath("status", made.name).stdout
    retried = towpath("retry", made.name).stdout
    assert retried == f"retrying {made.name}/Approve of execution {execution}\n"
    made.answer()
    made.wait(execution)
    nothing = towpath("retry", made.name, check=False)
    assert nothing.returncode == 1 and f"no stage of {made.name} has failed" in nothing.stderr


def test_a_failed_build_is_followed_found_and_retried(account, pipe):
    towpath = account.server.towpath
    flag = account.bucket("flag")
    made, project = released(account, pipe, commands="echo about to fail; exit 5", target=flag)
    made.wait(made.newest(), "Failed")
    followed = towpath("logs", "-f", project, check=False)
    assert followed.returncode == 1 and "about to fail" in followed.stdout
    assert towpath("logs", project).returncode == 0, "reading a log is no failure"
    told = towpath("status", made.name).stdout
    assert "Failed" in told and project in told, told
    answer = json.loads(towpath("retry", made.name, "--stage", "Build", "--all", "--json").stdout)
    assert answer["pipelineExecutionId"] == made.newest()
    wait_for(lambda: len([one for one in made.actions() if one["actionName"] == "Build"]) == 2, "its second run")
    made.wait(made.newest(), "Failed")


def test_several_approvals_are_told_apart(account, pipe):
    repository, _, _ = repository_with(account, {"a": "1"})
    made = pipe([("Source", [source_action(repository)]), ("Sign", [approval_action("Legal"), approval_action("Security")])])
    made.waiting("Sign", "Legal"), made.waiting("Sign", "Security")
    which = account.server.towpath("approve", made.name, check=False)
    assert which.returncode == 1
    assert "--stage Sign --action Legal" in which.stderr and "--stage Sign --action Security" in which.stderr
    account.server.towpath("approve", made.name, "--action", "Legal")
    account.server.towpath("approve", made.name)
    made.wait(made.newest())


def test_watching_prints_changes_as_lines_in_a_pipe(account, pipe):
    repository, _, _ = repository_with(account, {"a": "1"})
    made = pipe([("Source", [source_action(repository)]), ("Approve", [approval_action()])])
    made.waiting()
    watching = subprocess.Popen([BIN, "status", made.name, "--watch"], env=account.server.env(),
                                stdout=subprocess.PIPE, text=True)
    try:
        for line in watching.stdout:
            if "waits for" in line:
                break
        account.server.towpath("approve", made.name)
        for line in watching.stdout:
            if line.split()[:2] == ["Approve", "Succeeded"]:
                break
        assert watching.poll() is None
    finally:
        watching.kill()


def test_events_tell_what_happened_in_eventbridges_shape(account, pipe):
    repository, _, commit = repository_with(account, {"a": "1"})
    target = account.bucket("site")
    made = pipe([("Source", [source_action(repository)]), ("Publish", [publish_action(target)])])
    execution = made.newest()
    made.wait(execution)
    events = account.server.events()
    mine = [event for event in events if made.name in json.dumps(event) or repository in json.dumps(event)]
    assert {"aws.codecommit", "aws.codepipeline"} <= {event["source"] for event in mine}
    for event in mine:
        assert {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"} <= set(event)
        assert (event["version"], event["account"], event["region"]) == ("0", "000000000000", "us-east-1")
    push = next(event for event in mine if event["detail-type"] == "CodeCommit Repository State Change")
    assert push["detail"]["commitId"] == commit and push["resources"] == [f"arn:aws:codecommit:us-east-1:000000000000:{repository}"]
    one = next(event for event in mine if event["detail-type"] == "CodePipeline Pipeline Execution State Change")
    assert one["detail"]["execution-id"] == execution
    told = account.server.towpath("events", "--source", "aws.codepipeline").stdout
    assert f"pipeline={made.name}" in told and "aws.codecommit" not in told


def test_env_and_profile_point_unmodified_tools_at_the_server(account, tmp_path):
    server = account.server
    exports = server.towpath("env").stdout
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_PAGER": ""}
    shell = subprocess.run(["sh", "-c", f"{exports}\naws sts get-caller-identity --output json"], env=bare,
                           capture_output=True, text=True)
    assert json.loads(shell.stdout)["Arn"] == "arn:aws:iam::000000000000:root", shell.stderr
    told = json.loads(server.towpath("env", "--json").stdout)
    assert told["AWS_ENDPOINT_URL"] == told["AWS_ENDPOINT_URL_S3"] == server.url
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[profile other]\nregion = eu-west-1\n")
    made = subprocess.run([BIN, "profile", "--name", "tow", "--data", str(server.data)], env=bare, capture_output=True, text=True)
    assert made.returncode == 0 and "wrote profile tow" in made.stdout, made.stderr
    config = configparser.ConfigParser()
    config.read(tmp_path / ".aws/config")
    assert config["profile tow"]["endpoint_url"] == server.url and config["profile other"]["region"] == "eu-west-1"
    assert oct((tmp_path / ".aws/credentials").stat().st_mode & 0o777) == "0o600"
    listed = subprocess.run(["aws", "--profile", "tow", "s3", "ls"], env=bare, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    again = subprocess.run([BIN, "profile", "--name", "tow", "--data", str(server.data)], env=bare, capture_output=True, text=True)
    assert again.returncode == 0
    assert (tmp_path / ".aws/config").read_text().count("[profile tow]") == 1


def test_a_user_without_rights_reads_what_is_missing(account, pipe):
    repository, _, _ = repository_with(account, {"a": "1"})
    made = pipe([("Source", [source_action(repository)]), ("Approve", [approval_action()])])
    made.waiting()
    reader = account.user("codepipeline:GetPipelineState")
    assert "Approve" in account.server.towpath("status", made.name, keys=reader).stdout
    denied = account.server.towpath("approve", made.name, keys=reader, check=False)
    assert denied.returncode == 1
    assert "codepipeline:PutApprovalResult" in denied.stderr and "AccessDeniedException" in denied.stderr


MISSING = {
    ("status", "no-such-pipeline"): ["no-such-pipeline", "PipelineNotFoundException"],
    ("approve", "no-such-pipeline"): ["no-such-pipeline"],
    ("retry", "no-such-pipeline"): ["no-such-pipeline"],
    ("logs", "no-such-project"): ["no-such-project"],
    ("logs", "web:00000000-0000-4000-8000-000000000000"): ["web:00000000"],
    ("host", "exec", "no-such-host", "--", "true"): ["no-such-host"],
    ("host", "stop", "no-such-host"): ["no-such-host"],
}


@pytest.mark.parametrize("words", MISSING, ids=" ".join)
def test_what_is_missing_is_named(shared_server, words):
    done = shared_server.towpath(*words, check=False)
    assert done.returncode not in (0, 2) and done.stdout == ""
    assert done.stderr.startswith("towpath: ") and all(text in done.stderr for text in MISSING[words]), done.stderr
    assert "Error {" not in done.stderr and len(done.stderr.splitlines()) <= 3, done.stderr


def test_without_a_server_or_keys_it_says_what_to_do(tmp_path):
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TOWPATH_DATA": str(tmp_path / "nothing")}
    run = lambda *words, **more: subprocess.run([BIN, *words], env=bare | more, capture_output=True, text=True)
    for command in ("env", "profile"):
        done = run(command)
        assert done.returncode == 1 and "`towpath up" in done.stderr, done.stderr
    done = run("status")
    assert done.returncode == 1 and "AWS_ACCESS_KEY_ID" in done.stderr and "towpath env" in done.stderr
    done = run("status", AWS_ACCESS_KEY_ID="AKIA0", AWS_SECRET_ACCESS_KEY="x", AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1 and "cannot be reached" in done.stderr and "towpath up" in done.stderr
    unknown = run("frobnicate")
    assert unknown.returncode == 2 and "frobnicate" in unknown.stderr
    for command in ("up", "env", "profile", "agent", "host", "status", "logs", "approve", "reject", "retry", "events"):
        shown = run(command, "--help")
        assert shown.returncode == 0 and "Usage: towpath" in shown.stdout


def test_up_says_where_things_are_and_a_second_one_is_refused(shared_server):
    said = shared_server.log()
    assert shared_server.url in said and str(shared_server.data) in said
    with urllib.request.urlopen(f"{shared_server.url}/_towpath/health") as answer:
        assert answer.status == 200
    keys = shared_server.data / "identity/root-credentials.json"
    assert oct(keys.stat().st_mode & 0o777) == "0o600"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    second = subprocess.run([BIN, "up", "--listen", "127.0.0.1:0", "--data", str(shared_server.data)],
                            env=environment, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1 and str(shared_server.data) in second.stderr, second.stderr
    taken = subprocess.run([BIN, "up", "--listen", f"127.0.0.1:{shared_server.port}", "--data", f"{shared_server.data}-2"],
                           env=environment, capture_output=True, text=True, timeout=30)
    assert taken.returncode == 1 and str(shared_server.port) in taken.stderr, taken.stderr
