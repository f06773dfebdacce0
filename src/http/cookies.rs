//! The cookies that hold a session's token.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::domain::secret::Secret;

/// Whose session a cookie holds. Both may be in one browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jar {
    User,
    Customer,
}

/// Where the pages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// In a window of their own.
    Alone,
    /// Inside another site's page, which gets a cookie of its own.
    Framed,
}

impl Jar {
    /// Over https the name makes browsers refuse the cookie from anybody else.
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::User, true) => "__Host-hookpost",
            (Self::User, false) => "hookpost",
            (Self::Customer, true) => "__Host-hookpost-portal",
            (Self::Customer, false) => "hookpost-portal",
        }
    }

    /// The token in the request, if there is one.
    #[must_use]
    pub fn token(self, headers: &HeaderMap, secure: bool) -> Option<Secret> {
        let values = headers.get_all(COOKIE).iter();
        let mut pairs = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let found = pairs.find(|(name, _)| *name == self.name(secure));
        found.map(|(_, token)| Secret::new(token))
    }

    /// `Set-Cookie` that keeps `token` until the browser is closed.
    #[must_use]
    pub fn keep(self, token: &Secret, secure: bool, shown: Shown) -> HeaderValue {
        self.header(token.expose(), secure, shown, "")
    }

    /// `Set-Cookie` that takes the token away.
    #[must_use]
    pub fn clear(self, secure: bool, shown: Shown) -> HeaderValue {
        self.header("", secure, shown, "; Max-Age=0")
    }

    fn header(self, value: &str, secure: bool, shown: Shown, more: &str) -> HeaderValue {
        let site = match (shown, secure) {
            (Shown::Framed, _) => "; SameSite=None; Secure; Partitioned",
            (Shown::Alone, true) => "; SameSite=Lax; Secure",
            (Shown::Alone, false) => "; SameSite=Lax",
        };
        let name = self.name(secure);
        let text = format!("{name}={value}; Path=/; HttpOnly{site}{more}");
        let mut header = HeaderValue::from_str(&text).expect("base64url and ASCII");
        header.set_sensitive(true);
        header
    }
}

/// The headers without the cookies of sessions: what comes to a URL that is for
/// anybody has them when somebody who is signed in opens it, and is shown to
/// others.
#[must_use]
pub fn without_sessions(mut headers: HeaderMap) -> HeaderMap {
    let ours = |name: &str| {
        let jars = [Jar::User, Jar::Customer];
        jars.iter()
            .any(|jar| name == jar.name(true) || name == jar.name(false))
    };
    if !headers.contains_key(COOKIE) {
        return headers;
    }
    let values: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for value in values {
        let Ok(text) = value.to_str() else {
            // Ours are ASCII; what else is in it may hide one.
            continue;
        };
        let others = text.split(';').map(str::trim).filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && !ours(name.trim())
        });
        let others = others.collect::<Vec<_>>().join("; ");
        if let Ok(value) = HeaderValue::from_str(&others)
            && !others.is_empty()
        {
            headers.append(COOKIE, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_among_other_cookies() {
        for (cookies, secure, want) in [
            (&["hookpost=abc"][..], false, Some("abc")),
            (&["a=b; hookpost=abc; c=d"], false, Some("abc")),
            (&["a=b", "hookpost=abc"], false, Some("abc")),
            (&["hookpost-portal=abc"], false, None),
            (&["hookpost=abc"], true, None),
            (&["__Host-hookpost=abc"], true, Some("abc")),
            (&["xhookpost=abc; hookpost"], false, None),
            (&[], false, None),
        ] {
            let mut headers = HeaderMap::new();
            for value in cookies {
                headers.append(COOKIE, HeaderValue::from_static(value));
            }
            let got = Jar::User.token(&headers, secure);
            assert_eq!(got.as_ref().map(Secret::expose), want, "{cookies:?}");
        }
    }

    #[test]
    fn cookies_are_kept_from_scripts_and_other_sites() {
        let token = Secret::new("abc");
        for (jar, secure, shown, want) in [
            (
                Jar::User,
                true,
                Shown::Alone,
                "__Host-hookpost=abc; Path=/; HttpOnly; SameSite=Lax; Secure",
            ),
            (
                Jar::User,
                false,
                Shown::Alone,
                "hookpost=abc; Path=/; HttpOnly; SameSite=Lax",
            ),
            (
                Jar::Customer,
                true,
                Shown::Framed,
                "__Host-hookpost-portal=abc; Path=/; HttpOnly; SameSite=None; Secure; Partitioned",
            ),
        ] {
            assert_eq!(jar.keep(&token, secure, shown), want);
            assert!(jar.keep(&token, secure, shown).is_sensitive());
        }
        let cleared = Jar::User.clear(false, Shown::Alone);
        assert_eq!(
            cleared,
            "hookpost=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
        );
    }
}
