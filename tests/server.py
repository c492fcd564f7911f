"""A Towpath server of a test's own, on a data folder of its own, that can be killed and started again."""

import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

import boto3
from botocore.config import Config

BIN = os.environ.get("TOWPATH_BIN") or str(pathlib.Path(__file__).parents[1] / "target/debug/towpath")
SESSION = boto3.Session(region_name="us-east-1")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, timeout=60.0, every=0.05):
    """Waits until `condition()` is true and answers it; says what it waited for when it never was."""
    end = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(every)


class Server:
    command = "up"

    def __init__(self, folder, extra=(), environment=None):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.port = free_port()
        self.extra = list(extra)
        # A server that speaks TLS: by an authority of its own, or by a certificate that the test gives it.
        tls = any(word.startswith("--tls") for word in self.extra)
        self.authority = self.data / "tls/authority.pem" if tls else None
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.environment = environment or {}
        self.process = None
        self.clients = {}

    # ---- its life --------------------------------------------------------------------------------

    def start(self):
        self.begin()
        return self.ready()

    def begin(self):
        """Starts it, and does not wait."""
        log = open(self.folder / "server.log", "ab")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.process = subprocess.Popen(
            [BIN, self.command, "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data), *self.extra],
            stdout=log, stderr=log, env=environment | self.environment, start_new_session=True,
        )
        log.close()

    def ready(self):
        wait_for(self.is_ready, "the server is ready", timeout=30, every=0.01)
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()[-4000:]}")
        try:
            with urllib.request.urlopen(self.url + "/_towpath/health", timeout=1, context=self.trust()) as answer:
                return answer.status == 200
        except OSError:
            return False

    def trust(self):
        """What a client of Python's own has to know of certificates."""
        return ssl.create_default_context(cafile=str(self.authority)) if self.authority else None

    def kill(self):
        """kill -9, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("the server did not stop within 30 s of SIGTERM") from None

    def restart(self, kill=True):
        self.kill() if kill else self.stop()
        return self.start()

    def log(self):
        return (self.folder / "server.log").read_text(errors="replace")

    # ---- its clients -----------------------------------------------------------------------------

    def root_keys(self):
        keys = json.loads((self.data / "identity/root-credentials.json").read_text())
        return keys["access_key_id"], keys["secret_access_key"]

    def env(self, keys=None):
        """The environment of a client program, as `towpath env` gives it."""
        access, secret = keys or self.root_keys()
        # Git's variable would win over what is said for this server alone; `towpath env` unsets it, too.
        dropped = ("AWS_", "GIT_SSL_CAINFO") if self.authority else ("AWS_",)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        trust = {} if not self.authority else {
            "AWS_CA_BUNDLE": str(self.authority),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{self.url}/.sslCAInfo",
            "GIT_CONFIG_VALUE_0": str(self.authority),
        }
        return kept | trust | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
            "TOWPATH_DATA": str(self.data),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }

    def client(self, service, keys=None, token=None, **config):
        """A boto3 client; the same one for the same question, for making one costs more than most tests."""
        access, secret = keys or self.root_keys()
        wanted = (service, access, secret, token, repr(config))
        if wanted not in self.clients:
            settings = {"retries": {"max_attempts": 1}} | config
            self.clients[wanted] = SESSION.client(
                service, aws_access_key_id=access, aws_secret_access_key=secret, aws_session_token=token,
                endpoint_url=self.url, config=Config(**settings),
                verify=str(self.authority) if self.authority else None)
        return self.clients[wanted]

    def aws(self, *words, keys=None, check=True, cwd=None):
        """The unmodified aws CLI; its JSON, or its whole outcome with check=False."""
        done = subprocess.run(["aws", *map(str, words), "--output", "json"], env=self.env(keys),
                              capture_output=True, text=True, cwd=cwd)
        if not check:
            return done
        assert done.returncode == 0, f"aws {' '.join(map(str, words))}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def towpath(self, *words, keys=None, check=True, timeout=120):
        done = subprocess.run([BIN, *map(str, words)], env=self.env(keys), capture_output=True, text=True,
                              timeout=timeout)
        if check:
            assert done.returncode == 0, f"towpath {' '.join(map(str, words))}: {done.stdout}{done.stderr}"
        return done

    def events(self, source=None):
        """Every event so far, oldest first."""
        words = ["events", "--json", *(["--source", source] if source else [])]
        return [json.loads(line) for line in self.towpath(*words).stdout.splitlines()]
