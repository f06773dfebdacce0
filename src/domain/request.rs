//! A question sent to an endpoint, and its answer: at once, or later to a link.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::endpoint::{Endpoint, EndpointSecret};
use super::ids::{ApplicationKey, EndpointKey, Key, RequestKey};
use super::payload;
use super::signing::{Headers, OPTECH_HEADER, Scheme, SigningSecret, VerifyKey, verify_header};
use super::time::Timestamp;

/// How long a link takes an answer.
pub const LINK_LIFE: Duration = Duration::from_mins(10);
/// Seconds that a caller may wait for an answer, and when he does not say.
pub const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=600;
pub const TIMEOUT_SECONDS_DEFAULT: u64 = 10;
/// Characters of what names the data that is wanted.
pub const QUESTION_CHARS_MAX: usize = 256;
/// Bytes of inputs, and of an answer.
pub const INPUTS_BYTES_MAX: usize = 256 * 1024;
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Tries of the question, and answers that were refused, that are noted.
pub const NOTED_MAX: usize = 20;
/// Bytes that are kept of an answer that was not taken.
pub const NOTED_BYTES_MAX: usize = 2 * 1024;
/// Asks for nothing: any 200 is its answer.
pub const VALIDATION: &str = "validation";
/// Characters of a client id.
pub const CLIENT_ID_CHARS: std::ops::RangeInclusive<usize> = 1..=128;
/// The header that the same platform later signed into.
const LATER_HEADER: &str = "x-lorikeet-signature";

/// Wait before the first try that follows one that failed; each doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A question and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub key: RequestKey,
    pub application: ApplicationKey,
    pub endpoint: EndpointKey,
    /// Names the data that is wanted.
    pub question: String,
    /// A JSON object.
    pub inputs: String,
    /// When it was made: keys only grow, clocks step back.
    pub created: Timestamp,
    /// How long its caller wanted to wait.
    pub deadline: Timestamp,
    pub state: RequestState,
    /// Each POST of the question.
    pub tries: Vec<Try>,
    /// What came to the link, but for the answer itself.
    pub refused: Vec<RefusedAnswer>,
}

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestState {
    /// `handed_over`: the endpoint said that the answer will come to the link.
    Pending {
        handed_over: bool,
    },
    Answered {
        at: Timestamp,
        /// Whether it came to the link.
        by_link: bool,
        /// SHA-256 of the body it came in: the same once more is fine.
        body_hash: [u8; 32],
    },
    Failed {
        at: Timestamp,
        reason: String,
    },
}

/// One POST of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    pub at: Timestamp,
    pub took_us: u32,
    /// The status; 0 without an answer.
    pub status: u16,
    /// What came of it, in words.
    pub detail: String,
    /// How the answer's body begins, when it was not taken; see [`noted`].
    pub body: String,
}

/// Something that came to a link and was no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAnswer {
    pub at: Timestamp,
    pub status: u16,
    pub reason: String,
    /// How its body begins; see [`noted`].
    pub body: String,
}

/// What the log keeps of an answer that was not taken, as text.
#[must_use]
pub fn noted(body: &[u8]) -> String {
    let kept = &body[..body.len().min(NOTED_BYTES_MAX)];
    String::from_utf8_lossy(kept).into_owned()
}

impl Request {
    /// When its link stops.
    #[must_use]
    pub fn link_ends(&self) -> Timestamp {
        self.created.plus(LINK_LIFE)
    }

    /// Its state as the API names it.
    #[must_use]
    pub fn state_name(&self, now: Timestamp) -> &'static str {
        match &self.state {
            RequestState::Pending { .. } if now >= self.link_ends() => "expired",
            RequestState::Pending { .. } => "pending",
            RequestState::Answered { .. } => "answered",
            RequestState::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more is to be waited for.
    #[must_use]
    pub fn is_settled(&self, now: Timestamp) -> bool {
        self.state_name(now) != "pending"
    }

    /// Whether the question is to be sent (again) now.
    #[must_use]
    pub fn is_to_be_asked(&self, now: Timestamp) -> bool {
        matches!(self.state, RequestState::Pending { handed_over: false })
            && (now < self.deadline || self.tries.is_empty())
    }
}

/// When the link of a request stops: told by its key alone.
#[must_use]
pub fn link_ends(key: RequestKey) -> Timestamp {
    key.made_at().plus(LINK_LIFE)
}

/// The wait before the next try, `tries` having failed.
#[must_use]
pub fn next_wait(tries: usize) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(16);
    (FIRST_WAIT * 2_u32.pow(doublings)).min(WAIT_MAX)
}

/// The path of a request's link, from its id: four segments, the last of which
/// makes it.
#[must_use]
pub fn link_path(id: &str) -> String {
    let (prefix, rest) = id.split_once('_').unwrap_or(("", id));
    let third = rest.len() / 3;
    let (a, rest) = rest.split_at(third);
    let (b, c) = rest.split_at(third);
    format!("/ingest/{prefix}/{a}/{b}/{c}")
}

/// The id that a link's path after `/ingest/` tells: four segments or one.
#[must_use]
pub fn id_of_path(path: &str) -> String {
    match path.split_once('/') {
        None => path.to_owned(),
        Some((prefix, rest)) => format!("{prefix}_{}", rest.replace('/', "")),
    }
}

/// The body of the question: ASCII JSON. `inputs` is a JSON object.
#[must_use]
pub fn question_body(link: &str, question: &str, inputs: &str) -> Vec<u8> {
    let text = |text: &str| Value::from(text).to_string();
    let body = format!(
        r#"{{"link":{},"key":{},"inputs":{inputs},"data":{inputs}}}"#,
        text(link),
        text(question)
    );
    payload::ascii(body.as_bytes()).into_owned()
}

/// Whether an endpoint gets requests, and no messages: it signs by optech alone.
#[must_use]
pub fn takes_requests(endpoint: &Endpoint) -> bool {
    matches!(endpoint.signatures.as_slice(), [Scheme::Optech { .. }])
}

/// The header that an endpoint's signatures stand in.
fn header_of(endpoint: &Endpoint) -> &str {
    let mut schemes = endpoint.signatures.iter();
    schemes.find_map(Scheme::header).unwrap_or(OPTECH_HEADER)
}

/// Why an answer is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    #[error("the authorization is missing: Basic or Bearer with the client id")]
    NoClientId,
    #[error("the authorization does not have the endpoint's client id")]
    WrongClientId,
    #[error("the signature is missing: {header}")]
    NoSignature { header: String },
    #[error("the signature is wrong: it was not made of this body with the client secret")]
    WrongSignature,
    #[error("the body is empty")]
    Empty,
    #[error("the body is not JSON")]
    NotJson,
    #[error("the body is not {{\"data\": an object}}")]
    NoData,
    #[error("the body has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

impl BadAnswer {
    /// The status that a link answers with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NoClientId
            | Self::WrongClientId
            | Self::NoSignature { .. }
            | Self::WrongSignature => 403,
            Self::Empty | Self::NotJson => 400,
            Self::NoData => 422,
            Self::TooLarge => 413,
        }
    }

    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoClientId | Self::WrongClientId => "wrong_client",
            Self::NoSignature { .. } | Self::WrongSignature => "wrong_signature",
            Self::Empty => "empty",
            Self::NotJson => "bad_json",
            Self::NoData => "invalid",
            Self::TooLarge => "too_large",
        }
    }
}

/// The client id of an authorization: after Basic or Bearer as it stands, or
/// the user of proper Basic. `decode` is base64.
#[must_use]
pub fn client_ids(authorization: &str, decode: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<String> {
    let (scheme, rest) = authorization.split_once(' ').unwrap_or(("", authorization));
    let rest = rest.trim();
    let known = scheme.eq_ignore_ascii_case("basic") || scheme.eq_ignore_ascii_case("bearer");
    if !known || rest.is_empty() {
        return Vec::new();
    }
    let mut ids = vec![rest.to_owned()];
    if let Some(text) = decode(rest).and_then(|bytes| String::from_utf8(bytes).ok()) {
        let user = text.split_once(':').map_or(text.as_str(), |(user, _)| user);
        ids.push(user.to_owned());
    }
    ids
}

/// Checks the signature of something that came from an endpoint's owner, over
/// `body` in either of the forms that [`verify_header`] knows.
///
/// # Errors
/// It is missing, or not made by a valid secret.
pub fn check_signature(
    endpoint: &Endpoint,
    headers: Headers<'_>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), BadAnswer> {
    let own = header_of(endpoint);
    let names = [own, OPTECH_HEADER, LATER_HEADER];
    let present: Vec<&str> = names
        .into_iter()
        .filter(|name| headers.all(name).next().is_some())
        .collect();
    if present.is_empty() {
        return Err(BadAnswer::NoSignature {
            header: own.to_owned(),
        });
    }
    let secrets = endpoint.valid_secrets(now).map(secret_of);
    let keys: Vec<VerifyKey> = secrets.map(VerifyKey::from).collect();
    for name in present {
        let scheme = Scheme::Optech {
            header: name.to_owned(),
        };
        let good = verify_header(&keys, &scheme, headers, body, now.as_secs(), u64::MAX);
        if good.is_ok() {
            return Ok(());
        }
    }
    Err(BadAnswer::WrongSignature)
}

fn secret_of(of: &EndpointSecret) -> SigningSecret {
    of.secret.clone()
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

/// The data of an answer: a JSON object, as it stands in the body.
///
/// # Errors
/// The body has none.
pub fn data_of(body: &[u8]) -> Result<String, BadAnswer> {
    if body.is_empty() {
        return Err(BadAnswer::Empty);
    }
    if body.len() > ANSWER_BYTES_MAX {
        return Err(BadAnswer::TooLarge);
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| BadAnswer::NotJson)?;
    match value.get("data") {
        Some(Value::Object(_)) => {}
        _ => return Err(BadAnswer::NoData),
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|_| BadAnswer::NotJson)?;
    Ok(envelope.data.get().to_owned())
}

/// What an answer to the POST of a question means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstAnswer {
    /// This is the data.
    Data(String),
    /// It will come to the link.
    Later,
    /// Nothing will come.
    Failed(String),
    /// Worth another try.
    Again(String),
}

/// Reads the answer to the POST of a question. `signed_well`: it has no
/// signature, or a right one.
#[must_use]
pub fn first_answer(
    question: &str,
    status: u16,
    body: &[u8],
    truncated: bool,
    signed_well: &Result<(), BadAnswer>,
) -> FirstAnswer {
    match status {
        200 => {
            if *signed_well == Err(BadAnswer::WrongSignature) {
                let reason = "it answered 200, but its signature is wrong";
                return FirstAnswer::Failed(reason.to_owned());
            }
            if truncated {
                return FirstAnswer::Failed(format!("it answered 200: {}", BadAnswer::TooLarge));
            }
            match data_of(body) {
                Ok(data) => FirstAnswer::Data(data),
                Err(_) if question == VALIDATION => FirstAnswer::Data("{}".to_owned()),
                Err(bad) => FirstAnswer::Failed(format!("it answered 200, but {bad}")),
            }
        }
        202 => FirstAnswer::Later,
        403 => FirstAnswer::Failed(format!("it refused: 403{}", detail_of(body))),
        500..=599 => FirstAnswer::Again(format!("it answered {status}")),
        _ => FirstAnswer::Failed(format!("it answered {status}{}", detail_of(body))),
    }
}

/// The `detail` of a problem, as the end of a sentence.
fn detail_of(body: &[u8]) -> String {
    const CHARS_MAX: usize = 500;
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let detail = value
        .as_ref()
        .and_then(|value| value.get("detail")?.as_str());
    detail.map_or_else(String::new, |detail| {
        format!(": {}", detail.chars().take(CHARS_MAX).collect::<String>())
    })
}

/// An example of a question, for people.
#[must_use]
pub fn example() -> Value {
    json!({"key": "getOrders", "inputs": {"userId": "42"}})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::domain::endpoint::SuccessRule;
    use crate::domain::ids::EnvironmentKey;

    fn endpoint(header: &str) -> Endpoint {
        Endpoint {
            key: EndpointKey::from_u64(1),
            environment: EnvironmentKey::from_u64(1),
            application: ApplicationKey::from_u64(1),
            name: String::new(),
            uid: None,
            description: String::new(),
            url: String::new(),
            enabled: true,
            paused: false,
            event_types: Vec::new(),
            channels: Vec::new(),
            headers: Vec::new(),
            secrets: vec![SigningSecret::parse("shhh").unwrap().into()],
            signatures: vec![Scheme::Optech {
                header: header.to_owned(),
            }],
            payload_in_headers: false,
            ascii_body: false,
            retry_schedule: None,
            timeout: None,
            rate_limit: None,
            success: SuccessRule::default(),
            metadata: BTreeMap::new(),
            client_id: Some("opt_1".to_owned()),
            created: Timestamp(0),
            updated: Timestamp(0),
            deleted: None,
        }
    }

    /// Made by Python: `hmac.new(b"shhh", body, "sha256")`, URL-safe base64.
    #[test]
    fn signatures_are_checked_over_the_body_or_its_escaped_form() {
        let quoted = "{\"data\":{\"a\":\"it\u{2019}s\"}}";
        for (own, name, body, signature, want) in [
            (
                OPTECH_HEADER,
                OPTECH_HEADER,
                r#"{"data":{"a":1}}"#,
                "nVJlQArgV_x_qN2Y0Ca5fG5MfUC87u6Un49HHw-dNgo=",
                true,
            ),
            (
                OPTECH_HEADER,
                LATER_HEADER,
                r#"{"data":{"a":1}}"#,
                "nVJlQArgV_x_qN2Y0Ca5fG5MfUC87u6Un49HHw-dNgo=",
                true,
            ),
            (
                "x-own",
                "x-own",
                "",
                "MA2FfMDLHShFJO1A_7PcgkzrigM0a77r46x-c5Ja_ng=",
                true,
            ),
            (
                OPTECH_HEADER,
                OPTECH_HEADER,
                quoted,
                "6p7Z2Lp78pOQZsSh8QZqfmvzU4yuGtv4_VF1j1j8GcU=",
                true,
            ),
            (
                OPTECH_HEADER,
                OPTECH_HEADER,
                quoted,
                "9QXYZBq8h_iEwA-3RnzhmDS3H8ACkEXdy8s0iM1KJDA=",
                true,
            ),
            (
                OPTECH_HEADER,
                OPTECH_HEADER,
                r#"{"data":{"a":2}}"#,
                "nVJlQArgV_x_qN2Y0Ca5fG5MfUC87u6Un49HHw-dNgo=",
                false,
            ),
            (
                OPTECH_HEADER,
                "x-other",
                "",
                "MA2FfMDLHShFJO1A_7PcgkzrigM0a77r46x-c5Ja_ng=",
                false,
            ),
            (OPTECH_HEADER, OPTECH_HEADER, "", "nonsense", false),
        ] {
            let headers = [(name, signature.as_bytes())];
            let got = check_signature(
                &endpoint(own),
                Headers(&headers),
                body.as_bytes(),
                Timestamp(0),
            );
            assert_eq!(got.is_ok(), want, "{name} {body} {got:?}");
        }
    }

    #[test]
    fn client_ids_come_in_three_forms() {
        let decode = |text: &str| STANDARD.decode(text).ok();
        let proper = format!("Basic {}", STANDARD.encode("opt_1:x"));
        for (authorization, want) in [
            ("Basic opt_1", true),
            ("Bearer opt_1", true),
            ("basic opt_1", true),
            (proper.as_str(), true),
            ("opt_1", false),
            ("Digest opt_1", false),
            ("Basic ", false),
            ("Basic opt_2", false),
        ] {
            let ids = client_ids(authorization, decode);
            assert_eq!(ids.iter().any(|id| id == "opt_1"), want, "{authorization}");
        }
    }

    #[test]
    fn links_lead_back_to_their_request() {
        let id = "req_3k0QzTBcNe9gMjZnU6rAt3PhF8d";
        let path = link_path(id);
        let below = path.strip_prefix("/ingest/").unwrap();
        assert_eq!(below.split('/').count(), 4, "{path}");
        assert_eq!(id_of_path(below), id);
        assert_eq!(id_of_path(id), id);
    }

    #[test]
    fn an_answer_is_an_object_of_data() {
        for (body, want) in [
            (r#"{"data":{"n": 1.10}}"#, Ok(r#"{"n": 1.10}"#)),
            (r#"{"data":{},"more":1}"#, Ok("{}")),
            ("", Err(400)),
            ("not JSON", Err(400)),
            ("[]", Err(422)),
            (r#"{"data":[]}"#, Err(422)),
            (r#"{"data":null}"#, Err(422)),
            ("{}", Err(422)),
        ] {
            let got = data_of(body.as_bytes());
            assert_eq!(got.as_deref().map_err(BadAnswer::status), want, "{body}");
        }
    }

    #[test]
    fn first_answers_mean_what_the_contract_says() {
        let data = r#"{"data":{"a":1}}"#;
        let wrong = Err(BadAnswer::WrongSignature);
        for (question, status, body, signed, want) in [
            (
                "q",
                200,
                data,
                Ok(()),
                FirstAnswer::Data(r#"{"a":1}"#.to_owned()),
            ),
            (
                "q",
                200,
                data,
                wrong.clone(),
                FirstAnswer::Failed("it answered 200, but its signature is wrong".to_owned()),
            ),
            (
                "q",
                200,
                "OK",
                Ok(()),
                FirstAnswer::Failed("it answered 200, but the body is not JSON".to_owned()),
            ),
            (
                VALIDATION,
                200,
                "OK",
                Ok(()),
                FirstAnswer::Data("{}".to_owned()),
            ),
            ("q", 202, "anything", wrong, FirstAnswer::Later),
            (
                "q",
                403,
                r#"{"detail":"No such user."}"#,
                Ok(()),
                FirstAnswer::Failed("it refused: 403: No such user.".to_owned()),
            ),
            (
                "q",
                404,
                "",
                Ok(()),
                FirstAnswer::Failed("it answered 404".to_owned()),
            ),
            (
                "q",
                503,
                "",
                Ok(()),
                FirstAnswer::Again("it answered 503".to_owned()),
            ),
        ] {
            let got = first_answer(question, status, body.as_bytes(), false, &signed);
            assert_eq!(got, want, "{status} {body}");
        }
    }

    #[test]
    fn questions_are_ascii() {
        let body = question_body("https://h/ingest/a", "get\u{e9}", "{\"a\":\"\u{2019}\"}");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"link":"https://h/ingest/a","key":"get\u00e9","inputs":{"a":"\u2019"},"data":{"a":"\u2019"}}"#
        );
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let waits: Vec<_> = (1..10).map(|tries| next_wait(tries).as_millis()).collect();
        assert_eq!(
            waits,
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
        );
    }
}
