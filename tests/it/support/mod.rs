//! What several tests share: a clock and randomness that repeat, a disk that
//! fails as told, and a store on it that is driven step by step.
//!
//! Everything here is deterministic: the same seed gives the same run, byte
//! for byte.

pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod entropy;
pub(crate) mod store;
