"""moto_server, the AWS mock of most test suites, as a reference: one Python process that keeps everything in memory,
asks nobody who they are, and syncs nothing. It closes the connection after each answer."""

import os
import subprocess

from botocore.config import Config

from start import answers
from world import ROOT, SESSION, free_port, wait_for

# An environment of its own: its dependencies pin other versions than the clients'.
PROGRAM = ROOT / "target/python-moto/bin/moto_server"


def is_installed():
    return PROGRAM.exists()


class Moto:
    """As a benchmark sees a server: what `Server` has, too."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.clients = {}

    def __enter__(self):
        with open(self.folder / "moto.log", "ab") as log:
            environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
            self.process = subprocess.Popen([PROGRAM, "-H", "127.0.0.1", "-p", str(self.port)], stdout=log, stderr=log,
                                            env=environment, start_new_session=True)
        try:
            wait_for(self.is_ready, "moto_server answers", timeout=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit(f"moto_server ended with {self.process.returncode}: {self.log()[-2000:]}")
        return answers(self.port, "/moto-api/") == 200

    def log(self):
        return (self.folder / "moto.log").read_text(errors="replace")

    def __exit__(self, *_):
        self.process.kill()  # there is nothing that it would save
        self.process.wait()

    def root_keys(self):
        return "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

    def client(self, service):
        if service not in self.clients:
            access, secret = self.root_keys()
            self.clients[service] = SESSION.client(
                service, aws_access_key_id=access, aws_secret_access_key=secret, endpoint_url=self.url,
                config=Config(retries={"max_attempts": 1}, connect_timeout=10, read_timeout=30))
        return self.clients[service]
