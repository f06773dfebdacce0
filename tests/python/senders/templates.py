"""Providers that sign more than the body, or other than the body."""

import hashlib
import json
from dataclasses import replace
from urllib.parse import parse_qsl

from .base import (
    Event,
    Handshake,
    Moment,
    Provider,
    Request,
    b64,
    form_request,
    json_request,
    mac,
    replacing,
)
from .whole_body import head_probe


def adyen_item(at: Moment, number: int) -> dict:
    item = {
        "additionalData": {"expiryDate": "12/2030", "authCode": "1234"},
        "amount": {"currency": "EUR", "value": 1130 + number},
        "eventCode": "AUTHORISATION",
        "eventDate": at.rfc3339("%Y-%m-%dT%H:%M:%S+01:00"),
        "merchantAccountCode": "TestMerchant",
        "merchantReference": f"TestPayment:{at.hex(8)}",
        "paymentMethod": "visa",
        "pspReference": f"{at.number()}{number}",
        "success": "true",
    }
    if number:
        item["originalReference"] = f"{at.number()}0"
    return {"NotificationRequestItem": item}


def adyen(at: Moment) -> Event:
    items = [adyen_item(at, number) for number in range(2)]
    return Event(json_request({"live": "false", "notificationItems": items}), "AUTHORISATION")


ADYEN_SIGNED = [
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "merchantReference",
    "value",
    "currency",
    "eventCode",
    "success",
]


def adyen_sign(key: str, _at: Moment, request: Request) -> Request:
    payload = json.loads(request.body)
    for outer in payload["notificationItems"]:
        item = outer["NotificationRequestItem"]
        texts = {**item, **item["amount"]}
        signed = ":".join(str(texts.get(name, "")) for name in ADYEN_SIGNED)
        signature = b64(mac(bytes.fromhex(key), signed))
        item["additionalData"]["hmacSignature"] = signature
    return json_request(payload)


def box(at: Moment) -> Event:
    payload = {
        "type": "webhook_event",
        "id": at.uuid(),
        "created_at": at.rfc3339("%Y-%m-%dT%H:%M:%S-08:00", zone_hours=-8),
        "trigger": "FILE.UPLOADED",
        "webhook": {"id": "53", "type": "webhook"},
        "source": {"id": str(at.number()), "type": "file", "name": "a/b & c.txt"},
    }
    return Event(json_request(payload), "FILE.UPLOADED", at.uuid())


def box_sign(key: tuple[str | None, str | None], at: Moment, request: Request) -> Request:
    # With the time zone as Box writes it.
    sent = at.rfc3339("%Y-%m-%dT%H:%M:%S-08:00", zone_hours=-8)
    signatures = [
        (f"BOX-SIGNATURE-{name}", b64(mac(secret, request.body, sent)))
        for name, secret in zip(("PRIMARY", "SECONDARY"), key, strict=True)
        if secret
    ]
    return request.plus(
        ("BOX-DELIVERY-ID", at.uuid()[::-1]),
        ("BOX-DELIVERY-TIMESTAMP", sent),
        ("BOX-SIGNATURE-VERSION", "1"),
        ("BOX-SIGNATURE-ALGORITHM", "HmacSHA256"),
        *signatures,
    )


DROPBOX_SIGN_EVENT = "signature_request_signed"


def dropbox_sign(at: Moment) -> Event:
    event = {
        "event_time": at.seconds,
        "event_type": DROPBOX_SIGN_EVENT,
        # Signed below.
        "event_hash": "",
        "event_metadata": {
            "related_signature_id": "ad4d8a769b555fa5ef38691465d426682bf2c992",
            "reported_for_account_id": "63522885f9261e2b04eea043933ee7313eb674fd",
            "reported_for_app_id": None,
        },
    }
    payload = {
        "event": event,
        "account_guid": "63522885f9261e2b04eea043933ee7313eb674fd",
        # The hash does not tell two of the same kind and second apart; this does.
        "signature_request": {"signature_request_id": at.hex(40), "title": "NDA – ☂"},
    }
    return Event(json_request(payload), DROPBOX_SIGN_EVENT)


def dropbox_sign_sign(key: str, _at: Moment, request: Request) -> Request:
    payload = json.loads(request.body)
    event = payload["event"]
    event["event_hash"] = mac(key, event["event_time"], event["event_type"]).hex()
    boundary = "------------------------d74496d66958873e"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="json"\r\n\r\n'
        f"{json.dumps(payload)}\r\n--{boundary}--\r\n"
    )
    content_type = ("Content-Type", f"multipart/form-data; boundary={boundary}")
    return Request(headers=(content_type,), body=body.encode())


def elevenlabs(at: Moment) -> Event:
    payload = {
        "type": "post_call_transcription",
        "event_timestamp": at.now_ms // 1000,
        "data": {"agent_id": "xyz", "conversation_id": at.hex(), "status": "done"},
    }
    return Event(json_request(payload), "post_call_transcription")


def elevenlabs_sign(key: str, at: Moment, request: Request) -> Request:
    signature = mac(key, at.seconds, ".", request.body).hex()
    return request.plus(("ElevenLabs-Signature", f"t={at.seconds},v0={signature}"))


def hubspot(at: Moment) -> Event:
    event = {
        "eventId": at.number(),
        "subscriptionId": 12345,
        "portalId": 62515,
        "appId": 54321,
        "occurredAt": at.now_ms,
        "subscriptionType": "contact.creation",
        "attemptNumber": 0,
        "objectId": 123,
        "changeFlag": "CREATED",
    }
    return Event(json_request([event]), "contact.creation")


def hubspot_query(at: Moment) -> Event:
    event = hubspot(at)
    return replace(event, request=replace(event.request, query="tag=a%3Ab%40c&n=1"))


def hubspot_sign(key: str, at: Moment, request: Request) -> Request:
    # Some escapes are undone before the URL is signed.
    query = request.query.replace("%3A", ":").replace("%40", "@")
    url = f"{at.url}?{query}" if query else at.url
    signature = b64(mac(key, request.method, url, request.body, at.millis))
    return request.plus(
        ("X-HubSpot-Signature-v3", signature),
        ("X-HubSpot-Request-Timestamp", at.millis),
        # The older one is sent along.
        ("X-HubSpot-Signature", hashlib.sha256(key.encode() + request.body).hexdigest()),
        ("X-HubSpot-Signature-Version", "v1"),
    )


def mailgun(at: Moment) -> Event:
    payload = {
        "signature": {"token": at.hex(50), "timestamp": at.seconds, "signature": ""},
        "event-data": {
            "event": "delivered",
            "id": at.hex(22),
            "timestamp": at.now_ms / 1000,
            "recipient": "alice@example.com",
        },
    }
    return Event(json_request(payload), "delivered", at.hex(50))


def mailgun_sign(key: str, _at: Moment, request: Request) -> Request:
    payload = json.loads(request.body)
    signed = payload["signature"]
    signed["signature"] = mac(key, signed["timestamp"], signed["token"]).hex()
    return json_request(payload)


def mailgun_tamper(request: Request) -> Request:
    """Its signature is of a token, not of the event: so the token is changed."""
    payload = json.loads(request.body)
    payload["signature"]["token"] = payload["signature"]["token"][::-1]
    return json_request(payload)


def paddle(at: Moment) -> Event:
    payload = {
        "event_id": f"evt_{at.hex(26)}",
        "event_type": "transaction.completed",
        "occurred_at": at.rfc3339("%Y-%m-%dT%H:%M:%S.123456Z"),
        "notification_id": f"ntf_{at.hex(26)}",
        "data": {"id": "txn_01", "status": "completed"},
    }
    return Event(json_request(payload), "transaction.completed", payload["event_id"])


def paddle_sign(key: str, at: Moment, request: Request) -> Request:
    signature = mac(key, at.seconds, ":", request.body).hex()
    return request.plus(("Paddle-Signature", f"ts={at.seconds};h1={signature}"))


def slack_sign(key: str, at: Moment, request: Request) -> Request:
    signature = mac(key, "v0:", at.seconds, ":", request.body).hex()
    return request.plus(
        ("X-Slack-Request-Timestamp", at.seconds), ("X-Slack-Signature", f"v0={signature}")
    )


def slack(at: Moment) -> Event:
    payload = {
        "token": "z26uFbvR1xHJEdHE1OQiO6t8",
        "team_id": "T123ABC456",
        "api_app_id": "A123ABC456",
        "event": {"type": "app_mention", "user": "U123ABC456", "text": "<@U0> 你好"},
        "type": "event_callback",
        "event_id": f"Ev{at.hex(9).upper()}",
        "event_time": at.now_ms // 1000,
    }
    return Event(json_request(payload), "app_mention", payload["event_id"])


def slack_interaction(at: Moment) -> Event:
    inner = {"type": "block_actions", "trigger_id": at.hex(), "actions": [{"value": "a b"}]}
    return Event(form_request({"payload": json.dumps(inner)}), "slack")


def slack_command(at: Moment) -> Event:
    fields = {"command": "/weather", "text": "94070 & more", "trigger_id": at.hex()}
    return Event(form_request(fields), "slack")


def slack_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    payload = {"token": "Jhj5", "challenge": at.hex(60), "type": "url_verification"}
    request = json_request(payload)
    return [
        Handshake("url_verification", slack_sign(provider.key, at, request), body=at.hex(60)),
        Handshake(
            "forged",
            slack_sign(provider.wrong_key(), at, request),
            status=401,
            body="Not accepted.",
            verdict="rejected",
        ),
    ]


def square(at: Moment) -> Event:
    payload = {
        "merchant_id": "6SSW7HV8K2ST5",
        "type": "payment.updated",
        "event_id": at.uuid(),
        "created_at": at.rfc3339("%Y-%m-%dT%H:%M:%S.123Z"),
        "data": {"type": "payment", "id": "hYy9pRFVxpDsO1FB05SunFWUe9JZY"},
    }
    return Event(json_request(payload), "payment.updated", at.uuid())


def square_sign(key: str, at: Moment, request: Request) -> Request:
    signature = b64(mac(key, at.url, request.body))
    return request.plus(("x-square-hmacsha256-signature", signature))


def stripe(at: Moment) -> Event:
    payload = {
        "id": f"evt_{at.hex(24)}",
        "object": "event",
        "api_version": "2026-10-28",
        "created": at.now_ms // 1000,
        "data": {"object": {"id": "pi_1", "object": "payment_intent", "amount": 2000}},
        "livemode": False,
        "type": "payment_intent.succeeded",
    }
    return Event(json_request(payload), "payment_intent.succeeded", payload["id"])


def stripe_sign(key: str, at: Moment, request: Request) -> Request:
    signature = mac(key, at.seconds, ".", request.body).hex()
    # While a secret is rolled there are two; v0 is only for tests.
    old = mac("whsec_of_before", at.seconds, ".", request.body).hex()
    value = f"t={at.seconds},v1={old},v1={signature},v0={'0' * 64}"
    return request.plus(("Stripe-Signature", value))


def trello(at: Moment) -> Event:
    action = {
        "id": at.hex(24),
        "type": "updateCard",
        "date": at.rfc3339("%Y-%m-%dT%H:%M:%S.917Z"),
        "data": {"card": {"name": "Webhooks ☂", "idShort": 1458}},
    }
    return Event(
        json_request({"action": action, "model": {"id": "4d5ea62f"}}), "updateCard", at.hex(24)
    )


def trello_sign(key: str, at: Moment, request: Request) -> Request:
    signature = b64(mac(key, request.body, at.url, digest="sha1"))
    return request.plus(("X-Trello-Webhook", signature))


def twilio(at: Moment) -> Event:
    fields = {
        "MessageSid": f"SM{at.hex()}",
        "AccountSid": "AC0123456789abcdef0123456789abcdef",
        "From": "+14158675309",
        "To": "+18005551212",
        "Body": "Ahoy, wörld & co",
        "ApiVersion": "2010-04-01",
    }
    return Event(form_request(fields), "twilio")


def twilio_sign(key: str, at: Moment, request: Request) -> Request:
    fields = sorted(set(parse_qsl(request.body.decode(), keep_blank_values=True)))
    text = at.url + "".join(name + value for name, value in fields)
    return request.plus(("X-Twilio-Signature", b64(mac(key, text, digest="sha1"))))


def twilio_json(at: Moment) -> Event:
    payload = {"sid": at.hex(), "specversion": "1.0", "data": {"to": "+18005551212"}}
    request = json_request(payload)
    query = f"bodySHA256={hashlib.sha256(request.body).hexdigest()}"
    return Event(replace(request, query=query), "twilio")


def twilio_json_sign(key: str, at: Moment, request: Request) -> Request:
    signature = b64(mac(key, f"{at.url}?{request.query}", digest="sha1"))
    return request.plus(("X-Twilio-Signature", signature))


SUBSCRIPTION = {
    "id": "f1c2a387-161a-49f9-a165-0f21d7a4e1c4",
    "type": "channel.follow",
    "version": "2",
    "status": "enabled",
    "condition": {"broadcaster_user_id": "12826"},
}


def twitch_request(at: Moment, kind: str, payload: dict) -> Request:
    return json_request(
        payload,
        ("Twitch-Eventsub-Message-Id", at.uuid()),
        ("Twitch-Eventsub-Message-Retry", "0"),
        ("Twitch-Eventsub-Message-Type", kind),
        ("Twitch-Eventsub-Subscription-Type", SUBSCRIPTION["type"]),
        ("Twitch-Eventsub-Subscription-Version", "2"),
    )


def twitch(at: Moment) -> Event:
    payload = {"subscription": SUBSCRIPTION, "event": {"user_name": "Cool_User"}}
    return Event(twitch_request(at, "notification", payload), "channel.follow", at.uuid())


def twitch_sign(key: str, at: Moment, request: Request) -> Request:
    sent = at.rfc3339("%Y-%m-%dT%H:%M:%S.%f626Z")
    signed = (request.header("Twitch-Eventsub-Message-Id"), sent, request.body)
    return request.plus(
        ("Twitch-Eventsub-Message-Timestamp", sent),
        ("Twitch-Eventsub-Message-Signature", f"sha256={mac(key, *signed).hex()}"),
    )


def twitch_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    kind = "webhook_callback_verification"
    payload = {"challenge": at.hex(40), "subscription": SUBSCRIPTION}
    request = twitch_request(at, kind, payload)
    headers = {"content-type": "text/plain; charset=utf-8"}
    good = twitch_sign(provider.key, at, request)
    return [
        Handshake(kind, good, body=at.hex(40), headers=headers),
        Handshake(
            "forged",
            twitch_sign(provider.wrong_key(), at, request),
            status=401,
            body="Not accepted.",
            verdict="rejected",
        ),
    ]


def webflow(at: Moment) -> Event:
    payload = {
        "triggerType": "form_submission",
        "payload": {"name": "Contact Us", "id": at.hex(24), "data": {"First Name": "Zaphod"}},
    }
    return Event(json_request(payload), "form_submission")


def webflow_sign(key: str, at: Moment, request: Request) -> Request:
    signature = mac(key, at.millis, ":", request.body).hex()
    return request.plus(("x-webflow-timestamp", at.millis), ("x-webflow-signature", signature))


def zendesk(at: Moment) -> Event:
    payload = {
        "type": "zen:event-type:ticket.created",
        "account_id": 22129848,
        "id": at.uuid(),
        "time": at.rfc3339(),
        "subject": "zen:ticket:5158",
        "event": {},
    }
    headers = [
        ("X-Zendesk-Account-Id", "22129848"),
        ("X-Zendesk-Webhook-Id", "01GH5Z0Z0Z"),
        ("X-Zendesk-Webhook-Invocation-Id", at.hex(26)),
    ]
    name = "zen.event-type.ticket.created"
    return Event(json_request(payload, *headers), name, at.hex(26))


def zendesk_sign(key: str, at: Moment, request: Request) -> Request:
    sent = at.rfc3339()
    return request.plus(
        ("X-Zendesk-Webhook-Signature", b64(mac(key, sent, request.body))),
        ("X-Zendesk-Webhook-Signature-Timestamp", sent),
    )


def zoom(at: Moment) -> Event:
    payload = {
        "event": "meeting.started",
        "payload": {
            "account_id": "AAAAAABBBB",
            "object": {"id": str(at.number()), "topic": "My Meeting – ☂"},
        },
        "event_ts": at.now_ms,
    }
    return Event(json_request(payload), "meeting.started")


def zoom_sign(key: str, at: Moment, request: Request) -> Request:
    signature = mac(key, "v0:", at.seconds, ":", request.body).hex()
    return request.plus(
        ("x-zm-request-timestamp", at.seconds), ("x-zm-signature", f"v0={signature}")
    )


def zoom_handshakes(provider: Provider, at: Moment) -> list[Handshake]:
    plain = at.hex(22)
    name = "endpoint.url_validation"
    payload = {"event": name, "payload": {"plainToken": plain}, "event_ts": at.now_ms}
    encrypted = mac(provider.key, plain).hex()
    forged = zoom_sign(provider.wrong_key(), at, json_request(payload))
    return [
        Handshake(
            name,
            zoom_sign(provider.key, at, json_request(payload)),
            body=json.dumps({"plainToken": plain, "encryptedToken": encrypted}),
            headers={"content-type": "application/json"},
        ),
        Handshake("forged", forged, status=401, body="Not accepted.", verdict="rejected"),
    ]


def providers(_now_ms: int) -> list[Provider]:
    slack_key = "8f742231b10e8888abcd99yyyzzz85a5"
    twilio_key = "0123456789abcdef0123456789abcdee"
    hubspot_key = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyz"
    box_keys = ("SamplePrimaryKey", "SampleSecondaryKey")
    return [
        # Signs no time.
        Provider(
            "adyen",
            adyen,
            adyen_sign,
            wants={"body": "[accepted]"},
            key="44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
            tamper=replacing(b'"value":1131', b'"value":9131'),
        ),
        Provider(
            "box",
            box,
            box_sign,
            key=box_keys,
            wrong=("another", "one more"),
            secrets=box_keys,
            tolerance_s=600,
        ),
        Provider(
            "box",
            box,
            box_sign,
            variant="secondary only",
            key=(None, box_keys[1]),
            wrong=(None, "another"),
            secrets=(box_keys[1],),
            tolerance_s=600,
        ),
        Provider(
            "box",
            box,
            box_sign,
            variant="primary only",
            key=(box_keys[0], None),
            wrong=("another", None),
            secrets=(box_keys[0],),
            tolerance_s=600,
        ),
        # Its time is signed, but no age is too old for it.
        Provider(
            "dropbox-sign",
            dropbox_sign,
            dropbox_sign_sign,
            wants={"status": 200, "body": "Hello API Event Received"},
            key="b9bc1ff8a9e0ad4f6a9d7a6d5e0c3f1b2a4d6e8f",
            tamper=replacing(DROPBOX_SIGN_EVENT.encode(), b"signature_request_sent"),
        ),
        Provider(
            "elevenlabs",
            elevenlabs,
            elevenlabs_sign,
            key="wsec_0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            tolerance_s=1800,
        ),
        Provider("hubspot", hubspot, hubspot_sign, key=hubspot_key, tolerance_s=300),
        Provider(
            "hubspot",
            hubspot_query,
            hubspot_sign,
            variant="query",
            key=hubspot_key,
            tolerance_s=300,
        ),
        # Says a time, but Mailgun tells not to be too strict with it: none is too old.
        Provider(
            "mailgun",
            mailgun,
            mailgun_sign,
            key="key-3ax6xnjp29jd6fds4gc373sgvjxteol0",
            tamper=mailgun_tamper,
        ),
        Provider(
            "paddle",
            paddle,
            paddle_sign,
            key="pdl_ntfset_01gkpjp8bkm3tm53kdgkx6sms7_6h3qd3uFSi9YCD3OLYAShQI90XTI5vEI",
            tolerance_s=300,
        ),
        Provider(
            "slack",
            slack,
            slack_sign,
            key=slack_key,
            tolerance_s=300,
            handshakes=slack_handshakes,
        ),
        Provider(
            "slack",
            slack_interaction,
            slack_sign,
            variant="interaction",
            key=slack_key,
            tolerance_s=300,
        ),
        Provider(
            "slack",
            slack_command,
            slack_sign,
            variant="command",
            key=slack_key,
            tolerance_s=300,
        ),
        # Signs no time, as do Trello and Twilio.
        Provider("square", square, square_sign, key="5TxfrP8kAvp7QtUmv3kDeQ"),
        Provider(
            "stripe",
            stripe,
            stripe_sign,
            key="whsec_wRNftLajMZNeslQOP6vEPm4iVx5NlZ6z",
            tolerance_s=300,
        ),
        Provider(
            "trello",
            trello,
            trello_sign,
            key="c56b7a8c1f0e4d3b9a2f5e6d7c8b9a0f1e2d3c4b",
            handshakes=head_probe,
        ),
        Provider("twilio", twilio, twilio_sign, key=twilio_key),
        Provider("twilio", twilio_json, twilio_json_sign, variant="JSON", key=twilio_key),
        Provider(
            "twitch",
            twitch,
            twitch_sign,
            key="s3cRe7-of-ten-to-100",
            tolerance_s=600,
            handshakes=twitch_handshakes,
        ),
        Provider(
            "webflow",
            webflow,
            webflow_sign,
            key="29a0a2d8b0b1a4d3c2b1a0f9e8d7c6b5",
            tolerance_s=300,
        ),
        Provider(
            "zendesk",
            zendesk,
            zendesk_sign,
            key="dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmc=",
            tolerance_s=300,
        ),
        Provider(
            "zoom",
            zoom,
            zoom_sign,
            key="FdCmYEpTTPuq5ofyeBQQwQ",
            tolerance_s=300,
            handshakes=zoom_handshakes,
        ),
    ]
