"""Providers that sign nothing, but show what both know."""

import json
from dataclasses import replace
from urllib.parse import quote

from .base import (
    JSON,
    Event,
    Handshake,
    Moment,
    Provider,
    Request,
    basic,
    cut,
    cut_password,
    json_request,
    token,
)


def event_grid(at: Moment) -> Event:
    event = {
        "id": at.uuid(),
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "subject": "/blobServices/default/containers/c/blobs/new.txt",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": at.rfc3339("%Y-%m-%dT%H:%M:%S.1234567Z"),
        "data": {"api": "PutBlob", "contentLength": 6},
        "dataVersion": "",
        "metadataVersion": "1",
    }
    headers = [("aeg-event-type", "Notification"), ("aeg-delivery-count", "0")]
    return Event(json_request([event], *headers), "Microsoft.Storage.BlobCreated", at.uuid())


def event_grid_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    kind = "Microsoft.EventGrid.SubscriptionValidationEvent"
    code = at.uuid().upper()
    question = {"id": at.uuid(), "eventType": kind, "data": {"validationCode": code}}
    asked = json_request([question], ("aeg-event-type", "SubscriptionValidation"))
    origin = "eventemitter.example.com"
    options = Request("OPTIONS", headers=(("WebHook-Request-Origin", origin),))
    return [
        Handshake(
            "SubscriptionValidation",
            provider.sign(provider.key, at, asked),
            body=json.dumps({"validationResponse": code}),
            headers={"content-type": "application/json"},
        ),
        Handshake(
            "without the secret", asked, status=401, body="Not accepted.", verdict="rejected"
        ),
        Handshake(
            "CloudEvents validation by OPTIONS",
            options,
            headers={"webhook-allowed-origin": origin, "webhook-allowed-rate": "*"},
        ),
    ]


def chargebee(at: Moment) -> Event:
    payload = {
        "id": f"ev_{at.hex(20)}",
        "occurred_at": at.now_ms // 1000,
        "source": "admin_console",
        "object": "event",
        "api_version": "v2",
        "event_type": "subscription_created",
        "content": {"subscription": {"id": "sub_1", "status": "active"}},
    }
    return Event(json_request(payload), "subscription_created", payload["id"])


def deepgram(at: Moment) -> Event:
    payload = {
        "metadata": {"request_id": at.uuid(), "duration": 25.9, "channels": 1},
        "results": {"channels": [{"alternatives": [{"transcript": "yeah"}]}]},
    }
    return Event(json_request(payload), "deepgram", at.uuid())


def gitlab(at: Moment) -> Event:
    payload = {
        "object_kind": "push",
        "event_name": "push",
        "ref": "refs/heads/main",
        "checkout_sha": at.hex(40),
        "project": {"id": 15, "path_with_namespace": "mike/diaspora"},
    }
    headers = [
        ("X-Gitlab-Event", "Push Hook"),
        ("X-Gitlab-Event-UUID", at.uuid()[::-1]),
        ("X-Gitlab-Webhook-UUID", "02affd2d-2cba-4033-917d-ec22d5dc4b38"),
        ("Idempotency-Key", at.uuid()),
        ("User-Agent", "GitLab/19.4.0"),
    ]
    return Event(json_request(payload, *headers), "push", at.uuid())


def microsoft_graph(at: Moment) -> Event:
    changes = [
        {
            "subscriptionId": at.uuid(),
            "subscriptionExpirationDateTime": at.rfc3339("%Y-%m-%dT%H:%M:%S.0000000Z"),
            "changeType": "updated",
            "resource": f"Users/ddfcd489/Messages/{number}",
            "tenantId": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
        }
        for number in range(2)
    ]
    return Event(json_request({"value": changes}), "updated")


def microsoft_graph_sign(key: str, _at: Moment, request: Request) -> Request:
    payload = json.loads(request.body)
    for change in payload["value"]:
        change["clientState"] = key
    return json_request(payload)


def microsoft_graph_tamper(request: Request) -> Request:
    """One change of several is somebody else's."""
    payload = json.loads(request.body)
    payload["value"][1]["clientState"] = "somebody else's"
    return replace(request, body=json.dumps(payload).encode())


def microsoft_graph_handshakes(_provider: Provider, at: Moment) -> list[Handshake]:
    asked = f"Validation: Testing client application reachability for {at.hex()} ü/+"
    text = ("Content-Type", "text/plain; charset=utf-8")
    request = Request(query=f"validationToken={quote(asked)}", headers=(text,))
    headers = {"content-type": "text/plain; charset=utf-8"}
    return [Handshake("validationToken", request, body=asked, headers=headers)]


def okta(at: Moment) -> Event:
    event = {"uuid": at.uuid(), "eventType": "user.account.lock", "severity": "DEBUG"}
    payload = {
        "eventType": "com.okta.event_hook",
        "eventTypeVersion": "1.0",
        "cloudEventsVersion": "0.1",
        "eventId": at.uuid(),
        "source": "https://example.okta.com/api/v1/eventHooks/whoql0HfiLGPWc8Jx0g3",
        "data": {"events": [event]},
        "eventTime": at.rfc3339("%Y-%m-%dT%H:%M:%S.123Z"),
    }
    return Event(json_request(payload), "user.account.lock", at.uuid())


def okta_handshakes(_provider: Provider, at: Moment) -> list[Handshake]:
    asked = Request("GET", headers=(JSON, ("X-Okta-Verification-Challenge", at.hex())))
    return [
        Handshake(
            "X-Okta-Verification-Challenge",
            asked,
            body=json.dumps({"verification": at.hex()}),
            headers={"content-type": "application/json"},
        )
    ]


def postmark(at: Moment) -> Event:
    payload = {
        "RecordType": "Delivery",
        "ServerID": 23,
        "MessageStream": "outbound",
        "MessageID": at.uuid(),
        "Recipient": "john@example.com",
        "DeliveredAt": at.rfc3339(),
    }
    return Event(json_request(payload, ("User-Agent", "Postmark")), "Delivery")


def providers(_now_ms: int) -> list[Provider]:
    """None of them says a time that is judged."""
    return [
        Provider(
            "azure-event-grid",
            event_grid,
            token("x-api-secret"),
            key="6d5c6a4d-2c33-4f2c",
            tamper=cut("x-api-secret"),
            handshakes=event_grid_handshakes,
        ),
        Provider("chargebee", chargebee, basic, key="webhooks:p4ss:word", tamper=cut_password),
        Provider("deepgram", deepgram, basic, key="deepgram:s3cret", tamper=cut_password),
        Provider(
            "gitlab",
            gitlab,
            token("X-Gitlab-Token"),
            key="glwht-0123456789",
            tamper=cut("X-Gitlab-Token"),
        ),
        Provider(
            "microsoft-graph",
            microsoft_graph,
            microsoft_graph_sign,
            wants={"status": 202},
            key="secretClientValue",
            tamper=microsoft_graph_tamper,
            handshakes=microsoft_graph_handshakes,
        ),
        Provider(
            "okta",
            okta,
            token("Authorization"),
            key="my-event-hook-key",
            tamper=cut("Authorization"),
            handshakes=okta_handshakes,
        ),
        Provider("postmark", postmark, basic, key="postmark:s3cret", tamper=cut_password),
    ]
