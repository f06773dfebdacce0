//! Whether a request that changes something comes from our own pages.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode};

use super::problem::Problem;

/// Lets through what only reads, and what a browser says comes from a page of
/// the same origin.
///
/// Browsers say so in `Sec-Fetch-Site`; older ones in `Origin`, which must then
/// name the host that was asked. One that says neither is refused: a cookie is
/// no proof of who wrote the form.
/// Source: Go 1.25, `CrossOriginProtection`.
///
/// # Errors
/// 403.
pub fn expect_same(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if matches!(*method, Method::GET | Method::HEAD) || is_same(headers) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "cross_site",
        "This form was sent by another site, or by a browser that does not say by which. Nothing \
         was done; open the page here and send it again.",
    ))
}

/// Whether a browser says that a page of another site asks.
#[must_use]
pub fn is_foreign(headers: &HeaderMap) -> bool {
    let says = headers.contains_key("sec-fetch-site") || headers.contains_key(ORIGIN);
    says && !is_same(headers)
}

fn is_same(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match text("sec-fetch-site") {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => match (text(ORIGIN.as_str()), text(HOST.as_str())) {
            (Some(origin), Some(host)) => {
                let named = origin.split_once("://").map(|(_, named)| named);
                named.is_some_and(|named| named.eq_ignore_ascii_case(host))
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_change_something() {
        const HERE: (&str, &str) = ("host", "hooks.example:8071");
        for (headers, want) in [
            (&[("sec-fetch-site", "same-origin"), HERE][..], true),
            (&[("sec-fetch-site", "none"), HERE], true),
            (&[("sec-fetch-site", "same-site"), HERE], false),
            (&[("sec-fetch-site", "cross-site"), HERE], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://hooks.example:8071"),
                    HERE,
                ],
                false,
            ),
            (&[("origin", "https://hooks.example:8071"), HERE], true),
            (&[("origin", "https://evil.example"), HERE], false),
            (&[("origin", "https://hooks.example"), HERE], false),
            (&[("origin", "null"), HERE], false),
            (&[HERE], false),
            (&[("sec-fetch-site", "\u{e4}"), HERE], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let value = http::HeaderValue::from_bytes(value.as_bytes()).expect("a value");
                map.insert(*name, value);
            }
            let got = expect_same(&Method::POST, &map).is_ok();
            assert_eq!(got, want, "{headers:?}");
            assert!(expect_same(&Method::GET, &map).is_ok());
        }
    }
}
