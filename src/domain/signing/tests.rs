//! Signing, rendering and checking against published vectors.

mod named;

use proptest::prelude::*;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME_S: u64 = 1_614_265_330;
const TIME: &str = "1614265330";
const BODY: &str = r#"{"test": 2432232314}"#;
const VALID: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const OTHER: &str = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";

const KEY_PAIR: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const VALID_V1A: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

const OCTO_SECRET: &str = "i9viqa5vxx78hcxh4rwdm8x7791";
const OCTO_BODY: &str = r#"{"email":"foo.bar@example.com"}"#;
const OCTO_TIME_S: u64 = 1_668_595_667;
const OCTO_HEX: &str = "c3d76cb53f8adb55f6437e6e200e177a58a4a77b428dd3f373a4a1b7ef41f853";

const TOLERANCE_S: u64 = 300;

fn secrets(texts: &[&str]) -> Vec<SigningSecret> {
    texts
        .iter()
        .map(|text| SigningSecret::parse(text).unwrap())
        .collect()
}

fn keys(texts: &[&str]) -> Vec<VerifyKey> {
    texts
        .iter()
        .map(|text| VerifyKey::parse(text).unwrap())
        .collect()
}

fn header(headers: &[(&str, String)], name: &str) -> String {
    let (_, value) = headers.iter().find(|(given, _)| *given == name).unwrap();
    value.clone()
}

fn standard(texts: &[&str], id: &str, time_s: u64, body: &str) -> String {
    let parts = SignedParts::sign(
        &[Scheme::Standard],
        &secrets(texts),
        id,
        time_s,
        body.as_bytes(),
    );
    header(&parts.headers(id), "webhook-signature")
}

/// What the vector's body and id give with these header values, at `TIME_S`.
fn verify_values(key: &str, id: &str, time: &str, signature: &str) -> Result<(), VerifyError> {
    let headers = [
        ("webhook-id", id.as_bytes()),
        ("webhook-timestamp", time.as_bytes()),
        ("webhook-signature", signature.as_bytes()),
    ];
    verify_headers(key, &headers)
}

fn verify_headers(key: &str, headers: &[(&str, &[u8])]) -> Result<(), VerifyError> {
    let body = BODY.as_bytes();
    verify_standard(&keys(&[key]), Headers(headers), body, TIME_S, TOLERANCE_S).map(|_| ())
}

#[test]
fn signatures_are_those_of_the_published_vectors() {
    for (secret, id, time_s, body, want) in [
        (SECRET, ID, TIME_S, BODY, VALID),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (KEY_PAIR, ID, TIME_S, BODY, VALID_V1A),
    ] {
        assert_eq!(standard(&[secret], id, time_s, body), want, "{id} {want}");
    }
}

#[test]
fn octohooks_header_is_that_of_the_published_vector() {
    let body = OCTO_BODY.as_bytes();
    let secrets = secrets(&[OCTO_SECRET]);
    let parts = SignedParts::sign(&[Scheme::Octohooks], &secrets, ID, OCTO_TIME_S, body);
    let want = format!("t={OCTO_TIME_S},v1={OCTO_HEX}");
    assert_eq!(parts.headers(ID), [("x-signature", want)]);
}

#[test]
fn plain_text_signs_like_its_whsec_form() {
    let secret = SigningSecret::parse("shhh").unwrap();
    assert!(secret.is_plain_text());
    assert_eq!(secret.public_form(), "whsec_c2hoaA==");
    let form = secret.public_form();
    assert_eq!(
        standard(&["shhh"], ID, TIME_S, BODY),
        standard(&[&form], ID, TIME_S, BODY)
    );
}

#[test]
fn octohooks_takes_the_whole_text_of_a_whsec_secret() {
    let sign = |text: &str| {
        let secrets = secrets(&[text]);
        SignedParts::sign(&[Scheme::Octohooks], &secrets, ID, TIME_S, b"").octohooks
    };
    let text = [TIME.as_bytes(), b"."];
    assert_eq!(sign(SECRET), [mac(SECRET.as_bytes(), &text)]);
    assert_eq!(sign(KEY_PAIR), [[0; 32]; 0]);
}

#[test]
fn every_secret_signs_under_every_scheme_newest_first() {
    let all = secrets(&[SECRET, KEY_PAIR, OCTO_SECRET]);
    let parts = SignedParts::sign(&Scheme::DEFAULT, &all, ID, TIME_S, BODY.as_bytes());
    let headers = parts.headers(ID);
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "svix-id",
            "svix-timestamp",
            "svix-signature",
            "x-signature",
        ]
    );
    let plain = standard(&[OCTO_SECRET], ID, TIME_S, BODY);
    for family in ["webhook", "svix"] {
        let value = |name: &str| header(&headers, &format!("{family}-{name}"));
        assert_eq!(value("id"), ID);
        assert_eq!(value("timestamp"), TIME);
        assert_eq!(value("signature"), format!("{VALID} {VALID_V1A} {plain}"));
    }
    let value = header(&headers, "x-signature");
    let parts: Vec<_> = value.split(',').collect();
    assert_eq!(parts.len(), 3, "{value}");
    assert_eq!(parts[0], "t=1614265330");
    assert!(
        parts[1..].iter().all(|part| part.len() == 3 + 64),
        "{value}"
    );
    for old in [SECRET, OCTO_SECRET] {
        let value = value.as_bytes();
        let verdict = verify_octohooks(&keys(&[old]), value, BODY.as_bytes(), TIME_S, 5);
        assert_eq!(verdict, Ok(()));
    }
}

#[test]
fn nothing_signed_gives_no_headers() {
    let one = secrets(&[SECRET]);
    let pair = secrets(&[KEY_PAIR]);
    for (schemes, secrets) in [
        (&[][..], &one[..]),
        (&Scheme::DEFAULT[..], &[][..]),
        (&[Scheme::Octohooks][..], &pair[..]),
    ] {
        let parts = SignedParts::sign(schemes, secrets, ID, TIME_S, b"");
        assert_eq!(parts.headers(ID), [], "{schemes:?}");
    }
}

#[test]
fn stored_parts_give_the_same_headers_again() {
    let all = secrets(&[SECRET, KEY_PAIR]);
    let parts = SignedParts::sign(&Scheme::DEFAULT, &all, ID, TIME_S, b"body");
    let bytes = postcard::to_stdvec(&parts).unwrap();
    let back: SignedParts = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(back, parts);
    assert_eq!(back.headers(ID), parts.headers(ID));
    // Two MACs by the shared secret, one ed25519 signature, few bytes around.
    assert!(bytes.len() <= 2 * 32 + 64 + 12, "{} bytes", bytes.len());
}

#[test]
fn secrets_are_read_or_refused_with_a_reason() {
    use SecretRefusal as R;
    let not_base64 = |prefix| Err(R::NotBase64 { prefix });
    let length = |prefix, bytes, wanted| {
        Err(R::WrongKeyLength {
            prefix,
            bytes,
            wanted,
        })
    };
    let swapped = format!("whsk_{}", STANDARD.encode([7; 64]));
    let long = "whsec_TUdfVE5UMnZlci1TeWxOYXQtX1ZlTW1kLTRtMFdhYmEwanIxdHJvenRCbmlTQ2hFdzBnbHhFbWdFaTJLdzQwSA==";
    let largest = format!("whsec_{}", STANDARD.encode([7; 512]));
    for (text, want) in [
        ("w", Ok(())),
        ("a secret of words, ünïcode", Ok(())),
        ("hwsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Ok(())),
        (SECRET, Ok(())),
        (long, Ok(())),
        (&largest, Ok(())),
        ("whsec_AA==", Ok(())),
        (KEY_PAIR, Ok(())),
        (&"x".repeat(1024), Ok(())),
        (&"x".repeat(1025), Err(R::TooLong { bytes: 1025 })),
        ("", Err(R::Empty)),
        ("a\n", Err(R::ControlCharacter)),
        ("whsec_", length("whsec_", 0, "1 or more")),
        ("whsec_%", not_base64("whsec_")),
        ("whsec_wronglength", not_base64("whsec_")),
        ("whsec_AA", not_base64("whsec_")),
        (PUBLIC_KEY, Err(R::PublicKey)),
        (&KEY_PAIR[..65], length("whsk_", 45, "64")),
        (&KEY_PAIR[..66], not_base64("whsk_")),
        ("whsk_", length("whsk_", 0, "64")),
        (&swapped, Err(R::HalvesDisagree)),
    ] {
        let got = SigningSecret::parse(text);
        assert_eq!(got.as_ref().map(|_| ()).map_err(|e| *e), want, "{text}");
        if let Ok(secret) = got {
            assert_eq!(secret.text().expose(), text);
            assert!(!format!("{secret:?}").contains(text), "{text}");
        }
    }
}

#[test]
fn svix_rules_want_a_prefix_and_a_key_of_24_to_75_bytes() {
    let key_of = |bytes| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
    for (text, want) in [
        (SECRET.to_owned(), true),
        (KEY_PAIR.to_owned(), true),
        (key_of(24), true),
        (key_of(75), true),
        (key_of(23), false),
        (key_of(76), false),
        ("w".to_owned(), false),
        ("whsec_%".to_owned(), false),
        ("whsec_wronglength".to_owned(), false),
        ("hwsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), false),
        (PUBLIC_KEY.to_owned(), false),
        (KEY_PAIR[..65].to_owned(), false),
    ] {
        let got = SigningSecret::parse_prefixed(&text);
        assert_eq!(got.is_ok(), want, "{text}: {got:?}");
    }
}

#[test]
fn generated_secrets_are_whsec_and_pass_every_rule() {
    let secret = SigningSecret::generate([7; 32]);
    let text = secret.text().expose();
    assert_eq!(text, format!("whsec_{}", STANDARD.encode([7; 32])));
    assert_eq!(secret.public_form(), text);
    let again = SigningSecret::parse_prefixed(text).unwrap();
    let sign = |s: SigningSecret| SignedParts::sign(&Scheme::DEFAULT, &[s], ID, TIME_S, b"");
    assert_eq!(sign(secret.clone()), sign(again));
}

#[test]
fn a_key_pair_shows_its_public_half() {
    let secret = SigningSecret::parse(KEY_PAIR).unwrap();
    assert_eq!(secret.public_form(), PUBLIC_KEY);
    assert!(!secret.is_plain_text());
}

#[test]
fn unfit_public_keys_are_refused() {
    let weak = format!("whpk_{}", STANDARD.encode([0; 32]));
    for (text, want) in [
        (&*weak, SecretRefusal::UnfitPublicKey),
        ("whpk_!", SecretRefusal::NotBase64 { prefix: "whpk_" }),
        (
            "whpk_AAAA",
            SecretRefusal::WrongKeyLength {
                prefix: "whpk_",
                bytes: 3,
                wanted: "32",
            },
        ),
    ] {
        assert_eq!(VerifyKey::parse(text).unwrap_err(), want, "{text}");
    }
}

#[test]
fn standard_signature_headers_pass_or_fail_for_the_exact_reason() {
    use VerifyError::{NoKnownVersion, NoSecretMatches, SignatureMalformed};
    let (_, valid) = VALID.split_once(',').unwrap();
    let (_, other) = OTHER.split_once(',').unwrap();
    let crowd = |count, last: &str| format!("{}{last}", format!("{OTHER} ").repeat(count));
    for (key, signature, want) in [
        (SECRET, VALID.to_owned(), Ok(())),
        (
            SECRET,
            format!("{OTHER} v2,{other} {VALID} {OTHER}"),
            Ok(()),
        ),
        (SECRET, format!("v1 v1,a,b ,  {VALID}"), Ok(())),
        (SECRET, format!("{VALID_V1A} {VALID}"), Ok(())),
        (SECRET, crowd(7, VALID), Ok(())),
        (SECRET, crowd(8, VALID), Err(NoSecretMatches)),
        (SECRET, crowd(1000, ""), Err(NoSecretMatches)),
        (
            SECRET,
            format!("{}{VALID}", "v9,AAAA ".repeat(1000)),
            Ok(()),
        ),
        (SECRET, OTHER.to_owned(), Err(NoSecretMatches)),
        (
            SECRET,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=".to_owned(),
            Err(NoSecretMatches),
        ),
        (
            SECRET,
            "v1,R3PTzyfHASBKHH98a7yexTwaJ4yNIcGhFQc1yuN+BPU=".to_owned(),
            Err(NoSecretMatches),
        ),
        (SECRET, String::new(), Err(NoKnownVersion)),
        (SECRET, "v1".to_owned(), Err(NoKnownVersion)),
        (SECRET, format!("v2,{valid}"), Err(NoKnownVersion)),
        (SECRET, format!("V1,{valid}"), Err(NoKnownVersion)),
        (SECRET, valid.to_owned(), Err(NoKnownVersion)),
        (SECRET, "v1,".to_owned(), Err(SignatureMalformed)),
        (SECRET, "v1,AAAA".to_owned(), Err(SignatureMalformed)),
        (SECRET, VALID[..8].to_owned(), Err(SignatureMalformed)),
        (
            SECRET,
            format!("v1,{}", &valid[4..]),
            Err(SignatureMalformed),
        ),
        (SECRET, format!("{VALID}AAAA"), Err(SignatureMalformed)),
        (
            SECRET,
            format!("v1,{}", "%".repeat(44)),
            Err(SignatureMalformed),
        ),
        // The right bytes, but with a stray bit in the last digit.
        (SECRET, VALID.replace("E=", "F="), Err(SignatureMalformed)),
        (
            SECRET,
            VALID.replace("v1,", "v1a,"),
            Err(SignatureMalformed),
        ),
        (SECRET, VALID_V1A.to_owned(), Err(NoSecretMatches)),
        (PUBLIC_KEY, VALID_V1A.to_owned(), Ok(())),
        (KEY_PAIR, format!("{OTHER} {VALID_V1A}"), Ok(())),
        (PUBLIC_KEY, VALID.to_owned(), Err(NoSecretMatches)),
        (
            PUBLIC_KEY,
            VALID_V1A.replace("hnO3", "hnO4"),
            Err(NoSecretMatches),
        ),
        (PUBLIC_KEY, "v1a,AAAA".to_owned(), Err(SignatureMalformed)),
        ("another secret", VALID.to_owned(), Err(NoSecretMatches)),
    ] {
        assert_eq!(
            verify_values(key, ID, TIME, &signature),
            want,
            "{signature}"
        );
    }
}

#[test]
fn timestamps_count_only_near_now() {
    use VerifyError::{NoSecretMatches, TimestampNotANumber};
    let old = |age_s| {
        Err(VerifyError::TimestampTooOld {
            age_s,
            tolerance_s: TOLERANCE_S,
        })
    };
    let future = |ahead_s| {
        Err(VerifyError::TimestampInFuture {
            ahead_s,
            tolerance_s: TOLERANCE_S,
        })
    };
    for (time, want) in [
        (TIME, Ok(())),
        ("1614265331", Err(NoSecretMatches)),
        ("1614265329", Err(NoSecretMatches)),
        ("1614265030", Err(NoSecretMatches)),
        ("1614265029", old(301)),
        ("1614265630", Err(NoSecretMatches)),
        ("1614265631", future(301)),
        ("0", old(TIME_S)),
        ("1614265330000", future(1_614_265_330_000 - TIME_S)),
        ("9223372036854775808", future((1 << 63) - TIME_S)),
        ("18446744073709551616", Err(TimestampNotANumber)),
        ("hello", Err(TimestampNotANumber)),
        ("", Err(TimestampNotANumber)),
        ("-1614265330", Err(TimestampNotANumber)),
        ("+1614265330", Err(TimestampNotANumber)),
        (" 1614265330", Err(TimestampNotANumber)),
        ("1e9", Err(TimestampNotANumber)),
        ("1614265330.0", Err(TimestampNotANumber)),
    ] {
        assert_eq!(verify_values(SECRET, ID, time, VALID), want, "{time}");
    }
}

#[test]
fn ids_that_make_the_signed_text_ambiguous_are_refused() {
    // "a" at time 1 with the body "1614265330.x" has the text of the id "a.1".
    let signature = standard(&[SECRET], "a.1", TIME_S, BODY);
    let name = "webhook-id";
    for id in ["a.1", "", " ", "ä", &"x".repeat(257)] {
        let got = verify_values(SECRET, id, TIME, &signature);
        assert_eq!(got, Err(VerifyError::UnfitMessageId { name }), "{id}");
    }
}

#[test]
fn headers_are_found_in_any_case_as_a_whole_set_and_once() {
    use VerifyError::{HeaderMissing, HeaderRepeated, NoSecretMatches};
    let id = ("webhook-id", ID);
    let time = ("Webhook-Timestamp", TIME);
    let signature = ("WEBHOOK-SIGNATURE", VALID);
    let svix_id = ("Svix-Id", ID);
    let svix_time = ("svix-timestamp", TIME);
    let svix_signature = ("SVIX-SIGNATURE", VALID);
    let svix_wrong = ("svix-signature", OTHER);
    let missing = |name| Err(HeaderMissing { name });
    let repeated = |name| Err(HeaderRepeated { name });
    for (headers, want) in [
        (&[id, time, signature][..], Ok(())),
        (&[svix_signature, svix_id, svix_time], Ok(())),
        (
            &[svix_id, svix_time, svix_wrong, id, time, signature],
            Err(NoSecretMatches),
        ),
        (&[svix_id, svix_time, id, time, signature], Ok(())),
        (&[], missing("webhook-id")),
        (&[time, signature], missing("webhook-id")),
        (&[id, signature], missing("webhook-timestamp")),
        (&[id, time], missing("webhook-signature")),
        (&[svix_time, svix_signature], missing("svix-id")),
        (&[svix_id, svix_signature], missing("svix-timestamp")),
        (&[svix_id, svix_time], missing("svix-signature")),
        (&[id, svix_time, svix_signature], missing("svix-id")),
        (
            &[id, time, signature, signature],
            repeated("webhook-signature"),
        ),
        (&[id, time, signature, time], repeated("webhook-timestamp")),
        (
            &[svix_id, svix_id, svix_time, svix_signature],
            repeated("svix-id"),
        ),
    ] {
        let given: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        assert_eq!(verify_headers(SECRET, &given), want, "{headers:?}");
    }
}

#[test]
fn the_signed_id_is_handed_back() {
    let parts = SignedParts::sign(&Scheme::DEFAULT, &secrets(&[SECRET]), ID, TIME_S, b"");
    let headers = parts.headers(ID);
    let given: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
    let got = verify_standard(&keys(&[SECRET]), Headers(&given), b"", TIME_S, TOLERANCE_S);
    let want = Verified {
        message_id: ID,
        timestamp_s: TIME_S,
    };
    assert_eq!(got, Ok(want));
}

fn verify_octohooks_value(secret: &str, value: &str, now_s: u64) -> Result<(), VerifyError> {
    let body = OCTO_BODY.as_bytes();
    verify_octohooks(&keys(&[secret]), value.as_bytes(), body, now_s, 5)
}

#[test]
fn octohooks_header_values_pass_or_fail_for_the_exact_reason() {
    use VerifyError::{
        HeaderMalformed, NoKnownVersion, NoSecretMatches, SignatureMalformed, TimestampNotANumber,
    };
    let problem = |problem| Err(HeaderMalformed { problem });
    let others = |count| format!(",v1={}", "0".repeat(64)).repeat(count);
    let (t, hex) = (OCTO_TIME_S, OCTO_HEX);
    let (upper, short) = (hex.to_uppercase(), &hex[..62]);
    for (value, want) in [
        (format!("t={t},v1={hex}"), Ok(())),
        (format!("t={t},v2=zz,v1={upper}"), Ok(())),
        (format!("t={t}{},v1={hex}", others(7)), Ok(())),
        (format!("t={t}{},v1={hex}", others(8)), Err(NoSecretMatches)),
        (format!("t={t}{}", others(1)), Err(NoSecretMatches)),
        (
            format!("v1={hex},t={t}"),
            problem("it does not start with `t=`"),
        ),
        (String::new(), problem("it does not start with `t=`")),
        (
            format!("t={t},v1={hex},t=1"),
            problem("it holds more than one `t=`"),
        ),
        (format!("t=,v1={hex}"), Err(TimestampNotANumber)),
        (format!("t=-1,v1={hex}"), Err(TimestampNotANumber)),
        (format!("t={t}"), Err(NoKnownVersion)),
        (format!("t={t},v2={hex}"), Err(NoKnownVersion)),
        (format!("t={t},v1="), Err(SignatureMalformed)),
        (format!("t={t},v1={short}"), Err(SignatureMalformed)),
        (format!("t={t},v1={hex}00"), Err(SignatureMalformed)),
        (format!("t={t},v1={short}gg"), Err(SignatureMalformed)),
    ] {
        let got = verify_octohooks_value(OCTO_SECRET, &value, OCTO_TIME_S);
        assert_eq!(got, want, "{value}");
    }
}

#[test]
fn octohooks_wants_the_right_secret_and_a_time_near_now() {
    use VerifyError::{NoSecretMatches, TimestampInFuture, TimestampTooOld};
    let (age_s, ahead_s, tolerance_s) = (6, 6, 5);
    let value = format!("t={OCTO_TIME_S},v1={OCTO_HEX}");
    for (secret, now_s, want) in [
        (OCTO_SECRET, OCTO_TIME_S + 5, Ok(())),
        (OCTO_SECRET, OCTO_TIME_S - 5, Ok(())),
        (
            OCTO_SECRET,
            OCTO_TIME_S + 6,
            Err(TimestampTooOld { age_s, tolerance_s }),
        ),
        (
            OCTO_SECRET,
            OCTO_TIME_S - 6,
            Err(TimestampInFuture {
                ahead_s,
                tolerance_s,
            }),
        ),
        ("another secret", OCTO_TIME_S, Err(NoSecretMatches)),
        (PUBLIC_KEY, OCTO_TIME_S, Err(NoSecretMatches)),
        (KEY_PAIR, OCTO_TIME_S, Err(NoSecretMatches)),
    ] {
        let got = verify_octohooks_value(secret, &value, now_s);
        assert_eq!(got, want, "{secret} {now_s}");
    }
}

#[test]
fn numbers_are_written_in_decimal() {
    for (number, want) in [(0, "0"), (TIME_S, TIME), (u64::MAX, "18446744073709551615")] {
        let mut digits = [0; U64_DIGITS];
        assert_eq!(decimal(number, &mut digits), want.as_bytes());
    }
}

fn any_secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\\p{Cc}w]{1,60}",
        prop::collection::vec(any::<u8>(), 1..200)
            .prop_map(|key| format!("whsec_{}", STANDARD.encode(key))),
        any::<[u8; 32]>().prop_map(|seed| {
            let key = ed25519_dalek::SigningKey::from_bytes(&seed);
            format!("whsk_{}", STANDARD.encode(key.to_keypair_bytes()))
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_verifies_until_something_changes(
        text in any_secret(),
        older in any_secret(),
        id in "[a-zA-Z0-9_-]{1,40}",
        time_s in 1000_u64..u64::MAX / 2,
        body in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        prop_assume!(text != older);
        let newest_first = secrets(&[&text, &older]);
        let parts = SignedParts::sign(&Scheme::DEFAULT, &newest_first, &id, time_s, &body);
        let headers = parts.headers(&id);
        let given: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        for secret in &newest_first {
            let own = [VerifyKey::from(secret.clone())];
            let standard = |body: &[u8], now_s| {
                verify_standard(&own, Headers(&given), body, now_s, TOLERANCE_S).map(|_| ())
            };
            prop_assert_eq!(standard(&body, time_s + TOLERANCE_S), Ok(()));
            prop_assert!(standard(&body, time_s + TOLERANCE_S + 1).is_err());

            let octohooks = |body: &[u8]| {
                let value = Headers(&given).one(OCTOHOOKS_HEADER)?;
                verify_octohooks(&own, value, body, time_s, TOLERANCE_S)
            };
            let is_shared = secret.octohooks_key().is_some();
            prop_assert_eq!(octohooks(&body).is_ok(), is_shared);

            let mut longer = body.clone();
            longer.push(b' ');
            let mut flipped = body.clone();
            if !body.is_empty() {
                flipped[at.index(body.len())] ^= 1 << bit;
            }
            for changed in [&longer, &flipped].into_iter().filter(|changed| **changed != body) {
                prop_assert_eq!(standard(changed, time_s), Err(VerifyError::NoSecretMatches));
                prop_assert!(octohooks(changed).is_err());
            }

            let mut tampered = given.clone();
            let position = at.index(6);
            let (name, value) = tampered[position];
            let mut value = value.to_vec();
            value[0] ^= 1;
            tampered[position] = (name, &value);
            let verdict = verify_standard(&own, Headers(&tampered), &body, time_s, u64::MAX);
            // The svix-* set is the one that counts when both are there.
            let counts = name.starts_with("svix-");
            let still_signed = name == "svix-signature" && *secret.text() != *newest_first[0].text();
            prop_assert_eq!(verdict.is_err(), counts && !still_signed, "{}", name);
        }
    }
}
