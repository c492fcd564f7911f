"""Several nodes over one real PostgreSQL and one real S3: another Towpath."""

import pathlib
import secrets
import signal

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
