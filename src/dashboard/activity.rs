//! The first page.

use super::failure::Answered;
use super::place::Place;
use axum::response::IntoResponse as _;

pub(super) async fn show(place: Place) -> Answered {
    Ok(place.base().into_response())
}
