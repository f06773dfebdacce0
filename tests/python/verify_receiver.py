"""A receiver of webhooks that checks every signature with published packages.

The first line on stdout is the port that it listens on, on 127.0.0.1.

Each line on stdin says what to expect, and is answered by {"expecting": path}:

    {"path": "/a", "standard": ["whsec_..."], "text": ["..."]}

"standard" are secrets for the packages `svix` and `standardwebhooks`, "text"
are secrets for X-Signature, "named" are signatures in headers of their own:

    {"secret", "header", "template", "encoding": "hex" | "base64" | "base64url",
     "prefix", "lines": how many there are}

A request has to pass with every one of them. One secret needs no list, and
what is left out is not checked. Without "path" it
goes for every path that has nothing of its own. When stdin ends, so does the
receiver: it never outlives the test that started it.

Each POST prints one line: {"path", "svix", "standardwebhooks", "octohooks",
"named", "body_sha256"}, where a check is true, null if it was not asked for, or the
reason of its failure. The answer is 204 if all passed, else 400.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import standardwebhooks.webhooks
import svix.webhooks

BODY_BYTES_MAX = 16 * 1024 * 1024
OCTOHOOKS_TOLERANCE_S = 5
SOCKET_TIMEOUT_S = 30


class Mismatch(Exception):
    """Why a signature that is checked here is refused."""


def check_svix(secret, headers, body):
    svix.webhooks.Webhook(secret).verify(body, headers)


def check_standardwebhooks(secret, headers, body):
    # `svix-*` would be ignored anyway; without them, that is certain.
    own = {name: value for name, value in headers.items() if name.startswith("webhook-")}
    standardwebhooks.webhooks.Webhook(secret).verify(body, own)


def check_octohooks(secret, headers, body):
    """By the rules of the strictest verifier there is: `t` first, then only signatures."""
    first, *rest = headers.get("x-signature", "").split(",")
    time_s = re.fullmatch(r"t=(\d+)", first, re.ASCII)
    if not time_s:
        raise Mismatch("x-signature does not begin with a time")
    signatures = [re.fullmatch(r"v(\d+)=(\w+)", part, re.ASCII) for part in rest]
    if not signatures or None in signatures:
        raise Mismatch("x-signature has a part that is no signature")
    age_s = time.time() - int(time_s[1])
    if abs(age_s) > OCTOHOOKS_TOLERANCE_S:
        raise Mismatch(f"x-signature is {age_s:.1f} s old")
    text = time_s[1].encode() + b"." + body
    want = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    versions = [s[2] for s in signatures if s[1] == "1"]
    if not any(hmac.compare_digest(want, got) for got in versions):
        raise Mismatch("no signature of x-signature matches")


def filled(template, headers, body):
    """The template's bytes, with what it stands for."""
    known = {
        b"id": headers.get("webhook-id", "").encode(),
        b"timestamp": headers.get("webhook-timestamp", "").encode(),
        b"body": body,
    }
    return re.sub(rb"{(\w+)}", lambda place: known[place[1]], template.encode())


ENCODINGS = {
    "hex": bytes.hex,
    "base64": lambda mac: base64.b64encode(mac).decode(),
    "base64url": lambda mac: base64.urlsafe_b64encode(mac).decode(),
}


def check_named(scheme, headers, body):
    lines = headers.get(scheme["header"].lower(), "").split(", ")
    if len(lines) != scheme["lines"]:
        raise Mismatch(f"{scheme['header']} has {len(lines)} lines")
    text = filled(scheme["template"], headers, body)
    mac = hmac.new(scheme["secret"].encode(), text, hashlib.sha256).digest()
    want = filled(scheme["prefix"], headers, b"").decode() + ENCODINGS[scheme["encoding"]](mac)
    if not any(hmac.compare_digest(want.encode(), line.encode()) for line in lines):
        raise Mismatch(f"no line of {scheme['header']} matches")


CHECKS = {
    "svix": ("standard", check_svix),
    "standardwebhooks": ("standard", check_standardwebhooks),
    "octohooks": ("text", check_octohooks),
    "named": ("named", check_named),
}


def verdict(check, secrets, headers, body):
    """True, None without secrets, or the reason of the first failure."""
    if not secrets:
        return None
    try:
        for secret in secrets:
            check(secret, headers, body)
    except Exception as error:  # Whatever a package raises is a refusal.
        return f"{type(error).__name__}: {error}"
    return True


def examine(expected, headers, body):
    """The verdict of every check."""
    return {
        name: verdict(check, expected.get(secrets), headers, body)
        for name, (secrets, check) in CHECKS.items()
    }


def passed(verdicts):
    asked = [verdict for verdict in verdicts.values() if verdict is not None]
    return bool(asked) and all(verdict is True for verdict in asked)


def lower_case(pairs):
    """The headers by name; one that comes twice is joined, as proxies do."""
    headers = {}
    for name, value in pairs:
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Expectations:
    """The secrets of each path."""

    def __init__(self):
        self._by_path = {}

    def add(self, line):
        given = json.loads(line)
        path = given.get("path")
        self._by_path[path] = {
            kind: [given[kind]] if isinstance(given[kind], str) else given[kind]
            for kind in ("standard", "text", "named")
            if given.get(kind)
        }
        return path

    def of(self, path):
        return self._by_path.get(path, self._by_path.get(None, {}))


class Output:
    """Whole lines of JSON, also from several threads."""

    def __init__(self):
        self._lock = threading.Lock()

    def write(self, value):
        line = json.dumps(value) + "\n"
        with self._lock:
            sys.stdout.write(line)
            sys.stdout.flush()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_TIMEOUT_S

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self.answer(411)
            return
        body = self.rfile.read(int(length))
        headers = lower_case(self.headers.items())
        verdicts = examine(self.server.expectations.of(self.path), headers, body)
        digest = hashlib.sha256(body).hexdigest()
        self.server.output.write({"path": self.path, **verdicts, "body_sha256": digest})
        self.answer(204 if passed(verdicts) else 400)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """The line on stdout says it all."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Receiver)
        self.expectations = Expectations()
        self.output = Output()


def main():
    server = Server()
    server.output.write(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for line in sys.stdin:
        server.output.write({"expecting": server.expectations.add(line)})


if __name__ == "__main__":
    main()
