//! `hookpost completions`: what a shell has to know to complete commands and flags.

use std::io;

use clap::{Args, CommandFactory as _};
use clap_complete::{Generator as _, Shell};

use super::{Cli, Console, EXIT_OK};

#[derive(Debug, Args)]
#[command(after_help = "bash: source <(hookpost completions bash)")]
pub struct CompletionsArgs {
    /// The shell that reads it
    pub shell: Shell,
}

/// Writes the script for the shell.
pub fn run(args: &CompletionsArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let mut command = Cli::command().bin_name("hookpost");
    command.build();
    args.shell.try_generate(&command, console.out)?;
    Ok(EXIT_OK)
}
