"""Several nodes over one real PostgreSQL and one real S3: another Towpath."""

import contextlib
import pathlib
import secrets
import select
import shutil
import signal
import socket
import threading
import urllib.request

from server import Server


class Node(Server):
    """One `towpath server`."""

    command = "server"

    def __init__(self, folder, name, shared, extra=(), environment=None):
        folder = pathlib.Path(folder) / name
        folder.mkdir()
        super().__init__(folder, extra=["--name", name, *extra], environment=shared | (environment or {}))
        self.name = name

    def freeze(self):
        """The process stops where it is; its sandboxes go on."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.thaw()
        super().stop()


def shared(postgres, store, bucket, key=None):
    """The environment that all nodes of one cluster have."""
    access, secret = store.root_keys()
    store.client("s3").create_bucket(Bucket=bucket)
    return {
        "TOWPATH_DATABASE": postgres.database(),
        "TOWPATH_OBJECTS": f"s3://{bucket}/towpath?endpoint={store.url}&region=us-east-1&access-key-id={access}"
                           f"&secret-access-key={secret.replace('+', '%2B').replace('/', '%2F')}",
        "TOWPATH_CLUSTER_KEY": key or secrets.token_hex(32),
    }


class Forwarder:
    """A TCP port that leads to whichever of some addresses `choose` answers: a load balancer, or a wire to cut."""

    def __init__(self, choose):
        self.choose, self.open, self.ended = choose, True, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                inside, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(inside,), daemon=True).start()

    def carry(self, inside):
        with inside, contextlib.suppress(OSError):
            address = self.choose()
            if not address:
                return
            with socket.create_connection(address, timeout=5) as outside:
                pairs = {inside: outside, outside: inside}
                while not self.ended:
                    for one in select.select(list(pairs), [], [], 0.5)[0] if self.open else ():
                        data = one.recv(1 << 16)
                        if not data:
                            return
                        pairs[one].sendall(data)
                    if not self.open:
                        threading.Event().wait(0.05)

    def cut(self):
        """Nothing passes any more; what is connected stays so."""
        self.open = False

    def stop(self):
        self.ended = True
        self.listener.close()


class Front(Server):
    """What clients know of several nodes: one address, behind which is any node that answers."""

    def __init__(self, folder, nodes):
        folder = pathlib.Path(folder) / "front"
        folder.mkdir()
        super().__init__(folder)
        self.nodes, self.healthy, self.turn = nodes, [], 0
        (self.data / "identity").mkdir(parents=True)
        shutil.copy(nodes[0].data / "identity/root-credentials.json", self.data / "identity")
        self.ended = threading.Event()

    def start(self):
        self.look()
        self.forwarder = Forwarder(self.next)
        self.port, self.url = self.forwarder.port, f"http://127.0.0.1:{self.forwarder.port}"
        threading.Thread(target=self.watch, daemon=True).start()
        return self

    def watch(self):
        while not self.ended.wait(0.3):
            self.look()

    def look(self):
        self.healthy = [node for node in self.nodes if self.answers(node)]

    @staticmethod
    def answers(node):
        try:
            with urllib.request.urlopen(node.url + "/_towpath/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def next(self):
        """In turn, so that every client meets every node."""
        healthy, self.turn = self.healthy, self.turn + 1
        return ("127.0.0.1", healthy[self.turn % len(healthy)].port) if healthy else None

    def client(self, service, keys=None, token=None, **config):
        """A node may die under a request: it is sent again."""
        return super().client(service, keys, token, retries={"mode": "standard", "max_attempts": 10}, **config)

    def stop(self):
        self.ended.set()
        self.forwarder.stop()
