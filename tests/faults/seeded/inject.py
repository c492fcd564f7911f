"""Carries a plan out: each fault waits for its moment on a thread of its own."""

import os
import signal
import threading
import time

from server import wait_for


class Injector:
    def __init__(self, world, plan, moments, say):
        self.world, self.plan, self.moments, self.say = world, plan, moments, say
        self.threads = []
        # (fault, begin, end) in monotonic seconds; those whose moment never came are not here.
        self.happened = []
        self.missed = []
        self.broken = []

    def start(self):
        self.world.proxy.network = self.plan.network
        for fault in self.plan.faults:
            thread = threading.Thread(target=self.attend, args=(fault,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def attend(self, fault):
        if not self.moments.wait(fault.execution, fault.moment):
            self.missed.append(fault)
            return
        time.sleep(fault.delay_s)
        begun = time.monotonic()
        self.say(f"FAULT {fault}")
        try:
            hit = getattr(self, fault.kind.replace("-", "_"))(fault)
        except Exception as error:  # a fault that cannot be made is the run's failure
            self.say(f"FAULT {fault} could not be made: {error!r}")
            self.broken.append(f"{fault}: {error!r}")
            return
        if hit is False:
            self.say(f"      {fault.kind}: nothing to hit")
            self.missed.append(fault)
            return
        self.happened.append((fault, begun, time.monotonic()))
        self.say(f"      {fault.kind} is over")

    def end(self):
        """The journey is over; faults that still wait are given up, those under way end."""
        self.moments.over.set()
        for thread in self.threads:
            thread.join(timeout=60)
        self.world.proxy.network = type(self.plan.network)()

    def recovered_at(self):
        """When the last fault ended."""
        return max((end for _, _, end in self.happened), default=None)

    # ---- one method per kind ---------------------------------------------------------------------

    def kill(self, fault):
        self.world.kill(fault.lasts_s)

    def stop(self, _):
        self.world.kill(0, gently=True)

    def database(self, fault):
        self.world.kill_database(fault.lasts_s)

    def freeze(self, fault):
        self.world.freeze(fault.lasts_s)

    def runner(self, _):
        """The next supervisor of a build, if there is one while the journey lasts."""
        def look():
            with self.world.hands:
                return self.world.supervisors() or self.moments.over.is_set()
        found = wait_for(look, "a build's supervisor", timeout=100, every=0.01)
        if found is True:
            return False
        try:
            os.kill(found[0], signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def agent(self, fault):
        self.named(fault).kill_agent()

    def agent_freeze(self, fault):
        self.named(fault).freeze_agent(fault.lasts_s)

    def named(self, fault):
        return list(self.world.hosts.values())[int(fault.by)]

    def disk(self, fault):
        self.world.fill(fault.lasts_s)

    def clock(self, fault):
        with self.world.hands:
            self.world.jump(fault.by)

    def skew(self, fault):
        with self.world.hands:
            self.world.skew(fault.by, fault.lasts_s)
