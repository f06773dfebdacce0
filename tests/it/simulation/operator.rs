//! Producers and operators: what is asked of the store, and how it answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookpost::domain::endpoint::EndpointChange;
use hookpost::domain::ids::{Key as _, MessageKey};
use hookpost::domain::job::{JobFilter, JobKind, NewJob, Selection};
use hookpost::domain::principal::{Principal, Scope};
use hookpost::domain::time::Timestamp;
use hookpost::seams::clock::Clock as _;
use hookpost::store::{Accepted, Idempotent, Refusal, StoredAnswer, WriteError, Written};

use super::oracle::{AppFacts, Asked, Post, lock};
use super::transport::{Script, endpoint_url};
use super::world::World;
use crate::support::store::message;

const APPS_MAX: usize = 4;
const ENDPOINTS_MAX: usize = 12;
/// How long after its first use an idempotency key is still used, by any clock.
const KEY_USED: Duration = Duration::from_hours(20);

/// A script, any.
pub(super) fn script(world: &mut World) -> Script {
    let rng = &mut world.rng;
    let millis = |ms| Duration::from_millis(ms);
    match rng.below(14) {
        0..=3 => Script::Answers {
            status: 200,
            after: millis(rng.below(200)),
        },
        4 => Script::Answers {
            status: 204,
            after: Duration::from_secs(rng.below(20)),
        },
        5 => Script::Answers {
            status: 500,
            after: millis(rng.below(50)),
        },
        6 => Script::Hangs,
        7 => Script::Resets {
            after: millis(rng.below(3000)),
        },
        8 => Script::Asks {
            status: if rng.chance(50) { 429 } else { 503 },
            wait_s: *rng.pick(&[1, 30, 4000, 1_000_000]).expect("a choice"),
        },
        9 => Script::Gone,
        10 => Script::Flaps {
            period: Duration::from_secs(1 + rng.below(600)),
        },
        11 => Script::Recovers {
            at: Duration::from_secs(rng.below(7200)),
        },
        12 => Script::Blocked,
        _ => Script::Floods,
    }
}

fn schedule(world: &mut World) -> Vec<Duration> {
    let steps = world.rng.below(4);
    let wait = |world: &mut World| {
        *world
            .rng
            .pick(&[1, 5, 100, 2000, 20_000])
            .expect("a choice")
    };
    (0..steps)
        .map(|_| Duration::from_secs(wait(world)))
        .collect()
}

impl World {
    fn scope(&self) -> Scope {
        Scope::of_environment(self.running().store.default_environment())
    }

    /// Makes an application.
    pub(super) fn create_app(&mut self) {
        let number = {
            let mut ledger = lock(&self.ledger);
            if ledger.apps.len() >= APPS_MAX {
                return;
            }
            ledger.apps.push(AppFacts::default());
            ledger.apps.len() - 1
        };
        let (store, ledger, scope) = (self.store(), Arc::clone(&self.ledger), self.scope());
        self.running().runtime.spawn(async move {
            let made = store
                .create_application(scope.environment, format!("a{number}"), None, None)
                .await;
            if let Ok(Written::Fresh(made)) = made {
                lock(&ledger).apps[number].key = Some(made.key);
            }
        });
    }

    /// One of the applications that are there.
    fn any_app(&mut self) -> Option<usize> {
        let ledger = lock(&self.ledger);
        let there = |at: &usize| {
            let app = &ledger.apps[*at];
            app.key.is_some() && !app.deleted && !app.deletion_asked
        };
        let apps: Vec<_> = (0..ledger.apps.len()).filter(there).collect();
        drop(ledger);
        self.rng.pick(&apps).copied()
    }

    /// One of the endpoints that are there and about which nothing is asked.
    fn any_endpoint(&mut self) -> Option<usize> {
        let ledger = lock(&self.ledger);
        let there = |at: &usize| {
            let endpoint = &ledger.endpoints[*at];
            let app = &ledger.apps[endpoint.app];
            endpoint.key.is_some()
                && !(endpoint.deleted || endpoint.deletion_asked || endpoint.is_busy)
                && !(app.deleted || app.deletion_asked)
        };
        let endpoints: Vec<_> = (0..ledger.endpoints.len()).filter(there).collect();
        drop(ledger);
        self.rng.pick(&endpoints).copied()
    }

    /// Makes an endpoint with a script.
    pub(super) fn create_endpoint(&mut self, script: Script) {
        let Some(app) = self.any_app() else { return };
        let own = self.rng.chance(50).then(|| schedule(self));
        let rate_limit = self.rng.chance(25).then(|| self.small(1, 40));
        self.create_endpoint_of(app, script, own, rate_limit);
    }

    /// A number from `from`, `count` to choose from.
    fn small(&mut self, from: u32, count: u32) -> u32 {
        from + u32::try_from(self.rng.below(count.into())).expect("a small number")
    }

    /// Makes an endpoint of that application.
    pub(super) fn create_endpoint_of(
        &mut self,
        app: usize,
        script: Script,
        own: Option<Vec<Duration>>,
        rate_limit: Option<u32>,
    ) {
        let default = self.profile.schedule.clone();
        let (number, key) = {
            let mut ledger = lock(&self.ledger);
            if ledger.endpoints.len() >= ENDPOINTS_MAX {
                return;
            }
            let number = ledger.new_endpoint(app, script);
            ledger.schedule_asked(number, own.as_ref().unwrap_or(&default));
            ledger.note(format_args!(
                "e{number} of a{app}: {script:?}, {own:?}, {rate_limit:?}"
            ));
            (number, ledger.apps[app].key.expect("it is there"))
        };
        let settings = EndpointChange {
            url: Some(endpoint_url(number)),
            retry_schedule: own,
            rate_limit,
            ..EndpointChange::default()
        };
        let (store, ledger, scope) = (self.store(), Arc::clone(&self.ledger), self.scope());
        self.running().runtime.spawn(async move {
            let made = store.create_endpoint(scope, key, settings, None).await;
            let mut ledger = lock(&ledger);
            ledger.endpoints[number].is_busy = false;
            if let Ok(Written::Fresh(made)) = made {
                ledger.note(format_args!("e{number}: made"));
                ledger.observe_endpoint(number, &made);
            }
        });
    }

    fn change_endpoint(&mut self, asked: Asked) {
        let Some(number) = self.any_endpoint() else {
            return;
        };
        let own = matches!(asked, Asked::Schedule).then(|| schedule(self));
        let change = EndpointChange {
            enabled: match asked {
                Asked::Enabled(on) => Some(on),
                _ => None,
            },
            paused: match asked {
                Asked::Paused(on) => Some(on),
                _ => None,
            },
            rate_limit: match asked {
                Asked::Rate(limit) => Some(limit.unwrap_or(0)),
                _ => None,
            },
            retry_schedule: own.clone(),
            ..EndpointChange::default()
        };
        let (app, key) = {
            let mut ledger = lock(&self.ledger);
            ledger.change_asked(number, asked);
            if let Some(own) = &own {
                ledger.schedule_asked(number, own);
            }
            let facts = &ledger.endpoints[number];
            let app = ledger.apps[facts.app].key.expect("it is there");
            (app, facts.key.expect("it is there"))
        };
        let (store, ledger, scope) = (self.store(), Arc::clone(&self.ledger), self.scope());
        self.running().runtime.spawn(async move {
            let done = if matches!(asked, Asked::Deletion) {
                store
                    .delete_endpoint(Principal::operator(scope), app, key)
                    .await
            } else {
                store
                    .update_endpoint(Principal::operator(scope), app, key, change)
                    .await
            };
            let mut ledger = lock(&ledger);
            ledger.endpoints[number].is_busy = false;
            match done {
                Ok(_) => ledger.change_made(number, asked),
                Err(WriteError::Refused(Refusal::NoEndpoint | Refusal::NoApplication)) => {}
                Err(error) => ledger.note(format_args!("e{number}: {asked:?}: {error}")),
            }
        });
    }

    fn delete_app(&mut self) {
        let Some(number) = self.any_app() else { return };
        let key = {
            let mut ledger = lock(&self.ledger);
            ledger.note(format_args!("a{number}: asked to delete"));
            let app = &mut ledger.apps[number];
            app.deletion_asked = true;
            app.is_busy = true;
            app.key.expect("it is there")
        };
        let (store, ledger, scope) = (self.store(), Arc::clone(&self.ledger), self.scope());
        self.running().runtime.spawn(async move {
            let done = store
                .delete_application(Principal::operator(scope), key)
                .await;
            let mut ledger = lock(&ledger);
            ledger.apps[number].is_busy = false;
            if done.is_ok() {
                ledger.app_deleted(number);
            }
        });
    }

    /// Posts a new message to some application.
    pub(super) fn post_new(&mut self) {
        if let Some(app) = self.any_app() {
            self.post_to(app);
        }
    }

    /// Posts a new message to that application.
    pub(super) fn post_to(&mut self, app: usize) {
        let padding = "x".repeat(usize::try_from(self.rng.below(300)).expect("a small number"));
        let is_idempotent = self.rng.chance(60);
        let number = {
            let mut ledger = lock(&self.ledger);
            let number = ledger.posts.len();
            ledger.posts.push(Post::new(
                app,
                Bytes::from(format!("{{\"post\":{number},\"padding\":\"{padding}\"}}")),
                is_idempotent,
                self.machine.clock.now(),
            ));
            number
        };
        self.post(number);
    }

    /// Posts again what was not answered, and sometimes what was.
    pub(super) fn post_again(&mut self) {
        let numbers: Vec<_> = {
            let ledger = lock(&self.ledger);
            let again = |number: &usize| {
                let post = &ledger.posts[*number];
                let app = &ledger.apps[post.app];
                post.is_idempotent
                    && !post.is_busy
                    && !app.deletion_asked
                    && ledger.wall_max.since(post.asked_at) < KEY_USED
            };
            (0..ledger.posts.len()).filter(again).collect()
        };
        if let Some(&number) = self.rng.pick(&numbers) {
            self.post(number);
        }
    }

    fn post(&mut self, number: usize) {
        let (app, new, idempotent) = {
            let mut ledger = lock(&self.ledger);
            ledger.note(format_args!("p{number}: posted"));
            let wall = self.machine.clock.now();
            let post = &mut ledger.posts[number];
            post.is_busy = true;
            post.asked_at = post.asked_at.min(wall);
            let (app, payload, is_idempotent) =
                (post.app, post.payload.clone(), post.is_idempotent);
            let key = ledger.apps[app].key.expect("it is there");
            let idempotent = is_idempotent.then(|| idempotency(number));
            (app, message(key, "order.paid", None, payload), idempotent)
        };
        let (store, ledger, scope) = (self.store(), Arc::clone(&self.ledger), self.scope());
        self.running().runtime.spawn(async move {
            let answer = store.accept(scope, new, idempotent).await;
            let mut ledger = lock(&ledger);
            ledger.posts[number].is_busy = false;
            match answer {
                Ok(Written::Fresh(accepted)) => {
                    let key = accepted.content.0.key;
                    ledger.accepted(number, key, Some(accepted.deliveries));
                }
                Ok(Written::Repeated(answer)) => {
                    let bytes = answer.body.as_ref().try_into().expect("a key");
                    let key = MessageKey::from_u64(u64::from_be_bytes(bytes));
                    ledger.accepted(number, key, None);
                }
                Err(WriteError::Refused(Refusal::NoApplication))
                    if ledger.apps[app].deletion_asked => {}
                Err(error @ WriteError::Refused(_)) => {
                    ledger.violated(format_args!("p{number} was refused: {error}"));
                }
                Err(error) => ledger.note(format_args!("p{number}: {error}")),
            }
        });
    }

    fn replay(&mut self) {
        let (of, asked, app) = {
            let mut ledger = lock(&self.ledger);
            let known = ledger.deliveries_known();
            let Some(&of) = self.rng.pick(&known) else {
                return;
            };
            let asked = ledger.replay_asked(of);
            let mut endpoints = ledger.endpoints.iter();
            let endpoint = endpoints.find(|endpoint| endpoint.key == Some(of.1));
            let app = endpoint.map(|endpoint| endpoint.app);
            let app = app.and_then(|app| ledger.apps[app].key);
            (of, asked, app.expect("a delivery's endpoint is known"))
        };
        let (store, ledger, scope) = (self.store(), Arc::clone(&self.ledger), self.scope());
        self.running().runtime.spawn(async move {
            let answer = store.replay(scope, app, of.0, of.1, None).await;
            match answer {
                Ok(_) => lock(&ledger).replay_answered(of, asked, false),
                Err(WriteError::Refused(_)) => lock(&ledger).replay_answered(of, asked, true),
                Err(WriteError::Store(_)) => {}
            }
        });
    }

    /// Starts a recovery or a backfill.
    fn start_job(&mut self) {
        let Some(number) = self.any_endpoint() else {
            return;
        };
        let kind = if self.rng.chance(70) {
            JobKind::Recovery
        } else {
            JobKind::Backfill
        };
        let rate_per_second = self.rng.chance(30).then(|| self.small(1, 20));
        let (new, asked, endpoint) = {
            let mut ledger = lock(&self.ledger);
            let facts = &ledger.endpoints[number];
            let endpoint = facts.key.expect("it is there");
            let application = ledger.apps[facts.app].key.expect("it is there");
            let new = NewJob {
                application,
                endpoint: Some(endpoint),
                selection: Selection {
                    kind,
                    filter: JobFilter::default(),
                },
                since: Timestamp(0),
                until: None,
                rate_per_second,
            };
            (new, ledger.job_asked(endpoint, kind.name()), endpoint)
        };
        let (store, ledger, scope) = (self.store(), Arc::clone(&self.ledger), self.scope());
        self.running().runtime.spawn(async move {
            let operator = Principal::operator(scope);
            let started = store.start_job(operator, new, None, None).await;
            let refused = matches!(started, Err(WriteError::Refused(_)));
            lock(&ledger).job_answered(endpoint, asked, refused);
        });
    }

    /// Cancels one of the jobs that run.
    fn cancel_job(&mut self) {
        let store = self.store();
        let running = store.running_jobs().unwrap_or_default();
        let Some(job) = self.rng.pick(&running).map(|job| job.key) else {
            return;
        };
        lock(&self.ledger).note(format_args!("job {} asked to end", job.as_u64()));
        let operator = Principal::operator(self.scope());
        self.running().runtime.spawn(async move {
            // However it ends, it makes nothing due that was not allowed to it.
            let _ = store.cancel_job(operator, job, None).await;
        });
    }

    /// Somebody does something.
    pub(super) fn operate(&mut self) {
        match self.rng.below(27) {
            24..=25 => self.start_job(),
            26 => self.cancel_job(),
            0..=1 => {
                let script = script(self);
                self.create_endpoint(script);
            }
            2 => self.change_endpoint(Asked::Deletion),
            3 if self.rng.chance(30) => self.delete_app(),
            4 if self.rng.chance(40) => self.create_app(),
            5..=6 => self.change_endpoint(Asked::Enabled(false)),
            7..=8 => self.change_endpoint(Asked::Enabled(true)),
            9..=10 => self.change_endpoint(Asked::Paused(true)),
            11..=12 => self.change_endpoint(Asked::Paused(false)),
            13 => {
                let limit = self.rng.chance(70).then(|| self.small(1, 30));
                self.change_endpoint(Asked::Rate(limit));
            }
            14 => self.change_endpoint(Asked::Schedule),
            15..=16 => {
                if let Some(number) = self.any_endpoint() {
                    let script = script(self);
                    let mut ledger = lock(&self.ledger);
                    ledger.note(format_args!("e{number}: now {script:?}"));
                    ledger.endpoints[number].script = script;
                }
            }
            _ => self.replay(),
        }
    }
}

/// A key of its own for each post, whose answer is the message's key.
fn idempotency(number: usize) -> Idempotent<Accepted> {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Idempotent {
        hash,
        render: Box::new(|accepted: &Accepted| StoredAnswer {
            status: 202,
            body: Bytes::copy_from_slice(&accepted.content.0.key.as_u64().to_be_bytes()),
        }),
    }
}
