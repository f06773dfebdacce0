//! What can be wrong with settings: always which one, where it came from, and the remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::sources::Origin;

/// Characters of a rejected value that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// Everything that is wrong with the settings, one line each.
#[derive(Debug)]
pub struct SettingsError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// `value` is `None` for a secret: its text must not reach a log.
    #[error("{setting} ({origin}): {} {rejected}", shown(value.as_deref()))]
    Invalid {
        setting: &'static str,
        origin: Origin,
        value: Option<String>,
        rejected: Rejected,
    },
    #[error("{setting} ({origin}): {also} gives it too; remove one of the two")]
    GivenTwice {
        setting: &'static str,
        origin: Origin,
        also: Origin,
    },
    #[error(
        "{setting} ({origin}): cannot read {path:?}: {cause}; name a file that this user can read"
    )]
    Unreadable {
        setting: &'static str,
        origin: Origin,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{key} ({origin}): is {found}; {remedy}")]
    WrongType {
        key: String,
        origin: Origin,
        found: &'static str,
        remedy: &'static str,
    },
    #[error("{} ({origin}): is not a setting; {remedy}", shown(Some(key)))]
    UnknownKey {
        key: String,
        origin: Origin,
        remedy: String,
    },
    #[error("{origin}: is not TOML: {message}; write each setting as: key = value")]
    Syntax { origin: Origin, message: String },
}

/// Why a value was not taken, and what to write in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    why: String,
    remedy: String,
}

impl Rejected {
    /// `why` goes on after the value: "is not a size"; `remedy` is an order: "write ...".
    pub(super) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.remedy)
    }
}

/// In quotes, controls escaped, cut short.
fn shown(value: Option<&str>) -> String {
    let Some(value) = value else {
        return "the value".to_owned();
    };
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{:?}...", &value[..cut]),
        None => format!("{value:?}"),
    }
}
