//! `/ingest/...`: answers to requests, from those who were asked.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde_json::Value;

use crate::control::FieldError;
use crate::domain::ids::RequestKey;
use crate::domain::request::{
    ANSWER_BYTES_MAX, BadAnswer, INPUTS_BYTES_MAX, QUESTION_CHARS_MAX, id_of_path,
};
use crate::engine::receive;
use crate::engine::requests::LinkAnswer;
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::NewRequest;

const BASE: &str = "/ingest/";
/// Seconds for the answer to a test.
const TEST_SECONDS: u64 = 10;
/// What a test asks for when it does not say.
const TEST: &str = "test";

/// The routes under `/ingest/`.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/ingest/validate", any(validate))
        .route("/ingest/test/{name}", any(test))
        .route("/ingest/{id}", any(answer))
        .route("/ingest/{a}/{b}/{c}/{d}", any(answer))
}

fn only_post(method: &Method) -> Result<(), Problem> {
    if method == Method::POST {
        return Ok(());
    }
    let detail = "Answers are posted here.";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", detail);
    Err(problem.with_header(ALLOW, "POST"))
}

fn problem_of(bad: &BadAnswer) -> Problem {
    let status = StatusCode::from_u16(bad.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let text = bad.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    let detail = format!(
        "{}{}. The request stays open.",
        first.unwrap_or_default(),
        chars.as_str()
    );
    Problem::new(status, bad.code(), detail)
}

fn ok() -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (StatusCode::OK, [(CONTENT_TYPE, kind)], "OK").into_response()
}

/// `POST` of a link: the answer that was promised.
async fn answer(
    State(state): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    only_post(&method)?;
    let path = uri.path().strip_prefix(BASE).unwrap_or_default();
    let id = id_of_path(path.trim_end_matches('/'));
    let key: Option<RequestKey> = state.store.ids().parse(&id);
    let key = key.ok_or_else(|| Problem::not_found("request"))?;
    let body = body::read(&headers, body, ANSWER_BYTES_MAX).await?;
    let headers = receive::list(&headers);
    let taken = state.engine.take_answer(key, &headers, &body);
    match taken.await? {
        LinkAnswer::Taken => Ok(ok()),
        LinkAnswer::NoRequest => Err(Problem::not_found("request")),
        LinkAnswer::Ended => Err(crate::store::Refusal::LinkEnded.into()),
        LinkAnswer::AnsweredOtherwise => {
            let problem: Problem = crate::store::Refusal::AnsweredOtherwise.into();
            let retry = HeaderName::from_static("x-should-retry");
            Err(problem.with_header(retry, "false"))
        }
        LinkAnswer::Bad(bad) => Err(problem_of(&bad)),
    }
}

/// `POST /ingest/validate`: whether client id and secret are right.
async fn validate(
    State(state): State<AppState>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    only_post(&method)?;
    let body = body::read(&headers, body, ANSWER_BYTES_MAX).await?;
    match state.engine.client(&receive::list(&headers), &body)? {
        Ok(_) => Ok(ok()),
        Err(bad) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            bad.code(),
            "The client id or the signature is not right.",
        )),
    }
}

/// `POST /ingest/test/{endpoint or key}`: asks the endpoint whose client id and
/// signature it carries, as a test.
async fn test(
    State(state): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    only_post(&method)?;
    let body = body::read(&headers, body, ANSWER_BYTES_MAX).await?;
    let live = match state.engine.client(&receive::list(&headers), &body)? {
        Ok(live) => live,
        Err(bad) => return Err(problem_of(&bad)),
    };
    let last = uri
        .path()
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let name = url::form_urlencoded::parse(format!("n={}", last.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, name)| name.into_owned())
        .unwrap_or_default();
    let settings = &live.settings;
    let is_endpoint = settings.uid.as_deref() == Some(&name)
        || state.store.ids().parse(&name) == Some(settings.key);
    let name = if is_endpoint { TEST.to_owned() } else { name };
    let inputs = inputs_of(&body);
    let mut wrong = Vec::new();
    if name.is_empty() || name.chars().count() > QUESTION_CHARS_MAX {
        let detail = "must have 1 to 256 characters, at the end of the URL";
        wrong.push(FieldError::new("key", detail));
    }
    if inputs
        .as_ref()
        .is_none_or(|inputs| inputs.len() > INPUTS_BYTES_MAX)
    {
        let detail = format!(
            "must be an object of at most {INPUTS_BYTES_MAX} bytes, in a body like {{\"inputs\": {{}}}}"
        );
        wrong.push(FieldError::new("inputs", detail));
    }
    let Some(inputs) = inputs.filter(|_| wrong.is_empty()) else {
        return Err(Problem::invalid(wrong));
    };
    let new = NewRequest {
        application: settings.application,
        endpoint: settings.key,
        question: name,
        inputs,
        timeout: std::time::Duration::from_secs(TEST_SECONDS),
    };
    let scope = crate::domain::principal::Scope {
        environment: settings.environment,
        application: Some(settings.application),
    };
    state.store.create_request(scope, new, None).await?;
    Ok(ok())
}

/// The inputs of a test, an empty object when it has none; `None` when they are
/// something else.
fn inputs_of(body: &[u8]) -> Option<String> {
    if body.trim_ascii().is_empty() {
        return Some("{}".to_owned());
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    match value.as_object()?.get("inputs") {
        None => Some("{}".to_owned()),
        Some(inputs) => inputs.is_object().then(|| inputs.to_string()),
    }
}
