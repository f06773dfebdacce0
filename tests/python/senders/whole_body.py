"""Providers that sign the body as it is, and nothing else."""

import json

from . import base
from .base import (
    Event,
    Handshake,
    Moment,
    Provider,
    Request,
    b64,
    body_base64,
    body_hex,
    form_request,
    json_request,
    mac,
)


def asana(at: Moment) -> Event:
    change = {
        "user": {"gid": "12345", "resource_type": "user"},
        "resource": {"gid": str(at.number()), "resource_type": "task", "name": "Bug ☂"},
        "action": "changed",
        "created_at": at.rfc3339("%Y-%m-%dT%H:%M:%S.123Z"),
    }
    return Event(json_request({"events": [change]}), "asana")


def asana_handshakes(provider: Provider, _at: Moment) -> list[Handshake]:
    def told(secret: str) -> Request:
        return Request(headers=(base.JSON, ("X-Hook-Secret", secret)), body=b"{}")

    return [
        Handshake("X-Hook-Secret", told(provider.key), headers={"x-hook-secret": provider.key}),
        Handshake(
            "another secret",
            told("a stranger's"),
            status=403,
            body="Not accepted.",
            verdict="rejected",
        ),
    ]


def bitbucket(at: Moment) -> Event:
    payload = {
        "actor": {"display_name": "Zoë", "type": "user"},
        "repository": {"type": "repository", "full_name": "team/repo"},
        "push": {"changes": [{"new": {"type": "branch", "name": "main"}, "forced": False}]},
    }
    headers = [
        ("X-Event-Key", "repo:push"),
        ("X-Request-UUID", at.uuid()),
        ("X-Hook-UUID", "0d0cbb5a-4f3f-4b2e-8b54-2e9d1b0f2c11"),
        ("User-Agent", "Bitbucket-Webhooks/2.0"),
    ]
    return Event(json_request(payload, *headers), "repo.push", at.uuid())


def coinbase_commerce(at: Moment) -> Event:
    event = {
        "api_version": "2018-03-22",
        "created_at": at.rfc3339(),
        "data": {"code": "66BEOV2A", "pricing_type": "fixed_price"},
        "id": at.uuid(),
        "resource": "event",
        "type": "charge:confirmed",
    }
    payload = {"attempt_number": 1, "event": event, "id": at.number()}
    return Event(json_request(payload), "charge.confirmed", at.uuid())


def cursor(at: Moment) -> Event:
    payload = {
        "event": "statusChange",
        "timestamp": at.rfc3339(),
        "id": "bc_abc123",
        "status": "FINISHED",
        "source": {"repository": "https://github.com/example/repo", "ref": "main"},
    }
    headers = [
        ("X-Webhook-ID", f"msg_{at.hex()}"),
        ("X-Webhook-Event", "statusChange"),
        ("User-Agent", "Cursor-Agent-Webhook/1.0"),
    ]
    return Event(json_request(payload, *headers), "statusChange", f"msg_{at.hex()}")


def dropbox(at: Moment) -> Event:
    payload = {
        "list_folder": {"accounts": [f"dbid:{at.hex(30)}"]},
        "delta": {"users": [at.number()]},
    }
    return Event(json_request(payload), "dropbox")


def dropbox_handshakes(_provider: Provider, at: Moment) -> list[Handshake]:
    request = Request("GET", f"challenge={at.hex()}")
    headers = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
    return [Handshake("challenge", request, body=at.hex(), headers=headers)]


PUSH = {
    "ref": "refs/heads/main",
    "repository": {"id": 35129377, "full_name": "octo/☂"},
    "commits": [{"message": "It's done / no more", "added": []}],
}


def github_headers(at: Moment, event: str) -> list[tuple[str, str]]:
    return [
        ("X-GitHub-Delivery", at.uuid()),
        ("X-GitHub-Event", event),
        ("X-GitHub-Hook-ID", "292430182"),
        ("User-Agent", "GitHub-Hookshot/044aadd"),
    ]


def github(at: Moment) -> Event:
    payload = {**PUSH, "after": at.hex(40)}
    return Event(json_request(payload, *github_headers(at, "push")), "push", at.uuid())


def github_form(at: Moment) -> Event:
    inner = json_request({**PUSH, "after": at.hex(40)}).body.decode()
    request = form_request({"payload": inner}, *github_headers(at, "push"))
    return Event(request, "push", at.uuid())


def github_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    payload = {"zen": "Keep it logically awesome.", "hook_id": 292430182, "hook": {"active": True}}
    ping = json_request(payload, *github_headers(at, "ping"))
    return [
        Handshake("ping", provider.sign(provider.key, at, ping), body="OK"),
        Handshake("forged ping", ping, status=401, body="Not accepted.", verdict="rejected"),
    ]


def intercom(at: Moment) -> Event:
    payload = {
        "type": "notification_event",
        "app_id": "a86dr8yl",
        "data": {"type": "notification_event_data", "item": {"type": "contact", "id": "1"}},
        "id": f"notif_{at.uuid()}",
        "topic": "contact.user.created",
        "delivery_attempts": 1,
        "created_at": at.now_ms // 1000,
    }
    return Event(json_request(payload), "contact.user.created", f"notif_{at.uuid()}")


def head_probe(_provider: Provider, _at: Moment) -> list[Handshake]:
    return [Handshake("URL check by HEAD", Request("HEAD"))]


def jira(at: Moment) -> Event:
    payload = {
        "timestamp": at.now_ms,
        "webhookEvent": "jira:issue_updated",
        "issue": {"id": "99291", "key": "JRA-20002", "fields": {"summary": "I feel the need"}},
    }
    headers = [("X-Atlassian-Webhook-Identifier", at.hex()), ("User-Agent", "Atlassian HttpClient")]
    return Event(json_request(payload, *headers), "jira.issue_updated", at.hex())


def line(at: Moment) -> Event:
    message = {
        "type": "message",
        "message": {"type": "text", "id": str(at.number()), "text": "こんにちは"},
        "webhookEventId": at.hex(26).upper(),
        "deliveryContext": {"isRedelivery": False},
        "timestamp": at.now_ms,
        "source": {"type": "user", "userId": "U4af4980629"},
        "replyToken": "38ef843bde154d9b91c21320ffd17a0f",
        "mode": "active",
    }
    payload = {"destination": "xxxxxxxxxx", "events": [message]}
    return Event(json_request(payload), "message", message["webhookEventId"])


def line_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    request = json_request({"destination": "xxxxxxxxxx", "events": []})
    return [
        Handshake("verify button", provider.sign(provider.key, at, request), body="OK"),
        Handshake("unsigned", request, status=401, body="Not accepted.", verdict="rejected"),
    ]


def linear(at: Moment) -> Event:
    payload = {
        "action": "create",
        "type": "Issue",
        "createdAt": at.rfc3339(),
        "data": {"id": at.uuid(), "title": "Ship it – now", "priority": 1},
        "url": "https://linear.app/issue/LIN-1/ship-it",
        "webhookId": "000042e3-d123-4980-b49f-8e140eef9329",
        "webhookTimestamp": at.now_ms,
    }
    headers = [("Linear-Delivery", at.uuid()), ("Linear-Event", "Issue")]
    return Event(json_request(payload, *headers), "Issue", at.uuid())


def meta(at: Moment) -> Event:
    # Meta escapes what is not ASCII, and signs what it escaped.
    change = {"field": "messages", "value": {"text": "été 😀"}}
    entry = {"id": str(at.number()), "changes": [change]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]})
    request = Request(headers=(base.JSON,), body=body.encode())
    return Event(request, "whatsapp_business_account")


def meta_handshakes(provider: Provider, _at: Moment) -> list[Handshake]:
    def asked(verify_token: str) -> Request:
        query = f"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={verify_token}"
        return Request("GET", query)

    good = provider.settings["verifyToken"].replace(" ", "%20")
    return [
        Handshake("hub.challenge", asked(good), body="1158201444"),
        Handshake(
            "another's token",
            asked("guess"),
            status=403,
            body="Not accepted.",
            verdict="rejected",
        ),
    ]


def notion(at: Moment) -> Event:
    payload = {
        "id": at.uuid(),
        "timestamp": at.rfc3339(),
        "type": "page.content_updated",
        "entity": {"id": "153104cd-477e-809d-8dc4-ff2d96ae3090", "type": "page"},
        "attempt_number": 1,
    }
    return Event(json_request(payload), "page.content_updated", at.uuid())


def notion_handshakes(provider: Provider, _at: Moment) -> list[Handshake]:
    def told(secret: str) -> Request:
        return json_request({"verification_token": secret})

    return [
        Handshake("verification_token", told(provider.key), body="OK"),
        Handshake(
            "another token",
            told("secret_of_a_stranger"),
            status=403,
            body="Not accepted.",
            verdict="rejected",
        ),
    ]


def razorpay(at: Moment) -> Event:
    payload = {
        "entity": "event",
        "account_id": "acc_BFQ7uQEaa7j2z7",
        "event": "payment.captured",
        "contains": ["payment"],
        "payload": {"payment": {"entity": {"id": f"pay_{at.hex(14)}", "amount": 100}}},
        "created_at": at.now_ms // 1000,
    }
    headers = [("X-Razorpay-Event-Id", at.hex(14))]
    return Event(json_request(payload, *headers), "payment.captured", at.hex(14))


def shopify(at: Moment) -> Event:
    payload = {"id": at.number(), "email": "jon@example.com", "total_price": "598.94"}
    headers = [
        ("X-Shopify-Topic", "orders/create"),
        ("X-Shopify-Shop-Domain", "quickstart.myshopify.com"),
        ("X-Shopify-API-Version", "2026-10"),
        ("X-Shopify-Webhook-Id", at.uuid()),
        ("X-Shopify-Event-Id", at.uuid()),
        ("X-Shopify-Triggered-At", at.rfc3339()),
    ]
    return Event(json_request(payload, *headers), "orders.create", at.uuid())


def vercel(at: Moment) -> Event:
    payload = {
        "id": f"uev_{at.hex(24)}",
        "type": "deployment.succeeded",
        "createdAt": at.now_ms,
        "payload": {"deployment": {"id": "dpl_1", "name": "site", "url": "site.vercel.app"}},
        "region": "sfo1",
    }
    return Event(json_request(payload), "deployment.succeeded", payload["id"])


def woocommerce(at: Moment) -> Event:
    payload = {"id": 4750, "status": "completed", "currency": "CLP", "total": "20000"}
    headers = [
        ("X-WC-Webhook-Source", "https://shop.example.com/"),
        ("X-WC-Webhook-Topic", "order.created"),
        ("X-WC-Webhook-Resource", "order"),
        ("X-WC-Webhook-Event", "created"),
        ("X-WC-Webhook-ID", "3"),
        ("X-WC-Webhook-Delivery-ID", at.hex()),
    ]
    return Event(json_request(payload, *headers), "order.created", at.hex())


def woocommerce_handshakes(_provider: Provider, _at: Moment) -> list[Handshake]:
    return [Handshake("ping", form_request({"webhook_id": "3"}), body="OK")]


def x(at: Moment) -> Event:
    payload = {
        "for_user_id": "2244994945",
        "tweet_create_events": [{"id_str": str(at.number()), "text": "Hi 👋"}],
    }
    return Event(json_request(payload), "x")


def x_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    response = "sha256=" + b64(mac(provider.key, at.hex()))
    request = Request("GET", f"crc_token={at.hex()}")
    return [
        Handshake(
            "crc_token",
            request,
            body=f'{{"response_token":"{response}"}}',
            headers={"content-type": "application/json"},
        )
    ]


def xero(at: Moment) -> Event:
    event = {
        "resourceUrl": "https://api.xero.com/api.xro/2.0/Contacts/1",
        "resourceId": at.uuid(),
        "tenantId": "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f",
        "eventCategory": "CONTACT",
        "eventType": "UPDATE",
        "eventDateUtc": at.rfc3339("%Y-%m-%dT%H:%M:%S.917"),
    }
    sequence = at.number()
    payload = {"events": [event], "firstEventSequence": sequence, "lastEventSequence": sequence}
    return Event(json_request(payload), "CONTACT")


def xero_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    intent = json_request(
        {"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": "S0m3r4Nd0m"}
    )
    return [
        Handshake("intent to receive", provider.sign(provider.key, at, intent)),
        # Xero wants a 401 without a body.
        Handshake(
            "intent, signed by another",
            provider.sign(provider.wrong_key(), at, intent),
            status=401,
            verdict="rejected",
        ),
    ]


def providers(_now_ms: int) -> list[Provider]:
    hub_256 = body_hex("X-Hub-Signature-256", "sha256=")
    hub = body_hex("X-Hub-Signature", "sha256=")
    return [
        # Its secret, as Notion's, is told by the handshake.
        Provider(
            "asana",
            asana,
            body_hex("X-Hook-Signature"),
            key="b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81",
            secrets=(),
            handshakes=asana_handshakes,
        ),
        Provider("bitbucket", bitbucket, hub, key="It's a secret; 秘密"),
        Provider(
            "coinbase-commerce",
            coinbase_commerce,
            body_hex("X-CC-Webhook-Signature"),
            key="30291a20-0bd1-4267-9b0f-e6e7b123c0bf",
        ),
        Provider(
            "cursor",
            cursor,
            body_hex("X-Webhook-Signature", "sha256="),
            key="at-least-thirty-two-characters-long",
        ),
        Provider(
            "dropbox",
            dropbox,
            body_hex("X-Dropbox-Signature"),
            key="5kv2vzqeyyeu3f4",
            handshakes=dropbox_handshakes,
        ),
        Provider(
            "github",
            github,
            hub_256,
            key="It's a Secret to Everybody",
            handshakes=github_handshakes,
        ),
        Provider("github", github_form, hub_256, variant="form", key="It's a Secret to Everybody"),
        Provider(
            "intercom",
            intercom,
            body_hex("X-Hub-Signature", "sha1=", digest="sha1"),
            key="2bd55b05-0b2e-4d33-94c5-8e2e7fd4f8e1",
            handshakes=head_probe,
        ),
        Provider("jira", jira, hub, key="It's a Secret to Everybody"),
        Provider(
            "line",
            line,
            body_base64("x-line-signature"),
            key="8c570fa6dd201bb328f1c1eac23a96d8",
            handshakes=line_handshakes,
        ),
        Provider(
            "linear",
            linear,
            body_hex("Linear-Signature"),
            key="lin_wh_Qx1Jx3dS2iQYVuA",
            tolerance_s=60,
        ),
        Provider(
            "meta",
            meta,
            hub_256,
            key="0123456789abcdef0123456789abcdee",
            settings={"verifyToken": "meaty hamburgers"},
            handshakes=meta_handshakes,
        ),
        Provider(
            "notion",
            notion,
            body_hex("X-Notion-Signature", "sha256="),
            key="secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl",
            secrets=(),
            handshakes=notion_handshakes,
        ),
        Provider(
            "razorpay", razorpay, body_hex("X-Razorpay-Signature"), key="webhook_secret_of_ours"
        ),
        Provider(
            "shopify",
            shopify,
            body_base64("X-Shopify-Hmac-SHA256"),
            key="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",
        ),
        Provider(
            "vercel",
            vercel,
            body_hex("x-vercel-signature", digest="sha1"),
            key="Zm9vYmFyYmF6cXV4",
        ),
        Provider(
            "woocommerce",
            woocommerce,
            body_base64("X-WC-Webhook-Signature"),
            key="y$Kq|T7h(Ez 9p",
            handshakes=woocommerce_handshakes,
        ),
        Provider(
            "x",
            x,
            body_base64("x-twitter-webhooks-signature", "sha256="),
            key="kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
            handshakes=x_handshakes,
        ),
        Provider(
            "xero",
            xero,
            body_base64("x-xero-signature"),
            wants={"status": 200, "body": ""},
            key="RU0a6cX0Tg2hm3uvPlTk0zYpJHk5qv2Ci5N7p8rR4sY=",
            handshakes=xero_handshakes,
        ),
    ]
