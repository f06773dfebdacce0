//! Accounts, sessions, links: what lets somebody in, and what no longer does.

use std::time::Duration;

use hookpost::domain::session::{self, Link};
use hookpost::domain::user::{Role, Roles};

use crate::support::app::TestApp;
use crate::support::visitor::Visitor;

const PASSWORD: &str = "a few words will do";

/// The first page of an environment, for this visitor.
async fn status(app: &TestApp, visitor: &mut Visitor) -> u16 {
    let env = app.store.ids().text(app.store.default_environment());
    visitor.get(app, &format!("/env/{env}")).await.status
}

async fn sign_in(app: &TestApp, name: &str, password: &str) -> (Visitor, u16) {
    let mut visitor = Visitor::default();
    let email = format!("{name}@example.com");
    let fields = [("email", email.as_str()), ("password", password)];
    let answer = visitor.post(app, "/sign-in", &fields).await;
    (visitor, answer.status)
}

#[tokio::test]
async fn the_first_account_is_made_once_by_its_link() {
    let app = TestApp::start().await;
    let mut visitor = Visitor::default();
    let page = visitor.get(&app, "/sign-in").await.ok(403);
    assert!(page.text().contains("no account yet"));
    for token in ["one", "two"] {
        let ends = app.now().plus(Duration::from_mins(30));
        let hash = session::hash(token);
        let issued = app.store.issue_link(hash, Link::FirstAccount, ends).await;
        issued.expect("a link");
    }
    visitor.get(&app, "/links/one").await.ok(200);
    let fields = |password, again| {
        [
            ("email", "Ada@Example.com"),
            ("password", password),
            ("again", again),
        ]
    };
    for (password, again, words) in [
        ("short", "short", "at least 10 characters"),
        (PASSWORD, "another one", "not the same both times"),
    ] {
        let form = fields(password, again);
        let page = visitor.post(&app, "/links/one", &form).await.ok(422);
        assert!(page.text().contains(words), "{}", page.text());
        assert!(!page.text().contains(password), "a password is not shown");
    }
    let form = fields(PASSWORD, PASSWORD);
    visitor.post(&app, "/links/one", &form).await.ok(303);
    assert_eq!(status(&app, &mut visitor).await, 200);
    // Neither it nor the other works any more.
    for link in ["/links/one", "/links/two"] {
        let mut other = Visitor::default();
        let again = other.post(&app, link, &form).await;
        assert_eq!(again.status, 410, "{link}");
    }
    assert_eq!(sign_in(&app, "ada", PASSWORD).await.1, 303);
}

#[tokio::test]
async fn links_end_and_work_once_even_for_two_at_a_time() {
    let app = TestApp::start().await;
    let (user, _) = Visitor::account(&app, "ada", Roles::everywhere(Role::Admin)).await;
    let ends = app.now().plus(Duration::from_mins(1));
    for token in ["late", "raced"] {
        let hash = session::hash(token);
        let issued = app.store.issue_link(hash, Link::SignIn(user), ends).await;
        issued.expect("a link");
    }
    let (mut one, mut other) = (Visitor::default(), Visitor::default());
    let raced = tokio::join!(
        one.get(&app, "/links/raced"),
        other.get(&app, "/links/raced")
    );
    let mut statuses = [raced.0.status, raced.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 410]);
    app.advance(Duration::from_mins(1)).await;
    assert_eq!(one.get(&app, "/links/late").await.status, 410);
    assert_eq!(one.get(&app, "/links/never").await.status, 410);
}

#[tokio::test]
async fn a_wrong_password_and_no_account_answer_alike_and_run_out() {
    let app = TestApp::start().await;
    Visitor::account_with(&app, "ada", PASSWORD).await;
    let page = async |name: &str, password: &str| {
        let email = format!("{name}@example.com");
        let fields = [("email", email.as_str()), ("password", password)];
        let answer = Visitor::default().post(&app, "/sign-in", &fields).await;
        (answer.status, answer.text().replace(&email, "EMAIL"))
    };
    let wrong = page("ada", "something else").await;
    assert_eq!(wrong, page("bob", "something else").await);
    assert_eq!(wrong.0, 401);
    assert!(!wrong.1.contains("something else"));
    let long = "x".repeat(5000);
    assert_eq!(page("ada", &long).await.0, 401);
    for _ in 0..4 {
        page("ada", "something else").await;
    }
    assert_eq!(
        page("ada", PASSWORD).await.0,
        429,
        "even with the right one"
    );
    app.advance(Duration::from_mins(1)).await;
    assert_eq!(page("ada", PASSWORD).await.0, 303);
    let audit = app.get("/api/v1/audit").await.ok(200).items();
    let refused = audit
        .iter()
        .filter(|entry| entry["action"] == "session.refused");
    assert!(refused.count() >= 4, "{audit:?}");
}

#[tokio::test]
async fn sessions_end_when_idle_and_when_their_time_is_over() {
    let app = TestApp::start().await;
    let mut visitor = Visitor::user(&app, "ada", Roles::everywhere(Role::Admin)).await;
    app.advance(Duration::from_mins(29)).await;
    assert_eq!(status(&app, &mut visitor).await, 200);
    let seen = async || {
        let hash = session::hash(&visitor.cookies[0].1);
        let (_, session) = app.store.session(&hash).ok()??;
        (session.seen == app.now()).then_some(())
    };
    app.until("its use is noted", seen).await;
    app.advance(Duration::from_mins(29)).await;
    assert_eq!(
        status(&app, &mut visitor).await,
        200,
        "it was used meanwhile"
    );
    app.until("its use is noted", async || {
        let hash = session::hash(&visitor.cookies[0].1);
        let (_, session) = app.store.session(&hash).ok()??;
        (session.seen == app.now()).then_some(())
    })
    .await;
    app.advance(Duration::from_mins(30)).await;
    assert_eq!(status(&app, &mut visitor).await, 303, "to sign in again");
}

#[tokio::test]
async fn the_oldest_of_many_sessions_goes() {
    let app = TestApp::start().await;
    Visitor::account_with(&app, "ada", PASSWORD).await;
    let mut visitors = Vec::new();
    for _ in 0..11 {
        let (visitor, came) = sign_in(&app, "ada", PASSWORD).await;
        assert_eq!(came, 303);
        visitors.push(visitor);
        app.advance(Duration::from_secs(20)).await;
    }
    let mut statuses = Vec::new();
    for visitor in &mut visitors {
        statuses.push(status(&app, visitor).await);
    }
    assert_eq!(statuses[0], 303);
    assert!(
        statuses[1..].iter().all(|status| *status == 200),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn signing_out_and_another_password_end_sessions() {
    let app = TestApp::start().await;
    Visitor::account_with(&app, "ada", PASSWORD).await;
    let (mut one, _) = sign_in(&app, "ada", PASSWORD).await;
    let (mut two, _) = sign_in(&app, "ada", PASSWORD).await;
    let (mut three, _) = sign_in(&app, "ada", PASSWORD).await;
    let before = one.clone();
    one.post(&app, "/sign-out", &[]).await.ok(303);
    assert!(one.cookies.is_empty());
    assert_eq!(
        status(&app, &mut before.clone()).await,
        303,
        "the token is dead"
    );
    let env = app.store.ids().text(app.store.default_environment());
    let path = format!("/env/{env}/account/endings");
    two.submit(&app, &path, &[]).await.ok(303);
    assert_eq!(status(&app, &mut two).await, 200);
    assert_eq!(status(&app, &mut three).await, 303);
    app.advance(Duration::from_mins(1)).await;
    let (mut four, _) = sign_in(&app, "ada", PASSWORD).await;
    let path = format!("/env/{env}/account/passwords");
    let fields = |old| {
        [
            ("old", old),
            ("password", "other words now"),
            ("again", "other words now"),
        ]
    };
    two.submit(&app, &path, &fields("wrong")).await.ok(422);
    two.submit(&app, &path, &fields(PASSWORD)).await.ok(303);
    assert_eq!(status(&app, &mut two).await, 200);
    assert_eq!(status(&app, &mut four).await, 303);
    assert_eq!(sign_in(&app, "ada", PASSWORD).await.1, 401);
}

#[tokio::test]
async fn nothing_is_done_for_another_site() {
    let app = TestApp::start().await;
    let mut visitor = Visitor::user(&app, "ada", Roles::everywhere(Role::Admin)).await;
    let env = app.store.ids().text(app.store.default_environment());
    let path = format!("/env/{env}/applications");
    let body = format!("form={}&name=evil", visitor.form_token());
    let host = app.public_url.clone();
    for (headers, want) in [
        (&[("sec-fetch-site", "cross-site")][..], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("sec-fetch-site", "none")], 303),
        (
            &[("sec-fetch-site", ""), ("origin", "https://evil.example")],
            403,
        ),
        (
            &[("sec-fetch-site", "cross-site"), ("origin", host.as_str())],
            403,
        ),
    ] {
        let mut call = visitor.call(&app, "POST", &path);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        let answer = call.body(body.clone()).send().await;
        assert_eq!(answer.status, want, "{headers:?}");
    }
    // And without the form's token, or in another form, not for us either.
    for (kind, body) in [
        ("application/x-www-form-urlencoded", "name=evil"),
        ("application/x-www-form-urlencoded", "form=&name=evil"),
        ("application/x-www-form-urlencoded", "form=AAAA&name=evil"),
        ("text/plain", &body),
        ("application/json", "{\"name\": \"evil\"}"),
    ] {
        let call = visitor.call(&app, "POST", &path);
        let call = call.header("content-type", kind).body(body.to_owned());
        let answer = call.send().await;
        assert!(
            [403, 415].contains(&answer.status),
            "{kind} {body}: {}",
            answer.status
        );
    }
    let made = app.get("/api/v1/applications").await.ok(200).items();
    assert_eq!(made.len(), 1, "one, from the address bar: {made:?}");
    assert_eq!(status(&app, &mut visitor).await, 200);
}

#[tokio::test]
async fn a_sign_in_leads_back_to_our_pages_alone() {
    let app = TestApp::start().await;
    Visitor::account_with(&app, "ada", PASSWORD).await;
    let env = app.store.ids().text(app.store.default_environment());
    let good = format!("/env/{env}/messages?state=failed&type=a.*");
    for (next, want) in [
        (good.as_str(), good.as_str()),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https:evil.example", "/"),
        ("/%09/evil.example", "/"),
        ("/env/../../evil", "/"),
        ("/env/x\r\nset-cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ] {
        app.advance(Duration::from_mins(1)).await;
        let fields = [
            ("email", "ada@example.com"),
            ("password", PASSWORD),
            ("next", next),
        ];
        let answer = Visitor::default().post(&app, "/sign-in", &fields).await;
        let answer = answer.ok(303);
        assert_eq!(answer.header("location"), want, "{next:?}");
    }
}

#[tokio::test]
async fn a_removed_user_is_out_and_the_last_admin_stays() {
    let app = TestApp::start().await;
    let env = app.store.ids().text(app.store.default_environment());
    Visitor::account_with(&app, "ada", PASSWORD).await;
    let (mut ada, _) = sign_in(&app, "ada", PASSWORD).await;
    let mut bob = Visitor::user(&app, "bob", Roles::everywhere(Role::Viewer)).await;
    let users = app.store.list_users().expect("it reads");
    let id = |email: &str| {
        let found = users.iter().find(|user| user.email.starts_with(email));
        app.store.ids().text(found.expect("an account").key)
    };
    let remove = |email: &str| format!("/env/{env}/settings/users/{}/removals", id(email));
    assert_eq!(status(&app, &mut bob).await, 200);
    ada.submit(&app, &remove("bob"), &[]).await.ok(303);
    assert_eq!(status(&app, &mut bob).await, 303, "out at once");
    ada.submit(&app, &remove("ada"), &[]).await.ok(409);
    assert_eq!(status(&app, &mut ada).await, 200);
}

#[tokio::test]
async fn an_invitation_lets_somebody_choose_a_password() {
    let app = TestApp::start().await;
    let env = app.store.ids().text(app.store.default_environment());
    let mut ada = Visitor::user(&app, "ada", Roles::everywhere(Role::Admin)).await;
    let path = format!("/env/{env}/settings/users");
    let fields = [("email", "bob@example.com"), ("role", "viewer")];
    let page = ada.submit(&app, &path, &fields).await.ok(200).text();
    let (_, rest) = page.split_once("/links/").expect("a link");
    let token = rest.split('<').next().expect("its end");
    let again = ada.submit(&app, &path, &fields).await.ok(422).text();
    assert!(again.contains("has an account"), "{again}");
    let mut bob = Visitor::default();
    let link = format!("/links/{token}");
    bob.get(&app, &link).await.ok(200);
    let form = [("password", PASSWORD), ("again", PASSWORD)];
    bob.post(&app, &link, &form).await.ok(303);
    assert_eq!(status(&app, &mut bob).await, 200);
    bob.get(&app, &path).await.ok(403);
    // What was said in between is in the log.
    let audit = app.get("/api/v1/audit").await.ok(200).items();
    let actions: Vec<_> = audit.iter().map(|entry| entry["action"].clone()).collect();
    for action in ["user.created", "password.set", "session.opened"] {
        assert!(actions.contains(&action.into()), "{action}: {actions:?}");
    }
}

#[tokio::test]
async fn portal_links_work_once_and_their_sessions_can_be_ended() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/portal-links");
    let body = serde_json::json!({"expiresInSeconds": 60, "next": "/endpoints"});
    let made = app.post(&path, body).await.ok(201).json();
    let url = made["url"].as_str().expect("a URL").to_owned();
    let link = url.strip_prefix(&app.public_url).expect("a link of ours");
    let mut visitor = Visitor::default();
    // What only looks ahead does not use it up.
    visitor.call(&app, "HEAD", link).send().await.ok(204);
    let ahead = visitor
        .call(&app, "GET", link)
        .header("sec-purpose", "prefetch");
    ahead.send().await.ok(204);
    let came = visitor.get(&app, link).await.ok(303);
    assert_eq!(came.header("location"), "/portal/endpoints");
    assert_eq!(Visitor::default().get(&app, link).await.status, 410);
    visitor.get(&app, "/portal").await.ok(200);
    app.advance(Duration::from_mins(1)).await;
    visitor.get(&app, "/portal").await.ok(401);
    let mut other = Visitor::customer(&app, &application, false).await;
    other.get(&app, "/portal").await.ok(200);
    let ended = app
        .delete(&format!(
            "/api/v1/applications/{application}/portal-sessions"
        ))
        .await;
    assert_eq!(ended.ok(200).json()["ended"], 1, "the first was over");
    other.get(&app, "/portal").await.ok(401);
    let mut last = Visitor::customer(&app, &application, false).await;
    app.delete(&format!("/api/v1/applications/{application}"))
        .await
        .ok(200);
    assert_eq!(last.get(&app, "/portal").await.status, 404);
}

#[tokio::test]
async fn pages_say_what_they_may_do_and_are_kept_by_nobody() {
    let app = TestApp::start().await;
    let mut visitor = Visitor::user(&app, "ada", Roles::everywhere(Role::Admin)).await;
    let env = app.store.ids().text(app.store.default_environment());
    let page = visitor.get(&app, &format!("/env/{env}")).await.ok(200);
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    // A portal is shown in a frame where the operator says so, and nowhere else.
    let application = app.application().await;
    let form = [("framedBy", "https://app.example.com")];
    let path = format!("/env/{env}/settings/portal");
    visitor.submit(&app, &path, &form).await.ok(303);
    let mut customer = Visitor::customer(&app, &application, false).await;
    let page = customer.get(&app, "/portal").await.ok(200);
    let policy = page.header("content-security-policy");
    assert!(
        policy.ends_with("frame-ancestors https://app.example.com"),
        "{policy}"
    );
    assert!(page.headers.get("x-frame-options").is_none());
    let own = visitor.get(&app, &format!("/env/{env}")).await.ok(200);
    assert_eq!(own.header("x-frame-options"), "DENY");
    for wrong in [
        "*",
        "http://app.example.com",
        "https://a.example/x",
        "'self'",
    ] {
        let form = [("framedBy", wrong)];
        visitor.submit(&app, &path, &form).await.ok(422);
    }
}
