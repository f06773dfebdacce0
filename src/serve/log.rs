//! Where log lines go, and which.

use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

use crate::config::LogFormat;

/// Our own events from `level` on, as lines on the standard error output.
///
/// Of libraries only what is wrong is shown, at any level: their chatter
/// includes the headers and bodies of requests.
pub(super) fn install(format: LogFormat, level: Level) {
    let which = Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Fails only where a test has installed one already.
    let _ = registry().with(lines.with_filter(which)).try_init();
}
