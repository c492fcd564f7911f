"""One seed, run: exit status 0 when everything held; --json FILE has the figures."""

import argparse
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
import traceback

sys.path[:0] = [str(pathlib.Path(__file__).parents[2]), str(pathlib.Path(__file__).parents[1])]

from footprint import Footprint  # noqa: E402
from server import wait_for  # noqa: E402

from . import clock as clocks  # noqa: E402
from .inject import Injector  # noqa: E402
from .journey import Journey  # noqa: E402
from .ledger import Ledger  # noqa: E402
from .moments import Moments, Watcher  # noqa: E402
from . import remains  # noqa: E402
from .plan import plan_of  # noqa: E402
from .verify import Verdict  # noqa: E402
from .world import World  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="seeded")
    parser.add_argument("--seed", required=True)
    parser.add_argument("--work", help="folder for the run [default: a temporary one]")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a run that held, too")
    parser.add_argument("--plan", action="store_true", help="print what would go wrong, and end")
    parser.add_argument("--kinds", help="only faults of these kinds, by comma")
    parser.add_argument("--store", choices=["sqlite", "postgres"], help="[default: every fifth seed PostgreSQL]")
    parser.add_argument("--none", action="store_true", help="nothing goes wrong: for the time that takes")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


class Timeline:
    def __init__(self):
        self.begun = time.monotonic()
        self.lines = []

    def say(self, text):
        self.lines.append(f"{time.monotonic() - self.begun:8.3f}  {text}")

    def __str__(self):
        return "\n".join(self.lines)


def perform(world, timeline):
    """The run proper; answers (what is wrong, figures)."""
    say = timeline.say
    moments = Moments(say)
    journey = Journey(world, moments, say)
    say(f"the server is ready after {world.start():.3f} s")
    journey.prepare()
    ledger = Ledger(journey.account)
    ledger.prepare()
    say("the team is ready")
    watcher = Watcher(moments, world.server, journey.pipeline, journey.group)
    injector = Injector(world, world.plan, moments, say)
    begun = time.monotonic()
    ledger.start()
    watcher.start()
    injector.start()
    try:
        journey.run()
    finally:
        ended = time.monotonic()
        injector.end()
        ledger.end()
        watcher.join(timeout=10)
    say(f"the journey is over; {ledger.count()} small writes were acknowledged")
    journey.again()
    verdict = Verdict(world, journey, ledger, watcher)
    wrong = injector.broken + verdict.all()
    say("checked what was promised")
    last = injector.recovered_at()
    figures = {
        "journey_s": round(ended - begun, 3), "happened": [fault.kind for fault, _, _ in injector.happened],
        "missed": [fault.kind for fault in injector.missed], "network": dict(world.proxy.fates),
        "acknowledged": ledger.count(), "retried": journey.retried,
        "recovery_s": round(max(ended - last, 0), 3) if last else None,
        "restarts_s": [round(one, 3) for one in world.restarts_s],
    }
    wrong += clean_up(world, say)
    figures |= {"unnamed": 0, "disk": 0}
    if not wrong:
        wrong = at_rest(world, injector, figures)
    return wrong, figures


def clean_up(world, say):
    """Nothing stays when the hosts and the server are told to end."""
    wrong = []

    def left(what, look, timeout=20):
        try:
            wait_for(lambda: not look(), what, timeout=timeout)
        except AssertionError:
            wrong.append(f"left over: {look()}")
    left("the server's folders are empty", lambda: remains.folders(world))
    left("all work is done", lambda: remains.jobs(world))
    prints = Footprint(world.server)
    hosts = [host.supervisor for host in world.hosts.values()]
    for host in world.hosts.values():
        done = host.towpath("host", "stop", host.name)
        if done.returncode:
            wrong.append(f"{host.name} could not be stopped: {done.stdout}{done.stderr}")
    left("the hosts are gone", lambda: [pid for pid in hosts if os.path.exists(f"/proc/{pid}")])
    world.server.stop()
    if world.server.process.returncode != 0:
        wrong.append(f"the server ended with {world.server.process.returncode}")
    mounted = world.mounted
    left("the server is gone", lambda: [one for one in prints.left()
                                        if not (mounted and one == f"mount {world.server.data}")])
    say("everything has ended")
    return wrong


def at_rest(world, injector, figures):
    """What the server has stored, now that it has ended."""
    wrong, unnamed = remains.content(world)
    most = remains.MAX_UNNAMED * (1 + len(injector.happened))
    if len(unnamed) > most:
        wrong.append(f"{len(unnamed)} blobs are named by nobody, and {most} may be")
    taken = remains.disk(world.server.data)
    if taken > remains.MAX_DISK_BYTES:
        wrong.append(f"the server's folder takes {taken} bytes")
    figures |= {"unnamed": len(unnamed), "disk": taken}
    if world.plan.store == "sqlite":
        wrong += remains.sweep(world, unnamed)
    return wrong + world.store.is_whole()


def main():
    given = arguments()
    plan = plan_of(given.seed, given.store, kinds=given.kinds and given.kinds.split(","))
    if given.none:
        plan.faults, plan.network = [], type(plan.network)()
    if given.plan:
        print(plan)
        return 0
    folder = pathlib.Path(given.work or tempfile.mkdtemp(prefix="towpath-seeded-"))
    folder.mkdir(parents=True, exist_ok=True)
    if plan.has("clock", "skew") and "SEEDED_CLOCK" not in os.environ:
        # This process and the clients that it starts live by the machine's clock too: once more, with it.
        clock = clocks.Clock(folder / "machine-clock", clocks.built(folder))
        command = [sys.executable, "-m", "seeded", *sys.argv[1:], *([] if given.work else ["--work", str(folder)])]
        os.execve(sys.executable, command, os.environ | clock.environment)
    # Told to end, it takes its machine down first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    timeline = Timeline()
    world = World(plan, folder, timeline.say)
    figures = {}
    try:
        wrong, figures = perform(world, timeline)
    except (Exception, SystemExit):
        wrong = [traceback.format_exc()]
    finally:
        agents = next(iter(world.hosts.values())).agent_log() if world.hosts else ""
        logs = world.server.log() if (world.server.folder / "server.log").exists() else ""
        try:
            world.end()
        except Exception:
            wrong.append(traceback.format_exc())
    figures |= {"seed": given.seed, "wrong": wrong, "plan": str(plan), "store": plan.store,
                "run_s": round(time.monotonic() - timeline.begun, 2)}
    if given.json:
        pathlib.Path(given.json).write_text(json.dumps(figures))
    if wrong:
        print(f"{plan}\n{timeline}\n", *wrong, sep="\n")
        print(f"== the end of the server's log\n{logs[-6000:]}\n{agents}\nfiles: {folder}")
        return 1
    print(f"{plan}\n{timeline}")
    if not given.keep:
        world.discard()
    return 0


if __name__ == "__main__":
    sys.exit(main())
