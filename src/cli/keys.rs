//! `hookpost keys`: API keys by hand, whether the server runs or not.

use std::io;

use super::reach::{Missing, Reached, reach};
use super::table::table;
use super::{
    Console, EXIT_FAILED, EXIT_OK, EXIT_USAGE, KeysArgs, KeysCommand, StoreFlags, answer, load,
};
use crate::config::Settings;
#[cfg(unix)]
use crate::control_socket::Client;
use crate::control_socket::{IssuedKey, KeyDesk, KeyLine, NewKey};
use crate::domain::time::Timestamp;

/// Does what the command says; a key's text is the last line of `console.out`.
pub fn run(args: KeysArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let KeysArgs {
        command,
        settings: StoreFlags { overrides },
    } = args;
    let Some(settings) = load(overrides, console)? else {
        return Ok(EXIT_USAGE);
    };
    let done = run_async(&settings, command);
    match done {
        Ok(done) => done.write(console).map(|()| EXIT_OK),
        Err(error) => answer(Err(error), EXIT_FAILED, console),
    }
}

fn run_async(settings: &Settings, command: KeysCommand) -> anyhow::Result<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut way = way_to(settings, &command).await?;
        let done = carry_out(&mut way, command).await;
        way.leave();
        done
    })
}

/// What was done, for people and scripts.
enum Done {
    Created(IssuedKey),
    Rotated(IssuedKey),
    Revoked(KeyLine),
    Listed(Vec<KeyLine>),
}

impl Done {
    fn write(&self, console: &mut Console<'_>) -> io::Result<()> {
        match self {
            Self::Created(issued) => {
                let sentence = format!("made the API key {}", issued.key.id);
                write_issued(&sentence, issued, console)
            }
            Self::Rotated(issued) => {
                let sentence = format!("replaced the API key {}", issued.key.id);
                write_issued(
                    &format!("{sentence}; its old text stopped"),
                    issued,
                    console,
                )
            }
            Self::Revoked(key) => writeln!(console.err, "revoked the API key {}", key.id),
            Self::Listed(keys) => console
                .out
                .write_all(table(HEADINGS, keys.iter().map(row)).as_bytes()),
        }
    }
}

fn write_issued(sentence: &str, issued: &IssuedKey, console: &mut Console<'_>) -> io::Result<()> {
    writeln!(
        console.err,
        "{sentence}; keep this text, it is not shown again:"
    )?;
    writeln!(console.out, "{}", issued.text)
}

/// Who has the store: a running server, or this process.
enum Way {
    #[cfg(unix)]
    Asking(Client),
    Alone(KeyDesk),
}

impl Way {
    fn leave(self) {
        if let Self::Alone(desk) = self {
            desk.store().close();
        }
    }
}

async fn way_to(settings: &Settings, command: &KeysCommand) -> anyhow::Result<Way> {
    // Only making a key may make a store.
    let missing = match command {
        KeysCommand::Create { .. } => Missing::Made,
        _ => Missing::AMistake,
    };
    Ok(match reach(settings, missing).await? {
        #[cfg(unix)]
        Reached::Server(client) => Way::Asking(client),
        Reached::Alone(store, entropy) => Way::Alone(KeyDesk::new(store, entropy)),
    })
}

async fn carry_out(way: &mut Way, command: KeysCommand) -> anyhow::Result<Done> {
    Ok(match command {
        KeysCommand::Create {
            name,
            environment,
            scopes,
            application,
            expires,
        } => {
            let new = NewKey {
                name: name.unwrap_or_default(),
                environment,
                scopes,
                application,
                lifetime_seconds: expires.map(|lifetime| lifetime.as_secs()),
            };
            Done::Created(create(way, new).await?)
        }
        KeysCommand::List => Done::Listed(list(way).await?),
        KeysCommand::Rotate { key_id } => Done::Rotated(rotate(way, &key_id).await?),
        KeysCommand::Revoke { key_id } => Done::Revoked(revoke(way, &key_id).await?),
    })
}

async fn create(way: &mut Way, new: NewKey) -> anyhow::Result<IssuedKey> {
    match way {
        #[cfg(unix)]
        Way::Asking(client) => client.create(&new).await,
        Way::Alone(desk) => Ok(desk.create(new).await?),
    }
}

async fn list(way: &mut Way) -> anyhow::Result<Vec<KeyLine>> {
    match way {
        #[cfg(unix)]
        Way::Asking(client) => client.list().await,
        Way::Alone(desk) => Ok(desk.list()),
    }
}

async fn rotate(way: &mut Way, key_id: &str) -> anyhow::Result<IssuedKey> {
    match way {
        #[cfg(unix)]
        Way::Asking(client) => client.rotate(key_id).await,
        Way::Alone(desk) => Ok(desk.rotate(key_id).await?),
    }
}

async fn revoke(way: &mut Way, key_id: &str) -> anyhow::Result<KeyLine> {
    match way {
        #[cfg(unix)]
        Way::Asking(client) => client.revoke(key_id).await,
        Way::Alone(desk) => Ok(desk.revoke(key_id).await?),
    }
}

const HEADINGS: [&str; 9] = [
    "ID",
    "NAME",
    "ENVIRONMENT",
    "SCOPES",
    "APPLICATION",
    "BEGINS WITH",
    "CREATED",
    "EXPIRES",
    "LAST USED",
];

fn row(key: &KeyLine) -> [String; HEADINGS.len()] {
    let name = if key.name.is_empty() { "-" } else { &key.name };
    [
        key.id.clone(),
        name.to_owned(),
        key.environment.clone(),
        key.scopes.join(","),
        key.application.clone().unwrap_or_else(|| "all".to_owned()),
        key.shown.clone(),
        key.created.rfc3339(),
        moment(key.expires),
        moment(key.last_used),
    ]
}

fn moment(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| "never".to_owned(), Timestamp::rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let key = |id: &str, name: &str| KeyLine {
            id: id.to_owned(),
            name: name.to_owned(),
            environment: "default".to_owned(),
            scopes: vec!["admin".to_owned()],
            application: None,
            shown: "hookpost_abcde".to_owned(),
            created: Timestamp(1_709_210_096_789),
            expires: None,
            last_used: Some(Timestamp(1_709_210_040_000)),
        };
        let narrow = KeyLine {
            scopes: vec!["read".to_owned(), "secrets".to_owned()],
            application: Some("app_1".to_owned()),
            expires: Some(Timestamp(1_709_210_096_789)),
            last_used: None,
            ..key("key_22", "")
        };
        let want = "\
ID      NAME          ENVIRONMENT  SCOPES        APPLICATION  BEGINS WITH     CREATED                   EXPIRES                   LAST USED
key_1   Bäcker & Co.  default      admin         all          hookpost_abcde  2024-02-29T12:34:56.789Z  never                     2024-02-29T12:34:00.000Z
key_22  -             default      read,secrets  app_1        hookpost_abcde  2024-02-29T12:34:56.789Z  2024-02-29T12:34:56.789Z  never
";
        let keys = [key("key_1", "Bäcker & Co."), narrow];
        assert_eq!(table(HEADINGS, keys.iter().map(row)), want);
    }
}
