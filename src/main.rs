//! Parses the command line, runs it, and ends with its exit code.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use hookpost::cli::{self, Console};
use hookpost::config;

/// Returns memory to the system after a peak, which the default one on Linux
/// does badly with many threads.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::parse();
    let mut console = Console {
        input: &mut io::stdin(),
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        environment: &config::system_environment,
        default_file: Some(Path::new(config::DEFAULT_FILE)),
    };
    match cli::run(cli, &mut console) {
        Ok(code) => ExitCode::from(code),
        // Nobody is there to be told: the console itself failed.
        Err(_) => ExitCode::from(cli::EXIT_FAILED),
    }
}
