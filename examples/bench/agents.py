"""One deployment onto many hosts: what planning and polling cost, and that minimum healthy hosts hold throughout.

The agents are simulated in one process by `hosts/agent/examples/bench_agents.rs`: they sign, poll, acknowledge and
complete as real ones do, and carry nothing out. Client and server share the machine's processors.
"""

import concurrent.futures
import json
import os
import subprocess
import time

from report import median
from start import memory_mib
from world import Account, folder, running, wait_for

SIZES = (10, 100, 1_000)
# Of all hosts, those that must stay healthy: a tenth is deployed to at one time.
HEALTHY_PERCENT = 90
IDLE_SECONDS = 10
EVENTS = 7


def processor_seconds(process):
    fields = open(f"/proc/{process.pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def enroll(server, account, number):
    name = f"{account.name}-{number}"
    arn = account.iam.create_user(UserName=name)["User"]["Arn"]
    key = account.iam.create_access_key(UserName=name)["AccessKey"]
    account.codedeploy.register_on_premises_instance(instanceName=name, iamUserArn=arn)
    return name, {"host": arn, "key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


def fleet(server, account, size):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: enroll(server, account, number), range(size)))
    names = [name for name, _ in made]
    for at in range(0, size, 100):
        account.codedeploy.add_tags_to_on_premises_instances(
            tags=[{"Key": "fleet", "Value": account.name}], instanceNames=names[at:at + 100])
    return [agent for _, agent in made]


def group(account):
    from accounts import zipped
    account.codedeploy.create_deployment_config(
        deploymentConfigName=account.name, minimumHealthyHosts={"type": "FLEET_PERCENT", "value": HEALTHY_PERCENT})
    account.codedeploy.create_application(applicationName=account.name, computePlatform="Server")
    account.codedeploy.create_deployment_group(
        applicationName=account.name, deploymentGroupName="all", serviceRoleArn=account.role("codedeploy"),
        deploymentConfigName=account.name,
        onPremisesInstanceTagFilters=[{"Key": "fleet", "Value": account.name, "Type": "KEY_AND_VALUE"}])
    bucket = account.bucket()
    account.s3.put_object(Bucket=bucket, Key="app.zip", Body=zipped({"appspec.yml": "version: 0.0\nos: linux\n"}))
    return bucket


def deploy(account, bucket, size):
    """Seconds until it is done, and the least number of hosts that were healthy when looked at."""
    begun, asked = time.perf_counter(), []
    made = account.codedeploy.create_deployment(
        applicationName=account.name, deploymentGroupName="all",
        revision={"revisionType": "S3", "s3Location": {"bucket": bucket, "key": "app.zip", "bundleType": "zip"}})
    least = size

    def is_over():
        nonlocal least
        at = time.perf_counter()
        info = account.codedeploy.get_deployment(deploymentId=made["deploymentId"])["deploymentInfo"]
        asked.append(time.perf_counter() - at)
        overview = info.get("deploymentOverview") or {}
        least = min(least, size - overview.get("InProgress", 0) - overview.get("Failed", 0))
        return info["status"] in ("Succeeded", "Failed", "Stopped") and info["status"]

    status = wait_for(is_over, "the deployment is over", timeout=600, every=0.02)
    if status != "Succeeded":
        raise SystemExit(f"the deployment onto {size} hosts ended {status}")
    return time.perf_counter() - begun, least, median(asked)


def one_size(server, size, example, path):
    account = Account(server, f"fleet{size}")
    agents = fleet(server, account, size)
    bucket = group(account)
    plan = path / f"agents-{size}.json"
    plan.write_text(json.dumps({"endpoint": server.url, "region": "us-east-1", "agents": agents}))
    simulated = subprocess.Popen([example, str(plan)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(3)
        before, at = processor_seconds(server.process), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        idle = (processor_seconds(server.process) - before) / (time.perf_counter() - at)
        before = processor_seconds(server.process)
        seconds, least, asked = deploy(account, bucket, size)
        spent = processor_seconds(server.process) - before
        memory = memory_mib(server.process)
    finally:
        told = json.loads(simulated.communicate("", timeout=60)[0])
    return {"hosts": size, "seconds": seconds, "per_host_ms": 1000 * seconds / size, "idle_processor_percent": 100 * idle,
            "server_ms_per_host": 1000 * spent / size, "least_healthy_seen": least, "get_deployment_ms": 1000 * asked,
            "memory_mib": memory, **told}


def run(report, example):
    report.title(f"agents: one deployment, {100 - HEALTHY_PERCENT} % of the hosts at a time")
    if not example:
        report.say("  not measured: no simulated agents were given (--agents-example)")
        return
    found = []
    with folder("agents") as path, running(path) as server:
        for size in SIZES:
            found.append(one_size(server, size, example, path))
    rows = [[one["hosts"], f"{one['seconds']:.2f}", f"{one['per_host_ms']:.1f}", f"{one['server_ms_per_host']:.1f}",
             f"{one['idle_processor_percent']:.1f} %", f"{one['median_us'] / 1000:.1f} / {one['p99_us'] / 1000:.1f}",
             one["most_busy"], one["failures"], f"{one['memory_mib']:.0f}"] for one in found]
    report.table(["hosts", "seconds", "ms a host", "server's own ms a host", "polling, of one processor",
                  "call ms: median / p99", "most hosts at work", "failed calls", "memory, MiB"], rows)
    for one in found:
        allowed = one["hosts"] - -(-one["hosts"] * HEALTHY_PERCENT // 100)
        held = one["most_busy"] <= allowed and one["least_healthy_seen"] >= one["hosts"] - allowed
        report.goal(f"{one['hosts']} hosts: at most {allowed} at work at any time, {one['commands']} commands for "
                    f"{one['hosts'] * EVENTS} events", held and one["commands"] >= one["hosts"] * EVENTS)
    report.keep("agents", found)
