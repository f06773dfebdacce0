//! The variable parts of a path.

use axum::extract::FromRequestParts;
use axum::extract::path::Path as AxumPath;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The segments of a path that a route names, percent-decoded.
///
/// What is not UTF-8 names nothing: 404, and as for any one thing that is not
/// there the answer to GET has an empty body.
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match AxumPath::<T>::from_request_parts(parts, state).await {
            Ok(AxumPath(segments)) => Ok(Self(segments)),
            Err(_) if parts.method == Method::GET || parts.method == Method::HEAD => {
                Err(StatusCode::NOT_FOUND.into_response())
            }
            Err(_) => Err(Problem::not_found("resource").into_response()),
        }
    }
}
