//! Hookpost: sends, retries, receives, shows and replays webhooks, with its database inside.
//!
//! The layers and the way an event takes through them are in `ARCHITECTURE.md`.

pub mod api;
pub mod cli;
pub mod config;
pub mod control;
mod control_socket;
pub mod dashboard;
pub mod docs;
pub mod domain;
pub mod engine;
pub mod http;
pub mod receiver;
pub mod relay;
pub mod seams;
pub mod serve;
pub mod store;
