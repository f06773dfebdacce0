//! Measures the way of a message through the release binary: accept, store, deliver, record.
//!
//! `cargo bench --bench spine -- [--quick] [--only NAME,...]` starts the server as a child process
//! with a new data directory, loads it over 127.0.0.1 and prints a Markdown table with the goals.
//! It reads CPU and memory from `/proc`, so it runs on Linux.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures real time and dials its own sockets"
)]
#![expect(clippy::print_stdout, reason = "the table is the output")]

mod batch;
mod echo;
mod flow;
mod loader;
mod pages;
mod payload;
mod receive;
mod relay;
mod report;
mod restart;
mod scale;
mod scenarios;
mod server;
mod sink;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::scale::Scale;
use crate::scenarios::{Bench, Scenario};
use crate::server::{Kind, Program};

/// Measures Hookpost against its goals and prints a Markdown table.
#[derive(Parser)]
struct Options {
    /// Shorter runs: a look at the order of magnitude
    #[arg(long)]
    quick: bool,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Scenario>,
    /// Another server than the one cargo has just built
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_hookpost"))]
    server: PathBuf,
    /// Where the data directories go; it should be on the kind of disk you ask about
    #[arg(long, value_name = "DIRECTORY", default_value = env!("CARGO_TARGET_TMPDIR"))]
    data_root: PathBuf,
    /// Check loader and sink against the echo server, without Hookpost
    #[arg(long)]
    self_test: bool,
    /// Be the echo server
    #[arg(long, hide = true, value_name = "PORT")]
    echo: Option<u16>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if let Some(port) = options.echo {
        echo::serve(port)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scale = if options.quick || options.self_test {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    let mut bench = Bench::new(
        Program {
            path: options.server,
            kind: Kind::Hookpost,
        },
        Program {
            path: std::env::current_exe()?,
            kind: Kind::Echo,
        },
        options.data_root,
        scale,
    );
    let wanted = if options.self_test {
        vec![Scenario::SelfTest, Scenario::Ceiling]
    } else if options.only.is_empty() {
        Scenario::ALL.to_vec()
    } else {
        options.only
    };
    let complete = bench.run(&wanted);
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
