//! What tests of several features share.

pub(crate) mod app;
pub(crate) mod http_client;
pub(crate) mod patience;
pub(crate) mod python;
pub(crate) mod redact;
pub(crate) mod server_process;
pub(crate) mod sink;
