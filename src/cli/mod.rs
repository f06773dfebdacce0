//! The command line: its shape, and the commands that need no store.

pub mod config;
mod flags;
pub mod health;
pub mod sign;

use std::io::{self, Write};
use std::path::Path;

use clap::{Args, Parser, Subcommand};

pub use flags::{EveryFlag, StoreFlags};

/// It worked.
pub const EXIT_OK: u8 = 0;
/// It was tried and did not work.
pub const EXIT_FAILED: u8 = 1;
/// It was not tried: the command line or the settings are wrong. Clap uses the same.
pub const EXIT_USAGE: u8 = 2;

/// Sends, retries, receives, shows and replays webhooks
#[derive(Debug, Parser)]
#[command(
    version,
    disable_help_subcommand = true,
    after_help = "`hookpost COMMAND --help` says more about one command."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Make, list, rotate and revoke API keys
    Keys(KeysArgs),
    // `Sign` and `Verify` have their place here, with their arguments in `cli/sign.rs`.
    /// Ask a running server whether it is ready
    Health(HealthArgs),
    /// Show or check the settings
    Config(ConfigArgs),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Try it out: loopback may be delivered to, and a demo application is made
    #[arg(long)]
    pub dev: bool,
    #[command(flatten)]
    pub settings: EveryFlag,
}

#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub command: KeysCommand,
    #[command(flatten)]
    pub settings: StoreFlags,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and show it, once
    Create {
        /// What the key is called in lists
        #[arg(long)]
        name: Option<String>,
        /// The environment that the key opens
        #[arg(long, value_name = "NAME", default_value = "default")]
        environment: String,
    },
    /// List the keys, by their first characters
    List,
    /// Replace a key by a new one and show it, once; the old one stops at once
    Rotate {
        /// As shown by `hookpost keys list`
        key_id: String,
    },
    /// Stop a key for good
    Revoke {
        /// As shown by `hookpost keys list`
        key_id: String,
    },
}

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The server to ask; without it, the one that the settings describe
    #[arg(long)]
    pub url: Option<String>,
    #[command(flatten)]
    pub settings: StoreFlags,
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
    #[command(flatten)]
    pub settings: EveryFlag,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting and where it comes from, secrets masked
    Print {
        /// Show the defaults alone, as a file to begin with
        #[arg(long)]
        defaults: bool,
    },
    /// Check the settings without starting anything
    Check,
}

/// What a command sees of the world outside.
pub struct Console<'a> {
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
    /// Answers for an environment variable's name.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The settings file that is read when no other is named.
    pub default_file: Option<&'a Path>,
}

/// The command line of this process. Ends the process when it is wrong, or
/// when it only asks for help or the version.
#[must_use]
pub fn parse() -> Cli {
    Cli::parse()
}

/// Runs the command and gives the exit code; an error is one of `console`.
pub fn run(cli: Cli, console: &mut Console<'_>) -> io::Result<u8> {
    match cli.command {
        Command::Config(args) => config::run(args, console),
        Command::Health(args) => health::run(args, console),
        // The server and the keys are wired in here, as are `Sign` and `Verify`.
        Command::Serve(_) | Command::Keys(_) => {
            writeln!(console.err, "this build does not have that command yet")?;
            Ok(EXIT_FAILED)
        }
    }
}
