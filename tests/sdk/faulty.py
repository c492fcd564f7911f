"""A proxy before the server that spoils one answer: an error instead of it, or a connection that just ends.

It changes nothing in what it passes on, so that signatures hold.
"""

import http.client
import http.server
import threading

FAULTS = ["503", "throttled", "cut before", "cut after"]
# In each protocol, what AWS says when it is busy, and when one asks too often.
CODES = {"query": ("ServiceUnavailable", "Throttling"), "json": ("ServiceUnavailableException", "ThrottlingException"),
         "cbor": ("ServiceUnavailableException", "ThrottlingException"), "s3": ("ServiceUnavailable", "SlowDown")}


def error_of(protocol, code):
    """Headers and body of an error."""
    if protocol == "json":
        return {"Content-Type": "application/x-amz-json-1.1"}, f'{{"__type":"{code}","message":"busy"}}'.encode()
    if protocol == "cbor":
        text = lambda word: bytes([0x78, len(word)]) + word.encode()
        return ({"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"},
                b"\xa2" + text("__type") + text(f"ns#{code}") + text("message") + text("busy"))
    inner = f"<Error><Code>{code}</Code><Message>busy</Message></Error>"
    body = inner if protocol == "s3" else f"<ErrorResponse>{inner}<RequestId>r</RequestId></ErrorResponse>"
    return {"Content-Type": "application/xml"}, body.encode()


class FaultyProxy:
    """`seen` tells, request by request, what was done with it."""

    def __init__(self, port):
        self.port = port
        self.fault = self.protocol = None
        self.seen = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                self.raw_requestline = self.rfile.readline(65537)
                if self.raw_requestline and self.parse_request():
                    proxy.answer(self)
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def spoil(self, fault, protocol):
        self.fault, self.protocol, self.seen = fault, protocol, []

    def answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        fault, self.fault = self.fault, None
        self.seen.append(fault or "passed")
        if fault in ("503", "throttled"):
            code = CODES[self.protocol][fault == "throttled"]
            headers, told = error_of(self.protocol, code)
            self.reply(handler, 503 if fault == "503" or self.protocol == "s3" else 400, headers, told)
        elif fault != "cut before":
            status, headers, told = self.forward(handler, body)
            if fault != "cut after":
                self.reply(handler, status, headers, told)

    def forward(self, handler, body):
        there = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        there.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            if name.lower() != "expect":  # answered here; it is never signed
                there.putheader(name, value)
        there.endheaders(body)
        answer = there.getresponse()
        told = answer.read()
        there.close()
        return answer.status, dict(answer.getheaders()), told

    def reply(self, handler, status, headers, body):
        handler.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
