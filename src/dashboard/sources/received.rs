//! What came to a source: rows of its log, and one request with all it had.

use askama::Template;
use axum::response::Response;
use http::HeaderMap;

use super::super::arrived::{self, Header};
use super::super::endpoints::{answer, back};
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Can, Frame, Tab};
use super::super::logs::{self, Fresh, LIVE_ROWS_MAX};
use super::super::parts::{ApiCall, Id, Moment, Tag, Well, bytes};
use super::super::place::Place;
use super::{Tabs, found, link, name_of, tag};
use crate::domain::ids::ReceivedKey;
use crate::domain::secret::Secret;
use crate::domain::source::{LiveSource, Receipt, SourceChange, Verdict};
use crate::domain::verification::{SECRET_BYTES_MAX, SECRETS_MAX};
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::{Taken, Written};

/// A row of the log.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) href: String,
    pub(super) verdict: Tag,
    pub(super) reason: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) size: String,
    pub(super) answered: u16,
    pub(super) at: Moment,
    pub(super) unkept: u32,
}

impl Row {
    pub(super) fn new(place: &Place, source: &LiveSource, receipt: &Receipt) -> Self {
        let id = place.id(receipt.key);
        Self {
            href: link(place, source, &format!("/received/{id}")),
            id,
            verdict: tag(receipt.verdict),
            reason: receipt.reason.clone(),
            method: receipt.method.clone(),
            path: receipt.path.clone(),
            size: bytes(receipt.body_bytes),
            answered: receipt.answered,
            at: Moment::new(receipt.at, place.now),
            unkept: receipt.unkept,
        }
    }
}

pub(super) fn verdict_asked(params: &Params) -> Result<Option<Verdict>, Problem> {
    let expected = "accepted, rejected, duplicate or handshake";
    params.parsed("verdict", expected, Verdict::from_name)
}

pub(super) fn before_asked(place: &Place, params: &Params) -> Result<Option<ReceivedKey>, Problem> {
    let ids = place.state.store.ids();
    params.parsed("before", "the id of a request", |text| ids.parse(text))
}

#[derive(Template)]
#[template(path = "dashboard/sources/_fresh.html")]
struct FreshRows {
    rows: Vec<Row>,
    /// Whether more may have come than is told.
    gap: bool,
    reload: String,
}

/// `GET /sources/{src}/live`: rows as they come.
pub(in super::super) async fn live(place: Place, params: Params, headers: HeaderMap) -> Answered {
    found(&place)?;
    Ok(logs::live(place, params, &headers, fresh_rows))
}

fn fresh_rows(
    place: &Place,
    params: &Params,
    after: ReceivedKey,
) -> Result<Fresh<ReceivedKey>, Failure> {
    let source = found(place)?;
    let verdict = verdict_asked(params)?;
    let store = &place.state.store;
    let key = source.settings.key;
    let (mut receipts, _) = store.list_receipts(key, verdict, None, LIVE_ROWS_MAX, 0)?;
    receipts.retain(|one| one.key > after);
    let newest = receipts.first().map_or(after, |one| one.key);
    if receipts.is_empty() {
        let html = String::new();
        return Ok(Fresh { html, newest });
    }
    let rows = receipts.iter().rev();
    let page = FreshRows {
        rows: rows.map(|one| Row::new(place, &source, one)).collect(),
        gap: receipts.len() == LIVE_ROWS_MAX,
        reload: link(place, &source, ""),
    };
    let html = page.render().expect("a template that only writes texts");
    Ok(Fresh { html, newest })
}

#[derive(Template)]
#[template(path = "dashboard/sources/received.html")]
struct ReceivedPage {
    frame: Frame,
    can: Can,
    tabs: Tabs,
    id: Id,
    verdict: Tag,
    is_rejected: bool,
    reason: String,
    method: String,
    path: String,
    at: Moment,
    answered: u16,
    took: String,
    peer: Option<String>,
    size: String,
    message: Option<String>,
    record: Option<(String, String)>,
    headers: Vec<Header>,
    body: Option<Well>,
    cut: bool,
    download: String,
    verify: String,
    still: Option<String>,
    api: ApiCall,
}

fn receipt_asked(place: &Place, source: &LiveSource) -> Result<Receipt, Failure> {
    let missing = || Failure::not_found("request");
    let key = place.state.store.ids().parse(place.name("rcv"));
    let receipt = place
        .state
        .store
        .receipt(source.settings.key, key.ok_or_else(missing)?)?;
    receipt.ok_or_else(missing)
}

fn microseconds(us: u32) -> String {
    if us < 1000 {
        format!("{us} µs")
    } else {
        format!("{}.{} ms", us / 1000, us % 1000 / 100)
    }
}

fn page_of(
    place: &Place,
    source: &LiveSource,
    receipt: &Receipt,
    still: Option<String>,
) -> ReceivedPage {
    let id = place.id(receipt.key);
    let itself = link(place, source, &format!("/received/{id}"));
    let trail = [
        ("Sources", "/sources".to_owned()),
        (
            &name_of(source),
            format!("/sources/{}", place.id(source.settings.key)),
        ),
    ];
    let kept = receipt.body.as_deref().unwrap_or_default();
    let application = place.application_base(&place.id(source.settings.application));
    let token = source.verifier.token_header();
    let header = |(name, value): &(String, Vec<u8>)| Header::new(name, value, token);
    let path = format!("/sources/{}/received/{id}", source.settings.slug);
    ReceivedPage {
        frame: Frame::new(place, Tab::Sources, &trail, "Request"),
        can: place.can(),
        tabs: Tabs::new(place, source, "log"),
        id: Id::new(id),
        verdict: tag(receipt.verdict),
        is_rejected: receipt.verdict == Verdict::Rejected,
        reason: receipt.reason.clone(),
        method: receipt.method.clone(),
        path: receipt.path.clone(),
        at: Moment::new(receipt.at, place.now),
        answered: receipt.answered,
        took: microseconds(receipt.took_us),
        peer: receipt.peer.map(|peer| peer.to_string()),
        size: bytes(receipt.body_bytes),
        message: receipt
            .message
            .map(|message| format!("{application}/messages/{}", place.id(message))),
        record: receipt.record.clone().map(|key| {
            let href = super::records::record_link(place, source, &key);
            (key, href)
        }),
        headers: receipt.headers.iter().map(header).collect(),
        body: arrived::body(kept),
        cut: arrived::is_long(kept) || !receipt.is_whole(),
        download: format!("{itself}/body"),
        verify: format!("{itself}/verifications"),
        still,
        api: ApiCall::new(
            "api-verify",
            "POST",
            &place.api(&format!("{path}/verifications")),
            Some(r#"{"secret": "...", "keep": true}"#),
        ),
    }
}

/// `GET /sources/{src}/received/{rcv}`
pub(in super::super) async fn received(place: Place) -> Answered {
    let source = found(&place)?;
    let receipt = receipt_asked(&place, &source)?;
    answer(&page_of(&place, &source, &receipt, None))
}

/// `GET /sources/{src}/received/{rcv}/body`: the bytes as they came, as a file.
pub(in super::super) async fn body(place: Place) -> Result<Response, Failure> {
    let source = found(&place)?;
    let receipt = receipt_asked(&place, &source)?;
    let body = receipt.body.ok_or_else(|| Failure::not_found("body"))?;
    Ok(arrived::download(body))
}

/// `POST /sources/{src}/received/{rcv}/verifications`
pub(in super::super) async fn verify(place: Place, form: Form) -> Answered {
    let source = found(&place)?;
    let receipt = receipt_asked(&place, &source)?;
    let itself = link(
        &place,
        &source,
        &format!("/received/{}", place.id(receipt.key)),
    );
    if receipt.verdict != Verdict::Rejected {
        return Ok(back(&itself, "verified"));
    }
    let secret = form
        .text("secret")
        .filter(|text| text.len() <= SECRET_BYTES_MAX);
    let secret = secret.map(Secret::new);
    let again = place
        .state
        .engine
        .verify_again(&source, receipt.clone(), secret.clone(), None);
    match again.await? {
        Err(reason) => answer(&page_of(&place, &source, &receipt, Some(reason))),
        Ok(taken) => {
            if form.has("keep") && secret.is_some() {
                let mut verification = source.settings.verification.clone();
                verification.secrets.splice(0..0, secret);
                verification.secrets.truncate(SECRETS_MAX);
                let change = SourceChange {
                    verification: Some(verification),
                    ..SourceChange::default()
                };
                let key = source.settings.key;
                place
                    .state
                    .store
                    .update_source(place.principal, key, change)
                    .await?;
            }
            let repeats = matches!(taken, Written::Fresh(Taken::Duplicate { .. }));
            Ok(back(&itself, if repeats { "repeats" } else { "verified" }))
        }
    }
}
