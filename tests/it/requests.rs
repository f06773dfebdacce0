//! Requests: questions to an endpoint, answered at once or later.
//!
//! The one who is asked is a server of its own, which signs with code that
//! shares nothing with ours: `hmac` over the body, URL-safe base64 by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::app::{Answer, Options, TestApp};
use crate::support::patience::wait_for;
use crate::support::server_process::ServerProcess;
use crate::support::sink::Sink;

pub(crate) const SECRET: &str = "shhh";
const DATA: &str = r#"{"data":{"orders":[1,2]}}"#;

fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key");
    mac.update(body);
    let text = STANDARD.encode(mac.finalize().into_bytes());
    text.replace('+', "-").replace('/', "_")
}

/// What the asked one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    AnswersAtOnce,
    SignsWrongly,
    /// Posts to the link, waits for its answer, and says 202 then.
    PostsBeforeIt202s,
    Promises,
    Refuses,
    FailsTwice,
    Never,
    /// Answers when the gate is opened.
    Waits,
}

/// Somebody who is asked.
#[derive(Clone)]
pub(crate) struct Asked {
    manner: Manner,
    seen: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    links: Arc<Mutex<Vec<u16>>>,
    client_id: Arc<Mutex<String>>,
    gate: watch::Sender<bool>,
}

impl Asked {
    pub(crate) async fn start(manner: Manner) -> (Self, String) {
        let asked = Self {
            manner,
            seen: Arc::default(),
            links: Arc::default(),
            client_id: Arc::default(),
            gate: watch::Sender::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/ask", listener.local_addr().expect("is bound"));
        let router = Router::new()
            .route("/ask", any(ask))
            .with_state(asked.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (asked, url)
    }

    pub(crate) fn seen(&self) -> Vec<(HeaderMap, Value)> {
        self.seen.lock().expect("nobody panicked").clone()
    }
}

async fn ask(
    State(asked): State<Asked>,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let question: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(headers["x-optech-signature"], signature(&body).as_str());
    assert_eq!(headers["content-type"], "application/json");
    assert!(body.is_ascii());
    assert_eq!(question["inputs"], question["data"]);
    let link = question["link"].as_str().expect("a link").to_owned();
    let count = {
        let mut seen = asked.seen.lock().expect("nobody panicked");
        seen.push((headers, question));
        seen.len()
    };
    let signed = |text: &str| [("x-optech-signature", text.to_owned())];
    match asked.manner {
        Manner::AnswersAtOnce => {
            (StatusCode::OK, signed(&signature(DATA.as_bytes())), DATA).into_response()
        }
        Manner::SignsWrongly => {
            (StatusCode::OK, signed(&signature(b"other")), DATA).into_response()
        }
        Manner::PostsBeforeIt202s => {
            let client_id = asked.client_id.lock().expect("nobody panicked").clone();
            let status = post(&link, &client_id, DATA, &signature(DATA.as_bytes())).await;
            asked.links.lock().expect("nobody panicked").push(status);
            (StatusCode::ACCEPTED, "ignored").into_response()
        }
        Manner::Promises => StatusCode::ACCEPTED.into_response(),
        Manner::Refuses => (StatusCode::FORBIDDEN, r#"{"detail":"No such user."}"#).into_response(),
        Manner::Never => std::future::pending().await,
        Manner::Waits => {
            let opened = asked.gate.subscribe().wait_for(|open| *open).await.is_ok();
            assert!(opened, "the gate is kept");
            (StatusCode::OK, DATA).into_response()
        }
        Manner::FailsTwice if count <= 2 => StatusCode::BAD_GATEWAY.into_response(),
        Manner::FailsTwice => (StatusCode::OK, DATA).into_response(),
    }
}

/// Posts to a link with a client of its own; the status.
async fn post(link: &str, client_id: &str, body: &str, signature: &str) -> u16 {
    let link = link.to_owned();
    let authorization = format!("Basic {client_id}");
    let (body, signature) = (body.to_owned(), signature.to_owned());
    let sent = tokio::task::spawn_blocking(move || {
        let rest = link.strip_prefix("http://").expect("plain HTTP");
        let (host, path) = rest.split_once('/').expect("a path");
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-optech-signature", signature.as_str()),
        ];
        let address = host.parse().expect("an address");
        let path = format!("/{path}");
        crate::support::http_client::request(address, "POST", &path, &headers, body.as_bytes())
    });
    sent.await.expect("it ran").expect("it is answered").status
}

/// An application whose endpoint takes requests; the client id.
async fn endpoint(app: &TestApp, url: &str) -> (String, String) {
    let application = app.application().await;
    let made = json!({"url": url, "secrets": [SECRET], "signatures": [{"scheme": "optech"}]});
    let path = format!("/api/v1/applications/{application}/endpoints");
    let made = app.post(&path, made).await.ok(201).json();
    let client_id = made["clientId"].as_str().expect("one is made").to_owned();
    assert!(client_id.starts_with("opt_"), "{client_id}");
    (application, client_id)
}

fn path(application: &str) -> String {
    format!("/api/v1/applications/{application}/requests")
}

fn question() -> Value {
    json!({"key": "getOrders", "inputs": {"userId": "42", "name": "Zoë"}})
}

/// What comes to a link, sent through the test's own client.
async fn to_link(app: &TestApp, link: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let path = link
        .strip_prefix(&app.public_url)
        .expect("a link of ours")
        .to_owned();
    let mut call = app.request("POST", &path).without_key();
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.body(body.to_owned()).send().await
}

#[tokio::test]
async fn an_answer_at_once_is_the_callers() {
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::AnswersAtOnce).await;
    let (application, _) = endpoint(&app, &url).await;
    let answer = app
        .post(&path(&application), question())
        .await
        .ok(200)
        .json();
    assert_eq!(answer["status"], "answered");
    assert_eq!(answer["data"], json!({"orders": [1, 2]}));
    let (_, seen) = asked.seen().pop().expect("it was asked");
    assert_eq!(seen["key"], "getOrders");
    assert_eq!(seen["inputs"], json!({"userId": "42", "name": "Zoë"}));
    assert_eq!(seen["link"], answer["link"]);
    let shown = format!("{}/{}", path(&application), answer["id"].as_str().unwrap());
    assert_eq!(app.get(&shown).await.ok(200).json(), answer);
    assert_eq!(app.get(&path(&application)).await.ok(200).items(), [answer]);
    // It takes requests, and no messages.
    let message = app.message(&application, "a.b", json!({})).await;
    assert!(
        app.endpoint_messages(&application, &message)
            .await
            .is_empty()
    );
    let report = app.store.check().expect("it can be read");
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[tokio::test]
async fn an_answer_may_come_to_the_link_before_the_202() {
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::PostsBeforeIt202s).await;
    let (application, client_id) = endpoint(&app, &url).await;
    *asked.client_id.lock().expect("nobody panicked") = client_id;
    let answer = app
        .post(&path(&application), question())
        .await
        .ok(200)
        .json();
    assert_eq!(answer["status"], "answered");
    assert_eq!(answer["data"], json!({"orders": [1, 2]}));
    // What the first leg says afterwards changes nothing, and asks nothing again.
    let shown = format!("{}/{}", path(&application), answer["id"].as_str().unwrap());
    app.until("the first leg is noted", async || {
        let shown = app.get(&shown).await.ok(200).json();
        (shown["tries"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let shown = app.get(&shown).await.ok(200).json();
    assert_eq!(
        (shown["status"].as_str(), &shown["data"]),
        (Some("answered"), &answer["data"])
    );
    assert_eq!(*asked.links.lock().expect("nobody panicked"), [200]);
    assert_eq!(asked.seen().len(), 1);
}

#[tokio::test]
async fn a_later_answer_is_checked_and_taken_once() {
    let app = TestApp::start().await;
    let (_, url) = Asked::start(Manner::Promises).await;
    let (application, client_id) = endpoint(&app, &url).await;
    let mut later = question();
    later["wait"] = json!(false);
    let made = app.post(&path(&application), later).await.ok(202).json();
    assert_eq!(made["status"], "pending");
    let link = made["link"].as_str().unwrap().to_owned();
    let shown = format!("{}/{}", path(&application), made["id"].as_str().unwrap());
    let (good, basic) = (signature(DATA.as_bytes()), format!("Basic {client_id}"));
    let (empty, other) = (signature(b""), signature(br#"{"data":[]}"#));
    for (authorization, signature, body, status) in [
        ("", good.as_str(), DATA, 403),
        ("Basic opt_other", &good, DATA, 403),
        (&basic, "", DATA, 403),
        (&basic, "nonsense", DATA, 403),
        (&basic, &empty, "", 400),
        (&basic, &other, r#"{"data":[]}"#, 422),
    ] {
        let headers = [
            ("authorization", authorization),
            ("x-optech-signature", signature),
        ];
        let headers: Vec<_> = headers
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let answer = to_link(&app, &link, &headers, body).await;
        assert_eq!(
            answer.status,
            status,
            "{authorization} {signature} {body}: {}",
            answer.text()
        );
        assert_eq!(
            app.get(&shown).await.ok(200).json()["status"],
            "pending",
            "it stays open"
        );
    }
    let link_path = link.strip_prefix(&app.public_url).unwrap().to_owned();
    app.request("GET", &link_path)
        .without_key()
        .send()
        .await
        .ok(405);
    // Whoever waits gets it; here by long polling, meanwhile.
    let polling = format!("{shown}?wait=20");
    let waiting = app.get(&polling);
    let bearer = format!("Bearer {client_id}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-lorikeet-signature", good.as_str()),
    ];
    let (polled, taken) = tokio::join!(waiting, to_link(&app, &link, &headers, DATA));
    taken.ok(200);
    assert_eq!(polled.ok(200).json()["data"], json!({"orders": [1, 2]}));
    // The same once more is fine, in the other form of the path and of Basic.
    let proper = format!("Basic {}", STANDARD.encode(format!("{client_id}:")));
    let headers = [
        ("authorization", proper.as_str()),
        ("x-optech-signature", good.as_str()),
    ];
    let short = format!("{}/ingest/{}", app.public_url, made["id"].as_str().unwrap());
    to_link(&app, &short, &headers, DATA).await.ok(200);
    let changed = r#"{"data":{"orders":[]}}"#;
    let signed = signature(changed.as_bytes());
    let headers = [
        ("authorization", basic.as_str()),
        ("x-optech-signature", signed.as_str()),
    ];
    let refused = to_link(&app, &link, &headers, changed).await.ok(409);
    assert_eq!(refused.header("x-should-retry"), "false");
    let done = app.get(&shown).await.ok(200).json();
    assert_eq!(
        done["refused"].as_array().unwrap().len(),
        6,
        "both halves are in the log"
    );
    for unknown in ["/ingest/a/b/c/d", "/ingest/none"] {
        let answer = app
            .request("POST", unknown)
            .without_key()
            .body("{}")
            .send()
            .await;
        answer.ok(404);
    }
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_he_wants_and_the_answer_is_kept() {
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::Promises).await;
    let (application, client_id) = endpoint(&app, &url).await;
    let requests = path(&application);
    let asking = app.post(&requests, question());
    let passing = async {
        app.until("it is asked", async || {
            (!asked.seen().is_empty()).then_some(())
        })
        .await;
        app.advance(Duration::from_secs(10)).await;
    };
    let (answer, ()) = tokio::join!(asking, passing);
    let problem = answer.ok(504).json();
    let id = problem["detail"]
        .as_str()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap()
        .trim_end_matches('.');
    let shown = format!("{}/{id}", path(&application));
    let link = app.get(&shown).await.ok(200).json()["link"]
        .as_str()
        .unwrap()
        .to_owned();
    let (good, basic) = (signature(DATA.as_bytes()), format!("Basic {client_id}"));
    let headers = [
        ("authorization", basic.as_str()),
        ("x-optech-signature", good.as_str()),
    ];
    app.advance(Duration::from_secs(580)).await;
    to_link(&app, &link, &headers, DATA).await.ok(200);
    assert_eq!(app.get(&shown).await.ok(200).json()["status"], "answered");
    // Another one that is late.
    let mut later = question();
    later["wait"] = json!(false);
    let made = app.post(&path(&application), later).await.ok(202).json();
    app.advance(Duration::from_mins(10)).await;
    let link = made["link"].as_str().unwrap();
    to_link(&app, link, &headers, DATA).await.ok(410);
    let shown = format!("{}/{}", path(&application), made["id"].as_str().unwrap());
    assert_eq!(app.get(&shown).await.ok(200).json()["status"], "expired");
}

#[tokio::test]
async fn failures_are_told_and_some_are_tried_again() {
    let app = TestApp::start().await;
    for (manner, detail) in [
        (Manner::SignsWrongly, "its signature is wrong"),
        (Manner::Refuses, "it refused: 403: No such user."),
    ] {
        let (asked, url) = Asked::start(manner).await;
        let (application, _) = endpoint(&app, &url).await;
        let problem = app
            .post(&path(&application), question())
            .await
            .ok(502)
            .json();
        assert!(
            problem["detail"].as_str().unwrap().contains(detail),
            "{problem}"
        );
        assert_eq!(asked.seen().len(), 1, "it is final");
    }
    let (asked, url) = Asked::start(Manner::FailsTwice).await;
    let (application, _) = endpoint(&app, &url).await;
    let requests = path(&application);
    let mut patient = question();
    patient["timeoutSeconds"] = json!(600);
    let asking = app.post(&requests, patient);
    let passing = async {
        app.until("it is asked again", async || {
            app.advance(Duration::from_millis(100)).await;
            (asked.seen().len() >= 3).then_some(())
        })
        .await;
    };
    let (answer, ()) = tokio::join!(asking, passing);
    assert_eq!(answer.ok(200).json()["tries"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn credentials_can_be_tried_and_an_endpoint_tested() {
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::AnswersAtOnce).await;
    let (application, client_id) = endpoint(&app, &url).await;
    let basic = format!("Basic {client_id}");
    let empty = signature(b"");
    assert_eq!(empty, "MA2FfMDLHShFJO1A_7PcgkzrigM0a77r46x-c5Ja_ng=");
    let validate = format!("{}/ingest/validate", app.public_url);
    let good = [
        ("authorization", basic.as_str()),
        ("x-optech-signature", empty.as_str()),
    ];
    let answer = to_link(&app, &validate, &good, "").await.ok(200);
    assert_eq!(
        (answer.text().as_str(), answer.header("content-type")),
        ("OK", "text/plain; charset=utf-8")
    );
    to_link(&app, &validate, &good[..1], "").await.ok(403);
    to_link(&app, &validate, &good, "{}").await.ok(403);
    let body = r#"{"inputs":{"a":1}}"#;
    let signed = signature(body.as_bytes());
    let headers = [
        ("authorization", basic.as_str()),
        ("x-optech-signature", signed.as_str()),
    ];
    to_link(
        &app,
        &format!("{}/ingest/test/getOrders", app.public_url),
        &headers,
        body,
    )
    .await
    .ok(200);
    app.until("the test is sent", async || {
        (asked.seen().len() == 1).then_some(())
    })
    .await;
    assert_eq!(asked.seen()[0].1["key"], "getOrders");
    assert_eq!(asked.seen()[0].1["inputs"], json!({"a": 1}));
    let long = "k".repeat(257);
    for (name, body, field) in [
        ("getOrders", r#"{"inputs":[1]}"#, "inputs"),
        ("getOrders", "not JSON", "inputs"),
        (long.as_str(), body, "key"),
    ] {
        let signed = signature(body.as_bytes());
        let headers = [
            ("authorization", basic.as_str()),
            ("x-optech-signature", signed.as_str()),
        ];
        let test = format!("{}/ingest/test/{name}", app.public_url);
        let refused = to_link(&app, &test, &headers, body).await.ok(422).json();
        assert_eq!(refused["errors"][0]["path"], field, "{refused}");
    }
    // Client ids are unique.
    let endpoints = format!("/api/v1/applications/{application}/endpoints");
    let again = json!({"url": url, "clientId": client_id, "signatures": [{"scheme": "optech"}]});
    app.post(&endpoints, again).await.ok(409);
    // Two that could be asked, and bad input.
    let other = json!({"url": url, "clientId": "other", "signatures": [{"scheme": "optech"}]});
    assert_eq!(
        app.post(&endpoints, other).await.ok(201).json()["clientId"],
        "other"
    );
    let plain = app
        .endpoint(&application, &url, json!({"uid": "plain"}))
        .await;
    for (body, status, field) in [
        (question(), 422, "endpoint"),
        (json!({"key": "q", "endpoint": "none"}), 422, "endpoint"),
        (json!({"key": "q", "endpoint": plain}), 409, ""),
        (json!({"inputs": {}}), 422, "key"),
        (json!({"key": "q", "inputs": []}), 422, "inputs"),
        (
            json!({"key": "q", "timeoutSeconds": 601}),
            422,
            "timeoutSeconds",
        ),
    ] {
        let answer = app
            .post(&path(&application), body.clone())
            .await
            .ok(status)
            .json();
        let errors = answer["errors"].as_array().cloned().unwrap_or_default();
        let named = errors.iter().any(|error| error["path"] == field);
        assert!(field.is_empty() || named, "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_repeated_call_asks_once() {
    let app = TestApp::start_with(Options::default()).await;
    let (asked, url) = Asked::start(Manner::AnswersAtOnce).await;
    let (application, _) = endpoint(&app, &url).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let call = app
            .request("POST", &path(&application))
            .header("idempotency-key", "k");
        ids.push(call.json(&question()).send().await.ok(200).id());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(asked.seen().len(), 1);
}

/// `kill -9` after the question and before its answer: the link that was handed
/// out works afterwards, and the answer can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_works_after_a_crash() {
    let mut server = ServerProcess::start_with(&["--allow-destinations", "127.0.0.0/8"]);
    let (asked, url) = Asked::start(Manner::Promises).await;
    let application = server.api("POST", "/applications", br#"{"name":"n","uid":"a"}"#);
    assert_eq!(application.status, 201);
    let made = json!({"url": url, "secrets": [SECRET], "signatures": [{"scheme": "optech"}]});
    let made = server.api(
        "POST",
        "/applications/a/endpoints",
        made.to_string().as_bytes(),
    );
    let client_id = made.json()["clientId"]
        .as_str()
        .expect("one is made")
        .to_owned();
    let later = json!({"key": "q", "wait": false}).to_string();
    let request = server
        .api("POST", "/applications/a/requests", later.as_bytes())
        .json();
    let link = request["link"].as_str().expect("a link").to_owned();
    wait_for(Duration::from_secs(10), || {
        (!asked.seen().is_empty()).then_some(())
    })
    .expect("it is asked");
    server.kill9();
    server.restart();
    let status = post(&link, &client_id, DATA, &signature(DATA.as_bytes())).await;
    assert_eq!(status, 200);
    let id = request["id"].as_str().expect("an id");
    let shown = server
        .api("GET", &format!("/applications/a/requests/{id}"), b"")
        .json();
    assert_eq!(shown["status"], "answered");
    assert_eq!(shown["data"], json!({"orders": [1, 2]}));
}

#[tokio::test]
async fn an_endpoint_that_takes_requests_never_gets_a_message() {
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::AnswersAtOnce).await;
    let application = app.application().await;
    let paused = json!({"paused": true});
    let plain = app.endpoint(&application, &url, paused).await;
    let message = app.message(&application, "a.b", json!({})).await;
    let endpoint = format!("/api/v1/applications/{application}/endpoints/{plain}");
    let optech =
        json!({"signatures": [{"scheme": "optech"}], "secrets": [SECRET], "paused": false});
    app.request("PUT", &endpoint)
        .json(&optech)
        .send()
        .await
        .ok(200);
    app.advance(Duration::from_mins(1)).await;
    let deliveries = app.endpoint_messages(&application, &message).await;
    assert_eq!(deliveries[0]["status"], "disabled", "it waits");
    let replay =
        format!("/api/v1/applications/{application}/messages/{message}/endpoints/{plain}/replays");
    for (path, body) in [
        (replay, json!({})),
        (format!("{endpoint}/recoveries"), json!({"since": 0})),
        (format!("{endpoint}/backfills"), json!({"since": 0})),
    ] {
        let refused = app.post(&path, body).await.ok(409).json();
        assert_eq!(refused["code"], "takes_requests", "{path}");
        let detail = refused["detail"].as_str().expect("a detail");
        assert!(detail.contains("another scheme"), "{detail}");
    }
    // A question does get there, and nothing but that.
    app.post(&path(&application), question()).await.ok(200);
    assert_eq!(asked.seen().len(), 1);
    // What was held goes on when the endpoint takes messages again.
    let sink = Sink::start([]).await;
    let standard = json!({"signatures": [{"scheme": "standard"}], "url": sink.url()});
    let put = app.request("PUT", &endpoint).json(&standard);
    put.send().await.ok(200);
    sink.wait_for(1).await;
}

#[tokio::test]
async fn erasing_an_applications_content_erases_its_requests() {
    let app = TestApp::start().await;
    let (_, url) = Asked::start(Manner::AnswersAtOnce).await;
    let (application, _) = endpoint(&app, &url).await;
    let id = app.post(&path(&application), question()).await.ok(200).id();
    let content = format!("/api/v1/applications/{application}/content");
    app.request("DELETE", &content).send().await.ok(202);
    let shown = format!("{}/{id}", path(&application));
    app.until("it is erased", async || {
        app.advance(Duration::from_millis(100)).await;
        (app.get(&shown).await.status == 404).then_some(())
    })
    .await;
    assert!(
        app.get(&path(&application))
            .await
            .ok(200)
            .items()
            .is_empty()
    );
    let report = app.store.check().expect("it can be read");
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[tokio::test]
async fn what_timed_out_is_not_asked_again() {
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::Never).await;
    let (application, client_id) = endpoint(&app, &url).await;
    let listed = format!("/api/v1/applications/{application}/endpoints");
    let endpoint = app.get(&listed).await.ok(200).items()[0]["id"].clone();
    let endpoint = format!("{listed}/{}", endpoint.as_str().expect("an id"));
    let impatient = json!({"timeoutSeconds": 1});
    let put = app.request("PUT", &endpoint).json(&impatient);
    put.send().await.ok(200);
    let mut patient = question();
    patient["timeoutSeconds"] = json!(600);
    let requests = path(&application);
    let call = || {
        let call = app.request("POST", &requests);
        call.header("idempotency-key", "k").json(&patient).send()
    };
    // Were it tried again, the call would wait on.
    let answer = call().await;
    answer.ok(502);
    assert_eq!(asked.seen().len(), 1, "the other side may be at work");
    // Its answer is still taken, and the same key finds it.
    let link = asked.seen()[0].1["link"]
        .as_str()
        .expect("a link")
        .to_owned();
    let (good, basic) = (signature(DATA.as_bytes()), format!("Basic {client_id}"));
    let headers = [
        ("authorization", basic.as_str()),
        ("x-optech-signature", good.as_str()),
    ];
    to_link(&app, &link, &headers, DATA).await.ok(200);
    let found = call().await.ok(200).json();
    assert_eq!(found["data"], json!({"orders": [1, 2]}));
    assert_eq!(asked.seen().len(), 1);
}

#[tokio::test]
async fn nobody_waits_for_an_answer_while_the_server_stops() {
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::Promises).await;
    let (application, _) = endpoint(&app, &url).await;
    let mut patient = question();
    patient["timeoutSeconds"] = json!(600);
    let stopping = async {
        app.until("it is asked", async || {
            (!asked.seen().is_empty()).then_some(())
        })
        .await;
        app.engine.drain(Duration::ZERO).await
    };
    let requests = path(&application);
    let (answer, _) = tokio::join!(app.post(&requests, patient), stopping);
    let answer = answer.ok(504).json();
    assert_eq!(answer["code"], "no_answer_yet");
}

#[tokio::test]
async fn an_endpoint_is_asked_a_bounded_number_of_questions_at_once() {
    const AT_ONCE: usize = 64;
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::Waits).await;
    let (application, client_id) = endpoint(&app, &url).await;
    let requests = path(&application);
    let mut unattended = question();
    unattended["wait"] = json!(false);
    for _ in 0..=AT_ONCE {
        app.post(&requests, unattended.clone()).await.ok(202);
    }
    let waiting = app.post(&requests, unattended).await.ok(202).json();
    app.until("as many as may be are asked", async || {
        (asked.seen().len() == AT_ONCE).then_some(())
    })
    .await;
    for _ in 0..20 {
        app.advance(Duration::from_millis(1)).await;
    }
    assert_eq!(asked.seen().len(), AT_ONCE, "two wait");
    // One of these is answered without having been asked, and so need not be.
    let link = waiting["link"].as_str().expect("a link").to_owned();
    let (good, basic) = (signature(DATA.as_bytes()), format!("Basic {client_id}"));
    let headers = [
        ("authorization", basic.as_str()),
        ("x-optech-signature", good.as_str()),
    ];
    to_link(&app, &link, &headers, DATA).await.ok(200);
    asked.gate.send_replace(true);
    app.until("the other one is asked", async || {
        let all = app
            .get(&format!("{requests}?pageSize=100"))
            .await
            .ok(200)
            .items();
        let answered = all.iter().all(|one| one["status"] == "answered");
        answered.then_some(())
    })
    .await;
    assert_eq!(asked.seen().len(), AT_ONCE + 1);
}

#[tokio::test]
async fn an_inbox_of_this_server_is_asked_inside_the_process() {
    // Loopback is closed, as for a server on the open internet.
    let options = Options {
        allow: Vec::new(),
        ..Options::default()
    };
    let app = TestApp::start_with(options).await;
    let inbox = app
        .post("/api/v1/inboxes", json!({"answerBody": DATA}))
        .await;
    let inbox = inbox.ok(201).json();
    let (application, _) = endpoint(&app, inbox["url"].as_str().expect("a text")).await;
    let asked = app.post(&path(&application), question()).await;
    let asked = asked.ok(200).json();
    assert_eq!(asked["data"], json!({"orders": [1, 2]}), "{asked}");
    let token = inbox["token"].as_str().expect("a text");
    let came = app.get(&format!("/api/v1/inboxes/{token}/received")).await;
    let came = came.ok(200).items();
    let body = came[0]["body"].as_str().expect("a text");
    assert!(body.contains("getOrders"), "{body}");
    assert_eq!(app.dialler.dials(), 0);
}

/// Whoever made it may have gone as soon as it was on disk.
#[tokio::test]
async fn a_question_is_asked_though_nobody_waits_for_it() {
    let app = TestApp::start().await;
    let (asked, url) = Asked::start(Manner::AnswersAtOnce).await;
    let (application, _) = endpoint(&app, &url).await;
    let endpoints = format!("/api/v1/applications/{application}/endpoints");
    let endpoint = app.get(&endpoints).await.ok(200).items()[0]["id"].clone();
    let new = hookpost::store::NewRequest {
        application: app.store.ids().parse(&application).expect("an id"),
        endpoint: app
            .store
            .ids()
            .parse(endpoint.as_str().expect("a text"))
            .expect("an id"),
        question: "q".to_owned(),
        inputs: "{}".to_owned(),
        timeout: Duration::from_secs(10),
    };
    let scope = hookpost::domain::principal::Scope::of_environment(app.store.default_environment());
    let made = app.store.create_request(scope, new, None).await;
    assert!(made.is_ok());
    let path = path(&application);
    app.until("it is answered", async || {
        let one = app.get(&path).await.ok(200).items().remove(0);
        (one["status"] == "answered").then_some(())
    })
    .await;
    assert_eq!(asked.seen().len(), 1);
}
