//! Sources: where other people's webhooks come in, with their live log.

mod form;
mod received;
mod records;

use std::sync::Arc;

use askama::Template;

use super::endpoints::{answer, back};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Can, Frame, Kind, Tab};
use super::logs::Older;
use super::parts::{ApiCall, Moment, Tag, Well, number, percent};
use super::place::Place;
use crate::domain::source::{AnswerRule, Counts, LiveSource, Verdict};
use crate::domain::time::Timestamp;
use crate::domain::verification::SettingKind;
use crate::http::paging::Params;
use crate::store::Refusal;

pub(super) use self::form::{create, edit, new, update};
pub(super) use self::received::{body, live, received, verify};
pub(super) use self::records::{all_records, delete_record, record, records};

/// Rows of the log on a page.
const PAGE: usize = 50;
/// What shares are of.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The source in the path, if the viewer sees it.
fn found(place: &Place) -> Result<Arc<LiveSource>, Failure> {
    let source = place
        .state
        .control()
        .source(place.principal, place.name("src"));
    source.ok_or_else(|| Failure::not_found("source"))
}

/// The page of a source, or below it.
fn link(place: &Place, source: &LiveSource, path: &str) -> String {
    place.link(&format!("/sources/{}{path}", place.id(source.settings.key)))
}

fn name_of(source: &LiveSource) -> String {
    if source.settings.name.is_empty() {
        source.settings.slug.clone()
    } else {
        source.settings.name.clone()
    }
}

fn counts_of(place: &Place, source: &LiveSource) -> Result<Counts, Failure> {
    let since = Timestamp(place.now.0.saturating_sub(DAY_MS));
    Ok(place
        .state
        .store
        .source_counts(source.settings.key, since)?)
}

/// The share of events that were verified.
fn verified(counts: Counts) -> String {
    let good = counts.accepted + counts.duplicate;
    percent(good, good + counts.rejected)
}

fn application_name(place: &Place, source: &LiveSource) -> Result<String, Failure> {
    let entry = place.state.store.application(source.settings.application)?;
    Ok(entry.map_or_else(String::new, |entry| entry.application.name.clone()))
}

/// A verdict in colour.
fn tag(verdict: Verdict) -> Tag {
    match verdict {
        Verdict::Accepted => Tag::new(Kind::Good, "Accepted"),
        Verdict::Rejected => Tag::new(Kind::Bad, "Rejected"),
        Verdict::Duplicate => Tag::new(Kind::Idle, "Duplicate"),
        Verdict::Handshake => Tag::new(Kind::Wait, "Handshake"),
    }
}

struct Row {
    name: String,
    href: String,
    url: String,
    preset: &'static str,
    application: String,
    verified: String,
    rejected: u64,
    last: Option<Moment>,
    enabled: bool,
}

#[derive(Template)]
#[template(path = "dashboard/sources/index.html")]
struct IndexPage {
    frame: Frame,
    can: Can,
    rows: Vec<Row>,
    add: String,
    api: ApiCall,
}

/// `GET /sources`
pub(super) async fn index(place: Place) -> Answered {
    let control = place.state.control();
    let store = &place.state.store;
    let mut rows = Vec::new();
    for source in store.list_sources(place.scope(), None).iter().rev() {
        let counts = counts_of(&place, source)?;
        let (newest, _) = store.list_receipts(source.settings.key, None, None, 1, 0)?;
        rows.push(Row {
            name: name_of(source),
            href: link(&place, source, ""),
            url: control.source_url(source),
            preset: source.verifier.preset.label,
            application: application_name(&place, source)?,
            verified: verified(counts),
            rejected: counts.rejected,
            last: newest.first().map(|one| Moment::new(one.at, place.now)),
            enabled: source.settings.enabled,
        });
    }
    let body = r#"{"name": "GitHub", "application": "acme", "verification": {"preset": "github", "secrets": ["..."]}}"#;
    let page = IndexPage {
        frame: Frame::new(&place, Tab::Sources, &[], "Sources"),
        can: place.can(),
        rows,
        add: place.link("/sources/new"),
        api: ApiCall::new("api-sources", "POST", &place.api("/sources"), Some(body)),
    };
    answer(&page)
}

/// The tabs above a source's pages.
struct Tabs {
    log: String,
    records: Option<String>,
    settings: Option<String>,
    current: &'static str,
}

impl Tabs {
    fn new(place: &Place, source: &LiveSource, current: &'static str) -> Self {
        let keeps = source.settings.record.is_some();
        Self {
            log: link(place, source, ""),
            records: keeps.then(|| link(place, source, "/records")),
            settings: place.can().manage.then(|| link(place, source, "/edit")),
            current,
        }
    }
}

/// A tab that narrows the log to one verdict.
struct Choice {
    label: &'static str,
    href: String,
    count: String,
    current: bool,
}

struct Secrets {
    texts: Vec<Well>,
}

#[derive(Template)]
#[template(path = "dashboard/sources/show.html")]
struct ShowPage {
    frame: Frame,
    can: Can,
    tabs: Tabs,
    name: String,
    enabled: bool,
    url: Well,
    preset: &'static str,
    page: &'static str,
    steps: &'static [&'static str],
    application: String,
    application_href: String,
    verified: String,
    choices: Vec<Choice>,
    rows: Vec<received::Row>,
    older: Option<Older>,
    live: String,
    secret_count: usize,
    secrets: Option<Secrets>,
    reveal: String,
    answers: String,
    delete: String,
    api: ApiCall,
}

/// What a source answers, in words.
fn answers(place: &Place, source: &LiveSource) -> String {
    match &source.settings.answer {
        AnswerRule::Endpoint { endpoint, seconds } => format!(
            "What endpoint {} answers within {seconds} s",
            place.id(*endpoint)
        ),
        AnswerRule::Fixed(fixed) => format!("{} {}", fixed.status, fixed.content_type),
        AnswerRule::Preset => {
            let answer = source.verifier.preset.answer;
            match answer.body {
                "" => format!("{} without a body", answer.status),
                body => format!("{} {body}", answer.status),
            }
        }
    }
}

fn choices(itself: &str, counts: Counts, chosen: Option<Verdict>) -> Vec<Choice> {
    let choice = |label, verdict: Option<Verdict>, count: u64| Choice {
        label,
        href: match verdict {
            None => itself.to_owned(),
            Some(verdict) => format!("{itself}?verdict={}", verdict.name()),
        },
        count: number(count),
        current: verdict == chosen,
    };
    vec![
        choice("All", None, counts.total()),
        choice("Accepted", Some(Verdict::Accepted), counts.accepted),
        choice("Rejected", Some(Verdict::Rejected), counts.rejected),
        choice("Duplicates", Some(Verdict::Duplicate), counts.duplicate),
        choice("Handshakes", Some(Verdict::Handshake), counts.handshake),
    ]
}

fn show_page(
    place: &Place,
    source: &LiveSource,
    params: &Params,
    secrets: Option<Secrets>,
) -> Result<ShowPage, Failure> {
    let verdict = received::verdict_asked(params)?;
    let before = received::before_asked(place, params)?;
    let store = &place.state.store;
    let (receipts, next) = store.list_receipts(source.settings.key, verdict, before, PAGE, 0)?;
    let rows = receipts
        .iter()
        .map(|one| received::Row::new(place, source, one));
    let counts = counts_of(place, source)?;
    let itself = link(place, source, "");
    let preset = source.verifier.preset;
    let application = place.id(source.settings.application);
    let trail = [("Sources", "/sources".to_owned())];
    let path = format!("/sources/{}/received", source.settings.slug);
    Ok(ShowPage {
        frame: Frame::new(place, Tab::Sources, &trail, &name_of(source)),
        can: place.can(),
        tabs: Tabs::new(place, source, "log"),
        name: name_of(source),
        enabled: source.settings.enabled,
        url: Well::new("source-url", place.state.control().source_url(source)),
        preset: preset.label,
        page: preset.page,
        steps: preset.steps,
        application: application_name(place, source)?,
        application_href: place.application_base(&application),
        verified: verified(counts),
        choices: choices(&itself, counts, verdict),
        rows: rows.collect(),
        older: next.map(|next| Older {
            href: format!("{itself}{}", params.with("before", &place.id(next))),
            reached: None,
        }),
        live: format!("{itself}/live{}", params.query()),
        secret_count: source.settings.verification.secrets.len(),
        secrets,
        reveal: format!("{itself}/secret-reveals"),
        answers: answers(place, source),
        delete: format!("{itself}/deletions"),
        api: ApiCall::new("api-received", "GET", &place.api(&path), None),
    })
}

/// `GET /sources/{src}`
pub(super) async fn show(place: Place, params: Params) -> Answered {
    let source = found(&place)?;
    answer(&show_page(&place, &source, &params, None)?)
}

/// `POST /sources/{src}/secret-reveals`: the page once more, with the secrets in
/// it. That it was asked for is in the audit log.
pub(super) async fn reveal(place: Place, _: Form) -> Answered {
    let source = found(&place)?;
    let read = place
        .state
        .store
        .read_source_secrets(place.principal, source.settings.key);
    let source = read.await?;
    let verification = &source.settings.verification;
    let secrets = verification
        .secrets
        .iter()
        .map(|secret| secret.expose().to_owned());
    let settings = source.verifier.preset.settings.iter();
    let settings = settings.filter(|setting| setting.kind == SettingKind::Secret);
    let settings = settings.filter_map(|setting| verification.settings.get(setting.name).cloned());
    let texts = secrets.chain(settings).enumerate();
    let secrets = Secrets {
        texts: texts
            .map(|(at, text)| Well::new(format!("secret-{at}"), text))
            .collect(),
    };
    answer(&show_page(&place, &source, &Params::none(), Some(secrets))?)
}

/// `POST /sources/{src}/deletions`
pub(super) async fn delete(place: Place, _: Form) -> Answered {
    let source = found(&place)?;
    let deleted = place
        .state
        .store
        .delete_source(place.principal, source.settings.key);
    match deleted.await {
        Ok(_) => Ok(back(&place.link("/sources"), "deleted")),
        Err(crate::store::WriteError::Refused(Refusal::NoSource)) => {
            Err(Failure::not_found("source"))
        }
        Err(error) => Err(error.into()),
    }
}
