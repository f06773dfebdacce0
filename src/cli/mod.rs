//! The command line.

pub mod sign;
