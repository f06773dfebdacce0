//! Files that pages refer to, inside the executable: `/static/NAME.HASH.EXT`.
//!
//! The hash changes with the content, so that browsers may keep a file for
//! good.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue};

use super::fallback::no_route;
use super::fixed::Fixed;
use super::path::Path;

const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JS: &str = "text/javascript; charset=utf-8";
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
    CSS "css/controls.css";
    CSS "css/parts.css";
    CSS "css/chart.css";
    CSS "css/shell.css";
    JS "js/app.js";
    SVG "img/mark.svg";
}

struct Asset {
    /// `/static/tokens.0123456789abcdef.css`
    path: String,
    content: Fixed,
    /// In gzip, where that is smaller.
    compressed: Option<Fixed>,
}

/// By plain name.
static ASSETS: LazyLock<BTreeMap<&str, Asset>> = LazyLock::new(|| {
    let named = |(path, kind, bytes): &(&'static str, &'static str, &'static [u8])| {
        let (_, name) = path.rsplit_once('/').expect("each is in a folder");
        let (stem, extension) = name.rsplit_once('.').expect("each has an extension");
        let content = Fixed::new(kind, *bytes);
        let path = format!("/static/{stem}.{}.{extension}", content.tag());
        let compressed = Some(gzip(bytes)).filter(|small| small.len() < bytes.len());
        let compressed = compressed.map(|small| Fixed::new(kind, small));
        let asset = Asset {
            path,
            content,
            compressed,
        };
        (name, asset)
    };
    FILES.iter().map(named).collect()
});

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory takes it all")
}

/// Whether the client says that it reads gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|coding| coding.split(';').map(str::trim));
    codings.any(|mut parts| {
        let named = matches!(parts.next(), Some("gzip" | "x-gzip" | "*"));
        named && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

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
    let mut response = match &asset.compressed {
        Some(compressed) if takes_gzip(&headers) => {
            let mut response = compressed.answer(&headers);
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, gzip);
            response
        }
        _ => asset.content.answer(&headers),
    };
    let vary = HeaderValue::from_static("accept-encoding");
    response.headers_mut().insert(VARY, vary);
    let kept = HeaderValue::from_static(KEPT);
    response.headers_mut().insert(CACHE_CONTROL, kept);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_read_it() {
        for (accepted, want) in [
            (None, false),
            (Some("gzip"), true),
            (Some("br, gzip;q=0.5"), true),
            (Some("*"), true),
            (Some("gzip;q=0"), false),
            (Some("gzip; q=0.0, br"), false),
            (Some("br"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(ACCEPT_ENCODING, accepted.parse().expect("a value"));
            }
            assert_eq!(takes_gzip(&headers), want, "{accepted:?}");
        }
    }
}
