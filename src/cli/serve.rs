//! `hookpost serve`: reads the settings and runs the server until it is told to stop.

use std::io;

use super::{Console, EXIT_FAILED, EXIT_OK, EXIT_USAGE, ServeArgs, answer, load};
use crate::serve::{Mode, serve};

/// Runs the server; comes back when it has stopped.
pub fn run(args: ServeArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let Some(settings) = load(args.settings.overrides, console)? else {
        return Ok(EXIT_USAGE);
    };
    let mode = if args.dev { Mode::Dev } else { Mode::Plain };
    let ended = serve(&settings, mode, console.out).map(|()| EXIT_OK);
    answer(ended, EXIT_FAILED, console)
}
