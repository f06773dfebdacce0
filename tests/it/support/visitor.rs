//! A browser without scripts: cookies, forms, and what a browser says of
//! itself.

use hookpost::domain::ids::UserKey;
use hookpost::domain::principal::Actor;
use hookpost::domain::session::{self, Link};
use hookpost::domain::user::Roles;
use hookpost::store::NewUser;
use serde_json::json;

use super::app::{Answer, Call, TestApp};

/// A token that no test makes twice.
fn token(text: &str) -> String {
    format!("token-{text}")
}

/// Somebody who visits the pages.
#[derive(Clone, Default)]
pub(crate) struct Visitor {
    /// As the browser would send them.
    pub(crate) cookies: Vec<(String, String)>,
}

impl Visitor {
    /// A user with these roles, signed in.
    pub(crate) async fn user(app: &TestApp, name: &str, roles: Roles) -> Self {
        let (user, _) = Self::account(app, name, roles).await;
        let link = token(name);
        let hash = session::hash(&link);
        let ends = app.now().plus(std::time::Duration::from_mins(1));
        let issued = app.store.issue_link(hash, Link::SignIn(user), ends).await;
        issued.expect("a link");
        let mut visitor = Self::default();
        visitor.get(app, &format!("/links/{link}")).await.ok(303);
        visitor
    }

    /// An account `name@example.com` without a password.
    pub(crate) async fn account(app: &TestApp, name: &str, roles: Roles) -> (UserKey, String) {
        let email = format!("{name}@example.com");
        let new = NewUser {
            email: email.clone(),
            password: None,
            roles,
        };
        let place = app.store.default_environment();
        let made = app.store.create_user(Actor::Operator, place, new).await;
        (made.expect("an account").key, email)
    }

    /// As [`account`](Self::account), with a password.
    pub(crate) async fn account_with(app: &TestApp, name: &str, password: &str) -> UserKey {
        use hookpost::domain::user::Role;
        let (user, _) = Self::account(app, name, Roles::everywhere(Role::Admin)).await;
        let link = token(&format!("password-{name}"));
        let hash = session::hash(&link);
        let ends = app.now().plus(std::time::Duration::from_mins(1));
        let issued = app.store.issue_link(hash, Link::ChoosePassword(user), ends);
        issued.await.expect("a link");
        let form = [("password", password), ("again", password)];
        let mut visitor = Self::default();
        let chosen = visitor.post(app, &format!("/links/{link}"), &form).await;
        chosen.ok(303);
        user
    }

    /// A customer of the application, in its portal.
    pub(crate) async fn customer(app: &TestApp, application: &str, read_only: bool) -> Self {
        let path = format!("/api/v1/applications/{application}/portal-links");
        let made = app
            .post(&path, json!({"readOnly": read_only}))
            .await
            .ok(201);
        let url = made.json()["url"].as_str().expect("a URL").to_owned();
        let path = url.strip_prefix(&app.public_url).expect("a link of ours");
        let mut visitor = Self::default();
        visitor.get(app, path).await.ok(303);
        visitor
    }

    /// A request as this visitor's browser sends it, from a page of ours.
    pub(crate) fn call<'a>(&self, app: &'a TestApp, method: &str, path: &str) -> Call<'a> {
        let call = app.request(method, path).without_key();
        let call = call.header("sec-fetch-site", "same-origin");
        if self.cookies.is_empty() {
            return call;
        }
        let pairs = self.cookies.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        call.header("cookie", &pairs.join("; "))
    }

    pub(crate) async fn get(&mut self, app: &TestApp, path: &str) -> Answer {
        let answer = self.call(app, "GET", path).send().await;
        self.keep(&answer);
        answer
    }

    /// Posts a form, with these fields and nothing else.
    pub(crate) async fn post(
        &mut self,
        app: &TestApp,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let call = self.call(app, "POST", path);
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        let answer = call.body(body).send().await;
        self.keep(&answer);
        answer
    }

    /// Posts a form as a page of this visitor's session has it: with its token.
    pub(crate) async fn submit(
        &mut self,
        app: &TestApp,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let form = self.form_token();
        let mut all = vec![("form", form.as_str())];
        all.extend_from_slice(fields);
        self.post(app, path, &all).await
    }

    /// What the pages of this session put into their forms.
    pub(crate) fn form_token(&self) -> String {
        use base64::Engine as _;
        use sha2::Digest as _;
        let (_, token) = self.cookies.first().expect("a session");
        let mut hash = sha2::Sha256::new();
        hash.update(b"form ");
        hash.update(token);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    fn keep(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let text = cookie.to_str().expect("ASCII");
            let pair = text.split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("a name and a value");
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}
