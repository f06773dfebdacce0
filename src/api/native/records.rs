//! `/sources/{src}/records`: the latest state per key.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::LINK;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::absent;
use super::sources::required;
use crate::domain::ids::{Ids, ReceivedKey};
use crate::domain::record::{Change, Fields, Record};
use crate::domain::time::Timestamp;
use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// Characters of a search.
const SEARCH_CHARS_MAX: usize = 256;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Record)]
pub(super) struct Shape<'a> {
    /// What names it within its source.
    key: &'a str,
    /// The latest value of each field.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    fields: BTreeMap<&'a str, &'a RawValue>,
    /// When its first event came.
    first_seen: Timestamp,
    /// When its last event came.
    last_seen: Timestamp,
    /// Events that made it.
    count: u64,
    /// The id of the message that came last.
    last_message: Option<String>,
}

fn values(fields: &Fields) -> BTreeMap<&str, &RawValue> {
    let pairs = fields.iter();
    pairs
        .map(|(name, text)| (name.as_str(), raw(text)))
        .collect()
}

fn raw(text: &str) -> &RawValue {
    serde_json::from_str(text).expect("only JSON texts are stored")
}

fn shape<'a>(record: &'a Record, ids: &Ids) -> Shape<'a> {
    Shape {
        key: &record.key,
        fields: values(&record.fields),
        first_seen: record.first_seen,
        last_seen: record.last_seen,
        count: record.count,
        last_message: record.last_message.map(|message| ids.text(message)),
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
    let expected =
        format!("a text of at most {SEARCH_CHARS_MAX} characters, none of them a control");
    let search = params.parsed("search", &expected, |text| {
        let plain = !text.chars().any(char::is_control);
        (plain && text.chars().count() <= SEARCH_CHARS_MAX).then(|| text.to_owned())
    })?;
    let source = required(&state, principal, &src)?;
    let key = source.settings.key;
    let (page, next) = state
        .store
        .list_records(key, search.as_deref(), before, take)?;
    let shapes: Vec<_> = page.iter().map(|record| shape(record, ids)).collect();
    let mut response = json(StatusCode::OK, &shapes);
    if let Some(next) = next {
        let link = params.next_link(&ids.text(next));
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((src, key)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let Some(source) = state.control().source(principal, &src) else {
        return Ok(absent());
    };
    let record = state.store.record_of(source.settings.key, &key)?;
    Ok(record.map_or_else(absent, |record| {
        json(StatusCode::OK, &shape(&record, state.store.ids()))
    }))
}

pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((src, key)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let source = required(&state, principal, &src)?;
    let deleted = state.store.delete_record(source.settings.key, key).await?;
    Ok(json(StatusCode::OK, &shape(&deleted, state.store.ids())))
}

#[derive(Serialize, ToSchema)]
#[schema(as = RecordChange)]
pub(super) struct ChangeShape<'a> {
    /// The id of what was received.
    received: String,
    /// When it came.
    timestamp: Timestamp,
    /// The fields that it carried.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    fields: BTreeMap<&'a str, &'a RawValue>,
}

fn change<'a>(change: &'a Change, ids: &Ids) -> ChangeShape<'a> {
    ChangeShape {
        received: ids.text(change.received),
        timestamp: crate::domain::ids::Key::made_at(change.received),
        fields: values(&change.fields),
    }
}

/// The events that made a record, newest first.
pub(super) async fn history(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((src, key)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Problem> {
    let take = params.page_size()?;
    let ids = state.store.ids();
    let before = params.parsed("before", "the id of something received", |text| {
        ids.parse::<ReceivedKey>(text)
    })?;
    let source = required(&state, principal, &src)?;
    let source = source.settings.key;
    if state.store.record_of(source, &key)?.is_none() {
        return Err(Problem::not_found("record"));
    }
    let mut page = state.store.record_history(source, &key, before, take + 1)?;
    let more = page.len() > take;
    page.truncate(take);
    let shapes: Vec<_> = page.iter().map(|one| change(one, ids)).collect();
    let mut response = json(StatusCode::OK, &shapes);
    if more && let Some(last) = page.last() {
        let link = params.next_link(&ids.text(last.received));
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}
