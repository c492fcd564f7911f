"""A change on its way from a push to its hosts, over three nodes that are killed and stand still one after the other."""

import pytest
from nodes import Front
from accounts import Account
from server import wait_for
from test_kill import at_the_gate, ended_events
from test_kill_deploy import FIRST_TIME, first_in_hook, lines, revision_files
from test_nodes import MOVED, cluster, postgres, store  # noqa: F401 (fixtures)
from watch import Fleet, Pipe, approval_action, build_action, deploy_action, needs_root, source_action


@pytest.fixture
def at_the_front(tmp_path):
    """One address for some nodes."""
    made = []

    def front(*nodes):
        made.append(Front(tmp_path, list(nodes)).start())
        return made[-1]

    yield front
    for one in made:
        if one.healthy:
            one.towpath("host", "stop", "--all", check=False)
        one.stop()


def started(pipe, execution, name):
    """The build or deployment that an action of the execution waits for."""
    def look():
        action = pipe.action(execution, name)
        return action and action.get("output", {}).get("executionResult", {}).get("externalExecutionId")
    with pipe.explained(execution):
        return wait_for(look, f"{name} has started something", MOVED)


@needs_root
def test_a_change_travels_while_nodes_die_and_stand_still(cluster, at_the_front, tmp_path):  # noqa: F811
    # Each may do everything; which node's death matters is plain when only B builds.
    a, b, c = cluster("a", "--build-slots", "0").start(), cluster("b").start(), cluster("c", "--build-slots", "0").start()
    front = at_the_front(a, b, c)
    team = Account(front, "t")
    fleet = Fleet(team)
    fleet.one, fleet.two = fleet.host("one"), fleet.host("two")
    repository, url = team.repository()
    work = team.checkout(str(tmp_path / "work"), a.url + url[url.index("/v1/"):], team.git_user())
    project = team.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    bucket = team.bucket("artifacts")
    pipe = Pipe(team, team.pipeline([
        ("Source", [source_action(repository)]), ("Build", [build_action(project)]), ("Approve", [approval_action()]),
        ("Deploy", [deploy_action(fleet.application, fleet.group())])], bucket=bucket))
    pipe.wait(pipe.nth(1), "Failed")  # there is nothing to build yet

    # A takes the push in, and dies with its last word on it.
    files = revision_files("of the source", waits_in="AfterInstall")
    files["buildspec.yml"] = ("version: 0.2\nphases:\n  build:\n    commands:\n"
                              f"      - {cluster.gate.wait}\n      - cat /proc/sys/kernel/random/uuid > version\n"
                              "artifacts:\n  files: ['**/*']\n")
    commit = team.commit(work, files)
    team.git(work, "push", "-q", "origin", "main")
    a.kill()
    execution = pipe.nth(2)
    # B, the only one that builds, dies in the build; the build runs once more.
    build = started(pipe, execution, "Build")
    at_the_gate(team, build)
    b.kill()
    cluster.gate.open()
    b.start()
    token = wait_for(lambda: pipe.latest("Approve", "Ask").get("token"), "the approval waits", MOVED)
    # C takes the approval, with B standing still.
    b.freeze()
    on_c = Pipe(Account(c, "c"), pipe.name)
    on_c.answer(token=token)
    a.start()
    deployment = started(pipe, execution, "Deploy")
    host, other = first_in_hook(fleet, deployment, "AfterInstall")
    # C dies in the deployment; B goes on where it stood, and may not do again what others did meanwhile.
    c.kill()
    b.thaw()
    assert lines(fleet, other, deployment) == [], "one host at a time"
    for name in fleet.names:
        fleet.run(name, "touch", "/var/tmp/go")
    with pipe.explained(execution):
        pipe.wait(execution, timeout=MOVED)
    for name in fleet.names:
        assert lines(fleet, name, deployment) == FIRST_TIME, "each script once"
    versions = {fleet.read(name, "/opt/app/version") for name in fleet.names}
    assert len(versions) == 1 and len(versions.pop()) == 36, "what the one build made, on both"

    c.start()
    for node in (a, b, c):
        seen = Pipe(Account(node, "s"), pipe.name)
        assert [one["status"] for one in seen.executions()] == ["Succeeded", "Failed"]
        assert seen.get(execution)["artifactRevisions"][0]["revisionId"] == commit
        assert ended_events(node, build) == ["SUCCEEDED"]
        ended = [event["detail"] for event in node.events("aws.codedeploy")
                 if event["detail-type"] == "CodeDeploy Deployment State-change Notification"]
        assert [one["state"] for one in ended if one["deploymentId"] == deployment] == ["START", "SUCCESS"]
        stages = [event["detail"] for event in node.events("aws.codepipeline")
                  if event["detail-type"] == "CodePipeline Stage Execution State Change"]
        done = [one["stage"] for one in stages if one["execution-id"] == execution and one["state"] == "SUCCEEDED"]
        assert done == ["Source", "Build", "Approve", "Deploy"], "each stage ended once, in its order"
    stored = team.s3.list_object_versions(Bucket=bucket)["Versions"]
    assert len(stored) == 2, [one["Key"] for one in stored]


def test_each_node_does_everything(cluster):  # noqa: F811
    """One after the other stands alone: it takes the change in, reconciles and builds."""
    nodes = [cluster(name).start() for name in "abc"]
    team = Account(nodes[0], "t")
    repository, _ = team.repository()
    project = team.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    name = team.pipeline([("Source", [source_action(repository)]), ("Build", [build_action(project)])])
    Pipe(team, name).wait(Pipe(team, name).nth(1), "Failed")
    for node in nodes:
        node.stop()
    cluster.gate.open()
    for number, node in enumerate(nodes, 2):
        node.start()
        alone = Account(node, "alone")
        head = alone.codecommit.get_repository(repositoryName=repository)["repositoryMetadata"].get("defaultBranch")
        more = {} if head is None else {"parentCommitId": alone.codecommit.get_branch(
            repositoryName=repository, branchName="main")["branch"]["commitId"]}
        spec = f"version: 0.2\nphases: {{build: {{commands: ['echo {node.name}']}}}}\nartifacts: {{files: ['**/*']}}\n"
        alone.codecommit.put_file(repositoryName=repository, branchName="main", filePath="buildspec.yml",
                                  fileContent=spec.encode(), **more)
        pipe = Pipe(alone, name)
        execution = pipe.nth(number)
        with pipe.explained(execution):
            pipe.wait(execution, timeout=MOVED)
        node.stop()
