//! The first page: how much, how well, and what needs somebody.

use std::time::Duration;

use askama::Template;

use super::chart::{Chart, Zoom};
use super::endpoints::answer;
use super::failure::Answered;
use super::frame::{Can, Frame, Tab};
use super::parts::{ApiCall, Moment, Tag, Well, advice, milliseconds, number, percent};
use super::place::Place;
use crate::domain::statistics::{Counter, Period, Resolution};
use crate::domain::time::Timestamp;
use crate::http::paging::Params;
use crate::store::{StoreError, Subject};

/// Failing endpoints that are shown.
const FAILING_SHOWN: usize = 8;

/// How far back the page looks.
struct Range {
    name: &'static str,
    label: &'static str,
    resolution: Resolution,
    back: Duration,
}

const RANGES: [Range; 4] = [
    Range {
        name: "1h",
        label: "1 hour",
        resolution: Resolution::Minute,
        back: Duration::from_mins(59),
    },
    Range {
        name: "24h",
        label: "24 hours",
        resolution: Resolution::Hour,
        back: Duration::from_hours(23),
    },
    Range {
        name: "7d",
        label: "7 days",
        resolution: Resolution::Hour,
        back: Duration::from_hours(7 * 24 - 1),
    },
    Range {
        name: "28d",
        label: "28 days",
        resolution: Resolution::Day,
        back: Duration::from_hours(27 * 24),
    },
];

struct RangeLink {
    label: &'static str,
    href: String,
    current: bool,
}

struct Failing {
    url: String,
    href: String,
    failures: u32,
    since: Moment,
    tag: Option<Tag>,
    advice: Option<&'static str>,
    recover: String,
}

struct Steps {
    has_endpoint: bool,
    has_message: bool,
    has_delivery: bool,
    endpoints: String,
    send: Option<String>,
    logs: String,
}

#[derive(Template)]
#[template(path = "dashboard/activity.html")]
struct ActivityPage {
    frame: Frame,
    can: Can,
    heading: String,
    ranges: Vec<RangeLink>,
    messages: String,
    success: String,
    failed: String,
    has_failed: bool,
    p50: String,
    p95: String,
    chart: Chart,
    /// The part of the time that is shown, in words.
    zoomed: Option<String>,
    failing: Vec<Failing>,
    oldest: Option<Oldest>,
    steps: Option<Steps>,
    logs: String,
    failed_logs: String,
    applications: Option<String>,
    portal: Option<String>,
    curl: Well,
    api: ApiCall,
}

struct Oldest {
    due: Moment,
    href: String,
    url: String,
    words: &'static str,
}

/// `GET /`, of an environment, an application, or a portal
pub(super) async fn show(place: Place, params: Params) -> Answered {
    let zoomed = Zoom::of(&params, place.now)?;
    let chosen = params.get("range").unwrap_or("24h");
    let range = RANGES.iter().find(|range| range.name == chosen);
    let range = range.unwrap_or(&RANGES[1]);
    let period = zoomed.as_ref().map(|zoom| zoom.period.clone());
    let period = period.unwrap_or_else(|| {
        let from = Timestamp(place.now.0.saturating_sub(ms(range.back)));
        let period = Period::new(range.resolution, Some(from), None, place.now);
        period.expect("each range is within its bounds")
    });
    let subject = place
        .application
        .as_ref()
        .map_or(Subject::Environment, |entry| {
            Subject::Application(entry.application.key)
        });
    let store = &place.state.store;
    let counters = store.statistics(place.scope(), subject, &period)?;
    let counters = counters.unwrap_or_default();
    let mut all = Counter::default();
    for counter in &counters {
        all.add(counter);
    }
    let at = |from: Timestamp, to: Timestamp| place.link(&format!("/attempts?from={from}&to={to}"));
    let since = period.from();
    // Else what comes meanwhile belongs to it too.
    let until = if zoomed.is_some() {
        format!("&to={}", period.to())
    } else {
        String::new()
    };
    let latency = |percent| {
        all.duration_quantile_ms(percent)
            .map_or_else(|| "–".to_owned(), |ms| milliseconds(ms.into()))
    };
    let entry = place.application.as_ref();
    let path = entry.map_or_else(
        || "/statistics".to_owned(),
        |entry| {
            format!(
                "/applications/{}/statistics",
                place.id(entry.application.key)
            )
        },
    );
    let id = entry.map_or_else(|| "APP".to_owned(), |entry| place.id(entry.application.key));
    let send = ApiCall::new(
        "curl-send",
        "POST",
        &place.api(&format!("/applications/{id}/messages")),
        Some(r#"{"eventType": "invoice.paid", "payload": {"total": 42}}"#),
    );
    let page = ActivityPage {
        frame: Frame::new(&place, Tab::Activity, &[], "Activity"),
        can: place.can(),
        heading: entry.map_or_else(
            || format!("Activity in {}", place.environment.name),
            |entry| format!("Activity of {}", entry.application.name),
        ),
        ranges: range_links(&place, zoomed.is_none().then_some(range.name)),
        messages: number(all.messages),
        success: percent(all.delivered, all.attempts()),
        failed: number(all.failed),
        has_failed: all.failed > 0,
        p50: latency(50),
        p95: latency(95),
        chart: Chart::new(
            "Attempts by outcome",
            &period,
            &counters,
            place.link(""),
            at,
        ),
        zoomed: zoomed.as_ref().map(Zoom::words),
        failing: failing(&place)?,
        oldest: oldest(&place)?,
        steps: steps(&place, &all)?,
        logs: place.link(&format!("/messages?from={since}{until}")),
        failed_logs: place.link(&format!("/attempts?outcome=failed&from={since}{until}")),
        applications: (entry.is_none()).then(|| place.link("/applications")),
        portal: (entry.is_some() && !place.is_customer() && place.can().secrets)
            .then(|| place.link("/portal-links")),
        curl: send.into_well(),
        api: ApiCall::new("api-statistics", "GET", &place.api(&path), None),
    };
    answer(&page)
}

fn range_links(place: &Place, current: Option<&str>) -> Vec<RangeLink> {
    let links = RANGES.iter().map(|one| RangeLink {
        label: one.label,
        href: place.link(&format!("?range={}", one.name)),
        current: current == Some(one.name),
    });
    links.collect()
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Endpoints that fail, those that fail most first.
fn failing(place: &Place) -> Result<Vec<Failing>, StoreError> {
    let store = &place.state.store;
    let failing = store.failing_endpoints(place.scope(), FAILING_SHOWN)?;
    let shown = failing.into_iter().map(|live| {
        let settings = &live.settings;
        let base = place.application_base(&place.id(settings.application));
        let href = format!("{base}/endpoints/{}", place.id(settings.key));
        let last = store.last_attempt(settings.key)?;
        let of = last.as_ref().map(|last| &last.of);
        Ok(Failing {
            url: settings.url.clone(),
            recover: format!("{href}/recoveries/new"),
            href,
            failures: live.state.failures,
            since: Moment::new(live.state.failing_since.unwrap_or(place.now), place.now),
            tag: of.map(|of| Tag::of_attempt(&of.exchange.outcome, of.verdict)),
            advice: of.and_then(|of| advice(&of.exchange.outcome)),
        })
    });
    shown.collect()
}

fn oldest(place: &Place) -> Result<Option<Oldest>, StoreError> {
    let store = &place.state.store;
    let Some(found) = store.oldest_waiting(place.scope())? else {
        return Ok(None);
    };
    let live = found.live;
    let base = place.application_base(&place.id(live.settings.application));
    Ok(Some(Oldest {
        due: Moment::new(found.due, place.now),
        href: format!("{base}/messages/{}", place.id(found.message)),
        words: match (live.sends(), found.due <= place.now) {
            (false, _) => "held, for its endpoint is paused or disabled; due",
            (true, true) => "due",
            (true, false) => "to be tried again",
        },
        url: live.settings.url.clone(),
    }))
}

/// What to do first, until it is done.
fn steps(place: &Place, all: &Counter) -> Result<Option<Steps>, StoreError> {
    let store = &place.state.store;
    if all.delivered > 0 && all.messages > 0 {
        return Ok(None);
    }
    let endpoints = store.browse_endpoints(place.scope(), None, 1)?.rows;
    let newest = store.browse_messages(
        place.scope(),
        &crate::store::MessageFilter::default(),
        None,
        1,
    )?;
    let delivered = crate::store::AttemptFilter {
        outcome: Some(crate::store::OutcomeFilter::Delivered),
        ..crate::store::AttemptFilter::default()
    };
    let delivered = store.browse_attempts(place.scope(), None, &delivered, None, 1)?;
    let steps = Steps {
        has_endpoint: !endpoints.is_empty(),
        has_message: !newest.rows.is_empty(),
        has_delivery: !delivered.rows.is_empty(),
        endpoints: match (&place.application, endpoints.is_empty()) {
            (None, _) => place.link("/applications"),
            (Some(_), true) => place.link("/endpoints/new"),
            (Some(_), false) => place.link("/endpoints"),
        },
        send: place.sends_messages().then(|| place.link("/messages/new")),
        logs: place.link("/messages"),
    };
    let done = steps.has_endpoint && steps.has_message && steps.has_delivery;
    Ok((!done).then_some(steps))
}
