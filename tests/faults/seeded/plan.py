"""What goes wrong in a run, and when: drawn from the seed alone, so that the seed reproduces it."""

import random
from dataclasses import dataclass, field

# The points of an execution that a fault may wait for, in order. `moments` tells how each is noticed.
MOMENTS = ["pushing", "pushed", "source", "build", "building", "staging", "asked", "approving", "approved",
           "deploying", "hook", "between", "second"]
DAY = 86400.0


@dataclass
class Fault:
    kind: str
    # The execution (1 is the first), and the moment in it, after which the fault happens.
    execution: int
    moment: str
    delay_s: float
    # How long the fault lasts: the dead time, the freeze, the full disk.
    lasts_s: float = 0.0
    # How far a clock is moved, or which host is meant.
    by: float = 0.0

    def __str__(self):
        more = {"clock": f" by {self.by:+.1f} s", "skew": f" by {self.by:+.1f} s for {self.lasts_s:.2f} s"}
        shown = more.get(self.kind, f" for {self.lasts_s:.2f} s" if self.lasts_s else "")
        return f"{self.kind}{shown}, {self.delay_s:.3f} s after {self.moment!r} of execution {self.execution}"


@dataclass
class Network:
    """Of all requests, the share that meets each fate."""
    delay: float = 0.0
    duplicate: float = 0.0
    drop: float = 0.0
    cut: float = 0.0
    truncate: float = 0.0

    def any(self):
        return any(vars(self).values())

    def __str__(self):
        return ", ".join(f"{name} {share:.0%}" for name, share in vars(self).items() if share)


@dataclass
class Plan:
    seed: int
    faults: list = field(default_factory=list)
    network: Network = field(default_factory=Network)
    # Whether the second push comes while the first execution is still under way.
    overlap: bool = False
    store: str = "sqlite"

    def kinds(self):
        return [fault.kind for fault in self.faults] + (["network"] if self.network.any() else [])

    def has(self, *kinds):
        return any(kind in kinds for kind in self.kinds())

    def __str__(self):
        lines = [f"seed {self.seed}: {self.store}, pushes {'overlap' if self.overlap else 'one after the other'}"]
        lines += [f"  {fault}" for fault in self.faults]
        lines += [f"  network: {self.network}"] if self.network.any() else []
        return "\n".join(lines)


# A database that is away for longer than a request waits for it.
LONG_S = (10.5, 14.0)

# How often each is drawn, relative to the others.
WEIGHTS = {"kill": 5, "stop": 1, "freeze": 2, "runner": 3, "agent": 3, "agent-freeze": 1, "disk": 2, "clock": 3,
           "skew": 1, "network": 4}
DATABASE_WEIGHTS = {"database": 8}
# Of so many seeds one is for PostgreSQL.
EVERY = 5


def jump(chance):
    """Seconds, minutes or days, forward or back."""
    size = chance.choice([chance.uniform(1, 50), chance.uniform(60, 3000), chance.uniform(0.1, 3) * DAY])
    return chance.choice([-1, 1]) * round(size, 1)


def drawn(chance, kind, executions):
    moments = {"runner": ["build", "building", "building", "staging"], "agent": MOMENTS[8:],
               "agent-freeze": MOMENTS[8:]}.get(kind, MOMENTS)
    lasts = {"kill": (0, 1.0), "freeze": (0.2, 2.5), "agent-freeze": (0.2, 2.5), "disk": (0.3, 2.0),
             "skew": (0.3, 2.5)}.get(kind, (0, 0))
    if kind == "database":
        lasts = chance.choice([(0, 1.5)] * 3 + [LONG_S])
    by = jump(chance) if kind in ("clock", "skew") else float(chance.randrange(2))
    return Fault(kind, chance.randint(1, executions), chance.choice(moments), round(chance.uniform(0, 0.5), 3),
                 round(chance.uniform(*lasts), 2), by)


def plan_of(seed, store=None, kinds=None, executions=2):
    """One to four faults. `kinds` narrows what may be drawn, `store` says what the seed's number says otherwise."""
    store = store or ("sqlite" if int(seed) % EVERY else "postgres")
    chance = random.Random(f"towpath {seed}")
    weights = WEIGHTS | (DATABASE_WEIGHTS if store == "postgres" else {})
    weights = {kind: weight for kind, weight in weights.items() if not kinds or kind in kinds}
    plan = Plan(seed, overlap=chance.random() < 0.3, store=store)
    for kind in chance.choices(list(weights), list(weights.values()), k=chance.randint(1, 4)):
        if kind == "network":
            plan.network = Network(*(round(chance.uniform(0, 0.06), 2) for _ in range(5)))
        else:
            plan.faults.append(drawn(chance, kind, executions))
    return plan
