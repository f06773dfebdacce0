//! What the product knows, as plain data and pure decisions: no I/O, no clock, no randomness.

pub mod address;
pub mod api_key;
pub mod application;
pub mod attempt;
pub mod audit;
pub mod breaker;
pub mod delivery;
pub mod duration;
pub mod endpoint;
pub mod environment;
pub mod event_type;
pub mod fanout;
pub mod header;
pub mod ids;
pub mod inbox;
pub mod json_schema;
pub mod message;
pub mod openapi;
pub mod operational;
pub mod payload;
pub mod principal;
pub mod retry;
pub mod secret;
pub mod signing;
pub mod statistics;
pub mod time;
