//! The providers, as data: how each signs, asks, repeats and wants to be
//! answered. To add one is to add a row here.
//!
//! Source of each row: the page it names, and where there is one the
//! provider's own library, against which `tests/it/presets.rs` checks it.

use super::handshake::{Handshake, Part, Reply, When};
use super::jwt::{JwtRule, KeySource};
use super::keys::KeyForm;
use super::recipe::{Algorithm, Cover, Encoding, Form, Recipe, Stamp, Unit};
use super::request::{DocumentIn, Place};
use super::{Scheme, SettingKind};
use Place::{Field, Header, Item, Query};

/// What a preset has to say about its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRule {
    /// There must be one; what it is, for people.
    Required(&'static str),
    /// There may be one.
    Optional(&'static str),
    /// A handshake tells it.
    Learned(&'static str),
    Unused,
}

impl SecretRule {
    #[must_use]
    pub fn is_required(self) -> bool {
        matches!(self, Self::Required(_))
    }

    #[must_use]
    pub fn is_used(self) -> bool {
        self != Self::Unused
    }

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Required(label) | Self::Optional(label) | Self::Learned(label) => label,
            Self::Unused => "",
        }
    }
}

/// Something besides the secrets that a preset wants to know.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// As in the API.
    pub name: &'static str,
    pub label: &'static str,
    pub required: bool,
    pub kind: SettingKind,
}

/// Where an event's type is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeIn {
    /// Nowhere: events are called by the preset's name.
    Nowhere,
    At(Place<&'static str>),
}

/// What is answered to an event that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventAnswer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: &'static str,
}

const OK: EventAnswer = EventAnswer {
    status: 200,
    content_type: "text/plain; charset=utf-8",
    body: "OK",
};

/// A provider, or a way to verify that many have.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// As in the API.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    pub scheme: Scheme<&'static str>,
    pub secret: SecretRule,
    pub settings: &'static [Setting],
    pub document: DocumentIn,
    pub event_type: TypeIn,
    /// What tells a repeat. Without it a signature with its body does.
    pub event_id: Option<Place<&'static str>>,
    pub handshakes: &'static [Handshake],
    pub answer: EventAnswer,
    /// What to do over there, in order.
    pub steps: &'static [&'static str],
    /// The provider's own page about it.
    pub page: &'static str,
}

impl Preset {
    /// Whether the body, or what stands for it, is signed: a repeat of the same
    /// signature is then the same event.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        !matches!(
            self.scheme,
            Scheme::Nothing
                | Scheme::Shared { .. }
                | Scheme::SharedInOwnHeader
                | Scheme::SharedInEach { .. }
                | Scheme::Basic
        )
    }
}

/// The preset of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

/// All names, for an error.
#[must_use]
pub fn names() -> String {
    let names: Vec<_> = ALL.iter().map(|preset| preset.name).collect();
    names.join(", ")
}

/// HMAC-SHA256 of the body by the secret's text, in hex.
const BODY_HEX: Recipe<&str> = Recipe {
    place: Header(""),
    also: None,
    form: Form::Whole { prefix: "" },
    algorithm: Algorithm::HmacSha256,
    encoding: Encoding::Hex,
    key: KeyForm::Text,
    signed: "{body}",
    timestamp: None,
    id: None,
    cover: Cover::Signed,
};
/// The same in base64.
const BODY_BASE64: Recipe<&str> = Recipe {
    encoding: Encoding::Base64,
    ..BODY_HEX
};

const fn hex(header: &'static str, prefix: &'static str) -> Scheme<&'static str> {
    Scheme::Recipe(Recipe {
        place: Header(header),
        form: Form::Whole { prefix },
        ..BODY_HEX
    })
}

const fn base64(header: &'static str, prefix: &'static str) -> Scheme<&'static str> {
    Scheme::Recipe(Recipe {
        place: Header(header),
        form: Form::Whole { prefix },
        ..BODY_BASE64
    })
}

const fn token(header: &'static str, prefix: &'static str) -> Scheme<&'static str> {
    Scheme::Shared {
        place: Header(header),
        prefix,
    }
}

const fn at(header: &'static str, unit: Unit, tolerance_s: u32) -> Stamp<&'static str> {
    Stamp {
        place: Header(header),
        unit,
        tolerance_s,
    }
}

const fn item(name: &'static str, tolerance_s: u32) -> Stamp<&'static str> {
    Stamp {
        place: Item(name),
        unit: Unit::Seconds,
        tolerance_s,
    }
}

const fn items(separator: char, name: &'static str) -> Form<&'static str> {
    Form::Items { separator, name }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const fn reply(content_type: &'static str, body: &'static [Part]) -> Reply {
    Reply {
        status: 200,
        content_type,
        headers: &[],
        body,
    }
}

const SHAKE: Handshake = Handshake {
    name: "",
    when: &[],
    verified: false,
    demands: None,
    teaches: None,
    follows: None,
    reply: reply(TEXT, &[Part::Text("OK")]),
};

const HEAD_PROBE: Handshake = Handshake {
    name: "URL check by HEAD",
    when: &[When::Method("HEAD")],
    reply: reply(TEXT, &[]),
    ..SHAKE
};

/// Signed by the provider with a secret that both know.
const SIGNED: Preset = Preset {
    name: "",
    label: "",
    scheme: Scheme::Nothing,
    secret: SecretRule::Required("the signing secret"),
    settings: &[],
    document: DocumentIn::Body,
    event_type: TypeIn::Nowhere,
    event_id: None,
    handshakes: &[],
    answer: OK,
    steps: &[],
    page: "",
};

const HEADER_SETTING: Setting = Setting {
    name: "header",
    label: "the header that carries it",
    required: true,
    kind: SettingKind::HeaderName,
};

/// Every preset, the general ones first, then providers by their label.
pub const ALL: &[Preset] = &[
    Preset {
        name: "standard-webhooks",
        label: "Standard Webhooks",
        scheme: Scheme::Standard,
        secret: SecretRule::Required("the signing secret, whsec_... or whpk_..."),
        event_type: TypeIn::At(Field("/type")),
        event_id: Some(Header("webhook-id")),
        steps: &[
            "Give the sender this source's URL.",
            "Copy the signing secret it shows, whsec_... or whpk_..., into this form.",
        ],
        page: "https://www.standardwebhooks.com",
        ..SIGNED
    },
    Preset {
        name: "svix",
        label: "Svix",
        scheme: Scheme::Standard,
        secret: SecretRule::Required("the endpoint's signing secret, whsec_..."),
        event_type: TypeIn::At(Field("/type")),
        event_id: Some(Header("svix-id")),
        steps: &[
            "Add an endpoint with this source's URL in the sender's portal.",
            "Copy the endpoint's signing secret into this form.",
        ],
        page: "https://docs.svix.com/receiving/verifying-payloads/how",
        ..SIGNED
    },
    Preset {
        name: "octohooks",
        label: "Octohooks",
        scheme: Scheme::Octohooks,
        secret: SecretRule::Required("the endpoint's secret"),
        steps: &[
            "Add an endpoint with this source's URL.",
            "Copy its secret into this form.",
        ],
        page: "https://octohooks.com",
        ..SIGNED
    },
    Preset {
        name: "optech",
        label: "OpTech",
        scheme: Scheme::Optech,
        secret: SecretRule::Required("the client secret"),
        settings: &[Setting {
            required: false,
            label: "the signature's header, if it is not x-optech-signature",
            ..HEADER_SETTING
        }],
        steps: &[
            "Set this source's URL as the receiver.",
            "Copy the client secret into this form.",
        ],
        page: "",
        ..SIGNED
    },
    Preset {
        name: "static-header",
        label: "A secret in a header",
        scheme: Scheme::SharedInOwnHeader,
        secret: SecretRule::Required("the header's value"),
        settings: &[HEADER_SETTING],
        steps: &[
            "Let the sender put the secret into the header, such as x-api-secret, of every request to this source's URL.",
        ],
        page: "",
        ..SIGNED
    },
    Preset {
        name: "basic",
        label: "Basic authentication",
        scheme: Scheme::Basic,
        secret: SecretRule::Required("user:password"),
        steps: &[
            "Let the sender authenticate with this user and password; where only a URL can be set, https://user:password@host/in/...",
        ],
        page: "",
        ..SIGNED
    },
    Preset {
        name: "bearer",
        label: "A bearer token",
        scheme: token("authorization", "Bearer "),
        secret: SecretRule::Required("the token"),
        steps: &["Let the sender put the token after Authorization: Bearer."],
        page: "",
        ..SIGNED
    },
    Preset {
        name: "none",
        label: "Not verified",
        secret: SecretRule::Unused,
        steps: &[
            "Anybody who knows the URL can send to it: keep the generated one secret, or limit the addresses it takes.",
        ],
        page: "",
        ..SIGNED
    },
    Preset {
        name: "custom",
        label: "A signature of your own description",
        scheme: Scheme::OwnRecipe,
        steps: &[
            "Describe how the sender signs: where the signature stands, what it is of, by which algorithm.",
        ],
        page: "",
        ..SIGNED
    },
    Preset {
        name: "adyen",
        label: "Adyen",
        scheme: Scheme::Adyen,
        secret: SecretRule::Required("the HMAC key, in hex"),
        event_type: TypeIn::At(Field(
            "/notificationItems/0/NotificationRequestItem/eventCode",
        )),
        answer: EventAnswer {
            body: "[accepted]",
            ..OK
        },
        steps: &[
            "In the Customer Area open Developers, Webhooks, and add a standard webhook with this source's URL.",
            "Generate an HMAC key and copy it into this form.",
        ],
        page: "https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures",
        ..SIGNED
    },
    Preset {
        name: "aws-sns",
        label: "Amazon SNS",
        scheme: Scheme::Sns,
        secret: SecretRule::Unused,
        settings: &[Setting {
            name: "topicArns",
            label: "the topics' ARNs, comma-separated",
            required: true,
            kind: SettingKind::Text,
        }],
        event_type: TypeIn::Nowhere,
        event_id: Some(Field("/MessageId")),
        handshakes: &[
            Handshake {
                name: "SubscriptionConfirmation",
                when: &[When::Is(Field("/Type"), "SubscriptionConfirmation")],
                verified: true,
                follows: Some(Field("/SubscribeURL")),
                ..SHAKE
            },
            Handshake {
                name: "UnsubscribeConfirmation",
                when: &[When::Is(Field("/Type"), "UnsubscribeConfirmation")],
                verified: true,
                ..SHAKE
            },
        ],
        steps: &[
            "Create an HTTPS subscription of the topic with this source's URL as its endpoint.",
            "The confirmation is checked and answered here by itself.",
        ],
        page: "https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html",
        ..SIGNED
    },
    Preset {
        name: "asana",
        label: "Asana",
        scheme: hex("x-hook-signature", ""),
        secret: SecretRule::Learned("the X-Hook-Secret of the handshake"),
        handshakes: &[Handshake {
            name: "X-Hook-Secret",
            when: &[
                When::Has(Header("x-hook-secret")),
                When::Lacks(Header("x-hook-signature")),
            ],
            teaches: Some(Header("x-hook-secret")),
            reply: Reply {
                status: 200,
                content_type: TEXT,
                headers: &[("x-hook-secret", Part::Value(Header("x-hook-secret")))],
                body: &[],
            },
            ..SHAKE
        }],
        steps: &[
            "Save this source without a secret, then create the webhook with its URL through Asana's API.",
            "Asana's handshake is answered here, and its secret is kept.",
        ],
        page: "https://developers.asana.com/docs/webhooks-guide",
        ..SIGNED
    },
    Preset {
        name: "azure-event-grid",
        label: "Azure Event Grid",
        scheme: token("x-api-secret", ""),
        secret: SecretRule::Required("the value of the delivery property x-api-secret"),
        event_type: TypeIn::At(Field("/0/eventType")),
        event_id: Some(Field("/0/id")),
        handshakes: &[
            Handshake {
                name: "SubscriptionValidation",
                when: &[When::Is(Header("aeg-event-type"), "SubscriptionValidation")],
                verified: true,
                reply: reply(
                    JSON,
                    &[
                        Part::Text("{\"validationResponse\":"),
                        Part::Quoted(Field("/0/data/validationCode")),
                        Part::Text("}"),
                    ],
                ),
                ..SHAKE
            },
            Handshake {
                name: "CloudEvents validation by OPTIONS",
                when: &[
                    When::Method("OPTIONS"),
                    When::Has(Header("webhook-request-origin")),
                ],
                reply: Reply {
                    status: 200,
                    content_type: TEXT,
                    headers: &[
                        (
                            "webhook-allowed-origin",
                            Part::Value(Header("webhook-request-origin")),
                        ),
                        ("webhook-allowed-rate", Part::Text("*")),
                    ],
                    body: &[],
                },
                ..SHAKE
            },
        ],
        steps: &[
            "Create an event subscription of the endpoint type Web Hook with this source's URL.",
            "Under Delivery Properties add x-api-secret as a secret with a long random value; paste the same here.",
        ],
        page: "https://learn.microsoft.com/azure/event-grid/webhook-event-delivery",
        ..SIGNED
    },
    Preset {
        name: "bitbucket",
        label: "Bitbucket",
        scheme: hex("x-hub-signature", "sha256="),
        event_type: TypeIn::At(Header("x-event-key")),
        event_id: Some(Header("x-request-uuid")),
        steps: &[
            "In the repository's settings open Webhooks and add this source's URL, with a secret.",
            "Copy the secret into this form.",
        ],
        page: "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks",
        ..SIGNED
    },
    Preset {
        name: "box",
        label: "Box",
        scheme: Scheme::Recipe(Recipe {
            place: Header("box-signature-primary"),
            also: Some(Header("box-signature-secondary")),
            signed: "{body}{timestamp}",
            timestamp: Some(at("box-delivery-timestamp", Unit::Rfc3339, 600)),
            ..BODY_BASE64
        }),
        secret: SecretRule::Required("the primary or the secondary signature key"),
        event_type: TypeIn::At(Field("/trigger")),
        event_id: Some(Field("/id")),
        steps: &[
            "In the developer console open the app's Webhooks, and generate signature keys under Manage signature keys.",
            "Copy both keys into this form; create the webhook with this source's URL.",
        ],
        page: "https://developer.box.com/guides/webhooks/v2/signatures-v2",
        ..SIGNED
    },
    Preset {
        name: "chargebee",
        label: "Chargebee",
        scheme: Scheme::Basic,
        secret: SecretRule::Required("user:password"),
        event_type: TypeIn::At(Field("/event_type")),
        event_id: Some(Field("/id")),
        steps: &[
            "In Settings, Configure Chargebee, Webhooks add this source's URL.",
            "Protect it with basic authentication: the same user and password here.",
        ],
        page: "https://www.chargebee.com/docs/2.0/webhook_settings.html",
        ..SIGNED
    },
    Preset {
        name: "coinbase-commerce",
        label: "Coinbase Commerce",
        scheme: hex("x-cc-webhook-signature", ""),
        secret: SecretRule::Required("the webhook's shared secret"),
        event_type: TypeIn::At(Field("/event/type")),
        event_id: Some(Field("/event/id")),
        steps: &[
            "In Settings, Notifications add this source's URL as an endpoint.",
            "Show the shared secret and copy it into this form.",
        ],
        page: "https://docs.cdp.coinbase.com/commerce/docs/webhooks-security",
        ..SIGNED
    },
    Preset {
        name: "cursor",
        label: "Cursor",
        scheme: hex("x-webhook-signature", "sha256="),
        event_type: TypeIn::At(Field("/event")),
        event_id: Some(Header("x-webhook-id")),
        steps: &[
            "Give this source's URL and a secret when an agent is launched.",
            "Put the same secret here.",
        ],
        page: "https://cursor.com/docs/cloud-agent/api/webhooks",
        ..SIGNED
    },
    Preset {
        name: "deepgram",
        label: "Deepgram",
        scheme: Scheme::Basic,
        secret: SecretRule::Required("user:password"),
        event_id: Some(Field("/metadata/request_id")),
        steps: &[
            "Make up a user and a password, put them here as user:password, and save.",
            "Pass this source's URL as the callback of a request, with both in it: https://user:password@host/in/...",
        ],
        page: "https://developers.deepgram.com/docs/callback",
        ..SIGNED
    },
    Preset {
        name: "discord",
        label: "Discord",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-signature-ed25519"),
            algorithm: Algorithm::Ed25519,
            key: KeyForm::Public,
            signed: "{timestamp}{body}",
            timestamp: Some(at("x-signature-timestamp", Unit::Seconds, 300)),
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the application's public key"),
        event_type: TypeIn::At(Field("/event/type")),
        handshakes: &[
            Handshake {
                name: "PING of interactions",
                when: &[When::Is(Field("/type"), "1"), When::NoObject("/event")],
                verified: true,
                reply: reply(JSON, &[Part::Text("{\"type\":1}")]),
                ..SHAKE
            },
            Handshake {
                name: "PING of webhook events",
                when: &[When::Is(Field("/type"), "0")],
                verified: true,
                reply: Reply {
                    status: 204,
                    content_type: JSON,
                    headers: &[],
                    body: &[],
                },
                ..SHAKE
            },
        ],
        answer: EventAnswer {
            status: 204,
            content_type: JSON,
            body: "",
        },
        steps: &[
            "On the application's page copy the public key into this form.",
            "Under Webhooks set this source's URL as the endpoint. Discord tries it with good and bad signatures at once.",
        ],
        page: "https://docs.discord.com/developers/events/webhook-events",
        ..SIGNED
    },
    Preset {
        name: "dropbox",
        label: "Dropbox",
        scheme: hex("x-dropbox-signature", ""),
        secret: SecretRule::Required("the app's secret"),
        handshakes: &[Handshake {
            name: "challenge",
            when: &[When::Method("GET"), When::Has(Query("challenge"))],
            reply: reply(TEXT, &[Part::Value(Query("challenge"))]),
            ..SHAKE
        }],
        steps: &[
            "Copy the app secret from the App Console into this form and save.",
            "Add this source's URL under Webhook URIs: Dropbox checks it at once.",
        ],
        page: "https://www.dropbox.com/developers/reference/webhooks",
        ..SIGNED
    },
    Preset {
        name: "dropbox-sign",
        label: "Dropbox Sign",
        scheme: Scheme::Recipe(Recipe {
            place: Field("/event/event_hash"),
            signed: "{/event/event_time}{/event/event_type}",
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the account's primary API key"),
        document: DocumentIn::BodyOrField("json"),
        event_type: TypeIn::At(Field("/event/event_type")),
        // Its hash is of a second and a kind of event: two of a kind have the same.
        event_id: None,
        answer: EventAnswer {
            body: "Hello API Event Received",
            ..OK
        },
        steps: &[
            "In the API settings set this source's URL as the account callback.",
            "Copy the primary API key into this form.",
        ],
        page: "https://developers.hellosign.com/docs/events/overview/",
        ..SIGNED
    },
    Preset {
        name: "elevenlabs",
        label: "ElevenLabs",
        scheme: Scheme::Recipe(Recipe {
            place: Header("elevenlabs-signature"),
            form: items(',', "v0"),
            signed: "{timestamp}.{body}",
            timestamp: Some(item("t", 1800)),
            ..BODY_HEX
        }),
        event_type: TypeIn::At(Field("/type")),
        steps: &[
            "In the settings open Webhooks and create one with this source's URL.",
            "Copy the secret it shows once into this form.",
        ],
        page: "https://elevenlabs.io/docs/product-guides/administration/webhooks",
        ..SIGNED
    },
    Preset {
        name: "fusionauth",
        label: "FusionAuth",
        scheme: Scheme::Jwt(JwtRule {
            place: Header("x-fusionauth-signature-jwt"),
            prefix: "",
            algorithms: &["HS256", "RS256", "ES256", "EdDSA"],
            body_hash: Some(("request_body_sha256", Encoding::Base64)),
            age_max_s: 0,
            keys: KeySource::SecretsOrSetting,
            claims: &[],
        }),
        secret: SecretRule::Optional("the signing key: PEM, JWK, or the text of an HMAC key"),
        settings: &[Setting {
            name: "keysUrl",
            label: "or the URL of the key set, https://.../.well-known/jwks.json",
            required: false,
            kind: SettingKind::HttpsUrl,
        }],
        event_type: TypeIn::At(Field("/event/type")),
        event_id: Some(Field("/event/id")),
        steps: &[
            "Create a webhook with this source's URL and choose a signing key under Security.",
            "Put the key, or the key set's URL, here.",
        ],
        page: "https://fusionauth.io/docs/extend/events-and-webhooks/signing",
        ..SIGNED
    },
    Preset {
        name: "github",
        label: "GitHub",
        scheme: hex("x-hub-signature-256", "sha256="),
        secret: SecretRule::Required("the webhook's secret"),
        document: DocumentIn::BodyOrField("payload"),
        event_type: TypeIn::At(Header("x-github-event")),
        event_id: Some(Header("x-github-delivery")),
        handshakes: &[Handshake {
            name: "ping",
            when: &[When::Is(Header("x-github-event"), "ping")],
            verified: true,
            ..SHAKE
        }],
        steps: &[
            "In the repository's or organisation's settings open Webhooks, Add webhook.",
            "Payload URL: this source's URL. Content type: application/json. Secret: the same as here.",
            "Choose the events and save. GitHub sends a ping, which shows in the log.",
        ],
        page: "https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries",
        ..SIGNED
    },
    Preset {
        name: "gitlab",
        label: "GitLab, by token",
        scheme: token("x-gitlab-token", ""),
        secret: SecretRule::Required("the secret token"),
        event_type: TypeIn::At(Field("/object_kind")),
        event_id: Some(Header("idempotency-key")),
        steps: &[
            "In the project's settings open Webhooks and add this source's URL.",
            "Secret token: the same as here.",
        ],
        page: "https://docs.gitlab.com/user/project/integrations/webhooks/",
        ..SIGNED
    },
    Preset {
        name: "gitlab-signed",
        label: "GitLab, signed",
        scheme: Scheme::Standard,
        secret: SecretRule::Required("the signing token"),
        event_type: TypeIn::At(Field("/object_kind")),
        event_id: Some(Header("webhook-id")),
        steps: &[
            "In the project's settings open Webhooks and add this source's URL.",
            "Generate a signing token and copy it into this form.",
        ],
        page: "https://docs.gitlab.com/user/project/integrations/webhooks/",
        ..SIGNED
    },
    Preset {
        name: "google-pubsub",
        label: "Google Cloud Pub/Sub",
        scheme: Scheme::Jwt(JwtRule {
            place: Header("authorization"),
            prefix: "Bearer ",
            algorithms: &["RS256"],
            body_hash: None,
            age_max_s: 0,
            keys: KeySource::Url("https://www.googleapis.com/oauth2/v3/certs"),
            claims: &[("aud", "audience"), ("email", "serviceAccount")],
        }),
        secret: SecretRule::Unused,
        settings: &[
            Setting {
                name: "audience",
                label: "the push subscription's audience",
                required: true,
                kind: SettingKind::Text,
            },
            Setting {
                name: "serviceAccount",
                label: "the e-mail address of the service account that pushes",
                required: true,
                kind: SettingKind::Text,
            },
        ],
        event_id: Some(Field("/message/messageId")),
        answer: EventAnswer {
            status: 204,
            body: "",
            ..OK
        },
        steps: &[
            "Create a push subscription with this source's URL.",
            "Enable authentication, choose a service account and an audience, and put both here.",
        ],
        page: "https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions",
        ..SIGNED
    },
    Preset {
        name: "hubspot",
        label: "HubSpot",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-hubspot-signature-v3"),
            signed: "{method}{url}{body}{timestamp}",
            timestamp: Some(at("x-hubspot-request-timestamp", Unit::Milliseconds, 300)),
            ..BODY_BASE64
        }),
        secret: SecretRule::Required("the app's client secret"),
        event_type: TypeIn::At(Field("/0/subscriptionType")),
        steps: &[
            "On the app's page copy the client secret into this form.",
            "Under Webhooks set this source's URL as the target, exactly as it stands here.",
        ],
        page: "https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation",
        ..SIGNED
    },
    Preset {
        name: "intercom",
        label: "Intercom",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-hub-signature"),
            form: Form::Whole { prefix: "sha1=" },
            algorithm: Algorithm::HmacSha1,
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the app's client secret"),
        event_type: TypeIn::At(Field("/topic")),
        event_id: Some(Field("/id")),
        handshakes: &[HEAD_PROBE],
        steps: &[
            "In the Developer Hub open the app's Webhooks and set this source's URL.",
            "Copy the client secret from Basic information into this form.",
        ],
        page: "https://developers.intercom.com/docs/webhooks",
        ..SIGNED
    },
    Preset {
        name: "jira",
        label: "Jira",
        scheme: hex("x-hub-signature", "sha256="),
        event_type: TypeIn::At(Field("/webhookEvent")),
        event_id: Some(Header("x-atlassian-webhook-identifier")),
        steps: &[
            "In the system settings open WebHooks and create one with this source's URL.",
            "Generate a secret and copy it into this form.",
        ],
        page: "https://developer.atlassian.com/cloud/jira/platform/webhooks/",
        ..SIGNED
    },
    Preset {
        name: "line",
        label: "LINE",
        scheme: base64("x-line-signature", ""),
        secret: SecretRule::Required("the channel secret"),
        event_type: TypeIn::At(Field("/events/0/type")),
        event_id: Some(Field("/events/0/webhookEventId")),
        handshakes: &[Handshake {
            name: "verify button",
            when: &[When::EmptyList("/events")],
            verified: true,
            ..SHAKE
        }],
        steps: &[
            "In the LINE Developers Console open the channel's Messaging API tab and set this source's URL.",
            "Copy the channel secret into this form, then press Verify over there.",
        ],
        page: "https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/",
        ..SIGNED
    },
    Preset {
        name: "linear",
        label: "Linear",
        scheme: Scheme::Recipe(Recipe {
            place: Header("linear-signature"),
            timestamp: Some(Stamp {
                place: Field("/webhookTimestamp"),
                unit: Unit::Milliseconds,
                tolerance_s: 60,
            }),
            ..BODY_HEX
        }),
        event_type: TypeIn::At(Header("linear-event")),
        event_id: Some(Header("linear-delivery")),
        steps: &[
            "In Settings, API create a webhook with this source's URL.",
            "Copy its signing secret into this form.",
        ],
        page: "https://linear.app/developers/webhooks",
        ..SIGNED
    },
    Preset {
        name: "mailgun",
        label: "Mailgun",
        scheme: Scheme::Recipe(Recipe {
            place: Field("/signature/signature"),
            signed: "{timestamp}{/signature/token}",
            timestamp: Some(Stamp {
                place: Field("/signature/timestamp"),
                unit: Unit::Seconds,
                tolerance_s: 0,
            }),
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the HTTP webhook signing key"),
        event_type: TypeIn::At(Field("/event-data/event")),
        event_id: Some(Field("/signature/token")),
        steps: &[
            "Under Sending, Webhooks add this source's URL for the events you want.",
            "Copy the HTTP webhook signing key into this form. Mailgun signs a token, not the event itself.",
        ],
        page: "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
        ..SIGNED
    },
    Preset {
        name: "meta",
        label: "Meta (Facebook, Instagram, WhatsApp)",
        scheme: hex("x-hub-signature-256", "sha256="),
        secret: SecretRule::Required("the app secret"),
        settings: &[Setting {
            name: "verifyToken",
            label: "the verify token",
            required: true,
            kind: SettingKind::Secret,
        }],
        event_type: TypeIn::At(Field("/object")),
        handshakes: &[Handshake {
            name: "hub.challenge",
            when: &[
                When::Method("GET"),
                When::Is(Query("hub.mode"), "subscribe"),
                When::Has(Query("hub.challenge")),
            ],
            demands: Some((Query("hub.verify_token"), "verifyToken")),
            reply: reply(TEXT, &[Part::Value(Query("hub.challenge"))]),
            ..SHAKE
        }],
        steps: &[
            "Copy the app secret from Settings, Basic into this form; make up a verify token, and save.",
            "In the app's Webhooks product set this source's URL and the same verify token.",
        ],
        page: "https://developers.facebook.com/docs/graph-api/webhooks/getting-started",
        ..SIGNED
    },
    Preset {
        name: "microsoft-graph",
        label: "Microsoft Graph",
        scheme: Scheme::SharedInEach {
            list: "/value",
            name: "clientState",
        },
        secret: SecretRule::Required("the subscription's clientState"),
        event_type: TypeIn::At(Field("/value/0/changeType")),
        handshakes: &[Handshake {
            name: "validationToken",
            when: &[When::Method("POST"), When::Has(Query("validationToken"))],
            reply: reply(TEXT, &[Part::Value(Query("validationToken"))]),
            ..SHAKE
        }],
        answer: EventAnswer {
            status: 202,
            body: "",
            ..OK
        },
        steps: &[
            "Create a subscription with this source's URL as notificationUrl.",
            "Give it a clientState of up to 128 characters, the same as here.",
        ],
        page: "https://learn.microsoft.com/graph/change-notifications-delivery-webhooks",
        ..SIGNED
    },
    Preset {
        name: "notion",
        label: "Notion",
        scheme: hex("x-notion-signature", "sha256="),
        secret: SecretRule::Learned("the verification token of the handshake"),
        event_type: TypeIn::At(Field("/type")),
        event_id: Some(Field("/id")),
        handshakes: &[Handshake {
            name: "verification_token",
            when: &[
                When::Has(Field("/verification_token")),
                When::Lacks(Header("x-notion-signature")),
            ],
            teaches: Some(Field("/verification_token")),
            ..SHAKE
        }],
        steps: &[
            "Save this source without a secret. In the integration's Webhooks tab create a subscription with its URL.",
            "The token that Notion sends shows in the log: paste it back over there to verify. It is the secret from then on.",
        ],
        page: "https://developers.notion.com/reference/webhooks",
        ..SIGNED
    },
    Preset {
        name: "okta",
        label: "Okta event hooks",
        scheme: token("authorization", ""),
        secret: SecretRule::Required("the whole value of the Authorization header"),
        event_type: TypeIn::At(Field("/data/events/0/eventType")),
        event_id: Some(Field("/eventId")),
        handshakes: &[Handshake {
            name: "X-Okta-Verification-Challenge",
            when: &[
                When::Method("GET"),
                When::Has(Header("x-okta-verification-challenge")),
            ],
            reply: reply(
                JSON,
                &[
                    Part::Text("{\"verification\":"),
                    Part::Quoted(Header("x-okta-verification-challenge")),
                    Part::Text("}"),
                ],
            ),
            ..SHAKE
        }],
        steps: &[
            "In Workflow, Event Hooks create one with this source's URL.",
            "Authentication field: Authorization. Authentication secret: the same as here. Then press Verify.",
        ],
        page: "https://developer.okta.com/docs/concepts/event-hooks/",
        ..SIGNED
    },
    Preset {
        name: "paddle",
        label: "Paddle",
        scheme: Scheme::Recipe(Recipe {
            place: Header("paddle-signature"),
            form: items(';', "h1"),
            signed: "{timestamp}:{body}",
            timestamp: Some(item("ts", 300)),
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the notification destination's secret key, pdl_ntfset_..."),
        event_type: TypeIn::At(Field("/event_type")),
        event_id: Some(Field("/event_id")),
        steps: &[
            "In Developer tools, Notifications add a destination with this source's URL.",
            "Copy its secret key into this form.",
        ],
        page: "https://developer.paddle.com/webhooks/signature-verification",
        ..SIGNED
    },
    Preset {
        name: "paypal",
        label: "PayPal",
        scheme: Scheme::PayPal,
        secret: SecretRule::Unused,
        settings: &[Setting {
            name: "webhookId",
            label: "the webhook's id",
            required: true,
            kind: SettingKind::Text,
        }],
        event_type: TypeIn::At(Field("/event_type")),
        event_id: Some(Field("/id")),
        steps: &[
            "In the developer dashboard open the app and add a webhook with this source's URL.",
            "Copy the webhook's id into this form. Its certificates are fetched from paypal.com.",
        ],
        page: "https://developer.paypal.com/api/rest/webhooks/rest/",
        ..SIGNED
    },
    Preset {
        name: "plaid",
        label: "Plaid",
        scheme: Scheme::Jwt(JwtRule {
            place: Header("plaid-verification"),
            prefix: "",
            algorithms: &["ES256"],
            body_hash: Some(("request_body_sha256", Encoding::Hex)),
            age_max_s: 300,
            keys: KeySource::Plaid,
            claims: &[],
        }),
        secret: SecretRule::Required("client_id:secret, to fetch Plaid's keys with"),
        settings: &[Setting {
            name: "host",
            label: "production.plaid.com, or sandbox.plaid.com",
            required: false,
            kind: SettingKind::Text,
        }],
        event_type: TypeIn::At(Field("/webhook_type")),
        steps: &[
            "Set this source's URL as the webhook of a Link token.",
            "Put the client id and the secret from the dashboard's Keys page here, with a colon between.",
        ],
        page: "https://plaid.com/docs/api/webhooks/webhook-verification/",
        ..SIGNED
    },
    Preset {
        name: "postmark",
        label: "Postmark",
        scheme: Scheme::Basic,
        secret: SecretRule::Required("user:password"),
        event_type: TypeIn::At(Field("/RecordType")),
        steps: &[
            "In the server's message stream open Webhooks and add this source's URL.",
            "Set basic authentication: the same user and password as here.",
        ],
        page: "https://postmarkapp.com/developer/webhooks/webhooks-overview",
        ..SIGNED
    },
    Preset {
        name: "razorpay",
        label: "Razorpay",
        scheme: hex("x-razorpay-signature", ""),
        secret: SecretRule::Required("the webhook's secret"),
        event_type: TypeIn::At(Field("/event")),
        event_id: Some(Header("x-razorpay-event-id")),
        steps: &[
            "In Account & Settings, Webhooks add this source's URL with a secret.",
            "Put the same secret here.",
        ],
        page: "https://razorpay.com/docs/webhooks/validate-test/",
        ..SIGNED
    },
    Preset {
        name: "sendgrid",
        label: "SendGrid",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-twilio-email-event-webhook-signature"),
            algorithm: Algorithm::EcdsaP256,
            key: KeyForm::Public,
            signed: "{timestamp}{body}",
            timestamp: Some(at(
                "x-twilio-email-event-webhook-timestamp",
                Unit::Seconds,
                300,
            )),
            ..BODY_BASE64
        }),
        secret: SecretRule::Required("the verification key (a public key)"),
        event_type: TypeIn::At(Field("/0/event")),
        event_id: Some(Field("/0/sg_event_id")),
        steps: &[
            "In Settings, Mail Settings, Event Webhooks set this source's URL and enable the signed webhook.",
            "Copy the verification key into this form.",
        ],
        page: "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
        ..SIGNED
    },
    Preset {
        name: "shopify",
        label: "Shopify",
        scheme: base64("x-shopify-hmac-sha256", ""),
        secret: SecretRule::Required("the app's client secret"),
        event_type: TypeIn::At(Header("x-shopify-topic")),
        event_id: Some(Header("x-shopify-webhook-id")),
        steps: &[
            "Copy the app's client secret into this form (of a shop's own webhooks: the key under Settings, Notifications, Webhooks).",
            "Subscribe to topics with this source's URL.",
        ],
        page: "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
        ..SIGNED
    },
    Preset {
        name: "slack",
        label: "Slack",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-slack-signature"),
            form: Form::Whole { prefix: "v0=" },
            signed: "v0:{timestamp}:{body}",
            timestamp: Some(at("x-slack-request-timestamp", Unit::Seconds, 300)),
            ..BODY_HEX
        }),
        document: DocumentIn::BodyOrField("payload"),
        event_type: TypeIn::At(Field("/event/type")),
        event_id: Some(Field("/event_id")),
        handshakes: &[Handshake {
            name: "url_verification",
            when: &[When::Is(Field("/type"), "url_verification")],
            verified: true,
            reply: reply(TEXT, &[Part::Value(Field("/challenge"))]),
            ..SHAKE
        }],
        steps: &[
            "In the app's Basic Information copy the signing secret into this form and save.",
            "Under Event Subscriptions set this source's URL as the request URL: Slack checks it at once.",
        ],
        page: "https://api.slack.com/authentication/verifying-requests-from-slack",
        ..SIGNED
    },
    Preset {
        name: "square",
        label: "Square",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-square-hmacsha256-signature"),
            signed: "{url}{body}",
            ..BODY_BASE64
        }),
        secret: SecretRule::Required("the subscription's signature key"),
        event_type: TypeIn::At(Field("/type")),
        event_id: Some(Field("/event_id")),
        steps: &[
            "In the developer console open the application's Webhooks and add a subscription with this source's URL, exactly as it stands here.",
            "Copy the signature key into this form.",
        ],
        page: "https://developer.squareup.com/docs/webhooks/step3validate",
        ..SIGNED
    },
    Preset {
        name: "stripe",
        label: "Stripe",
        scheme: Scheme::Recipe(Recipe {
            place: Header("stripe-signature"),
            form: items(',', "v1"),
            signed: "{timestamp}.{body}",
            timestamp: Some(item("t", 300)),
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the endpoint's signing secret, whsec_..."),
        event_type: TypeIn::At(Field("/type")),
        event_id: Some(Field("/id")),
        steps: &[
            "In the Workbench open Webhooks and add a destination with this source's URL.",
            "Choose the events, then reveal the signing secret and copy it into this form.",
        ],
        page: "https://docs.stripe.com/webhooks/signatures",
        ..SIGNED
    },
    Preset {
        name: "trello",
        label: "Trello",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-trello-webhook"),
            algorithm: Algorithm::HmacSha1,
            signed: "{body}{url}",
            ..BODY_BASE64
        }),
        secret: SecretRule::Required("the application's OAuth secret"),
        event_type: TypeIn::At(Field("/action/type")),
        event_id: Some(Field("/action/id")),
        handshakes: &[HEAD_PROBE],
        steps: &[
            "Copy the OAuth secret from the Power-Up's API key page into this form and save.",
            "Create the webhook with this source's URL as callbackURL, exactly as it stands here.",
        ],
        page: "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
        ..SIGNED
    },
    Preset {
        name: "twilio",
        label: "Twilio",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-twilio-signature"),
            algorithm: Algorithm::HmacSha1,
            signed: "{url}{fields}",
            cover: Cover::FormOrHashInQuery("bodySHA256"),
            ..BODY_BASE64
        }),
        secret: SecretRule::Required("the account's auth token"),
        steps: &[
            "Copy the primary auth token from the console into this form.",
            "Set this source's URL where Twilio asks for a webhook, exactly as it stands here.",
        ],
        page: "https://www.twilio.com/docs/usage/security",
        ..SIGNED
    },
    Preset {
        name: "twitch",
        label: "Twitch EventSub",
        scheme: Scheme::Recipe(Recipe {
            place: Header("twitch-eventsub-message-signature"),
            form: Form::Whole { prefix: "sha256=" },
            signed: "{id}{timestamp}{body}",
            timestamp: Some(at("twitch-eventsub-message-timestamp", Unit::Rfc3339, 600)),
            id: Some(Header("twitch-eventsub-message-id")),
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the subscription's secret"),
        event_type: TypeIn::At(Header("twitch-eventsub-subscription-type")),
        event_id: Some(Header("twitch-eventsub-message-id")),
        handshakes: &[Handshake {
            name: "webhook_callback_verification",
            when: &[When::Is(
                Header("twitch-eventsub-message-type"),
                "webhook_callback_verification",
            )],
            verified: true,
            reply: reply(TEXT, &[Part::Value(Field("/challenge"))]),
            ..SHAKE
        }],
        steps: &[
            "Save this source with a secret of 10 to 100 characters.",
            "Create the subscription with this source's URL as callback and the same secret.",
        ],
        page: "https://dev.twitch.tv/docs/eventsub/handling-webhook-events/",
        ..SIGNED
    },
    Preset {
        name: "vercel",
        label: "Vercel",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-vercel-signature"),
            algorithm: Algorithm::HmacSha1,
            ..BODY_HEX
        }),
        event_type: TypeIn::At(Field("/type")),
        event_id: Some(Field("/id")),
        steps: &[
            "In the team's settings open Webhooks and create one with this source's URL.",
            "Copy the secret it shows once into this form.",
        ],
        page: "https://vercel.com/docs/webhooks/webhooks-api",
        ..SIGNED
    },
    Preset {
        name: "webflow",
        label: "Webflow",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-webflow-signature"),
            signed: "{timestamp}:{body}",
            timestamp: Some(at("x-webflow-timestamp", Unit::Milliseconds, 300)),
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the app's client secret, or the webhook's own"),
        event_type: TypeIn::At(Field("/triggerType")),
        steps: &[
            "Create the webhook through Webflow's API with this source's URL; those made on the site's settings page are not signed.",
            "Put the app's client secret, or the secretKey that the API gave, here.",
        ],
        page: "https://developers.webflow.com/data/docs/working-with-webhooks",
        ..SIGNED
    },
    Preset {
        name: "woocommerce",
        label: "WooCommerce",
        scheme: base64("x-wc-webhook-signature", ""),
        secret: SecretRule::Required("the webhook's secret"),
        event_type: TypeIn::At(Header("x-wc-webhook-topic")),
        event_id: Some(Header("x-wc-webhook-delivery-id")),
        handshakes: &[Handshake {
            name: "ping",
            when: &[
                When::Lacks(Header("x-wc-webhook-signature")),
                When::HasFormField("webhook_id"),
            ],
            ..SHAKE
        }],
        steps: &[
            "In Settings, Advanced, Webhooks add one with this source's URL as delivery URL.",
            "Secret: the same as here.",
        ],
        page: "https://developer.woocommerce.com/docs/webhooks/",
        ..SIGNED
    },
    Preset {
        name: "x",
        label: "X (Twitter)",
        scheme: base64("x-twitter-webhooks-signature", "sha256="),
        secret: SecretRule::Required("the app's consumer secret"),
        handshakes: &[Handshake {
            name: "crc_token",
            when: &[When::Method("GET"), When::Has(Query("crc_token"))],
            reply: reply(
                JSON,
                &[
                    Part::Text("{\"response_token\":\"sha256="),
                    Part::MacBase64(Query("crc_token")),
                    Part::Text("\"}"),
                ],
            ),
            ..SHAKE
        }],
        steps: &[
            "Copy the app's consumer secret (API key secret) into this form and save.",
            "Register this source's URL as a webhook: X checks it at once and every hour.",
        ],
        page: "https://docs.x.com/x-api/webhooks/quickstart",
        ..SIGNED
    },
    Preset {
        name: "xero",
        label: "Xero",
        scheme: base64("x-xero-signature", ""),
        secret: SecretRule::Required("the webhooks key"),
        event_type: TypeIn::At(Field("/events/0/eventCategory")),
        handshakes: &[Handshake {
            name: "intent to receive",
            when: &[When::EmptyList("/events")],
            verified: true,
            reply: reply(TEXT, &[]),
            ..SHAKE
        }],
        answer: EventAnswer { body: "", ..OK },
        steps: &[
            "In the app's Webhooks tab set this source's URL as delivery URL.",
            "Copy the webhooks key into this form and save, then send the intent to receive over there.",
        ],
        page: "https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/",
        ..SIGNED
    },
    Preset {
        name: "zendesk",
        label: "Zendesk",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-zendesk-webhook-signature"),
            signed: "{timestamp}{body}",
            timestamp: Some(at(
                "x-zendesk-webhook-signature-timestamp",
                Unit::Rfc3339,
                300,
            )),
            ..BODY_BASE64
        }),
        event_type: TypeIn::At(Field("/type")),
        event_id: Some(Header("x-zendesk-webhook-invocation-id")),
        steps: &[
            "In the Admin Center open Apps and integrations, Webhooks and create one with this source's URL.",
            "Reveal its signing secret and copy it into this form.",
        ],
        page: "https://developer.zendesk.com/documentation/webhooks/verifying/",
        ..SIGNED
    },
    Preset {
        name: "zoom",
        label: "Zoom",
        scheme: Scheme::Recipe(Recipe {
            place: Header("x-zm-signature"),
            form: Form::Whole { prefix: "v0=" },
            signed: "v0:{timestamp}:{body}",
            timestamp: Some(at("x-zm-request-timestamp", Unit::Seconds, 300)),
            ..BODY_HEX
        }),
        secret: SecretRule::Required("the app's secret token"),
        event_type: TypeIn::At(Field("/event")),
        handshakes: &[Handshake {
            name: "endpoint.url_validation",
            when: &[When::Is(Field("/event"), "endpoint.url_validation")],
            verified: true,
            reply: reply(
                JSON,
                &[
                    Part::Text("{\"plainToken\":"),
                    Part::Quoted(Field("/payload/plainToken")),
                    Part::Text(",\"encryptedToken\":\""),
                    Part::MacHex(Field("/payload/plainToken")),
                    Part::Text("\"}"),
                ],
            ),
            ..SHAKE
        }],
        steps: &[
            "Copy the secret token from the app's Features page into this form and save.",
            "Add an event subscription with this source's URL and press Validate.",
        ],
        page: "https://developers.zoom.us/docs/api/webhooks/",
        ..SIGNED
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::verification::{Verification, Verifier};

    #[test]
    fn names_are_unique_and_tell_what_to_do() {
        for (at, preset) in ALL.iter().enumerate() {
            assert!(
                ALL[..at].iter().all(|other| other.name != preset.name),
                "{} is there twice",
                preset.name
            );
            assert!(!preset.steps.is_empty(), "{} has no steps", preset.name);
            let secret = preset.secret.label();
            assert_eq!(
                preset.secret.is_used(),
                !secret.is_empty(),
                "{}",
                preset.name
            );
        }
        let providers: Vec<_> = ALL[9..]
            .iter()
            .map(|one| one.label.to_lowercase())
            .collect();
        let mut sorted = providers.clone();
        sorted.sort();
        assert_eq!(providers, sorted, "providers by their label");
    }

    #[test]
    fn every_recipe_can_be_read() {
        for preset in ALL {
            let Scheme::Recipe(recipe) = &preset.scheme else {
                continue;
            };
            // Those that sign a part of the body only are the provider's choice.
            let partly = ["mailgun", "dropbox-sign", "twilio", "linear"];
            if !partly.contains(&preset.name) {
                assert_eq!(recipe.check(), Ok(()), "{}", preset.name);
            }
        }
    }

    #[test]
    fn what_a_preset_requires_is_asked_for() {
        for preset in ALL {
            let empty = Verification {
                preset: preset.name.to_owned(),
                ..Verification::default()
            };
            let refusals = match Verifier::new(&empty) {
                Ok(_) => Vec::new(),
                Err(refusals) => refusals,
            };
            let asked = |field: &str| refusals.iter().any(|refusal| refusal.field == field);
            assert_eq!(
                asked("secrets"),
                preset.secret.is_required(),
                "{}",
                preset.name
            );
            for setting in preset.settings {
                assert_eq!(asked(setting.name), setting.required, "{}", preset.name);
            }
        }
    }
}
