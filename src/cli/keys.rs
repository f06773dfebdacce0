//! `hookpost keys`: API keys by hand, whether the server runs or not.

use std::fmt::Write as _;
use std::io;

use super::reach::{Missing, Reached, reach};
use super::{
    Console, EXIT_FAILED, EXIT_OK, EXIT_USAGE, KeysArgs, KeysCommand, StoreFlags, answer, load,
};
use crate::config::Settings;
#[cfg(unix)]
use crate::control_socket::Client;
use crate::control_socket::{IssuedKey, KeyDesk, KeyLine, NewKey};

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
            Self::Listed(keys) => console.out.write_all(table(keys).as_bytes()),
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
        KeysCommand::Create { name, environment } => {
            let name = name.unwrap_or_default();
            Done::Created(create(way, NewKey { name, environment }).await?)
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

/// A line for each key under a line of headings, in columns.
fn table(keys: &[KeyLine]) -> String {
    let headings = ["ID", "NAME", "ENVIRONMENT", "BEGINS WITH", "CREATED"];
    let rows: Vec<[String; 5]> = std::iter::once(headings.map(str::to_owned))
        .chain(keys.iter().map(row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for row in &rows {
        let [id, name, environment, shown, created] = row;
        let [id_width, name_width, environment_width, shown_width, _] = widths;
        writeln!(
            text,
            "{id:id_width$}  {name:name_width$}  {environment:environment_width$}  \
             {shown:shown_width$}  {created}"
        )
        .expect("writing to a text cannot fail");
    }
    text
}

fn row(key: &KeyLine) -> [String; 5] {
    let name = if key.name.is_empty() { "-" } else { &key.name };
    [
        key.id.clone(),
        name.to_owned(),
        key.environment.clone(),
        key.shown.clone(),
        key.created.rfc3339(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn the_table_is_aligned() {
        let key = |id: &str, name: &str| KeyLine {
            id: id.to_owned(),
            name: name.to_owned(),
            environment: "default".to_owned(),
            shown: "hookpost_abcde".to_owned(),
            created: Timestamp(1_709_210_096_789),
        };
        let want = "\
ID      NAME          ENVIRONMENT  BEGINS WITH     CREATED
key_1   Bäcker & Co.  default      hookpost_abcde  2024-02-29T12:34:56.789Z
key_22  -             default      hookpost_abcde  2024-02-29T12:34:56.789Z
";
        let keys = [key("key_1", "Bäcker & Co."), key("key_22", "")];
        assert_eq!(table(&keys), want);
    }
}
