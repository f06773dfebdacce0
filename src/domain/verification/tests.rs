//! Published vectors, and what each kind of scheme refuses. Every preset
//! against independent code: `tests/it/presets.rs`.

use std::sync::Arc;

use base64::Engine as _;

use super::*;
use crate::domain::signing::Headers;
use crate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn verifier(preset: &str, secrets: &[&str]) -> Verifier {
    let verification = Verification {
        preset: preset.to_owned(),
        secrets: secrets.iter().map(|text| Secret::new(*text)).collect(),
        ..Verification::default()
    };
    Verifier::new(&verification).unwrap_or_else(|refusals| panic!("{preset}: {refusals:?}"))
}

struct Sent<'a> {
    url: &'a str,
    headers: &'a [(&'a str, &'a [u8])],
    body: &'a [u8],
    now: Timestamp,
}

fn judge(verifier: &Verifier, sent: &Sent<'_>) -> Result<(), String> {
    let inbound = Inbound {
        method: "POST",
        url: sent.url,
        headers: Headers(sent.headers),
        body: sent.body,
        peer: None,
        now: sent.now,
    };
    let view = View::new(inbound, verifier.document_in());
    let fetched = |_: &KeyWanted| -> Option<Arc<[u8]>> { None };
    let around = Surroundings {
        fetched: &fetched,
        anchors: &[],
    };
    verifier
        .verify(&view, &around)
        .map_err(|unsettled| match unsettled {
            Unsettled::Rejected(reason) => reason.to_string(),
            Unsettled::Needs(wanted) => format!("needs {wanted:?}"),
        })
}

fn seconds(text: &str) -> Timestamp {
    Timestamp(text.parse::<u64>().unwrap() * 1000)
}

/// Preset, secret, request. Source: the providers' pages; Standard Webhooks.
fn published() -> Vec<(&'static str, &'static str, Sent<'static>)> {
    let form: &[(&str, &[u8])] = &[
        ("content-type", b"application/x-www-form-urlencoded"),
        ("x-twilio-signature", b"RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    ];
    vec![
        (
            "standard-webhooks",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            Sent {
                url: "https://h/in/s",
                headers: &[
                    ("webhook-id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
                    ("webhook-timestamp", b"1614265330"),
                    ("webhook-signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
                ],
                body: br#"{"test": 2432232314}"#,
                now: seconds("1614265330"),
            },
        ),
        (
            "github",
            "It's a Secret to Everybody",
            Sent {
                url: "https://h/in/s",
                headers: &[(
                    "x-hub-signature-256",
                    b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
                )],
                body: b"Hello, World!",
                now: NOW,
            },
        ),
        (
            "slack",
            "8f742231b10e8888abcd99yyyzzz85a5",
            Sent {
                url: "https://h/in/s",
                headers: &[
                    ("x-slack-request-timestamp", b"1531420618"),
                    (
                        "x-slack-signature",
                        b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
                    ),
                ],
                body: b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
                now: seconds("1531420618"),
            },
        ),
        (
            "twilio",
            "12345",
            Sent {
                url: "https://mycompany.com/myapp.php?foo=1&bar=2",
                headers: form,
                body: b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212",
                now: NOW,
            },
        ),
        (
            "box",
            "SamplePrimaryKey",
            Sent {
                url: "https://h/in/s",
                headers: &[
                    ("box-delivery-timestamp", b"2020-01-01T00:00:00-07:00"),
                    ("box-signature-primary", b"6TfeAW3A1PASkgboxxA5yqHNKOwFyMWuEXny/FPD5hI="),
                ],
                body: br#"{"type":"webhook_event","webhook":{"id":"1234567890"},"trigger":"FILE.UPLOADED","source":{"id":"1234567890","type":"file","name":"Test.txt"}}"#,
                now: Timestamp::parse_rfc3339("2020-01-01T07:00:00Z").unwrap(),
            },
        ),
        (
            "octohooks",
            "i9viqa5vxx78hcxh4rwdm8x7791",
            Sent {
                url: "https://h/in/s",
                headers: &[(
                    "x-signature",
                    b"t=1668595667,v1=c3d76cb53f8adb55f6437e6e200e177a58a4a77b428dd3f373a4a1b7ef41f853",
                )],
                body: br#"{"email":"foo.bar@example.com"}"#,
                now: seconds("1668595667"),
            },
        ),
        (
            "optech",
            "shhh",
            Sent {
                url: "https://h/in/s",
                headers: &[(
                    "x-optech-signature",
                    b"nVJlQArgV_x_qN2Y0Ca5fG5MfUC87u6Un49HHw-dNgo=",
                )],
                body: br#"{"data":{"a":1}}"#,
                now: NOW,
            },
        ),
    ]
}

#[test]
fn published_vectors_are_good() {
    for (preset, secret, sent) in published() {
        assert_eq!(
            judge(&verifier(preset, &[secret]), &sent),
            Ok(()),
            "{preset}"
        );
        // Any of several will do; none of others will.
        let rotated = verifier(preset, &[OTHER, secret]);
        assert_eq!(judge(&rotated, &sent), Ok(()), "{preset} rotated");
        let wrong = judge(&verifier(preset, &[OTHER]), &sent);
        assert!(wrong.unwrap_err().contains("secret"), "{preset} wrong");
        let longer = [sent.body, b" "].concat();
        let tampered = Sent {
            body: &longer,
            ..sent
        };
        assert!(
            judge(&verifier(preset, &[secret]), &tampered).is_err(),
            "{preset} tampered"
        );
    }
}

const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn what_is_wrong_is_said() {
    let good = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let github = verifier("github", &["It's a Secret to Everybody"]);
    for (value, want) in [
        (format!("sha256={good}"), ""),
        (format!("sha256={}", good.to_uppercase()), ""),
        (good.to_owned(), "does not begin with `sha256=`"),
        ("sha256=zz".to_owned(), "is not hex"),
        ("sha256=".to_owned(), "has 0 bytes, 32 are needed"),
        ("sha256=75".to_owned(), "has 1 bytes, 32 are needed"),
        (format!("sha256={good}00"), "has 33 bytes"),
        (format!("sha256={}", "00".repeat(32)), "no secret matches"),
    ] {
        let headers = [("X-Hub-Signature-256", value.as_bytes())];
        let sent = Sent {
            url: "https://h/in/s",
            headers: &headers,
            body: b"Hello, World!",
            now: NOW,
        };
        let got = judge(&github, &sent).err().unwrap_or_default();
        assert!(
            got.contains(want) && want.is_empty() == got.is_empty(),
            "{value}: {got}"
        );
    }
    let sent = Sent {
        url: "https://h/in/s",
        headers: &[],
        body: b"",
        now: NOW,
    };
    let missing = judge(&github, &sent).unwrap_err();
    assert_eq!(missing, "the header `x-hub-signature-256` is missing");
}

#[test]
fn times_are_judged_either_way() {
    let stripe = verifier("stripe", &["s"]);
    for (header, want) in [
        ("t=1699999588,v1=00", "412 s old"),
        ("t=1700000301,v1=00", "301 s in the future"),
        ("t=1699999700,v1=00", "has 1 bytes"),
        ("t=-1,v1=00", "not a whole number of seconds"),
        ("t=+1,v1=00", "not a whole number of seconds"),
        ("t=1e9,v1=00", "not a whole number of seconds"),
        ("t=,v1=00", "not a whole number of seconds"),
        ("t=9223372036854775808,v1=00", "in the future"),
        ("t=18446744073709551616,v1=00", "not a whole number"),
        ("t=1700000000000,v1=00", "in the future"),
        ("t=1700000000,t=1,v1=00", "more than once"),
        ("v1=00", "`t=` in the signature is missing"),
        ("t=1700000000,v0=00", "version that is known"),
    ] {
        let headers = [("stripe-signature", header.as_bytes())];
        let sent = Sent {
            url: "https://h/in/s",
            headers: &headers,
            body: b"{}",
            now: NOW,
        };
        let got = judge(&stripe, &sent).unwrap_err();
        assert!(got.contains(want), "{header}: {got}");
    }
}

#[test]
fn few_of_many_signatures_are_looked_at() {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s");
    let good = keys::encode_hex(ring::hmac::sign(&key, b"1700000000.{}").as_ref());
    let stripe = verifier("stripe", &["s"]);
    for (before, want) in [(0, true), (7, true), (8, false), (1000, false)] {
        let wrong = format!("v1={},", "00".repeat(32)).repeat(before);
        let header = format!("t=1700000000,{wrong}v1={good}");
        let headers = [("stripe-signature", header.as_bytes())];
        let sent = Sent {
            url: "https://h/in/s",
            headers: &headers,
            body: b"{}",
            now: NOW,
        };
        assert_eq!(judge(&stripe, &sent).is_ok(), want, "{before}");
    }
}

#[test]
fn a_body_that_the_url_signs_must_be_in_it() {
    let twilio = verifier("twilio", &["12345"]);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345");
    let body = br#"{"a":1}"#;
    let hash = keys::encode_hex(ring::digest::digest(&ring::digest::SHA256, body).as_ref());
    for (query, body, want) in [
        (format!("?bodySHA256={hash}"), &body[..], Ok(())),
        (
            format!("?bodySHA256={hash}"),
            &b"{}"[..],
            Err("hash was signed"),
        ),
        (String::new(), &body[..], Err("not covered")),
        (String::new(), &b""[..], Ok(())),
    ] {
        let url = format!("https://h/in/s{query}");
        let signature = keys::BASE64.encode(ring::hmac::sign(&key, url.as_bytes()).as_ref());
        let headers = [
            ("content-type", &b"application/json"[..]),
            ("x-twilio-signature", signature.as_bytes()),
        ];
        let sent = Sent {
            url: &url,
            headers: &headers,
            body,
            now: NOW,
        };
        match (judge(&twilio, &sent), want) {
            (Ok(()), Ok(())) => {}
            (Err(got), Err(want)) if got.contains(want) => {}
            (got, want) => panic!("{url}: {got:?}, not {want:?}"),
        }
    }
}

#[test]
fn recipes_of_owners_are_checked() {
    let recipe = |signed: &str| Recipe {
        place: Place::Header("x-sig".to_owned()),
        also: None,
        form: Form::Whole {
            prefix: String::new(),
        },
        algorithm: Algorithm::HmacSha256,
        encoding: Encoding::Hex,
        key: KeyForm::Text,
        signed: signed.to_owned(),
        timestamp: None,
        id: None,
        cover: Cover::Signed,
    };
    for (signed, want) in [
        ("{body}", None),
        ("{url}.{header:x-a}.{/a/b}.{method}.{body}", None),
        ("", Some("must have {body}")),
        ("{timestamp}.{body}", Some("timestamp")),
        ("{id}.{body}", Some("is missing")),
        ("{body", Some("not closed")),
        ("body}", Some("closing brace")),
        ("{body}{nonsense}", Some("none of")),
        ("{header:a b}{body}", Some("none of")),
    ] {
        let got = recipe(signed)
            .check()
            .err()
            .map(|refusal| format!("{} {}", refusal.field, refusal.detail));
        match (&got, want) {
            (None, None) => {}
            (Some(got), Some(want)) if got.contains(want) => {}
            _ => panic!("{signed}: {got:?}, not {want:?}"),
        }
    }
}

#[test]
fn addresses_may_be_limited() {
    let verification = Verification {
        preset: "none".to_owned(),
        ip_ranges: vec!["192.0.2.0/24".parse().unwrap()],
        ..Verification::default()
    };
    let verifier = Verifier::new(&verification).unwrap_or_else(|_| panic!("fits"));
    for (peer, want) in [
        (Some("192.0.2.7"), Ok(())),
        (Some("198.51.100.1"), Err(Reason::PeerNotAllowed)),
        (None, Err(Reason::PeerUnknown)),
    ] {
        let inbound = Inbound {
            method: "POST",
            url: "https://h/in/s",
            headers: Headers(&[]),
            body: b"",
            peer: peer.map(|text| text.parse().unwrap()),
            now: NOW,
        };
        assert_eq!(
            verifier.check_peer(&View::new(inbound, DocumentIn::Body)),
            want,
            "{peer:?}"
        );
    }
}
