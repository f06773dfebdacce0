"""Sends what providers send: signed requests for every preset, as data.

The first line on stdout is {"anchors_pem": ...}: the authority that the
certificates below end in. Each line on stdin asks, and is answered by a line:

    {"now_ms": 1795305600000, "url": "https://hooks.example.test/in/<slug>",
     "preset": "stripe"}

`<slug>` stands for the slug that the answer tells. Without "preset" it asks for
all of them; a list of such asks for each. The answer is a list of:

    {"preset", "variant", "slug", "secrets", "settings", "signature" (of custom),
     "event_type", "event_id", "wants", "cases", "handshakes", "forgeries", "serve"}

A request is {"method", "query", "headers", "body_base64"}. "cases" has "good";
"replayed", the same bytes again; "retried", the same event written and signed a
second time; "next", another event of the same moment; "wrong_secret"; "tampered";
"late", too old by a second; and "oldest", as old as it may be. It is null where
there is no such thing: no id of an event, nothing that could be wrong or
changed, no time that is judged.
"handshakes" are to be made in that order, before the cases; each has the "answer"
that the provider wants and the "verdict". "forgeries" are to be refused. "serve"
has what is fetched: {url: {"content_type", "body_base64"}}. "wants" has "status"
and "body" of the answer to an event, where the provider is choosy.
"""

import json
import sys
from typing import Any

from senders import general, keys, public_keys, templates, tokens, whole_body
from senders.base import HANDSHAKE, Moment, Provider, Request, b64, unsigned

MODULES = (general, public_keys, templates, tokens, whole_body)
SLUG = "<slug>"


def all_providers(now_ms: int) -> list[Provider]:
    """Every preset in every way that is known of it, by name."""
    found = [provider for module in MODULES for provider in module.providers(now_ms)]
    return sorted(found, key=lambda provider: provider.name)


def cases(provider: Provider, now_ms: int, url: str) -> dict[str, Request | None]:
    def at(label: str, ago_ms: int = 0) -> Moment:
        return Moment(url, now_ms - ago_ms, label)

    good = provider.send(at("good"))
    wrong_key = provider.wrong_key()
    has_id = provider.event(at("good")).id is not None
    tampers = provider.tamper is not None
    late_s = provider.tolerance_s
    return {
        "good": good,
        "replayed": good,
        "retried": provider.send_again(at("good", 1000)) if has_id else None,
        "next": provider.send(at("next")),
        "wrong_secret": wrong_key and provider.send(at("wrong"), wrong_key),
        "tampered": provider.tamper(provider.send(at("tampered"))) if tampers else None,
        "oldest": None if late_s is None else provider.send(at("oldest", late_s * 1000)),
        "late": None if late_s is None else provider.send(at("late", (late_s + 1) * 1000)),
    }


def forgeries(provider: Provider, at: Moment) -> dict[str, Request]:
    """Requests that nobody signed, and what else may be tried with that provider."""
    if provider.sign is unsigned:
        return {}
    return {"unsigned": provider.event(at).request, **provider.forgeries(provider, at)}


def described(provider: Provider, now_ms: int, url: str) -> dict[str, Any]:
    url = url.replace(SLUG, provider.slug)
    good = provider.event(Moment(url, now_ms, "good"))
    asking = Moment(url, now_ms, HANDSHAKE)
    forging = Moment(url, now_ms, "forged")
    requests = cases(provider, now_ms, url)
    return {
        "preset": provider.preset,
        "variant": provider.variant,
        "slug": provider.slug,
        "secrets": list(provider.told()),
        "settings": provider.settings,
        "signature": provider.signature,
        "event_type": good.type,
        "event_id": good.id,
        "wants": provider.wants,
        "cases": {name: request and request.as_json() for name, request in requests.items()},
        "handshakes": [one.as_json() for one in provider.handshakes(provider, asking)],
        "forgeries": [
            {"name": name, "request": request.as_json()}
            for name, request in forgeries(provider, forging).items()
        ],
        "serve": {
            url: {"content_type": content_type, "body_base64": b64(body)}
            for url, (content_type, body) in provider.serve.items()
        },
    }


def answer(asked: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(asked, list):
        return [one for each in asked for one in answer(each)]
    now_ms, url = asked["now_ms"], asked["url"]
    wanted = asked.get("preset")
    return [
        described(provider, now_ms, url)
        for provider in all_providers(now_ms)
        if wanted in (None, provider.preset)
    ]


def main() -> None:
    print(json.dumps({"anchors_pem": keys.authority_pem()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
