//! What the product knows, as plain data and pure decisions: no I/O, no clock, no randomness.

pub mod address;
pub mod attempt;
pub mod duration;
pub mod secret;
pub mod signing;
pub mod time;
