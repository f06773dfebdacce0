//! Text that must not reach a log, an error or a page by accident.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text. `Debug` never shows it; reading it is a call named [`expose`](Self::expose).
///
/// There is deliberately no `Display`, `Serialize` or `Deserialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Every call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
