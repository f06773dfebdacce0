//! What a server answered.

use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::API;
use super::RemoteError;
use crate::domain::server_url::ServerUrl;

/// A whole answer.
pub(in crate::cli) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as what the API says it is.
    pub(in crate::cli) fn json<'a, T: Deserialize<'a>>(
        &'a self,
        server: &ServerUrl,
    ) -> Result<T, RemoteError> {
        serde_json::from_slice(&self.body).map_err(|_| RemoteError::NotHookpost {
            server: server.to_string(),
            what: "its answer is not the JSON that was asked for".to_owned(),
        })
    }

    /// Where the `Link` of that kind leads, below the API's base. A proxy may
    /// have put something before that, which the server does not know of.
    pub(in crate::cli) fn link(&self, rel: &str) -> Option<String> {
        let headers = self.headers.get_all(LINK).iter();
        let mut links = headers
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(", "));
        let ends = format!(">; rel=\"{rel}\"");
        let target = links.find_map(|link| link.trim().strip_prefix('<')?.strip_suffix(&ends))?;
        let (_, below) = target.split_once(API)?;
        Some(below.to_owned())
    }

    /// That one thing is not there is said by an empty body.
    pub(super) fn is_absent(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.body.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_links(lines: &[&'static str]) -> Answer {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(LINK, http::HeaderValue::from_static(line));
        }
        Answer {
            status: StatusCode::OK,
            headers,
            body: Bytes::new(),
        }
    }

    #[test]
    fn links_are_told_apart_by_what_they_are() {
        let older = "</api/v1/messages?before=msg_1>; rel=\"next\"";
        let newer = "</below/api/v1/messages?after=msg_2>; rel=\"prev\"";
        let one_line = "</api/v1/a?x=1>; rel=\"next\", </api/v1/b>; rel=\"prev\"";
        for (lines, rel, want) in [
            (&[older, newer][..], "next", Some("/messages?before=msg_1")),
            (&[older, newer], "prev", Some("/messages?after=msg_2")),
            (&[one_line], "prev", Some("/b")),
            (&[older], "prev", None),
            (&["nonsense", "</elsewhere>; rel=\"next\""], "next", None),
        ] {
            let answer = with_links(lines);
            assert_eq!(answer.link(rel).as_deref(), want, "{lines:?} {rel}");
        }
    }
}
