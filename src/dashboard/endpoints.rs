//! Endpoints: the list, one of them, and what is done with it.

mod actions;
mod form;
mod show;

use std::sync::Arc;

use askama::Template;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::StatusCode;

use super::chart::Spark;
use super::failure::{Answered, Failure};
use super::frame::{Can, Frame, Tab};
use super::parts::{ApiCall, Moment, percent};
use super::place::Place;
use super::standing::{self, State};
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{ApplicationKey, EndpointKey};
use crate::domain::statistics::{Counter, Period, Resolution};
use crate::domain::time::Timestamp;
use crate::http::page;
use crate::store::{EndpointPlace, StoreError, Subject};

pub(super) use actions::{
    create, delete, disable, enable, inbox, pause, ping, recover_form, recover_start, resume,
    reveal, rotate, update,
};
pub(super) use form::{advanced, new};
pub(super) use show::{show, testing};

/// Endpoints on a page.
const PAGE: usize = 50;

struct Row {
    url: String,
    href: String,
    description: String,
    application: Option<String>,
    state: State,
    events: String,
    events_all: String,
    error_rate: String,
    spark: Spark,
    last: Option<Moment>,
}

#[derive(Template)]
#[template(path = "dashboard/endpoints/index.html")]
struct IndexPage {
    frame: Frame,
    can: Can,
    rows: Vec<Row>,
    /// Whether there is an application to add one to.
    of_application: bool,
    add: String,
    catalog: String,
    applications: String,
    is_first: bool,
    more: Option<String>,
    api: ApiCall,
}

/// `GET /endpoints`
pub(super) async fn index(place: Place, params: crate::http::paging::Params) -> Answered {
    let store = &place.state.store;
    let application = params.parsed("after", "the id of an application", |text| {
        store.ids().parse::<ApplicationKey>(text)
    })?;
    let endpoint = params.parsed("endpoint", "the id of an endpoint", |text| {
        store.ids().parse::<EndpointKey>(text)
    })?;
    let after = application.map(|application| EndpointPlace {
        application,
        endpoint,
    });
    let found = store.browse_endpoints(place.scope(), after, PAGE)?;
    let rows = found.rows.iter().map(|live| row(&place, live));
    let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
    let more = found.next.map(|next| {
        let endpoint = next.endpoint.map(|endpoint| place.id(endpoint));
        let endpoint = endpoint.map_or_else(String::new, |id| format!("&endpoint={id}"));
        place.link(&format!(
            "/endpoints?after={}{endpoint}",
            place.id(next.application)
        ))
    });
    let id = place.application.as_ref();
    let id = id.map(|entry| place.id(entry.application.key));
    let path = id.map_or_else(
        || "/applications".to_owned(),
        |id| format!("/applications/{id}/endpoints"),
    );
    let page = IndexPage {
        frame: Frame::new(&place, Tab::Endpoints, &[], "Endpoints"),
        can: place.can(),
        rows,
        of_application: place.application.is_some(),
        add: place.link("/endpoints/new"),
        catalog: place.link("/event-types"),
        applications: place.link("/applications"),
        is_first: after.is_none(),
        more,
        api: ApiCall::new("api-list", "GET", &place.api(&path), None),
    };
    answer(&page)
}

/// A page that is well.
#[expect(clippy::unnecessary_wraps, reason = "every handler ends in it")]
pub(super) fn answer(page: &impl Template) -> Answered {
    Ok(written(StatusCode::OK, page))
}

pub(super) fn written(status: StatusCode, page: &impl Template) -> Response {
    page::private(status, page.render().expect("a string takes it all"))
}

fn row(place: &Place, live: &Arc<LiveEndpoint>) -> Result<Row, StoreError> {
    let settings = &live.settings;
    let counters = last_day(place, live)?;
    let sum = |of: fn(&Counter) -> u64| counters.iter().map(of).sum::<u64>();
    let (failed, all) = (sum(|counter| counter.failed), sum(Counter::attempts));
    let last = place.state.store.last_attempt(settings.key)?;
    let due = first_due(place, settings.key)?;
    let types: Vec<&str> = settings
        .event_types
        .iter()
        .map(EventFilter::as_str)
        .collect();
    let application = place.state.store.application(settings.application)?;
    let base = place.application_base(&place.id(settings.application));
    Ok(Row {
        url: settings.url.clone(),
        href: format!("{base}/endpoints/{}", place.id(settings.key)),
        description: match (settings.name.as_str(), settings.description.as_str()) {
            ("", description) => description.to_owned(),
            (name, _) => name.to_owned(),
        },
        application: application
            .filter(|_| place.application.is_none())
            .map(|entry| entry.application.name.clone()),
        events: match types.len() {
            0 => "All events".to_owned(),
            1 => types[0].to_owned(),
            many => format!("{many} types"),
        },
        events_all: types.join(", "),
        error_rate: percent(failed, all),
        spark: Spark::new(&counters),
        last: last
            .as_ref()
            .map(|last| Moment::new(last.of.started, place.now)),
        state: standing::state(live, last.as_ref(), due, place.now),
    })
}

fn last_day(place: &Place, live: &LiveEndpoint) -> Result<Vec<Counter>, StoreError> {
    let settings = &live.settings;
    let subject = Subject::Endpoint(settings.application, settings.key);
    let period = Period::new(Resolution::Hour, None, None, place.now).expect("of the usual length");
    let counters = place
        .state
        .store
        .statistics(place.scope(), subject, &period)?;
    Ok(counters.unwrap_or_default())
}

/// When the first delivery that waits for an endpoint is due.
fn first_due(place: &Place, endpoint: EndpointKey) -> Result<Option<Timestamp>, StoreError> {
    let store = &place.state.store;
    let (rows, next) = store.due_rows(endpoint, place.now, 1, |_| false)?;
    Ok(rows.first().map(|row| row.due).or(next))
}

/// The endpoint that the path names.
pub(super) fn found(place: &Place) -> Result<Arc<LiveEndpoint>, Failure> {
    let found = place
        .state
        .store
        .find_endpoint(place.application(), place.name("ep"))?;
    let found = found.filter(|live| live.settings.deleted.is_none());
    found.ok_or_else(|| Failure::not_found("endpoint"))
}

/// Where the pages of an endpoint are.
pub(super) fn link(place: &Place, endpoint: EndpointKey, path: &str) -> String {
    place.link(&format!("/endpoints/{}{path}", place.id(endpoint)))
}

/// Back to a page, with a notice on it.
pub(super) fn back(to: &str, notice: &str) -> Response {
    let joint = if to.contains('?') { '&' } else { '?' };
    Redirect::to(&format!("{to}{joint}notice={notice}")).into_response()
}
