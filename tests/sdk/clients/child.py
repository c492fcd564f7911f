"""A client in a process of its own that takes one JSON line per call and answers with one."""

import json
import subprocess

from ..runner import Lacking, Refused

class Child:
    """The process lives as long as the run; what it says besides answers is kept for the failure's text."""

    def __init__(self, command, environment, folder, name):
        self.log = open(folder / f"{name}.log", "w+")
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise AssertionError(f"the client ended with {self.process.wait()}: {self.log.read()[-3000:]}")
        return json.loads(line)

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


def unwrap(told):
    """A child's answer; its refusals and its own failures as exceptions."""
    if "lacking" in told:
        raise Lacking(told["lacking"])
    if "refused" in told:
        raise Refused(told["refused"]["code"], told["refused"]["message"])
    if "failed" in told:
        raise AssertionError(told["failed"])
    return told["answer"]


def nulls(value, path):
    if value is None:
        yield path
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nulls(inner, f"{path}.{name}")
