//! `hookpost man`: the manual, made from the command line's own help.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use super::{Cli, Console, EXIT_FAILED, EXIT_OK, answer};

const MANUAL: &str = "Hookpost";

#[derive(Debug, Args)]
#[command(after_help = "To read it: hookpost man | man -l -")]
pub struct ManArgs {
    /// Write a page for each command into this folder instead
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Writes the page of the program itself, or every page into a folder.
pub fn run(args: &ManArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = &args.dir else {
        page(command).render(console.out)?;
        return Ok(EXIT_OK);
    };
    let written = fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
        .and_then(|()| write_all(command, folder));
    answer(written.map(|()| EXIT_OK), EXIT_FAILED, console)
}

fn page(command: Command) -> Man {
    Man::new(command).manual(MANUAL)
}

/// The page of a command and of those below it.
fn write_all(command: Command, folder: &Path) -> anyhow::Result<()> {
    for below in command.get_subcommands() {
        write_all(below.clone(), folder)?;
    }
    let page = page(command);
    let path = folder.join(page.get_filename());
    write(&page, &path).with_context(|| format!("cannot write {}", path.display()))
}

fn write(page: &Man, path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    page.render(&mut file)?;
    file.flush()
}
