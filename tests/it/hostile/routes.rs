//! Every route, with a good request for each, and the fields that it knows.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hookpost::api::native::ROUTES;
use serde_json::{Value, json};

/// The name of an event type that is there, and of one with two examples.
pub(super) const EVENT_TYPE: &str = "a.b";
pub(super) const EVENT_TYPE_SENT: &str = "a.sent";

/// The uid of the application whose sources come and go.
pub(super) const SOURCES_APP: &str = "with-sources";

/// The uid of the endpoint that is asked.
pub(super) const ASKED: &str = "asked";

/// A name that no event type has yet.
fn new_name() -> String {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    format!("made.{}", MADE.fetch_add(1, Ordering::Relaxed))
}

/// A route as the tests see it: the whole path, parameters in braces.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: String,
}

/// Who answers, by other rules each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    Api,
    /// What describes the API, to anybody.
    Document,
    Health,
    /// Pages and their files.
    Pages,
    Inbox,
}

impl Route {
    pub(crate) fn face(&self) -> Face {
        if self.path == "/api/v1/openapi.json" {
            Face::Document
        } else if self.path.starts_with("/api/v1") {
            Face::Api
        } else if self.path.starts_with("/in/") {
            Face::Inbox
        } else if self.path.starts_with("/docs") || self.path.starts_with("/static") {
            Face::Pages
        } else {
            Face::Health
        }
    }

    /// Whether its ids are those of a message and what it was sent to.
    pub(super) fn is_of_messages(&self) -> bool {
        self.path.contains("/messages") || self.path.ends_with("/examples") || self.is_of_a_job()
    }

    pub(crate) fn reads_json(&self) -> bool {
        self.good_body().is_some()
    }

    /// Whether GET of what is not there has an empty body.
    pub(crate) fn is_of_one_thing(&self) -> bool {
        let ends = ['}'.to_string(), "/secret".to_owned(), "/secrets".to_owned()];
        self.method == "GET" && ends.iter().any(|end| self.path.ends_with(end))
    }

    /// Whether a good request leaves something on disk. Reading secrets does:
    /// it is written down.
    pub(crate) fn writes(&self) -> bool {
        // What was refused in the world stays refused, however it is verified.
        let refuses = self.path.ends_with("/verifications");
        // Who listens is in memory.
        let listens = self.path.ends_with("/listeners");
        (self.method != "GET" && !refuses && !listens)
            || self.path.ends_with("/secret")
            || self.path.ends_with("/secrets")
    }

    /// Whether it answers with a job.
    pub(super) fn is_of_a_job(&self) -> bool {
        let starts = ["/recoveries", "/backfills", "/replays"];
        let for_endpoint = self.path.contains("/endpoints/{ep}/");
        self.path.contains("/jobs/")
            || (for_endpoint && starts.iter().any(|end| self.path.ends_with(end)))
    }

    pub(crate) fn params(&self) -> Vec<String> {
        let names = self.path.split('/').filter(|part| part.starts_with('{'));
        names.map(str::to_owned).collect()
    }

    /// The body of a good request; `None` for a route that reads none.
    ///
    /// A new route without an arm here fails every test of this module.
    pub(crate) fn good_body(&self) -> Option<Value> {
        let below = self.path.strip_prefix("/api/v1").unwrap_or(&self.path);
        match (self.method, below) {
            ("GET" | "DELETE", _)
            | (
                "POST",
                "/applications/{app}/messages/{msg}/endpoints/{ep}/replays"
                | "/jobs/{job}/cancellations"
                | "/keys/{key}/rotations"
                | "/in/{token}"
                | "/in/{token}/x",
            ) => None,
            ("POST", "/applications")
            | (
                "PUT",
                "/applications/{app}"
                | "/applications/{app}/endpoints/{ep}"
                | "/inboxes/{token}"
                | "/sources/{src}"
                | "/keys/{key}",
            ) => Some(json!({"name": "n"})),
            ("POST", "/applications/{app}/endpoints/{ep}/secret/rotations") => {
                // Secrets that stop at once: nothing piles up.
                Some(json!({"gracePeriodSeconds": 0}))
            }
            ("POST", "/environments") | ("PUT", "/environments/{env}") => Some(environment_body()),
            ("POST", "/applications/{app}/endpoints") => {
                Some(json!({"url": "https://a.example/", "enabled": false}))
            }
            ("POST", "/applications/{app}/messages") => {
                Some(json!({"eventType": "a.b", "payload": {}}))
            }
            ("POST", "/applications/{app}/messages/batch") => {
                Some(json!({"messages": [{"eventType": "a.b", "payload": {}}]}))
            }
            ("POST", "/applications/{app}/endpoints/{ep}/examples") => {
                Some(json!({"eventType": EVENT_TYPE_SENT}))
            }
            ("POST", "/event-types") => Some(json!({"name": new_name()})),
            ("PUT", "/event-types/{name}") => Some(json!({"description": new_name()})),
            ("POST", "/event-types/imports") => Some(json!({
                "document": {"openapi": "3.1.0", "webhooks": {(new_name()): {"post": {}}}},
            })),
            (
                "POST",
                "/applications/{app}/endpoints/{ep}/recoveries"
                | "/applications/{app}/endpoints/{ep}/backfills"
                | "/applications/{app}/endpoints/{ep}/replays",
            ) => Some(json!({"since": 0})),
            ("PUT", "/jobs/{job}") => Some(json!({"ratePerSecond": 5})),
            ("POST", "/inboxes/{token}/received/{rcv}/replays") => {
                Some(json!({"url": "https://a.example/"}))
            }
            ("POST", "/applications/{app}/requests") => {
                Some(json!({"key": "q", "endpoint": ASKED}))
            }
            ("POST", "/sources") => {
                Some(json!({"application": SOURCES_APP, "verification": {"preset": "none"}}))
            }
            (
                "POST",
                "/inboxes"
                | "/keys"
                | "/applications/{app}/portal-links"
                | "/sources/{src}/received/{rcv}/verifications",
            ) => Some(json!({})),
            other => panic!("{other:?} has no case among the hostile requests"),
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let create = self.method == "POST";
        let below = self.path.strip_prefix("/api/v1").unwrap_or_default();
        match below {
            _ if !self.reads_json() => Vec::new(),
            "/applications" | "/applications/{app}" => application_fields(create),
            "/applications/{app}/messages" => message_fields(),
            "/applications/{app}/messages/batch" => batch_fields(),
            "/applications/{app}/endpoints/{ep}/examples" => example_fields(),
            "/event-types" | "/event-types/{name}" => event_type_fields(create),
            "/event-types/imports" => import_fields(),
            "/inboxes" | "/inboxes/{token}" => inbox_fields(),
            "/sources" | "/sources/{src}" => source_fields(create),
            "/applications/{app}/requests" => vec![
                field("key", Kind::Text(1, 256)).required(),
                field("inputs", Kind::Settings),
                field("endpoint", Kind::Reference),
                field("timeoutSeconds", Kind::Number(1, 600)),
                field("wait", Kind::Flag),
            ],
            "/inboxes/{token}/received/{rcv}/replays" => {
                vec![field("url", Kind::Never).required()]
            }
            "/sources/{src}/received/{rcv}/verifications" => {
                vec![field("secret", Kind::Lax(4096)), field("keep", Kind::Flag)]
            }
            "/applications/{app}/endpoints/{ep}/secret/rotations" => vec![
                field("gracePeriodSeconds", Kind::Number(0, 2_592_000)),
                field("secret", Kind::Text(1, 1024)),
            ],
            "/applications/{app}/portal-links" => vec![
                field("expiresInSeconds", Kind::Number(60, 604_800)),
                field("readOnly", Kind::Flag),
                field("next", Kind::LocalPath),
            ],
            "/environments" | "/environments/{env}" => environment_fields(create),
            "/keys" => key_fields(),
            "/keys/{key}" => vec![field("name", Kind::Text(0, 256))],
            "/applications/{app}/endpoints" | "/applications/{app}/endpoints/{ep}" => {
                endpoint_fields(create)
            }
            "/applications/{app}/endpoints/{ep}/recoveries"
            | "/applications/{app}/endpoints/{ep}/backfills" => job_fields(false),
            "/applications/{app}/endpoints/{ep}/replays" => job_fields(true),
            "/jobs/{job}" => vec![field("ratePerSecond", Kind::Number(0, 10_000))],
            other => panic!("{other:?} has no fields among the hostile requests"),
        }
    }

    /// Bytes of a body that are more than it reads.
    pub(super) fn too_many_bytes(&self) -> usize {
        if self.path.ends_with("/batch") {
            17 << 20
        } else {
            1 << 20
        }
    }

    /// Query parameters that it knows.
    pub(crate) fn queries(&self) -> &'static [&'static str] {
        const ATTEMPTS: &[&str] = &[
            "outcome",
            "statusClass",
            "eventType",
            "after",
            "attempt",
            "pageSize",
        ];
        let below = self.path.strip_prefix("/api/v1").unwrap_or(&self.path);
        match below {
            _ if self.method != "GET" => &[],
            "/applications" | "/applications/{app}/endpoints" => &["page", "pageSize"],
            "/attempts" => &[
                "outcome",
                "statusClass",
                "eventType",
                "after",
                "attempt",
                "pageSize",
                "application",
                "endpoint",
                "wait",
            ],
            "/messages" => &[
                "eventType",
                "after",
                "message",
                "pageSize",
                "application",
                "endpoint",
                "wait",
            ],
            "/event-types" => &["page", "pageSize", "archived"],
            "/applications/{app}/messages" => &["message", "pageSize"],
            "/audit" => &["audit", "pageSize"],
            "/jobs" => &["job", "state", "pageSize"],
            "/inboxes/{token}/received" | "/sources/{src}/records/{record}/history" => {
                &["received", "pageSize"]
            }
            "/sources" => &["application"],
            "/applications/{app}/requests" => &["request", "pageSize"],
            "/applications/{app}/requests/{req}" => &["wait"],
            "/sources/{src}/received" => &["received", "verdict", "pageSize"],
            "/sources/{src}/records" => &["received", "search", "pageSize"],
            "/applications/{app}/endpoints/{ep}/attempts"
            | "/applications/{app}/messages/{msg}/attempts" => ATTEMPTS,
            "/applications/{app}/endpoints/{ep}/statistics"
            | "/applications/{app}/statistics"
            | "/statistics" => &["resolution", "from", "to"],
            "/applications/{app}/messages/{msg}/endpoint-messages"
            | "/applications/{app}/endpoints/{ep}/secret"
            | "/environments"
            | "/inboxes"
            | "/inboxes/{token}/endpoints"
            | "/inboxes/{token}/listeners"
            | "/keys"
            | "/source-presets"
            | "/sources/{src}/secrets"
            | "/store"
            | "/openapi.json"
            | "/docs"
            | "/healthz"
            | "/readyz" => &[],
            one_thing if one_thing.ends_with('}') => &[],
            other => panic!("{other:?} has no queries among the hostile requests"),
        }
    }
}

/// All that there are. The inbox takes every method; POST stands for it.
pub(crate) fn all() -> Vec<Route> {
    let native = ROUTES.iter().map(|(method, path, _)| Route {
        method,
        path: format!("/api/v1{path}"),
    });
    let others = [
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/docs/{page}"),
        ("GET", "/static/{file}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("POST", "/in/{token}"),
        ("POST", "/in/{token}/x"),
    ];
    let others = others.map(|(method, path)| Route {
        method,
        path: path.to_owned(),
    });
    native.chain(others).collect()
}

/// What a field takes, of the values that are tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// So many characters, none of them a control.
    Text(usize, usize),
    /// So many bytes of anything.
    Free(usize),
    /// The same, but not empty.
    Lax(usize),
    /// So many characters at most, of several lines.
    Lines(usize),
    /// A JSON Schema.
    Schema,
    /// A list of anything but null.
    Examples,
    /// A path inside the portal.
    LocalPath,
    /// `true` alone.
    Yes,
    /// Visible ASCII without spaces at its ends.
    HeaderValue,
    /// So many bytes of visible ASCII that do not begin with a space.
    Prefix(usize),
    Flag,
    Number(u64, u64),
    List,
    Object,
    /// An object of which names that are not known are ignored.
    Settings,
    Anything,
    /// The id, uid or name of something: a text may happen to be one.
    Reference,
    /// None of the values that are tried.
    Never,
}

impl Kind {
    pub(super) fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(min, max), Value::String(text)) => {
                let chars = text.chars().count();
                (min..=max).contains(&chars) && !text.chars().any(char::is_control)
            }
            (Self::Free(max), Value::String(text)) => text.len() <= max,
            (Self::Lax(max), Value::String(text)) => (1..=max).contains(&text.len()),
            (Self::Lines(max), Value::String(text)) => {
                let odd = text.chars().any(|c| c.is_control() && c != '\n');
                text.chars().count() <= max && !odd
            }
            (Self::Schema, value) => value.is_object() || value.is_boolean(),
            (Self::Examples, Value::Array(items)) => !items.contains(&Value::Null),
            (Self::LocalPath, Value::String(text)) => {
                text.len() <= 512 && hookpost::domain::session::is_local_path(text)
            }
            (Self::Yes, value) => *value == Value::Bool(true),
            (Self::HeaderValue, Value::String(text)) => {
                let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                visible && text.trim() == text && text.len() <= 4096
            }
            (Self::Prefix(max), Value::String(text)) => {
                let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                visible && !text.starts_with(' ') && text.len() <= max
            }
            (Self::Reference, Value::String(_)) => Self::Text(1, 256).takes(value),
            (Self::Flag, value) => value.is_boolean(),
            (Self::Number(min, max), value) => value
                .as_u64()
                .is_some_and(|number| (min..=max).contains(&number)),
            (Self::List, Value::Array(items)) => items.is_empty(),
            (Self::Object, Value::Object(items)) => items.is_empty(),
            (Self::Settings, value) => value.is_object(),
            (Self::Anything, value) => !value.is_null(),
            _ => false,
        }
    }
}

/// A field, or a place inside one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Of the request's object.
    pub(super) name: &'static str,
    /// The value that puts another one where this is.
    pub(super) around: fn(Value) -> Value,
    pub(super) kind: Kind,
    /// What `null` means here: left out, or wrong.
    pub(super) may_be_null: bool,
}

fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        around: |value| value,
        kind,
        may_be_null: true,
    }
}

impl Field {
    fn required(self) -> Self {
        Self {
            may_be_null: false,
            ..self
        }
    }

    fn inside(self, around: fn(Value) -> Value) -> Self {
        Self { around, ..self }
    }
}

fn application_fields(create: bool) -> Vec<Field> {
    let name = field("name", Kind::Text(1, 256));
    let name = if create { name.required() } else { name };
    vec![name, field("uid", Kind::Text(1, 256))]
}

/// Every environment has a name of its own.
pub(super) fn environment_body() -> Value {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    json!({"name": format!("environment {number}")})
}

fn environment_fields(create: bool) -> Vec<Field> {
    let name = field("name", Kind::Text(1, 256));
    vec![if create { name.required() } else { name }]
}

fn key_fields() -> Vec<Field> {
    vec![
        field("name", Kind::Text(0, 256)),
        field("scopes", Kind::Never),
        field("scopes", Kind::Never)
            .inside(|value| json!([value]))
            .required(),
        field("application", Kind::Reference),
        field("environment", Kind::Reference),
        field("expiresInSeconds", Kind::Number(1, 316_224_000)),
    ]
}

fn message_fields() -> Vec<Field> {
    vec![
        field("eventType", Kind::Never).required(),
        field("payload", Kind::Anything).required(),
        field("uid", Kind::Text(1, 256)),
        field("channels", Kind::List),
        field("channels", Kind::Text(1, 128))
            .inside(|value| json!([value]))
            .required(),
    ]
}

fn job_fields(filtered: bool) -> Vec<Field> {
    const TIME_MAX: u64 = (1 << 53) - 1;
    let mut fields = vec![
        field("since", Kind::Number(0, TIME_MAX)).required(),
        field("until", Kind::Number(1, TIME_MAX)),
        field("ratePerSecond", Kind::Number(0, 10_000)),
    ];
    if filtered {
        let item = |name, kind| field(name, kind).inside(|value| json!([value])).required();
        fields.extend([
            field("eventTypes", Kind::List),
            item("eventTypes", Kind::Never),
            field("channels", Kind::List),
            item("channels", Kind::Text(1, 128)),
            field("outcome", Kind::Never),
            field("statusClass", Kind::Never),
        ]);
    }
    fields
}

fn batch_fields() -> Vec<Field> {
    vec![
        field("messages", Kind::List).required(),
        field("messages", Kind::Never)
            .inside(|value| json!([value]))
            .required(),
        field("messages", Kind::Never)
            .inside(|value| json!([{"eventType": value, "payload": {}}]))
            .required(),
        field("messages", Kind::Anything)
            .inside(|value| json!([{"eventType": "a.b", "payload": value}]))
            .required(),
        field("messages", Kind::Text(1, 256))
            .inside(|value| json!([{"eventType": "a.b", "payload": {}, "uid": value}])),
    ]
}

fn event_type_fields(create: bool) -> Vec<Field> {
    let name = field("name", Kind::Never);
    let mut fields = vec![
        if create { name.required() } else { name },
        field("description", Kind::Lines(2000)),
        field("schema", Kind::Schema),
        field("examples", Kind::Examples),
        field("examples", Kind::Anything)
            .inside(|value| json!([value]))
            .required(),
        field("applications", Kind::List),
        // Texts that can be uids are those of applications made before.
        field("applications", Kind::Text(1, 256))
            .inside(|value| json!([value]))
            .required(),
        field("forEveryone", Kind::Yes),
    ];
    if !create {
        fields.push(field("archived", Kind::Flag));
    }
    fields
}

fn import_fields() -> Vec<Field> {
    let inside = |around| field("document", Kind::Never).inside(around).required();
    vec![
        field("document", Kind::Never).required(),
        inside(|value| json!({"openapi": value, "webhooks": {}})),
        inside(|value| json!({"openapi": "3.1.0", "webhooks": {"a": value}})),
        field("replaceAll", Kind::Flag),
    ]
}

fn example_fields() -> Vec<Field> {
    vec![
        field("eventType", Kind::Never).required(),
        field("example", Kind::Number(0, 1)),
    ]
}

fn inbox_fields() -> Vec<Field> {
    vec![
        field("name", Kind::Text(0, 256)),
        field("answerStatus", Kind::Number(200, 599)),
        field("answerContentType", Kind::Never),
        field("answerHeaders", Kind::Object),
        field("answerBody", Kind::Free(16 * 1024)),
        field("answerDelayMilliseconds", Kind::Number(0, 60_000)),
        field("failNext", Kind::Number(0, 1000)),
        field("listenWithoutKey", Kind::Flag),
    ]
}

fn source_fields(create: bool) -> Vec<Field> {
    let required = |field: Field| if create { field.required() } else { field };
    vec![
        field("name", Kind::Text(0, 256)),
        required(field(
            "application",
            if create { Kind::Reference } else { Kind::Never },
        )),
        field("slug", Kind::Never),
        field("enabled", Kind::Flag),
        required(field(
            "verification",
            if create { Kind::Never } else { Kind::Object },
        )),
        required(field("verification", Kind::Never).inside(|value| json!({"preset": value}))),
        field("eventType", Kind::Settings),
        field("eventType", Kind::Never).inside(|value| json!({"fixed": value})),
        field("dedupe", Kind::Never),
        field("record", Kind::Settings),
        field("record", Kind::Text(0, 256)).inside(|value| json!({"key": value})),
        field("answer", Kind::Settings),
        field("answer", Kind::Number(200, 599)).inside(|value| json!({"status": value})),
        field("limits", Kind::Settings),
        field("limits", Kind::Number(0, 100_000)).inside(|value| json!({"perSecond": value})),
    ]
}

/// A custom scheme with `value` for one of its parts.
fn custom_scheme(part: &str, value: Value) -> Value {
    let mut scheme = json!({
        "scheme": "custom", "header": "x-a", "template": "{body}", "encoding": "hex"
    });
    scheme[part] = value;
    json!([scheme])
}

fn endpoint_fields(create: bool) -> Vec<Field> {
    let url = field("url", Kind::Never);
    let part = |around| field("signatures", Kind::Never).inside(around);
    let item = |name, kind| field(name, kind).inside(|value| json!([value])).required();
    let entry = |name, kind| {
        field(name, kind)
            .inside(|value| json!({"x": value}))
            .required()
    };
    vec![
        if create { url.required() } else { url },
        field("name", Kind::Text(0, 256)),
        field("description", Kind::Text(0, 2000)),
        field("uid", Kind::Text(1, 256)),
        field("enabled", Kind::Flag),
        field("paused", Kind::Flag),
        field("eventTypes", Kind::List),
        item("eventTypes", Kind::Never),
        field("channels", Kind::List),
        item("channels", Kind::Text(1, 128)),
        field("headers", Kind::Object),
        entry("headers", Kind::HeaderValue),
        field("secrets", Kind::List),
        item("secrets", Kind::Text(1, 1024)),
        field("signatures", Kind::List),
        item("signatures", Kind::Never),
        field("signatures", Kind::Never)
            .inside(|value| json!([{"scheme": value}]))
            .required(),
        field("signatures", Kind::Never)
            .inside(|value| json!([{"scheme": "optech", "header": value}])),
        part(|value| custom_scheme("header", value)).required(),
        part(|value| custom_scheme("template", value)).required(),
        part(|value| custom_scheme("encoding", value)).required(),
        field("signatures", Kind::Prefix(64)).inside(|value| custom_scheme("prefix", value)),
        field("payloadInHeaders", Kind::Flag),
        field("asciiBody", Kind::Flag),
        field("retrySchedule", Kind::List),
        item("retrySchedule", Kind::Never),
        field("rateLimit", Kind::Number(0, 10_000)),
        field("timeoutSeconds", Kind::Number(0, 60)),
        field("success", Kind::Settings),
        field("success", Kind::Number(200, 599)).inside(|value| json!({"status": value})),
        field("success", Kind::Text(0, 1024)).inside(|value| json!({"body": value})),
        field("success", Kind::Text(1, 256)).inside(|value| json!({"contentType": value})),
        field("clientId", Kind::Reference),
        field("metadata", Kind::Object),
        entry("metadata", Kind::Free(4095)),
    ]
}

/// Names in an answer that nobody sets.
pub(super) const READ_ONLY: &[&str] = &[
    "id",
    "timestamp",
    "detail",
    "body",
    "durationMilliseconds",
    "key",
    "text",
    "previous",
    "created",
    "listened",
    "waiting",
    "updated",
    "unchanged",
    "archived",
    "errors",
    "disabled",
    "token",
    "url",
    "kind",
    "state",
    "reason",
    "applicationId",
    "endpointId",
    "total",
    "examined",
    "done",
    "skipped",
    "ended",
    "isDefault",
    "secrets",
    "secretCount",
    "contentType",
    "status",
    "data",
    "link",
    "linkEnds",
    "tries",
    "refused",
    "settled",
    "verdict",
    "message",
    "counts",
    "toleranceSeconds",
    "environment",
    "scopes",
    "beginsWith",
    "expires",
    "lastUsed",
];
/// Names in a job that only a replay's caller sets, and the job's own settings
/// that only its start does.
pub(super) const READ_ONLY_OF_JOBS: &[&str] = &[
    "since",
    "until",
    "eventTypes",
    "channels",
    "outcome",
    "statusClass",
];
