//! What strangers wrote is shown as text, wherever it is shown.

use hookpost::dashboard::{Of, ROUTES};
use hookpost::domain::user::{Role, Roles};
use serde_json::json;

use crate::support::app::TestApp;
use crate::support::sink::{Reply, Sink};
use crate::support::visitor::Visitor;

/// Each ends a different kind of place that text can stand in.
const CORPUS: [&str; 12] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<!--<script>alert(1)</script>-->",
    "javascript:alert(1)",
    "{{11111*11111}}${11111*11111}<%= 11111*11111 %>",
    "\u{202e}evil\u{2066}",
    "=cmd|' /C calc'!A0",
    "&lt;script&gt;&#60;img&#62;",
];

/// Tags that no text of the corpus may make.
const TAGS: [&str; 6] = [
    "<script>",
    "<img src=x",
    "<svg onload",
    "<%=",
    "<!--<",
    "onerror=alert(1)>",
];

#[track_caller]
fn is_clean(path: &str, text: &str) {
    let shown = text.replace("&#60;", "");
    for tag in TAGS {
        assert!(!shown.contains(tag), "{path} shows {tag}");
    }
    for attribute in [
        "href=\"javascript:",
        "src=\"javascript:",
        "action=\"javascript:",
    ] {
        assert!(!text.contains(attribute), "{path} has {attribute}");
    }
    assert!(!text.contains("123454321"), "{path} works out a template");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one place for each field there is")]
async fn every_field_that_is_shown_is_shown_as_text() {
    let app = TestApp::start().await;
    let mut visitor = Visitor::user(&app, "ada", Roles::everywhere(Role::Admin)).await;
    let env = app.store.ids().text(app.store.default_environment());
    let (mut pages, mut fields) = (0, 0);
    for evil in CORPUS {
        let sink = Sink::start([Reply::status(500).header("x-evil", evil).body(evil)]).await;
        let made = app
            .post("/api/v1/applications", json!({"name": evil}))
            .await
            .ok(201);
        let application = made.id();
        let below = format!("/api/v1/applications/{application}");
        let encoded: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
        let body = json!({
            "url": format!("{}/{encoded}?q={encoded}", sink.url()), "name": evil,
            "description": evil, "metadata": {"k": evil, (evil): "v"}, "channels": [evil],
            "headers": {"x-custom": "plain"},
        });
        let endpoint = app
            .post(&format!("{below}/endpoints"), body)
            .await
            .ok(201)
            .id();
        let body = json!({
            "eventType": "a.b", "uid": evil, "channels": [evil], "payload": {(evil): evil},
        });
        let message = app
            .post(&format!("{below}/messages"), body)
            .await
            .ok(202)
            .id();
        sink.wait_for(1).await;
        app.idle().await;
        let name = format!("t.{fields}");
        let body = json!({
            "name": name, "description": evil, "examples": [{"e": evil}],
            "schema": {"type": "object", "description": evil},
        });
        app.post("/api/v1/event-types", body).await.ok(201);
        let inbox = app
            .post("/api/v1/inboxes", json!({"name": evil}))
            .await
            .ok(201)
            .json();
        let token = inbox["token"].as_str().expect("a token");
        let into = app.request("POST", &format!("/in/{token}/{encoded}?q={encoded}"));
        let into = into
            .without_key()
            .header("x-evil", "<script>")
            .body(evil.to_owned());
        into.send().await.ok(200);
        let came = format!("/api/v1/inboxes/{token}/received");
        let kept = app.get(&came).await.ok(200).items()[0]["id"].clone();
        let kept = kept.as_str().expect("an id").to_owned();
        let replays = format!("{came}/{kept}/replays");
        let to = json!({"url": format!("{}/{encoded}", sink.url())});
        app.post(&replays, to).await.ok(200);
        let body = json!({
            "name": evil, "application": application, "verification": {"preset": "none"},
            "record": {"key": "k", "headers": ["x-evil"]},
        });
        let source = app.post("/api/v1/sources", body).await.ok(201).id();
        let slug = app.get(&format!("/api/v1/sources/{source}")).await.ok(200);
        let slug = slug.json()["slug"].as_str().expect("a slug").to_owned();
        let event = json!({"k": evil, (evil): evil}).to_string();
        let into = app.request("POST", &format!("/in/{slug}/{encoded}?q={encoded}"));
        into.without_key()
            .header("x-evil", "<script>")
            .body(event)
            .send()
            .await
            .ok(200);
        let log = format!("/api/v1/sources/{source}/received");
        let log = app.get(&log).await.ok(200).items()[0]["id"].clone();
        let log = log.as_str().expect("an id").to_owned();
        app.post("/api/v1/keys", json!({"name": evil, "scopes": ["read"]}))
            .await
            .ok(201);
        let made = app
            .post("/api/v1/environments", json!({"name": evil}))
            .await
            .ok(201);
        let other = made.id();
        fields += 22;
        let mut customer = Visitor::customer(&app, &application, false).await;
        for (of, method, path, _) in ROUTES {
            if *method != "GET"
                || path.ends_with("/live")
                || path.contains("{job}")
                || path.ends_with("/payload")
            {
                continue;
            }
            for base in of.bases() {
                let path = format!("{base}{path}")
                    .replace("{env}", &env)
                    .replace("{app}", &application)
                    .replace("{ep}", &endpoint)
                    .replace("{msg}", &message)
                    .replace(
                        "/inboxes/{token}/received/{rcv}",
                        &format!("/inboxes/{token}/received/{kept}"),
                    )
                    .replace("{token}", token)
                    .replace("{src}", &source)
                    .replace("{rcv}", &log)
                    .replace("{record}", &encoded)
                    .replace("{name}", &name);
                let viewer = if path.starts_with("/portal") {
                    &mut customer
                } else {
                    &mut visitor
                };
                for query in [
                    String::new(),
                    format!(
                        "?type={encoded}&text={encoded}&q={encoded}&channel={encoded}&notice={encoded}&event={encoded}&url={encoded}&eventType={encoded}&range={encoded}"
                    ),
                ] {
                    let whole = format!("{path}{query}");
                    let answer = viewer.get(&app, &whole).await;
                    assert!(answer.status < 500, "{whole}: {}", answer.status);
                    if answer.header_or("content-type").starts_with("text/html") {
                        is_clean(&whole, &answer.text());
                        pages += 1;
                    }
                }
            }
            assert!(matches!(
                of,
                Of::Environment | Of::Application | Of::Both | Of::Operated
            ));
        }
        // What a form shows again when it is refused.
        let base = format!("/env/{env}/applications/{application}");
        for (path, form) in [
            (
                format!("{base}/endpoints"),
                &[
                    ("url", evil),
                    ("description", evil),
                    ("headers", evil),
                    ("others", evil),
                    ("channels", evil),
                ][..],
            ),
            (
                format!("{base}/messages"),
                &[
                    ("eventType", evil),
                    ("payload", evil),
                    ("uid", evil),
                    ("channels", evil),
                ],
            ),
            (
                format!("/env/{env}/event-types"),
                &[
                    ("name", evil),
                    ("schema", evil),
                    ("example", evil),
                    ("description", evil),
                    ("applications", evil),
                ],
            ),
            (
                format!("/env/{env}/settings/users"),
                &[("email", evil), ("role", "viewer")],
            ),
            (
                format!("/env/{env}/settings/portal"),
                &[
                    ("name", evil),
                    ("colour", evil),
                    ("framedBy", evil),
                    ("logo", evil),
                ],
            ),
            (
                format!("/env/{env}/settings/keys"),
                &[("name", evil), ("application", evil), ("scope", evil)],
            ),
            (
                "/sign-in".to_owned(),
                &[("email", evil), ("password", evil), ("next", evil)],
            ),
        ] {
            let answer = visitor.submit(&app, &path, form).await;
            assert!(answer.status < 500, "{path}: {}", answer.status);
            is_clean(&path, &answer.text());
            pages += 1;
            fields += form.len();
        }
        let path = format!("/api/v1/environments/{other}");
        app.delete(&path).await.ok(200);
        app.advance(std::time::Duration::from_mins(1)).await;
    }
    // A payload goes out as a file, and as nothing that runs.
    let application = app.application().await;
    let message = app
        .message(&application, "a.b", json!("<script>alert(1)</script>"))
        .await;
    let path = format!("/env/{env}/applications/{application}/messages/{message}/payload");
    let file = visitor.get(&app, &path).await.ok(200);
    assert!(file.header("content-disposition").starts_with("attachment"));
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert_eq!(file.header("x-content-type-options"), "nosniff");
    assert!(
        file.header("content-security-policy")
            .starts_with("sandbox")
    );
    eprintln!(
        "corpus: {} texts in {fields} fields, {pages} pages, all of it shown as text",
        CORPUS.len()
    );
    assert!(pages > 500);
}
