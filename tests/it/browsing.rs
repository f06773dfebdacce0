//! Lists across endpoints and applications: whole, in order, within their
//! scope, and never longer at work than they may.

use hookpost::domain::fanout::EventFilter;
use hookpost::domain::ids::{AttemptKey, Key as _, MessageKey};
use hookpost::domain::principal::Scope;
use hookpost::store::{AttemptFilter, EndpointPlace, MessageFilter};
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::sink::{Reply, Sink};

/// Every message that the filter finds, by pages of `take`.
fn messages(app: &TestApp, scope: Scope, filter: &MessageFilter, take: usize) -> Vec<MessageKey> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = app.store.browse_messages(scope, filter, before, take);
        let page = page.expect("it reads");
        assert!(page.rows.len() <= take);
        found.extend(page.rows.iter().map(|row| row.message.key));
        match page.next {
            Some(next) => before = Some(next),
            None => return found,
        }
    }
}

fn attempts(app: &TestApp, scope: Scope, take: usize) -> Vec<AttemptKey> {
    let (mut found, mut before) = (Vec::new(), None);
    let filter = AttemptFilter::default();
    loop {
        let page = app
            .store
            .browse_attempts(scope, None, &filter, before, take);
        let page = page.expect("it reads");
        found.extend(page.rows.iter().map(|row| row.attempt.key));
        assert!(page.rows.iter().all(|row| row.event_type.is_some()));
        match page.next {
            Some(next) => before = Some(next),
            None => return found,
        }
    }
}

fn falls<K: Ord>(keys: &[K]) -> bool {
    keys.windows(2).all(|pair| pair[0] > pair[1])
}

#[tokio::test]
async fn pages_of_any_size_give_all_there_is_once_and_in_order() {
    let app = TestApp::start().await;
    let environment = app.store.default_environment();
    let all = Scope::of_environment(environment);
    let sink = Sink::start([]).await;
    let mut scopes = Vec::new();
    for _ in 0..2 {
        let application = app.application().await;
        for _ in 0..3 {
            app.endpoint(&application, &sink.url(), json!({})).await;
        }
        let key = app.store.ids().parse(&application);
        let scope = Scope {
            application: key,
            ..all
        };
        scopes.push((application, scope));
    }
    // Another world, and its application of operational events, are in no list.
    let made = app
        .post("/api/v1/environments", json!({"name": "other"}))
        .await;
    let body = json!({"name": "k", "environment": made.ok(201).id(), "scopes": ["admin"]});
    let key = app.post("/api/v1/keys", body).await.ok(201).json();
    let key = key["key"].as_str().expect("its text").to_owned();
    let post = async |path: &str, body: Value| {
        let call = app.request("POST", path).header("authorization", &key);
        call.json(&body).send().await
    };
    let other = post("/api/v1/applications", json!({"name": "x"}))
        .await
        .ok(201)
        .id();
    for number in 0..11 {
        let (application, _) = &scopes[number % 2];
        app.message(application, "a.b", json!({"n": number})).await;
        let path = format!("/api/v1/applications/{other}/messages");
        post(&path, json!({"eventType": "a.b", "payload": {}}))
            .await
            .ok(202);
    }
    sink.wait_for(33).await;
    app.recorded(33).await;
    for take in [1, 2, 3, 7, 100] {
        let filter = MessageFilter::default();
        let whole = messages(&app, all, &filter, take);
        assert_eq!(whole.len(), 11, "by {take}");
        assert!(falls(&whole));
        let tried = attempts(&app, all, take);
        assert_eq!(tried.len(), 33, "by {take}");
        assert!(falls(&tried));
        // Those of the applications are theirs, and together they are all.
        let mut union = Vec::new();
        for (_, scope) in &scopes {
            let own = attempts(&app, *scope, take);
            assert!(falls(&own));
            union.extend(own);
        }
        union.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(union, tried);
        let of = scopes
            .iter()
            .map(|(_, scope)| messages(&app, *scope, &filter, take).len());
        assert_eq!(of.collect::<Vec<_>>(), [6, 5]);
    }
}

#[tokio::test]
async fn a_search_that_finds_nothing_breaks_off_and_goes_on() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let batch: Vec<_> = (0..1000)
        .map(|number| json!({"eventType": "a.b", "payload": {"n": number}}))
        .collect();
    let path = format!("/api/v1/applications/{application}/messages/batch");
    for _ in 0..3 {
        app.post(&path, json!({"messages": batch})).await.ok(202);
    }
    let scope = Scope {
        application: app.store.ids().parse(&application),
        ..Scope::of_environment(app.store.default_environment())
    };
    let filter = MessageFilter {
        event_type: EventFilter::parse("none").ok(),
        ..MessageFilter::default()
    };
    for scope in [scope, Scope::of_environment(scope.environment)] {
        let first = app.store.browse_messages(scope, &filter, None, 50);
        let first = first.expect("it reads");
        assert!(first.rows.is_empty());
        let next = first.next.expect("it was broken off");
        assert_eq!(first.reached, Some(next.made_at()));
        let rest = app.store.browse_messages(scope, &filter, Some(next), 50);
        let rest = rest.expect("it reads");
        assert!(rest.rows.is_empty() && rest.next.is_none() && rest.reached.is_none());
    }
    let text = MessageFilter {
        text: Some("\"n\":7}".to_owned()),
        ..MessageFilter::default()
    };
    assert_eq!(messages(&app, scope, &text, 50).len(), 3);
}

#[tokio::test]
async fn endpoints_are_listed_whole_by_pages_of_any_size() {
    let app = TestApp::start().await;
    let all = Scope::of_environment(app.store.default_environment());
    let mut wanted = Vec::new();
    for count in [0, 3, 0, 1, 4, 0] {
        let application = app.application().await;
        for number in 0..count {
            let url = format!("https://a.example/{number}");
            let endpoint = app.endpoint(&application, &url, json!({})).await;
            if number == 2 {
                let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
                app.delete(&path).await.ok(200);
            } else {
                wanted.push(endpoint);
            }
        }
    }
    for take in [1, 2, 3, 100] {
        let (mut found, mut after): (Vec<String>, Option<EndpointPlace>) = (Vec::new(), None);
        loop {
            let page = app
                .store
                .browse_endpoints(all, after, take)
                .expect("it reads");
            let keys = page.rows.iter().map(|live| live.settings.key);
            found.extend(keys.map(|key| app.store.ids().text(key)));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(found, wanted, "by {take}");
    }
}

#[tokio::test]
async fn what_fails_and_what_waits_longest_are_found_among_many() {
    let app = TestApp::start().await;
    let all = Scope::of_environment(app.store.default_environment());
    for _ in 0..5 {
        let application = app.application().await;
        app.endpoint(&application, "https://a.example/", json!({"paused": true}))
            .await;
    }
    assert!(app.store.oldest_waiting(all).expect("it reads").is_none());
    let application = app.application().await;
    let sink = Sink::start([Reply::status(500), Reply::status(500)]).await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let first = app.message(&application, "a.b", json!({})).await;
    sink.wait_for(1).await;
    app.recorded(1).await;
    app.message(&application, "a.b", json!({})).await;
    app.recorded(2).await;
    let failing = app.store.failing_endpoints(all, 8).expect("it reads");
    let keys: Vec<_> = failing
        .iter()
        .map(|live| app.store.ids().text(live.settings.key))
        .collect();
    assert_eq!(keys, [endpoint.as_str()]);
    assert_eq!(failing[0].state.failures, 2);
    let oldest = app
        .store
        .oldest_waiting(all)
        .expect("it reads")
        .expect("one waits");
    assert_eq!(app.store.ids().text(oldest.message), first);
    // Of another application's view neither is there.
    let other = app.application().await;
    let other = Scope {
        application: app.store.ids().parse(&other),
        ..all
    };
    assert!(
        app.store
            .failing_endpoints(other, 8)
            .expect("it reads")
            .is_empty()
    );
    assert!(app.store.oldest_waiting(other).expect("it reads").is_none());
}
