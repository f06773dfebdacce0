//! Files that pages refer to, inside the executable: `/static/NAME.HASH.EXT`.
//!
//! The hash changes with the content, so that browsers may keep a file for
//! good.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};

use super::fallback::no_route;
use super::fixed::Fixed;
use super::path::Path;

const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const KEPT: &str = "public, max-age=31536000, immutable";

macro_rules! files {
    ($($kind:ident $path:literal;)*) => {
        /// Path below `static/`, type, content.
        const FILES: &[(&str, &str, &[u8])] =
            &[$(($path, $kind, include_bytes!(concat!("../../static/", $path)))),*];
    };
}

files! {
    CSS "css/tokens.css";
    CSS "css/base.css";
    CSS "css/code.css";
    CSS "css/table.css";
    CSS "css/method.css";
    CSS "css/docs.css";
    SVG "img/mark.svg";
}

struct Asset {
    /// `/static/tokens.0123456789abcdef.css`
    path: String,
    content: Fixed,
}

/// By plain name.
static ASSETS: LazyLock<BTreeMap<&str, Asset>> = LazyLock::new(|| {
    let named = |(path, kind, bytes): &(&'static str, &'static str, &'static [u8])| {
        let (_, name) = path.rsplit_once('/').expect("each is in a folder");
        let (stem, extension) = name.rsplit_once('.').expect("each has an extension");
        let content = Fixed::new(kind, *bytes);
        let path = format!("/static/{stem}.{}.{extension}", content.tag());
        (name, Asset { path, content })
    };
    FILES.iter().map(named).collect()
});

/// Where the file of that name is.
///
/// # Panics
/// When there is none: names are written where the files are.
#[must_use]
pub fn path(name: &str) -> &'static str {
    &ASSETS[name].path
}

/// `/static/...`
pub fn router() -> Router {
    Router::new().route("/static/{file}", get(show))
}

async fn show(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("/static/{file}");
    let Some(asset) = ASSETS.values().find(|asset| asset.path == path) else {
        return no_route().await.into_response();
    };
    let mut response = asset.content.answer(&headers);
    let kept = HeaderValue::from_static(KEPT);
    response.headers_mut().insert(CACHE_CONTROL, kept);
    response
}
