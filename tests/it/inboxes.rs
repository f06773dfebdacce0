//! Inboxes: URLs that take anything and show it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{Options, START, TestApp};
use crate::support::redact::redacted;

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
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
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
