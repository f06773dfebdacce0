//! The relay: what comes to an inbox is answered by whoever listens there.

mod listener;

use std::pin::pin;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use self::listener::{Listener, Variant};
use crate::support::app::{Answer, KEY, Options, TestApp};

const TOKEN: &str = "c_0123456789";
const IN_USE: (u16, &str) = (1008, "This socket is already in use");

async fn open_app() -> TestApp {
    TestApp::start_with(Options {
        open_relay: true,
        ..Options::default()
    })
    .await
}

/// A request to the inbox, not answered yet.
async fn post(app: &TestApp, path: &str, body: &[u8]) -> Answer {
    let call = app.request("POST", &format!("/in/{TOKEN}{path}"));
    call.without_key().body(body.to_vec()).send().await
}

async fn received(app: &TestApp) -> Vec<Value> {
    let path = format!("/api/v1/inboxes/{TOKEN}/received");
    app.get(&path).await.ok(200).items()
}

/// An answer that takes its time, which passes.
async fn in_time(app: &TestApp, asked: impl Future<Output = Answer>) -> Answer {
    let mut asked = pin!(asked);
    loop {
        if let Ok(answer) = timeout(Duration::from_millis(50), &mut asked).await {
            return answer;
        }
        app.advance(Duration::from_secs(1)).await;
    }
}

/// Time in which pings are answered: the listener must be read meanwhile.
async fn pass(app: &TestApp, listener: &mut Listener, seconds: u64) {
    for _ in 0..seconds.div_ceil(5) {
        app.advance(Duration::from_secs(5)).await;
        listener.hear(app).await;
    }
}

#[tokio::test]
async fn a_client_of_the_protocol_answers_what_comes() {
    for variant in [Variant::Text, Variant::Binary] {
        let app = open_app().await;
        let mut listener = Listener::connect(&app, &[], variant).await.unwrap();
        listener.say("start", &json!({"token": TOKEN})).await;
        let started = listener.frame().await;
        assert_eq!(started["type"], "start");
        assert_eq!(started["version"], 1);
        assert_eq!(started["data"]["token"], TOKEN);
        let asked = post(&app, "/", b"{\"a\":1}");
        let answered = async {
            let event = listener.event().await;
            assert_eq!(event.method, "POST");
            assert_eq!(event.body, b"{\"a\":1}");
            assert!(!event.headers.contains_key("host"), "{event:?}");
            assert!(!event.headers.contains_key("content-length"), "{event:?}");
            listener.reply(&event.id, 201, b"thanks").await;
        };
        let (answer, ()) = tokio::join!(asked, answered);
        assert_eq!(answer.status, 201);
        assert_eq!(answer.text(), "thanks");
        assert_eq!(answer.header("content-type"), "text/x-test");
        let kept = received(&app).await.remove(0);
        assert_eq!(kept["answerStatus"], 201, "{kept:#}");
        assert_eq!(kept["relayed"]["state"], "answered", "{kept:#}");
        assert_eq!(kept["relayed"]["status"], 201, "{kept:#}");
        assert_eq!(kept["relayed"]["body"], "thanks", "{kept:#}");
        is_well(&app).await;
    }
}

#[tokio::test]
async fn pings_are_sent_and_answered() {
    let app = open_app().await;
    let (mut listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    for _ in 0..3 {
        app.advance(Duration::from_secs(5)).await;
        let message = listener.any().await;
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
    }
    listener.send(Message::Ping(b"x"[..].into())).await;
    loop {
        match listener.any().await {
            Message::Pong(bytes) => {
                assert_eq!(&bytes[..], b"x");
                break;
            }
            other => assert!(matches!(other, Message::Ping(_)), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn one_listens_at_a_token_unless_both_share() {
    let app = open_app().await;
    let (mut first, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    for data in [
        json!({"token": TOKEN}),
        json!({"token": TOKEN, "share": true}),
    ] {
        let mut second = Listener::connect(&app, &[], Variant::Text).await.unwrap();
        second.say("start", &data).await;
        first.hear(&app).await;
        app.advance(Duration::from_secs(2)).await;
        let closed = second.closed().await;
        assert_eq!((closed.0, &*closed.1), IN_USE);
    }
    // One that is not heard of any more has to go.
    let first_since = app.listeners()[0].since;
    let mut second = Listener::connect(&app, &[], Variant::Text).await.unwrap();
    second.say("start", &json!({"token": TOKEN})).await;
    let started = second.frame();
    let passes = async {
        app.until("its time is over", async || {
            app.advance(Duration::from_secs(1)).await;
            (app.listeners()[0].since > first_since).then_some(())
        })
        .await;
    };
    let (started, ()) = tokio::join!(started, passes);
    assert_eq!(started["type"], "start");
    assert_eq!(first.closed().await.1, IN_USE.1);
}

#[tokio::test]
async fn listeners_that_share_get_each_event_once() {
    let app = open_app().await;
    let share = json!({"token": TOKEN, "share": true});
    let (mut one, _) = Listener::start(&app, None, share.clone()).await;
    let (mut two, _) = Listener::start(&app, None, share).await;
    let asked = async { tokio::join!(post(&app, "/", b"a"), post(&app, "/", b"b")) };
    let answered = async {
        let (a, b) = tokio::join!(one.event(), two.event());
        assert_ne!(a.id, b.id);
        one.reply(&a.id, 200, b"one").await;
        two.reply(&b.id, 200, b"two").await;
    };
    let ((a, b), ()) = tokio::join!(asked, answered);
    let mut texts = [a.text(), b.text()];
    texts.sort();
    assert_eq!(texts, ["one", "two"]);
}

#[tokio::test]
async fn what_comes_while_the_listener_is_away_is_kept_and_comes_in_order() {
    let app = open_app().await;
    let (listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    drop(listener);
    app.until("it has gone", async || {
        app.listeners().is_empty().then_some(())
    })
    .await;
    app.advance(Duration::from_secs(5)).await;
    for number in 0..5 {
        let answer = post(&app, "/", number.to_string().as_bytes()).await;
        assert_eq!(answer.status, 202);
    }
    let app = app.restart().await;
    let answer = post(&app, "/", b"5").await;
    assert_eq!(answer.status, 202);
    let (mut listener, started) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    assert_eq!(started["waiting"], 6);
    for number in 0..6 {
        let event = listener.event().await;
        assert_eq!(event.body, number.to_string().as_bytes());
        listener.reply(&event.id, 200, b"ok").await;
    }
    app.until("all are answered", async || {
        let all = received(&app).await;
        all.iter()
            .all(|one| one["relayed"]["state"] == "answered")
            .then_some(())
    })
    .await;
    let all = received(&app).await;
    // Their senders were told that they are kept.
    assert!(all.iter().all(|one| one["answerStatus"] == 202), "{all:#?}");
    let path = format!("/api/v1/inboxes/{TOKEN}");
    assert_eq!(app.get(&path).await.ok(200).json()["waiting"], 0);
    is_well(&app).await;
}

#[tokio::test]
async fn an_event_in_flight_comes_again_and_its_sender_gets_the_answer() {
    let app = open_app().await;
    let (mut listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    let asked = post(&app, "/", b"x");
    let answered = async {
        let first = listener.event().await;
        drop(listener);
        let (mut again, started) = Listener::start(&app, None, json!({"token": TOKEN})).await;
        assert_eq!(started["waiting"], 1);
        let second = again.event().await;
        assert_eq!(second.id, first.id);
        again.reply(&second.id, 207, b"").await;
        again
    };
    let (answer, _listener) = tokio::join!(asked, answered);
    assert_eq!(answer.status, 207);
}

#[tokio::test]
async fn a_listener_that_gives_no_answer_makes_a_504() {
    let app = open_app().await;
    let (mut listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    let asked = post(&app, "/", b"x");
    let waited = async {
        let event = listener.event().await;
        pass(&app, &mut listener, 30).await;
        (event, listener)
    };
    let (answer, (event, mut listener)) = tokio::join!(asked, waited);
    assert_eq!(answer.status, 504);
    let kept = received(&app).await.remove(0);
    assert_eq!(kept["answerStatus"], 504);
    assert_eq!(kept["relayed"]["state"], "never");
    assert_eq!(kept["relayed"]["detail"], "no answer within 30 s");
    // An answer that comes too late is remembered all the same.
    listener.reply(&event.id, 200, b"late").await;
    app.until("it is noted", async || {
        let kept = received(&app).await.remove(0);
        (kept["relayed"]["state"] == "answered").then_some(())
    })
    .await;
    assert_eq!(received(&app).await.remove(0)["answerStatus"], 504);
}

#[tokio::test]
async fn who_is_silent_is_away() {
    let app = open_app().await;
    let (mut listener, _) =
        Listener::start(&app, None, json!({"token": TOKEN, "session": "s"})).await;
    let asked = post(&app, "/", b"x");
    let silent = async {
        let event = listener.event().await;
        // Pings are not read any more, nor answered.
        for _ in 0..5 {
            app.advance(Duration::from_secs(5)).await;
        }
        app.until("it is away", async || {
            app.listeners().is_empty().then_some(())
        })
        .await;
        app.advance(Duration::from_secs(5)).await;
        event
    };
    let (answer, event) = tokio::join!(asked, silent);
    assert_eq!(answer.status, 202);
    let (mut again, _) = Listener::start(&app, None, json!({"token": TOKEN, "session": "s"})).await;
    assert_eq!(again.event().await.id, event.id);
}

#[tokio::test]
async fn a_client_takes_its_own_place_over() {
    let app = open_app().await;
    let data = json!({"token": TOKEN, "session": "secret"});
    let (mut old, _) = Listener::start(&app, None, data.clone()).await;
    let (_new, _) = Listener::start(&app, None, data).await;
    assert_eq!(old.closed().await.0, 1008);
    assert_eq!(app.listeners().len(), 1);
}

#[tokio::test]
async fn without_a_key_only_open_inboxes_may_be_listened_to() {
    let app = TestApp::start().await;
    let key_needed = "This inbox takes no listener without an API key";
    let made = app.post("/api/v1/inboxes", json!({})).await.ok(201).json();
    let token = made["token"].as_str().unwrap();
    for token in [TOKEN, token, "nonsense", ""] {
        let mut listener = Listener::connect(&app, &[], Variant::Text).await.unwrap();
        listener.say("start", &json!({"token": token})).await;
        let closed = listener.closed().await;
        assert_eq!((closed.0, &*closed.1), (1008, key_needed), "{token}");
    }
    let path = format!("/api/v1/inboxes/{token}");
    app.put(&path, json!({"listenWithoutKey": true}))
        .await
        .ok(200);
    let (mut listener, started) = Listener::start(&app, None, json!({"token": token})).await;
    assert_eq!(started["url"], made["url"]);
    // It may not be any more: the connection ends.
    app.put(&path, json!({"listenWithoutKey": false}))
        .await
        .ok(200);
    app.advance(Duration::from_secs(5)).await;
    assert_eq!(listener.closed().await.1, key_needed);
}

#[tokio::test]
async fn a_key_opens_the_inboxes_of_its_environment() {
    let app = TestApp::start().await;
    let (_listener, started) = Listener::start(&app, Some(KEY), json!({"token": TOKEN})).await;
    assert_eq!(started["token"], TOKEN);
    let inbox = app
        .get(&format!("/api/v1/inboxes/{TOKEN}"))
        .await
        .ok(200)
        .json();
    assert_eq!(inbox["listenWithoutKey"], false);
    assert_eq!(inbox["url"], started["url"]);
    for token in ["e_0123456789", "c_short", "", "c_0123456789/"] {
        let key = format!("Bearer {KEY}");
        let headers = [("authorization", &*key)];
        let mut listener = Listener::connect(&app, &headers, Variant::Text)
            .await
            .unwrap();
        listener.say("start", &json!({"token": token})).await;
        let closed = listener.closed().await;
        assert_eq!((closed.0, &*closed.1), (1008, "Invalid token"), "{token}");
    }
    // Another environment's inbox is not there.
    let other = app
        .post("/api/v1/environments", json!({"name": "other"}))
        .await
        .ok(201)
        .id();
    let made = app
        .post(
            "/api/v1/keys",
            json!({"name": "other", "environment": other}),
        )
        .await
        .ok(201)
        .json();
    let key = format!("Bearer {}", made["key"].as_str().unwrap());
    let mut listener = Listener::connect(&app, &[("authorization", &key)], Variant::Text)
        .await
        .unwrap();
    listener.say("start", &json!({"token": TOKEN})).await;
    assert_eq!(listener.closed().await.1, "Invalid token");
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_the_connection() {
    let app = TestApp::start().await;
    let made = app
        .post(
            "/api/v1/keys",
            json!({"name": "listener", "scopes": ["endpoints:write"]}),
        )
        .await
        .ok(201)
        .json();
    let (mut listener, _) =
        Listener::start(&app, made["key"].as_str(), json!({"token": TOKEN})).await;
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    app.delete(&path).await.ok(200);
    app.advance(Duration::from_secs(5)).await;
    assert_eq!(
        listener.closed().await.1,
        "The API key does not work any more"
    );
}

#[tokio::test]
async fn listeners_are_listed_and_sent_away() {
    let app = TestApp::start().await;
    let data = json!({"token": TOKEN, "client": "a\u{1b}b", "share": true, "session": "secret"});
    let (mut listener, _) = Listener::start(&app, Some(KEY), data).await;
    let path = format!("/api/v1/inboxes/{TOKEN}/listeners");
    let listed = app.get(&path).await.ok(200);
    assert!(!listed.text().contains("secret"), "{}", listed.text());
    let listed = listed.items().remove(0);
    assert_eq!(listed["client"], "ab");
    assert_eq!(listed["peer"], "127.0.0.1");
    assert_eq!(listed["hasKey"], true);
    assert_eq!(listed["shares"], true);
    assert_eq!(listed["since"], app.now().0);
    let closed = app.delete(&path).await.ok(200).items();
    assert_eq!(closed[0]["id"], listed["id"]);
    assert_eq!(listener.closed().await.1, "Closed in the dashboard");
    assert_eq!(app.get(&path).await.ok(200).items(), [Value::Null; 0]);
    app.get("/api/v1/inboxes/none/listeners").await.ok(404);
    app.delete("/api/v1/inboxes/none/listeners").await.ok(404);
}

#[tokio::test]
async fn a_deleted_inbox_has_no_listener() {
    let app = TestApp::start().await;
    let (mut listener, _) = Listener::start(&app, Some(KEY), json!({"token": TOKEN})).await;
    app.delete(&format!("/api/v1/inboxes/{TOKEN}"))
        .await
        .ok(200);
    let closed = listener.closed().await;
    assert_eq!((closed.0, &*closed.1), (1008, "Invalid token"));
}

#[tokio::test]
async fn all_of_a_request_and_of_an_answer_comes_through() {
    let app = open_app().await;
    let (mut listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    let call = app
        .request("PUT", &format!("/in/{TOKEN}/a%20b//c?x=1&x=%ff"))
        .without_key()
        .append("x-twice", "1")
        .append("x-twice", "2")
        .append("x-bytes", "\u{e4}")
        .body(vec![0, 159, 146, 150]);
    let answered = async {
        let event = listener.event().await;
        assert_eq!(event.method, "PUT");
        assert_eq!(event.data["path"], "/a%20b//c?x=1&x=%ff");
        assert_eq!(event.body, [0, 159, 146, 150]);
        let list = event.data["headerList"].as_array().unwrap();
        for wanted in [
            ["x-twice", "1"],
            ["x-twice", "2"],
            ["x-bytes", "\u{c3}\u{a4}"],
        ] {
            assert!(list.contains(&json!(wanted)), "{list:#?}");
        }
        let data = json!({
            "id": event.id,
            "status": 418,
            "headers": {"x-one": "0"},
            "headerList": [["x-one", "1"], ["X-One", "2"], ["connection", "close"],
                ["set-cookie", "a=b"], ["content-security-policy", "none"], ["x-b", "\u{ff}"]],
            "body": "AAH/",
        });
        listener.reply_with(&data).await;
    };
    let (answer, ()) = tokio::join!(call.send(), answered);
    assert_eq!(answer.status, 418);
    assert_eq!(&answer.body[..], [0, 1, 255]);
    assert_eq!(answer.header_values("x-one"), ["1", "2"]);
    assert!(answer.header_values("set-cookie").is_empty());
    assert_eq!(
        answer.header("content-security-policy"),
        "sandbox; default-src 'none'"
    );
    let kept = received(&app).await.remove(0);
    let headers = kept["relayed"]["headers"].as_array().unwrap();
    assert!(!kept.to_string().contains("a=b"), "{kept:#}");
    assert!(headers.contains(&json!(["x-one", "2"])), "{kept:#}");
}

#[tokio::test]
async fn a_delivery_of_this_server_is_answered_by_the_listener() {
    let app = TestApp::start().await;
    let (mut listener, started) = Listener::start(&app, Some(KEY), json!({"token": TOKEN})).await;
    let application = app.application().await;
    let url = started["url"].as_str().unwrap();
    let endpoint = app.endpoint(&application, url, json!({})).await;
    let other = app.application().await;
    app.endpoint(&other, "https://other.example/", json!({}))
        .await;
    let senders = app.get(&format!("/api/v1/inboxes/{TOKEN}/endpoints")).await;
    let sender = json!({"id": endpoint, "applicationId": application, "url": url});
    assert_eq!(senders.ok(200).json(), json!([sender]));
    let message = app.message(&application, "a.b", json!({"n": 1})).await;
    let event = listener.event().await;
    assert_eq!(event.headers["webhook-id"], message);
    assert_eq!(event.data["eventType"], "a.b");
    let data = json!({
        "id": event.id, "status": 502, "headers": {}, "body": "",
        "error": "connection refused at 127.0.0.1:5000",
    });
    listener.reply_with(&data).await;
    let stands = app.stands(&application, &message, "pending", 1).await;
    assert_eq!(stands["attempts"][0]["statusCode"], 502);
    let path = format!("/api/v1/applications/{application}/messages/{message}/attempts");
    let attempt = app.get(&path).await.ok(200).items().remove(0);
    assert_eq!(
        attempt["response"]["body"],
        "connection refused at 127.0.0.1:5000"
    );
    app.advance(Duration::from_secs(6)).await;
    let event = listener.event().await;
    listener.reply(&event.id, 200, b"").await;
    app.stands(&application, &message, "success", 2).await;
}

#[tokio::test]
async fn a_delivery_to_a_silent_listener_is_kept_before_its_time_is_over() {
    let app = TestApp::start().await;
    let (mut listener, started) = Listener::start(&app, Some(KEY), json!({"token": TOKEN})).await;
    let application = app.application().await;
    let url = started["url"].as_str().unwrap();
    app.endpoint(&application, url, json!({})).await;
    let message = app.message(&application, "a.b", json!({"n": 1})).await;
    listener.event().await;
    app.advance(Duration::from_secs(16)).await;
    let stands = app.stands(&application, &message, "success", 1).await;
    assert_eq!(stands["attempts"][0]["statusCode"], 202);
}

#[tokio::test]
async fn what_waits_is_bounded_in_number_and_time() {
    let app = open_app().await;
    let (listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    drop(listener);
    app.until("it has gone", async || {
        app.listeners().is_empty().then_some(())
    })
    .await;
    app.advance(Duration::from_secs(5)).await;
    for _ in 0..400 {
        assert_eq!(post(&app, "/", b"x").await.status, 202);
    }
    let full = post(&app, "/", b"x").await;
    assert_eq!(full.status, 503);
    assert_eq!(full.header("retry-after"), "1");
    // A day after the listener left, the inbox is a plain one again.
    app.advance(Duration::from_hours(24)).await;
    assert_eq!(post(&app, "/", b"x").await.status, 200);
    let (mut listener, started) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    assert_eq!(started["waiting"], 0);
    let oldest = received(&app).await.pop().unwrap();
    assert_eq!(oldest["relayed"]["state"], "never", "{oldest:#}");
    let asked = post(&app, "/", b"y");
    let answered = async {
        let event = listener.event().await;
        assert_eq!(event.body, b"y");
        listener.reply(&event.id, 200, b"").await;
    };
    tokio::join!(asked, answered);
    is_well(&app).await;
}

#[tokio::test]
async fn an_inbox_that_a_listener_made_goes_when_it_is_not_used() {
    let app = open_app().await;
    let kept = app.post("/api/v1/inboxes", json!({})).await.ok(201).json();
    let (listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    drop(listener);
    app.until("it has gone", async || {
        app.listeners().is_empty().then_some(())
    })
    .await;
    let path = format!("/api/v1/inboxes/{TOKEN}");
    app.advance(Duration::from_hours(7 * 24 - 1)).await;
    app.get(&path).await.ok(200);
    app.until("it is forgotten", async || {
        app.advance(Duration::from_mins(30)).await;
        (app.get(&path).await.status == 404).then_some(())
    })
    .await;
    let token = kept["token"].as_str().unwrap();
    app.get(&format!("/api/v1/inboxes/{token}")).await.ok(200);
}

/// A server whose frames are small, so that large ones are soon too large.
async fn small_app() -> TestApp {
    TestApp::start_with(Options {
        open_relay: true,
        payload_bytes_max: 1000,
        ..Options::default()
    })
    .await
}

fn start_frame() -> String {
    json!({"type": "start", "version": 1, "data": {"token": TOKEN}}).to_string()
}

fn event_frame(data: &Value) -> String {
    json!({"type": "event", "version": 1, "data": data}).to_string()
}

/// The server answers, and its store is sound.
async fn is_well(app: &TestApp) {
    app.get("/api/v1/inboxes").await.ok(200);
    let report = app.store.check().expect("it can be read");
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[tokio::test]
async fn what_is_no_start_frame_ends_the_session() {
    let app = small_app().await;
    let start = start_frame();
    let before: Vec<(Message, u16)> = vec![
        (Message::text(""), 1008),
        (Message::text("{"), 1008),
        (Message::text("null"), 1008),
        (
            Message::text(event_frame(
                &json!({"id": "x", "status": 200, "headers": {}, "body": ""}),
            )),
            1008,
        ),
        (Message::text(start.replace('1', "2")), 1008),
        (Message::text(start.replace("start", "stop")), 1008),
        (Message::text(start.replace(TOKEN, &"c".repeat(5000))), 1008),
        (Message::text(start.replace(TOKEN, "../../etc")), 1008),
        (Message::binary(vec![0xff; 10]), 1008),
        (Message::text("x".repeat(600_000)), 1009),
        (
            Message::text(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            1008,
        ),
    ];
    for (message, want) in before {
        let mut listener = Listener::connect(&app, &[], Variant::Text).await.unwrap();
        let shown = format!("{message:.100?}");
        listener.send(message).await;
        assert_eq!(listener.closed().await.0, want, "{shown:.100}");
    }
    is_well(&app).await;
}

#[tokio::test]
async fn hostile_replies_end_the_session_and_harm_no_sender() {
    let app = small_app().await;
    let many: Vec<_> = (0..300).map(|n| json!([format!("x-{n}"), "1"])).collect();
    let after: Vec<(Message, u16)> = vec![
        (Message::text(start_frame()), 1008),
        (Message::text("{}"), 1008),
        (
            Message::text(event_frame(
                &json!({"id": "ID", "status": 200, "headers": {}, "body": "?"}),
            )),
            1008,
        ),
        (
            Message::text(event_frame(
                &json!({"id": "ID", "status": 200, "headerList": many}),
            )),
            1008,
        ),
        (
            Message::text(event_frame(&json!({"id": "ID", "status": 70000}))),
            1008,
        ),
        (Message::text("x".repeat(600_000)), 1009),
    ];
    for (message, want) in after {
        let (mut listener, _) =
            Listener::start(&app, None, json!({"token": TOKEN, "session": "s"})).await;
        let asked = post(&app, "/", b"x");
        let attacked = async {
            let event = listener.event().await;
            let message = match message {
                Message::Text(text) => Message::text(text.replace("ID", &event.id)),
                other => other,
            };
            let shown = format!("{message:.100?}");
            listener.send(message).await;
            assert_eq!(listener.closed().await.0, want, "{shown:.100}");
        };
        let (answer, ()) = tokio::join!(in_time(&app, asked), attacked);
        assert_eq!(answer.status, 202, "the sender is not harmed");
    }
    is_well(&app).await;
}

#[tokio::test]
async fn who_says_too_much_or_nothing_is_sent_away() {
    let app = small_app().await;
    // Replies to nothing, and pings without end.
    let (mut listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    for _ in 0..250 {
        listener.reply("rcv_none", 200, b"").await;
    }
    assert_eq!(
        listener.closed().await,
        (1008, "Too many replies to nothing".to_owned())
    );
    app.advance(Duration::from_mins(1)).await;
    let (mut listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    for _ in 0..60 {
        listener.send(Message::Ping(bytes::Bytes::new())).await;
    }
    assert_eq!(listener.closed().await, (1008, "Too many pings".to_owned()));
    // Nothing at all for too long.
    let mut listener = Listener::connect(&app, &[], Variant::Text).await.unwrap();
    listener.send(Message::Ping(bytes::Bytes::new())).await;
    listener.any().await;
    app.advance(Duration::from_secs(10)).await;
    assert_eq!(
        listener.closed().await,
        (1008, "No start frame came in time".to_owned())
    );
    is_well(&app).await;
}

#[tokio::test]
async fn a_status_that_is_none_is_the_relays_fault() {
    let app = open_app().await;
    let (mut listener, _) = Listener::start(&app, None, json!({"token": TOKEN})).await;
    for status in [0, 99, 101, 600, 999] {
        let asked = post(&app, "/", b"y");
        let answered = async {
            loop {
                let event = listener.event().await;
                listener.reply(&event.id, status, b"").await;
                if event.body == b"y" {
                    break;
                }
            }
        };
        let (answer, ()) = tokio::join!(asked, answered);
        assert_eq!(answer.status, 502, "{status}");
    }
    is_well(&app).await;
}

#[tokio::test]
async fn the_handshake_is_refused_with_a_reason() {
    let app = TestApp::start().await;
    let plain = app
        .request("GET", "/api/v1/listen/")
        .without_key()
        .send()
        .await;
    let problem = plain.ok(426).json();
    assert_eq!(problem["code"], "no_websocket");
    let foreign = [("origin", "https://evil.example")];
    for (headers, want) in [
        (&foreign[..], 403),
        (&[("authorization", "Bearer nonsense")], 401),
        (&[("sec-websocket-version", "12")], 426),
    ] {
        match Listener::connect(&app, headers, Variant::Text).await {
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                assert_eq!(response.status(), want, "{headers:?}");
            }
            other => panic!("{headers:?}: {:?}", other.err()),
        }
    }
    let read = app
        .post("/api/v1/keys", json!({"name": "r", "scopes": ["read"]}))
        .await
        .ok(201)
        .json();
    let application = app.application().await;
    let bound = json!({"name": "b", "scopes": ["admin"], "application": application});
    let bound = app.post("/api/v1/keys", bound).await.ok(201).json();
    for key in [read, bound] {
        let key = format!("Bearer {}", key["key"].as_str().unwrap());
        match Listener::connect(&app, &[("authorization", &key)], Variant::Text).await {
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                assert_eq!(response.status(), 403);
            }
            other => panic!("{:?}", other.err()),
        }
    }
    // Without a key, an address may not try for ever.
    let mut statuses = Vec::new();
    for _ in 0..40 {
        match Listener::connect(&app, &[], Variant::Text).await {
            Ok(_) => statuses.push(101),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                statuses.push(response.status().as_u16());
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
}
