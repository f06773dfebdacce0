"""What `sign_presets` sends is taken by published packages: the providers' own
where there are such, else one that checks the same.

Prints a line for each way to send that a package was found for, and at the end
which presets have none, or none of their provider's.
"""

import base64
import contextlib
import functools
import hashlib
import io
import json
import os
import subprocess
import time
import types
import unittest
import unittest.mock
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import sign_presets

NODE_PACKAGES = os.environ.get("HOOKPOST_NODE_PACKAGES")
NODE_SCRIPT = Path(__file__).parent.parent / "node" / "verify_presets.mjs"
URL = "https://hooks.example.test/in/<slug>"


@dataclass(frozen=True)
class Sent:
    """A request, and what a receiver knows of its sender."""

    request: dict[str, Any]
    url: str
    secrets: list[str]
    settings: dict[str, str]
    serve: dict[str, dict[str, str]]

    @property
    def secret(self) -> str:
        return self.secrets[0]

    @functools.cached_property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.request["headers"]}

    @functools.cached_property
    def body(self) -> bytes:
        return base64.b64decode(self.request["body_base64"])

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def full_url(self) -> str:
        query = self.request["query"]
        return f"{self.url}?{query}" if query else self.url

    def served(self) -> Any:
        """What is served at the only URL, as JSON."""
        (served,) = self.serve.values()
        return json.loads(base64.b64decode(served["body_base64"]))


# Each says whether its package takes a request; whatever it raises is a refusal.


def adyen(sent: Sent) -> bool:
    from Adyen.util import is_valid_hmac_notification

    items = json.loads(sent.body)["notificationItems"]
    each = [item["NotificationRequestItem"] for item in items]
    return all(is_valid_hmac_notification(item, sent.secret) for item in each)


def box(sent: Sent) -> bool:
    from box_sdk_gen.managers.webhooks import WebhooksManager

    # One that is alone may be either.
    primary, secondary = sent.secrets[0], sent.secrets[-1]
    return WebhooksManager.validate_message(
        sent.text, sent.headers, primary, secondary_key=secondary
    )


def coinbase_commerce(sent: Sent) -> bool:
    from coinbase_commerce.webhook import Webhook

    Webhook.construct_event(sent.text, sent.headers["x-cc-webhook-signature"], sent.secret)
    return True


def discord(sent: Sent) -> bool:
    from discord_interactions import verify_key

    signature = sent.headers["x-signature-ed25519"]
    return verify_key(sent.body, signature, sent.headers["x-signature-timestamp"], sent.secret)


def dropbox_sign(sent: Sent) -> bool:
    from dropbox_sign import EventCallbackHelper
    from dropbox_sign.models import EventCallbackRequest

    text = sent.text.split("\r\n\r\n")[1].split("\r\n")[0]
    return EventCallbackHelper.is_valid(sent.secret, EventCallbackRequest.init(json.loads(text)))


def elevenlabs(sent: Sent) -> bool:
    from elevenlabs.client import ElevenLabs

    webhooks = ElevenLabs(api_key="unused").webhooks
    webhooks.construct_event(sent.text, sent.headers["elevenlabs-signature"], sent.secret)
    return True


def google_pubsub(sent: Sent) -> bool:
    import jwt
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from google.oauth2 import id_token

    key = jwt.PyJWK(sent.served()["keys"][0]).key
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def fetch(_url: str, **_more: Any) -> types.SimpleNamespace:
        return types.SimpleNamespace(status=200, data=json.dumps({"g1": pem}).encode())

    token = sent.headers["authorization"].removeprefix("Bearer ")
    claims = id_token.verify_oauth2_token(token, fetch, sent.settings["audience"])
    return claims["email"] == sent.settings["serviceAccount"] and claims["email_verified"]


def hubspot(sent: Sent) -> bool:
    from hubspot.utils.signature import Signature

    return Signature.is_valid(
        signature=sent.headers["x-hubspot-signature-v3"],
        client_secret=sent.secret,
        request_body=sent.text,
        http_uri=unquote(sent.full_url),
        http_method=sent.request["method"],
        signature_version="v3",
        timestamp=sent.headers["x-hubspot-request-timestamp"],
    )


def by_token(
    sent: Sent, header: str, algorithms: list[str], encode: Callable[[bytes], str]
) -> bool:
    """A token that has the body's hash, by PyJWT: the providers' packages do not check it."""
    import jwt

    token = sent.headers[header]
    kid = jwt.get_unverified_header(token).get("kid")
    if sent.serve:
        served = sent.served()
        known = served.get("keys", [served.get("key")])
        key = jwt.PyJWK(next(one for one in known if one["kid"] == kid)).key
    elif sent.secret.startswith("{"):
        key = jwt.PyJWK(json.loads(sent.secret)).key
    else:
        key = sent.secret
    claims = jwt.decode(token, key, algorithms=algorithms)
    fresh = time.time() - claims.get("iat", time.time()) <= 300
    return fresh and claims["request_body_sha256"] == encode(hashlib.sha256(sent.body).digest())


def fusionauth(sent: Sent) -> bool:
    algorithms = ["HS256", "RS256", "ES256", "EdDSA"]
    header = "x-fusionauth-signature-jwt"
    return by_token(sent, header, algorithms, lambda digest: base64.b64encode(digest).decode())


def plaid(sent: Sent) -> bool:
    return by_token(sent, "plaid-verification", ["ES256"], bytes.hex)


def line(sent: Sent) -> bool:
    from linebot.v3.webhook import SignatureValidator

    signature = sent.headers["x-line-signature"]
    return SignatureValidator(sent.secret).validate(sent.text, signature)


def mailgun(sent: Sent) -> bool:
    from mailgun.security import SecurityGuard

    given = json.loads(sent.body)["signature"]
    return SecurityGuard.verify_webhook(
        sent.secret, given["token"], given["timestamp"], given["signature"]
    )


def paddle(sent: Sent) -> bool:
    from paddle_billing.Notifications import Secret, Verifier

    named = {"Paddle-Signature": sent.headers["paddle-signature"]}
    request = types.SimpleNamespace(headers=named, body=sent.body)
    return Verifier(300).verify(request, Secret(sent.secret))


def paypal(sent: Sent) -> bool:
    """Text and certificate by PayPal's package; what it verified with is gone from OpenSSL."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from OpenSSL import crypto
    from paypalrestsdk.notifications import WebhookEvent

    served = sent.serve[sent.headers["paypal-cert-url"]]
    certificate = crypto.load_certificate(
        crypto.FILETYPE_PEM, base64.b64decode(served["body_base64"])
    )
    store = crypto.X509Store()
    anchor = sign_presets.keys.authority_pem().encode()
    store.add_cert(crypto.load_certificate(crypto.FILETYPE_PEM, anchor))
    with unittest.mock.patch.object(WebhookEvent, "_get_certificate_store", lambda: store):
        if not WebhookEvent._verify_certificate(certificate):
            return False
    text = WebhookEvent._get_expected_sig(
        sent.headers["paypal-transmission-id"],
        sent.headers["paypal-transmission-time"],
        sent.settings["webhookId"],
        sent.text,
    )
    signature = base64.b64decode(sent.headers["paypal-transmission-sig"])
    key = certificate.to_cryptography().public_key()
    key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return True


def razorpay(sent: Sent) -> bool:
    from razorpay.utility import Utility

    signature = sent.headers["x-razorpay-signature"]
    return Utility().verify_webhook_signature(sent.text, signature, sent.secret)


def sendgrid(sent: Sent) -> bool:
    from sendgrid.helpers.eventwebhook import EventWebhook

    prefix = "x-twilio-email-event-webhook-"
    signature, sent_s = (sent.headers[prefix + name] for name in ("signature", "timestamp"))
    return EventWebhook(sent.secret).verify_signature(sent.text, signature, sent_s)


def slack(sent: Sent) -> bool:
    from slack_sdk.signature import SignatureVerifier

    return SignatureVerifier(sent.secret).is_valid_request(sent.body, sent.headers)


def square(sent: Sent) -> bool:
    from square.utils.webhooks_helper import verify_signature

    return verify_signature(
        request_body=sent.text,
        signature_header=sent.headers["x-square-hmacsha256-signature"],
        signature_key=sent.secret,
        notification_url=sent.url,
    )


def standard_webhooks(sent: Sent) -> bool:
    import standardwebhooks

    standardwebhooks.Webhook(sent.secret).verify(sent.text, sent.headers)
    return True


def stripe(sent: Sent) -> bool:
    from stripe import Webhook

    Webhook.construct_event(sent.text, sent.headers["stripe-signature"], sent.secret)
    return True


def svix(sent: Sent) -> bool:
    from svix.webhooks import Webhook

    Webhook(sent.secret).verify(sent.text, sent.headers)
    return True


def twilio(sent: Sent) -> bool:
    from twilio.request_validator import RequestValidator

    is_form = sent.headers["content-type"].endswith("form-urlencoded")
    said = dict(parse_qsl(sent.text, keep_blank_values=True)) if is_form else sent.text
    signature = sent.headers["x-twilio-signature"]
    return RequestValidator(sent.secret).validate(sent.full_url, said, signature)


def twitch(sent: Sent) -> bool:
    import asyncio

    from multidict import CIMultiDict
    from twitchAPI.eventsub.webhook import EventSubWebhook

    async def text() -> str:
        return sent.text

    request = types.SimpleNamespace(headers=CIMultiDict(sent.headers), text=text)
    receiver = types.SimpleNamespace(secret=sent.secret)
    return asyncio.run(EventSubWebhook._verify_signature(receiver, request))


class Node:
    """The packages for Node, in a process that lasts as long as the tests."""

    PRESETS = (
        "aws-sns",
        "chargebee",
        "github",
        "linear",
        "notion",
        "shopify",
        "webflow",
        "zoom",
    )

    def __init__(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(["node", NODE_SCRIPT], **pipes)
        self.packages: dict[str, str] = {}

    def check(self, preset: str) -> Callable[[Sent], bool]:
        def check(sent: Sent) -> bool:
            known = {"secrets": sent.secrets, "serve": sent.serve, "url": sent.full_url}
            line = {"preset": preset, "request": sent.request, **known}
            print(json.dumps(line), file=self.process.stdin, flush=True)
            verdict = json.loads(self.process.stdout.readline())
            self.packages[preset] = verdict["package"]
            if verdict["reason"]:
                raise RuntimeError(verdict["reason"])
            return verdict["accepted"]

        return check

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


# Preset: its package, the check, and whether that judges the time.
CHECKS: dict[str, tuple[str, Callable[[Sent], bool], bool]] = {
    "adyen": ("Adyen", adyen, False),
    "box": ("boxsdk", box, True),
    "coinbase-commerce": ("coinbase-commerce", coinbase_commerce, False),
    "discord": ("discord-interactions", discord, False),
    "dropbox-sign": ("dropbox-sign", dropbox_sign, False),
    "elevenlabs": ("elevenlabs", elevenlabs, True),
    "fusionauth": ("PyJWT", fusionauth, False),
    "gitlab-signed": ("standardwebhooks", standard_webhooks, True),
    "google-pubsub": ("google-auth", google_pubsub, True),
    "hubspot": ("hubspot-api-client", hubspot, True),
    "line": ("line-bot-sdk", line, False),
    "mailgun": ("mailgun", mailgun, False),
    "paddle": ("paddle-python-sdk", paddle, True),
    "paypal": ("paypalrestsdk", paypal, False),
    "plaid": ("PyJWT", plaid, True),
    "razorpay": ("razorpay", razorpay, False),
    "sendgrid": ("sendgrid", sendgrid, False),
    "slack": ("slack_sdk", slack, True),
    "square": ("squareup", square, False),
    "standard-webhooks": ("standardwebhooks", standard_webhooks, True),
    "stripe": ("stripe", stripe, True),
    "svix": ("svix", svix, True),
    "twilio": ("twilio", twilio, False),
    "twitch": ("twitchAPI", twitch, False),
}
NODE_JUDGES_TIME = ("linear",)
# Somebody else's packages: a library of tokens, that of a standard, a client.
NOT_THEIR_OWN = ("fusionauth", "gitlab-signed", "plaid", "twitch")
# Their package knows `v1` only.
WITHOUT = {("standard-webhooks", "key pair")}
# Learned from the handshake: the receiver knows them all the same.
SECRETS_LEARNED = {"asana", "notion"}


def takes(check: Callable[[Sent], bool], sent: Sent) -> tuple[bool, str]:
    try:
        # Some packages print what they think of it.
        with contextlib.redirect_stdout(io.StringIO()):
            return bool(check(sent)), ""
    except Exception as error:  # Whatever a package raises is a refusal.
        return False, f"{type(error).__name__}: {error}"


class Presets(unittest.TestCase):
    def setUp(self) -> None:
        self.now_ms = time.time_ns() // 1_000_000
        self.sent = sign_presets.answer({"now_ms": self.now_ms, "url": URL})

    def sent_as(self, way: dict[str, Any], case: str) -> Sent:
        secrets = way["secrets"]
        if way["preset"] in SECRETS_LEARNED:
            providers = sign_presets.all_providers(self.now_ms)
            secrets = [p.key for p in providers if p.preset == way["preset"]]
        url = URL.replace("<slug>", way["slug"])
        return Sent(way["cases"][case], url, secrets, way["settings"], way["serve"])

    def judge(self, way: dict[str, Any], check: Callable[[Sent], bool], judges_time: bool) -> str:
        """Every case as the package finds it, which has to be as it is meant."""
        wanted = {"good": True, "next": True, "wrong_secret": False, "tampered": False}
        if way["cases"]["retried"]:
            wanted["retried"] = True
        if way["cases"]["late"]:
            wanted["late"] = not judges_time
        said = []
        for case, want in wanted.items():
            accepted, reason = takes(check, self.sent_as(way, case))
            self.assertEqual(accepted, want, (way["slug"], case, reason))
            said.append(f"{case} {'accepted' if accepted else 'refused'}")
        return ", ".join(said)

    def test_packages_for_python_take_them(self) -> None:
        for way in self.sent:
            if way["preset"] not in CHECKS or (way["preset"], way["variant"]) in WITHOUT:
                continue
            package, check, judges_time = CHECKS[way["preset"]]
            with self.subTest(way["slug"]):
                said = self.judge(way, check, judges_time)
                name = f"{package} {metadata.version(package)}"
                print(f"{way['slug']:28} {name:30} {said}")

    @unittest.skipUnless(NODE_PACKAGES, "HOOKPOST_NODE_PACKAGES is not set; tests/run sets it")
    def test_packages_for_node_take_them(self) -> None:
        node = Node()
        self.addCleanup(node.close)
        for way in self.sent:
            preset = way["preset"]
            if preset not in Node.PRESETS:
                continue
            with self.subTest(way["slug"]):
                said = self.judge(way, node.check(preset), preset in NODE_JUDGES_TIME)
                print(f"{way['slug']:28} {node.packages[preset]:30} {said}")

    def test_packages_refuse_forgeries(self) -> None:
        for way in self.sent:
            if way["preset"] not in CHECKS:
                continue
            _, check, _ = CHECKS[way["preset"]]
            for forgery in way["forgeries"]:
                name = (way["preset"], forgery["name"])
                # Its package does not look at the whole name.
                if name in {("paypal", "of another name"), ("paypal", "from elsewhere")}:
                    continue
                with self.subTest(name):
                    case = {**way, "cases": {"forged": forgery["request"]}}
                    self.assertFalse(takes(check, self.sent_as(case, "forged"))[0], name)

    def test_what_has_no_package_is_told(self) -> None:
        checked = {*CHECKS, *Node.PRESETS}
        names = sorted({way["preset"] for way in self.sent} - checked)
        print("checked by somebody else's package:", ", ".join(NOT_THEIR_OWN))
        print("in part by the provider's package: paypal")
        print("without a package:", ", ".join(names))


if __name__ == "__main__":
    unittest.main(warnings="ignore")
