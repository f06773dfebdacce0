//! What tests of several features share.

pub(crate) mod app;
pub(crate) mod sink;
