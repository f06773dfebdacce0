//! Random verbs of the store, chosen by what is in it.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use hookpost::domain::application::Application;
use hookpost::domain::delivery::Trigger;
use hookpost::domain::endpoint::{CustomHeader, EndpointChange};
use hookpost::domain::fanout::EventFilter;
use hookpost::domain::ids::{ApplicationKey, EndpointKey, EnvironmentKey, MessageKey};
use hookpost::domain::inbox::InboxChange;
use hookpost::domain::message::NewMessage;
use hookpost::domain::principal::{Principal, Scope};
use hookpost::domain::secret::Secret;
use hookpost::domain::time::Timestamp;
use hookpost::seams::clock::Clock as _;
use hookpost::store::{
    Accepted, Idempotent, NewReceived, Retention, Store, StoredAnswer, WriteError, Written,
};

use crate::support::clock::{START, SimClock};
use crate::support::entropy::Rng;
use crate::support::store::{attempt, message, record};

/// Operations of one commit at most.
const OPS_MAX: u64 = 4;
/// Payloads are mostly small; now and then one fills several pages.
const PAYLOAD_BYTES_MAX: u64 = 20_000;

/// One verb with its arguments.
#[derive(Clone, Debug)]
pub(super) enum Op {
    CreateApplication {
        uid: Option<String>,
    },
    DeleteApplication {
        application: ApplicationKey,
    },
    CreateEndpoint {
        application: ApplicationKey,
        filter: Option<&'static str>,
        uid: Option<String>,
    },
    EnableEndpoint {
        application: ApplicationKey,
        endpoint: EndpointKey,
        enabled: bool,
    },
    DeleteEndpoint {
        application: ApplicationKey,
        endpoint: EndpointKey,
    },
    Accept {
        message: NewMessage,
        idempotency_key: Option<u8>,
    },
    Record {
        application: ApplicationKey,
        endpoint: EndpointKey,
        message: MessageKey,
        took: (Timestamp, Trigger),
        status: u16,
        retry_at: Option<Timestamp>,
    },
    Replay {
        application: ApplicationKey,
        endpoint: EndpointKey,
        message: MessageKey,
    },
    Sweep,
    Retire {
        retention: Retention,
    },
    CreateInbox {
        token: String,
    },
    Receive {
        token: String,
        body: Vec<u8>,
    },
    EmptyInbox {
        token: String,
        delete: bool,
    },
    CreateApiKey {
        text: String,
    },
    Environment(EnvironmentOp),
}

#[derive(Clone, Debug)]
pub(super) enum EnvironmentOp {
    Create {
        name: String,
    },
    /// Makes an application in it.
    Furnish(EnvironmentKey),
    Delete(EnvironmentKey),
}

/// What a verb answered, in words to compare.
#[derive(Debug)]
#[expect(dead_code, reason = "the words are compared through Debug")]
pub(super) struct Done {
    pub(super) words: String,
    /// The message that an accept made.
    pub(super) message: Option<MessageKey>,
}

impl Done {
    fn of(answer: &impl std::fmt::Debug) -> Self {
        Self {
            words: format!("{answer:?}"),
            message: None,
        }
    }
}

/// Where the script's clock stands at its commit of this number: mostly
/// forward, now and then a step back.
pub(super) fn moment(number: u64) -> Timestamp {
    let back = if number % 5 == 4 { 90_000 } else { 0 };
    Timestamp(START.0 + 3_600_000 + number * 30_000 - back)
}

/// The operations of the next commit; moves the clock a little.
pub(super) fn generate(store: &Store, clock: &SimClock, rng: &mut Rng) -> Vec<Op> {
    let scope = Scope::of_environment(store.default_environment());
    let applications = store
        .list_applications(scope, 0, 100)
        .expect("the twin reads");
    if rng.chance(5) {
        clock.set_wall(Timestamp(clock.now().0 - rng.below(60_000)));
    } else {
        clock.advance(Duration::from_millis(rng.below(20_000)));
    }
    let now = clock.now();
    let mut ops: Vec<Op> = Vec::new();
    for _ in 0..=rng.below(OPS_MAX) {
        ops.extend(one(store, &applications, now, rng));
    }
    // A token is made once: they are random outside of tests.
    let mut made = BTreeSet::new();
    ops.retain(|op| match op {
        Op::CreateInbox { token } => made.insert(token.clone()),
        _ => true,
    });
    ops
}

fn one(store: &Store, applications: &[Application], now: Timestamp, rng: &mut Rng) -> Option<Op> {
    let kind = if applications.len() < 2 {
        0
    } else {
        rng.below(100)
    };
    match kind {
        0..6 => Some(Op::CreateApplication { uid: uid(rng) }),
        92.. => Some(rare(store, applications, now, rng)),
        _ => on_application(store, rng.pick(applications)?.key, now, rng),
    }
}

fn rare(store: &Store, applications: &[Application], now: Timestamp, rng: &mut Rng) -> Op {
    let token = format!("token-{}", rng.below(3));
    let has_inbox = store.inbox(&token).expect("the twin reads").is_some();
    match rng.below(8) {
        6.. => on_environments(store, rng),
        0 if applications.len() > 2 => Op::DeleteApplication {
            application: applications[0].key,
        },
        0 | 1 => Op::Sweep,
        2 if now.0.is_multiple_of(3) => Op::Retire {
            retention: Retention {
                payloads: Duration::from_mins(1),
                attempts: Duration::from_mins(2),
                bytes_max: rng.chance(30).then_some(50_000),
            },
        },
        3 => Op::CreateApiKey {
            text: format!("hookpost_{}", rng.below(4)),
        },
        _ if has_inbox && rng.chance(10) => Op::EmptyInbox {
            token,
            delete: rng.chance(50),
        },
        _ if has_inbox => Op::Receive {
            token,
            body: payload(rng),
        },
        _ => Op::CreateInbox { token },
    }
}

fn on_environments(store: &Store, rng: &mut Rng) -> Op {
    let mut others = store.catalog().environments();
    others.retain(|other| other.key != store.default_environment());
    Op::Environment(match (rng.below(3), rng.pick(&others)) {
        (0, Some(one)) => EnvironmentOp::Delete(one.key),
        (1, Some(one)) => EnvironmentOp::Furnish(one.key),
        _ => EnvironmentOp::Create {
            name: format!("environment {}", rng.below(3)),
        },
    })
}

fn on_application(
    store: &Store,
    application: ApplicationKey,
    now: Timestamp,
    rng: &mut Rng,
) -> Option<Op> {
    let entry = store.application(application).expect("the twin reads")?;
    let keys: Vec<_> = entry
        .endpoints
        .iter()
        .map(|live| live.settings.key)
        .collect();
    let endpoint = rng.pick(&keys).copied();
    let kind = if keys.len() < 2 { 0 } else { rng.below(100) };
    match (kind, endpoint) {
        (0..8, _) | (_, None) => Some(Op::CreateEndpoint {
            application,
            filter: *rng.pick(&[None, Some("order.*"), Some("user.made")])?,
            uid: uid(rng),
        }),
        (8..12, Some(endpoint)) => Some(Op::EnableEndpoint {
            application,
            endpoint,
            enabled: rng.chance(70),
        }),
        (12..14, Some(endpoint)) => Some(Op::DeleteEndpoint {
            application,
            endpoint,
        }),
        (14..55, _) => Some(accept(application, rng)),
        (55..85, Some(endpoint)) => recorded(store, application, endpoint, now, rng),
        (_, Some(endpoint)) => {
            let page = store
                .list_messages(application, None, 10)
                .expect("the twin reads");
            Some(Op::Replay {
                application,
                endpoint,
                message: rng.pick(&page.messages)?.message.key,
            })
        }
    }
}

fn uid(rng: &mut Rng) -> Option<String> {
    rng.chance(50).then(|| format!("uid-{}", rng.below(6)))
}

fn payload(rng: &mut Rng) -> Vec<u8> {
    let most = if rng.chance(10) {
        PAYLOAD_BYTES_MAX
    } else {
        200
    };
    let filler = format!("{:016x}", rng.next());
    let count = usize::try_from(rng.below(most) / 16 + 1).expect("small");
    filler.repeat(count).into_bytes()
}

fn accept(application: ApplicationKey, rng: &mut Rng) -> Op {
    let event_type = *rng.pick(&["order.paid", "user.made"]).expect("not empty");
    let uid = uid(rng);
    Op::Accept {
        message: message(application, event_type, uid.as_deref(), payload(rng)),
        idempotency_key: rng
            .chance(40)
            .then(|| u8::try_from(rng.below(20)).expect("small")),
    }
}

fn recorded(
    store: &Store,
    application: ApplicationKey,
    endpoint: EndpointKey,
    now: Timestamp,
    rng: &mut Rng,
) -> Option<Op> {
    let late = Timestamp(u64::MAX);
    let (rows, _) = store
        .due_rows(endpoint, late, 10, |_| false)
        .expect("the twin reads");
    let row = rng.pick(&rows)?;
    Some(Op::Record {
        application,
        endpoint,
        message: row.message,
        took: (row.due, row.trigger),
        status: *rng.pick(&[200, 204, 500, 503, 0, 410])?,
        retry_at: rng
            .chance(70)
            .then(|| now.plus(Duration::from_secs(1 + rng.below(100)))),
    })
}

type Submitted<'a> = Pin<Box<dyn Future<Output = Result<Done, WriteError>> + 'a>>;

fn settings(filter: Option<&str>, uid: Option<&String>) -> EndpointChange {
    let filters = filter
        .iter()
        .map(|text| EventFilter::parse(text).expect("a filter"));
    EndpointChange {
        url: Some("https://example.com/hook".to_owned()),
        uid: uid.cloned(),
        event_types: Some(filters.collect()),
        headers: Some(vec![CustomHeader {
            name: "authorization".to_owned(),
            value: Secret::new("Bearer canary"),
        }]),
        ..EndpointChange::default()
    }
}

fn idempotent(key: u8) -> Idempotent<Accepted> {
    Idempotent {
        hash: [key; 32],
        render: Box::new(|accepted| StoredAnswer {
            status: 202,
            body: format!("{:?}", accepted.content.0).into(),
        }),
    }
}

/// Hands `op` to the store.
pub(super) fn submit<'a>(store: &'a Store, env: EnvironmentKey, op: &Op) -> Submitted<'a> {
    let scope = Scope::of_environment(env);
    let op = op.clone();
    Box::pin(async move {
        let done = match op {
            Op::CreateApplication { uid } => {
                let made = store.create_application(env, "an application".to_owned(), uid, None);
                Done::of(&made.await?)
            }
            Op::DeleteApplication { application } => Done::of(
                &store
                    .delete_application(Principal::operator(scope), application)
                    .await?,
            ),
            Op::CreateEndpoint {
                application,
                filter,
                uid,
            } => {
                let settings = settings(filter, uid.as_ref());
                let made = store.create_endpoint(scope, application, settings, None);
                Done::of(&made.await?)
            }
            Op::EnableEndpoint {
                application,
                endpoint,
                enabled,
            } => {
                let change = EndpointChange {
                    enabled: Some(enabled),
                    ..EndpointChange::default()
                };
                let changed = store.update_endpoint(
                    Principal::operator(scope),
                    application,
                    endpoint,
                    change,
                );
                Done::of(&changed.await?)
            }
            Op::DeleteEndpoint {
                application,
                endpoint,
            } => Done::of(
                &store
                    .delete_endpoint(Principal::operator(scope), application, endpoint)
                    .await?,
            ),
            Op::Accept {
                message,
                idempotency_key,
            } => {
                let idempotent = idempotency_key.map(idempotent);
                let written = store.accept(scope, message, idempotent).await?;
                let fresh = match &written {
                    Written::Fresh(accepted) => Some(accepted.content.0.key),
                    Written::Repeated(_) => None,
                };
                Done {
                    message: fresh,
                    ..Done::of(&written)
                }
            }
            Op::Record {
                application,
                endpoint,
                message,
                took,
                status,
                retry_at,
            } => {
                let attempt = attempt(application, endpoint, message, took.0, took.1, status);
                Done::of(&record(store, attempt, took, retry_at, 100).await?)
            }
            Op::Replay {
                application,
                endpoint,
                message,
            } => {
                let replayed = store.replay(scope, application, message, endpoint, None);
                Done::of(&replayed.await?)
            }
            Op::Sweep => Done::of(&store.sweep().await?),
            Op::Retire { retention } => Done::of(&store.retire(retention, None).await?),
            Op::CreateInbox { token } => {
                let change = InboxChange {
                    fail_next: Some(1),
                    ..InboxChange::default()
                };
                Done::of(&store.create_inbox(env, token, change, None).await?)
            }
            Op::EmptyInbox { token, delete } => emptied(store, scope, &token, delete).await?,
            Op::Receive { token, body } => received(store, &token, body).await?,
            Op::CreateApiKey { text } => {
                let text = Secret::new(text);
                Done::of(&store.create_api_key(env, "a key".to_owned(), &text).await?)
            }
            Op::Environment(change) => on_environment(store, scope, change).await?,
        };
        Ok(done)
    })
}

async fn on_environment(
    store: &Store,
    scope: Scope,
    op: EnvironmentOp,
) -> Result<Done, WriteError> {
    let operator = Principal::operator(scope);
    Ok(match op {
        EnvironmentOp::Create { name } => {
            Done::of(&store.create_environment(operator, name, None).await?)
        }
        EnvironmentOp::Furnish(environment) => {
            let name = "furniture".to_owned();
            let made = store.create_application(environment, name, None, None);
            Done::of(&made.await?)
        }
        EnvironmentOp::Delete(environment) => {
            Done::of(&store.delete_environment(operator, environment).await?)
        }
    })
}

async fn emptied(
    store: &Store,
    scope: Scope,
    token: &str,
    delete: bool,
) -> Result<Done, WriteError> {
    let Some(inbox) = store.inbox(token)? else {
        return Ok(Done::of(&"there is no such inbox"));
    };
    let operator = Principal::operator(scope);
    Ok(Done::of(&if delete {
        store.delete_inbox(operator, inbox.key).await?
    } else {
        store.clear_inbox(operator, inbox.key).await?
    }))
}

async fn received(store: &Store, token: &str, body: Vec<u8>) -> Result<Done, WriteError> {
    let Some(inbox) = store.inbox(token)? else {
        return Ok(Done::of(&"there is no such inbox"));
    };
    let received = NewReceived {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: body.into(),
        event_type: None,
        peer: None,
    };
    Ok(Done::of(&store.receive(inbox.key, received, 0).await?))
}
