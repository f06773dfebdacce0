//! Many messages in one request: all or none, each with its answer.

use serde_json::{Value, json};

use crate::support::app::{Options, TestApp};
use crate::support::sink::{Reply, Sink};

fn batch(count: usize) -> Value {
    let message =
        |n| json!({"eventType": "order.paid", "payload": {"n": n}, "uid": format!("m{n}")});
    json!({"messages": (0..count).map(message).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_thousand_messages_are_kept_in_order_and_delivered() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    sink.always(Reply::status(200));
    let application = app.application().await;
    app.endpoint(&application, &sink.url(), json!({})).await;
    let path = format!("/api/v1/applications/{application}/messages/batch");
    let receipts = app.post(&path, batch(1000)).await.ok(202).items();
    assert_eq!(receipts.len(), 1000);
    let mut names: Vec<_> = receipts[0].as_object().expect("an object").keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["created", "eventType", "id", "uid"]);
    let ids: Vec<_> = receipts
        .iter()
        .map(|one| one["id"].as_str().expect("an id"))
        .collect();
    assert!(ids.is_sorted(), "keys grow in the order of the batch");
    for (n, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt["uid"], json!(format!("m{n}")));
    }
    let seen = sink.wait_for(1000).await;
    let mut got: Vec<_> = seen.iter().map(|one| one.header("webhook-id")).collect();
    got.sort_unstable();
    assert_eq!(got, ids);
    let shown = app
        .get(&format!("/api/v1/applications/{application}/messages/m999"))
        .await;
    assert_eq!(shown.ok(200).json()["payload"], json!({"n": 999}));
}

#[tokio::test]
async fn one_wrong_message_keeps_all_out() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/messages/batch");
    let before = app.store.dump();
    let mut wrong = batch(3);
    wrong["messages"][1]["eventType"] = json!("not a type");
    wrong["messages"][2]["payload"] = Value::Null;
    let refused = app.post(&path, wrong).await.ok(422).json();
    let errors = refused["errors"].as_array().expect("errors");
    let paths: Vec<_> = errors.iter().map(|error| &error["path"]).collect();
    assert_eq!(paths, ["messages[1].eventType", "messages[2].payload"]);
    for (body, status) in [
        (batch(1001), 422),
        (json!({}), 422),
        (json!([]), 422),
        (json!({"messages": {"a": 1}}), 422),
        (json!({"messages": ["x"]}), 422),
    ] {
        app.post(&path, body).await.ok(status);
    }
    assert!(app.store.dump() == before, "nothing was kept");
    assert_eq!(
        app.post(&path, json!({"messages": []}))
            .await
            .ok(202)
            .items(),
        [0; 0]
    );
}

#[tokio::test]
async fn what_is_too_large_is_refused_whole() {
    let options = Options {
        payload_bytes_max: 1000,
        ..Options::default()
    };
    let app = TestApp::start_with(options).await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/messages/batch");
    let mut large = batch(2);
    large["messages"][1]["payload"] = json!("x".repeat(1000));
    app.post(&path, large).await.ok(413);
    let mut endless = batch(1);
    endless["messages"][0]["payload"] = json!("x".repeat(16_000_000));
    app.post(&path, endless).await.ok(413);
    let listed = app
        .get(&format!("/api/v1/applications/{application}/messages"))
        .await;
    assert_eq!(listed.ok(200).items().len(), 0);
}

#[tokio::test]
async fn a_repeated_batch_is_answered_again_and_kept_once() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/messages/batch");
    let ask = || {
        app.request("POST", &path)
            .json(&batch(5))
            .header("idempotency-key", "b-1")
    };
    let first = ask().send().await.ok(202);
    let again = ask().send().await.ok(202);
    assert_eq!(first.body, again.body);
    let listed = app
        .get(&format!("/api/v1/applications/{application}/messages"))
        .await;
    assert_eq!(listed.ok(200).items().len(), 5);
}
