//! Schemes whose header the owner names: optech, and those made of parts.

use super::*;

const TEXT: &str = "shhh";
const SLACK: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const SLACK_TIME_S: u64 = 1_531_420_618;
const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

fn optech() -> Scheme {
    Scheme::Optech {
        header: OPTECH_HEADER.to_owned(),
    }
}

fn custom(template: &str, encoding: Encoding, prefix: &str) -> Scheme {
    Scheme::Custom(CustomScheme {
        header: "X-Acme-Signature".to_owned(),
        template: Template::to_sign(template).unwrap(),
        encoding,
        prefix: Template::prefix(prefix).unwrap(),
    })
}

/// Every value of the scheme's header.
fn values(scheme: &Scheme, texts: &[&str], time_s: u64, body: &str) -> Vec<String> {
    let schemes = std::slice::from_ref(scheme);
    let parts = SignedParts::sign(schemes, &secrets(texts), ID, time_s, body.as_bytes());
    let headers = parts.headers(ID).into_iter();
    let own = headers.filter(|(name, _)| Some(*name) == scheme.header());
    own.map(|(_, value)| value).collect()
}

#[test]
fn optech_signatures_are_those_of_the_vectors() {
    for (body, want) in [
        (
            r#"{"data":{"a":1}}"#,
            "nVJlQArgV_x_qN2Y0Ca5fG5MfUC87u6Un49HHw-dNgo=",
        ),
        ("", "MA2FfMDLHShFJO1A_7PcgkzrigM0a77r46x-c5Ja_ng="),
    ] {
        assert_eq!(values(&optech(), &[TEXT], TIME_S, body), [want], "{body}");
    }
}

#[test]
fn optech_takes_the_newest_shared_secret_and_its_whole_text() {
    let one = |texts: &[&str]| values(&optech(), texts, TIME_S, BODY);
    assert_eq!(one(&[TEXT, SECRET]), one(&[TEXT]));
    assert_eq!(one(&[KEY_PAIR, TEXT, SECRET]), one(&[TEXT]));
    assert_eq!(one(&[KEY_PAIR]), [""; 0]);
    let mac = mac(SECRET.as_bytes(), &[BODY.as_bytes()]);
    assert_eq!(one(&[SECRET]), [URL_SAFE.encode(mac)]);
}

#[test]
fn custom_schemes_give_the_signatures_that_others_publish() {
    use Encoding::{Base64, Hex};
    for (template, encoding, prefix, secret, time_s, body, want) in [
        // Slack, "Verifying requests".
        (
            "v0:{timestamp}:{body}",
            Hex,
            "v0=",
            SLACK,
            SLACK_TIME_S,
            SLACK_BODY,
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
        // GitHub, "Validating webhook deliveries".
        (
            "{body}",
            Hex,
            "sha256=",
            "It's a Secret to Everybody",
            TIME_S,
            "Hello, World!",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        ),
        // What stands in X-Signature under the Octohooks scheme.
        (
            "{timestamp}.{body}",
            Hex,
            "t={timestamp},v1=",
            OCTO_SECRET,
            OCTO_TIME_S,
            OCTO_BODY,
            &format!("t={OCTO_TIME_S},v1={OCTO_HEX}"),
        ),
        // By Python's hmac.
        (
            "{id}.{timestamp}.{body}",
            Base64,
            "",
            TEXT,
            TIME_S,
            BODY,
            "OLNDUrm/qt8hla1GMFYMWDms9nC6znxo5wz/G8st5Og=",
        ),
        (
            "v0:{timestamp}:{body}",
            Hex,
            "id={id} ",
            SECRET,
            TIME_S,
            BODY,
            &format!("id={ID} cddefca50684fde6ab7a4b4868a953cc180e93a68f4ad4f0a13b91731cd987fa"),
        ),
    ] {
        let scheme = custom(template, encoding, prefix);
        assert_eq!(values(&scheme, &[secret], time_s, body), [want]);
    }
}

#[test]
fn custom_schemes_have_a_line_for_each_shared_secret_newest_first() {
    let scheme = custom("{body}", Encoding::Hex, "sha256=");
    let lines = values(&scheme, &[TEXT, KEY_PAIR, SECRET], TIME_S, BODY);
    let one = |text| values(&scheme, &[text], TIME_S, BODY).remove(0);
    assert_eq!(lines, [one(TEXT), one(SECRET)]);
    assert_eq!(values(&scheme, &[KEY_PAIR], TIME_S, BODY), [""; 0]);
}

#[test]
fn what_is_signed_and_not_shown_goes_out_in_headers_of_its_own() {
    let names = |schemes: &[Scheme]| {
        let parts = SignedParts::sign(schemes, &secrets(&[TEXT]), ID, TIME_S, b"");
        let headers = parts.headers(ID).into_iter();
        headers.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let with = |template, prefix| custom(template, Encoding::Hex, prefix);
    let told = ["webhook-id", "webhook-timestamp", "X-Acme-Signature"];
    for (scheme, want) in [
        (with("{body}", ""), &told[2..]),
        (with("{timestamp}.{body}", "sha256="), &told),
        (with("{id}{body}", "t={timestamp},"), &told),
        (with("{timestamp}.{body}", "t={timestamp},"), &told[2..]),
        (with("{body}", "{id}{timestamp}"), &told[2..]),
    ] {
        assert_eq!(names(&[scheme]), want);
    }
    // The standard scheme has them already.
    let both = names(&[with("{id}{body}", ""), Scheme::Standard]);
    assert_eq!(both.len(), 7);
    assert_eq!(both.iter().filter(|name| *name == "webhook-id").count(), 1);
}

#[test]
fn stored_named_signatures_give_the_same_headers_again() {
    let schemes = [
        optech(),
        custom("{id}.{body}", Encoding::Base64, "{timestamp} "),
        Scheme::Standard,
    ];
    let all = secrets(&[SECRET, TEXT]);
    let parts = SignedParts::sign(&schemes, &all, ID, TIME_S, b"body");
    let bytes = postcard::to_stdvec(&parts).unwrap();
    let back: SignedParts = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(back.headers(ID), parts.headers(ID));
    assert_eq!(parts.headers(ID).len(), 6 + 1 + 2);
}

struct Given<'a> {
    scheme: Scheme,
    key: &'a str,
    lines: Vec<String>,
    more: Vec<(&'a str, &'a str)>,
    now_s: u64,
    body: &'a str,
}

impl Given<'_> {
    fn verify(&self) -> Result<(), VerifyError> {
        let name = self.scheme.header().unwrap().to_ascii_lowercase();
        let lines = self.lines.iter().map(|line| (&*name, line.as_bytes()));
        let more = self.more.iter().map(|(name, v)| (*name, v.as_bytes()));
        let headers: Vec<_> = lines.chain(more).collect();
        let headers = Headers(&headers);
        let body = self.body.as_bytes();
        verify_header(
            &keys(&[self.key]),
            &self.scheme,
            headers,
            body,
            self.now_s,
            TOLERANCE_S,
        )
    }
}

fn given(scheme: Scheme, texts: &[&str]) -> Given<'static> {
    Given {
        lines: values(&scheme, texts, TIME_S, BODY),
        scheme,
        key: TEXT,
        more: Vec::new(),
        now_s: TIME_S,
        body: BODY,
    }
}

#[test]
fn optech_lines_pass_or_fail_for_the_exact_reason() {
    use VerifyError::{NoSecretMatches, SignatureMalformed, SignatureMissing};
    let valid = values(&optech(), &[TEXT], TIME_S, BODY).remove(0);
    let line = |lines: &[&str]| {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        let given = Given {
            lines,
            ..given(optech(), &[])
        };
        given.verify()
    };
    assert_eq!(line(&[&valid]), Ok(()));
    assert_eq!(line(&["AAAA", &valid]), Ok(()));
    assert_eq!(line(&[]), Err(SignatureMissing));
    for malformed in [
        "",
        "AAAA",
        &valid[..43],
        &valid[1..],
        &format!("{valid}="),
        &format!(" {valid}"),
        &valid.replace('_', "/").replace('-', "+"),
        &"%".repeat(44),
    ] {
        assert_eq!(line(&[malformed]), Err(SignatureMalformed), "{malformed}");
    }
    let other = values(&optech(), &[SECRET], TIME_S, BODY).remove(0);
    assert_eq!(line(&[&other]), Err(NoSecretMatches));
    let mut crowd = vec![other.as_str(); SIGNATURES_READ_MAX];
    crowd.push(&valid);
    assert_eq!(line(&crowd), Err(NoSecretMatches));
    assert_eq!(line(&crowd[1..]), Ok(()));
    // There is no time in it, so any time will do.
    let late = Given {
        now_s: u64::MAX,
        ..given(optech(), &[TEXT])
    };
    assert_eq!(late.verify(), Ok(()));
    let changed = Given {
        body: "{}",
        ..given(optech(), &[TEXT])
    };
    assert_eq!(changed.verify(), Err(NoSecretMatches));
}

#[test]
fn custom_lines_are_checked_with_the_id_and_the_time_they_show() {
    use VerifyError::{
        HeaderMissing, NoSecretMatches, SignatureMalformed, TimestampNotANumber, TimestampTooOld,
    };
    let shows = || {
        custom(
            "{id}.{timestamp}.{body}",
            Encoding::Hex,
            "t={timestamp},i={id},v1=",
        )
    };
    let hides = || custom("{id}.{timestamp}.{body}", Encoding::Base64, "sha256=");
    let told = || vec![("webhook-id", ID), ("Webhook-Timestamp", TIME)];
    for (what, given, want) in [
        ("shown", given(shows(), &[TEXT]), Ok(())),
        ("older", given(shows(), &[SECRET, TEXT]), Ok(())),
        ("other", given(shows(), &[SECRET]), Err(NoSecretMatches)),
        (
            "late",
            Given {
                now_s: TIME_S + TOLERANCE_S + 1,
                ..given(shows(), &[TEXT])
            },
            Err(TimestampTooOld {
                age_s: TOLERANCE_S + 1,
                tolerance_s: TOLERANCE_S,
            }),
        ),
        (
            "another time",
            Given {
                lines: vec![
                    values(&shows(), &[TEXT], TIME_S, BODY)[0]
                        .replace("t=1614265330", "t=1614265331"),
                ],
                ..given(shows(), &[TEXT])
            },
            Err(NoSecretMatches),
        ),
        (
            "another id",
            Given {
                lines: vec![
                    values(&shows(), &[TEXT], TIME_S, BODY)[0].replace("i=msg_p", "i=msg_q"),
                ],
                ..given(shows(), &[TEXT])
            },
            Err(NoSecretMatches),
        ),
        (
            "no time",
            Given {
                lines: vec![format!("t=,i={ID},v1={}", "0".repeat(64))],
                ..given(shows(), &[])
            },
            Err(TimestampNotANumber),
        ),
        (
            "another prefix",
            Given {
                lines: vec![format!("x={TIME},i={ID},v1={}", "0".repeat(64))],
                ..given(shows(), &[])
            },
            Err(SignatureMalformed),
        ),
        (
            "told by headers",
            Given {
                more: told(),
                ..given(hides(), &[TEXT])
            },
            Ok(()),
        ),
        (
            "not told",
            given(hides(), &[TEXT]),
            Err(HeaderMissing { name: "webhook-id" }),
        ),
        (
            "told otherwise",
            Given {
                more: vec![("webhook-id", "msg_1"), ("webhook-timestamp", TIME)],
                ..given(hides(), &[TEXT])
            },
            Err(NoSecretMatches),
        ),
        (
            "a key that is no shared secret",
            Given {
                key: PUBLIC_KEY,
                ..given(shows(), &[TEXT])
            },
            Err(NoSecretMatches),
        ),
    ] {
        assert_eq!(given.verify(), want, "{what}");
    }
}

fn any_custom() -> impl Strategy<Value = Scheme> {
    let text = || "[a-z.:=]{0,4}";
    let place = || prop_oneof![Just(""), Just("{id}"), Just("{timestamp}")];
    let encoding = prop_oneof![Just(Encoding::Hex), Just(Encoding::Base64)];
    (
        text(),
        place(),
        text(),
        place(),
        text(),
        encoding,
        place(),
        text(),
    )
        .prop_map(|(a, one, b, two, c, encoding, shown, end)| {
            let template = format!("{a}{one}{b}{{body}}{c}{two}");
            custom(&template, encoding, &format!("{a}{shown}={end}"))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_custom_scheme_signs_verifies_until_something_changes(
        scheme in any_custom(),
        id in "msg_[a-zA-Z0-9]{1,30}",
        time_s in 1000_u64..u64::MAX / 2,
        body in prop::collection::vec(any::<u8>(), 1..300),
        at in any::<prop::sample::Index>(),
    ) {
        let all = secrets(&[SECRET, KEY_PAIR, TEXT]);
        let schemes = std::slice::from_ref(&scheme);
        let parts = SignedParts::sign(schemes, &all, &id, time_s, &body);
        let headers = parts.headers(&id);
        let given: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        let verify = |key: &str, body: &[u8]| {
            verify_header(&keys(&[key]), &scheme, Headers(&given), body, time_s, TOLERANCE_S)
        };
        for text in [SECRET, TEXT] {
            prop_assert_eq!(verify(text, &body), Ok(()));
        }
        prop_assert!(verify("another", &body).is_err());
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1;
        prop_assert!(verify(TEXT, &changed).is_err());
    }

    #[test]
    fn any_line_is_refused_without_a_panic(scheme in any_custom(), line in any::<Vec<u8>>()) {
        let headers = [("x-acme-signature", &line[..]), ("webhook-id", b"m"), ("webhook-timestamp", b"1")];
        let verdict = verify_header(&keys(&[TEXT]), &scheme, Headers(&headers), b"", 1, 1);
        prop_assert!(verdict.is_err());
    }
}
