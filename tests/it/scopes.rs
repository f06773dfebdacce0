//! Whoever sees one application finds nothing of another, whatever the verb.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookpost::control::api_keys::ApiKeyInput;
use hookpost::control::endpoints::{EndpointInput, RotationInput};
use hookpost::control::event_types::{EventTypeInput, ImportOptions};
use hookpost::control::jobs::JobInput;
use hookpost::control::{Control, ControlError};
use hookpost::domain::address::DestinationPolicy;
use hookpost::domain::application::ApplicationChange;
use hookpost::domain::endpoint::MASKED;
use hookpost::domain::event_type::{Audience, Content, EventTypeChange, NewEventType};
use hookpost::domain::ids::{
    ApiKeyKey, ApplicationKey, EndpointKey, EnvironmentKey, JobKey, Key as _, MessageKey,
};
use hookpost::domain::inbox::InboxChange;
use hookpost::domain::job::JobKind;
use hookpost::domain::message::{JSON, NewMessage, Origin, Target};
use hookpost::domain::principal::{Principal, Scope};
use hookpost::domain::statistics::{Period, Resolution};
use hookpost::engine::transport::HttpTransport;
use hookpost::seams::entropy::SystemEntropy;
use hookpost::store::{Refusal, Subject, WriteError};
use serde_json::json;

use crate::support::app::TestApp;

/// An application with one of each thing.
struct Tenant {
    application: ApplicationKey,
    endpoint: EndpointKey,
    message: MessageKey,
    /// It waits: the endpoint is paused.
    job: JobKey,
    /// An API key that is bound to it.
    api_key: ApiKeyKey,
    id: String,
}

async fn tenant(app: &TestApp) -> Tenant {
    let id = app.application().await;
    let fields = json!({"paused": true, "headers": {"x-token": "t"}});
    let endpoint = app.endpoint(&id, "https://1.1.1.1/", fields).await;
    let message = app.message(&id, "a.b", json!({})).await;
    let path = format!("/api/v1/applications/{id}/endpoints/{endpoint}/recoveries");
    let job = app.post(&path, json!({"since": 0})).await.ok(202).id();
    let bound = json!({"application": id});
    let api_key = app.post("/api/v1/keys", bound).await.ok(201).id();
    let ids = app.store.ids();
    Tenant {
        application: ids.parse(&id).expect("an id"),
        endpoint: ids.parse(&endpoint).expect("an id"),
        message: ids.parse(&message).expect("an id"),
        job: ids.parse(&job).expect("an id"),
        api_key: ids.parse(&api_key).expect("an id"),
        id,
    }
}

/// What came of a verb.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Done,
    NotFound,
    Otherwise(String),
}

impl From<ControlError> for Came {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Write(error) => error.into(),
            other => Self::Otherwise(format!("{other:?}")),
        }
    }
}

impl From<WriteError> for Came {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(
                Refusal::NoApplication
                | Refusal::NoEndpoint
                | Refusal::NoMessage
                | Refusal::NoInbox
                | Refusal::NoEventType
                | Refusal::NoJob
                | Refusal::NoApiKey
                | Refusal::NoEnvironment,
            ) => Self::NotFound,
            other => Self::Otherwise(format!("{other:?}")),
        }
    }
}

fn came<T, E: Into<Came>>(result: Result<T, E>) -> Came {
    result.map_or_else(Into::into, |_| Came::Done)
}

fn found<T>(found: Option<T>) -> Came {
    found.map_or(Came::NotFound, |_| Came::Done)
}

fn control(app: &TestApp) -> Control {
    let transport = HttpTransport::system(DestinationPolicy::default(), &[]);
    Control {
        store: app.store.clone(),
        transport: Arc::new(transport.expect("TLS can be set up")),
        entropy: Arc::new(SystemEntropy),
        public_url: app.public_url.as_str().into(),
    }
}

fn message_for(application: ApplicationKey) -> NewMessage {
    NewMessage {
        application,
        event_type: "a.b".to_owned(),
        channels: Vec::new(),
        uid: None,
        content_type: JSON.to_owned(),
        headers: Vec::new(),
        origin: Origin::Api,
        payload: "{}".into(),
        target: Target::FanOut,
    }
}

/// Every verb upon what is `of`'s, by someone who sees `scope`.
async fn verbs(app: &TestApp, scope: Scope, of: &Tenant) -> Vec<(&'static str, Came)> {
    let (control, store) = (control(app), &app.store);
    let caller = Principal::operator(scope);
    let (application, endpoint) = (of.application, of.endpoint);
    let masked = EndpointInput {
        headers: Some(BTreeMap::from([("x-token".to_owned(), MASKED.to_owned())])),
        ..EndpointInput::default()
    };
    let unknown_mask = EndpointInput {
        headers: Some(BTreeMap::from([("x-other".to_owned(), MASKED.to_owned())])),
        ..EndpointInput::default()
    };
    let new = EndpointInput {
        url: Some("https://1.1.1.1/".to_owned()),
        ..EndpointInput::default()
    };
    let change = ApplicationChange {
        name: Some("taken over".to_owned()),
        ..ApplicationChange::default()
    };
    let statistics = |subject| {
        let period = Period::new(Resolution::Hour, None, None, app.now()).expect("it is short");
        found(store.statistics(scope, subject, &period).expect("it reads"))
    };
    let mut told = vec![
        (
            "statistics of an application",
            statistics(Subject::Application(application)),
        ),
        (
            "statistics of an endpoint",
            statistics(Subject::Endpoint(application, endpoint)),
        ),
        (
            "find application",
            found(store.find_application(scope, &of.id).expect("it reads")),
        ),
        (
            "update application",
            came(
                control
                    .update_application(caller, application, change)
                    .await,
            ),
        ),
        (
            "create endpoint",
            came(
                control
                    .create_endpoint(caller, application, new, None)
                    .await,
            ),
        ),
        (
            "update endpoint",
            came(
                control
                    .update_endpoint(caller, application, endpoint, masked)
                    .await,
            ),
        ),
        (
            "send a message",
            came(store.accept(scope, message_for(application), None).await),
        ),
        (
            "replay",
            came(
                store
                    .replay(scope, application, of.message, endpoint, None)
                    .await,
            ),
        ),
    ];
    told.extend(job_verbs(app, caller, of).await);
    let oracle = control
        .update_endpoint(caller, application, endpoint, unknown_mask)
        .await;
    told.push(("ask for a stored header", came(oracle)));
    let read = control.read_secrets(caller, application, endpoint).await;
    told.push(("read secrets", came(read)));
    let rotation = RotationInput::default();
    let rotated = control
        .rotate_secret(caller, application, endpoint, rotation, None)
        .await;
    told.push(("rotate secret", came(rotated)));
    let deleted = control.delete_endpoint(caller, application, endpoint).await;
    told.push(("delete endpoint", came(deleted)));
    told.extend(key_verbs(&control, caller, of.api_key).await);
    told
}

/// Every verb upon jobs of what is `of`'s, and upon its content.
async fn job_verbs(app: &TestApp, caller: Principal, of: &Tenant) -> Vec<(&'static str, Came)> {
    let (control, scope) = (control(app), caller.scope);
    let both = (of.application, of.endpoint);
    let all = JobInput::default;
    let counted = control.count_job(caller, both, JobKind::Backfill, all());
    let mut told = vec![("count a job", came(counted.await))];
    for (verb, kind) in [
        ("start a recovery", JobKind::Recovery),
        ("start a backfill", JobKind::Backfill),
        ("start a replay", JobKind::Replay),
    ] {
        let started = control.start_job(caller, both, kind, all(), None).await;
        told.push((verb, came(started)));
    }
    let job = app.store.find_job(scope, of.job).expect("it reads");
    told.push(("find a job", found(job)));
    let (listed, _) = app
        .store
        .list_jobs(scope, None, None, 250)
        .expect("it reads");
    let listed = listed.iter().find(|job| job.key == of.job);
    told.push(("list jobs", found(listed)));
    let paced = control.set_job_rate(caller, of.job, Some(5)).await;
    told.push(("pace a job", came(paced)));
    let cancelled = control.cancel_job(caller, of.job, None).await;
    told.push(("cancel a job", came(cancelled)));
    let erased = control.erase_message(caller, of.application, of.message);
    told.push(("erase a message", came(erased.await)));
    let erased = control.erase_application(caller, of.application).await;
    told.push(("erase an application", came(erased)));
    told
}

/// Every verb upon an API key.
async fn key_verbs(
    control: &Control,
    caller: Principal,
    key: ApiKeyKey,
) -> Vec<(&'static str, Came)> {
    let (store, scope) = (&control.store, caller.scope);
    let id = store.ids().text(key);
    let text = || control.new_api_key_text();
    let listed = store.list_api_keys(scope);
    vec![
        ("find key", found(store.find_api_key(scope, &id))),
        (
            "list keys",
            found(listed.into_iter().find(|listed| listed.key == key)),
        ),
        (
            "rename key",
            came(store.rename_api_key(scope, key, "n".to_owned()).await),
        ),
        (
            "rename key through control",
            came(control.rename_api_key(caller, &id, "m".to_owned()).await),
        ),
        (
            "rotate key",
            came(store.rotate_api_key(caller, key, &text(), None).await),
        ),
        (
            "rotate key through control",
            came(control.rotate_api_key(caller, &id, &text(), None).await),
        ),
        ("revoke key", came(store.revoke_api_key(caller, key).await)),
    ]
}

#[tokio::test]
async fn what_lies_outside_of_a_scope_is_not_found() {
    let app = TestApp::start().await;
    let environment = app.store.default_environment();
    let (own, foreign) = (tenant(&app).await, tenant(&app).await);
    let before = app.store.dump();
    let elsewhere = EnvironmentKey::from_u64(environment.as_u64() + 1);
    let scopes = [
        Scope {
            environment,
            application: Some(own.application),
        },
        Scope::of_environment(elsewhere),
        Scope {
            environment: elsewhere,
            application: Some(foreign.application),
        },
    ];
    let mut count = 0;
    for scope in scopes {
        for (verb, came) in verbs(&app, scope, &foreign).await {
            assert_eq!(came, Came::NotFound, "{verb} by {scope:?}");
            count += 1;
        }
        // Named as the endpoint of an application that the caller does see.
        let smuggled = Subject::Endpoint(own.application, foreign.endpoint);
        let period = Period::new(Resolution::Hour, None, None, app.now()).expect("it is short");
        let smuggled = app.store.statistics(scope, smuggled, &period);
        assert_eq!(found(smuggled.expect("it reads")), Came::NotFound);
        let listed = app.store.list_applications(scope, 0, usize::MAX);
        let listed = listed.expect("it reads");
        let foreign = listed.iter().any(|one| one.key == foreign.application);
        assert!(!foreign, "{scope:?} lists it");
    }
    assert!(
        app.store.dump() == before,
        "a verb that found nothing changed the store"
    );
    // The control: the same verbs do something for who sees the application.
    for (verb, came) in verbs(&app, Scope::of_environment(environment), &foreign).await {
        let wrong = verb == "ask for a stored header";
        assert_eq!(came == Came::Done, !wrong, "{verb}: {came:?}");
    }
    println!("verbs outside of a scope: {count} not found");
}

#[tokio::test]
async fn what_belongs_to_the_environment_is_not_for_who_sees_one_application() {
    let app = TestApp::start().await;
    let own = tenant(&app).await;
    let inbox = app.post("/api/v1/inboxes", json!({})).await.ok(201).json();
    let token = inbox["token"].as_str().expect("a text");
    let before = app.store.dump();
    let control = control(&app);
    let caller = |application| {
        Principal::operator(Scope {
            environment: app.store.default_environment(),
            application,
        })
    };
    let narrow = caller(Some(own.application));
    let name = || "n".to_owned();
    let change = InboxChange::default;
    let text = control.new_api_key_text();
    for (verb, came) in [
        (
            "create application",
            came(control.create_application(narrow, name(), None, None).await),
        ),
        (
            "delete application",
            came(control.delete_application(narrow, own.application).await),
        ),
        (
            "create inbox",
            came(control.create_inbox(narrow, change(), None).await),
        ),
        (
            "update inbox",
            came(control.update_inbox(narrow, token, change()).await),
        ),
        (
            "clear inbox",
            came(control.clear_inbox(narrow, token).await),
        ),
        (
            "delete inbox",
            came(control.delete_inbox(narrow, token).await),
        ),
        (
            "show inbox",
            found(control.inbox(narrow, token).expect("it reads")),
        ),
        (
            "list inboxes",
            found(control.list_inboxes(narrow).expect("it reads").pop()),
        ),
    ] {
        assert_eq!(came, Came::NotFound, "{verb}");
    }
    assert!(app.store.dump() == before);
    let key = control.create_api_key(narrow, ApiKeyInput::default(), &text, None);
    assert_eq!(came(key.await), Came::NotFound);
    assert_eq!(came(control.list_api_keys(narrow)), Came::NotFound);
    let made = control.create_environment(narrow, name(), None).await;
    assert_eq!(came(made), Came::NotFound);
    assert_eq!(came(control.list_environments(narrow)), Came::NotFound);
    assert_eq!(came(control.environment(narrow, "default")), Came::NotFound);
    let renamed = control.rename_environment(narrow, "default", name()).await;
    assert_eq!(came(renamed), Came::NotFound);
    let deleted = control.delete_environment(narrow, "default").await;
    assert_eq!(came(deleted), Came::NotFound);
    assert!(app.store.dump() == before);
    let wide = caller(None);
    let period = Period::new(Resolution::Hour, None, None, app.now()).expect("it is short");
    for (principal, want) in [(narrow, Came::NotFound), (wide, Came::Done)] {
        let read = app
            .store
            .statistics(principal.scope, Subject::Environment, &period);
        assert_eq!(found(read.expect("it reads")), want);
    }
    assert_eq!(control.list_inboxes(wide).expect("it reads").len(), 1);
    assert!(control.inbox(wide, token).expect("it reads").is_some());
}

/// Every verb upon the event type `name`, by someone who sees `scope`.
async fn event_type_verbs(app: &TestApp, scope: Scope, name: &str) -> Vec<(&'static str, Came)> {
    let (control, store) = (control(app), &app.store);
    let caller = Principal::operator(scope);
    let input = EventTypeInput {
        description: Some("changed".to_owned()),
        ..EventTypeInput::default()
    };
    let change = EventTypeChange {
        archived: Some(true),
        ..EventTypeChange::default()
    };
    let owned = name.to_owned();
    vec![
        (
            "show",
            found(store.find_event_type(scope, name).expect("it reads")),
        ),
        (
            "update",
            came(control.update_event_type(caller, name, input).await),
        ),
        (
            "update in the store",
            came(store.update_event_type(scope, owned.clone(), change).await),
        ),
        (
            "delete",
            came(control.delete_event_type(caller, name).await),
        ),
        (
            "delete in the store",
            came(store.delete_event_type(scope, owned).await),
        ),
    ]
}

/// Every verb that makes event types, by someone who sees `scope`.
async fn event_type_makers(app: &TestApp, scope: Scope) -> Vec<(&'static str, Came)> {
    let (control, store) = (control(app), &app.store);
    let caller = Principal::operator(scope);
    let document = || r#"{"openapi":"3.1.0","webhooks":{"b":{"post":{}}}}"#.to_owned();
    let dry = ImportOptions {
        dry_run: true,
        ..ImportOptions::default()
    };
    let new = NewEventType {
        name: "a".to_owned(),
        description: String::new(),
        content: Content::default(),
        audience: Audience::Everyone,
    };
    let (name, input, all) = (
        "c".to_owned(),
        EventTypeInput::default(),
        ImportOptions::default(),
    );
    let mut told = vec![
        (
            "create",
            came(control.create_event_type(caller, name, input, None).await),
        ),
        (
            "create in the store",
            came(store.create_event_type(scope, new, None).await),
        ),
        (
            "preview in the store",
            came(store.preview_import(scope, &[], true)),
        ),
        (
            "import in the store",
            came(
                store
                    .import_event_types(scope, Vec::new(), true, None)
                    .await,
            ),
        ),
    ];
    for (verb, options) in [("preview", dry), ("import", all)] {
        let done = control.import_event_types(caller, document(), options, None);
        told.push((verb, came(done.await)));
    }
    told
}

/// Event types for everyone, for `own` and another, and for the other alone.
async fn event_types(app: &TestApp, own: &str) {
    let other = app.application().await;
    for (name, applications) in [
        ("for.all", json!([])),
        ("for.own", json!([own, other])),
        ("for.other", json!([other])),
    ] {
        let fields = json!({"name": name, "applications": applications});
        app.post("/api/v1/event-types", fields).await.ok(201);
    }
}

#[tokio::test]
async fn event_types_are_seen_by_those_they_are_for_and_changed_by_the_environment() {
    let app = TestApp::start().await;
    let own = tenant(&app).await;
    event_types(&app, &own.id).await;
    let before = app.store.dump();
    let wide = Scope::of_environment(app.store.default_environment());
    let narrow = Scope {
        application: Some(own.application),
        ..wide
    };
    let elsewhere = EnvironmentKey::from_u64(wide.environment.as_u64() + 1);
    let elsewhere = Scope::of_environment(elsewhere);
    for (scope, name, sees) in [
        (narrow, "for.all", true),
        (narrow, "for.own", true),
        (narrow, "for.other", false),
        (elsewhere, "for.all", false),
    ] {
        for (verb, came) in event_type_verbs(&app, scope, name).await {
            let want = if sees && verb == "show" {
                Came::Done
            } else {
                Came::NotFound
            };
            assert_eq!(came, want, "{verb} {name} by {scope:?}");
        }
    }
    for (verb, came) in event_type_makers(&app, narrow).await {
        assert_eq!(came, Came::NotFound, "{verb}");
    }
    let listed = app.store.list_event_types(narrow, false, 0, usize::MAX);
    let listed = listed.expect("it reads").into_iter();
    let seen: Vec<_> = listed.map(|seen| (seen.name, seen.audience)).collect();
    let alone = Audience::only(vec![own.application]);
    let want = [("for.all", Audience::Everyone), ("for.own", alone)];
    assert_eq!(
        seen,
        want.map(|(name, audience)| (name.to_owned(), audience))
    );
    assert!(
        app.store.dump() == before,
        "what was not found changed the store"
    );
    // The control: who sees the environment does all of it.
    for (verb, came) in event_type_makers(&app, wide).await {
        assert_eq!(came, Came::Done, "{verb}");
    }
    for (verb, came) in event_type_verbs(&app, wide, "for.other").await {
        let gone = verb == "delete in the store";
        assert_eq!(came == Came::Done, !gone, "{verb}: {came:?}");
    }
}
