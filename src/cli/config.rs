//! `hookpost config`: the settings that apply, and whether they are right.

use std::io::{self, Write};

use super::{ConfigArgs, ConfigCommand, Console, EXIT_OK, EXIT_USAGE};
use crate::config::{Choice, Chosen, Origin, Overrides, Place, Settings, SettingsError, Shape};

/// Shown in place of a secret. Too short to be taken for one when it is read back.
const MASK: &str = "••••";

/// Writes the settings or what is wrong with them.
pub fn run(args: ConfigArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let flags = args.settings.overrides;
    match args.command {
        ConfigCommand::Print { defaults: true } => print_defaults(console),
        ConfigCommand::Print { defaults: false } => print(flags, console),
        ConfigCommand::Check => check(flags, console),
    }
}

fn check(flags: Overrides, console: &mut Console<'_>) -> io::Result<u8> {
    match Settings::load(flags, console.environment, console.default_file) {
        Ok(_) => writeln!(console.out, "settings are valid").map(|()| EXIT_OK),
        Err(error) => refuse(&error, console),
    }
}

fn print(flags: Overrides, console: &mut Console<'_>) -> io::Result<u8> {
    match Settings::explain(flags, console.environment, console.default_file) {
        Ok((_, choices)) => write_all(&choices, true, console.out).map(|()| EXIT_OK),
        Err(error) => refuse(&error, console),
    }
}

fn print_defaults(console: &mut Console<'_>) -> io::Result<u8> {
    match Settings::explain(Overrides::default(), &|_| None, None) {
        Ok((_, choices)) => write_all(&choices, false, console.out).map(|()| EXIT_OK),
        Err(error) => refuse(&error, console),
    }
}

fn refuse(error: &SettingsError, console: &mut Console<'_>) -> io::Result<u8> {
    writeln!(console.err, "{error}")?;
    Ok(EXIT_USAGE)
}

/// The choices as a settings file: what is not set, or cannot be in a file, is a comment.
fn write_all(choices: &[Choice], with_origins: bool, out: &mut dyn Write) -> io::Result<()> {
    for (index, choice) in choices.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        write_one(choice, with_origins, out)?;
    }
    Ok(())
}

fn write_one(choice: &Choice, with_origins: bool, out: &mut dyn Write) -> io::Result<()> {
    let setting = choice.setting;
    writeln!(out, "# {}", setting.help())?;
    if !setting.is_taken_from(Place::File) {
        let flag = setting.flag().unwrap_or_default();
        writeln!(
            out,
            "# (a flag or a variable only: {flag}, {})",
            setting.variable()
        )?;
    }
    if with_origins {
        writeln!(out, "# {}", origin(choice))?;
    }
    let is_set = choice.value != Chosen::NotSet;
    let comment = if is_set && setting.is_taken_from(Place::File) {
        ""
    } else {
        "# "
    };
    let value = toml_value(setting.shape, &choice.value);
    writeln!(out, "{comment}{} = {value}", setting.name)
}

fn origin(choice: &Choice) -> String {
    match (&choice.value, &choice.origin) {
        (Chosen::NotSet, _) => "not set".to_owned(),
        (_, Origin::File { .. }) => format!("from file {}", choice.origin),
        (_, Origin::Default) => choice.origin.to_string(),
        (_, Origin::Variable(_) | Origin::Flag(_)) => format!("from {}", choice.origin),
    }
}

fn toml_value(shape: Shape, value: &Chosen) -> String {
    let text = match value {
        Chosen::NotSet => "",
        Chosen::Secret => MASK,
        Chosen::Text(text) => text,
    };
    match shape {
        Shape::List(_) => {
            let parts: Vec<String> = crate::config::list(text).map(toml_text).collect();
            format!("[{}]", parts.join(", "))
        }
        Shape::Switch => matches!(text, "true" | "1").to_string(),
        Shape::Number => text.to_owned(),
        Shape::Size | Shape::Text(_) | Shape::Secret => toml_text(text),
    }
}

/// JSON's escapes are TOML's too; JSON alone lets DEL stand as it is.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}
