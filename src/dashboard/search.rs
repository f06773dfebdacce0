//! The search box: an id or a uid leads to its page.

use axum::response::{IntoResponse as _, Redirect, Response};

use super::endpoints::back;
use super::failure::{Answered, Failure};
use super::place::Place;
use crate::domain::ids::{ApplicationKey, AttemptKey, EndpointKey, JobKey, MessageKey};
use crate::http::paging::Params;
use crate::store::ApplicationEntry;

/// Applications whose uids a search of the whole environment looks through.
const APPLICATIONS_LOOKED_MAX: usize = 200;

/// `GET /search?q=`
pub(super) async fn jump(place: Place, params: Params) -> Answered {
    let wanted = params.get("q").unwrap_or_default().trim();
    let found = match by_id(&place, wanted)? {
        Some(path) => Some(path),
        None => by_uid(&place, wanted)?,
    };
    Ok(match found {
        Some(path) => to(&path),
        None => back(&place.link("/messages"), "not-found"),
    })
}

fn to(path: &str) -> Response {
    Redirect::to(path).into_response()
}

fn by_id(place: &Place, wanted: &str) -> Result<Option<String>, Failure> {
    let ids = place.state.store.ids();
    if let Some(key) = ids.parse::<MessageKey>(wanted) {
        return message(place, key);
    }
    if let Some(key) = ids.parse::<AttemptKey>(wanted) {
        let attempt = place.state.store.attempt(key)?;
        return match attempt {
            Some(attempt) => message(place, attempt.of.message),
            None => Ok(None),
        };
    }
    if let Some(key) = ids.parse::<EndpointKey>(wanted) {
        return endpoint(place, key);
    }
    if let Some(key) = ids.parse::<ApplicationKey>(wanted) {
        let found = place.state.store.find_application(place.scope(), wanted)?;
        return Ok(found.map(|_| place.application_base(&place.id(key))));
    }
    if let Some(key) = ids.parse::<JobKey>(wanted) {
        let found = place.state.store.find_job(place.scope(), key)?;
        return Ok(found.map(|job| {
            let base = place.application_base(&place.id(job.application));
            format!("{base}/jobs/{wanted}")
        }));
    }
    Ok(None)
}

fn message(place: &Place, key: MessageKey) -> Result<Option<String>, Failure> {
    match super::messages::application_of(place, key) {
        Ok(application) => {
            let base = place.application_base(&place.id(application));
            Ok(Some(format!("{base}/messages/{}", place.id(key))))
        }
        Err(Failure(problem)) if problem.status == http::StatusCode::NOT_FOUND => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn endpoint(place: &Place, key: EndpointKey) -> Result<Option<String>, Failure> {
    let found = place.state.store.covered_endpoint(place.scope(), key)?;
    Ok(found.map(|live| {
        let base = place.application_base(&place.id(live.settings.application));
        format!("{base}/endpoints/{}", place.id(key))
    }))
}

fn by_uid(place: &Place, wanted: &str) -> Result<Option<String>, Failure> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let store = &place.state.store;
    if let Some(entry) = &place.application {
        return in_application(place, entry, wanted);
    }
    if let Some(entry) = store.find_application(place.scope(), wanted)? {
        return Ok(Some(
            place.application_base(&place.id(entry.application.key)),
        ));
    }
    for application in store.list_applications(place.scope(), 0, APPLICATIONS_LOOKED_MAX)? {
        if let Some(entry) = store.application(application.key)?
            && let Some(path) = in_application(place, &entry, wanted)?
        {
            return Ok(Some(path));
        }
    }
    let found = store.find_event_type(place.scope(), wanted)?;
    Ok(found.map(|found| place.link(&format!("/event-types/{}", found.name))))
}

fn in_application(
    place: &Place,
    entry: &ApplicationEntry,
    wanted: &str,
) -> Result<Option<String>, Failure> {
    let store = &place.state.store;
    let base = place.application_base(&place.id(entry.application.key));
    if let Some(live) = store.find_endpoint(entry, wanted)? {
        return Ok(Some(format!(
            "{base}/endpoints/{}",
            place.id(live.settings.key)
        )));
    }
    let found = store.find_message(entry.application.key, wanted)?;
    Ok(found.map(|found| format!("{base}/messages/{}", place.id(found.message.key))))
}
