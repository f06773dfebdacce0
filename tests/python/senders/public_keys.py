"""Providers that sign with a key of their own, whose public half is known."""

import base64
import hashlib
import json
import zlib
from typing import Any

from cryptography.hazmat.primitives import hashes

from . import keys
from .base import (
    HANDSHAKE,
    Event,
    Handshake,
    Moment,
    Provider,
    Request,
    b64,
    b64url,
    json_request,
    replacing,
)
from .general import OTHER_STANDARD_KEY, STANDARD_KEY, standard, whsec
from .tokens import gitlab

PEM = "application/x-pem-file"
JSON = "application/json"

TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic"
SNS_HOST = "https://sns.us-west-2.amazonaws.com"
SNS_CERTIFICATE = f"{SNS_HOST}/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem"
SNS_NOTIFICATION = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
SNS_CONFIRMATION = [
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
]


def sns_request(kind: str, payload: dict[str, str]) -> Request:
    request = json_request({"Type": kind, **payload}, ("x-amz-sns-message-type", kind))
    return request.plus(("Content-Type", "text/plain; charset=UTF-8"))


def sns(at: Moment) -> Event:
    payload = {
        "MessageId": at.uuid(),
        "TopicArn": TOPIC,
        "Subject": "My First Message",
        "Message": '{"default":"Hello\nworld ☂"}',
        "Timestamp": at.rfc3339("%Y-%m-%dT%H:%M:%S.123Z"),
        "UnsubscribeURL": f"{SNS_HOST}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:c9135db0",
    }
    return Event(sns_request("Notification", payload), "aws-sns", at.uuid())


def sns_plain(at: Moment) -> Event:
    """Without a subject."""
    event = sns(at)
    payload = json.loads(event.request.body)
    del payload["Subject"]
    return Event(sns_request(payload.pop("Type"), payload), event.type, event.id)


def sns_sign(version: str):
    def sign(key: Any, _at: Moment, request: Request) -> Request:
        payload = json.loads(request.body)
        kind = payload.pop("Type")
        names = SNS_NOTIFICATION if kind == "Notification" else SNS_CONFIRMATION
        known = {"Type": kind, **payload}
        text = "".join(f"{name}\n{known[name]}\n" for name in names if name in known)
        digest = {"1": hashes.SHA1(), "2": hashes.SHA256()}[version]
        payload["SignatureVersion"] = version
        payload["Signature"] = b64(keys.rsa_sign(key, text.encode(), digest))
        payload["SigningCertURL"] = SNS_CERTIFICATE
        return sns_request(kind, payload)

    return sign


def sns_subscribe_url(at: Moment) -> str:
    return f"{SNS_HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={at.hex()}"


def sns_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    def confirmation(kind: str, topic: str = TOPIC) -> Request:
        payload = {
            "MessageId": at.uuid(),
            "Token": at.hex(),
            "TopicArn": topic,
            "Message": f"You have chosen to change the subscription of {topic}.",
            "SubscribeURL": sns_subscribe_url(at),
            "Timestamp": at.rfc3339("%Y-%m-%dT%H:%M:%S.123Z"),
        }
        return sns_request(kind, payload)

    def refused(name: str, request: Request) -> Handshake:
        return Handshake(name, request, status=401, body="Not accepted.", verdict="rejected")

    subscription = "SubscriptionConfirmation"
    other = confirmation(subscription, f"{TOPIC}2")
    forged = provider.sign(provider.wrong, at, confirmation(subscription))
    return [
        refused("another topic", provider.sign(provider.key, at, other)),
        refused("forged confirmation", forged),
        *(
            Handshake(kind, provider.sign(provider.key, at, confirmation(kind)), body="OK")
            for kind in (subscription, "UnsubscribeConfirmation")
        ),
    ]


def sns_forgeries(provider: Provider, at: Moment) -> dict[str, Request]:
    signed = provider.send(at)
    payload = json.loads(signed.body)
    kind = payload.pop("Type")

    def changed(**fields: str) -> Request:
        return sns_request(kind, {**payload, **fields})

    return {
        "certificate from elsewhere": changed(SigningCertURL="https://sns.example.com/a.pem"),
        "certificate from a bucket": changed(
            SigningCertURL="https://bucket.s3.amazonaws.com/sns.us-west-2.amazonaws.com.pem"
        ),
        "unknown version": changed(SignatureVersion="3"),
        "another topic": changed(TopicArn=f"{TOPIC}2"),
    }


def sns_providers(now_ms: int) -> list[Provider]:
    key = keys.rsa_key("sns")
    certificate = keys.leaf_pem(key, "sns.amazonaws.com", now_ms, trusted=False)
    asked = Moment("", now_ms, HANDSHAKE)
    common = {
        "key": key,
        "wrong": keys.rsa_key("another"),
        "settings": {"topicArns": f"arn:aws:sns:eu-west-1:1:Other, {TOPIC}"},
        "tamper": replacing(b"world", b"World"),
        "serve": {
            SNS_CERTIFICATE: (PEM, certificate.encode()),
            sns_subscribe_url(asked): ("text/xml", b"<ConfirmSubscriptionResponse/>"),
        },
    }
    questions = {"handshakes": sns_handshakes, "forgeries": sns_forgeries}
    # Signs a time, but its messages may wait for days: none is too old.
    return [
        Provider("aws-sns", sns, sns_sign("1"), **common, **questions),
        Provider("aws-sns", sns_plain, sns_sign("2"), variant="version 2", **common),
    ]


def discord(at: Moment) -> Event:
    event = {
        "type": "APPLICATION_AUTHORIZED",
        "timestamp": at.rfc3339("%Y-%m-%dT%H:%M:%S.123456"),
        "data": {"integration_type": 1, "user": {"id": str(at.number()), "username": "☂"}},
    }
    payload = {"version": 1, "application_id": "1234560123453231555", "type": 1, "event": event}
    return Event(json_request(payload), "APPLICATION_AUTHORIZED")


def discord_interaction(at: Moment) -> Event:
    payload = {"id": str(at.number()), "type": 2, "token": "unique", "data": {"name": "cmd"}}
    return Event(json_request(payload), "discord")


def discord_sign(key: Any, at: Moment, request: Request) -> Request:
    signature = key.sign(at.seconds.encode() + request.body).hex()
    return request.plus(("X-Signature-Ed25519", signature), ("X-Signature-Timestamp", at.seconds))


def discord_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    events = json_request({"version": 1, "application_id": "1234560123453231555", "type": 0})
    interactions = json_request({"id": str(at.number()), "type": 1, "version": 1})

    def signed(request: Request) -> Request:
        return discord_sign(provider.key, at, request)

    return [
        Handshake("PING of webhook events", signed(events), status=204),
        Handshake("PING of interactions", signed(interactions), body='{"type":1}'),
        Handshake(
            "PING that Discord signs wrongly",
            discord_sign(provider.wrong, at, interactions),
            status=401,
            body="Not accepted.",
            verdict="rejected",
        ),
    ]


def fusionauth(at: Moment) -> Event:
    event = {
        "createInstant": at.now_ms,
        "id": at.uuid(),
        "tenantId": "e872a880-b14f-6d62-c312-cb40f22af465",
        "type": "user.create",
        "user": {"active": True, "email": "richard@example.com"},
    }
    return Event(json_request({"event": event}), "user.create", at.uuid())


def fusionauth_sign(kid: str | None):
    def sign(key: Any, _at: Moment, request: Request) -> Request:
        claims = {"request_body_sha256": b64(hashlib.sha256(request.body).digest())}
        return request.plus(("X-FusionAuth-Signature-JWT", keys.jwt(key, claims, kid)))

    return sign


def fusionauth_forgeries(provider: Provider, at: Moment) -> dict[str, Request]:
    request = fusionauth(at).request
    claims = {"request_body_sha256": b64(hashlib.sha256(request.body).digest())}
    tokens = {
        "alg none": keys.unsigned_jwt(claims),
        "public key as secret": keys.jwt(keys.pem_public(provider.key), claims),
        "no hash": keys.jwt(provider.key, {}, "r"),
    }
    header = "X-FusionAuth-Signature-JWT"
    return {name: request.plus((header, token)) for name, token in tokens.items()}


def fusionauth_providers() -> list[Provider]:
    """Its tokens say no time."""
    rsa, p256, ed25519 = keys.rsa_key("own"), keys.p256_key("own"), keys.ed25519_key("own")
    url = "https://auth.example.com/.well-known/jwks.json"
    all_keys = {"keys": [keys.jwk(rsa, "r"), keys.jwk(p256, "e"), keys.jwk(ed25519, "d")]}

    def signed(variant: str, kid: str | None, key: Any, wrong: Any, **more: Any) -> Provider:
        sign = fusionauth_sign(kid)
        return Provider(
            "fusionauth", fusionauth, sign, variant=variant, key=key, wrong=wrong, **more
        )

    text = "an HMAC key of thirty-two bytes, ключ"
    return [
        signed("HS256", None, text, "another", secrets=(text,)),
        signed(
            "RS256",
            "r",
            rsa,
            keys.rsa_key("another"),
            secrets=(keys.pem_public(rsa),),
            forgeries=fusionauth_forgeries,
        ),
        signed(
            "EdDSA",
            "d",
            ed25519,
            keys.ed25519_key("another"),
            secrets=(json.dumps(keys.jwk(ed25519, "d")),),
        ),
        signed(
            "ES256 by key set",
            "e",
            p256,
            keys.p256_key("another"),
            settings={"keysUrl": url},
            serve={url: (JSON, json.dumps(all_keys).encode())},
        ),
    ]


AUDIENCE = "https://hooks.example.test/pubsub"
PUSHER = "pusher@project.iam.gserviceaccount.com"
GOOGLE_CERTS = "https://www.googleapis.com/oauth2/v3/certs"
TOKEN_LIFE_S = 3600
# Seconds after its end that a token is still taken.
LEEWAY_S = 60


def pubsub(at: Moment) -> Event:
    message = {
        "attributes": {"key": "value"},
        "data": b64(b"Hello Cloud Pub/Sub!"),
        "messageId": str(at.number()),
        "message_id": str(at.number()),
        "publishTime": at.rfc3339("%Y-%m-%dT%H:%M:%S.123Z"),
    }
    payload = {"message": message, "subscription": "projects/p/subscriptions/s"}
    return Event(json_request(payload), "google-pubsub", str(at.number()))


def pubsub_claims(at: Moment) -> dict[str, Any]:
    issued_s = at.now_ms // 1000
    return {
        "aud": AUDIENCE,
        "azp": "113774264463038321964",
        "email": PUSHER,
        "email_verified": True,
        "exp": issued_s + TOKEN_LIFE_S,
        "iat": issued_s,
        "iss": "https://accounts.google.com",
        "sub": "113774264463038321964",
    }


def pubsub_sign(key: Any, at: Moment, request: Request) -> Request:
    token = keys.jwt(key, pubsub_claims(at), "g1")
    return request.plus(("Authorization", f"Bearer {token}"))


def pubsub_tamper(request: Request) -> Request:
    """Google signs the token alone: so a claim of it is changed."""
    head, claims, signature = request.header("Authorization").split(".")
    text = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
    changed = b64url(text.replace(b"113774264463038321964", b"0"))
    return request.plus(("Authorization", f"{head}.{changed}.{signature}"))


def pubsub_forgeries(provider: Provider, at: Moment) -> dict[str, Request]:
    """Tokens that Google made, for or of somebody else; and some that nobody signed."""
    request = pubsub(at).request

    def with_token(token: str) -> Request:
        return request.plus(("Authorization", f"Bearer {token}"))

    def with_claims(**claims: Any) -> Request:
        return with_token(keys.jwt(provider.key, {**pubsub_claims(at), **claims}, "g1"))

    return {
        "another audience": with_claims(aud="https://elsewhere.example.com"),
        "another account": with_claims(email="pusher@elsewhere.iam.gserviceaccount.com"),
        "no token": request,
        "alg none": with_token(keys.unsigned_jwt(pubsub_claims(at))),
        "public key as secret": with_token(
            keys.jwt(keys.pem_public(provider.key), pubsub_claims(at), "g1")
        ),
    }


def pubsub_provider() -> Provider:
    key = keys.rsa_key("google")
    return Provider(
        "google-pubsub",
        pubsub,
        pubsub_sign,
        key=key,
        wrong=keys.rsa_key("another"),
        wants={"status": 204},
        settings={"audience": AUDIENCE, "serviceAccount": PUSHER},
        tolerance_s=TOKEN_LIFE_S + LEEWAY_S,
        tamper=pubsub_tamper,
        forgeries=pubsub_forgeries,
        serve={GOOGLE_CERTS: (JSON, json.dumps({"keys": [keys.jwk(key, "g1")]}).encode())},
    )


def paypal(at: Moment) -> Event:
    payload = {
        "id": f"WH-{at.hex(17).upper()}-{at.hex(17)[::-1].upper()}",
        "event_version": "1.0",
        "create_time": at.rfc3339(),
        "resource_type": "capture",
        "event_type": "PAYMENT.CAPTURE.COMPLETED",
        "summary": "Payment completed for € 10.00 EUR",
        "resource": {"id": "42311647XV020574X", "status": "COMPLETED"},
    }
    return Event(json_request(payload), "PAYMENT.CAPTURE.COMPLETED", payload["id"])


def paypal_sign(url: str, webhook_id: str):
    def sign(key: Any, at: Moment, request: Request) -> Request:
        transmission = at.uuid()
        time = at.rfc3339()
        text = f"{transmission}|{time}|{webhook_id}|{zlib.crc32(request.body)}"
        signature = keys.rsa_sign(key, text.encode(), hashes.SHA256())
        return request.plus(
            ("PAYPAL-TRANSMISSION-ID", transmission),
            ("PAYPAL-TRANSMISSION-TIME", time),
            ("PAYPAL-TRANSMISSION-SIG", b64(signature)),
            ("PAYPAL-CERT-URL", url),
            ("PAYPAL-AUTH-ALGO", "SHA256withRSA"),
        )

    return sign


PAYPAL_WEBHOOK = "1JE4291016473214C"
PAYPAL_NAME = "messageverificationcerts"


def paypal_forgeries(provider: Provider, at: Moment) -> dict[str, Request]:
    """Signatures that are good by certificates that are not PayPal's."""
    request = paypal(at).request

    def signed(url: str) -> Request:
        return paypal_sign(url, PAYPAL_WEBHOOK)(provider.wrong, at, request)

    of_others = paypal_sign(paypal_url("api"), "0WH00000000000000")
    return {
        "of another name": signed(paypal_url("www")),
        "by no authority": signed(paypal_url("ipn")),
        "from elsewhere": signed("https://api.paypal.com.example.com/v1/notifications/certs/C"),
        "for another webhook": of_others(provider.key, at, request),
    }


def paypal_url(host: str) -> str:
    return f"https://{host}.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"


def paypal_providers(now_ms: int) -> list[Provider]:
    """Signs a time, but sends again for days with the one of before: none is too old."""
    wrong = keys.rsa_key("another")
    forged = {
        paypal_url("www"): keys.leaf_pem(wrong, "www.paypal.com", now_ms),
        paypal_url("ipn"): keys.leaf_pem(wrong, f"{PAYPAL_NAME}.paypal.com", now_ms, trusted=False),
    }

    def of(variant: str, host: str, domain: str, **more: Any) -> Provider:
        key = keys.rsa_key(f"paypal {variant}")
        url = paypal_url(host)
        served = {**forged, url: keys.leaf_pem(key, f"{PAYPAL_NAME}.{domain}", now_ms)}
        return Provider(
            "paypal",
            paypal,
            paypal_sign(url, PAYPAL_WEBHOOK),
            variant=variant,
            key=key,
            wrong=wrong,
            settings={"webhookId": PAYPAL_WEBHOOK},
            serve={url: (PEM, pem.encode()) for url, pem in served.items()},
            **more,
        )

    return [
        of("", "api", "paypal.com", forgeries=paypal_forgeries),
        of("sandbox", "api.sandbox", "sandbox.paypal.com"),
    ]


PLAID_KEYS = "https://production.plaid.com/webhook_verification_key/get"


def plaid(at: Moment) -> Event:
    payload = {
        "webhook_type": "TRANSACTIONS",
        "webhook_code": "SYNC_UPDATES_AVAILABLE",
        "item_id": at.hex(37),
        "environment": "production",
    }
    # Plaid hashes what it sends, spaces and all.
    request = json_request({})
    body = json.dumps(payload, indent=2).encode()
    return Event(Request(headers=request.headers, body=body), "TRANSACTIONS")


PLAID_KID = "bfbd5111-8e33-4643-8ced-b2e642a72f3c"


def plaid_sign(key: Any, at: Moment, request: Request) -> Request:
    claims = {
        "iat": at.now_ms // 1000,
        "request_body_sha256": hashlib.sha256(request.body).hexdigest(),
    }
    return request.plus(("Plaid-Verification", keys.jwt(key, claims, PLAID_KID)))


def plaid_provider() -> Provider:
    key = keys.p256_key("plaid")
    known = {"key": {**keys.jwk(key, PLAID_KID), "expired_at": None}, "request_id": "r"}
    return Provider(
        "plaid",
        plaid,
        plaid_sign,
        key=key,
        wrong=keys.p256_key("another"),
        secrets=("client_id_of_ours:s3cret",),
        tolerance_s=300,
        serve={PLAID_KEYS: (JSON, json.dumps(known).encode())},
    )


def sendgrid(at: Moment) -> Event:
    event = {
        "email": "example@test.com",
        "timestamp": at.now_ms // 1000,
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": "processed",
        "category": ["cat facts"],
        "sg_event_id": at.hex(24),
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
    }
    request = json_request([event])
    # SendGrid ends its body with a line break.
    return Event(
        Request(headers=request.headers, body=request.body + b"\r\n"), "processed", at.hex(24)
    )


def sendgrid_sign(key: Any, at: Moment, request: Request) -> Request:
    signature = keys.ecdsa_sign(key, at.seconds.encode() + request.body)
    return request.plus(
        ("X-Twilio-Email-Event-Webhook-Signature", b64(signature)),
        ("X-Twilio-Email-Event-Webhook-Timestamp", at.seconds),
    )


def gitlab_signed(at: Moment) -> Event:
    event = gitlab(at)
    return Event(event.request, event.type, f"msg_{at.hex(27)}")


def providers(now_ms: int) -> list[Provider]:
    ed25519, p256 = keys.ed25519_key("discord"), keys.p256_key("sendgrid")
    discord_keys = {
        "key": ed25519,
        "wrong": keys.ed25519_key("another"),
        "secrets": (keys.raw_public(ed25519).hex(),),
        "wants": {"status": 204, "body": ""},
        "tolerance_s": 300,
    }
    return [
        *sns_providers(now_ms),
        Provider("discord", discord, discord_sign, **discord_keys, handshakes=discord_handshakes),
        Provider(
            "discord", discord_interaction, discord_sign, variant="interaction", **discord_keys
        ),
        *fusionauth_providers(),
        # As Standard Webhooks.
        Provider(
            "gitlab-signed",
            gitlab_signed,
            standard("webhook"),
            key=STANDARD_KEY,
            wrong=OTHER_STANDARD_KEY,
            secrets=(whsec(STANDARD_KEY),),
            tolerance_s=300,
        ),
        pubsub_provider(),
        *paypal_providers(now_ms),
        plaid_provider(),
        Provider(
            "sendgrid",
            sendgrid,
            sendgrid_sign,
            key=p256,
            wrong=keys.p256_key("another"),
            secrets=(keys.der_public(p256),),
            tolerance_s=300,
        ),
    ]
