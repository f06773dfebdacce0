//! The log of attempts: by endpoint, by message, one, and filtered.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{START, TestApp};
use crate::support::sink::{Reply, Sink};

const MINUTE: Duration = Duration::from_mins(1);

struct Log {
    app: TestApp,
    sink: Sink,
    application: String,
    endpoint: String,
}

impl Log {
    /// Failures are not tried again.
    async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_with(script, json!([])).await
    }

    async fn start_with(script: impl IntoIterator<Item = Reply>, schedule: Value) -> Self {
        let app = TestApp::start().await;
        let sink = Sink::start(script).await;
        let application = app.application().await;
        let fields = json!({"retrySchedule": schedule});
        let endpoint = app.endpoint(&application, &sink.url(), fields).await;
        Self {
            app,
            sink,
            application,
            endpoint,
        }
    }

    fn of_endpoint(&self) -> String {
        format!(
            "/api/v1/applications/{}/endpoints/{}/attempts",
            self.application, self.endpoint
        )
    }

    fn of_message(&self, message: &str) -> String {
        format!(
            "/api/v1/applications/{}/messages/{message}/attempts",
            self.application
        )
    }

    async fn send(&self, event_type: &str, status: &str, attempts: usize) -> String {
        let message = self
            .app
            .message(&self.application, event_type, json!(1))
            .await;
        self.app
            .stands(&self.application, &message, status, attempts)
            .await;
        message
    }
}

#[tokio::test]
async fn an_attempt_shows_what_was_sent_what_came_back_and_what_comes_next() {
    let body = "x".repeat(16 * 1024 + 1);
    let reply = Reply::status(503)
        .header("x-reason", "busy")
        .header("retry-after", "90")
        .body(body.clone());
    let log = Log::start_with([reply], json!(["1m"])).await;
    let message = log.send("a.b", "pending", 1).await;
    let listed = log.app.get(&log.of_message(&message)).await.ok(200).items();
    let attempt = &listed[0];
    let path = format!(
        "{}/{}",
        log.of_message(&message),
        attempt["id"].as_str().unwrap()
    );
    assert_eq!(&log.app.get(&path).await.ok(200).json(), attempt);
    let by_endpoint = log.app.get(&log.of_endpoint()).await.ok(200).items();
    assert_eq!(by_endpoint, listed);
    let sent = log.sink.wait_for(1).await.remove(0);
    assert_eq!(attempt["messageId"], message.as_str());
    assert_eq!(attempt["endpointId"], log.endpoint.as_str());
    assert_eq!(attempt["number"], 1);
    assert_eq!(attempt["trigger"], "scheduled");
    assert_eq!(attempt["outcome"], "failed");
    assert_eq!(attempt["result"], "response");
    assert_eq!(attempt["detail"], Value::Null);
    assert_eq!(attempt["statusCode"], 503);
    assert_eq!(attempt["timestamp"], START.0);
    assert_eq!(attempt["url"], log.sink.url());
    assert_eq!(attempt["peer"], log.sink.address.to_string());
    assert_eq!(attempt["request"]["method"], "POST");
    for header in attempt["request"]["headers"].as_array().unwrap() {
        let name = header["name"].as_str().unwrap();
        assert_eq!(header["value"], sent.header(name), "{name}");
    }
    let logged = attempt["request"]["headers"].as_array().unwrap().len();
    assert_eq!(logged, 9, "all but host and content-length");
    let response = &attempt["response"];
    assert_eq!(response["body"], body[..16 * 1024]);
    assert_eq!(response["bodyEncoding"], "utf-8");
    assert_eq!(response["truncated"], true);
    let headers = response["headers"].as_array().unwrap();
    assert!(headers.contains(&json!({"name": "x-reason", "value": "busy"})));
    let timing = |name: &str| attempt["timing"][name].as_u64().unwrap();
    assert!(timing("connectUs") > 0);
    assert_eq!(timing("tlsUs"), 0);
    assert!(timing("firstByteUs") >= timing("connectUs"));
    assert!(timing("totalUs") >= timing("firstByteUs"));
    assert_eq!(attempt["durationMs"], timing("totalUs") / 1000);
    let next = attempt["nextAttemptTimestamp"].as_u64().unwrap();
    assert!((START.0 + 90_000..START.0 + 99_000).contains(&next));
}

#[tokio::test]
async fn a_body_that_is_no_text_is_shown_in_base64() {
    let log = Log::start([Reply::status(200).body(vec![0xff, 0x00, 0xfe])]).await;
    let message = log.send("a.b", "success", 1).await;
    let attempt = &log.app.get(&log.of_message(&message)).await.items()[0];
    let response = &attempt["response"];
    assert_eq!(
        (&response["body"], &response["bodyEncoding"]),
        (&json!("/wD+"), &json!("base64"))
    );
    assert_eq!(response["truncated"], false);
}

#[tokio::test]
async fn a_replay_is_marked_as_manual() {
    let log = Log::start([]).await;
    let message = log.send("a.b", "success", 1).await;
    log.app.advance(MINUTE).await;
    let replay = format!(
        "/api/v1/applications/{}/messages/{message}/endpoints/{}/replays",
        log.application, log.endpoint
    );
    log.app.post(&replay, json!({})).await.ok(202);
    log.app
        .stands(&log.application, &message, "success", 2)
        .await;
    let attempts = log.app.get(&log.of_message(&message)).await.items();
    let shown: Vec<_> = attempts
        .iter()
        .map(|attempt| (attempt["number"].clone(), attempt["trigger"].clone()))
        .collect();
    assert_eq!(
        shown,
        [(json!(2), json!("manual")), (json!(1), json!("scheduled"))]
    );
}

#[tokio::test]
async fn attempts_can_be_filtered_by_outcome_status_type_and_time() {
    let log = Log::start([]).await;
    // One attempt a minute.
    let mut ids = Vec::new();
    for (status, event_type) in [
        (200, "order.paid"),
        (404, "order.paid.late"),
        (302, "user.made"),
        (500, "order.paid"),
        (204, "user.made"),
    ] {
        log.sink.then(Reply::status(status));
        let stands = if status < 300 { "success" } else { "failed" };
        let message = log.send(event_type, stands, 1).await;
        let attempt = &log.app.get(&log.of_message(&message)).await.items()[0];
        ids.push(attempt["id"].as_str().unwrap().to_owned());
        log.app.advance(MINUTE).await;
    }
    let at = |minute: u64| START.0 + minute * 60_000;
    for (query, want) in [
        (String::new(), vec![4, 3, 2, 1, 0]),
        ("outcome=delivered".to_owned(), vec![4, 0]),
        ("outcome=failed".to_owned(), vec![3, 2, 1]),
        ("statusClass=2xx".to_owned(), vec![4, 0]),
        ("statusClass=3xx".to_owned(), vec![2]),
        ("statusClass=4xx".to_owned(), vec![1]),
        ("statusClass=5xx".to_owned(), vec![3]),
        ("statusClass=none".to_owned(), vec![]),
        ("eventType=order.paid".to_owned(), vec![3, 0]),
        ("eventType=order.**".to_owned(), vec![3, 1, 0]),
        ("eventType=user.*".to_owned(), vec![4, 2]),
        (format!("after={}", at(1)), vec![4, 3, 2]),
        (format!("before={}", at(1)), vec![0]),
        (format!("after={}&before={}", at(0), at(3)), vec![2, 1]),
        (format!("before={}", ids[2]), vec![1, 0]),
        ("outcome=failed&eventType=order.**".to_owned(), vec![3, 1]),
        ("outcome=failed&pageSize=2".to_owned(), vec![3, 2]),
    ] {
        let answer = log.app.get(&format!("{}?{query}", log.of_endpoint())).await;
        let items = answer.ok(200).items();
        let got: Vec<_> = items
            .iter()
            .map(|item| ids.iter().position(|id| item["id"] == id.as_str()).unwrap())
            .collect();
        assert_eq!(got, want, "{query}");
    }
    for query in [
        "outcome=perhaps",
        "statusClass=2",
        "eventType=a%20b",
        "after=yesterday",
        "before=x",
        "pageSize=251",
    ] {
        let answer = log.app.get(&format!("{}?{query}", log.of_endpoint())).await;
        let (name, _) = query.split_once('=').unwrap();
        let errors = &answer.ok(422).json()["errors"];
        assert_eq!(errors[0]["path"], format!("?{name}"), "{query}");
    }
}

#[tokio::test]
async fn a_filtered_log_goes_on_on_the_next_page() {
    let log = Log::start([]).await;
    for n in 0..30 {
        log.sink
            .then(Reply::status(if n % 3 == 0 { 500 } else { 200 }));
        let stands = if n % 3 == 0 { "failed" } else { "success" };
        log.send("a.b", stands, 1).await;
    }
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut next = Some(format!("{}?outcome=failed&pageSize=4", log.of_endpoint()));
    while let Some(path) = next {
        let answer = log.app.get(&path).await.ok(200);
        pages += 1;
        seen.extend(answer.items());
        let link = answer.header("link");
        next = link
            .strip_suffix(">; rel=\"next\"")
            .map(|link| link[1..].to_owned());
    }
    assert_eq!(seen.len(), 10);
    assert!(seen.iter().all(|attempt| attempt["statusCode"] == 500));
    assert!((3..=4).contains(&pages), "{pages}");
}
