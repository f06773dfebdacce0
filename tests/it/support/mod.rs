//! What tests of several features share.

pub(crate) mod app;
pub(crate) mod redact;
pub(crate) mod sink;

pub(crate) use redact::redacted;
