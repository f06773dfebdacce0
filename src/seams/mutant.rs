//! Faults that the simulation's own test puts in, to see that it notices them.
//!
//! Without the feature `mutants`, which no released build has, every one of
//! them is off at compile time.

/// A fault in the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The writer answers before it commits.
    AnswerBeforeCommit,
    /// An operational event now and then is not written.
    ForgottenEvent,
    /// A retry now and then gets no due row.
    ForgottenRetry,
    /// An endpoint may have any number of attempts in flight.
    NoLaneCap,
    /// A response's body is kept whole.
    WholeBody,
}

/// Whether this fault is put in.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn active(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use put_in::{active, with};

#[cfg(feature = "mutants")]
mod put_in {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PUT_IN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this fault is put in, on this thread.
    #[must_use]
    pub fn active(mutant: Mutant) -> bool {
        PUT_IN.get() == Some(mutant)
    }

    /// Runs `body` with a fault put in, on this thread.
    pub fn with<T>(mutant: Mutant, body: impl FnOnce() -> T) -> T {
        PUT_IN.set(Some(mutant));
        let result = body();
        PUT_IN.set(None);
        result
    }
}
