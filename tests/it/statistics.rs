//! Statistics: for an endpoint, an application and the environment, by minute,
//! hour and day.

mod roll_up;

use std::time::Duration;

use hookpost::domain::ids::{EndpointKey, Key as _};
use serde_json::{Value, json};

use crate::support::app::{START, TestApp};
use crate::support::sink::{Reply, Sink};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const RESOLUTIONS: [(&str, u64); 3] =
    [("minute", 60_000), ("hour", 3_600_000), ("day", 86_400_000)];

/// An application with one endpoint, whose failures are not tried again.
struct World {
    app: TestApp,
    sink: Sink,
    application: String,
    endpoint: String,
}

impl World {
    async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let app = TestApp::start().await;
        let sink = Sink::start(script).await;
        let application = app.application().await;
        let once = json!({"retrySchedule": []});
        let endpoint = app.endpoint(&application, &sink.url(), once).await;
        Self {
            app,
            sink,
            application,
            endpoint,
        }
    }

    /// Where the statistics of endpoint, application and environment are.
    fn paths(&self) -> [String; 3] {
        let application = format!("/api/v1/applications/{}", self.application);
        [
            format!("{application}/endpoints/{}/statistics", self.endpoint),
            format!("{application}/statistics"),
            "/api/v1/statistics".to_owned(),
        ]
    }

    async fn get(&self, path: &str, query: &str) -> Value {
        let path = format!("{path}?{query}");
        self.app.get(&path).await.ok(200).json()
    }

    /// Sends a message of seven bytes and waits until it was attempted.
    async fn send(&self, status: &str) {
        let payload = json!({"n": 1});
        let message = self.app.message(&self.application, "a.b", payload).await;
        self.app
            .stands(&self.application, &message, status, 1)
            .await;
    }

    /// How many rows the endpoint has for each resolution.
    fn rows(&self) -> [usize; 3] {
        let endpoint = self.app.store.ids().parse::<EndpointKey>(&self.endpoint);
        let subject = endpoint.expect("an id").as_u64().to_be_bytes();
        let rows = self.app.store.dump();
        [0, 1, 2].map(|level| {
            let of_endpoint = |key: &[u8]| key[0] == level && key.ends_with(&subject);
            rows.iter()
                .filter(|(table, key, _)| *table == "counters" && of_endpoint(key))
                .count()
        })
    }
}

fn sum(points: &Value, field: &str) -> u64 {
    let points = points.as_array().expect("a list");
    points
        .iter()
        .filter_map(|point| point[field].as_u64())
        .sum()
}

#[tokio::test]
async fn messages_and_attempts_are_counted_for_endpoint_application_and_environment() {
    let script = [200, 500, 204].map(Reply::status);
    let world = World::start(script).await;
    for status in ["success", "failed", "success"] {
        world.send(status).await;
    }
    // Another application: its endpoint does not listen.
    let closed = Sink::start([]).await.url();
    let other = world.app.application().await;
    let once = json!({"retrySchedule": []});
    world.app.endpoint(&other, &closed, once).await;
    let message = world.app.message(&other, "a.b", json!(12)).await;
    world.app.stands(&other, &message, "failed", 1).await;

    let [of_endpoint, of_application, of_environment] = world.paths();
    let none = json!({"p50": null, "p95": null, "p99": null, "max": null, "mean": null});
    let outcomes = |response: u64, refused: u64| {
        json!({
            "response": response, "timedOut": 0, "dnsFailed": 0, "refused": refused,
            "reset": 0, "tlsFailed": 0, "blockedAddress": 0, "protocol": 0,
        })
    };
    for (path, messages, bytes, failed, refused) in [
        (of_endpoint, json!(null), json!(null), 1, 0),
        (of_application, json!(3), json!(21), 1, 0),
        (of_environment, json!(4), json!(23), 2, 1),
    ] {
        let mut answer = world.get(&path, "").await;
        assert_eq!(answer["resolution"], "hour");
        assert_eq!(answer["to"], START.0 + 3_600_000);
        assert_eq!(answer["from"], START.0 - 23 * 3_600_000);
        let points = answer["points"].as_array_mut().expect("a list");
        assert_eq!(points.len(), 24);
        let mut last = points.pop().expect("the hour of now");
        assert_eq!(last["timestamp"], START.0);
        last.as_object_mut().expect("a point").remove("timestamp");
        assert!(last["latencyMs"]["p99"].as_u64() >= last["latencyMs"]["p50"].as_u64());
        assert!(last["latencyMs"]["max"].as_u64() >= last["latencyMs"]["mean"].as_u64());
        let mut total = answer["total"].take();
        assert_eq!(total, last, "{path}");
        assert!(total["latencyMs"]["p99"].is_u64());
        total.as_object_mut().expect("figures").remove("latencyMs");
        let want = json!({
            "messages": messages, "payloadBytes": bytes, "delivered": 2, "failed": failed,
            "unanswered": refused, "results": outcomes(3, refused), "sentBytes": 21,
        });
        assert_eq!(total, want, "{path}");
        let first = &answer["points"][0];
        let zero = |value: &Value| {
            if value.is_null() {
                json!(null)
            } else {
                json!(0)
            }
        };
        let want = json!({
            "timestamp": START.0 - 23 * 3_600_000,
            "messages": zero(&messages), "payloadBytes": zero(&bytes), "delivered": 0,
            "failed": 0, "unanswered": 0, "results": outcomes(0, 0), "sentBytes": 0,
            "latencyMs": none,
        });
        assert_eq!(first, &want, "{path}");
    }
}

#[tokio::test]
async fn the_total_is_the_sum_of_the_points_whatever_is_rolled_up() {
    let world = World::start([]).await;
    for (wait, status) in [
        (MINUTE, 200),
        (MINUTE * 2, 500),
        (HOUR, 200),
        (HOUR * 5, 404),
        (HOUR * 18, 200),
        (MINUTE * 20, 200),
    ] {
        world.sink.then(Reply::status(status));
        let stands = if status == 200 { "success" } else { "failed" };
        world.send(stands).await;
        world.app.advance(wait).await;
    }
    // Before all minutes are rolled up, and after.
    for rolled_up in [false, true] {
        if rolled_up {
            let until = async || {
                world.app.advance(MINUTE).await;
                (world.rows()[1] == 4).then_some(())
            };
            world.app.until("every hour has its rows", until).await;
        }
        for (resolution, slot_ms) in RESOLUTIONS {
            let to = START.0 + 86_400_000 * if resolution == "day" { 3 } else { 2 };
            for path in world.paths() {
                let mut merged = [0; 3];
                let mut from = START.0;
                // As many as one answer has.
                while from < to {
                    let end = to.min(from + 1_440 * slot_ms);
                    let query = format!("resolution={resolution}&from={from}&to={end}");
                    let answer = world.get(&path, &query).await;
                    let points = &answer["points"];
                    for (at, field) in ["delivered", "failed", "sentBytes"].iter().enumerate() {
                        assert_eq!(answer["total"][field], sum(points, field), "{query}");
                        merged[at] += sum(points, field);
                    }
                    let points = points.as_array().expect("a list");
                    assert_eq!(points.len() as u64, (end - from).div_ceil(slot_ms));
                    for (at, point) in (0..).zip(points) {
                        assert_eq!(point["timestamp"], from + at * slot_ms);
                    }
                    from = end;
                }
                assert_eq!(merged, [4, 2, 42], "{path} by {resolution}, {rolled_up}");
            }
        }
    }
    // A day is where it was counted.
    let [path, ..] = world.paths();
    let query = format!("resolution=day&from={}", START.0);
    let points = world.get(&path, &query).await["points"].clone();
    let shown: Vec<_> = points
        .as_array()
        .expect("a list")
        .iter()
        .map(|point| (point["delivered"].clone(), point["failed"].clone()))
        .collect();
    assert_eq!(shown, [(json!(3), json!(2)), (json!(1), json!(0))]);
}

#[tokio::test]
async fn minutes_are_kept_two_days_hours_ninety_days_and_days_two_years() {
    let world = World::start([]).await;
    world.send("success").await;
    let at = START.0;
    let [path, ..] = world.paths();
    let shown = async |resolution: &str| -> u64 {
        let query = format!("resolution={resolution}&from={at}&to={}", at + 1);
        world.get(&path, &query).await["total"]["delivered"]
            .as_u64()
            .expect("a number")
    };
    let all = async || {
        [
            shown("minute").await,
            shown("hour").await,
            shown("day").await,
        ]
    };
    // An idle minute at a time, so that each pass has had its turn.
    let rows = async |want: [usize; 3]| {
        let look = async || {
            world.app.advance(MINUTE).await;
            (world.rows() == want).then_some(())
        };
        world
            .app
            .until(&format!("the rows are {want:?}"), look)
            .await;
    };
    rows([1, 1, 1]).await;
    assert_eq!(all().await, [1, 1, 1]);
    world.app.advance(47 * HOUR).await;
    rows([0, 1, 1]).await;
    assert!(world.app.now().since(START) > 2 * DAY, "not before");
    assert_eq!(all().await, [0, 1, 1]);
    world.app.advance((88 * 24 - 1) * HOUR).await;
    rows([0, 0, 1]).await;
    assert!(world.app.now().since(START) > 90 * DAY, "not before");
    assert_eq!(all().await, [0, 0, 1]);
    world.app.advance((2 * 365 - 90) * DAY).await;
    assert_eq!(shown("day").await, 1);
    world.app.advance(DAY).await;
    rows([0, 0, 0]).await;
    assert_eq!(all().await, [0, 0, 0]);
}

#[tokio::test]
async fn nothing_is_written_where_nothing_is_counted() {
    let world = World::start([]).await;
    world.send("success").await;
    let look = async || {
        world.app.advance(MINUTE).await;
        (world.rows() == [1, 1, 1]).then_some(())
    };
    world.app.until("all is rolled up", look).await;
    let before = world.app.store.dump();
    assert!(!world.app.store.roll_up().await.expect("it works"));
    assert!(world.app.store.dump() == before);
}

#[tokio::test]
async fn a_period_that_cannot_be_answered_says_what_to_ask_for() {
    let world = World::start([]).await;
    let minute = 60_000;
    let now = world.app.now().0;
    for (query, field, remedy) in [
        (
            format!("resolution=minute&from={}", now - 1_500 * minute),
            "?from",
            "ask for a shorter time, or for `resolution=hour` or `day`",
        ),
        (
            format!("from={}&to={now}", now - 1_501 * 60 * minute),
            "?from",
            "ask for a shorter time, or for `resolution=day`",
        ),
        (
            "resolution=day&from=0".to_owned(),
            "?from",
            "one answer has at most 1000; ask for a shorter time",
        ),
        (format!("from={now}&to={now}"), "?to", "later than `from`"),
        (format!("from={}", now + 1), "?to", "not given, it is now"),
        (
            "resolution=week".to_owned(),
            "?resolution",
            "minute, hour or day",
        ),
    ] {
        for path in world.paths() {
            let answer = world.app.get(&format!("{path}?{query}")).await.ok(422);
            let error = &answer.json()["errors"][0];
            assert_eq!(error["path"], field, "{query}");
            let detail = error["detail"].as_str().expect("a text");
            assert!(detail.contains(remedy), "{query}: {detail}");
        }
    }
    let [path, ..] = world.paths();
    let query = format!("resolution=minute&from={}", now - 1_499 * minute);
    let answer = world.get(&path, &query).await;
    assert_eq!(answer["points"].as_array().expect("a list").len(), 1_500);
}

#[tokio::test]
async fn what_is_deleted_has_no_statistics_and_stays_in_those_of_the_whole() {
    let world = World::start([]).await;
    world.send("success").await;
    let [of_endpoint, of_application, of_environment] = world.paths();
    let application = format!("/api/v1/applications/{}", world.application);
    let endpoint = format!("{application}/endpoints/{}", world.endpoint);
    let delivered = async |path: &str| world.get(path, "").await["total"]["delivered"].clone();
    world.app.delete(&endpoint).await;
    let gone = world.app.get(&of_endpoint).await.ok(404).json();
    assert_eq!(gone["detail"], "There is no such endpoint.");
    assert_eq!(delivered(&of_application).await, 1);
    world.app.delete(&application).await;
    let gone = world.app.get(&of_application).await.ok(404).json();
    assert_eq!(gone["detail"], "There is no such application.");
    assert_eq!(delivered(&of_environment).await, 1);
    let sound = world.app.store.check().expect("it reads");
    assert!(sound.is_sound(), "{:#?}", sound.problems);
}
