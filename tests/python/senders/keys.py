"""Key pairs, certificates and tokens."""

import datetime
import json
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .base import b64, b64url, mac

DAY = datetime.timedelta(days=1)


@cache
def rsa_key(_name: str) -> rsa.RSAPrivateKey:
    """The RSA key of that name; another name, another key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def p256_key(_name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed25519_key(_name: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def raw_public(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def pem_public(key: Any) -> str:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def der_public(key: Any) -> str:
    """Base64 without the lines that PEM puts around it."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64(der)


def rsa_sign(key: rsa.RSAPrivateKey, text: bytes, digest: hashes.HashAlgorithm) -> bytes:
    return key.sign(text, padding.PKCS1v15(), digest)


def ecdsa_sign(key: ec.EllipticCurvePrivateKey, text: bytes) -> bytes:
    """In DER."""
    return key.sign(text, ec.ECDSA(hashes.SHA256()))


def _number(value: int, size: int | None = None) -> str:
    return b64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(key: Any, kid: str) -> dict[str, str]:
    """The public half as a JSON Web Key."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = public.public_numbers()
        parts = {"kty": "RSA", "alg": "RS256", "n": _number(numbers.n), "e": _number(numbers.e)}
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        numbers = public.public_numbers()
        point = {"x": _number(numbers.x, 32), "y": _number(numbers.y, 32)}
        parts = {"kty": "EC", "alg": "ES256", "crv": "P-256", **point}
    else:
        parts = {"kty": "OKP", "alg": "EdDSA", "crv": "Ed25519", "x": b64url(raw_public(key))}
    return {**parts, "kid": kid, "use": "sig"}


def jwt(key: Any, claims: dict[str, Any], kid: str | None = None) -> str:
    """A token signed as the kind of key has it."""
    algorithms = {
        rsa.RSAPrivateKey: "RS256",
        ec.EllipticCurvePrivateKey: "ES256",
        ed25519.Ed25519PrivateKey: "EdDSA",
        str: "HS256",
    }
    name = next(name for kind, name in algorithms.items() if isinstance(key, kind))
    header = {"alg": name, "typ": "JWT", **({"kid": kid} if kid else {})}
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
    signed = text.encode()
    if name == "HS256":
        signature = mac(key, signed)
    elif name == "RS256":
        signature = rsa_sign(key, signed, hashes.SHA256())
    elif name == "ES256":
        halves = decode_dss_signature(ecdsa_sign(key, signed))
        signature = b"".join(half.to_bytes(32, "big") for half in halves)
    else:
        signature = key.sign(signed)
    return f"{text}.{b64url(signature)}"


def unsigned_jwt(claims: dict[str, Any]) -> str:
    """A token that asks to be believed."""
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(b64url(json.dumps(part).encode()) for part in parts) + "."


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


@cache
def authority() -> x509.Certificate:
    """Whom the chains that are made here end in."""
    key = rsa_key("authority")
    name = _name("An authority of the tests")
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2099, 1, 1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return built.sign(key, hashes.SHA256())


def authority_pem() -> str:
    return _pem(authority())


def leaf_pem(key: rsa.RSAPrivateKey, host: str, now_ms: int, trusted: bool = True) -> str:
    """A certificate for a host, valid for some weeks around that time.

    Signed by `authority`, whose certificate follows; or by itself.
    """
    now = datetime.datetime.fromtimestamp(now_ms // 1000, datetime.timezone.utc)
    name = _name(host)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority().subject if trusted else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * DAY)
        .not_valid_after(now + 60 * DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    leaf = built.sign(rsa_key("authority") if trusted else key, hashes.SHA256())
    return _pem(leaf) + (authority_pem() if trusted else "")
