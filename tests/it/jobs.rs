//! Recoveries, backfills and replays: what they send, how fast, and how they end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{START, TestApp};
use crate::support::sink::{Reply, Sink};

/// More than a job puts into a queue at once.
const MANY: usize = 520;
/// What it puts there.
const QUEUE: usize = 500;

/// A server with an endpoint.
struct Scene {
    app: TestApp,
    sink: Sink,
    application: String,
    endpoint: String,
}

impl Scene {
    /// An endpoint with these fields, over a sink that answers 200.
    async fn with(fields: Value) -> Self {
        let (app, sink) = (TestApp::start().await, Sink::start([]).await);
        let application = app.application().await;
        let endpoint = app.endpoint(&application, &sink.url(), fields).await;
        Self {
            app,
            sink,
            application,
            endpoint,
        }
    }

    /// So many deliveries that were given up, to a sink that works again.
    async fn of_failures(count: usize) -> (Self, Vec<String>) {
        let scene = Self::with(json!({"retrySchedule": []})).await;
        scene.sink.always(Reply::status(500));
        let mut messages = Vec::new();
        for n in 0..count {
            messages.push(scene.message("a.b", json!({"n": n})).await);
        }
        scene.sink.wait_for(count).await;
        scene.at_rest(count).await;
        scene.sink.always(Reply::status(200));
        scene.sink.clear();
        (scene, messages)
    }

    async fn message(&self, event_type: &str, payload: Value) -> String {
        self.app
            .message(&self.application, event_type, payload)
            .await
    }

    /// Waits until so many attempts are recorded and nothing is due.
    async fn at_rest(&self, attempts: usize) {
        let at_rest = async || {
            let store = self.app.get("/api/v1/store").await.ok(200).json();
            let done = store["attempts"] == attempts && store["inFlight"] == 0;
            done.then_some(())
        };
        self.app.until("all attempts are recorded", at_rest).await;
    }

    fn endpoint_path(&self, rest: &str) -> String {
        let (application, endpoint) = (&self.application, &self.endpoint);
        format!("/api/v1/applications/{application}/endpoints/{endpoint}{rest}")
    }

    /// Starts a job.
    async fn start(&self, kind: &str, body: Value) -> Value {
        let path = self.endpoint_path(&format!("/{kind}"));
        self.app.post(&path, body).await.ok(202).json()
    }

    async fn count(&self, kind: &str, body: Value) -> Value {
        let path = self.endpoint_path(&format!("/{kind}?dryRun=true"));
        let before = self.app.store.dump();
        let count = self.app.post(&path, body).await.ok(200).json();
        assert!(before == self.app.store.dump(), "a dry run wrote something");
        count
    }

    async fn job(&self, job: &Value) -> Value {
        let id = job["id"].as_str().expect("an id");
        self.app
            .get(&format!("/api/v1/jobs/{id}"))
            .await
            .ok(200)
            .json()
    }

    /// Waits until a job is as `fits` wants, while time passes.
    async fn until(&self, job: &Value, fits: impl Fn(&Value) -> bool) -> Value {
        let look = async || {
            self.app.advance(Duration::from_millis(20)).await;
            let now = self.job(job).await;
            fits(&now).then_some(now)
        };
        self.app.until("the job is as it should be", look).await
    }

    async fn ends(&self, job: &Value, state: &str) -> Value {
        self.until(job, |job| job["state"] == state).await
    }

    async fn cancel(&self, job: &Value) -> Value {
        let id = job["id"].as_str().expect("an id");
        let path = format!("/api/v1/jobs/{id}/cancellations");
        self.app.request("POST", &path).send().await.ok(200).json()
    }

    /// Bodies that came, each once, in order of `n`.
    fn came(&self) -> Vec<u64> {
        let mut came: Vec<u64> = self
            .sink
            .requests()
            .iter()
            .map(|seen| {
                let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
                body["n"].as_u64().expect("a number")
            })
            .collect();
        came.sort_unstable();
        came
    }
}

fn numbers(end: usize) -> Vec<u64> {
    (0..end as u64).collect()
}

#[tokio::test]
async fn a_recovery_replays_what_failed_and_nothing_else() {
    let scene = Scene::with(json!({"retrySchedule": ["1h"]})).await;
    let (app, sink) = (&scene.app, &scene.sink);
    for reply in [200, 500, 500, 500] {
        sink.then(Reply::status(reply));
    }
    let delivered = scene.message("a.b", json!({"n": 0})).await;
    app.stands(&scene.application, &delivered, "success", 1)
        .await;
    let exhausted = scene.message("a.b", json!({"n": 1})).await;
    app.stands(&scene.application, &exhausted, "pending", 1)
        .await;
    app.advance(Duration::from_mins(70)).await;
    app.stands(&scene.application, &exhausted, "failed", 2)
        .await;
    let waiting = scene.message("a.b", json!({"n": 2})).await;
    app.stands(&scene.application, &waiting, "pending", 1).await;
    sink.clear();

    let since = json!({"since": 0});
    let count = scene.count("recoveries", since.clone()).await;
    assert_eq!(count, json!({"count": 2, "complete": true}));
    let job = scene.start("recoveries", since.clone()).await;
    assert_eq!(job["kind"], "recovery");
    assert_eq!(job["state"], "running");
    assert_eq!(job["total"], 2);
    assert_eq!(job["endpointId"], json!(scene.endpoint));
    let ended = scene.ends(&job, "finished").await;
    assert_eq!(ended["examined"], 3);
    assert_eq!(ended["done"], 2);
    assert_eq!(ended["skipped"], 0);
    assert_eq!(ended["reason"], Value::Null);
    sink.wait_for(2).await;
    app.stands(&scene.application, &exhausted, "success", 3)
        .await;
    app.stands(&scene.application, &waiting, "success", 2).await;
    app.stands(&scene.application, &delivered, "success", 1)
        .await;
    assert_eq!(scene.came(), [1, 2]);

    // Another has nothing to do, nor has the retry that was waited for.
    let job = scene.start("recoveries", since).await;
    assert_eq!(scene.ends(&job, "finished").await["done"], 0);
    app.advance(Duration::from_hours(3)).await;
    app.idle().await;
    assert_eq!(sink.count(), 2);
    assert_told_and_audited(&scene).await;
}

/// Of the two recoveries: what operators' programs and auditors see.
async fn assert_told_and_audited(scene: &Scene) {
    let path = "/api/v1/applications/operational-events/messages";
    let told = scene.app.get(path).await.ok(200).items();
    let told = told.iter().map(|message| &message["payload"]);
    let told: Vec<_> = told
        .filter(|event| event["type"] == "job.finished")
        .collect();
    assert_eq!(told.len(), 2);
    let data = &told[1]["data"];
    assert_eq!(data["kind"], "recovery");
    assert_eq!(data["state"], "finished");
    assert_eq!(data["done"], 2);
    assert_eq!(data["total"], 2);
    assert_eq!(data["endpointId"], json!(scene.endpoint));
    let mut audit = scene.app.get("/api/v1/audit").await.ok(200).items();
    // Not the making of the key that asks.
    audit.retain(|entry| entry["action"] == "job.started");
    assert_eq!(audit.len(), 2);
    assert_eq!(audit[0]["action"], "job.started");
    assert_eq!(audit[0]["detail"], "recovery");
    assert_eq!(audit[1]["subject"], data["jobId"]);
}

#[tokio::test]
async fn a_job_goes_through_the_messages_of_its_time_alone() {
    let scene = Scene::with(json!({"retrySchedule": []})).await;
    scene.sink.always(Reply::status(500));
    for n in 0..4 {
        scene.message("a.b", json!({"n": n})).await;
        scene.app.advance(Duration::from_mins(1)).await;
    }
    scene.at_rest(4).await;
    scene.sink.always(Reply::status(200));
    scene.sink.clear();
    let at = |minute: u64| START.0 + minute * 60_000;
    let span = json!({"since": at(1), "until": at(3)});
    let job = scene.start("recoveries", span).await;
    assert_eq!(job["total"], 2);
    assert_eq!(job["until"], at(3));
    scene.ends(&job, "finished").await;
    scene.sink.wait_for(2).await;
    assert_eq!(scene.came(), [1, 2]);
    // One that would end later ends now.
    let job = scene
        .start("recoveries", json!({"since": at(3), "until": at(999)}))
        .await;
    assert_eq!(job["until"], job["created"]);
    scene.ends(&job, "finished").await;
    scene.sink.wait_for(3).await;
    assert_eq!(scene.came(), [1, 2, 3]);
}

#[tokio::test]
async fn two_recoveries_send_nothing_twice() {
    for answers in [200, 500] {
        let (scene, _) = Scene::of_failures(40).await;
        scene.sink.always(Reply::status(answers));
        let path = scene.endpoint_path("/recoveries");
        let body = json!({"since": 0});
        let (first, second) = tokio::join!(
            scene.app.post(&path, body.clone()),
            scene.app.post(&path, body.clone())
        );
        let (first, second) = (first.ok(202).json(), second.ok(202).json());
        let first = scene.ends(&first, "finished").await;
        let second = scene.ends(&second, "finished").await;
        let done = |job: &Value| job["done"].as_u64().expect("a number");
        assert_eq!(done(&first) + done(&second), 40);
        scene.at_rest(80).await;
        assert_eq!(scene.came(), numbers(40), "answered {answers}");
    }
}

#[tokio::test]
async fn a_recovery_that_is_asked_for_again_with_its_key_is_the_same() {
    let (scene, _) = Scene::of_failures(1).await;
    let path = scene.endpoint_path("/recoveries");
    let ask = async || {
        let call = scene
            .app
            .request("POST", &path)
            .json(&json!({"since": 0}))
            .header("idempotency-key", "k");
        call.send().await.ok(202).id()
    };
    let first = ask().await;
    scene.sink.wait_for(1).await;
    // Whatever became of its endpoint meanwhile.
    let endpoint = scene.endpoint_path("");
    let disabled = json!({"enabled": false});
    scene.app.put(&endpoint, disabled).await.ok(200);
    assert_eq!(ask().await, first);
    let jobs = scene.app.get("/api/v1/jobs").await.ok(200).items();
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn a_cancelled_job_stops_within_a_queue_and_another_takes_the_rest() {
    let (scene, _) = Scene::of_failures(MANY).await;
    scene.sink.always(Reply::status(200).held());
    let job = scene.start("recoveries", json!({"since": 0})).await;
    assert_eq!(job["total"], MANY);
    let full = scene.until(&job, |job| job["done"] == QUEUE).await;
    assert_eq!(full["state"], "running");
    for _ in 0..5 {
        scene.app.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(scene.job(&job).await["done"], QUEUE, "the queue is full");
    let cancelled = scene.cancel(&job).await;
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(cancelled["ended"], cancelled["updated"]);
    assert_eq!(scene.cancel(&job).await, cancelled, "once is enough");
    scene.sink.always(Reply::status(200));
    scene.sink.release(MANY);
    scene.sink.wait_for(QUEUE).await;
    scene.at_rest(MANY + QUEUE).await;
    scene.app.advance(Duration::from_secs(5)).await;
    assert_eq!(scene.came(), numbers(QUEUE));

    let job = scene.start("recoveries", json!({"since": 0})).await;
    assert_eq!(job["total"], MANY - QUEUE);
    let ended = scene.ends(&job, "finished").await;
    assert_eq!(ended["done"], MANY - QUEUE);
    scene.at_rest(2 * MANY).await;
    assert_eq!(scene.came(), numbers(MANY));
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().expect("an id"));
    let ended = scene.app.put(&path, json!({"ratePerSecond": 1})).await;
    assert_eq!(ended.ok(409).json()["code"], "job_ended");
}

#[tokio::test]
async fn a_job_keeps_its_pace_until_it_is_given_another() {
    let (scene, _) = Scene::of_failures(20).await;
    let body = json!({"since": 0, "ratePerSecond": 4});
    let job = scene.start("recoveries", body).await;
    assert_eq!(job["ratePerSecond"], 4);
    for sent in 1..=5 {
        scene.sink.wait_for(sent).await;
        scene.at_rest(20 + sent).await;
        assert_eq!(scene.sink.count(), sent);
        assert_eq!(scene.job(&job).await["done"], sent);
        scene.app.advance(Duration::from_millis(249)).await;
        scene.app.advance(Duration::from_millis(21)).await;
    }
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().expect("an id"));
    let changed = scene.app.put(&path, json!({"ratePerSecond": 0})).await;
    assert_eq!(changed.ok(200).json()["ratePerSecond"], Value::Null);
    scene.ends(&job, "finished").await;
    scene.sink.wait_for(20).await;
    assert_eq!(scene.came(), numbers(20));
}

#[tokio::test]
async fn a_job_waits_while_its_endpoint_is_paused() {
    let (scene, _) = Scene::of_failures(3).await;
    let endpoint = scene.endpoint_path("");
    scene
        .app
        .put(&endpoint, json!({"paused": true}))
        .await
        .ok(200);
    let job = scene.start("recoveries", json!({"since": 0})).await;
    for _ in 0..5 {
        scene.app.advance(Duration::from_secs(1)).await;
    }
    let waits = scene.job(&job).await;
    assert_eq!(waits["state"], "running");
    assert_eq!(waits["examined"], 0);
    // It is still there after a crash.
    let Scene {
        app,
        sink,
        application,
        endpoint: id,
    } = scene;
    let scene = Scene {
        app: app.restart().await,
        sink,
        application,
        endpoint: id,
    };
    scene
        .app
        .put(&endpoint, json!({"paused": false}))
        .await
        .ok(200);
    scene.ends(&job, "finished").await;
    scene.sink.wait_for(3).await;
    assert_eq!(scene.came(), numbers(3));
}

#[tokio::test]
async fn a_job_ends_with_its_endpoint() {
    let (scene, _) = Scene::of_failures(3).await;
    let (app, endpoint) = (&scene.app, scene.endpoint_path(""));
    let since = json!({"since": 0});
    app.put(&endpoint, json!({"paused": true})).await.ok(200);
    let disabled = scene.start("recoveries", since.clone()).await;
    app.put(&endpoint, json!({"enabled": false})).await.ok(200);
    let disabled = scene.ends(&disabled, "failed").await;
    assert_eq!(disabled["reason"], "endpoint_disabled");
    for kind in [
        "recoveries",
        "backfills",
        "replays",
        "recoveries?dryRun=true",
    ] {
        let path = scene.endpoint_path(&format!("/{kind}"));
        let refused = app.post(&path, since.clone()).await.ok(409).json();
        assert_eq!(refused["code"], "endpoint_disabled", "{kind}");
    }
    app.put(&endpoint, json!({"enabled": true})).await.ok(200);
    let deleted = scene.start("recoveries", since.clone()).await;
    app.delete(&endpoint).await.ok(200);
    let deleted = scene.job(&deleted).await;
    assert_eq!(deleted["state"], "failed");
    assert_eq!(deleted["reason"], "endpoint_deleted");

    let other = app
        .endpoint(
            &scene.application,
            &scene.sink.url(),
            json!({"paused": true}),
        )
        .await;
    let application = format!("/api/v1/applications/{}", scene.application);
    let path = format!("{application}/endpoints/{other}/backfills");
    let backfill = app.post(&path, since).await.ok(202).json();
    app.delete(&application).await.ok(200);
    let gone = scene.job(&backfill).await;
    assert_eq!(gone["reason"], "application_deleted");
    let swept = async || {
        app.advance(Duration::from_secs(1)).await;
        let jobs = app.get("/api/v1/jobs").await.ok(200).items();
        jobs.is_empty().then_some(())
    };
    app.until("the jobs of the application are swept", swept)
        .await;
    let path = "/api/v1/applications/operational-events/messages?pageSize=250";
    let told = app.get(path).await.ok(200).items();
    let finished = told.iter().map(|message| &message["payload"]);
    let reasons: Vec<_> = finished
        .filter(|event| event["type"] == "job.finished")
        .map(|event| event["data"]["reason"].as_str().expect("a text"))
        .collect();
    let want = [
        "application_deleted",
        "endpoint_deleted",
        "endpoint_disabled",
    ];
    assert_eq!(reasons, want);
    assert_eq!(scene.sink.count(), 0);
}

#[tokio::test]
async fn a_backfill_sends_what_an_endpoint_would_have_got() {
    let scene = Scene::with(json!({"eventTypes": ["none"]})).await;
    let (app, application) = (&scene.app, &scene.application);
    for (n, event_type) in ["a.b", "a.c", "x"].into_iter().enumerate() {
        scene.message(event_type, json!({"n": n})).await;
    }
    let sink = Sink::start([]).await;
    let fields = json!({"eventTypes": ["a.*"], "retrySchedule": ["1m"]});
    let late = app.endpoint(application, &sink.url(), fields).await;
    let taken = scene.message("a.d", json!({"n": 3})).await;
    sink.wait_for(1).await;
    app.stands(application, &taken, "success", 1).await;
    sink.clear();
    sink.then(Reply::status(500));
    let path = format!("/api/v1/applications/{application}/endpoints/{late}/backfills");
    let count = app
        .post(&format!("{path}?dryRun=true"), json!({"since": 0}))
        .await;
    assert_eq!(count.ok(200).json(), json!({"count": 2, "complete": true}));
    let job = app.post(&path, json!({"since": 0})).await.ok(202).json();
    let ended = scene.ends(&job, "finished").await;
    assert_eq!((&ended["examined"], &ended["done"]), (&json!(4), &json!(2)));
    sink.wait_for(2).await;
    app.idle().await;
    // What failed has its retry, as any delivery.
    let retried = async || {
        app.advance(Duration::from_secs(70)).await;
        (sink.count() == 3).then_some(())
    };
    app.until("the retry came", retried).await;
    let job = app.post(&path, json!({"since": 0})).await.ok(202).json();
    assert_eq!(scene.ends(&job, "finished").await["done"], 0);
    assert_eq!(scene.sink.count(), 0, "the other endpoint got nothing");
}

#[tokio::test]
async fn a_replay_sends_what_its_filter_selects() {
    let scene = Scene::with(json!({"retrySchedule": []})).await;
    let (app, application) = (&scene.app, &scene.application);
    for (n, (event_type, channel, status)) in [
        ("a.b", "red", 200),
        ("a.b", "blue", 503),
        ("a.c", "red", 404),
        ("x", "blue", 200),
    ]
    .into_iter()
    .enumerate()
    {
        scene.sink.then(Reply::status(status));
        let path = format!("/api/v1/applications/{application}/messages");
        let body = json!({"eventType": event_type, "channels": [channel], "payload": {"n": n}});
        app.post(&path, body).await.ok(202);
        scene.at_rest(n + 1).await;
    }
    for (filter, want) in [
        (json!({}), vec![0, 1, 2, 3]),
        (json!({"outcome": "delivered"}), vec![0, 3]),
        (json!({"outcome": "failed"}), vec![1, 2]),
        (json!({"statusClass": "5xx"}), vec![1]),
        (json!({"statusClass": "none"}), vec![]),
        (json!({"eventTypes": ["a.*"]}), vec![0, 1, 2]),
        (json!({"channels": ["blue"]}), vec![1, 3]),
        (
            json!({"eventTypes": ["a.*"], "channels": ["red"], "outcome": "failed"}),
            vec![2],
        ),
    ] {
        let mut body = filter.clone();
        body["since"] = json!(0);
        let count = scene.count("replays", body).await;
        assert_eq!(count["count"], want.len(), "{filter}");
    }
    scene.sink.clear();
    let body = json!({"since": 0, "eventTypes": ["a.*"], "outcome": "delivered"});
    let job = scene.start("replays", body).await;
    assert_eq!(job["eventTypes"], json!(["a.*"]));
    assert_eq!(job["outcome"], "delivered");
    assert_eq!(job["statusClass"], Value::Null);
    scene.ends(&job, "finished").await;
    scene.at_rest(5).await;
    assert_eq!(scene.came(), [0]);
}

#[tokio::test]
async fn what_has_lost_its_payload_is_skipped_and_counted() {
    let (scene, messages) = Scene::of_failures(3).await;
    let path = format!(
        "/api/v1/applications/{}/messages/{}/content",
        scene.application, messages[1]
    );
    scene.app.delete(&path).await.ok(200);
    let job = scene.start("recoveries", json!({"since": 0})).await;
    let ended = scene.ends(&job, "finished").await;
    assert_eq!((&ended["done"], &ended["skipped"]), (&json!(2), &json!(1)));
    scene.sink.wait_for(2).await;
    assert_eq!(scene.came(), [0, 2]);
}

#[tokio::test]
async fn an_endpoint_that_takes_nothing_is_left_alone_by_jobs_too() {
    let (scene, _) = Scene::of_failures(MANY).await;
    scene.sink.always(Reply::status(503));
    let job = scene.start("recoveries", json!({"since": 0})).await;
    scene.sink.wait_for(QUEUE).await;
    scene.at_rest(MANY + QUEUE).await;
    for _ in 0..20 {
        scene.app.advance(Duration::from_millis(500)).await;
    }
    let held = scene.job(&job).await;
    assert_eq!(held["state"], "running");
    assert_eq!(held["done"], QUEUE);
    scene.sink.always(Reply::status(200));
    scene.app.advance(Duration::from_secs(30)).await;
    scene.ends(&job, "finished").await;
    scene.at_rest(2 * MANY).await;
    assert_eq!(scene.came(), numbers(MANY));
}

#[tokio::test]
async fn what_is_sent_meanwhile_does_not_wait_for_a_whole_job() {
    let (scene, _) = Scene::of_failures(MANY).await;
    scene.sink.always(Reply::status(200).held());
    let job = scene.start("recoveries", json!({"since": 0})).await;
    scene.until(&job, |job| job["done"] == QUEUE).await;
    scene.message("a.b", json!({"n": 9999})).await;
    scene.sink.always(Reply::status(200));
    scene.sink.release(MANY);
    scene.sink.wait_for(QUEUE + 1).await;
    scene.ends(&job, "finished").await;
    scene.at_rest(2 * MANY + 1).await;
    let place = scene.sink.requests().iter().position(|seen| {
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        body["n"] == 9999
    });
    assert!(place.expect("it came") <= QUEUE, "{place:?}");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_a_page_at_a_time() {
    let (scene, _) = Scene::of_failures(1).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let job = scene.start("recoveries", json!({"since": 0})).await;
        scene.ends(&job, "finished").await;
        ids.insert(0, job["id"].clone());
    }
    let endpoint = scene.endpoint_path("");
    let pause = json!({"paused": true});
    scene.app.put(&endpoint, pause).await.ok(200);
    let running = scene.start("recoveries", json!({"since": 0})).await;
    ids.insert(0, running["id"].clone());
    let list = async |query: &str| {
        let answer = scene.app.get(&format!("/api/v1/jobs{query}")).await.ok(200);
        let listed: Vec<_> = answer.items().iter().map(|job| job["id"].clone()).collect();
        (listed, answer.header("link").to_owned())
    };
    let (page, link) = list("?pageSize=3").await;
    assert_eq!(page, ids[..3]);
    let next = link.split(['<', '>']).nth(1).expect("a link");
    let query = &next[next.find('?').expect("a query")..];
    assert_eq!(list(query).await, (ids[3..].to_vec(), String::new()));
    assert_eq!(list("?state=running").await.0, ids[..1]);
    assert_eq!(list("?state=finished").await.0, ids[1..]);
    assert_eq!(list("?state=cancelled").await.0, [] as [Value; 0]);
}

#[tokio::test]
async fn ended_jobs_are_forgotten_in_the_end() {
    let (scene, _) = Scene::of_failures(1).await;
    let endpoint = scene.endpoint_path("");
    let ended = scene.start("recoveries", json!({"since": 0})).await;
    scene.ends(&ended, "finished").await;
    let pause = json!({"paused": true});
    scene.app.put(&endpoint, pause).await.ok(200);
    let running = scene.start("recoveries", json!({"since": 0})).await;
    let day = Duration::from_hours(24);
    let retention = hookpost::store::Retention {
        payloads: 90 * day,
        attempts: 90 * day,
        bytes_max: None,
    };
    for (days, left) in [(89, 2), (2, 1)] {
        scene.app.advance(days * day).await;
        let pass = scene.app.engine.retire_once(retention);
        let passed = async {
            tokio::pin!(pass);
            loop {
                tokio::select! {
                    done = &mut pass => return done,
                    () = scene.app.advance(Duration::from_millis(5)) => {}
                }
            }
        };
        passed.await.expect("it is written");
        let jobs = scene.app.get("/api/v1/jobs").await.ok(200).items();
        assert_eq!(jobs.len(), left, "after {days} more days");
    }
    assert_eq!(scene.job(&running).await["state"], "running");
    let report = scene.app.store.check().expect("it reads");
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(report.jobs, 1);
}

#[tokio::test]
async fn a_job_that_makes_no_sense_is_refused_by_field() {
    let scene = Scene::with(json!({})).await;
    for (kind, body, field) in [
        ("recoveries", json!({}), "since"),
        ("recoveries", json!({"since": -1}), "since"),
        ("recoveries", json!({"since": 5, "until": 5}), "until"),
        ("backfills", json!({"since": 5, "until": 4}), "until"),
        (
            "backfills",
            json!({"since": 0, "ratePerSecond": 10_001}),
            "ratePerSecond",
        ),
        ("replays", json!({"since": 0, "outcome": "x"}), "outcome"),
        (
            "replays",
            json!({"since": 0, "statusClass": "200"}),
            "statusClass",
        ),
        (
            "replays",
            json!({"since": 0, "eventTypes": ["a", "a b"]}),
            "eventTypes[1]",
        ),
        ("recoveries?dryRun=perhaps", json!({"since": 0}), "?dryRun"),
    ] {
        let path = scene.endpoint_path(&format!("/{kind}"));
        let refused = scene.app.post(&path, body.clone()).await.ok(422).json();
        assert_eq!(refused["errors"][0]["path"], field, "{kind} {body}");
    }
    let jobs = scene.app.get("/api/v1/jobs").await.ok(200).items();
    assert_eq!(jobs, [] as [Value; 0]);
}
