//! Sources on pages: made by forms, seen in a browser, by people.

use hookpost::domain::user::{Role, Roles};
use serde_json::json;

use super::browser::Place;
use crate::support::app::TestApp;
use crate::support::browser::{Browser, Look, WIDE};
use crate::support::http_client;
use crate::support::visitor::Visitor;

/// The status callbacks of one reference, one of them with a wrong secret: the
/// record, its history, and the refused one in the log.
async fn callbacks_become_a_record(name: &'static str, look: Look) {
    let place = Place::start(&["--dev"]);
    let browser = Browser::start(name, look).await;
    browser.open(&place.link).await;
    browser.sees("Activity in default").await;
    let env = browser.path().await;
    let base = place.server.base_url();
    browser.open(&format!("{base}{env}/sources")).await;
    browser.sees("No source yet").await;
    browser.press("New source").await;
    browser.sees("Who will send?").await;
    browser.screenshot("01-providers").await;
    browser.press("A secret in a header").await;
    browser.fill("Name", "Encryption").await;
    browser.fill("The end of its URL", "Not A Slug").await;
    browser.fill("Secrets", "right").await;
    browser
        .fill("The header that carries it", "x-api-secret")
        .await;
    browser.press("Create source").await;
    browser.sees("must have 3 to 64 characters").await;
    browser.screenshot("02-wrong").await;
    browser.fill("The end of its URL", "encryption").await;
    browser.fill("Secrets", "right").await;
    browser
        .fill("The field that names a record", "reference")
        .await;
    browser.press("Create source").await;
    browser.sees("Nothing came yet").await;
    browser.screenshot("03-empty").await;
    let callback = |secret: &str, status: &str| {
        let body = json!({"reference": "F-95ad51b6", "status_code": status, "token_id": 1});
        let head = [
            ("x-api-secret", secret),
            ("content-type", "application/json"),
        ];
        let body = body.to_string();
        let answer = http_client::request(
            place.server.address(),
            "POST",
            "/in/encryption",
            &head,
            body.as_bytes(),
        );
        let answer = answer.expect("it is answered");
        (answer.status, answer.text())
    };
    assert_eq!(callback("right", "P").0, 200);
    assert_eq!(callback("wrong", "F").0, 401);
    assert_eq!(callback("right", "S"), (200, "OK".to_owned()));
    if look.scripts {
        // By itself: the log is live.
        browser.sees("is none of the source's secrets").await;
    } else {
        browser
            .sees_on_reload("is none of the source's secrets")
            .await;
    }
    browser.screenshot("04-log").await;
    browser.press("Records").await;
    browser.sees("F-95ad51b6").await;
    browser.screenshot("05-records").await;
    browser.press("F-95ad51b6").await;
    browser.sees("2 events").await;
    let now = browser.text_of(".panel table").await;
    let now: Vec<&str> = now.split_whitespace().collect();
    assert!(now.join(" ").contains("status_code S"), "{now:?}");
    browser.screenshot("06-record").await;
    browser.open(&format!("{base}{env}/records")).await;
    browser.sees("F-95ad51b6").await;
    browser.sees("Encryption").await;
    browser
        .open(&format!("{base}{env}/sources/encryption?verdict=rejected"))
        .await;
    browser.press("request").await;
    browser
        .sees("Rejected: the header `x-api-secret` is none of")
        .await;
    browser.screenshot("07-refused").await;
    browser.fill("With this secret too", "wrong").await;
    browser.press("Verify again").await;
    browser.sees("it was accepted").await;
    browser.screenshot("08-accepted").await;
    if look.scripts {
        let complaints = browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:#?}");
        for page in ["", "/records", "/records/F-95ad51b6", "/edit"] {
            browser
                .open(&format!("{base}{env}/sources/encryption{page}"))
                .await;
            let found = browser.axe().await;
            assert!(found.is_empty(), "{page}: {found:#?}");
        }
    }
    assert!(!browser.is_too_wide().await);
    browser.end().await;
}

#[tokio::test]
async fn sources_are_made_changed_and_deleted_by_forms() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let mut visitor = Visitor::user(&app, "ada", Roles::everywhere(Role::Operator)).await;
    let env = app.store.ids().text(app.store.default_environment());
    let base = format!("/env/{env}/sources");
    let form = [
        ("preset", "custom"),
        ("application", application.as_str()),
        ("name", "Own"),
        ("slug", "own"),
        ("secrets", "new\nold"),
        ("signatureIn", "header"),
        ("signaturePlace", "x-sig"),
        ("item", "v1"),
        ("signed", "{timestamp}.{body}"),
        ("timestampIn", "item"),
        ("timestampPlace", "t"),
        ("unit", "seconds"),
        ("typeIn", "field"),
        ("typePlace", "type"),
        ("typeFallback", "other"),
        ("dedupeIn", "body"),
        ("recordKey", "id"),
        ("answerIn", "fixed"),
        ("answerStatus", "202"),
        ("answerBody", "{}"),
        ("answerType", "application/json"),
        ("perSecond", "50"),
        ("ipRanges", "127.0.0.0/8, ::1"),
        ("enabled", "1"),
    ];
    visitor.submit(&app, &base, &form).await.ok(303);
    let made = app.get("/api/v1/sources/own").await.ok(200).json();
    assert_eq!(made["verification"]["secretCount"], 2);
    assert_eq!(made["verification"]["signature"]["item"], "v1");
    assert_eq!(
        made["eventType"],
        json!({"field": "/type", "fallback": "other"})
    );
    assert_eq!(made["dedupe"], json!({"by": "body"}));
    assert_eq!(made["answer"]["status"], 202);
    assert_eq!(made["limits"]["perSecond"], 50);
    assert_eq!(
        made["verification"]["ipRanges"],
        json!(["127.0.0.0/8", "::1/128"])
    );
    // The form shows all of it again, and saved as it stands changes nothing.
    let page = visitor
        .get(&app, &format!("{base}/own/edit"))
        .await
        .ok(200)
        .text();
    for text in [
        "value=\"x-sig\"",
        "value=\"v1\"",
        "{timestamp}.{body}",
        "value=\"/type\"",
        "value=\"50\"",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("new\nold"), "secrets are not shown");
    let again: Vec<_> = form
        .iter()
        .filter(|(name, _)| !["application", "secrets", "preset"].contains(name))
        .copied()
        .collect();
    visitor
        .submit(&app, &format!("{base}/own"), &again)
        .await
        .ok(303);
    let mut saved = app.get("/api/v1/sources/own").await.ok(200).json();
    saved["updated"] = made["updated"].clone();
    assert_eq!(saved, made);
    let shown = visitor
        .submit(&app, &format!("{base}/own/secret-reveals"), &[])
        .await
        .ok(200)
        .text();
    assert!(shown.contains("old"), "{shown}");
    for (fields, wrong) in [
        (
            [("preset", "github"), ("slug", "x y")],
            "verification.secrets",
        ),
        ([("preset", "none"), ("slug", "own")], "slug"),
    ] {
        let mut form = vec![("application", application.as_str())];
        form.extend(fields);
        let page = visitor.submit(&app, &base, &form).await;
        assert!([409, 422].contains(&page.status), "{}", page.status);
        assert!(page.text().contains(wrong), "{wrong}: {}", page.text());
    }
    visitor
        .submit(&app, &format!("{base}/own/deletions"), &[])
        .await
        .ok(303);
    app.get("/api/v1/sources/own").await.ok(404);
}

/// GitHub's secret was mistyped: what it sent is refused, shown with the
/// reason, and accepted once the right one is given.
#[tokio::test]
async fn what_was_refused_is_accepted_with_the_right_secret() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let verification = json!({"preset": "github", "secrets": ["mistyped"]});
    let made = json!({"application": application, "slug": "github", "verification": verification});
    app.post("/api/v1/sources", made).await.ok(201);
    let sent = app.request("POST", "/in/github").without_key();
    let sent = sent.header("x-github-event", "push").header(
        "x-hub-signature-256",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    );
    sent.body("Hello, World!").send().await.ok(401);
    let mut visitor = Visitor::user(&app, "ada", Roles::everywhere(Role::Operator)).await;
    let env = app.store.ids().text(app.store.default_environment());
    let log = app
        .get("/api/v1/sources/github/received")
        .await
        .ok(200)
        .items();
    let received = format!(
        "/env/{env}/sources/github/received/{}",
        log[0]["id"].as_str().unwrap()
    );
    let page = visitor.get(&app, &received).await.ok(200).text();
    assert!(
        page.contains("no secret matches") && page.contains("Hello, World!"),
        "{page}"
    );
    let again = format!("{received}/verifications");
    let still = visitor
        .submit(&app, &again, &[("secret", "wrong")])
        .await
        .ok(200)
        .text();
    assert!(still.contains("Still rejected"), "{still}");
    let form = [("secret", "It's a Secret to Everybody"), ("keep", "1")];
    visitor.submit(&app, &again, &form).await.ok(303);
    let page = visitor.get(&app, &received).await.ok(200).text();
    assert!(
        page.contains("Accepted") && page.contains("verified again"),
        "{page}"
    );
    let body = visitor.get(&app, &format!("{received}/body")).await.ok(200);
    assert_eq!(body.text(), "Hello, World!");
    assert!(body.header("content-disposition").starts_with("attachment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_become_a_record_wide_and_light() {
    callbacks_become_a_record("sources-wide", WIDE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_become_a_record_on_a_phone_in_the_dark() {
    callbacks_become_a_record("sources-phone", WIDE.phone().dark()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_become_a_record_without_scripts() {
    callbacks_become_a_record("sources-no-scripts", WIDE.without_scripts()).await;
}
