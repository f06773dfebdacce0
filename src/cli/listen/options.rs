//! What was asked on the command line and in the environment, as settings.

use anyhow::{anyhow, ensure};

use super::ListenArgs;
use crate::cli::printable::plain;
use crate::cli::remote::Given;
use crate::relay::client::filter::{Filter, Pattern};
use crate::relay::client::local::parse_header;
use crate::relay::client::target::Target;
use crate::relay::client::{Pace, Settings, new_token};
use crate::seams::entropy::Entropy;

const TOKEN_VARIABLE: &str = "HOOKPOST_LISTEN_TOKEN";
const TOKEN_BYTES_MAX: usize = 128;

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable's value; an empty one is as good as none.
fn variable(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|text| !text.is_empty())
}

/// The settings of a listener, or one sentence with the flag and the remedy.
pub(super) fn settings(
    args: &ListenArgs,
    environment: Environment<'_>,
    entropy: &dyn Entropy,
) -> anyhow::Result<Settings> {
    let Given { server, key, roots } = Given::read(&args.server, environment)?;
    Ok(Settings {
        server,
        token: token(args, environment, entropy)?,
        share: args.share,
        key,
        roots,
        target: target(args)?,
        filter: filter(args)?,
        headers: args
            .headers
            .iter()
            .map(|text| {
                let parsed = parse_header(text);
                // The value may be a secret.
                let name = plain(text.split(':').next().unwrap_or_default());
                parsed.map_err(|error| {
                    anyhow!("--header {name}: {error}; write it as 'X-Name: value'")
                })
            })
            .collect::<anyhow::Result<_>>()?,
        max_connections: args.max_connections,
        pace: Pace::default(),
    })
}

/// The token that was given, and by what.
pub(super) fn given_token(
    args: &ListenArgs,
    environment: Environment<'_>,
) -> Option<(String, &'static str)> {
    let given = args.token.clone().map(|token| (token, "--token"));
    given.or_else(|| Some((variable(environment, TOKEN_VARIABLE)?, TOKEN_VARIABLE)))
}

fn token(
    args: &ListenArgs,
    environment: Environment<'_>,
    entropy: &dyn Entropy,
) -> anyhow::Result<String> {
    let Some((token, from)) = given_token(args, environment) else {
        return Ok(new_token(entropy));
    };
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    ensure!(
        !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(is_of_token),
        "{from} {}: it is no token; give c_ and 22 letters and digits, or leave it out to get one",
        plain(&token)
    );
    Ok(token)
}

fn target(args: &ListenArgs) -> anyhow::Result<Target> {
    let text = args.target.as_deref().unwrap_or_default();
    let mut target = Target::parse(text).map_err(|error| {
        let text = plain(text);
        anyhow!("TARGET {text}: it {error}; give one such as http://127.0.0.1:5000/webhook or 5000")
    })?;
    if let Some(path) = &args.path {
        target = target.at_path(path).map_err(|error| {
            let path = plain(path);
            anyhow!("--path {path}: it {error}; give one such as /webhook")
        })?;
    }
    target.external = args.allow_external;
    target.insecure = args.insecure;
    Ok(target)
}

fn filter(args: &ListenArgs) -> anyhow::Result<Filter> {
    let patterns = args.filters.iter().map(|text| {
        Pattern::parse(text).map_err(|error| {
            let text = plain(text);
            anyhow!("--filter '{text}': it {error}; give one such as invoice.*")
        })
    });
    Ok(Filter(patterns.collect::<anyhow::Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use tempfile::TempDir;

    use super::*;
    use crate::seams::entropy::SystemEntropy;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ListenArgs,
    }

    fn read(words: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let line = Line::try_parse_from([&["listen"], words].concat())?;
        let look_up = |name: &str| {
            let mut pairs = environment.iter();
            let (_, value) = pairs.find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        };
        settings(&line.args, &look_up, &SystemEntropy)
    }

    #[test]
    fn flags_win_over_the_environment_and_it_over_the_defaults() {
        let of_environment = [
            ("HOOKPOST_SERVER", "https://a.example/x"),
            (TOKEN_VARIABLE, "c_of_environment"),
            ("HOOKPOST_API_KEY", "hp_key"),
        ];
        let settings = read(&["5000"], &of_environment).unwrap();
        assert_eq!(settings.server.to_string(), "https://a.example/x");
        assert_eq!(settings.token, "c_of_environment");
        assert_eq!(settings.key.unwrap().expose(), "hp_key");
        let words = ["5000", "--server", "http://b.example", "--token", "c_flag"];
        let settings = read(&words, &of_environment).unwrap();
        assert_eq!(settings.server.to_string(), "http://b.example");
        assert_eq!(settings.token, "c_flag");
        let empty = ["HOOKPOST_SERVER", TOKEN_VARIABLE, "HOOKPOST_API_KEY"].map(|name| (name, ""));
        let settings = read(&["5000"], &empty).unwrap();
        assert_eq!(settings.server.to_string(), "http://127.0.0.1:8071");
        assert_eq!(settings.token.len(), 24);
        assert_eq!(settings.target.to_string(), "http://127.0.0.1:5000/");
        assert!(settings.key.is_none() && !settings.share && !settings.target.external);
    }

    #[test]
    fn the_key_may_be_in_a_file() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "hp_key\n").unwrap();
        let path = file.to_str().unwrap();
        let settings = read(&["5000"], &[("HOOKPOST_API_KEY_FILE", path)]).unwrap();
        assert_eq!(settings.key.unwrap().expose(), "hp_key");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_flag() {
        for (words, environment, want) in [
            (&["nope nope"][..], &[][..], "TARGET"),
            (&["http://a:b@l/"], &[], "--header"),
            (&["5000", "--server", "nope"], &[], "--server"),
            (&["5000"], &[("HOOKPOST_SERVER", "nope")], "HOOKPOST_SERVER"),
            (&["5000", "--token", "a/b"], &[], "--token"),
            (&["5000"], &[(TOKEN_VARIABLE, "?")], TOKEN_VARIABLE),
            (&["5000", "--token", ""], &[], "--token"),
            (&["5000", "--path", "a"], &[], "--path"),
            (&["5000", "--filter", "a b"], &[], "--filter"),
            (&["5000", "--header", "a"], &[], "--header"),
            (&["5000", "--header", "te: a"], &[], "--header"),
            (&["5000", "--output", "xml"], &[], "--output"),
            (
                &["5000", "--max-connections", "0"],
                &[],
                "--max-connections",
            ),
            (
                &["5000", "--max-connections", "501"],
                &[],
                "--max-connections",
            ),
            (
                &["5000"],
                &[("HOOKPOST_API_KEY", "a\nb")],
                "HOOKPOST_API_KEY",
            ),
            (
                &["5000"],
                &[("HOOKPOST_API_KEY_FILE", "/no/where")],
                "/no/where",
            ),
        ] {
            let error = read(words, environment).err().expect("it is refused");
            let told = format!("{error:#}");
            assert!(told.contains(want), "{words:?}: {told}");
            assert!(!told.contains('\u{1b}'), "{words:?}: {told}");
        }
    }
}
