"""Drives one service's scenario through one client, and tells what came of each step."""

import dataclasses
import time
import uuid

import jmespath

from accounts import zipped

from .table import TABLES
from .table.core import Known, Missing, resolve, wrong_with

PATIENCE_S = 120.0
BUNDLE = zipped({"appspec.yml": "version: 0.0\nos: linux\n"})


class Refused(Exception):
    """The server's error, as the client understood it."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Lacking(Exception):
    """The client has no such operation, or lacks what an earlier one would have told."""


@dataclasses.dataclass
class Outcome:
    step: object
    problem: str | None = None
    lacking: str | None = None


class Run:
    """One scenario by one client, and by boto3 as its helper. A client is anything with `call(service, operation, parameters, keys)`."""

    def __init__(self, client, helper, service):
        self.client = client
        self.helper = helper
        self.table = TABLES[service]
        self.known = Known(n=f"{client.name}-{uuid.uuid4().hex[:8]}", now_ms=int(time.time() * 1000), bundle=BUNDLE)
        self.unknown = set()

    def outcomes(self):
        found = []
        for step in self.table.steps:
            outcome = Outcome(step)
            try:
                outcome.problem = self.carry_out(step)
            except Lacking as error:
                outcome.lacking = str(error)
                self.unknown |= set(step.save)
            except Missing as error:
                if error.name in self.unknown:
                    outcome.lacking = f"needs {error.name}, which an operation that {self.client.name} lacks would have told"
                    self.unknown |= set(step.save)
                else:
                    outcome.problem = str(error)
            except Exception as error:  # noqa: BLE001 - whatever a client throws is the finding
                outcome.problem = f"{type(error).__name__}: {error}"
            found.append(outcome)
        return found

    def carry_out(self, step):
        parameters = resolve(step.parameters, self.known)
        keys = (self.known["user_key"], self.known["user_secret"]) if step.as_user else None
        client = self.helper if step.setup else self.client
        end = time.monotonic() + PATIENCE_S
        pause_s = 0.02
        while True:
            try:
                answer = client.call(step.service, step.operation, parameters, keys)
            except Refused as error:
                if step.refused == error.code:
                    return None if error.message or step.refused == "404" else "the refusal has no message"
                return f"refused with {error}" + (f", not {step.refused}" if step.refused else "")
            if step.refused:
                return f"was not refused with {step.refused}: {answer}"
            if not wrong_with(step.until, answer, self.known):
                break
            if time.monotonic() > end:
                return f"never: {'; '.join(wrong_with(step.until, answer, self.known))}; at last: {answer}"
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.5)
        for name, path in step.save.items():
            self.known[name] = jmespath.search(path, answer)
        problems = wrong_with(step.want, answer, self.known)
        return "; ".join(problems) or None
