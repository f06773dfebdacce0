//! The ids and uids in a path.

use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use http::request::Parts;
use serde::de::DeserializeOwned;

/// The path's parameters, without their escapes.
///
/// Escapes that are no UTF-8 spell no id and no uid: then every parameter is
/// the name of nothing, and the handler answers as for any other such name.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

/// No id is this, and no uid, which has no control characters.
const NOTHING: &str = "\0";

/// One or more parameters.
pub trait Names: DeserializeOwned + Send {
    /// Names of nothing.
    fn of_nothing() -> Self;
}

impl Names for String {
    fn of_nothing() -> Self {
        NOTHING.to_owned()
    }
}

impl Names for (String, String) {
    fn of_nothing() -> Self {
        (Names::of_nothing(), Names::of_nothing())
    }
}

impl Names for (String, String, String) {
    fn of_nothing() -> Self {
        (
            Names::of_nothing(),
            Names::of_nothing(),
            Names::of_nothing(),
        )
    }
}

impl<T: Names, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = PathRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PathRejection> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(names)) => Ok(Self(names)),
            Err(PathRejection::FailedToDeserializePathParams(error))
                if matches!(error.kind(), ErrorKind::InvalidUtf8InPathParam { .. }) =>
            {
                Ok(Self(T::of_nothing()))
            }
            Err(rejection) => Err(rejection),
        }
    }
}
