//! What was done that somebody may ask about later, and who did it.

use super::ids::{ApplicationKey, AuditKey, EnvironmentKey};

/// What an entry of the audit log is about: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    SecretRead,
    SecretRotated,
    EndpointDeleted,
    SourceDeleted,
    InboxCleared,
    InboxDeleted,
    ReceivedReplayed,
    ApplicationDeleted,
    ApiKeyCreated,
    ApiKeyRotated,
    ApiKeyRevoked,
    EnvironmentCreated,
    EnvironmentRenamed,
    EnvironmentDeleted,
    ContentErased,
    JobStarted,
    JobCancelled,
    UserCreated,
    UserChanged,
    UserRemoved,
    PasswordSet,
    SignedIn,
    SignInFailed,
    SignedOutEverywhere,
    PortalLinkCreated,
    PortalOpened,
    BrandingChanged,
}

impl AuditAction {
    /// Its name in the API and on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SecretRead => "secret.read",
            Self::SecretRotated => "secret.rotated",
            Self::EndpointDeleted => "endpoint.deleted",
            Self::SourceDeleted => "source.deleted",
            Self::InboxCleared => "inbox.cleared",
            Self::InboxDeleted => "inbox.deleted",
            Self::ReceivedReplayed => "received.replayed",
            Self::ApplicationDeleted => "application.deleted",
            Self::ApiKeyCreated => "key.created",
            Self::ApiKeyRotated => "key.rotated",
            Self::ApiKeyRevoked => "key.revoked",
            Self::EnvironmentCreated => "environment.created",
            Self::EnvironmentRenamed => "environment.renamed",
            Self::EnvironmentDeleted => "environment.deleted",
            Self::ContentErased => "content.erased",
            Self::JobStarted => "job.started",
            Self::JobCancelled => "job.cancelled",
            Self::UserCreated => "user.created",
            Self::UserChanged => "user.changed",
            Self::UserRemoved => "user.removed",
            Self::PasswordSet => "password.set",
            Self::SignedIn => "session.opened",
            Self::SignInFailed => "session.refused",
            Self::SignedOutEverywhere => "sessions.ended",
            Self::PortalLinkCreated => "portal-link.created",
            Self::PortalOpened => "portal.opened",
            Self::BrandingChanged => "branding.changed",
        }
    }
}

/// An entry as the log keeps it: texts, for what it names may be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub key: AuditKey,
    pub environment: EnvironmentKey,
    /// `None`: it is about the environment itself.
    pub application: Option<ApplicationKey>,
    /// Who, in words, such as `API key hookpost_abcde (ci)`.
    pub actor: String,
    /// An [`AuditAction`]'s name.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// More, in words; may be empty. Never a secret.
    pub detail: String,
}
