//! Reaching the store: through the server that runs on it, or alone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::config::Settings;
#[cfg(unix)]
use crate::control_socket::Client;
use crate::seams::entropy::SharedEntropy;
use crate::serve::{Seams, open_store};
use crate::store::{OpenError, Store};

/// While a server starts or stops it holds the store but does not answer.
const LOOKS_MAX: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Who has the store: a running server, or this process.
pub(super) enum Reached {
    #[cfg(unix)]
    Server(Client),
    Alone(Store, SharedEntropy),
}

/// Whether the store may be made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Made,
    AMistake,
}

/// The store that `settings` describe, from whoever has it.
pub(super) async fn reach(settings: &Settings, missing: Missing) -> anyhow::Result<Reached> {
    let seams = Seams::system();
    let mut looks = 0;
    loop {
        #[cfg(unix)]
        if let Some(client) = Client::connect(&settings.data_dir).await? {
            return Ok(Reached::Server(client));
        }
        if missing == Missing::AMistake {
            expect_store(&settings.data_dir)?;
        }
        looks += 1;
        match open_store(settings, &seams) {
            Ok(store) => return Ok(Reached::Alone(store, seams.entropy)),
            Err(error) if is_in_use(&error) && looks < LOOKS_MAX => {
                seams.clock.sleep(LOOK_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where no store may be made, its absence is a mistake in the path.
fn expect_store(data_dir: &Path) -> anyhow::Result<()> {
    let shown = data_dir.display();
    if Store::is_in(data_dir).with_context(|| format!("cannot look into {shown}"))? {
        return Ok(());
    }
    bail!("there is no store in {shown}; give the server's --data-dir")
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OpenError::InUse { .. }))
}
