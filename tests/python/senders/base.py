"""What a sender is made of: requests, moments, and ways to sign."""

import base64
import datetime
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
# Of the moment that handshakes are made for.
HANDSHAKE = "handshake"


@dataclass(frozen=True)
class Request:
    """What goes over the wire, but for the path."""

    method: str = "POST"
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def plus(self, *headers: tuple[str, str]) -> "Request":
        """The same with further headers; one of the same name goes."""
        new = {name.lower() for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in new)
        return replace(self, headers=kept + headers)

    def header(self, name: str) -> str:
        return next(value for given, value in self.headers if given.lower() == name.lower())

    def lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers}

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "query": self.query,
            "headers": [list(pair) for pair in self.headers],
            "body_base64": base64.b64encode(self.body).decode(),
        }


def json_request(payload: Any, *headers: tuple[str, str], method: str = "POST") -> Request:
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    return Request(method=method, headers=(JSON, *headers), body=body)


def form_request(fields: dict[str, str], *headers: tuple[str, str]) -> Request:
    return Request(headers=(FORM, *headers), body=urlencode(fields).encode())


@dataclass(frozen=True)
class Moment:
    """To whom and when something is sent; labels keep their ids apart."""

    url: str
    now_ms: int
    label: str

    def hex(self, digits: int = 32) -> str:
        return hashlib.sha512(self.label.encode()).hexdigest()[:digits]

    def number(self) -> int:
        return int(self.hex(12), 16)

    def uuid(self) -> str:
        text = self.hex()
        return "-".join((text[:8], text[8:12], "4" + text[13:16], "8" + text[17:20], text[20:]))

    @property
    def seconds(self) -> str:
        return str(self.now_ms // 1000)

    @property
    def millis(self) -> str:
        return str(self.now_ms)

    def rfc3339(self, form: str = "%Y-%m-%dT%H:%M:%SZ", zone_hours: int = 0) -> str:
        zone = datetime.timezone(datetime.timedelta(hours=zone_hours))
        return datetime.datetime.fromtimestamp(self.now_ms / 1000, zone).strftime(form)


@dataclass(frozen=True)
class Event:
    """A request that tells something, not yet signed."""

    request: Request
    # As Hookpost is to call it; the provider's own name unless it has none.
    type: str
    # What tells a repeat, where there is such a thing.
    id: str | None = None


@dataclass(frozen=True)
class Handshake:
    """A question, and the answer that the provider wants."""

    name: str
    request: Request
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    # "rejected": the question is not the provider's.
    verdict: str = "handshake"

    def as_json(self) -> dict[str, Any]:
        answer = {"status": self.status, "body": self.body, "headers": self.headers}
        return {
            "name": self.name,
            "request": self.request.as_json(),
            "answer": answer,
            "verdict": self.verdict,
        }


Sign = Callable[[Any, Moment, Request], Request]


def adding(request: Request) -> Request:
    """Tampers with a body so that it says more, in the same form."""
    body = request.body.rstrip()
    if body.endswith(b"}"):
        body = body[:-1] + b',"added":true}'
    elif body.endswith(b"]"):
        body = body[:-1] + b',{"added":true}]'
    else:
        body += b"&added=true"
    return replace(request, body=body)


def replacing(old: bytes, new: bytes) -> Callable[[Request], Request]:
    """Tampers with one place of the body, which must be there."""

    def tamper(request: Request) -> Request:
        assert old in request.body, (old, request.body)
        return replace(request, body=request.body.replace(old, new))

    return tamper


@dataclass(frozen=True)
class Provider:
    """One preset, in one of the ways that its provider sends."""

    preset: str
    event: Callable[[Moment], Event]
    sign: Sign
    # What it signs with, and another key of the same kind; None: it has none.
    key: Any = None
    wrong: Any = None
    # What the receiver is told; the key, unless it is not text.
    secrets: tuple[str, ...] | None = None
    # Which of several ways.
    variant: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    # Of the preset `custom`, as in the API.
    signature: dict[str, Any] | None = None
    # What the provider wants to be answered to an event, where it is choosy.
    wants: dict[str, Any] = field(default_factory=dict)
    # Seconds that a request may be old; None: it says no time that is judged.
    tolerance_s: int | None = None
    tamper: Callable[[Request], Request] | None = adding
    handshakes: Callable[["Provider", Moment], list[Handshake]] = lambda provider, at: []
    # Forgeries of other kinds, by name: none may be taken.
    forgeries: Callable[["Provider", Moment], dict[str, Request]] = lambda provider, at: {}
    # URLs that are fetched to verify, and what they answer.
    serve: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.preset} ({self.variant})" if self.variant else self.preset

    @property
    def slug(self) -> str:
        words = ["from", self.preset, *self.variant.lower().split()]
        return "-".join(words)

    def wrong_key(self) -> Any:
        if self.wrong is None and isinstance(self.key, str):
            return self.key[::-1]
        return self.wrong

    def told(self) -> tuple[str, ...]:
        if self.secrets is None:
            return (self.key,) if isinstance(self.key, str) else ()
        return self.secrets

    def send_again(self, at: Moment) -> Request:
        """The same event, written and signed once more: what tells it is its id alone."""
        request = self.event(at).request
        if JSON in request.headers:
            request = replace(request, body=request.body + b"\n")
        return self.sign(self.key, at, request)

    def send(self, at: Moment, key: Any = None) -> Request:
        """An event of that moment, signed."""
        return self.sign(self.key if key is None else key, at, self.event(at).request)


def mac(key: str | bytes, *parts: str | bytes, digest: str = "sha256") -> bytes:
    """The HMAC of the parts, one after the other."""
    key = key.encode() if isinstance(key, str) else key
    text = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return hmac.new(key, text, digest).digest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64url(data: bytes) -> str:
    """Without padding, as tokens have it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def body_hex(header: str, prefix: str = "", digest: str = "sha256") -> Sign:
    """The HMAC of the body in hex."""

    def sign(key: str, _at: Moment, request: Request) -> Request:
        return request.plus((header, prefix + mac(key, request.body, digest=digest).hex()))

    return sign


def body_base64(header: str, prefix: str = "") -> Sign:
    """The HMAC of the body in base64."""

    def sign(key: str, _at: Moment, request: Request) -> Request:
        return request.plus((header, prefix + b64(mac(key, request.body))))

    return sign


def token(header: str, prefix: str = "") -> Sign:
    """The key itself, in a header."""

    def sign(key: str, _at: Moment, request: Request) -> Request:
        return request.plus((header, prefix + key))

    return sign


def cut(header: str) -> Callable[[Request], Request]:
    """Takes the last character of a header away: where nothing else is signed."""

    def tamper(request: Request) -> Request:
        return request.plus((header, request.header(header)[:-1]))

    return tamper


def basic(key: str, _at: Moment, request: Request) -> Request:
    """`Authorization: Basic`; the key is `user:password`."""
    return request.plus(("Authorization", "Basic " + b64(key.encode())))


def cut_password(request: Request) -> Request:
    """Takes the last character of the password away."""
    scheme, encoded = request.header("Authorization").split(" ")
    shorter = base64.b64decode(encoded)[:-1]
    return request.plus(("Authorization", f"{scheme} {b64(shorter)}"))


def unsigned(_key: Any, _at: Moment, request: Request) -> Request:
    return request
