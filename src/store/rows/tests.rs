//! The bytes of every row, as released: they change only with a new version.

use std::fmt::{Debug, Write as _};

use proptest::prelude::*;

use super::super::codec::{decode, encode};
use super::*;
use crate::domain::branding::{Colour, Logo, LogoKind};
use crate::domain::ids::Key as _;
use crate::domain::job::{Ending, JobFailure};
use crate::domain::relay::Answered;
use crate::domain::session::{Customer, Holder, Link, Opens, PortalLink, Session};
use crate::domain::signing::{
    CustomScheme, Encoding, NamedSignatures, SignedParts, StandardSignature, Template,
};
use crate::domain::user::Role;
use crate::domain::verification::{
    Algorithm, Cover, Encoding as InEncoding, Form, KeyForm, Place, Stamp, Unit,
};

const T: Timestamp = Timestamp(1_795_305_600_123);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
        .collect()
}

/// `row` has these bytes, they give `row` back, and nothing near them does.
fn check<R: Row + Debug + PartialEq>(row: &R, want: &str) {
    let encoded = encode(row);
    assert_eq!(hex(&encoded), hex(&bytes(want)), "{row:?}");
    assert_eq!(&decode::<R>(&bytes(want)).unwrap(), row);
    for cut in 0..encoded.len() {
        let result = decode::<R>(&encoded[..cut]);
        assert!(
            matches!(result, Err(StoreError::Corrupt(_))),
            "{row:?} cut at {cut}"
        );
    }
    let mut longer = encoded.clone();
    longer.push(0);
    let result = decode::<R>(&longer);
    assert!(
        matches!(result, Err(StoreError::Corrupt(_))),
        "{row:?} and a byte"
    );
    let mut newer = encoded.clone();
    newer[0] = R::VERSION + 1;
    assert!(
        matches!(decode::<R>(&newer), Err(StoreError::Newer)),
        "{row:?}"
    );
    newer[0] = 0;
    let result = decode::<R>(&newer);
    assert!(
        matches!(result, Err(StoreError::Corrupt(_))),
        "{row:?} of version 0"
    );
}

fn attempt(outcome: Outcome, verdict: Verdict, trigger: Trigger) -> AttemptV1 {
    AttemptV1 {
        application: ApplicationKey::from_u64(1),
        endpoint: EndpointKey::from_u64(2),
        message: MessageKey::from_u64(u64::MAX),
        number: 3,
        started: T,
        trigger,
        verdict,
        request: SentRequest::default(),
        outcome,
        response: None,
        timing: Timing::default(),
        peer: None,
        next: None,
    }
}

fn delivery(state: DeliveryState) -> DeliveryV1 {
    DeliveryV1 {
        state,
        attempts: vec![AttemptMark {
            key: AttemptKey::from_u64(300),
            status: 503,
        }],
        attempt_count: 1,
        retries_used: 1,
        succeeded: false,
        told: Told::Failing,
        created: T,
    }
}

#[test]
fn event_types_have_their_bytes() {
    for (applications, want) in [
        (
            None,
            "0104506169640102 7b7d 02 0131 046e756c6c 00 01 fbe8b584a034 03",
        ),
        (
            Some(vec![
                ApplicationKey::from_u64(2),
                ApplicationKey::from_u64(300),
            ]),
            "0104506169640102 7b7d 02 0131 046e756c6c 01 02 02 ac02 01 fbe8b584a034 03",
        ),
        (
            Some(vec![]),
            "0104506169640102 7b7d 02 0131 046e756c6c 01 00 01 fbe8b584a034 03",
        ),
    ] {
        let event_type = EventTypeV1 {
            description: "Paid".into(),
            schema: Some("{}".into()),
            examples: vec!["1".into(), "null".into()],
            applications,
            archived: true,
            created: T,
            updated: Timestamp(3),
        };
        check(&event_type, want);
    }
    let totals = EventTypeTotalsV1 {
        types: 2,
        bytes: 300,
    };
    check(&totals, "0102ac02");
}

#[test]
fn api_keys_have_their_bytes() {
    let key = ApiKeyV1 {
        environment: EnvironmentKey::from_u64(1),
        application: None,
        name: "ci".into(),
        shown: "hookpost_abcde".into(),
        hash: [0xab; 32],
        capabilities: Capabilities::ALL,
        created: T,
        expires: None,
        last_used: None,
    };
    check(
        &key,
        "0101000263690e686f6f6b706f73745f6162636465ababababababababababab \
         ababababababababababababababababababababab30fbe8b584a0340000",
    );
    let key = ApiKeyV1 {
        application: Some(ApplicationKey::from_u64(500)),
        expires: Some(T),
        last_used: Some(Timestamp(3)),
        ..key
    };
    check(
        &key,
        "010101f4030263690e686f6f6b706f73745f6162636465ababababababababab \
         ababababababababababababababababababababababab30fbe8b584a034 \
         01fbe8b584a0340103",
    );
}

#[test]
fn accounts_and_tokens_have_their_bytes() {
    let user = UserV1 {
        email: "a@b".into(),
        password: None,
        roles: Roles::everywhere(Role::Admin),
        created: T,
        last_sign_in: None,
    };
    check(&user, "010361406200010200fbe8b584a03400");
    let user = UserV1 {
        password: Some("$x".into()),
        roles: Roles::of_environment(EnvironmentKey::from_u64(5), Role::Viewer),
        last_sign_in: Some(Timestamp(3)),
        ..user
    };
    check(&user, "01036140620102247800010500fbe8b584a0340103");
    let branding = Branding {
        name: "A".into(),
        colour: Some(Colour([1, 2, 3])),
        logo: Some(Logo {
            kind: LogoKind::Webp,
            bytes: vec![4],
        }),
        framed_by: vec!["https://a".into()],
    };
    check(
        &BrandingV1(branding),
        "0101410101020301020104010968747470733a2f2f61",
    );
    check(&BrandingV1(Branding::default()), "0100000000");
    let customer = Customer {
        environment: EnvironmentKey::from_u64(1),
        application: ApplicationKey::from_u64(2),
        read_only: true,
    };
    let session = |holder| Opens::Session(Session { holder, seen: T });
    let portal = PortalLink {
        customer,
        session_seconds: 60,
        next: "/".into(),
    };
    let user = UserKey::from_u64(7);
    for (opens, want) in [
        (
            session(Holder::User(user)),
            "01000007fbe8b584a034fbe8b584a03403",
        ),
        (
            session(Holder::Customer(customer)),
            "010001010201fbe8b584a034fbe8b584a03403",
        ),
        (Opens::Link(Link::FirstAccount), "010100fbe8b584a03403"),
        (
            Opens::Link(Link::ChoosePassword(user)),
            "01010107fbe8b584a03403",
        ),
        (Opens::Link(Link::SignIn(user)), "01010207fbe8b584a03403"),
        (
            Opens::Link(Link::Portal(portal)),
            "0101030102013c012ffbe8b584a03403",
        ),
    ] {
        let token = Token {
            opens,
            created: T,
            ends: Timestamp(3),
        };
        check(&TokenV1(token), want);
    }
}

#[test]
fn inboxes_and_what_came_to_them_have_their_bytes() {
    let inbox = InboxV1 {
        environment: EnvironmentKey::from_u64(1),
        token: "t0".into(),
        name: "try".into(),
        answer: FixedAnswer {
            status: 204,
            content_type: "a/b".into(),
            headers: vec![("x".into(), "y".into())],
            body: "no".into(),
        },
        delay_ms: 300,
        fail_next: 2,
        created: T,
        open: true,
        made_by_listener: false,
        listened: Some(T),
        waiting: 300,
    };
    check(
        &inbox,
        "010102743003747279cc0103612f620101780179026e6fac0202fbe8b584a034010001fbe8b584a034ac02",
    );
    let received = ReceivedV1 {
        at: T,
        method: "POST".into(),
        path: "/a?b".into(),
        headers: vec![("x-a".into(), vec![0, 255])],
        sealed: vec![9],
        body_bytes: 300,
        answered: 204,
        peer: Some("192.0.2.7".parse().unwrap()),
        event_type: Some("a.b".into()),
        replays: vec![Replay {
            at: T,
            url: "http://a/".into(),
            status: 0,
            detail: "no".into(),
            body: "b".into(),
            took_us: 300,
        }],
        relayed: Relayed::Answered(Answered {
            at: T,
            status: 201,
            headers: vec![("x-b".into(), vec![1])],
            body: b"hi".to_vec(),
            body_bytes: 300,
            error: "no".into(),
            took_us: 400,
        }),
    };
    check(
        &received,
        "01fbe8b584a03404504f5354042f613f620103782d610200ff0109ac02cc01 0100c0000207 0103612e62 01fbe8b584a03409687474703a2f2f612f00026e6f0162ac02 02fbe8b584a034c9010103782d620101026869ac02026e6f9003",
    );
}

#[test]
fn what_surrounds_messages_has_its_bytes() {
    let environment = EnvironmentV1 {
        name: "default".into(),
        operational: ApplicationKey::from_u64(2),
        created: T,
        updated: Timestamp(3),
    };
    check(&environment, "010764656661756c7402fbe8b584a03403");
    let entry = AuditV1 {
        application: Some(ApplicationKey::from_u64(2)),
        actor: "o".into(),
        action: "secret.read".into(),
        subject: "ep_1".into(),
        detail: String::new(),
    };
    check(&entry, "010102016f0b7365637265742e726561640465705f3100");
    for (uid, want) in [
        (None, "01010441636d650002fbe8b584a034"),
        (
            Some("acme".to_owned()),
            "01010441636d65010461636d6502fbe8b584a034",
        ),
    ] {
        let row = ApplicationV1 {
            environment: EnvironmentKey::from_u64(1),
            name: "Acme".into(),
            uid,
            updated: Timestamp(2),
            created: T,
        };
        check(&row, want);
    }
    let answer = AnswerV1 {
        status: 202,
        body: b"{}".to_vec(),
        created: T,
    };
    check(&answer, "01ca01027b7dfbe8b584a034");
    let counter = CounterV1 {
        messages: 5,
        payload_bytes: 4_000,
        delivered: 1,
        failed: 2,
        outcomes: vec![(0, 2), (7, 1)],
        duration_ms: 300,
        duration_max_ms: 200,
        durations: vec![(24, 2), (43, 1)],
        sent_bytes: 70_000,
    };
    check(&counter, "0105a01f01020200020701ac02c801021802 2b01f0a204");
    let totals = TotalsV1 {
        messages: 1,
        attempts: 200,
        waiting: 0,
        payload_bytes: u64::MAX,
    };
    check(&totals, "0101c80100ffffffffffffffffff01");
}

#[test]
fn jobs_have_their_bytes_in_every_state() {
    let job = JobV1 {
        application: ApplicationKey::from_u64(2),
        endpoint: Some(EndpointKey::from_u64(3)),
        kind: JobKind::Replay,
        event_types: vec!["a.*".into()],
        channels: vec!["c".into()],
        standing: Some(Standing::Failed),
        status_class: Some(500),
        since: Timestamp(1),
        until: T,
        next: MessageKey::from_u64(4),
        end: MessageKey::from_u64(5),
        rate_per_second: Some(200),
        total: Some(6),
        progress: Progress {
            examined: 7,
            done: 8,
            skipped: 9,
        },
        state: JobState::Running,
        created: T,
        updated: T,
    };
    check(
        &job,
        "0102010302 0103612e2a 010163 0101 01f403 01 fbe8b584a034 04 05 \
         01c801 0106 070809 00 fbe8b584a034 fbe8b584a034",
    );
    for (how, want) in [
        (Ending::Finished, "00"),
        (Ending::Cancelled, "01"),
        (Ending::Failed(JobFailure::EndpointDisabled), "0200"),
        (Ending::Failed(JobFailure::EndpointDeleted), "0201"),
        (Ending::Failed(JobFailure::ApplicationDeleted), "0202"),
    ] {
        let bare = JobV1 {
            application: ApplicationKey::from_u64(2),
            endpoint: None,
            kind: JobKind::Erasure,
            event_types: Vec::new(),
            channels: Vec::new(),
            standing: None,
            status_class: None,
            since: Timestamp(0),
            until: T,
            next: MessageKey::from_u64(0),
            end: MessageKey::from_u64(5),
            rate_per_second: None,
            total: None,
            progress: Progress::default(),
            state: JobState::Ended { at: T, how },
            created: T,
            updated: T,
        };
        let want = format!(
            "0102000300000000 00 fbe8b584a034 00 05 0000 000000 01fbe8b584a034 {want} \
             fbe8b584a034 fbe8b584a034"
        );
        check(&bare, &want);
    }
}

#[test]
fn endpoints_have_their_bytes() {
    let bare = || EndpointV1 {
        environment: EnvironmentKey::from_u64(1),
        application: ApplicationKey::from_u64(2),
        name: String::new(),
        uid: None,
        description: String::new(),
        url: "https://a.example/".into(),
        enabled: true,
        paused: false,
        event_types: Vec::new(),
        channels: Vec::new(),
        signatures: vec![Scheme::Standard, Scheme::Octohooks],
        payload_in_headers: false,
        ascii_body: false,
        retry_schedule_ms: None,
        timeout_ms: None,
        rate_limit: None,
        success_status: None,
        success_body: None,
        success_content_type: None,
        metadata: BTreeMap::new(),
        client_id: None,
        created: T,
        updated: T,
        deleted: None,
        sealed: vec![1, 2, 3],
    };
    check(
        &bare(),
        "0101020000001268747470733a2f2f612e6578616d706c652f01000000020001 \
         00000000000000000000fbe8b584a034fbe8b584a0340003010203",
    );
    let full = EndpointV1 {
        name: "n".into(),
        uid: Some("u".into()),
        description: "d".into(),
        enabled: false,
        paused: true,
        event_types: vec!["order.*".into()],
        channels: vec!["c".into()],
        signatures: vec![
            Scheme::Octohooks,
            Scheme::Optech {
                header: "x-o".into(),
            },
            Scheme::Custom(CustomScheme {
                header: "x-c".into(),
                template: Template::to_sign("{id}.{timestamp}.{body}").unwrap(),
                encoding: Encoding::Base64,
                prefix: Template::prefix("t={timestamp},").unwrap(),
            }),
        ],
        payload_in_headers: true,
        ascii_body: true,
        retry_schedule_ms: Some(vec![5_000, 300_000]),
        timeout_ms: Some(15_000),
        rate_limit: Some(100),
        success_status: Some(200),
        success_body: Some("OK".into()),
        success_content_type: Some("text/plain".into()),
        metadata: BTreeMap::from([("k".into(), "v".into())]),
        client_id: Some("opt_1".into()),
        deleted: Some(T),
        ..bare()
    };
    check(
        &full,
        "010102016e01017501641268747470733a2f2f612e6578616d706c652f000101 \
         076f726465722e2a01016303010203782d6f0303782d63050100012e0200012e \
         0301030002743d0200012c010101028827e0a712019875016401c80101024f4b \
         010a746578742f706c61696e01016b017601056f70745f31fbe8b584a034fbe8b584a03401fbe8 \
         b584a03403010203",
    );
    let secrets = EndpointSecretsV1 {
        secrets: vec![("whsec_AAAA".into(), None), ("b".into(), Some(T))],
        headers: vec![("authorization".into(), "Bearer x".into())],
    };
    check(
        &secrets,
        "01020a77687365635f4141414100016201fbe8b584a034010d617574686f7269 \
         7a6174696f6e084265617265722078",
    );
    for (disabled, want) in [
        (None, "010001fbe8b584a0341401"),
        (Some((T, true)), "0101fbe8b584a0340101fbe8b584a0341401"),
        (Some((T, false)), "0101fbe8b584a0340001fbe8b584a0341401"),
    ] {
        let row = EndpointStateV1 {
            disabled,
            failing_since: Some(T),
            failures: 20,
            told_failing: true,
        };
        check(&row, want);
    }
}

#[test]
fn messages_have_their_bytes() {
    let row = || MessageV1 {
        application: ApplicationKey::from_u64(2),
        event_type: "order.paid".into(),
        channels: Vec::new(),
        uid: None,
        content_type: None,
        headers: Vec::new(),
        origin: Origin::Api,
        answer: None,
    };
    check(&row(), "01020a6f726465722e70616964000000000000");
    let full = MessageV1 {
        channels: vec!["c".into()],
        uid: Some("u".into()),
        content_type: Some("text/plain".into()),
        headers: vec![("traceparent".into(), b"00".to_vec())],
        answer: Some([0xab; 32]),
        ..row()
    };
    check(
        &full,
        "01020a6f726465722e70616964010163010175010a746578742f706c61696e01 \
         0b7472616365706172656e740230300001abababababababababababababababab \
         abababababababababababababababab",
    );
}

#[test]
fn deliveries_have_their_bytes_in_every_state() {
    let waiting = |trigger| DeliveryState::Waiting { due: T, trigger };
    for (state, want) in [
        (
            waiting(Trigger::Scheduled),
            "0100fbe8b584a0340001ac02f70301010001fbe8b584a034",
        ),
        (
            waiting(Trigger::Manual),
            "0100fbe8b584a0340101ac02f70301010001fbe8b584a034",
        ),
        (
            DeliveryState::Delivered,
            "010101ac02f70301010001fbe8b584a034",
        ),
        (
            DeliveryState::Exhausted,
            "010201ac02f70301010001fbe8b584a034",
        ),
        (
            DeliveryState::Cancelled,
            "010301ac02f70301010001fbe8b584a034",
        ),
    ] {
        check(&delivery(state), want);
    }
}

#[test]
fn attempts_have_their_bytes_whatever_came_of_them() {
    let detail = || "why".to_owned();
    for (outcome, verdict, want) in [
        (
            Outcome::Response { status: 200 },
            Verdict::Delivered,
            "010102ffffffffffffffffff0103fbe8b584a034000000000000000000000000 \
             c8010000000000000000",
        ),
        (
            Outcome::Response { status: 410 },
            Verdict::Gone,
            "010102ffffffffffffffffff0103fbe8b584a034000200000000000000000000 \
             9a030000000000000000",
        ),
        (
            Outcome::TimedOut { detail: detail() },
            Verdict::Failed,
            "010102ffffffffffffffffff0103fbe8b584a034000100000000000000000001 \
             037768790000000000000000",
        ),
        (
            Outcome::DnsFailed { detail: detail() },
            Verdict::Failed,
            "010102ffffffffffffffffff0103fbe8b584a034000100000000000000000002 \
             037768790000000000000000",
        ),
        (
            Outcome::Refused { detail: detail() },
            Verdict::Failed,
            "010102ffffffffffffffffff0103fbe8b584a034000100000000000000000003 \
             037768790000000000000000",
        ),
        (
            Outcome::Reset { detail: detail() },
            Verdict::Failed,
            "010102ffffffffffffffffff0103fbe8b584a034000100000000000000000004 \
             037768790000000000000000",
        ),
        (
            Outcome::TlsFailed { detail: detail() },
            Verdict::Failed,
            "010102ffffffffffffffffff0103fbe8b584a034000100000000000000000005 \
             037768790000000000000000",
        ),
        (
            Outcome::BlockedAddress { detail: detail() },
            Verdict::Failed,
            "010102ffffffffffffffffff0103fbe8b584a034000100000000000000000006 \
             037768790000000000000000",
        ),
        (
            Outcome::Protocol { detail: detail() },
            Verdict::Failed,
            "010102ffffffffffffffffff0103fbe8b584a034000100000000000000000007 \
             037768790000000000000000",
        ),
    ] {
        check(&attempt(outcome, verdict, Trigger::Scheduled), want);
    }
}

#[test]
fn an_attempt_is_written_without_a_copy_in_the_same_bytes() {
    let row = attempt(
        Outcome::Response { status: 503 },
        Verdict::Failed,
        Trigger::Manual,
    );
    let bytes = encode(&row);
    let (number, next) = (row.number, row.next);
    let of = row.into_domain(AttemptKey::from_u64(1)).of;
    let borrowed = AttemptV1Ref {
        of: &of,
        number,
        next,
    };
    assert_eq!(encode(&borrowed), bytes);
}

#[test]
fn an_attempt_with_everything_has_its_bytes() {
    let full = |peer: &str| AttemptV1 {
        request: SentRequest {
            url: "https://a.example/".into(),
            content_type: "application/json".into(),
            signed: SignedParts {
                timestamp_s: 1_795_305_600,
                standard: vec![
                    StandardSignature::V1([1; 32]),
                    StandardSignature::V1a(vec![2; 64]),
                ],
                octohooks: vec![[3; 32]],
                named: vec![NamedSignatures {
                    header: "x-c".into(),
                    prefix: "t=1,".into(),
                    encoding: Encoding::Hex,
                    macs: vec![[4; 32]],
                }],
                shows_id_and_time: true,
            },
            custom: vec![("x-a".into(), "b".into())],
            left_out: vec!["é".into()],
        },
        response: Some(CapturedResponse {
            headers: vec![("server".into(), b"s".to_vec())],
            body: b"ok".to_vec(),
            truncated: true,
        }),
        timing: Timing {
            dns_us: 1,
            connect_us: 2,
            tls_us: 3,
            first_byte_us: 400,
            total_us: 500_000,
        },
        peer: Some(peer.parse().unwrap()),
        next: Some(T),
        ..attempt(
            Outcome::Response { status: 200 },
            Verdict::Delivered,
            Trigger::Manual,
        )
    };
    check(
        &full("192.0.2.1:443"),
        "010102ffffffffffffffffff0103fbe8b584a03401001268747470733a2f2f61 \
         2e6578616d706c652f106170706c69636174696f6e2f6a736f6e80e188d80602 \
         0001010101010101010101010101010101010101010101010101010101010101 \
         0101400202020202020202020202020202020202020202020202020202020202 \
         0202020202020202020202020202020202020202020202020202020202020202 \
         0202020103030303030303030303030303030303030303030303030303030303 \
         030303030103782d6304743d312c000104040404040404040404040404040404 \
         04040404040404040404040404040404010103782d6101620102c3a900c80101 \
         01067365727665720173026f6b010102039003a0c21e0100c0000201bb0301fb \
         e8b584a034",
    );
    check(
        &full("[2001:db8::1]:443"),
        "010102ffffffffffffffffff0103fbe8b584a03401001268747470733a2f2f61 \
         2e6578616d706c652f106170706c69636174696f6e2f6a736f6e80e188d80602 \
         0001010101010101010101010101010101010101010101010101010101010101 \
         0101400202020202020202020202020202020202020202020202020202020202 \
         0202020202020202020202020202020202020202020202020202020202020202 \
         0202020103030303030303030303030303030303030303030303030303030303 \
         030303030103782d6304743d312c000104040404040404040404040404040404 \
         04040404040404040404040404040404010103782d6101620102c3a900c80101 \
         01067365727665720173026f6b010102039003a0c21e010120010db800000000 \
         0000000000000001bb0301fbe8b584a034",
    );
}

#[test]
fn sources_and_what_came_to_them() {
    let source = SourceV1 {
        environment: EnvironmentKey::from_u64(1),
        application: ApplicationKey::from_u64(2),
        name: "n".to_owned(),
        slug: "abc".to_owned(),
        enabled: true,
        preset: "custom".to_owned(),
        recipe: Some(Recipe {
            place: Place::Header("h".to_owned()),
            also: None,
            form: Form::Items {
                separator: ',',
                name: "v1".to_owned(),
            },
            algorithm: Algorithm::HmacSha256,
            encoding: InEncoding::Hex,
            key: KeyForm::Text,
            signed: "{timestamp}.{body}".to_owned(),
            timestamp: Some(Stamp {
                place: Place::Item("t".to_owned()),
                unit: Unit::Seconds,
                tolerance_s: 300,
            }),
            id: None,
            cover: Cover::Signed,
        }),
        tolerance_s: Some(60),
        ip_ranges: vec!["192.0.2.0/24".to_owned()],
        event_type: EventTypeRule::At {
            place: Place::Field("/t".to_owned()),
            fallback: None,
        },
        dedupe: Dedupe::Body,
        record: Some(RecordRule {
            key: "k".to_owned(),
            headers: vec!["x".to_owned()],
        }),
        answer: AnswerRule::Endpoint {
            endpoint: EndpointKey::from_u64(3),
            seconds: 9,
        },
        limits: Limits {
            body_bytes_max: Some(5),
            rate: None,
            methods: Some(vec!["PUT".to_owned()]),
        },
        created: T,
        updated: T,
        sealed: vec![7],
    };
    check(
        &source,
        "010102016e036162630106637573746f6d010001680002012c027631010000127b74696d657374616d707d2e7b626f64797d0103017400ac020000013c010c3139322e302e322e302f32340201022f74000201016b010178020309010500010103505554fbe8b584a034fbe8b584a0340107",
    );
    let secrets = SourceSecretsV1 {
        secrets: vec!["s".to_owned()],
        settings: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
    };
    check(&secrets, "010101730101610162");
    let receipt = ReceiptV1 {
        at: Timestamp(9),
        verdict: Judged::Rejected,
        reason: "r".to_owned(),
        method: "POST".to_owned(),
        path: "/p".to_owned(),
        headers: vec![("h".to_owned(), b"v".to_vec())],
        sealed: Vec::new(),
        body_bytes: 300,
        message: None,
        record: Some("k".to_owned()),
        answered: 401,
        took_us: 12,
        peer: Some("192.0.2.7".parse().unwrap()),
        unkept: 4,
    };
    check(
        &receipt,
        "010901017204504f5354022f70010168017600ac020001016b91030c0100c000020704",
    );
    check(&SecretHeadersV1(vec![(1, b"v".to_vec())]), "0101010176");
    let counts = Counts {
        accepted: 1,
        rejected: 2,
        duplicate: 3,
        handshake: 4,
    };
    check(&CountsV1(counts), "0101020304");
    let fields = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let record = RecordV1 {
        fields: fields.clone(),
        first_seen: T,
        count: 2,
        last: ReceivedKey::from_u64(5),
        last_message: Some(MessageKey::from_u64(6)),
    };
    check(&record, "010101610131fbe8b584a03402050106");
    check(&RecordFieldsV1(fields), "010101610131");
}

#[test]
fn requests() {
    let request = RequestV1 {
        application: ApplicationKey::from_u64(1),
        endpoint: EndpointKey::from_u64(2),
        question: "q".to_owned(),
        inputs: "{}".to_owned(),
        created: Timestamp(7),
        deadline: T,
        state: RequestState::Pending { handed_over: true },
        tries: vec![Try {
            at: T,
            took_us: 5,
            status: 202,
            detail: "d".to_owned(),
            body: "b".to_owned(),
        }],
        refused: vec![RefusedAnswer {
            at: T,
            status: 403,
            reason: "r".to_owned(),
            body: "c".to_owned(),
        }],
    };
    check(
        &request,
        "0101020171027b7d07fbe8b584a034000101fbe8b584a03405ca010164016201fbe8b584a0349303017201 63",
    );
    let answered = RequestV1 {
        state: RequestState::Answered {
            at: T,
            by_link: true,
            body_hash: [3; 32],
        },
        tries: Vec::new(),
        refused: Vec::new(),
        ..request
    };
    check(
        &answered,
        "0101020171027b7d07fbe8b584a03401fbe8b584a0340103030303030303030303030303030303030303030303030303030303030303030000",
    );
    let failed = RequestV1 {
        state: RequestState::Failed {
            at: T,
            reason: "r".to_owned(),
        },
        ..answered
    };
    check(
        &failed,
        "0101020171027b7d07fbe8b584a03402fbe8b584a03401720000",
    );
}

/// Decodes `bytes` as every row there is; only a panic is wrong.
fn decode_as_any(bytes: &[u8]) {
    let _ = decode::<EnvironmentV1>(bytes);
    let _ = decode::<ApiKeyV1>(bytes);
    let _ = decode::<UserV1>(bytes);
    let _ = decode::<TokenV1>(bytes);
    let _ = decode::<BrandingV1>(bytes);
    let _ = decode::<ApplicationV1>(bytes);
    let _ = decode::<EndpointV1>(bytes);
    let _ = decode::<EndpointSecretsV1>(bytes);
    let _ = decode::<EndpointStateV1>(bytes);
    let _ = decode::<MessageV1>(bytes);
    let _ = decode::<DeliveryV1>(bytes);
    let _ = decode::<AttemptV1>(bytes);
    let _ = decode::<AnswerV1>(bytes);
    let _ = decode::<InboxV1>(bytes);
    let _ = decode::<ReceivedV1>(bytes);
    let _ = decode::<RequestV1>(bytes);
    let _ = decode::<SourceV1>(bytes);
    let _ = decode::<SourceSecretsV1>(bytes);
    let _ = decode::<ReceiptV1>(bytes);
    let _ = decode::<SecretHeadersV1>(bytes);
    let _ = decode::<CountsV1>(bytes);
    let _ = decode::<RecordV1>(bytes);
    let _ = decode::<RecordFieldsV1>(bytes);
    let _ = decode::<EventTypeV1>(bytes);
    let _ = decode::<EventTypeTotalsV1>(bytes);
    let _ = decode::<CounterV1>(bytes);
    let _ = decode::<TotalsV1>(bytes);
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_as_any(&bytes);
        if let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        decode_as_any(&bytes);
    }

    #[test]
    fn a_flipped_bit_in_an_attempt_never_panics(at in 0_usize..1000, bit in 0_u8..8) {
        let row = attempt(Outcome::Response { status: 200 }, Verdict::Delivered, Trigger::Manual);
        let mut bytes = encode(&row);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = decode::<AttemptV1>(&bytes);
    }
}
