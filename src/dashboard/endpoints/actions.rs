//! What is done with an endpoint: making and changing it, its secret, jobs.

use std::time::Duration;

use askama::Template;
use axum::response::{IntoResponse as _, Redirect};

use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Frame, Tab};
use super::super::parts::{ApiCall, Moment, counted, field_time, parse_field_time};
use super::super::place::Place;
use super::form::{Texts, again};
use super::show::{Revealed, page_of};
use super::{answer, back, found, link};
use crate::control::endpoints::{EndpointInput, RotationInput};
use crate::control::jobs::JobInput;
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::inbox::InboxChange;
use crate::domain::job::JobKind;
use crate::domain::message::{JSON, NewMessage, Origin, Target};
use crate::domain::time::Timestamp;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::{COUNT_MAX, Written};

/// The type of the message that tries an endpoint out.
const PING: &str = "hookpost.ping";

/// `POST /endpoints`
pub(in super::super) async fn create(place: Place, form: Form) -> Answered {
    let texts = Texts::read(&form);
    let input = match texts.input(true) {
        Ok(input) => input,
        Err(problem) => return again(&place, None, texts, problem),
    };
    let application = place.application().application.key;
    let control = place.state.control();
    let made = control.create_endpoint(place.principal, application, input, None);
    match made.await {
        Ok(made) => {
            let endpoint = fresh(made).settings.key;
            Ok(back(&link(&place, endpoint, "/testing"), "created"))
        }
        Err(error) => again(&place, None, texts, error.into()),
    }
}

fn fresh<A>(written: Written<A>) -> A {
    match written {
        Written::Fresh(answer) => answer,
        Written::Repeated(_) => unreachable!("without an idempotency key nothing is repeated"),
    }
}

/// `POST /endpoints/inboxes`: a ready URL, and back to the form with it.
pub(in super::super) async fn inbox(place: Place, _: Form) -> Answered {
    // Inboxes belong to the environment.
    let mut principal = place.principal;
    principal.scope.application = None;
    let control = place.state.control();
    let name = format!("For {}", place.application().application.name);
    let change = InboxChange {
        name: Some(name.chars().take(200).collect()),
        ..InboxChange::default()
    };
    let inbox = fresh(control.create_inbox(principal, change, None).await?);
    let url = control.inbox_url(&inbox);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("url", &url)
        .finish();
    Ok(Redirect::to(&place.link(&format!("/endpoints/new?{query}"))).into_response())
}

/// `POST /endpoints/{ep}/advanced`
pub(in super::super) async fn update(place: Place, form: Form) -> Answered {
    let live = found(&place)?;
    let texts = Texts::read(&form);
    let input = match texts.input(false) {
        Ok(input) => input,
        Err(problem) => return again(&place, Some(&live), texts, problem),
    };
    match change(&place, &live, input).await {
        Ok(_) => Ok(back(&link(&place, live.settings.key, ""), "saved")),
        Err(problem) => again(&place, Some(&live), texts, problem),
    }
}

async fn change(
    place: &Place,
    live: &LiveEndpoint,
    input: EndpointInput,
) -> Result<LiveEndpoint, Problem> {
    let (application, endpoint) = (live.settings.application, live.settings.key);
    let control = place.state.control();
    let changed = control.update_endpoint(place.principal, application, endpoint, input);
    Ok(changed.await?)
}

async fn switch(place: Place, input: EndpointInput, notice: &str) -> Answered {
    let live = found(&place)?;
    change(&place, &live, input).await?;
    Ok(back(&link(&place, live.settings.key, ""), notice))
}

/// `POST /endpoints/{ep}/pauses`
pub(in super::super) async fn pause(place: Place, _: Form) -> Answered {
    let paused = Some(true);
    let input = EndpointInput {
        paused,
        ..EndpointInput::default()
    };
    switch(place, input, "paused").await
}

/// `POST /endpoints/{ep}/resumptions`
pub(in super::super) async fn resume(place: Place, _: Form) -> Answered {
    let paused = Some(false);
    let input = EndpointInput {
        paused,
        ..EndpointInput::default()
    };
    switch(place, input, "resumed").await
}

/// `POST /endpoints/{ep}/disablings`
pub(in super::super) async fn disable(place: Place, _: Form) -> Answered {
    let enabled = Some(false);
    let input = EndpointInput {
        enabled,
        ..EndpointInput::default()
    };
    switch(place, input, "disabled").await
}

/// `POST /endpoints/{ep}/enablings`
pub(in super::super) async fn enable(place: Place, _: Form) -> Answered {
    let enabled = Some(true);
    let input = EndpointInput {
        enabled,
        ..EndpointInput::default()
    };
    switch(place, input, "enabled").await
}

/// `POST /endpoints/{ep}/deletions`
pub(in super::super) async fn delete(place: Place, _: Form) -> Answered {
    let live = found(&place)?;
    let (application, endpoint) = (live.settings.application, live.settings.key);
    let control = place.state.control();
    control
        .delete_endpoint(place.principal, application, endpoint)
        .await?;
    Ok(back(&place.link("/endpoints"), "deleted"))
}

/// `POST /endpoints/{ep}/secret-reveals`: the page once more, with the secrets
/// in it. That it was asked for is in the audit log.
pub(in super::super) async fn reveal(place: Place, _: Form) -> Answered {
    let live = found(&place)?;
    let (application, endpoint) = (live.settings.application, live.settings.key);
    let control = place.state.control();
    let read = control.read_secrets(place.principal, application, endpoint);
    let live = read.await?;
    let revealed = Revealed::of(&live, place.now);
    let page = page_of(&place, &live, &Params::none(), Some(revealed))?;
    answer(&page)
}

/// `POST /endpoints/{ep}/secret-rotations`
pub(in super::super) async fn rotate(place: Place, form: Form) -> Answered {
    let live = found(&place)?;
    let grace = form.text("gracePeriodSeconds").map(str::parse::<u64>);
    let Ok(grace_period_seconds) = grace.transpose() else {
        return Err(Failure(Problem::invalid(vec![
            crate::control::FieldError::new("gracePeriodSeconds", "must be a whole number"),
        ])));
    };
    let input = RotationInput {
        grace_period_seconds,
        secret: form.text("secret").map(str::to_owned),
    };
    let (application, endpoint) = (live.settings.application, live.settings.key);
    let control = place.state.control();
    control
        .rotate_secret(place.principal, application, endpoint, input, None)
        .await?;
    Ok(back(&link(&place, endpoint, ""), "rotated"))
}

/// `POST /endpoints/{ep}/examples`: something to try the endpoint with.
pub(in super::super) async fn ping(place: Place, form: Form) -> Answered {
    let live = found(&place)?;
    let application = live.settings.application;
    let event_type = form.text("eventType").unwrap_or(PING).to_owned();
    let payload = match form.text("payload") {
        Some(typed) => typed.to_owned(),
        None if event_type == PING => {
            format!(
                r#"{{"message": "Hello from Hookpost", "sentAt": {}}}"#,
                place.now.0
            )
        }
        None => place
            .state
            .control()
            .example_of(place.principal, application, &event_type, 0)?,
    };
    let message = super::super::messages::checked(
        &place,
        NewMessage {
            application,
            event_type,
            channels: Vec::new(),
            uid: None,
            content_type: JSON.to_owned(),
            headers: Vec::new(),
            origin: Origin::Example,
            payload: payload.into(),
            target: Target::Only(live.settings.key),
        },
    )?;
    let accepted = place
        .state
        .store
        .accept(place.principal.scope, message, None)
        .await?;
    let (message, _) = &*fresh(accepted).content;
    let to = link(&place, live.settings.key, "/testing");
    let to = format!("{to}?sent={}", place.id(message.key));
    Ok(Redirect::to(&to).into_response())
}

struct Preset {
    label: &'static str,
    href: String,
    current: bool,
}

#[derive(Template)]
#[template(path = "dashboard/endpoints/recover.html")]
struct RecoverPage {
    frame: Frame,
    heading: &'static str,
    lead: &'static str,
    url: String,
    presets: Vec<Preset>,
    since: Option<Since>,
    action: String,
    since_field: String,
    backfill: bool,
    api: ApiCall,
}

/// What was counted since a moment.
struct Since {
    at: Moment,
    ms: u64,
    field: String,
    count: u64,
    words: String,
}

/// Since when failures are recovered, at one press.
const PRESETS: [(&str, Duration); 6] = [
    ("5 hours ago", Duration::from_hours(5)),
    ("8 hours ago", Duration::from_hours(8)),
    ("Yesterday", Duration::from_hours(24)),
    ("3 days ago", Duration::from_hours(3 * 24)),
    ("Last week", Duration::from_hours(7 * 24)),
    ("Last month", Duration::from_hours(30 * 24)),
];

/// `GET /endpoints/{ep}/recoveries/new`, with `?backfill=1` for what was never
/// sent: counts before anything is done.
pub(in super::super) async fn recover_form(place: Place, params: Params) -> Answered {
    let live = found(&place)?;
    let backfill = params.get("backfill").is_some();
    let since = params.parsed("since", "a time", parse_field_time)?;
    let path = if backfill { "?backfill=1&" } else { "?" };
    let at = |moment: Timestamp| {
        let new = link(&place, live.settings.key, "/recoveries/new");
        format!("{new}{path}since={}", moment.0)
    };
    let minute = Timestamp(place.now.0 - place.now.0 % 60_000);
    let presets = PRESETS.map(|(label, ago)| {
        let moment = Timestamp(minute.0.saturating_sub(ms(ago)));
        Preset {
            label,
            href: at(moment),
            current: since == Some(moment),
        }
    });
    let since = match since {
        None => None,
        Some(since) => Some(counted_since(&place, &live, backfill, since).await?),
    };
    let heading = if backfill {
        "Replay missing"
    } else {
        "Recover failed"
    };
    let trail = [
        ("Endpoints", "/endpoints".to_owned()),
        (
            live.settings.url.as_str(),
            format!("/endpoints/{}", place.id(live.settings.key)),
        ),
    ];
    let kind = if backfill { "backfills" } else { "recoveries" };
    let api = place.api(&format!(
        "/applications/{}/endpoints/{}/{kind}",
        place.id(live.settings.application),
        place.id(live.settings.key)
    ));
    let body = format!(
        r#"{{"since": {}}}"#,
        since.as_ref().map_or(minute.0, |since| since.ms)
    );
    let page = RecoverPage {
        frame: Frame::new(&place, Tab::Endpoints, &trail, heading),
        heading,
        lead: if backfill {
            "Sends what this endpoint subscribes to now and was never owed: messages from before it was made, enabled, or subscribed."
        } else {
            "Sends again every delivery to this endpoint whose last attempt failed. What was delivered stays as it is."
        },
        url: live.settings.url.clone(),
        presets: presets.into(),
        since_field: since
            .as_ref()
            .map_or_else(|| field_time(minute), |since| since.field.clone()),
        since,
        action: link(&place, live.settings.key, "/recoveries"),
        backfill,
        api: ApiCall::new("api-recover", "POST", &api, Some(&body)),
    };
    answer(&page)
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

async fn counted_since(
    place: &Place,
    live: &LiveEndpoint,
    backfill: bool,
    since: Timestamp,
) -> Result<Since, Failure> {
    let of = (live.settings.application, live.settings.key);
    let input = JobInput {
        since,
        ..JobInput::default()
    };
    let control = place.state.control();
    let counted_now = control.count_job(place.principal, of, kind(backfill), input);
    let counted_now = counted_now.await?;
    let words = if counted_now.complete {
        counted(counted_now.count, "delivery", "deliveries")
    } else {
        // More than is counted while somebody waits for the page.
        let limit = counted(COUNT_MAX, "message", "messages");
        format!(
            "at least {} (after {limit} the count stops)",
            counted(counted_now.count, "delivery", "deliveries")
        )
    };
    Ok(Since {
        at: Moment::new(since, place.now),
        ms: since.0,
        field: field_time(since),
        count: counted_now.count,
        words,
    })
}

fn kind(backfill: bool) -> JobKind {
    if backfill {
        JobKind::Backfill
    } else {
        JobKind::Recovery
    }
}

/// `POST /endpoints/{ep}/recoveries`
pub(in super::super) async fn recover_start(place: Place, form: Form) -> Answered {
    let live = found(&place)?;
    let since = form.text("since").and_then(parse_field_time);
    let since = since.ok_or_else(|| {
        Problem::invalid(vec![crate::control::FieldError::new(
            "since",
            "must be a time, such as 2026-11-26T12:30",
        )])
    })?;
    let rate = form.text("ratePerSecond").map(str::parse::<u32>);
    let rate_per_second = rate.transpose().map_err(|_| {
        Problem::invalid(vec![crate::control::FieldError::new(
            "ratePerSecond",
            "must be a whole number, or empty for no limit",
        )])
    })?;
    let input = JobInput {
        since,
        rate_per_second,
        ..JobInput::default()
    };
    let of = (live.settings.application, live.settings.key);
    let kind = kind(form.has("backfill"));
    let control = place.state.control();
    let started = control.start_job(place.principal, of, kind, input, None);
    let job = fresh(started.await?);
    Ok(back(
        &place.link(&format!("/jobs/{}", place.id(job.key))),
        "started",
    ))
}
