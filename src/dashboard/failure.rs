//! Pages that say what went wrong.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::frame::Bare;
use crate::http::page;
use crate::http::problem::Problem;

/// A request that gets a page about why it did not succeed.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Problem);

/// What handlers give.
pub(super) type Answered = Result<Response, Failure>;

#[derive(Template)]
#[template(path = "dashboard/failure.html")]
struct FailurePage<'a> {
    bare: Bare,
    heading: &'a str,
    problem: &'a Problem,
    /// Whether signing in may help.
    sign_in: bool,
    /// Where to go from here.
    back: &'a str,
}

impl Failure {
    pub(super) fn signed_out() -> Self {
        Self(Problem::new(
            StatusCode::UNAUTHORIZED,
            "signed_out",
            "Your session is over. Sign in again.",
        ))
    }

    /// As [`signed_out`](Self::signed_out), for customers: they have no account.
    pub(super) fn portal_left() -> Self {
        Self(Problem::new(
            StatusCode::UNAUTHORIZED,
            "portal_left",
            "Your session is over. Go back to the application that brought you here, and follow \
             its link once more.",
        ))
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self(Problem::not_found(what))
    }

    /// Which words stand above the sentence.
    fn heading(&self) -> &'static str {
        match self.0.status {
            StatusCode::UNAUTHORIZED => "Signed out",
            StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::GONE => "This link works no more",
            StatusCode::CONFLICT => "Not done",
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => "Not understood",
            StatusCode::TOO_MANY_REQUESTS => "Too many tries",
            StatusCode::SERVICE_UNAVAILABLE => "Try again in a moment",
            _ => "This did not work",
        }
    }
}

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl Failure {
    /// The page, with a way on to `back`.
    pub(super) fn page(&self, back: &str) -> Response {
        let page = FailurePage {
            bare: Bare::new(self.heading()),
            heading: self.heading(),
            problem: &self.0,
            sign_in: self.0.code == "signed_out",
            back,
        };
        let html = page.render().expect("a string takes it all");
        let mut response = page::private(self.0.status, html);
        self.0.put_header(response.headers_mut());
        response
    }
}

/// The problem goes along, so that the gate can write the page for who is
/// looking.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.page("/");
        response.extensions_mut().insert(self.0);
        response
    }
}
