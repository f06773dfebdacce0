//! `/sources/{src}/received`: the log of what came to a source.

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::LINK;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::sources::required;
use super::{absent, idempotent, written};
use crate::domain::endpoint::{MASKED, is_secret_header};
use crate::domain::ids::{Ids, ReceivedKey};
use crate::domain::principal::Principal;
use crate::domain::secret::Secret;
use crate::domain::source::{LiveSource, Receipt, SourceChange, Verdict};
use crate::domain::time::Timestamp;
use crate::domain::verification::{SECRET_BYTES_MAX, SECRETS_MAX};
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::{Taken, Written};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SourceReceived)]
pub(super) struct Shape {
    id: String,
    /// When it came.
    timestamp: Timestamp,
    /// `accepted`, `rejected`, `duplicate` or `handshake`.
    verdict: &'static str,
    /// Why it was rejected, what it repeats, which handshake it was.
    reason: String,
    /// Its method.
    method: String,
    /// Path and query below the source's URL.
    path: String,
    /// As they came, each a name and a value; secret ones masked.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: Vec<(String, String)>,
    /// What was in it; null when it is no longer kept.
    body: Option<String>,
    /// `utf-8`, or `base64` when the bytes are not UTF-8.
    body_encoding: &'static str,
    /// Bytes that came; more than `body` has when it was cut.
    body_bytes: u64,
    /// The status of the answer.
    answer_status: u16,
    /// How long that took.
    took_microseconds: u32,
    /// Who connected; null for what came from this server itself.
    peer: Option<String>,
    /// The id of the message that came of it.
    message: Option<String>,
    /// The key of the record that it changed.
    record: Option<String>,
    /// Refused requests before it that were counted and not kept.
    not_kept: u32,
}

/// Bytes of bodies on a page of a list: it ends after the one that reaches it.
pub(super) const BODIES_BYTES_MAX: usize = 4 << 20;

/// The value of a header, unless it is a secret. `token` names the header that
/// the sender proves itself by.
pub(super) fn shown(name: &str, value: &[u8], token: Option<&str>) -> String {
    if is_secret_header(name, token) {
        MASKED.to_owned()
    } else {
        String::from_utf8_lossy(value).into_owned()
    }
}

/// A body in JSON.
pub(super) struct BodyShape {
    pub(super) text: String,
    /// `utf-8`, or `base64` when the bytes are not UTF-8.
    pub(super) encoding: &'static str,
}

impl BodyShape {
    pub(super) fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                text: text.to_owned(),
                encoding: "utf-8",
            },
            Err(_) => Self {
                text: STANDARD.encode(bytes),
                encoding: "base64",
            },
        }
    }
}

fn shape(receipt: &Receipt, source: &LiveSource, ids: &Ids) -> Shape {
    let body = receipt.body.as_deref().map(BodyShape::new);
    let token = source.verifier.token_header();
    let header = |(name, value): &(String, Vec<u8>)| (name.clone(), shown(name, value, token));
    Shape {
        id: ids.text(receipt.key),
        timestamp: receipt.at,
        verdict: receipt.verdict.name(),
        reason: receipt.reason.clone(),
        method: receipt.method.clone(),
        path: receipt.path.clone(),
        headers: receipt.headers.iter().map(header).collect(),
        body_encoding: body.as_ref().map_or("utf-8", |body| body.encoding),
        body: body.map(|body| body.text),
        body_bytes: receipt.body_bytes,
        answer_status: receipt.answered,
        took_microseconds: receipt.took_us,
        peer: receipt.peer.map(|peer| peer.to_string()),
        message: receipt.message.map(|message| ids.text(message)),
        record: receipt.record.clone(),
        not_kept: receipt.unkept,
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(src): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let take = params.page_size()?;
    let ids = state.store.ids();
    let before = params.parsed("before", "the id of something received", |text| {
        ids.parse::<ReceivedKey>(text)
    })?;
    let verdict = params.parsed(
        "verdict",
        "accepted, rejected, duplicate or handshake",
        Verdict::from_name,
    )?;
    let source = required(&state, principal, &src)?;
    let (page, next) =
        state
            .store
            .list_receipts(source.settings.key, verdict, before, take, BODIES_BYTES_MAX)?;
    let shapes: Vec<_> = page.iter().map(|one| shape(one, &source, ids)).collect();
    let mut response = json(StatusCode::OK, &shapes);
    if let Some(next) = next {
        let link = params.next_link(&ids.text(next));
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

fn found(state: &AppState, source: &LiveSource, id: &str) -> Result<Option<Receipt>, Problem> {
    let Some(key) = state.store.ids().parse::<ReceivedKey>(id) else {
        return Ok(None);
    };
    Ok(state.store.receipt(source.settings.key, key)?)
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((src, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let Some(source) = state.control().source(principal, &src) else {
        return Ok(absent());
    };
    let receipt = found(&state, &source, &id)?;
    Ok(receipt.map_or_else(absent, |receipt| {
        json(StatusCode::OK, &shape(&receipt, &source, state.store.ids()))
    }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = VerifiedAgain)]
pub(super) struct VerifiedShape {
    /// `accepted`, `duplicate` or `rejected`.
    verdict: &'static str,
    /// Why it is still rejected.
    reason: String,
    /// The id of the message that came of it.
    message: Option<String>,
}

/// Verifies something that was rejected again, and accepts it if it is good.
pub(super) async fn verify(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((src, id)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let ids = state.store.ids().clone();
    let render = move |taken: &Taken| (StatusCode::OK, to_json(&verified(taken, &ids)));
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let empty = body.trim_ascii().is_empty();
    let mut fields = Fields::parse(if empty { b"{}" } else { &body })?;
    let secret = fields.any_text("secret");
    if let Some(text) = &secret
        && (text.is_empty() || text.len() > SECRET_BYTES_MAX)
    {
        fields.wrong("secret", format!("must have 1 to {SECRET_BYTES_MAX} bytes"));
    }
    let keep = fields.boolean("keep").unwrap_or(false);
    fields.finish()?;
    if let Some(repeated) = state.store.repeated(idempotent.as_ref())? {
        return Ok(written(Written::Repeated(repeated), render));
    }
    let source = required(&state, principal, &src)?;
    let receipt = found(&state, &source, &id)?.ok_or_else(|| Problem::not_found("request"))?;
    if receipt.verdict != Verdict::Rejected {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "not_rejected",
            "Only what was rejected can be verified again.",
        ));
    }
    let secret = secret.map(Secret::new);
    let again = state
        .engine
        .verify_again(&source, receipt, secret.clone(), idempotent);
    let judged = again.await?;
    if judged.is_ok() && keep && secret.is_some() {
        keep_secret(&state, principal, &source, secret).await?;
    }
    Ok(match judged {
        Ok(taken) => written(taken, render),
        Err(reason) => {
            let shape = VerifiedShape {
                verdict: Verdict::Rejected.name(),
                reason,
                message: None,
            };
            json(StatusCode::OK, &shape)
        }
    })
}

fn verified(taken: &Taken, ids: &Ids) -> VerifiedShape {
    match taken {
        Taken::Accepted { accepted, .. } => VerifiedShape {
            verdict: Verdict::Accepted.name(),
            reason: String::new(),
            message: Some(ids.text(accepted.content.0.key)),
        },
        Taken::Duplicate { first, .. } => VerifiedShape {
            verdict: Verdict::Duplicate.name(),
            reason: format!("the same event came as {}", ids.text(*first)),
            message: None,
        },
    }
}

/// Puts a secret that was right before those there are.
async fn keep_secret(
    state: &AppState,
    principal: Principal,
    source: &LiveSource,
    secret: Option<Secret>,
) -> Result<(), Problem> {
    let mut verification = source.settings.verification.clone();
    verification.secrets.splice(0..0, secret);
    verification.secrets.truncate(SECRETS_MAX);
    let change = SourceChange {
        verification: Some(verification),
        ..SourceChange::default()
    };
    let key = source.settings.key;
    state.store.update_source(principal, key, change).await?;
    Ok(())
}
