//! What tests of several features share.
//!
//! The whole server in the process (`app`), the real executable beside it
//! (`server_process`), and for tests that must repeat to the byte: a clock, a
//! source of random bytes, a disk that fails as told, and a store on it that
//! is driven step by step.

pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod entropy;
pub(crate) mod html;
pub(crate) mod http_client;
pub(crate) mod patience;
pub(crate) mod python;
pub(crate) mod redact;
#[cfg(unix)]
pub(crate) mod remote_command;
pub(crate) mod schema;
pub(crate) mod server_process;
pub(crate) mod sink;
pub(crate) mod store;
pub(crate) mod visitor;
