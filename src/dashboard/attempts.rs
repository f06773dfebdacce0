//! Lists of attempts: of everything, of an application, of an endpoint.

use std::fmt::Write as _;

use askama::Template;
use serde_json::json;

use super::endpoints::answer;
use super::failure::{Answered, Failure};
use super::frame::{Can, Frame, Tab};
use super::logs::{Fresh, LIVE_ROWS_MAX, LogTabs, Older};
use super::parts::{
    ApiCall, Id, Moment, Tag, field_time, milliseconds, outcome_name_words, parse_field_time,
};
use super::place::Place;
use crate::domain::attempt::{Attempt, OUTCOMES};
use crate::domain::delivery::{Trigger, Verdict};
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{AttemptKey, EndpointKey};
use crate::http::paging::Params;
use crate::store::{AttemptFilter, OutcomeFilter};

/// Attempts on a page.
const PAGE: usize = 50;

/// One attempt in a list.
pub(super) struct Row {
    pub(super) tag: Tag,
    pub(super) failed: bool,
    pub(super) event_type: String,
    pub(super) message: Id,
    pub(super) href: String,
    pub(super) url: String,
    pub(super) number: u32,
    pub(super) manual: bool,
    pub(super) duration: String,
    pub(super) at: Moment,
    pub(super) next: Option<Moment>,
    /// Where the delivery is replayed.
    pub(super) replay: String,
    /// Message and endpoint, for what is chosen.
    pub(super) pair: String,
}

impl Row {
    pub(super) fn new(place: &Place, attempt: &Attempt, event_type: Option<&str>) -> Self {
        let of = &attempt.of;
        let base = place.application_base(&place.id(of.application));
        let message = place.id(of.message);
        let endpoint = place.id(of.endpoint);
        let href = format!("{base}/messages/{message}");
        Self {
            tag: Tag::of_attempt(&of.exchange.outcome, of.verdict),
            failed: of.verdict != Verdict::Delivered,
            event_type: event_type.unwrap_or("(message forgotten)").to_owned(),
            replay: format!("{href}/endpoints/{endpoint}/replays"),
            message: Id::linked(message.clone(), href.clone()),
            href,
            url: of.request.url.clone(),
            number: attempt.number,
            manual: of.trigger == Trigger::Manual,
            duration: milliseconds(u64::from(of.exchange.timing.total_us / 1000)),
            at: Moment::new(of.started, place.now),
            next: attempt
                .next
                .filter(|next| *next > place.now)
                .map(|next| Moment::new(next, place.now)),
            pair: format!("{message} {endpoint}"),
        }
    }
}

/// A list of attempts with what it was asked for.
pub(super) struct AttemptList {
    pub(super) rows: Vec<Row>,
    pub(super) older: Option<Older>,
    pub(super) all: String,
    pub(super) succeeded: String,
    pub(super) failed: String,
    pub(super) outcome: &'static str,
    pub(super) is_filtered: bool,
}

/// What the address asks for.
pub(super) struct Asked {
    filter: AttemptFilter,
    endpoint: Option<EndpointKey>,
    before: Option<AttemptKey>,
}

impl Asked {
    fn read(place: &Place, params: &Params, of: Option<&LiveEndpoint>) -> Result<Self, Failure> {
        let outcome = params.parsed("outcome", "succeeded or failed", |text| match text {
            "succeeded" => Some(OutcomeFilter::Delivered),
            "failed" => Some(OutcomeFilter::Failed),
            _ => None,
        })?;
        let status_class = params.parsed("code", "none, 1xx ... 5xx", |text| {
            if text == "none" {
                Some(0)
            } else {
                let class = text.strip_suffix("xx")?.parse::<u16>().ok()?;
                (1..=5).contains(&class).then_some(class * 100)
            }
        })?;
        let result = params.parsed("error", "the name of an error", |text| {
            OUTCOMES.into_iter().find(|known| *known == text)
        })?;
        let trigger = params.parsed("trigger", "scheduled or manual", |text| match text {
            "scheduled" => Some(Trigger::Scheduled),
            "manual" => Some(Trigger::Manual),
            _ => None,
        })?;
        let event_type = params.parsed("type", "an event type, such as order.*", |text| {
            EventFilter::parse(text).ok()
        })?;
        let endpoint = match (of, params.get("endpoint")) {
            (Some(live), _) => Some(live.settings.key),
            (None, Some(id)) => Some(super::logs::endpoint_asked(place, id)?),
            (None, None) => None,
        };
        let ids = place.state.store.ids();
        let before = params.parsed("before", "the id of an attempt", |text| ids.parse(text))?;
        Ok(Self {
            filter: AttemptFilter {
                outcome,
                status_class,
                result,
                trigger,
                event_type,
                after: params.parsed("from", "a time", parse_field_time)?,
                before: params.parsed("to", "a time", parse_field_time)?,
            },
            endpoint,
            before,
        })
    }
}

/// The list that the address asks for, `take` rows of it.
pub(super) fn list_of(
    place: &Place,
    of: Option<&LiveEndpoint>,
    params: &Params,
    take: usize,
) -> Result<AttemptList, Failure> {
    let asked = Asked::read(place, params, of)?;
    let store = &place.state.store;
    let found = store.browse_attempts(
        place.scope(),
        asked.endpoint,
        &asked.filter,
        asked.before,
        take,
    )?;
    let rows = found.rows.iter();
    let rows = rows.map(|row| {
        let line = Row::new(place, &row.attempt, row.event_type.as_deref());
        // On an endpoint's own page its URL is said already.
        let url = if of.is_some() {
            String::new()
        } else {
            line.url
        };
        Row { url, ..line }
    });
    let next = found.next.map(|next| place.id(next));
    let itself = match of {
        Some(live) => super::endpoints::link(place, live.settings.key, ""),
        None => place.link("/attempts"),
    };
    let at = |query: String| format!("{itself}{query}");
    Ok(AttemptList {
        rows: rows.collect(),
        older: next.map(|next| Older {
            href: at(params.with("before", &next)),
            reached: found.reached.map(|at| Moment::new(at, place.now)),
        }),
        all: at(params.without(&["outcome", "before", "notice"])),
        succeeded: at(params.with("outcome", "succeeded")),
        failed: at(params.with("outcome", "failed")),
        outcome: match asked.filter.outcome {
            None => "all",
            Some(OutcomeFilter::Delivered) => "succeeded",
            Some(OutcomeFilter::Failed) => "failed",
        },
        is_filtered: params.is_any(),
    })
}

struct Choice {
    value: &'static str,
    label: String,
}

#[derive(Template)]
#[template(path = "dashboard/attempts/index.html")]
struct IndexPage {
    frame: Frame,
    can: Can,
    tabs: LogTabs,
    list: AttemptList,
    codes: Vec<Choice>,
    errors: Vec<Choice>,
    code: String,
    error: String,
    event_type: String,
    endpoint: String,
    from: String,
    to: String,
    itself: String,
    replay_chosen: String,
    export: String,
    live: String,
    api: ApiCall,
}

/// `GET /attempts`
pub(super) async fn index(place: Place, params: Params) -> Answered {
    let list = list_of(&place, None, &params, PAGE)?;
    let text = |name: &str| params.get(name).unwrap_or_default().to_owned();
    let time = |name: &str| {
        let moment = params.get(name).and_then(parse_field_time);
        moment.map_or_else(String::new, field_time)
    };
    let codes = ["2xx", "3xx", "4xx", "5xx", "none"].map(|value| Choice {
        value,
        label: if value == "none" {
            "No answer".to_owned()
        } else {
            value.to_owned()
        },
    });
    let errors = OUTCOMES.into_iter().skip(1).map(|value| Choice {
        value,
        label: outcome_name_words(value).to_owned(),
    });
    let trail = [("Logs", "/messages".to_owned())];
    let api = place.application.as_ref().map_or_else(
        || "/applications/APP/endpoints/EP/attempts?outcome=failed".to_owned(),
        |entry| {
            let id = place.id(entry.application.key);
            format!("/applications/{id}/endpoints/EP/attempts?outcome=failed")
        },
    );
    let page = IndexPage {
        frame: Frame::new(&place, Tab::Logs, &trail, "Attempts"),
        can: place.can(),
        tabs: LogTabs::new(&place, "attempts"),
        list,
        codes: codes.into(),
        errors: errors.collect(),
        code: text("code"),
        error: text("error"),
        event_type: text("type"),
        endpoint: text("endpoint"),
        from: time("from"),
        to: time("to"),
        itself: place.link("/attempts"),
        replay_chosen: place.link("/replays"),
        export: format!("{}{}", place.link("/attempts/export"), params.query()),
        live: format!("{}{}", place.link("/attempts/live"), params.query()),
        api: ApiCall::new("api-attempts", "GET", &place.api(&api), None),
    };
    answer(&page)
}

/// `GET /attempts/export`
pub(super) async fn export(place: Place, params: Params) -> Answered {
    // What is asked for is judged before anything is answered.
    Asked::read(&place, &params, None)?;
    let next = move |place: &Place, before: Option<AttemptKey>| {
        let asked = Asked::read(place, &params, None)?;
        let store = &place.state.store;
        let found =
            store.browse_attempts(place.scope(), asked.endpoint, &asked.filter, before, 250)?;
        let mut text = String::new();
        for row in &found.rows {
            let of = &row.attempt.of;
            let line = json!({
                "id": place.id(row.attempt.key),
                "messageId": place.id(of.message),
                "endpointId": place.id(of.endpoint),
                "applicationId": place.id(of.application),
                "eventType": row.event_type,
                "url": of.request.url,
                "number": row.attempt.number,
                "trigger": of.trigger.name(),
                "delivered": of.verdict == Verdict::Delivered,
                "result": of.exchange.outcome.name(),
                "statusCode": of.exchange.outcome.status_code(),
                "detail": of.exchange.outcome.detail(),
                "timestamp": of.started,
                "durationMs": of.exchange.timing.total_us / 1000,
            });
            writeln!(text, "{line}").expect("a string takes all");
        }
        Ok((text, found.rows.len(), found.next))
    };
    Ok(super::logs::export(place, "attempts", next))
}

#[derive(Template)]
#[template(path = "dashboard/attempts/_fresh.html")]
struct RowsPart {
    rows: Vec<Row>,
    can: Can,
    form_token: String,
    /// Whether more came than is told.
    gap: bool,
    reload: String,
}

/// Rows that came after `after`, as a live page takes them, oldest first; and
/// the newest attempt that was looked at.
pub(super) fn fresh_rows(
    place: &Place,
    params: &Params,
    after: AttemptKey,
) -> Result<Fresh<AttemptKey>, Failure> {
    let asked = Asked::read(place, params, None)?;
    let store = &place.state.store;
    let found = store.browse_attempts(
        place.scope(),
        asked.endpoint,
        &asked.filter,
        None,
        LIVE_ROWS_MAX,
    )?;
    let newer = found.rows.iter().filter(|row| row.attempt.key > after);
    let newest = found.rows.first().map_or(after, |row| row.attempt.key);
    let mut rows: Vec<_> = newer
        .map(|row| Row::new(place, &row.attempt, row.event_type.as_deref()))
        .collect();
    // As many as a look gives: there may be more between them and the last.
    let gap = rows.len() == LIVE_ROWS_MAX;
    rows.reverse();
    if rows.is_empty() {
        return Ok(Fresh {
            html: String::new(),
            newest: newest.max(after),
        });
    }
    let part = RowsPart {
        rows,
        can: place.can(),
        form_token: place.form_token.clone(),
        gap,
        reload: place.link("/attempts"),
    };
    let html = part.render().expect("a string takes it all");
    Ok(Fresh {
        html,
        newest: newest.max(after),
    })
}
