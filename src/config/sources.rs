//! Where the text of a setting comes from, and which source wins.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Problem, Rejected};
use super::file::SettingsFile;
use super::{Setting, read, variable};
use crate::domain::secret::Secret;

/// Settings given as flags. `Debug` shows no values: one may be a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    texts: BTreeMap<&'static str, Secret>,
}

impl Overrides {
    /// `text` in the form that the flag takes; a later one replaces an earlier.
    #[must_use]
    pub fn with(mut self, setting: &'static Setting, text: impl Into<String>) -> Self {
        self.texts.insert(setting.name, Secret::new(text));
        self
    }

    fn get(&self, name: &str) -> Option<(String, Origin)> {
        let text = self.texts.get(name)?.expose().to_owned();
        Some((text, Origin::Flag(name.replace('_', "-"))))
    }
}

/// What decided a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Lines count from 1.
    File {
        path: PathBuf,
        line: usize,
    },
    /// The name of an environment variable.
    Variable(String),
    /// Without the dashes before it.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// What a setting is, in the form that a flag takes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub setting: &'static Setting,
    pub value: Chosen,
    pub origin: Origin,
}

/// A secret's text is not carried further than its own field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    NotSet,
    Text(String),
    Secret,
}

/// The flags, the environment and the file of one start.
pub(super) struct Sources<'a> {
    flags: Overrides,
    environment: &'a dyn Fn(&str) -> Option<String>,
    file: SettingsFile,
    /// The default file, when it is there and no other was named.
    found: Option<PathBuf>,
    choices: Vec<Choice>,
    problems: Vec<Problem>,
}

impl<'a> Sources<'a> {
    /// Reads the settings file, which the flags or the environment may name.
    pub(super) fn open(
        flags: Overrides,
        environment: &'a dyn Fn(&str) -> Option<String>,
        default_file: Option<&Path>,
    ) -> Self {
        let mut sources = Self {
            flags,
            environment,
            file: SettingsFile::default(),
            found: None,
            choices: Vec::new(),
            problems: Vec::new(),
        };
        let named = sources
            .flags
            .get("config")
            .or_else(|| sources.variable("config"));
        match (named, default_file) {
            (Some((path, origin)), _) => {
                sources.open_file(Path::new(&path), origin);
            }
            (None, Some(path)) => {
                if sources.open_file(path, Origin::Default) {
                    sources.found = Some(path.to_owned());
                }
            }
            (None, None) => {}
        }
        sources
    }

    /// Whether the file is there. One that nobody named need not be.
    fn open_file(&mut self, path: &Path, origin: Origin) -> bool {
        match read::text(path, read::SETTINGS_BYTES_MAX) {
            Ok(text) => {
                let (file, problems) = SettingsFile::parse(path, &text);
                self.file = file;
                self.problems.extend(problems);
                true
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && origin == Origin::Default => {
                false
            }
            Err(cause) => {
                self.problems.push(Problem::Unreadable {
                    setting: "config",
                    origin,
                    path: path.to_owned(),
                    cause,
                });
                true
            }
        }
    }

    /// The value of a setting; `None` when it has none, or none that is right.
    pub(super) fn read<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, Rejected>,
    ) -> Option<T> {
        let (text, origin) = match self.find(setting) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.choose(setting, Chosen::NotSet, Origin::Default);
                return None;
            }
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        match parse(&text) {
            Ok(value) => {
                let chosen = if setting.is_secret() {
                    Chosen::Secret
                } else {
                    Chosen::Text(text)
                };
                self.choose(setting, chosen, origin);
                Some(value)
            }
            Err(rejected) => {
                self.problems.push(Problem::Invalid {
                    setting: setting.name,
                    origin,
                    value: (!setting.is_secret()).then_some(text),
                    rejected,
                });
                None
            }
        }
    }

    pub(super) fn finish(self) -> (Vec<Choice>, Vec<Problem>) {
        (self.choices, self.problems)
    }

    fn choose(&mut self, setting: &'static Setting, value: Chosen, origin: Origin) {
        self.choices.push(Choice {
            setting,
            value,
            origin,
        });
    }

    fn find(&self, setting: &'static Setting) -> Result<Option<(String, Origin)>, Problem> {
        let flag = |name: &str| self.flags.get(name);
        let variable = |name: &str| self.variable(name);
        let file = |name: &str| self.file.get(name);
        for source in [&flag as &Source<'_>, &variable, &file] {
            if let Some(found) = find_in(source, setting)? {
                return Ok(Some(found));
            }
        }
        let fallback = match &self.found {
            Some(path) if setting.name == "config" => Some(path.display().to_string()),
            _ => setting.default.map(str::to_owned),
        };
        Ok(fallback.map(|text| (text, Origin::Default)))
    }

    /// An empty variable is one that is not set: `VAR=` is how some set-ups unset it.
    fn variable(&self, name: &str) -> Option<(String, Origin)> {
        let variable = variable(name);
        let text = (self.environment)(&variable).filter(|text| !text.is_empty())?;
        Some((text, Origin::Variable(variable)))
    }
}

type Source<'a> = dyn Fn(&str) -> Option<(String, Origin)> + 'a;

/// The setting itself, or, for a secret, what the file named beside it holds.
fn find_in(
    source: &Source<'_>,
    setting: &'static Setting,
) -> Result<Option<(String, Origin)>, Problem> {
    let direct = source(setting.name);
    let by_file = setting.file_key().and_then(|key| source(&key));
    match (direct, by_file) {
        (Some((_, origin)), Some((_, also))) => Err(Problem::GivenTwice {
            setting: setting.name,
            origin,
            also,
        }),
        (Some(found), None) => Ok(Some(found)),
        (None, Some((path, origin))) => read_secret(setting, PathBuf::from(path), origin).map(Some),
        (None, None) => Ok(None),
    }
}

fn read_secret(
    setting: &'static Setting,
    path: PathBuf,
    origin: Origin,
) -> Result<(String, Origin), Problem> {
    match read::text(&path, read::SECRET_BYTES_MAX) {
        // Editors and `echo` end a file with a line break that is no part of the secret.
        Ok(text) => Ok((text.trim_end_matches(['\r', '\n']).to_owned(), origin)),
        Err(cause) => Err(Problem::Unreadable {
            setting: setting.name,
            origin,
            path,
            cause,
        }),
    }
}
