//! The logs of everything that a key sees: listed, narrowed, followed.

use std::time::Duration;

use hookpost::domain::ids::{AttemptKey, Key as _};
use serde_json::{Value, json};

use crate::support::app::{Answer, TestApp};
use crate::support::sink::{Reply, Sink};

/// Where an answer's `Link` of this kind leads to.
fn link(answer: &Answer, rel: &str) -> Option<String> {
    let lines = answer.headers.get_all("link").iter();
    let mut lines = lines.map(|line| line.to_str().expect("text"));
    let wanted = format!("; rel=\"{rel}\"");
    let line = lines.find_map(|line| line.strip_suffix(&wanted))?;
    let line = line.strip_prefix('<')?.strip_suffix('>')?;
    Some(line.to_owned())
}

fn field(items: &[Value], name: &str) -> Vec<String> {
    let items = items.iter();
    items
        .map(|item| item[name].as_str().expect("a text").to_owned())
        .collect()
}

/// Attempts in the log, once there are so many.
async fn attempts(app: &TestApp, count: usize) -> Vec<Value> {
    app.until("they are recorded", async || {
        let items = app.get("/api/v1/attempts").await.ok(200).items();
        (items.len() == count).then_some(items)
    })
    .await
}

#[tokio::test]
async fn a_log_has_every_application_and_says_whose_a_row_is() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let (first, second) = (app.application().await, app.application().await);
    for application in [&first, &second] {
        app.endpoint(application, &sink.url(), json!({})).await;
    }
    let sent = [
        app.message(&first, "order.paid", json!({"n": 1})).await,
        app.message(&second, "order.sent", json!({"n": 2})).await,
    ];
    let log = attempts(&app, 2).await;
    let mut owners = field(&log, "applicationId");
    owners.sort();
    let mut want = [first.clone(), second.clone()];
    want.sort();
    assert_eq!(owners, want);
    let messages = app.get("/api/v1/messages").await.ok(200).items();
    assert_eq!(field(&messages, "id"), [sent[1].clone(), sent[0].clone()]);
    assert_eq!(field(&messages, "applicationId"), [second.clone(), first]);
    assert_eq!(messages[0]["payload"], json!({"n": 2}));

    let of_second = format!("/api/v1/attempts?application={second}");
    let of_second = app.get(&of_second).await.ok(200).items();
    assert_eq!(field(&of_second, "eventType"), ["order.sent"]);
    let one = format!(
        "/api/v1/applications/{second}/messages/{}/attempts",
        sent[1]
    );
    let mut one = app.get(&one).await.ok(200).items().remove(0);
    one["applicationId"] = json!(second);
    one["eventType"] = json!("order.sent");
    assert_eq!(of_second[0], one, "the same as elsewhere, and two more");
}

#[tokio::test]
async fn a_log_is_narrowed_by_endpoint_type_and_outcome() {
    let app = TestApp::start().await;
    let good = Sink::start([]).await;
    let bad = Sink::start([Reply::status(404), Reply::status(404)]).await;
    let application = app.application().await;
    let fields = json!({"uid": "good"});
    let to_good = app.endpoint(&application, &good.url(), fields).await;
    let fields = json!({"eventTypes": ["order.*"], "retrySchedule": []});
    let to_bad = app.endpoint(&application, &bad.url(), fields).await;
    app.message(&application, "order.paid", json!({})).await;
    app.message(&application, "user.made", json!({})).await;
    attempts(&app, 3).await;
    for (query, want) in [
        (String::new(), 3),
        (format!("endpoint={to_good}"), 2),
        (format!("endpoint={to_bad}"), 1),
        (format!("application={application}&endpoint=good"), 2),
        ("eventType=order.*".to_owned(), 2),
        ("outcome=failed".to_owned(), 1),
        ("statusClass=2xx&eventType=user.**".to_owned(), 1),
        ("after=1".to_owned(), 3),
        ("before=1".to_owned(), 0),
    ] {
        let answer = app.get(&format!("/api/v1/attempts?{query}")).await;
        assert_eq!(answer.ok(200).items().len(), want, "{query}");
    }
    for (query, want) in [
        (String::new(), 2),
        (format!("endpoint={to_bad}"), 1),
        ("eventType=user.*".to_owned(), 1),
        ("after=18446744073709551615".to_owned(), 0),
    ] {
        let answer = app.get(&format!("/api/v1/messages?{query}")).await;
        assert_eq!(answer.ok(200).items().len(), want, "{query}");
    }
    for list in ["attempts", "messages"] {
        for (query, wrong) in [
            ("application=nobody", "?application"),
            ("endpoint=good", "?endpoint"),
            ("wait=26", "?wait"),
            ("after=yesterday", "?after"),
        ] {
            let answer = app.get(&format!("/api/v1/{list}?{query}")).await.ok(422);
            let problem = answer.json();
            assert_eq!(problem["errors"][0]["path"], json!(wrong), "{query}");
        }
        let id = app.get(&format!("/api/v1/{list}")).await.ok(200).items();
        let id = id[0]["id"].as_str().expect("an id").to_owned();
        let both = format!("/api/v1/{list}?after={id}&before={id}");
        let problem = app.get(&both).await.ok(422).json();
        assert_eq!(problem["errors"][0]["path"], json!("?before"));
    }
}

#[tokio::test]
async fn whoever_follows_a_log_is_told_everything_once_and_in_order() {
    let app = TestApp::start().await;
    let application = app.application().await;
    // Before there is anything, too.
    let empty = app.get("/api/v1/messages?pageSize=2").await.ok(200);
    assert!(empty.items().is_empty());
    assert_eq!(link(&empty, "next"), None);
    let mut at = link(&empty, "prev").expect("what is newer");
    let (mut sent, mut told) = (Vec::new(), Vec::new());
    for round in 0..4 {
        for _ in 0..round {
            sent.push(app.message(&application, "a.b", json!({})).await);
        }
        loop {
            let answer = app.get(&at).await.ok(200);
            at = link(&answer, "next").expect("always");
            assert!(at.contains("pageSize=2"), "{at}");
            let items = answer.items();
            told.extend(field(&items, "id"));
            if items.is_empty() {
                break;
            }
        }
        assert_eq!(told, sent);
    }
    // From the newest of a page, and back again.
    let page = app.get("/api/v1/messages?pageSize=2").await.ok(200);
    let newer = link(&page, "prev").expect("what is newer");
    assert!(app.get(&newer).await.ok(200).items().is_empty());
    let older = link(&page, "next").expect("what is older");
    let second = app.get(&older).await.ok(200);
    let newer = link(&second, "prev").expect("what is newer");
    let back = app.get(&newer).await.ok(200).items();
    let mut page = field(&page.items(), "id");
    page.reverse();
    assert_eq!(field(&back, "id"), page);
}

#[tokio::test]
async fn a_call_waits_for_something_new_and_not_for_ever() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let start = app.get("/api/v1/messages").await.ok(200);
    let at = format!("{}&wait=25", link(&start, "prev").expect("what is newer"));
    let waits = app.get(&at);
    tokio::pin!(waits);
    // It has looked once, and waits.
    let ended = tokio::select! {
        answer = &mut waits => Some(answer),
        () = app.advance(Duration::from_millis(100)) => None,
    };
    assert!(ended.is_none(), "nothing is there to tell");
    let sent = app.message(&application, "a.b", json!({})).await;
    let (answer, ()) = tokio::join!(waits, app.advance(Duration::from_secs(1)));
    assert_eq!(field(&answer.ok(200).items(), "id"), [sent]);

    let quiet = format!("{}&wait=1", link(&start, "prev").expect("what is newer"));
    let quiet = quiet.replace("messages", "attempts");
    let first: AttemptKey = AttemptKey::from_u64(0);
    let first = app.store.ids().text(first);
    let (path, _) = quiet.split_once('?').expect("a query");
    let quiet = format!("{path}?after={first}&wait=1");
    let waits = app.get(&quiet);
    tokio::pin!(waits);
    let answer = loop {
        tokio::select! {
            answer = &mut waits => break answer,
            () = app.advance(Duration::from_millis(250)) => {}
        }
    };
    let answer = answer.ok(200);
    assert!(answer.items().is_empty());
    let next = link(&answer, "next").expect("always");
    assert!(next.contains(&first) && next.contains("wait=1"), "{next}");
}
