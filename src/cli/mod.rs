//! The command line: its shape, and a file for each command.

pub mod completions;
pub mod config;
mod flags;
mod follow;
pub mod health;
pub mod jobs;
pub mod keys;
pub mod listen;
pub mod man;
mod printable;
mod reach;
pub mod remote;
mod rows;
pub mod serve;
pub mod sign;
mod table;
pub mod tail;
pub mod trigger;
pub mod users;

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Overrides, Settings};
use crate::seams::clock::{Clock as _, SystemClock};

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
    /// Invite, list and remove people who use the dashboard
    Users(UsersArgs),
    /// List, show and cancel jobs
    Jobs(JobsArgs),
    /// Send an example of an event type as a message
    Trigger(trigger::TriggerArgs),
    /// Follow the log of a server: attempts, or messages
    Tail(tail::TailArgs),
    /// Sign a body and print the headers
    Sign(sign::SignArgs),
    /// Check the signature of a request
    Verify(sign::VerifyArgs),
    /// Forward what comes to a public URL to a program on this machine
    Listen(listen::ListenArgs),
    /// Ask a running server whether it is ready
    Health(HealthArgs),
    /// Show or check the settings
    Config(ConfigArgs),
    /// Print the completion script of a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all of them
    Man(man::ManArgs),
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
        /// The environment that the key opens, by name or id; without it, the first one
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        /// What it may do, of: read, messages:write, endpoints:write, secrets, admin (all of
        /// these), environments (make others) [default: admin]
        #[arg(long, value_name = "SCOPE,...", value_delimiter = ',')]
        scopes: Vec<String>,
        /// The one application that it opens, by id or uid; without it, all
        #[arg(long, value_name = "ID")]
        application: Option<String>,
        /// How long it works, such as 365d; without it, until it is revoked
        #[arg(long, value_name = "DURATION", value_parser = crate::domain::duration::parse)]
        expires: Option<Duration>,
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
pub struct UsersArgs {
    #[command(subcommand)]
    pub command: UsersCommand,
    #[command(flatten)]
    pub settings: StoreFlags,
}

#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Make an account and a link to it, which works once, for 7 days
    Invite {
        /// E-mail address of whom to invite
        email: String,
        /// What they may do: admin, operator or viewer
        #[arg(long, default_value = "operator")]
        role: String,
        /// The one environment that they may be in, by name or id; without it, all
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
    },
    /// Make a link to choose another password, which works once, for an hour
    ResetPassword {
        /// E-mail address of the account
        email: String,
    },
    /// List the accounts
    List,
    /// Take an account away, and end its sessions
    Remove {
        /// E-mail address of the account
        email: String,
    },
}

#[derive(Debug, Args)]
pub struct JobsArgs {
    #[command(subcommand)]
    pub command: JobsCommand,
    #[command(flatten)]
    pub settings: StoreFlags,
}

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List the jobs that run, and the newest of the others
    List,
    /// Show all about one job
    Show {
        /// As shown by `hookpost jobs list`
        job_id: String,
    },
    /// Cancel a job; what it has already put into the queue is still sent
    Cancel {
        /// As shown by `hookpost jobs list`
        job_id: String,
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
    pub input: &'a mut dyn Read,
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
        Command::Serve(args) => serve::run(args, console),
        Command::Keys(args) => keys::run(args, console),
        Command::Users(args) => users::run(args, console),
        Command::Jobs(args) => jobs::run(args, console),
        Command::Trigger(args) => trigger::run(&args, console),
        Command::Tail(args) => tail::run(&args, console),
        Command::Sign(args) => {
            let signed = sign::sign(&args, SystemClock.now(), console.input, console.out);
            answer(signed, EXIT_USAGE, console)
        }
        Command::Verify(args) => {
            let now = SystemClock.now();
            let verified = sign::verify(&args, now, console.input, console.out, console.err);
            // 1 is for a signature that is not valid, so this must be another.
            answer(verified, EXIT_USAGE, console)
        }
        Command::Listen(args) => listen::run(&args, console),
        Command::Health(args) => health::run(args, console),
        Command::Config(args) => config::run(args, console),
        Command::Completions(args) => completions::run(&args, console),
        Command::Man(args) => man::run(&args, console),
    }
}

/// The settings that apply, or `None` once what is wrong with them is written.
fn load(flags: Overrides, console: &mut Console<'_>) -> io::Result<Option<Settings>> {
    match Settings::load(flags, console.environment, console.default_file) {
        Ok(settings) => Ok(Some(settings)),
        Err(error) => writeln!(console.err, "{error}").map(|()| None),
    }
}

/// The exit code of a command, `failed` when it ended in an error, which is written.
fn answer(ended: anyhow::Result<u8>, failed: u8, console: &mut Console<'_>) -> io::Result<u8> {
    match ended {
        Ok(code) => Ok(code),
        Err(error) => writeln!(console.err, "hookpost: {error:#}").map(|()| failed),
    }
}
