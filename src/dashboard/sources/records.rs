//! Records: the latest state per key, and the events that made it.

use std::collections::BTreeMap;

use askama::Template;

use super::super::endpoints::{answer, back};
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Can, Frame, Tab};
use super::super::logs::Older;
use super::super::parts::{ApiCall, Moment, number};
use super::super::place::Place;
use super::received::before_asked;
use super::{Tabs, found, link, name_of};
use crate::domain::ids::Key as _;
use crate::domain::record::{Fields, HISTORY_MAX, Record};
use crate::domain::source::LiveSource;
use crate::http::paging::Params;

/// Records on a page.
const PAGE: usize = 50;
/// Fields that a row shows.
const FIELDS_SHOWN: usize = 4;
const SEARCH_CHARS_MAX: usize = 256;
/// Sources whose records are looked at for the newest of all.
const SOURCES_LOOKED_MAX: usize = 100;

/// The page of one record.
pub(super) fn record_link(place: &Place, source: &LiveSource, key: &str) -> String {
    let mut base = url::Url::parse("http://h/").expect("a URL");
    if let Ok(mut path) = base.path_segments_mut() {
        path.push(key);
    }
    link(place, source, &format!("/records{}", base.path()))
}

struct Field {
    name: String,
    value: String,
    /// Whether the newest event carried another value before.
    changed: bool,
}

/// A value as people read it: a text without its quotes.
fn readable(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

fn fields(of: &Fields, before: &BTreeMap<String, String>) -> Vec<Field> {
    let all = of.iter().map(|(name, value)| Field {
        name: name.clone(),
        value: readable(value),
        changed: before.get(name).is_some_and(|old| old != value),
    });
    all.collect()
}

struct Row {
    key: String,
    href: String,
    fields: Vec<Field>,
    more: usize,
    count: String,
    last: Moment,
}

impl Row {
    fn new(place: &Place, source: &LiveSource, record: &Record) -> Self {
        let mut all = fields(&record.fields, &BTreeMap::new());
        let more = all.len().saturating_sub(FIELDS_SHOWN);
        all.truncate(FIELDS_SHOWN);
        Self {
            href: record_link(place, source, &record.key),
            key: record.key.clone(),
            fields: all,
            more,
            count: number(record.count),
            last: Moment::new(record.last_seen, place.now),
        }
    }
}

struct OfOne {
    row: Row,
    source: String,
    source_href: String,
}

#[derive(Template)]
#[template(path = "dashboard/sources/all_records.html")]
struct AllPage {
    frame: Frame,
    sources: String,
    /// Whether any source keeps records.
    any: bool,
    rows: Vec<OfOne>,
}

/// `GET /records`: the newest of all sources.
pub(in super::super) async fn all_records(place: Place) -> Answered {
    let store = &place.state.store;
    let keeping = store.list_sources(place.scope(), None);
    let keeping = keeping
        .iter()
        .filter(|source| source.settings.record.is_some());
    let mut newest = Vec::new();
    let mut any = false;
    for source in keeping.rev().take(SOURCES_LOOKED_MAX) {
        any = true;
        let (records, _) = store.list_records(source.settings.key, None, None, PAGE)?;
        newest.extend(records.into_iter().map(|record| (record, source)));
    }
    newest.sort_by_key(|(record, _)| std::cmp::Reverse(record.last_seen));
    newest.truncate(PAGE);
    let rows = newest.iter().map(|(record, source)| OfOne {
        row: Row::new(&place, source, record),
        source: name_of(source),
        source_href: link(&place, source, "/records"),
    });
    let page = AllPage {
        frame: Frame::new(&place, Tab::Records, &[], "Records"),
        sources: place.link("/sources"),
        any,
        rows: rows.collect(),
    };
    answer(&page)
}

#[derive(Template)]
#[template(path = "dashboard/sources/records.html")]
struct RecordsPage {
    frame: Frame,
    tabs: Tabs,
    name: String,
    search: String,
    itself: String,
    rows: Vec<Row>,
    older: Option<Older>,
    api: ApiCall,
}

/// `GET /sources/{src}/records`
pub(in super::super) async fn records(place: Place, params: Params) -> Answered {
    let source = found(&place)?;
    let search = params.get("search").unwrap_or_default();
    let search: String = search.chars().take(SEARCH_CHARS_MAX).collect();
    let before = before_asked(&place, &params)?;
    let wanted = Some(search.as_str()).filter(|text| !text.is_empty());
    let store = &place.state.store;
    let (page, next) = store.list_records(source.settings.key, wanted, before, PAGE)?;
    let rows = page.iter().map(|record| Row::new(&place, &source, record));
    let itself = link(&place, &source, "/records");
    let trail = [
        ("Sources", "/sources".to_owned()),
        (
            &name_of(&source),
            format!("/sources/{}", place.id(source.settings.key)),
        ),
    ];
    let path = format!("/sources/{}/records", source.settings.slug);
    let rows = rows.collect();
    let page = RecordsPage {
        frame: Frame::new(&place, Tab::Sources, &trail, "Records"),
        tabs: Tabs::new(&place, &source, "records"),
        name: name_of(&source),
        search,
        rows,
        older: next.map(|next| Older {
            href: format!("{itself}{}", params.with("before", &place.id(next))),
            reached: Some(Moment::new(next.made_at(), place.now)),
        }),
        itself,
        api: ApiCall::new("api-records", "GET", &place.api(&path), None),
    };
    answer(&page)
}

struct Event {
    href: String,
    at: Moment,
    fields: Vec<Field>,
}

#[derive(Template)]
#[template(path = "dashboard/sources/record.html")]
struct RecordPage {
    frame: Frame,
    can: Can,
    tabs: Tabs,
    key: String,
    fields: Vec<Field>,
    first: Moment,
    last: Moment,
    count: String,
    message: Option<String>,
    events: Vec<Event>,
    delete: String,
    api: ApiCall,
}

/// `GET /sources/{src}/records/{record}`
pub(in super::super) async fn record(place: Place) -> Answered {
    let source = found(&place)?;
    let key = place.name("record").to_owned();
    let store = &place.state.store;
    let record = store.record_of(source.settings.key, &key)?;
    let record = record.ok_or_else(|| Failure::not_found("record"))?;
    let history = store.record_history(source.settings.key, &key, None, HISTORY_MAX)?;
    let mut events = Vec::with_capacity(history.len());
    for (at, change) in history.iter().enumerate() {
        // What the record was before this event: the next older one that says it.
        let mut before = BTreeMap::new();
        for name in change.fields.keys() {
            let mut older = history[at + 1..].iter();
            let told = older.find_map(|one| one.fields.get(name));
            before.extend(told.map(|value| (name.clone(), value.clone())));
        }
        events.push(Event {
            href: link(
                &place,
                &source,
                &format!("/received/{}", place.id(change.received)),
            ),
            at: Moment::new(change.received.made_at(), place.now),
            fields: fields(&change.fields, &before),
        });
    }
    let trail = [
        ("Sources", "/sources".to_owned()),
        (
            "Records",
            format!("/sources/{}/records", place.id(source.settings.key)),
        ),
    ];
    let itself = record_link(&place, &source, &key);
    let application = place.application_base(&place.id(source.settings.application));
    let path = format!("/sources/{}/records/{key}", source.settings.slug);
    let page = RecordPage {
        frame: Frame::new(&place, Tab::Sources, &trail, &key),
        can: place.can(),
        tabs: Tabs::new(&place, &source, "records"),
        fields: fields(&record.fields, &BTreeMap::new()),
        first: Moment::new(record.first_seen, place.now),
        last: Moment::new(record.last_seen, place.now),
        count: number(record.count),
        message: record
            .last_message
            .map(|message| format!("{application}/messages/{}", place.id(message))),
        events,
        delete: format!("{itself}/deletions"),
        api: ApiCall::new("api-record", "GET", &place.api(&path), None),
        key,
    };
    answer(&page)
}

/// `POST /sources/{src}/records/{record}/deletions`
pub(in super::super) async fn delete_record(place: Place, _: Form) -> Answered {
    let source = found(&place)?;
    let key = place.name("record").to_owned();
    place
        .state
        .store
        .delete_record(source.settings.key, key)
        .await?;
    Ok(back(&link(&place, &source, "/records"), "deleted"))
}
