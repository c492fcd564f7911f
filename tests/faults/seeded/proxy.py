"""The network between the server and everybody else: requests are delayed, doubled, cut, or go unanswered.

One upstream connection per request. What happens to a request follows from the seed, what the request asks for, and
how many of its kind came before it.
"""

import collections
import random
import socket
import socketserver
import threading
import time

from .plan import Network

MAX_HEAD_BYTES = 1 << 16


class Gone(Exception):
    """One of the two ends is not there any more."""


class Reader:
    def __init__(self, connection):
        self.connection = connection
        self.buffer = b""

    def more(self):
        try:
            data = self.connection.recv(1 << 16)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self.buffer += data

    def until(self, mark):
        while mark not in self.buffer:
            if len(self.buffer) > MAX_HEAD_BYTES:
                raise Gone
            self.more()
        taken, _, self.buffer = self.buffer.partition(mark)
        return taken + mark

    def exactly(self, size):
        while len(self.buffer) < size:
            self.more()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def chunks(self):
        body = b""
        while True:
            line = self.until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            body += line + self.exactly(size) + (self.until(b"\r\n"))
            if size == 0:
                return body


def request(reader, answer_at_once):
    """One whole request: (head, headers, body). A client that waits for leave to send its body is given it."""
    head = reader.until(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    if headers.get("expect", "").lower() == "100-continue":
        answer_at_once(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = reader.chunks()
    else:
        body = reader.exactly(int(headers.get("content-length", 0)))
    return head, headers, body


def kind_of(head, headers):
    """What a request asks for, as far as its kind goes."""
    method, target = head.decode("latin-1").split(" ")[:2]
    return headers.get("x-amz-target") or f"{method} {target.split('?')[0]}"


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head, headers, body = request(Reader(self.request), self.request.sendall)
            fate, chance = self.server.proxy.fate(kind_of(head, headers))
            if fate == "cut":
                return
            if fate == "delay":
                time.sleep(chance.uniform(0.02, 0.4))
            if fate == "truncate":
                self.forward(head, body[:chance.randrange(len(body) + 1)] if body else b"", whole=False)
                return
            if fate == "duplicate":
                again = threading.Timer(chance.choice([0, chance.uniform(0, 0.2)]), self.repeat, (head, body))
                again.daemon = True
                again.start()
            answer = self.forward(head, body)
            if fate != "drop":
                self.request.sendall(answer)
        except (Gone, OSError, ValueError):
            pass  # the end of the connection tells the client

    def repeat(self, head, body):
        try:
            self.forward(head, body)
        except (Gone, OSError):
            pass  # nobody waits for this answer

    def forward(self, head, body, whole=True):
        """The server's answer, as it came."""
        first, _, rest = head.partition(b"\r\n")
        kept = [line for line in rest.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
        head = b"\r\n".join([first, *kept, b"connection: close", b"", b""])
        with socket.create_connection(self.server.proxy.upstream, timeout=10) as server:
            server.settimeout(90)
            if not whole:
                server.sendall(head[:len(head) // 2] if not body else head + body)
                return b""
            server.sendall(head + body)
            answer = b""
            while data := server.recv(1 << 16):
                answer += data
        while answer.startswith(b"HTTP/1.1 100"):
            answer = answer.partition(b"\r\n\r\n")[2]
        if not answer:
            raise Gone
        return answer


class Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class Proxy:
    def __init__(self, seed, upstream):
        self.seed = seed
        self.upstream = upstream
        self.network = Network()
        self.fates = collections.Counter()
        self.seen = collections.Counter()
        self.lock = threading.Lock()
        self.listener = Listener(("127.0.0.1", 0), Handler)
        self.listener.proxy = self
        self.url = f"http://127.0.0.1:{self.listener.server_address[1]}"
        threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def fate(self, kind):
        """What happens to this request, and the chance that its details are drawn from."""
        with self.lock:
            self.seen[kind] += 1
            chance = random.Random(f"{self.seed} {kind} {self.seen[kind]}")
            point, network = chance.random(), self.network
            for fate, share in vars(network).items():
                if point < share:
                    self.fates[fate] += 1
                    return fate, chance
                point -= share
            return None, chance

    def close(self):
        self.listener.shutdown()
        self.listener.server_close()
