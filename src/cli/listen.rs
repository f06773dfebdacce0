//! `hookpost listen`: what comes to a public URL, forwarded to a program on
//! this machine, and shown.

mod browser;
mod bytes;
mod options;
mod plain;
mod screen;
mod secret;
mod terminal;
mod text;

use std::env;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::screen::Screen;
use super::printable::plain;
use super::remote::ServerFlags;
use super::{Console, EXIT_FAILED, EXIT_OK, EXIT_USAGE, answer};
use crate::engine::transport::{SystemDialler, SystemResolver};
use crate::relay::client::dial::{DialError, Ways};
use crate::relay::client::forward::Forwarder;
use crate::relay::client::lost::Ended;
use crate::relay::client::notice::{NOTICES_MAX, Notice};
use crate::relay::client::target::Target;
use crate::relay::client::{CONNECTIONS_DEFAULT, CONNECTIONS_MAX, Client, Seams, Settings};
use crate::seams::clock::SystemClock;
use crate::seams::entropy::SystemEntropy;
use crate::serve::signals::Signals;

/// How long the end of the process waits for threads that look up a name.
const THREADS_WAIT: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(
    after_help = "The API key, where the server asks for one, is taken from HOOKPOST_API_KEY, or from \
the file that HOOKPOST_API_KEY_FILE names. HOOKPOST_CA_FILE names certificates to trust beside the \
usual ones."
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct ListenArgs {
    /// Where the program is: a URL, a port of this machine, or host:port
    #[arg(value_name = "TARGET", required_unless_present = "print_secret")]
    pub target: Option<String>,

    #[command(flatten)]
    pub server: ServerFlags,

    /// The last part of the public URL, to have the same one each time; without it, what the
    /// variable `HOOKPOST_LISTEN_TOKEN` holds, or a new one
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    pub token: Option<String>,

    /// Send every event to this path, instead of the target's with the event's after it
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,

    /// Forward only events of a type that fits, such as invoice.* or *.failed; repeat it for more
    #[arg(long = "filter", value_name = "PATTERN")]
    pub filters: Vec<String>,

    /// Set a header of each request to the program; repeat it for more
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,

    /// How to show events
    #[arg(long, value_enum, default_value_t = Output::Pretty)]
    pub output: Output,

    /// Requests to the program at once
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub max_connections: u32,

    /// Take any certificate of the program; the server's is always verified
    #[arg(long)]
    pub insecure: bool,

    /// Let the target be on another machine
    #[arg(long)]
    pub allow_external: bool,

    /// Print the signing secret of each endpoint that sends to the public URL, and do nothing else
    #[arg(long, conflicts_with = "target")]
    pub print_secret: bool,

    /// Share what comes with other listeners that have this token and say so too
    #[arg(long)]
    pub share: bool,
}

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The whole screen of a terminal, a line for each event elsewhere
    Pretty,
    /// A short line for each event
    Compact,
    /// A JSON object a line
    Json,
}

/// Listens until it is told to stop.
pub fn run(args: &ListenArgs, console: &mut Console<'_>) -> io::Result<u8> {
    if args.print_secret {
        return secret::print(args, console);
    }
    let settings = match options::settings(args, console.environment, &SystemEntropy) {
        Ok(settings) => settings,
        Err(error) => return answer(Err(error), EXIT_USAGE, console),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return answer(Err(error.into()), EXIT_FAILED, console),
    };
    let ways = Ways {
        resolver: Arc::new(SystemResolver::new()),
        dialler: Arc::new(SystemDialler),
    };
    let judged = runtime.block_on(judge(&settings.target, &ways));
    let ended = match judged {
        Err(error) => answer(Err(error), EXIT_USAGE, console),
        Ok(()) => runtime.block_on(listen(settings, ways, args.output, console)),
    };
    // Requests that the program has not answered are given up.
    runtime.shutdown_timeout(THREADS_WAIT);
    ended
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// A target that no event may reach is refused before any comes.
async fn judge(target: &Target, ways: &Ways) -> anyhow::Result<()> {
    match ways.judged(&target.host(), target.reach()).await {
        Ok(_) => Ok(()),
        Err(DialError::External(_)) => Err(anyhow!(
            "the target {target} is not on this machine alone; to send events there, give \
             --allow-external"
        )),
        Err(_) => Err(anyhow!(
            "the target's host {} has no address; check TARGET",
            plain(&target.host().to_string())
        )),
    }
}

/// A listener that runs.
struct Running {
    forwarder: Arc<Forwarder>,
    notices: mpsc::Receiver<Notice>,
    ended: JoinHandle<Result<(), Ended>>,
    /// Dropped, it stops the listener.
    stop: Option<oneshot::Sender<()>>,
}

async fn listen(
    settings: Settings,
    ways: Ways,
    output: Output,
    console: &mut Console<'_>,
) -> io::Result<u8> {
    let screen = Screen::new(settings.target.to_string());
    let target = settings.target.to_string();
    let running = match start(settings, ways) {
        Ok(running) => running,
        Err(error) => return answer(Err(error), EXIT_FAILED, console),
    };
    let ended = if output == Output::Pretty && is_terminal(console) {
        terminal::show(running, screen, console.out).await?
    } else {
        plain::show(running, output, &target, console.out).await?
    };
    match ended {
        Ok(()) => Ok(EXIT_OK),
        Err(ended) => {
            let told = anyhow!("{}", plain(&ended.to_string()));
            answer(Err(told), EXIT_FAILED, console)
        }
    }
}

fn start(settings: Settings, ways: Ways) -> anyhow::Result<Running> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let (notice, notices) = mpsc::channel(NOTICES_MAX);
    let (stop, stopped) = oneshot::channel::<()>();
    let seams = Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        ways,
    };
    let client = client_words(&settings.target);
    let client = Client::new(settings, seams, client, notice)?;
    let forwarder = client.forwarder();
    let stopping = async move {
        tokio::select! {
            _ = signals.next() => {}
            _ = stopped => {}
        }
    };
    Ok(Running {
        forwarder,
        notices,
        ended: tokio::spawn(client.run(stopping)),
        stop: Some(stop),
    })
}

/// What this listener is, for whoever sees it in the dashboard.
fn client_words(target: &Target) -> String {
    format!("hookpost {} -> {target}", env!("CARGO_PKG_VERSION"))
}

fn is_terminal(console: &Console<'_>) -> bool {
    let is_dumb = (console.environment)("TERM").is_some_and(|term| term == "dumb");
    !is_dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// How the listener ended. One that panicked has told that by itself.
fn outcome(
    ended: Result<Result<(), Ended>, tokio::task::JoinError>,
) -> io::Result<Result<(), Ended>> {
    ended.map_err(io::Error::other)
}
