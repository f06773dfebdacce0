"""Ways to sign that many have."""

import base64
from typing import Any

from cryptography.hazmat.primitives import hashes

from . import keys
from .base import (
    Event,
    Moment,
    Provider,
    Request,
    b64,
    basic,
    cut,
    cut_password,
    json_request,
    mac,
    token,
    unsigned,
)


def whsec(key: bytes) -> str:
    return "whsec_" + b64(key)


def standard(prefix: str):
    """`v1` by shared bytes, `v1a` by an ed25519 key pair."""

    def sign(key: Any, at: Moment, request: Request) -> Request:
        message_id = f"msg_{at.hex(27)}"
        text = b".".join((message_id.encode(), at.seconds.encode(), request.body))
        if isinstance(key, bytes):
            signature = "v1," + b64(mac(key, text))
        else:
            signature = "v1a," + b64(key.sign(text))
        return request.plus(
            (f"{prefix}-id", message_id),
            (f"{prefix}-timestamp", at.seconds),
            (f"{prefix}-signature", signature),
        )

    return sign


def invoice_paid(at: Moment) -> Event:
    payload = {
        "type": "invoice.paid",
        "timestamp": at.rfc3339(),
        "data": {"id": f"in_{at.hex(14)}", "amount": 1999, "customer": "Łucja O’Neill"},
    }
    return Event(json_request(payload), "invoice.paid", f"msg_{at.hex(27)}")


def unnamed(preset: str):
    """An event that does not say what it is."""

    def event(at: Moment) -> Event:
        return Event(json_request({"order": at.number(), "total": "19.99"}), preset)

    return event


def octohooks(key: str, at: Moment, request: Request) -> Request:
    signature = mac(key, at.seconds, ".", request.body).hex()
    return request.plus(("X-Signature", f"t={at.seconds},v1={signature}"))


def optech(header: str):
    def sign(key: str, _at: Moment, request: Request) -> Request:
        signature = base64.urlsafe_b64encode(mac(key, request.body)).decode()
        return request.plus((header, signature))

    return sign


STANDARD_KEY = bytes(range(32))
OTHER_STANDARD_KEY = bytes(range(1, 33))


def shared() -> list[Provider]:
    """Those that send what both know as it is."""
    bearer = token("Authorization", "Bearer ")
    password = "hooks:a pass:word, ☂"
    return [
        Provider(
            "static-header",
            unnamed("static-header"),
            token("X-Api-Secret"),
            key="n0t-a-guess",
            settings={"header": "x-api-secret"},
            tamper=cut("X-Api-Secret"),
        ),
        Provider("basic", unnamed("basic"), basic, key=password, tamper=cut_password),
        Provider(
            "bearer",
            unnamed("bearer"),
            bearer,
            key="eyJ0b2tlbiI6MX0.x",
            tamper=cut("Authorization"),
        ),
        # Whatever comes is taken, so that there is nothing to be wrong or changed.
        Provider("none", unnamed("none"), unsigned, tamper=None),
    ]


def named() -> list[Provider]:
    return [
        Provider(
            "standard-webhooks",
            invoice_paid,
            standard("webhook"),
            key=STANDARD_KEY,
            wrong=OTHER_STANDARD_KEY,
            secrets=(whsec(STANDARD_KEY),),
            tolerance_s=300,
        ),
        Provider(
            "standard-webhooks",
            invoice_paid,
            standard("webhook"),
            variant="key pair",
            key=keys.ed25519_key("standard"),
            wrong=keys.ed25519_key("another"),
            secrets=("whpk_" + b64(keys.raw_public(keys.ed25519_key("standard"))),),
            tolerance_s=300,
        ),
        Provider(
            "svix",
            invoice_paid,
            standard("svix"),
            key=STANDARD_KEY,
            wrong=OTHER_STANDARD_KEY,
            secrets=(whsec(STANDARD_KEY),),
            tolerance_s=300,
        ),
        Provider(
            "octohooks",
            unnamed("octohooks"),
            octohooks,
            key="i9viqa5vxx78hcxh4rwdm8x7791",
            tolerance_s=300,
        ),
        Provider("optech", unnamed("optech"), optech("X-Optech-Signature"), key="shhh, ключ"),
        Provider(
            "optech",
            unnamed("optech"),
            optech("X-Our-Signature"),
            variant="own header",
            key="shhh",
            settings={"header": "x-our-signature"},
        ),
    ]


def custom() -> list[Provider]:
    """The same engine as of the providers, asked for by an owner."""

    def described(variant: str, sign: Any, key: Any, signature: dict[str, Any], **more: Any):
        event = unnamed("custom")
        return Provider(
            "custom", event, sign, variant=variant, key=key, signature=signature, **more
        )

    def sha512(key: str, _at: Moment, request: Request) -> Request:
        signature = mac(bytes.fromhex(key), request.body, digest="sha512").hex()
        return request.plus(("X-Sig", f"sha512={signature}"))

    def sha384(key: str, at: Moment, request: Request) -> Request:
        where = f"{request.method}\n{at.url}\n"
        text = (where, at.millis, "\n", at.hex(), "\n", request.body)
        signature = mac(base64.b64decode(key), *text, digest="sha384")
        return request.plus(
            ("X-Sig", base64.urlsafe_b64encode(signature).decode()),
            ("X-Sent", at.millis),
            ("X-Nonce", at.hex()),
        )

    def listed(key: str, _at: Moment, request: Request) -> Request:
        new = mac(key, request.body, digest="sha1").hex()
        return request.plus(("X-Sig", f"v2=00,v1={'00' * 20}, v1={new}"))

    def among_items(key: str, at: Moment, request: Request) -> Request:
        sent = at.rfc3339()
        signature = mac(key, sent, "|application/json|", request.body).hex()
        return request.plus(("X-Sig", f"at={sent};mac={signature}"))

    def by_ed25519(key: Any, at: Moment, request: Request) -> Request:
        signature = b64(key.sign(at.seconds.encode() + request.body))
        return request.plus(("X-Sig", signature), ("X-Sent", at.seconds))

    def by_p256(key: Any, _at: Moment, request: Request) -> Request:
        return request.plus(("X-Sig", b64(keys.ecdsa_sign(key, request.body))))

    def by_rsa(key: Any, _at: Moment, request: Request) -> Request:
        return request.plus(("X-Sig", keys.rsa_sign(key, request.body, hashes.SHA256()).hex()))

    sig = {"header": "x-sig"}
    ed25519, p256, rsa = keys.ed25519_key("own"), keys.p256_key("own"), keys.rsa_key("own")
    return [
        described(
            "sha512",
            sha512,
            "0badc0de" * 8,
            {
                **sig,
                "prefix": "sha512=",
                "algorithm": "hmac-sha512",
                "key": "hex",
                "signed": "{body}",
            },
        ),
        described(
            "sha384",
            sha384,
            b64(bytes(range(48))),
            {
                **sig,
                "algorithm": "hmac-sha384",
                "encoding": "base64url",
                "key": "base64",
                "signed": "{method}\n{url}\n{timestamp}\n{id}\n{body}",
                "timestamp": {"header": "x-sent", "unit": "milliseconds"},
                "id": {"header": "x-nonce"},
            },
            wrong=b64(bytes(range(1, 49))),
            tolerance_s=300,
        ),
        described(
            "list",
            listed,
            "of several",
            {
                **sig,
                "separator": ",",
                "prefix": "v1=",
                "algorithm": "hmac-sha1",
                "signed": "{body}",
            },
        ),
        described(
            "items",
            among_items,
            "among items",
            {
                **sig,
                "separator": ";",
                "item": "mac",
                "signed": "{timestamp}|{header:content-type}|{body}",
                "timestamp": {"item": "at", "unit": "rfc3339"},
            },
            tolerance_s=300,
        ),
        described(
            "ed25519",
            by_ed25519,
            ed25519,
            {
                **sig,
                "algorithm": "ed25519",
                "encoding": "base64",
                "signed": "{timestamp}{body}",
                "timestamp": {"header": "x-sent"},
            },
            wrong=keys.ed25519_key("another"),
            secrets=(keys.pem_public(ed25519),),
            tolerance_s=300,
        ),
        described(
            "p256",
            by_p256,
            p256,
            {**sig, "algorithm": "ecdsa-p256", "encoding": "base64", "signed": "{body}"},
            wrong=keys.p256_key("another"),
            secrets=(keys.der_public(p256),),
        ),
        described(
            "rsa",
            by_rsa,
            rsa,
            {**sig, "algorithm": "rsa-sha256", "signed": "{body}"},
            wrong=keys.rsa_key("another"),
            secrets=(keys.pem_public(rsa),),
        ),
    ]


def providers(_now_ms: int) -> list[Provider]:
    return [*named(), *shared(), *custom()]
