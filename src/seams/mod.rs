//! Where the outside world enters: time and randomness.
//!
//! The other two seams are [`Transport`](crate::engine::transport) and redb's
//! own `StorageBackend`. The simulation replaces the four and runs everything
//! else as it is.

pub mod clock;
pub mod entropy;
pub mod mutant;
