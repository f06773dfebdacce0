//! Whoever sees one application finds nothing of another, whatever the verb.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookpost::control::api_keys::ApiKeyInput;
use hookpost::control::endpoints::EndpointInput;
use hookpost::control::{Control, ControlError};
use hookpost::domain::address::DestinationPolicy;
use hookpost::domain::application::ApplicationChange;
use hookpost::domain::endpoint::MASKED;
use hookpost::domain::ids::{
    ApiKeyKey, ApplicationKey, EndpointKey, EnvironmentKey, Key as _, MessageKey,
};
use hookpost::domain::message::{JSON, NewMessage, Origin, Target};
use hookpost::domain::principal::{Principal, Scope};
use hookpost::engine::transport::HttpTransport;
use hookpost::seams::entropy::SystemEntropy;
use hookpost::store::{Refusal, WriteError};
use serde_json::json;

use crate::support::app::TestApp;

/// An application with one of each thing.
struct Tenant {
    application: ApplicationKey,
    endpoint: EndpointKey,
    message: MessageKey,
    /// An API key that is bound to it.
    api_key: ApiKeyKey,
    id: String,
}

async fn tenant(app: &TestApp) -> Tenant {
    let id = app.application().await;
    let fields = json!({"paused": true, "headers": {"x-token": "t"}});
    let endpoint = app.endpoint(&id, "https://1.1.1.1/", fields).await;
    let message = app.message(&id, "a.b", json!({})).await;
    let bound = json!({"application": id});
    let api_key = app.post("/api/v1/keys", bound).await.ok(201).id();
    let ids = app.store.ids();
    Tenant {
        application: ids.parse(&id).expect("an id"),
        endpoint: ids.parse(&endpoint).expect("an id"),
        message: ids.parse(&message).expect("an id"),
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
    let mut told = vec![
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
    let oracle = control
        .update_endpoint(caller, application, endpoint, unknown_mask)
        .await;
    told.push(("ask for a stored header", came(oracle)));
    let deleted = control.delete_endpoint(caller, application, endpoint).await;
    told.push(("delete endpoint", came(deleted)));
    told.extend(key_verbs(&control, caller, of.api_key).await);
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
            came(control.create_inbox(narrow, name(), None, None).await),
        ),
        (
            "update inbox",
            came(control.update_inbox(narrow, token, None, Some(500)).await),
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
    assert_eq!(control.list_inboxes(wide).expect("it reads").len(), 1);
    assert!(control.inbox(wide, token).expect("it reads").is_some());
}
