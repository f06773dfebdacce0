//! The store's verbs against a model of maps: whatever is asked for in
//! whatever order, every reading verb answers as the model does.

#![expect(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

mod model;

use std::collections::BTreeSet;
use std::time::Duration;

use hookpost::domain::application::ApplicationChange;
use hookpost::domain::delivery::{Delivery, DeliveryState, Trigger};
use hookpost::domain::endpoint::{EndpointChange, EndpointState, Rotation};
use hookpost::domain::fanout::EventFilter;
use hookpost::domain::ids::{
    ApplicationKey, AttemptKey, EndpointKey, EnvironmentKey, Key as _, MessageKey,
};
use hookpost::domain::message::StoredMessage;
use hookpost::domain::principal::{Principal, Scope};
use hookpost::domain::secret::Secret;
use hookpost::domain::signing::SigningSecret;
use hookpost::domain::time::Timestamp;
use hookpost::seams::clock::Clock as _;
use hookpost::store::{
    Accepted, AttemptFilter, Durability, Idempotent, OutcomeFilter, Refusal, Retention, Store,
    StoredAnswer, Totals, WriteError, Written,
};
use proptest::prelude::*;

use self::model::{Attempt, Endpoint, Message, Model};
use crate::support::store::{Machine, Verb, attempt, message, now_or_pump, record, together};

/// Rows of a page: few, so that there are several pages.
const PAGE_ROWS: usize = 3;
/// Later than anything in a test.
const LATE: Timestamp = Timestamp(u64::MAX);

/// One verb. Numbers choose among what is there; there may be nothing.
#[derive(Clone, Debug)]
enum Op {
    CreateApplication {
        uid: Option<u8>,
    },
    UpdateApplication {
        at: usize,
        uid: Option<u8>,
        name: Option<u8>,
    },
    DeleteApplication {
        at: usize,
    },
    CreateEndpoint {
        application: usize,
        change: Change,
    },
    UpdateEndpoint {
        at: usize,
        change: Change,
    },
    RotateSecret {
        at: usize,
        text: Option<u8>,
        grace_s: u64,
    },
    DeleteEndpoint {
        at: usize,
    },
    Accept {
        application: usize,
        kind: u8,
        uid: Option<u8>,
        channel: Option<u8>,
        key: Option<u8>,
    },
    AcceptFromOutside {
        application: usize,
        scope: usize,
    },
    Attempt {
        endpoint: usize,
        row: usize,
        status: u16,
        retry: bool,
    },
    Replay {
        endpoint: usize,
        message: usize,
    },
    StepClock {
        by_ms: i64,
    },
    OpenAgain,
}

#[derive(Clone, Debug)]
struct Change {
    uid: Option<u8>,
    enabled: Option<bool>,
    filter: Option<u8>,
    /// `Some(None)` clears.
    #[expect(clippy::option_option, reason = "leave, clear, set")]
    channel: Option<Option<u8>>,
    rate_limit: Option<u32>,
    name: Option<u8>,
}

impl Change {
    fn settings(&self) -> EndpointChange {
        let filter = |number: u8| match number {
            0 => Vec::new(),
            1 => vec![EventFilter::parse("order.*").unwrap()],
            _ => vec![EventFilter::parse("user.made").unwrap()],
        };
        EndpointChange {
            url: Some("https://example.com/hook".to_owned()),
            uid: self.uid.map(text),
            name: self.name.map(text),
            enabled: self.enabled,
            event_types: self.filter.map(filter),
            channels: self.channel.map(|one| one.map(text).into_iter().collect()),
            rate_limit: self.rate_limit,
            timeout: self
                .rate_limit
                .map(|limit| Duration::from_millis(limit.into())),
            ..EndpointChange::default()
        }
    }
}

fn text(number: u8) -> String {
    // One is the beginning of the other: a look-up must not mix them up.
    format!("x{}", "-y".repeat(usize::from(number)))
}

fn small() -> impl Strategy<Value = Option<u8>> {
    proptest::option::of(0_u8..4)
}

fn change() -> impl Strategy<Value = Change> {
    let channel = proptest::option::weighted(0.3, proptest::option::of(0_u8..2));
    let enabled = proptest::option::of(any::<bool>());
    let filter = proptest::option::of(0_u8..3);
    let rate_limit = proptest::option::of(1_u32..5);
    (small(), enabled, filter, channel, rate_limit, small()).prop_map(
        |(uid, enabled, filter, channel, rate_limit, name)| Change {
            uid,
            enabled,
            filter,
            channel,
            rate_limit,
            name,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0_usize..8;
    let status = prop_oneof![Just(200), Just(500), Just(0), Just(404), Just(410)];
    let channel = proptest::option::of(0_u8..2);
    prop_oneof![
        2 => small().prop_map(|uid| Op::CreateApplication { uid }),
        1 => (at.clone(), small(), small())
            .prop_map(|(at, uid, name)| Op::UpdateApplication { at, uid, name }),
        1 => at.clone().prop_map(|at| Op::DeleteApplication { at }),
        3 => (at.clone(), change())
            .prop_map(|(application, change)| Op::CreateEndpoint { application, change }),
        2 => (at.clone(), change()).prop_map(|(at, change)| Op::UpdateEndpoint { at, change }),
        2 => (at.clone(), small(), prop_oneof![Just(0), Just(2), Just(600)])
            .prop_map(|(at, text, grace_s)| Op::RotateSecret { at, text, grace_s }),
        1 => at.clone().prop_map(|at| Op::DeleteEndpoint { at }),
        6 => (at.clone(), 0_u8..3, small(), channel, proptest::option::of(0_u8..6))
            .prop_map(|(application, kind, uid, channel, key)| {
                Op::Accept { application, kind, uid, channel, key }
            }),
        1 => (at.clone(), at.clone())
            .prop_map(|(application, scope)| Op::AcceptFromOutside { application, scope }),
        6 => (at.clone(), at.clone(), status, any::<bool>())
            .prop_map(|(endpoint, row, status, retry)| Op::Attempt { endpoint, row, status, retry }),
        2 => (at.clone(), at).prop_map(|(endpoint, message)| Op::Replay { endpoint, message }),
        1 => (-90_000_i64..90_000).prop_map(|by_ms| Op::StepClock { by_ms }),
        1 => Just(Op::OpenAgain),
    ]
}

/// A store and the model of it.
struct Both {
    machine: Machine,
    store: Store,
    model: Model,
}

fn pick<K: Copy, V>(map: &std::collections::BTreeMap<K, V>, at: usize) -> Option<K> {
    map.keys().nth(at % map.len().max(1)).copied()
}

fn fresh<A>(written: Written<A>) -> A {
    match written {
        Written::Fresh(answer) => answer,
        Written::Repeated(answer) => panic!("repeated {answer:?}"),
    }
}

fn refusal<A: std::fmt::Debug>(result: Result<A, WriteError>) -> Refusal {
    match result {
        Err(WriteError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn answer_to(accepted: &Accepted) -> StoredAnswer {
    StoredAnswer {
        status: 202,
        body: format!("{:?}", accepted.content.0.key).into(),
    }
}

fn idempotent(hash: [u8; 32]) -> Idempotent<Accepted> {
    Idempotent {
        hash,
        render: Box::new(answer_to),
    }
}

impl Both {
    fn new() -> Self {
        let machine = Machine::new(1, Durability::Safe);
        let store = machine.open().unwrap();
        Self {
            machine,
            store,
            model: Model::default(),
        }
    }

    fn scope(&self) -> Scope {
        Scope::of_environment(self.store.default_environment())
    }

    fn apply(&mut self, op: Op) -> Option<()> {
        self.machine.clock.advance(Duration::from_millis(700));
        match op {
            Op::CreateApplication { uid } => self.create_application(uid.map(text).as_deref()),
            Op::UpdateApplication { at, uid, name } => {
                let key = pick(&self.model.applications, at)?;
                self.update_application(key, uid.map(text), name.map(text));
            }
            Op::DeleteApplication { at } => {
                let key = pick(&self.model.applications, at)?;
                now_or_pump(
                    &self.store,
                    self.store
                        .delete_application(Principal::operator(self.scope()), key),
                )
                .unwrap();
                assert!(self.store.application(key).unwrap().is_none(), "at once");
                self.sweep();
                self.model.delete_application(key);
            }
            Op::CreateEndpoint {
                application,
                change,
            } => {
                let application = pick(&self.model.applications, application)?;
                self.create_endpoint(application, &change);
            }
            Op::UpdateEndpoint { at, change } => {
                let key = pick(&self.model.endpoints, at)?;
                self.update_endpoint(key, &change);
            }
            Op::RotateSecret { at, text, grace_s } => {
                let key = pick(&self.model.endpoints, at)?;
                self.rotate_secret(
                    key,
                    text.map(self::text).as_ref(),
                    Duration::from_secs(grace_s),
                );
            }
            Op::DeleteEndpoint { at } => {
                let key = pick(&self.model.endpoints, at)?;
                let owner = self.model.endpoints[&key].application;
                let deleted =
                    self.store
                        .delete_endpoint(Principal::operator(self.scope()), owner, key);
                now_or_pump(&self.store, deleted).unwrap();
                assert!(self.store.live_endpoint(key).unwrap().is_none(), "at once");
                self.sweep();
                self.model.delete_endpoint(key);
            }
            Op::Accept {
                application,
                kind,
                uid,
                channel,
                key,
            } => {
                let application = pick(&self.model.applications, application)?;
                self.accept(application, kind, uid.map(text), channel.map(text), key);
            }
            Op::AcceptFromOutside { application, scope } => {
                let application = pick(&self.model.applications, application)?;
                let other = pick(&self.model.applications, scope)?;
                self.accept_from_outside(application, other);
            }
            Op::Attempt {
                endpoint,
                row,
                status,
                retry,
            } => {
                let endpoint = pick(&self.model.endpoints, endpoint)?;
                self.attempt(endpoint, row, status, retry)?;
            }
            Op::Replay { endpoint, message } => {
                let endpoint = pick(&self.model.endpoints, endpoint)?;
                let message = pick(&self.model.messages, message)?;
                self.replay(endpoint, message);
            }
            Op::StepClock { by_ms } => {
                let now = self.machine.clock.now().0;
                self.machine
                    .clock
                    .set_wall(Timestamp(now.saturating_add_signed(by_ms)));
            }
            Op::OpenAgain => {
                self.store.close();
                self.store = self.machine.open().unwrap();
            }
        }
        Some(())
    }

    fn sweep(&self) {
        while now_or_pump(&self.store, self.store.sweep()).unwrap() {}
    }

    fn create_application(&mut self, uid: Option<&str>) {
        let env = self.store.default_environment();
        let made =
            self.store
                .create_application(env, "new".to_owned(), uid.map(str::to_owned), None);
        let made = now_or_pump(&self.store, made);
        if self.model.application_uid_is_taken(uid, None) {
            assert_eq!(refusal(made), Refusal::UidTaken);
            return;
        }
        let made = fresh(made.unwrap());
        assert_eq!((made.name.as_str(), made.uid.as_deref()), ("new", uid));
        assert_eq!(made.created, self.machine.clock.now());
        self.model.applications.insert(made.key, made);
    }

    fn update_application(
        &mut self,
        key: ApplicationKey,
        uid: Option<String>,
        name: Option<String>,
    ) {
        let change = ApplicationChange {
            name: name.clone(),
            uid: uid.clone(),
        };
        let changed = self.store.update_application(self.scope(), key, change);
        let changed = now_or_pump(&self.store, changed);
        if self
            .model
            .application_uid_is_taken(uid.as_deref(), Some(key))
        {
            assert_eq!(refusal(changed), Refusal::UidTaken);
            return;
        }
        let application = self.model.applications.get_mut(&key).unwrap();
        application.name = name.unwrap_or(application.name.clone());
        application.uid = uid.or(application.uid.take());
        application.updated = self.machine.clock.now();
        assert_eq!(&changed.unwrap(), application);
    }

    fn create_endpoint(&mut self, application: ApplicationKey, change: &Change) {
        let settings = change.settings();
        let made = self
            .store
            .create_endpoint(self.scope(), application, settings.clone(), None);
        let made = now_or_pump(&self.store, made);
        if self
            .model
            .endpoint_uid_is_taken(application, settings.uid.as_deref(), None)
        {
            assert_eq!(refusal(made), Refusal::UidTaken);
            return;
        }
        let key = fresh(made.unwrap()).settings.key;
        let endpoint = Endpoint {
            application,
            settings,
            state: EndpointState::default(),
            secrets: vec![(None, None)],
        };
        self.model.endpoints.insert(key, endpoint);
        self.model.told.push("endpoint.created");
    }

    fn update_endpoint(&mut self, key: EndpointKey, change: &Change) {
        let application = self.model.endpoints[&key].application;
        let settings = change.settings();
        let changed = self.store.update_endpoint(
            Principal::operator(self.scope()),
            application,
            key,
            settings.clone(),
        );
        let changed = now_or_pump(&self.store, changed);
        if self
            .model
            .endpoint_uid_is_taken(application, settings.uid.as_deref(), Some(key))
        {
            assert_eq!(refusal(changed), Refusal::UidTaken);
            return;
        }
        changed.unwrap();
        let now = self.machine.clock.now();
        self.model.change_endpoint(key, settings, now);
    }

    fn rotate_secret(&mut self, key: EndpointKey, text: Option<&String>, grace: Duration) {
        let application = self.model.endpoints[&key].application;
        let rotation = Rotation {
            secret: text.map(|text| SigningSecret::parse(text).unwrap()),
            grace,
        };
        let caller = Principal::operator(self.scope());
        let rotated = self
            .store
            .rotate_secret(caller, application, key, rotation, None);
        let rotated = now_or_pump(&self.store, rotated);
        let now = self.machine.clock.now();
        if self.model.rotate_secret(key, text, now, grace) {
            rotated.unwrap();
        } else {
            assert_eq!(refusal(rotated), Refusal::TooManySecrets);
        }
    }

    fn accept(
        &mut self,
        application: ApplicationKey,
        kind: u8,
        uid: Option<String>,
        channel: Option<String>,
        key: Option<u8>,
    ) {
        let event_type = ["order.paid", "user.made", "order.paid.late"][usize::from(kind)];
        let payload = format!("payload of {event_type}, {uid:?}");
        let mut new = message(application, event_type, uid.as_deref(), payload.clone());
        new.channels = channel.into_iter().collect();
        let wanting = self.model.wanting(application, event_type, &new.channels);
        let accepted = self
            .store
            .accept(self.scope(), new, key.map(|key| idempotent([key; 32])));
        let written = now_or_pump(&self.store, accepted).unwrap();
        if let Some(known) = key.and_then(|key| self.model.answers.get(&key)) {
            assert!(matches!(&written, Written::Repeated(answer) if answer == known));
            return;
        }
        let accepted = fresh(written);
        assert_eq!(accepted.deliveries, wanting.len());
        let made = accepted.content.0.key;
        assert!(
            self.model.messages.keys().all(|known| *known < made),
            "keys only grow"
        );
        if let Some(key) = key {
            self.model.answers.insert(key, answer_to(&accepted));
        }
        let due = self.machine.clock.now();
        for endpoint in wanting {
            let delivery = Delivery::new(due, Trigger::Scheduled);
            self.model.deliveries.insert((made, endpoint), delivery);
        }
        let message = Message {
            application,
            uid,
            payload: payload.into(),
        };
        self.model.messages.insert(made, message);
    }

    /// Another environment's key, and another application's.
    fn accept_from_outside(&self, application: ApplicationKey, other: ApplicationKey) {
        let environment = EnvironmentKey::from_u64(1);
        let mut scopes = vec![Scope::of_environment(environment)];
        if other != application {
            scopes.push(Scope {
                application: Some(other),
                ..self.scope()
            });
        }
        let id = self.store.ids().text(application);
        for scope in scopes {
            let new = message(application, "order.paid", None, "x");
            let accepted = now_or_pump(&self.store, self.store.accept(scope, new, None));
            assert_eq!(refusal(accepted), Refusal::NoApplication);
            let deleted = self
                .store
                .delete_application(Principal::operator(scope), application);
            assert_eq!(
                refusal(now_or_pump(&self.store, deleted)),
                Refusal::NoApplication
            );
            assert!(self.store.find_application(scope, &id).unwrap().is_none());
        }
    }

    fn attempt(
        &mut self,
        endpoint: EndpointKey,
        row: usize,
        status: u16,
        retry: bool,
    ) -> Option<()> {
        let due = self.model.due(endpoint);
        let (at, key, trigger) = *due.get(row % due.len().max(1))?;
        let application = self.model.endpoints[&endpoint].application;
        let took = (at, trigger);
        let made = attempt(application, endpoint, key, at, trigger, status);
        let retry_at = retry.then(|| self.machine.clock.now().plus(Duration::from_secs(5)));
        let recorded = record(&self.store, made, took, retry_at, 10);
        let recorded = now_or_pump(&self.store, recorded).unwrap();
        let page = self
            .store
            .endpoint_attempts(endpoint, &AttemptFilter::default(), None, 1);
        let newest = page.unwrap().attempts[0].key;
        let delivered = status == 200;
        let made = Attempt {
            endpoint,
            message: key,
            status,
            delivered,
        };
        self.model.attempted(newest, made, took, retry_at);
        let waiting = self.model.deliveries[&(key, endpoint)].waiting();
        assert_eq!(recorded.next, waiting);
        Some(())
    }

    fn replay(&mut self, endpoint: EndpointKey, message: MessageKey) {
        let owner = &self.model.endpoints[&endpoint];
        let application = owner.application;
        let replayed = self
            .store
            .replay(self.scope(), application, message, endpoint, None);
        let replayed = now_or_pump(&self.store, replayed);
        if !owner.takes_messages() {
            assert_eq!(refusal(replayed), Refusal::EndpointDisabled);
            return;
        }
        if self.model.messages[&message].application != application {
            assert_eq!(refusal(replayed), Refusal::NoMessage);
            return;
        }
        let replayed = fresh(replayed.unwrap());
        let now = self.machine.clock.now();
        let known = self.model.deliveries.get(&(message, endpoint));
        let mut want = known.cloned().unwrap_or_else(|| Delivery {
            retries_used: replayed.retries_used,
            ..Delivery::new(now, Trigger::Manual)
        });
        want.state = DeliveryState::Waiting {
            due: now,
            trigger: Trigger::Manual,
        };
        assert_eq!(replayed, want);
        self.model.deliveries.insert((message, endpoint), want);
    }
}

/// Every reading verb.
impl Both {
    fn compare(&self) {
        self.compare_applications();
        self.compare_endpoints();
        self.compare_messages();
        self.compare_attempts();
        let told = self.operational_events();
        let types: Vec<_> = told.iter().map(|event| &event.message.event_type).collect();
        assert_eq!(types, self.model.told.iter().collect::<Vec<_>>());
        assert_eq!(self.totals(), self.model.totals());
        let report = self.store.check().unwrap();
        assert!(report.is_sound(), "{:#?}", report.problems);
    }

    /// Oldest first.
    fn operational_events(&self) -> Vec<StoredMessage> {
        let environment = self.store.catalog().environments()[0].clone();
        let page = self
            .store
            .list_messages(environment.operational, None, usize::MAX - 1);
        let mut events = page.unwrap().messages;
        events.reverse();
        events
    }

    /// What the store counts, without the operational events: the model does
    /// not know of those.
    fn totals(&self) -> Totals {
        let mut totals = self.store.figures().unwrap().totals;
        for event in self.operational_events() {
            totals.messages -= 1;
            totals.payload_bytes -= event.payload.map_or(0, |bytes| bytes.len() as u64);
        }
        totals
    }

    fn compare_applications(&self) {
        let (store, scope) = (&self.store, self.scope());
        let want: Vec<_> = self.model.applications.values().cloned().collect();
        let mut got = Vec::new();
        for skip in (0..=want.len()).step_by(PAGE_ROWS) {
            got.extend(store.list_applications(scope, skip, PAGE_ROWS).unwrap());
        }
        assert_eq!(got, want);
        for application in &want {
            let id = store.ids().text(application.key);
            let found = store.find_application(scope, &id).unwrap().unwrap();
            assert_eq!(&found.application, application);
        }
        for uid in (0..4).map(text) {
            let want = want.iter().find(|one| one.uid.as_ref() == Some(&uid));
            let found = store.find_application(scope, &uid).unwrap();
            assert_eq!(found.map(|found| found.application.clone()).as_ref(), want);
        }
    }

    fn compare_endpoints(&self) {
        for key in self.model.applications.keys() {
            let entry = self.store.application(*key).unwrap().unwrap();
            let want: Vec<_> = self
                .model
                .endpoints
                .iter()
                .filter(|(_, one)| one.application == *key)
                .collect();
            let got: Vec<_> = entry
                .endpoints
                .iter()
                .map(|live| live.settings.key)
                .collect();
            assert_eq!(got, want.iter().map(|(key, _)| **key).collect::<Vec<_>>());
            for (key, endpoint) in &want {
                let found = self
                    .store
                    .find_endpoint(&entry, &self.store.ids().text(**key));
                let found = found.unwrap().unwrap();
                let (got, want) = (&found.settings, &endpoint.settings);
                assert_eq!(found.state, endpoint.state);
                let ends: Vec<_> = got.secrets.iter().map(|of| of.expires).collect();
                let want_ends: Vec<_> = endpoint.secrets.iter().map(|(_, end)| *end).collect();
                assert_eq!(ends, want_ends);
                for (of, (text, _)) in got.secrets.iter().zip(&endpoint.secrets) {
                    let stored = of.secret.text().expose();
                    assert!(text.as_ref().is_none_or(|text| text == stored));
                }
                assert_eq!(got.name, want.name.clone().unwrap_or_default());
                assert_eq!(got.uid, want.uid);
                assert_eq!(got.enabled, want.enabled != Some(false));
                assert_eq!(
                    got.event_types,
                    want.event_types.clone().unwrap_or_default()
                );
                assert_eq!(got.channels, want.channels.clone().unwrap_or_default());
                assert_eq!(
                    (got.rate_limit, got.timeout),
                    (want.rate_limit, want.timeout)
                );
            }
            for uid in (0..4).map(text) {
                let want = want
                    .iter()
                    .find(|(_, one)| one.settings.uid.as_ref() == Some(&uid));
                let found = self.store.find_endpoint(&entry, &uid).unwrap();
                assert_eq!(
                    found.map(|found| found.settings.key),
                    want.map(|(key, _)| **key)
                );
            }
        }
        self.compare_due();
    }

    fn compare_due(&self) {
        let mut want_endpoints = Vec::new();
        let now = self.machine.clock.now();
        let all: BTreeSet<_> = self.model.deliveries.keys().map(|(_, key)| *key).collect();
        for endpoint in all {
            let want = self.model.due(endpoint);
            want_endpoints.extend(want.first().map(|(due, ..)| (endpoint, *due)));
            let split = want.partition_point(|(due, ..)| *due <= now);
            let (rows, next) = self.store.due_rows(endpoint, now, 100, |_| false).unwrap();
            let got: Vec<_> = rows
                .iter()
                .map(|row| (row.due, row.message, row.trigger))
                .collect();
            assert_eq!(got, want[..split]);
            assert_eq!(next, want.get(split).map(|(due, ..)| *due));
            let first = want.first().map(|(_, message, _)| *message);
            let skip = |message| Some(message) == first;
            let (rows, next) = self.store.due_rows(endpoint, LATE, 1, skip).unwrap();
            assert_eq!(
                rows.first().map(|row| row.message),
                want.get(1).map(|(_, key, _)| *key)
            );
            assert_eq!(next, want.get(2).map(|(due, ..)| *due));
        }
        let mut got = Vec::new();
        loop {
            let after = got.last().map(|(key, _)| *key);
            let page = self.store.due_endpoints(after, 2).unwrap();
            got.extend_from_slice(&page);
            if page.len() < 2 {
                break;
            }
        }
        assert_eq!(got, want_endpoints);
    }

    fn compare_messages(&self) {
        let store = &self.store;
        for application in self.model.applications.keys() {
            let mine = |message: &Message| message.application == *application;
            let mut want: Vec<_> = self
                .model
                .messages
                .iter()
                .filter(|(_, one)| mine(one))
                .collect();
            want.reverse();
            let mut got = Vec::new();
            loop {
                let before = got.last().map(|(key, _)| *key);
                let page = store
                    .list_messages(*application, before, PAGE_ROWS)
                    .unwrap();
                got.extend(
                    page.messages
                        .into_iter()
                        .map(|one| (one.message.key, one.payload)),
                );
                if !page.more {
                    break;
                }
            }
            let pairs: Vec<_> = want
                .iter()
                .map(|(key, one)| (**key, Some(one.payload.clone())))
                .collect();
            assert_eq!(got, pairs);
            for uid in (0..4).map(text) {
                let newest = want.iter().find(|(_, one)| one.uid.as_ref() == Some(&uid));
                let found = store.find_message(*application, &uid).unwrap();
                assert_eq!(
                    found.map(|one| one.message.key),
                    newest.map(|(key, _)| **key)
                );
            }
            for (key, message) in &self.model.messages {
                let found = store
                    .find_message(*application, &store.ids().text(*key))
                    .unwrap();
                assert_eq!(
                    found.is_some(),
                    mine(message),
                    "only of its own application"
                );
            }
        }
        for key in self.model.messages.keys() {
            let range = (*key, EndpointKey::from_u64(0))..=(*key, EndpointKey::from_u64(u64::MAX));
            let deliveries = self.model.deliveries.range(range);
            let want: Vec<_> = deliveries
                .map(|((_, endpoint), delivery)| (*endpoint, delivery.clone()))
                .collect();
            assert_eq!(store.deliveries(*key).unwrap(), want);
        }
    }

    fn compare_attempts(&self) {
        let filter = |outcome, status_class| AttemptFilter {
            outcome,
            status_class,
            ..AttemptFilter::default()
        };
        let filters = [
            filter(None, None),
            filter(Some(OutcomeFilter::Delivered), None),
            filter(Some(OutcomeFilter::Failed), None),
            filter(None, Some(0)),
            filter(Some(OutcomeFilter::Failed), Some(400)),
        ];
        let endpoints: BTreeSet<_> = self
            .model
            .attempts
            .values()
            .map(|one| one.endpoint)
            .collect();
        let accepts = |filter: &AttemptFilter, one: &Attempt| {
            let outcome = filter
                .outcome
                .is_none_or(|wanted| (wanted == OutcomeFilter::Delivered) == one.delivered);
            let class = filter.status_class;
            outcome && class.is_none_or(|class| one.status / 100 * 100 == class)
        };
        for filter in &filters {
            for endpoint in &endpoints {
                let attempts = self.model.attempts.iter().rev();
                let want: Vec<_> = attempts
                    .filter(|(_, one)| one.endpoint == *endpoint && accepts(filter, one))
                    .map(|(key, _)| *key)
                    .collect();
                let got = pages(|before| {
                    self.store
                        .endpoint_attempts(*endpoint, filter, before, 2)
                        .unwrap()
                });
                assert_eq!(got, want, "{filter:?}");
            }
            for message in self.model.messages.keys() {
                let attempts = self.model.attempts.iter().rev();
                let want: Vec<_> = attempts
                    .filter(|(_, one)| one.message == *message && accepts(filter, one))
                    .map(|(key, _)| *key)
                    .collect();
                let got = pages(|before| {
                    self.store
                        .message_attempts(*message, filter, before, 2)
                        .unwrap()
                });
                assert_eq!(got, want, "{filter:?}");
            }
        }
    }
}

fn pages(
    mut page: impl FnMut(Option<AttemptKey>) -> hookpost::store::AttemptPage,
) -> Vec<AttemptKey> {
    let mut keys = Vec::new();
    let mut before = None;
    loop {
        let found = page(before);
        keys.extend(found.attempts.iter().map(|one| one.key));
        if found.next.is_none() {
            return keys;
        }
        before = found.next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_its_model_does(ops in proptest::collection::vec(op(), 1..50)) {
        let mut both = Both::new();
        for op in ops {
            both.apply(op);
            both.compare();
        }
    }
}

/// An application with one endpoint.
fn pair(both: &mut Both) -> (ApplicationKey, EndpointKey) {
    both.create_application(None);
    let application = *both.model.applications.keys().next_back().unwrap();
    let change = Change {
        uid: None,
        enabled: None,
        filter: None,
        channel: None,
        rate_limit: None,
        name: None,
    };
    both.create_endpoint(application, &change);
    (
        application,
        *both.model.endpoints.keys().next_back().unwrap(),
    )
}

#[test]
fn a_message_is_due_at_once_though_the_clock_stepped_back() {
    let mut both = Both::new();
    let (application, endpoint) = pair(&mut both);
    both.machine.clock.set_wall(Timestamp(1_000));
    both.accept(application, 0, None, None, None);
    let now = both.machine.clock.now();
    let (rows, _) = both.store.due_rows(endpoint, now, 10, |_| false).unwrap();
    assert_eq!(rows.len(), 1);
}

#[test]
fn an_idempotency_key_used_again_after_its_day_keeps_its_new_answer() {
    let mut both = Both::new();
    let (application, _) = pair(&mut both);
    let day = Duration::from_hours(24);
    let retention = Retention {
        payloads: day * 90,
        attempts: day * 90,
        bytes_max: None,
    };
    both.accept(application, 0, None, None, Some(1));
    both.machine.clock.advance(day);
    both.model.answers.clear();
    both.accept(application, 0, None, None, Some(1));
    let retired = now_or_pump(&both.store, both.store.retire(retention, None)).unwrap();
    assert_eq!(retired.answers, 0);
    both.accept(application, 0, None, None, Some(1));
    both.compare();
    both.machine.clock.advance(day);
    let retired = now_or_pump(&both.store, both.store.retire(retention, None)).unwrap();
    assert_eq!(retired.answers, 1);
    assert_eq!(both.store.check().unwrap().answers, 0);
}

#[test]
fn a_repeated_request_in_the_same_commit_has_one_effect_and_one_answer() {
    let mut both = Both::new();
    let (application, _) = pair(&mut both);
    let accepts = (0..2).map(|_| {
        let new = message(application, "order.paid", None, "x");
        let accepted = both
            .store
            .accept(both.scope(), new, Some(idempotent([1; 32])));
        Box::pin(accepted) as Verb<'_, _>
    });
    let mut written: Vec<Result<_, WriteError>> =
        together(&both.store, accepts.collect::<Vec<_>>());
    let second = written.pop().unwrap().unwrap();
    let first = fresh(written.pop().unwrap().unwrap());
    assert!(matches!(second, Written::Repeated(answer) if answer == answer_to(&first)));
    assert_eq!(both.totals().messages, 1);
}

#[test]
fn sweeping_an_application_leaves_none_of_many_endpoints() {
    let mut both = Both::new();
    let env = both.store.default_environment();
    let made = both
        .store
        .create_application(env, "wide".to_owned(), None, None);
    let application = fresh(now_or_pump(&both.store, made).unwrap()).key;
    let creates = (0..1_100).map(|_| {
        let settings = EndpointChange::default();
        let made = both
            .store
            .create_endpoint(both.scope(), application, settings, None);
        Box::pin(made) as Verb<'_, _>
    });
    together(&both.store, creates.collect::<Vec<_>>());
    both.model.told = vec!["endpoint.created"; 1_100];
    assert_eq!(both.store.check().unwrap().endpoints, 1_100);
    now_or_pump(
        &both.store,
        both.store
            .delete_application(Principal::operator(both.scope()), application),
    )
    .unwrap();
    both.sweep();
    assert_eq!(both.store.check().unwrap().endpoints, 0);
    both.compare();
}

#[test]
fn a_pass_of_retention_forgets_all_attempts_that_are_too_old() {
    let mut both = Both::new();
    let (application, endpoint) = pair(&mut both);
    both.accept(application, 0, None, None, None);
    for _ in 0..1_200 {
        both.attempt(endpoint, 0, 500, true).unwrap();
    }
    both.machine.clock.advance(Duration::from_hours(2));
    let hour = Duration::from_hours(1);
    let retention = Retention {
        payloads: hour,
        attempts: hour,
        bytes_max: None,
    };
    let mut from = None;
    for _ in 0..20 {
        let retired = now_or_pump(&both.store, both.store.retire(retention, from)).unwrap();
        from = retired.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(both.store.figures().unwrap().totals.attempts, 0);
    assert_eq!(both.totals().messages, 1, "it still waits");
    let report = both.store.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
}

#[test]
fn an_api_key_changed_twice_in_one_commit_leaves_no_old_text_that_works() {
    let both = Both::new();
    let env = both.store.default_environment();
    let texts: Vec<_> = (0..4)
        .map(|n| Secret::new(format!("hookpost_{n}")))
        .collect();
    let works = |store: &Store| -> Vec<bool> {
        let hash = |text: &Secret| hookpost::domain::api_key::hash(text.expose());
        texts
            .iter()
            .map(|text| store.catalog().api_key(&hash(text)).is_some())
            .collect()
    };
    let made = both.store.create_api_key(env, "ci".to_owned(), &texts[0]);
    let key = now_or_pump(&both.store, made).unwrap().key;
    let operator = Principal::operator(Scope::of_environment(env));
    let rotate = |text| {
        let rotated = both.store.rotate_api_key(operator, key, text, None);
        async { rotated.await.map(|_| ()) }
    };
    let create = |name: &str| {
        let made = both.store.create_api_key(env, name.to_owned(), &texts[0]);
        async { made.await.map(|_| ()) }
    };
    let mut rotations: Vec<Verb<'_, _>> = Vec::new();
    for text in &texts[1..3] {
        rotations.push(Box::pin(rotate(text)));
    }
    together(&both.store, rotations);
    assert_eq!(works(&both.store), [false, false, true, false]);
    let last: Vec<Verb<'_, _>> = vec![
        Box::pin(rotate(&texts[3])),
        Box::pin(async {
            let revoked = both.store.revoke_api_key(operator, key).await;
            revoked.map(|_| ())
        }),
        Box::pin(create("a")),
        Box::pin(create("b")),
    ];
    together(&both.store, last);
    assert_eq!(works(&both.store), [true, false, false, false]);
    assert_eq!(both.store.catalog().api_keys().len(), 1);
    both.store.close();
    let again = both.machine.open().unwrap();
    assert_eq!(works(&again), [true, false, false, false]);
}

#[test]
fn deleting_an_endpoint_does_not_undo_what_was_delivered() {
    let mut both = Both::new();
    let (application, endpoint) = pair(&mut both);
    both.accept(application, 0, None, None, None);
    both.attempt(endpoint, 0, 200, false).unwrap();
    let message = *both.model.messages.keys().next().unwrap();
    both.replay(endpoint, message);
    both.apply(Op::DeleteEndpoint { at: 0 }).unwrap();
    both.compare();
    assert_eq!(
        both.store.deliveries(message).unwrap()[0].1.state,
        DeliveryState::Delivered
    );
}
