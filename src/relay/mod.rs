//! The relay: what comes to an inbox, forwarded to a developer's machine.
//!
//! `frame` is what both ends say to one another over a websocket, `hub` the
//! server's end, `client` the other one; `pulse` tells both whether the
//! connection between them is alive.

pub mod client;
pub mod frame;
mod hub;
mod pulse;

pub use hub::router;
