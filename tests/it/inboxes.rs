//! Inboxes: URLs that take anything and show it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{Options, START, TestApp};
use crate::support::redact::redacted;
use crate::support::sink::{Reply, Sink};

const INBOXES: &str = "/api/v1/inboxes";

/// A new inbox: its token and its URL.
async fn inbox(app: &TestApp, fields: Value) -> (String, String) {
    let made = app.post(INBOXES, fields).await.ok(201).json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("token"), text("url"))
}

async fn received(app: &TestApp, token: &str) -> Vec<Value> {
    app.get(&format!("{INBOXES}/{token}/received"))
        .await
        .ok(200)
        .items()
}

#[tokio::test]
async fn an_inbox_is_made_without_saying_anything_and_takes_anything() {
    let app = TestApp::start().await;
    let made = app.request("POST", INBOXES).send().await.ok(201).json();
    assert_eq!(made["answerStatus"], 200);
    let token = made["token"].as_str().unwrap();
    assert!(token.len() >= 20, "{token}");
    assert_eq!(made["url"], format!("{}/in/{token}/", app.public_url));
    for (n, method) in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .enumerate()
    {
        let path = format!("/in/{token}/some/path?n={n}&x=%20");
        let call = app.request(method, &path).without_key();
        let answer = call
            .header("x-a", "1")
            .body(format!("body {n}"))
            .send()
            .await;
        let shown = (answer.status, answer.text());
        assert_eq!(shown, (200, "OK".to_owned()), "{method}");
        assert_eq!(answer.header("content-type"), "text/plain");
        let newest = received(&app, token).await.remove(0);
        assert_eq!(newest["method"], method);
        assert_eq!(newest["path"], format!("/some/path?n={n}&x=%20"));
        assert_eq!(newest["body"], format!("body {n}"));
        assert_eq!(newest["timestamp"], START.0);
        assert_eq!(newest["answerStatus"], 200);
        let headers = newest["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["x-a", "1"])), "{newest}");
    }
    assert_eq!(received(&app, token).await.len(), 6);
    for path in [format!("/in/{token}"), format!("/in/{token}/")] {
        app.request("POST", &path)
            .without_key()
            .send()
            .await
            .ok(200);
    }
    let head = app.request("HEAD", &format!("/in/{token}/")).without_key();
    head.send().await.ok(200);
    assert_eq!(received(&app, token).await.len(), 9);
}

#[tokio::test]
async fn an_inbox_answers_the_status_that_it_is_told() {
    let app = TestApp::start().await;
    let (token, url) = inbox(&app, json!({"name": "demo", "answerStatus": 503})).await;
    let path = url.strip_prefix(&app.public_url).unwrap();
    let answer = app.request("POST", path).without_key().send().await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "OK"));
    for status in [200, 410, 599] {
        let change = json!({"answerStatus": status});
        let changed = app.put(&format!("{INBOXES}/{token}"), change).await;
        let changed = changed.ok(200).json();
        assert_eq!(changed["answerStatus"], status);
        assert_eq!(changed["name"], "demo");
        let answer = app.request("POST", path).without_key().send().await;
        assert_eq!(answer.status, status);
        let newest = received(&app, &token).await.remove(0);
        assert_eq!(newest["answerStatus"], status);
    }
    for status in [json!(199), json!(600), json!("200"), json!(-1)] {
        let change = json!({"answerStatus": status});
        let refused = app.put(&format!("{INBOXES}/{token}"), change).await;
        let errors = &refused.ok(422).json()["errors"];
        assert_eq!(errors[0]["path"], "answerStatus", "{status}");
    }
}

#[tokio::test]
async fn inboxes_are_listed_and_shown() {
    let app = TestApp::start().await;
    let (token, _) = inbox(&app, json!({"name": "one"})).await;
    inbox(&app, json!({"name": "two"})).await;
    let listed = app.get(INBOXES).await.ok(200).items();
    let names: Vec<_> = listed.iter().map(|inbox| &inbox["name"]).collect();
    assert_eq!(names, ["one", "two"]);
    let shown = app.get(&format!("{INBOXES}/{token}")).await.ok(200).json();
    assert_eq!(shown, listed[0]);
    let mut shown = redacted(shown);
    shown["token"] = "[token]".into();
    let url = shown["url"].as_str().unwrap().replace(&token, "[token]");
    shown["url"] = url.into();
    insta::assert_json_snapshot!("inbox", shown);
    let sent = app
        .request("POST", &format!("/in/{token}/"))
        .body(vec![0xff]);
    sent.without_key().send().await.ok(200);
    let mut newest = redacted(received(&app, &token).await.remove(0));
    newest["headers"] = json!("[headers]");
    insta::assert_json_snapshot!("received", newest);
}

#[tokio::test]
async fn a_token_that_nobody_was_given_is_404() {
    let app = TestApp::start().await;
    for path in ["/in/none/", "/in/none", "/in/none/below"] {
        let call = app.request("POST", path).without_key();
        let problem = call.send().await.ok(404).json();
        assert_eq!(problem["code"], "not_found");
    }
    app.request("POST", "/in/%ff/").send().await.ok(404);
}

#[tokio::test]
async fn what_came_is_listed_newest_first_and_page_by_page() {
    let app = TestApp::start().await;
    let (token, _) = inbox(&app, json!({})).await;
    for n in 0..25 {
        let call = app.request("POST", &format!("/in/{token}/"));
        call.body(n.to_string()).send().await.ok(200);
    }
    let mut bodies = Vec::new();
    let mut next = Some(format!("{INBOXES}/{token}/received?pageSize=10"));
    while let Some(path) = next {
        let answer = app.get(&path).await.ok(200);
        let shown = answer.items();
        bodies.extend(
            shown
                .iter()
                .map(|one| one["body"].as_str().unwrap().to_owned()),
        );
        let link = answer.header("link");
        next = link
            .strip_suffix(">; rel=\"next\"")
            .map(|link| link[1..].to_owned());
    }
    let want: Vec<_> = (0..25).rev().map(|n: u32| n.to_string()).collect();
    assert_eq!(bodies, want);
}

#[tokio::test]
async fn an_inbox_keeps_the_newest_500() {
    let app = TestApp::start().await;
    let (token, _) = inbox(&app, json!({})).await;
    for n in 0..510 {
        let call = app.request("POST", &format!("/in/{token}/"));
        call.body(n.to_string()).send().await.ok(200);
    }
    let mut count = 0;
    let mut next = Some(format!("{INBOXES}/{token}/received?pageSize=250"));
    let mut last = Value::Null;
    while let Some(path) = next {
        let answer = app.get(&path).await.ok(200);
        let shown = answer.items();
        count += shown.len();
        last = shown.last().unwrap()["body"].clone();
        let link = answer.header("link");
        next = link
            .strip_suffix(">; rel=\"next\"")
            .map(|link| link[1..].to_owned());
    }
    assert_eq!((count, last), (500, json!("10")));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_not_kept() {
    let app = TestApp::start_with(Options {
        payload_bytes_max: 1000,
        ..Options::default()
    })
    .await;
    let (token, _) = inbox(&app, json!({})).await;
    let send = async |bytes: usize| {
        let call = app.request("POST", &format!("/in/{token}/"));
        call.body(vec![b'x'; bytes]).send().await.status
    };
    assert_eq!(send(1001).await, 413);
    assert_eq!(send(1000).await, 200);
    assert_eq!(received(&app, &token).await.len(), 1);
}

#[tokio::test]
async fn an_inbox_is_a_fair_endpoint_and_is_delivered_to_inside_the_process() {
    // Loopback is closed, as for a server on the open internet.
    let app = TestApp::start_with(Options {
        allow: Vec::new(),
        ..Options::default()
    })
    .await;
    let (token, url) = inbox(&app, json!({"answerStatus": 500})).await;
    let application = app.application().await;
    let endpoint = app
        .endpoint(&application, &format!("{url}orders?x=1"), json!({}))
        .await;
    let message = app.message(&application, "a.b", json!({"n": 1})).await;
    app.stands(&application, &message, "pending", 1).await;
    let first = received(&app, &token).await.remove(0);
    assert_eq!(first["method"], "POST");
    assert_eq!(first["path"], "/orders?x=1");
    assert_eq!(first["body"], "{\"n\":1}");
    assert_eq!(first["answerStatus"], 500);
    let headers = first["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["webhook-id", message])), "{first}");
    let change = json!({"answerStatus": 200});
    app.put(&format!("{INBOXES}/{token}"), change).await.ok(200);
    app.advance(Duration::from_secs(6)).await;
    app.stands(&application, &message, "success", 2).await;
    assert_eq!(received(&app, &token).await.len(), 2);
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}/attempts");
    let attempt = app.get(&path).await.ok(200).items().remove(0);
    assert_eq!(attempt["response"]["body"], "OK");
    assert_eq!(attempt["peer"], Value::Null);
    assert_eq!(app.dialler.dials(), 0);
}

#[tokio::test]
async fn an_endpoint_at_an_inbox_that_is_not_there_fails() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let url = format!("{}/in/none/", app.public_url);
    app.endpoint(&application, &url, json!({})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    let row = app.stands(&application, &message, "pending", 1).await;
    assert_eq!(row["attempts"][0]["statusCode"], 404);
    assert_eq!(app.dialler.dials(), 0);
}

#[tokio::test]
async fn an_inbox_answers_what_it_is_told() {
    let app = TestApp::start().await;
    let answer = json!({
        "answerStatus": 201,
        "answerContentType": "application/json",
        "answerHeaders": {"x-limit": "7", "location": "/orders/1"},
        "answerBody": "{\"id\": 1}",
    });
    let (token, url) = inbox(&app, answer).await;
    let path = url.strip_prefix(&app.public_url).unwrap();
    let call = app.request("POST", path).without_key();
    let answer = call.send().await.ok(201);
    assert_eq!(answer.text(), "{\"id\": 1}");
    for (name, want) in [
        ("content-type", "application/json"),
        ("x-limit", "7"),
        ("location", "/orders/1"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
    ] {
        assert_eq!(answer.header(name), want, "{name}");
    }
    // What is not named stays.
    let change = json!({"answerBody": "", "name": "orders"});
    let changed = app.put(&format!("{INBOXES}/{token}"), change).await;
    let changed = changed.ok(200).json();
    assert_eq!(changed["answerStatus"], 201);
    assert_eq!(changed["answerHeaders"]["x-limit"], "7");
    let call = app.request("POST", path).without_key();
    assert_eq!(call.send().await.ok(201).text(), "");
    // In the process it says the same.
    let application = app.application().await;
    app.endpoint(&application, &url, json!({})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    let row = app.stands(&application, &message, "success", 1).await;
    assert_eq!(row["attempts"][0]["statusCode"], 201);
    for (change, field) in [
        (json!({"answerContentType": "text"}), "answerContentType"),
        (
            json!({"answerHeaders": {"content-length": "1"}}),
            "answerHeaders.content-length",
        ),
        (
            json!({"answerHeaders": {"set-cookie": "a=b"}}),
            "answerHeaders.set-cookie",
        ),
        (
            json!({"answerHeaders": {"x-a": "b\r\nx-c: d"}}),
            "answerHeaders.x-a",
        ),
        (
            json!({"answerBody": "x".repeat(16 * 1024 + 1)}),
            "answerBody",
        ),
        (
            json!({"answerDelayMilliseconds": 60_001}),
            "answerDelayMilliseconds",
        ),
        (json!({"failNext": 1001}), "failNext"),
    ] {
        for refused in [
            app.put(&format!("{INBOXES}/{token}"), change.clone()).await,
            app.post(INBOXES, change.clone()).await,
        ] {
            let errors = &refused.ok(422).json()["errors"];
            assert_eq!(errors[0]["path"], field, "{change}");
        }
    }
    let shown = app.get(&format!("{INBOXES}/{token}")).await.ok(200).json();
    assert_eq!(shown, changed);
}

#[tokio::test]
async fn so_many_requests_fail_as_it_is_told() {
    let app = TestApp::start().await;
    let (token, url) = inbox(&app, json!({"failNext": 2})).await;
    let application = app.application().await;
    app.endpoint(&application, &url, json!({})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &message, "pending", 1).await;
    let left = app.get(&format!("{INBOXES}/{token}")).await.ok(200).json();
    assert_eq!(left["failNext"], 1);
    app.advance(Duration::from_secs(6)).await;
    app.stands(&application, &message, "pending", 2).await;
    app.advance(Duration::from_mins(6)).await;
    app.stands(&application, &message, "success", 3).await;
    let came = received(&app, &token).await;
    let statuses: Vec<_> = came.iter().map(|one| &one["answerStatus"]).collect();
    assert_eq!(statuses, [200, 503, 503]);
}

#[tokio::test]
async fn an_answer_is_held_back_after_the_request_is_kept() {
    let app = TestApp::start().await;
    let (token, url) = inbox(&app, json!({"answerDelayMilliseconds": 4000})).await;
    let path = url.strip_prefix(&app.public_url).unwrap();
    let call = app.request("POST", path).without_key();
    let (answer, ()) = tokio::join!(call.send(), async {
        app.until("it is kept", async || {
            (received(&app, &token).await.len() == 1).then_some(())
        })
        .await;
        app.advance(Duration::from_secs(4)).await;
    });
    answer.ok(200);
    // An attempt that is shorter than that times out; what came is kept.
    let application = app.application().await;
    let endpoint = app
        .endpoint(&application, &url, json!({"timeoutSeconds": 2}))
        .await;
    let message = app.message(&application, "a.b", json!(1)).await;
    app.until("it came", async || {
        (received(&app, &token).await.len() == 2).then_some(())
    })
    .await;
    app.advance(Duration::from_secs(2)).await;
    app.stands(&application, &message, "pending", 1).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}/attempts");
    let attempt = app.get(&path).await.ok(200).items().remove(0);
    assert_eq!(attempt["result"], "timedOut", "{attempt}");
}

#[tokio::test]
async fn an_inbox_is_cleared_and_deleted() {
    let app = TestApp::start().await;
    let (token, url) = inbox(&app, json!({"name": "trial"})).await;
    let (other, _) = inbox(&app, json!({})).await;
    let path = url.strip_prefix(&app.public_url).unwrap().to_owned();
    for path in [&path, &path, &format!("/in/{other}/")] {
        let call = app.request("POST", path).without_key();
        call.body("x").send().await.ok(200);
    }
    let of_it = format!("{INBOXES}/{token}");
    let cleared = app
        .delete(&format!("{of_it}/received"))
        .await
        .ok(200)
        .json();
    assert_eq!(cleared["token"], token);
    assert!(received(&app, &token).await.is_empty());
    assert_eq!(received(&app, &other).await.len(), 1);
    let call = app.request("POST", &path).without_key();
    call.send().await.ok(200);
    let deleted = app.delete(&of_it).await.ok(200).json();
    assert_eq!(deleted["name"], "trial");
    for answer in [
        app.get(&of_it).await,
        app.get(&format!("{of_it}/received")).await,
        app.delete(&of_it).await,
        app.delete(&format!("{of_it}/received")).await,
        app.put(&of_it, json!({})).await,
        app.request("POST", &path).without_key().send().await,
    ] {
        answer.ok(404);
    }
    assert_eq!(received(&app, &other).await.len(), 1);
    let audit = app.get("/api/v1/audit").await.ok(200).items();
    let actions: Vec<_> = audit.iter().map(|entry| &entry["action"]).take(2).collect();
    assert_eq!(actions, ["inbox.deleted", "inbox.cleared"]);
    let report = app.store.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
async fn something_received_is_sent_to_another_url() {
    let app = TestApp::start().await;
    let sink = Sink::start([
        Reply::status(418).body("short and stout"),
        Reply::status(200),
    ])
    .await;
    let (token, url) = inbox(&app, json!({})).await;
    let path = format!("{}orders?n=1", url.strip_prefix(&app.public_url).unwrap());
    let call = app.request("PATCH", &path).without_key();
    let call = call
        .header("x-hub-signature-256", "sha256=00")
        .header("authorization", "Bearer theirs")
        .header("x-forwarded-for", "192.0.2.1")
        .header("hookpost-via", "src_x")
        .header("content-type", "text/csv");
    call.body(vec![b'a', 0xff]).send().await.ok(200);
    let id = received(&app, &token).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let one = format!("{INBOXES}/{token}/received/{id}");
    let to = json!({"url": format!("{}?to=1", sink.url())});
    let replayed = app.post(&format!("{one}/replays"), to.clone()).await;
    let replayed = replayed.ok(200).json();
    assert_eq!(replayed["status"], 418);
    assert_eq!(replayed["body"], "short and stout");
    assert_eq!(replayed["url"], to["url"]);
    assert_eq!(replayed["detail"], "");
    app.post(&format!("{one}/replays"), to).await.ok(200);
    let seen = sink.wait_for(2).await.remove(0);
    assert_eq!(seen.method, "PATCH");
    assert!(seen.path.ends_with("?to=1"), "{}", seen.path);
    assert_eq!(seen.body.as_ref(), [b'a', 0xff]);
    assert_eq!(seen.header("x-hub-signature-256"), "sha256=00");
    assert_eq!(seen.header("authorization"), "Bearer theirs");
    assert_eq!(seen.header("content-type"), "text/csv");
    assert_eq!(seen.header("x-forwarded-for"), "");
    assert_eq!(seen.header("hookpost-via"), "");
    assert!(
        sink.url().contains(seen.header("host")),
        "{:?}",
        seen.headers
    );
    let shown = app.get(&one).await.ok(200).json();
    let statuses: Vec<_> = shown["replays"]
        .as_array()
        .unwrap()
        .iter()
        .map(|replay| &replay["status"])
        .collect();
    assert_eq!(statuses, [200, 418]);
    let audit = app.get("/api/v1/audit").await.ok(200).items().remove(0);
    assert_eq!(audit["action"], "received.replayed");
    let detail = audit["detail"].as_str().unwrap();
    assert!(detail.contains("http://127.0.0.1:"), "{detail}");
    assert!(!detail.contains("to=1"), "{detail}");
}

#[tokio::test]
async fn ten_replays_are_remembered_and_what_has_no_answer_says_why() {
    let app = TestApp::start().await;
    let (token, _) = inbox(&app, json!({})).await;
    let id = kept(&app, &token, &[], b"x".to_vec()).await;
    let one = format!("{INBOXES}/{token}/received/{id}");
    // To an inbox of this server it goes inside the process.
    let (other, other_url) = inbox(&app, json!({"answerStatus": 299})).await;
    for n in 0..11 {
        let to = json!({"url": format!("{other_url}{n}")});
        let replayed = app.post(&format!("{one}/replays"), to).await.ok(200);
        assert_eq!(replayed.json()["status"], 299);
    }
    assert_eq!(app.dialler.dials(), 0);
    let newest = received(&app, &other).await.remove(0);
    assert_eq!(
        (&newest["path"], &newest["body"]),
        (&json!("/10"), &json!("x"))
    );
    // The port is free again as soon as this is over.
    let to = json!({"url": Sink::start([]).await.url()});
    let replayed = app.post(&format!("{one}/replays"), to).await.ok(200).json();
    assert_eq!(replayed["status"], 0);
    let detail = replayed["detail"].as_str().unwrap();
    assert!(detail.starts_with("refused: "), "{detail}");
    let shown = app.get(&one).await.ok(200).json();
    let replays = shown["replays"].as_array().unwrap();
    assert_eq!(replays.len(), 10);
    assert_eq!(replays[0], replayed);
    assert_eq!(replays[9]["url"], format!("{other_url}2"));
}

#[tokio::test]
async fn nothing_is_replayed_to_where_nothing_may_go() {
    let app = TestApp::start_with(Options {
        allow: Vec::new(),
        ..Options::default()
    })
    .await;
    let (token, url) = inbox(&app, json!({})).await;
    let (other, _) = inbox(&app, json!({})).await;
    let id = kept(&app, &token, &[], b"x".to_vec()).await;
    let one = format!("{INBOXES}/{token}/received/{id}");
    for url in [
        "http://127.0.0.1:9/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://user@example.com/",
        "ftp://example.com/",
        "nonsense",
    ] {
        let refused = app
            .post(&format!("{one}/replays"), json!({"url": url}))
            .await;
        assert_eq!(
            refused.ok(422).json()["code"],
            "endpoint_url_blocked",
            "{url}"
        );
    }
    for body in [json!({}), json!({"url": ""}), json!({"url": 1})] {
        let refused = app.post(&format!("{one}/replays"), body.clone()).await;
        assert_eq!(refused.ok(422).json()["errors"][0]["path"], "url", "{body}");
    }
    for path in [
        format!("{INBOXES}/{other}/received/{id}"),
        format!("{INBOXES}/none/received/{id}"),
        format!("{INBOXES}/{token}/received/nothing"),
    ] {
        app.get(&path).await.ok(404);
        let to = json!({"url": url});
        app.post(&format!("{path}/replays"), to).await.ok(404);
    }
    assert_eq!(app.dialler.dials(), 0);
    let shown = app.get(&one).await.ok(200).json();
    assert_eq!(shown["replays"], json!([]));
}

/// Sends to an inbox; the id of what it kept.
async fn kept(app: &TestApp, token: &str, headers: &[(&str, &str)], body: Vec<u8>) -> String {
    let mut call = app.request("POST", &format!("/in/{token}/")).without_key();
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.body(body).send().await;
    let newest = received(app, token).await.remove(0);
    newest["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn sessions_are_not_kept_and_secrets_are_not_shown() {
    let app = TestApp::start().await;
    let (token, _) = inbox(&app, json!({})).await;
    let headers = [
        (
            "cookie",
            "hookpost=mine; a=1; __Host-hookpost-portal=theirs; hookpost-portal=x; \
             __Host-hookpost=only",
        ),
        ("authorization", "Bearer theirs"),
        ("x-api-key", "theirs"),
        ("x-hub-signature-256", "sha256=00"),
    ];
    let id = kept(&app, &token, &headers, b"x".to_vec()).await;
    let path = format!("{INBOXES}/{token}/received/{id}");
    let listed = received(&app, &token).await.remove(0);
    let shown = app.get(&path).await.ok(200);
    assert_eq!(shown.json(), listed);
    for secret in ["theirs", "mine", "only", "a=1"] {
        assert!(!shown.text().contains(secret), "{secret}: {}", shown.text());
    }
    let headers = &listed["headers"];
    for (name, value) in [
        ("authorization", "••••"),
        ("x-api-key", "••••"),
        ("cookie", "••••"),
        ("x-hub-signature-256", "sha256=00"),
    ] {
        let there = headers.as_array().unwrap().contains(&json!([name, value]));
        assert!(there, "{name}: {headers}");
    }
    // Nor are they in the file; who replays sends what was kept.
    let dump = app.store.dump();
    for secret in ["Bearer theirs", "hookpost=mine", "only", "portal=x"] {
        let found = dump.iter().any(|row| {
            row.2
                .windows(secret.len())
                .any(|part| part == secret.as_bytes())
        });
        assert!(!found, "{secret}");
    }
    let sink = Sink::start([Reply::status(200)]).await;
    let to = json!({"url": sink.url()});
    app.post(&format!("{path}/replays"), to).await.ok(200);
    let seen = sink.wait_for(1).await.remove(0);
    assert_eq!(seen.header("cookie"), "a=1");
    assert_eq!(seen.header("authorization"), "Bearer theirs");
}

#[tokio::test]
async fn answers_that_have_no_body_have_none() {
    let app = TestApp::start().await;
    for status in [204, 205, 304] {
        let (_, url) = inbox(&app, json!({"answerStatus": status})).await;
        let path = url.strip_prefix(&app.public_url).unwrap();
        let answer = app.request("POST", path).without_key().send().await;
        assert_eq!((answer.status, answer.text()), (status, String::new()));
        assert_eq!(answer.header_or("content-type"), "", "{status}");
        let length = answer.header_or("content-length").to_owned();
        assert!(["", "0"].contains(&length.as_str()), "{status}: {length}");
        assert!(status != 204 || length.is_empty(), "RFC 9110, 8.6");
    }
}

#[tokio::test]
async fn a_page_ends_where_its_bodies_are_too_much() {
    let app = TestApp::start().await;
    let (token, _) = inbox(&app, json!({})).await;
    for n in 0..12_u8 {
        let call = app.request("POST", &format!("/in/{token}/"));
        let body = vec![b'a' + n; 500_000];
        call.without_key().body(body).send().await.ok(200);
    }
    let mut next = Some(format!("{INBOXES}/{token}/received"));
    let (mut pages, mut firsts) = (Vec::new(), String::new());
    while let Some(path) = next {
        let answer = app.get(&path).await.ok(200);
        pages.push(answer.items().len());
        for one in answer.items() {
            firsts.push_str(&one["body"].as_str().unwrap()[..1]);
        }
        let link = answer.header_or("link");
        next = link
            .strip_suffix(">; rel=\"next\"")
            .map(|link| link[1..].to_owned());
    }
    assert_eq!(firsts, "lkjihgfedcba");
    assert_eq!(pages, [9, 3]);
    let report = app.store.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
async fn a_replay_is_sent_once_for_its_key_and_noted_before() {
    let app = TestApp::start().await;
    let (token, _) = inbox(&app, json!({})).await;
    let id = kept(&app, &token, &[], b"x".to_vec()).await;
    let path = format!("{INBOXES}/{token}/received/{id}/replays");
    let sink = Sink::start([Reply::status(200).held(), Reply::status(500)]).await;
    let to = json!({"url": sink.url()});
    let replay = async || {
        let call = app.request("POST", &path).header("idempotency-key", "k");
        call.json(&to).send().await.ok(200).json()
    };
    let (first, ()) = tokio::join!(replay(), async {
        sink.wait_for(1).await;
        let audit = app.get("/api/v1/audit").await.ok(200).items().remove(0);
        assert_eq!(audit["action"], "received.replayed");
        sink.release(1);
    });
    assert_eq!(first["status"], 200);
    assert_eq!(replay().await, first);
    assert_eq!(sink.count(), 1);
    // What is cleared while it is on its way is sent all the same.
    let sink = Sink::start([Reply::status(202).held()]).await;
    let to = json!({"url": sink.url()});
    let (answer, ()) = tokio::join!(app.post(&path, to), async {
        sink.wait_for(1).await;
        let received = format!("{INBOXES}/{token}/received");
        app.delete(&received).await.ok(200);
        sink.release(1);
    });
    assert_eq!(answer.ok(200).json()["status"], 202);
    assert!(received(&app, &token).await.is_empty());
}

#[tokio::test]
async fn so_many_replays_are_on_their_way_at_once() {
    let app = TestApp::start().await;
    let (token, _) = inbox(&app, json!({})).await;
    let id = kept(&app, &token, &[], b"x".to_vec()).await;
    let path = format!("{INBOXES}/{token}/received/{id}/replays");
    let sink = Sink::start([]).await;
    sink.always(Reply::status(200).held());
    let to = json!({"url": sink.url()});
    let eight = (0..8).map(|_| app.post(&path, to.clone()));
    let (all, ()) = tokio::join!(futures_util::future::join_all(eight), async {
        sink.wait_for(8).await;
        let refused = app.post(&path, to.clone()).await.ok(409).json();
        assert_eq!(refused["code"], "too_many_replays");
        // Another environment has its own share.
        let other = app
            .post("/api/v1/environments", json!({"name": "other"}))
            .await;
        let made = json!({
            "name": "other", "environment": other.ok(201).id(), "scopes": ["admin"],
        });
        let key = app.post("/api/v1/keys", made).await.ok(201).json();
        let key = format!("Bearer {}", key["key"].as_str().unwrap());
        let ask = async |method: &str, path: &str, body: Value| {
            let call = app.request(method, path).header("authorization", &key);
            call.json(&body)
                .send()
                .await
                .ok(if path == INBOXES { 201 } else { 200 })
                .json()
        };
        let theirs = ask("POST", INBOXES, json!({})).await;
        let token = theirs["token"].as_str().unwrap().to_owned();
        let call = app.request("POST", &format!("/in/{token}"));
        call.without_key().send().await.ok(200);
        let listed = format!("{INBOXES}/{token}/received");
        let listed = app.request("GET", &listed).header("authorization", &key);
        let id = listed.send().await.ok(200).items()[0]["id"].clone();
        let path = format!(
            "{INBOXES}/{token}/received/{}/replays",
            id.as_str().unwrap()
        );
        tokio::join!(ask("POST", &path, to.clone()), async {
            sink.wait_for(9).await;
            sink.release(9);
        });
    });
    for answer in all {
        answer.ok(200);
    }
    assert_eq!(sink.count(), 9);
}
