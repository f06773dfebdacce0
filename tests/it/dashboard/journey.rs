//! From nothing to a replayed delivery, by forms and links alone.

use std::time::Duration;

use hookpost::domain::user::{Role, Roles};
use serde_json::json;

use crate::support::app::TestApp;
use crate::support::sink::{Reply, Sink};
use crate::support::visitor::Visitor;

#[tokio::test]
async fn what_failed_is_replayed_and_delivered() {
    let app = TestApp::start().await;
    let mut visitor = Visitor::user(&app, "ada", Roles::everywhere(Role::Operator)).await;
    let env = app.store.ids().text(app.store.default_environment());
    let sink = Sink::start([Reply::status(503), Reply::status(200)]).await;
    let form = [("name", "Acme"), ("uid", "acme")];
    let made = visitor
        .submit(&app, &format!("/env/{env}/applications"), &form)
        .await
        .ok(303);
    let base = made
        .header("location")
        .split('?')
        .next()
        .expect("a path")
        .to_owned();
    let url = sink.url();
    let form = [
        ("url", url.as_str()),
        ("description", "orders"),
        ("others", "order.*"),
        ("headers", "X-Env: test"),
        ("rateLimit", "50"),
        ("signatures", "keep"),
    ];
    let made = visitor
        .submit(&app, &format!("{base}/endpoints"), &form)
        .await
        .ok(303);
    let testing = made
        .header("location")
        .split('?')
        .next()
        .expect("a path")
        .to_owned();
    let endpoint = testing.trim_end_matches("/testing").to_owned();
    let form = [
        ("eventType", "order.paid"),
        ("payload", "{\"n\": 12345678901234567890}"),
    ];
    let sent = visitor
        .submit(&app, &format!("{base}/messages"), &form)
        .await
        .ok(303);
    let message = sent
        .header("location")
        .split('?')
        .next()
        .expect("a path")
        .to_owned();
    sink.wait_for(1).await;
    let page = app
        .until("the failure is shown", async || {
            let page = visitor.clone().get(&app, &message).await.ok(200).text();
            page.contains(">503<").then_some(page)
        })
        .await;
    assert!(
        page.contains("12345678901234567890"),
        "numbers stay as they are"
    );
    assert!(
        page.contains("It may be restarting"),
        "a cause and a remedy"
    );
    let list = visitor
        .get(&app, &format!("{base}/attempts?outcome=failed"))
        .await
        .ok(200)
        .text();
    assert!(
        list.contains("order.paid") && list.contains("Replay"),
        "{list}"
    );
    let none = visitor
        .get(&app, &format!("{base}/attempts?outcome=succeeded"))
        .await
        .ok(200)
        .text();
    assert!(!none.contains("order.paid"));
    visitor
        .submit(&app, &format!("{message}/replays"), &[])
        .await
        .ok(303);
    sink.wait_for(2).await;
    app.until("it is delivered", async || {
        let page = visitor.clone().get(&app, &message).await.ok(200).text();
        page.contains(">Delivered<").then_some(())
    })
    .await;
    // What a commit did to an endpoint's state is published after it can be read.
    let page = app
        .until("the endpoint works again", async || {
            let page = visitor.clone().get(&app, &endpoint).await.ok(200).text();
            page.contains("Last delivered").then_some(page)
        })
        .await;
    assert!(page.contains("50 %"), "{page}");
}

#[tokio::test]
async fn an_endpoint_is_paused_resumed_disabled_enabled_changed_and_deleted() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let sink = Sink::start([]).await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let mut visitor = Visitor::customer(&app, &application, false).await;
    let base = format!("/portal/endpoints/{endpoint}");
    let api = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    for (action, field, want) in [
        ("pauses", "paused", true),
        ("resumptions", "paused", false),
        ("disablings", "enabled", false),
        ("enablings", "enabled", true),
    ] {
        visitor
            .submit(&app, &format!("{base}/{action}"), &[])
            .await
            .ok(303);
        assert_eq!(app.get(&api).await.ok(200).json()[field], want, "{action}");
        visitor.get(&app, &base).await.ok(200);
    }
    let form = [
        ("url", "https://a.example/hook"),
        ("others", "user.**"),
        ("retrySchedule", "5s, 1m"),
        ("timeoutSeconds", "7"),
        ("successStatus", "202"),
        ("signatures", "octohooks"),
    ];
    visitor
        .submit(&app, &format!("{base}/advanced"), &form)
        .await
        .ok(303);
    let shown = app.get(&api).await.ok(200).json();
    assert_eq!(shown["eventTypes"], json!(["user.**"]));
    assert_eq!(shown["timeoutSeconds"], 7);
    assert_eq!(shown["success"]["status"], 202);
    let page = visitor
        .get(&app, &format!("{base}/advanced"))
        .await
        .ok(200)
        .text();
    assert!(
        page.contains("value=\"7\"") && page.contains("5s, 1m"),
        "{page}"
    );
    // What is wrong is said at its field, and nothing is changed.
    let wrong = [
        ("url", "http://127.0.0.1:9/"),
        ("rateLimit", "many"),
        ("others", "a b"),
    ];
    let page = visitor
        .submit(&app, &format!("{base}/advanced"), &wrong)
        .await
        .ok(422)
        .text();
    assert!(page.contains("rateLimit-wrong"), "{page}");
    assert_eq!(app.get(&api).await.ok(200).json(), shown);
    visitor
        .submit(&app, &format!("{base}/deletions"), &[])
        .await
        .ok(303);
    visitor.get(&app, &base).await.ok(404);
}

#[tokio::test]
async fn a_secret_is_masked_until_it_is_revealed_and_that_is_noted() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let made = json!({"secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]});
    let endpoint = app.endpoint(&application, "https://a.example/", made).await;
    let env = app.store.ids().text(app.store.default_environment());
    let base = format!("/env/{env}/applications/{application}/endpoints/{endpoint}");
    let mut viewer = Visitor::user(&app, "bob", Roles::everywhere(Role::Viewer)).await;
    let mut operator = Visitor::user(&app, "ada", Roles::everywhere(Role::Operator)).await;
    for visitor in [&mut viewer, &mut operator] {
        let page = visitor.get(&app, &base).await.ok(200).text();
        assert!(!page.contains("MfKQ9r8GKY") && page.contains("whsec_••••"));
    }
    viewer
        .submit(&app, &format!("{base}/secret-reveals"), &[])
        .await
        .ok(403);
    let page = operator
        .submit(&app, &format!("{base}/secret-reveals"), &[])
        .await
        .ok(200)
        .text();
    assert!(page.contains("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let audit = app.get("/api/v1/audit").await.ok(200).items();
    let noted = audit.iter().find(|entry| entry["action"] == "secret.read");
    assert_eq!(noted.expect("it is noted")["actor"], "ada@example.com");
    let form = [("gracePeriodSeconds", "3600"), ("secret", "")];
    operator
        .submit(&app, &format!("{base}/secret-rotations"), &form)
        .await
        .ok(303);
    let page = operator
        .submit(&app, &format!("{base}/secret-reveals"), &[])
        .await
        .ok(200)
        .text();
    assert!(page.contains("The newest") && page.contains("Signs for a while yet"));
}

#[tokio::test]
async fn what_failed_since_a_time_is_counted_and_recovered() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let sink = Sink::start([Reply::status(500), Reply::status(500), Reply::status(500)]).await;
    let schedule = json!({"retrySchedule": ["1h"]});
    let endpoint = app.endpoint(&application, &sink.url(), schedule).await;
    for _ in 0..3 {
        app.message(&application, "a.b", json!({})).await;
    }
    sink.wait_for(3).await;
    app.recorded(3).await;
    app.advance(Duration::from_secs(1)).await;
    let mut visitor = Visitor::customer(&app, &application, false).await;
    let base = format!("/portal/endpoints/{endpoint}");
    let since = app.now().0 - 60_000;
    let path = format!("{base}/recoveries/new?since={since}");
    let page = visitor.get(&app, &path).await.ok(200).text();
    assert!(page.contains("Replay 3 deliveries"), "{page}");
    let since = since.to_string();
    let form = [("since", since.as_str())];
    let started = visitor
        .submit(&app, &format!("{base}/recoveries"), &form)
        .await
        .ok(303);
    let job = started
        .header("location")
        .split('?')
        .next()
        .expect("a path")
        .to_owned();
    app.until("all are recovered", async || {
        app.advance(Duration::from_millis(300)).await;
        let page = visitor.clone().get(&app, &job).await.ok(200).text();
        page.contains(">Finished<").then_some(())
    })
    .await;
    sink.wait_for(6).await;
    app.until("all are shown as delivered", async || {
        let path = "/portal/messages?state=delivered";
        let page = visitor.clone().get(&app, path).await.ok(200).text();
        page.contains("Showing 3 items").then_some(())
    })
    .await;
}

#[tokio::test]
async fn filters_find_and_say_how_far_they_looked() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let sink = Sink::start([]).await;
    app.endpoint(&application, &sink.url(), json!({})).await;
    for number in 0..7 {
        let kind = ["order.paid", "order.item.added", "user.made"][number % 3];
        app.message(&application, kind, json!({"n": format!("needle{number}")}))
            .await;
    }
    sink.wait_for(7).await;
    app.recorded(7).await;
    let mut visitor = Visitor::customer(&app, &application, true).await;
    for (query, want) in [
        ("", 7),
        ("?type=order.*", 3),
        ("?type=order.**", 5),
        ("?type=user.made", 2),
        ("?text=needle3", 1),
        ("?text=nothing", 0),
        ("?state=delivered", 7),
        ("?state=failed", 0),
        ("?code=2xx", 7),
        ("?code=5xx", 0),
        ("?from=2026-11-21T00:00&to=2026-11-23T00:00", 7),
        ("?from=2026-11-23T00:00", 0),
        ("?to=2026-11-21T00:00", 0),
    ] {
        let page = visitor
            .get(&app, &format!("/portal/messages{query}"))
            .await
            .ok(200);
        let want = format!("Showing {want} items");
        assert!(page.text().contains(&want), "{query}: {}", page.text());
    }
    for wrong in [
        "?state=odd",
        "?code=9xx",
        "?from=odd",
        "?type=a%20b",
        "?before=odd",
    ] {
        let page = visitor.get(&app, &format!("/portal/messages{wrong}")).await;
        assert_eq!(page.status, 422, "{wrong}");
    }
    let file = visitor
        .get(&app, "/portal/messages/export?type=order.*")
        .await
        .ok(200);
    assert_eq!(file.text().lines().count(), 3);
    let line: serde_json::Value =
        serde_json::from_str(file.text().lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["deliveries"][0]["state"], "delivered");
    let file = visitor.get(&app, "/portal/attempts/export").await.ok(200);
    assert_eq!(file.text().lines().count(), 7);
}

#[tokio::test]
async fn a_replay_of_many_leaves_out_what_cannot_be_sent_and_says_so() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let sink = Sink::start([Reply::status(500), Reply::status(500)]).await;
    let slow = json!({"retrySchedule": ["1h"]});
    let good = app.endpoint(&application, &sink.url(), slow.clone()).await;
    let off = app.endpoint(&application, &sink.url(), slow).await;
    let message = app.message(&application, "a.b", json!({})).await;
    sink.wait_for(2).await;
    app.recorded(2).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{off}");
    app.put(&path, json!({"enabled": false})).await.ok(200);
    let mut visitor = Visitor::customer(&app, &application, false).await;
    let (first, second) = (format!("{message} {off}"), format!("{message} {good}"));
    let lone = [("chosen", first.as_str())];
    visitor.submit(&app, "/portal/replays", &lone).await.ok(409);
    let both = [("chosen", first.as_str()), ("chosen", second.as_str())];
    let answer = visitor.submit(&app, "/portal/replays", &both).await.ok(303);
    assert!(answer.header("location").ends_with("notice=replayed-some"));
    sink.wait_for(3).await;
    // One that is not there keeps all from being sent.
    let wrong = [("chosen", second.as_str()), ("chosen", "msg_x ep_x")];
    visitor
        .submit(&app, "/portal/replays", &wrong)
        .await
        .ok(404);
    app.idle().await;
    assert_eq!(sink.count(), 3);
}
