//! The flags of settings, made from the table of settings.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::{Overrides, Place, SETTINGS, Setting, Shape};

const HELP_HEADING: &str = "Settings";
const AFTER_HELP: &str = "Each setting is also a variable and a key of hookpost.toml: \
    --data-dir, HOOKPOST_DATA_DIR, data_dir. \
    Flags win over variables, variables over the file.";

/// What finds the store; the rest is for the server.
const STORE_SETTINGS: [&str; 2] = ["config", "data_dir"];

/// Every setting that can be a flag.
pub type EveryFlag = Flags<true>;
/// Those that say which store, or which settings file, is meant.
pub type StoreFlags = Flags<false>;

/// The settings given as flags, before or after a further subcommand.
#[derive(Clone, Debug, Default)]
pub struct Flags<const EVERY: bool> {
    pub overrides: Overrides,
}

impl<const EVERY: bool> Flags<EVERY> {
    fn settings() -> impl Iterator<Item = &'static Setting> {
        SETTINGS
            .iter()
            .filter(|setting| setting.is_taken_from(Place::Flag))
            .filter(|setting| EVERY || STORE_SETTINGS.contains(&setting.name))
    }
}

impl<const EVERY: bool> Args for Flags<EVERY> {
    fn augment_args(command: Command) -> Command {
        command
            .args(Self::settings().map(arg))
            .after_help(AFTER_HELP)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const EVERY: bool> FromArgMatches for Flags<EVERY> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let overrides =
            Self::settings().fold(Overrides::default(), |overrides, setting| {
                match text(matches, setting) {
                    Some(text) => overrides.with(setting, text),
                    None => overrides,
                }
            });
        Ok(Self { overrides })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn arg(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.name)
        .long(long_name(setting))
        .help(help(setting))
        .help_heading(HELP_HEADING)
        .global(true);
    match setting.shape {
        Shape::Text(placeholder) => arg.value_name(placeholder),
        Shape::Secret => arg.value_name("SECRET"),
        Shape::Number => arg.value_name("COUNT"),
        Shape::Size => arg.value_name("SIZE"),
        Shape::List(placeholder) => arg.value_name(placeholder).action(ArgAction::Append),
        // An equals sign, or `--https-only` would swallow the word that follows.
        Shape::Switch => arg
            .value_name("true|false")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

/// Clap keeps names as long as the program runs.
fn long_name(setting: &Setting) -> &'static str {
    static NAMES: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
        let long = |setting: &Setting| (setting.name, setting.name.replace('_', "-"));
        SETTINGS.iter().map(long).collect()
    });
    &NAMES[setting.name]
}

fn help(setting: &Setting) -> String {
    match setting.default {
        // A switch that is off needs no telling.
        Some(default) if setting.shape != Shape::Switch => {
            format!("{} [default: {default}]", setting.help())
        }
        _ => setting.help().to_owned(),
    }
}

/// A list may be given in several flags.
fn text(matches: &ArgMatches, setting: &Setting) -> Option<String> {
    let texts: Vec<&str> = matches
        .get_many::<String>(setting.name)?
        .map(String::as_str)
        .collect();
    Some(texts.join(","))
}
