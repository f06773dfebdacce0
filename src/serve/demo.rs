//! `serve --dev`: something to send to, before anything is written.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::PublicUrl;
use crate::domain::address::EndpointUrl;
use crate::domain::api_key::{self, API_KEY_CHARS_MIN, API_KEY_PREFIX};
use crate::domain::endpoint::EndpointChange;
use crate::domain::inbox::{Inbox, InboxChange};
use crate::domain::principal::{Principal, Scope};
use crate::domain::secret::Secret;
use crate::engine::receive::{INBOX_PATH, own_inbox};
use crate::seams::entropy::SharedEntropy;
use crate::store::{ApplicationEntry, Store, Written};

/// The text of the key, which is shown again at every start.
const KEY_FILE: &str = "dev-key";
const KEY_NAME: &str = "dev";
const APPLICATION_UID: &str = "demo";
const ENDPOINT_UID: &str = "demo-inbox";
const INBOX_NAME: &str = "Demo inbox";
/// As many bits as an API key would need; it is written as 24 characters.
const TOKEN_BYTES: usize = 18;

/// What there is to try.
#[derive(Clone)]
pub(super) struct Demo {
    key: Secret,
    /// `None` when somebody has pointed the endpoint elsewhere.
    inbox_token: Option<String>,
}

impl Demo {
    /// Makes what is missing: a key, an application, an inbox, and an endpoint
    /// that leads there. What is there already stays as it is.
    pub(super) async fn prepare(
        store: &Store,
        entropy: &SharedEntropy,
        data_dir: &Path,
        public_url: &PublicUrl,
    ) -> anyhow::Result<Self> {
        let key = key(&data_dir.join(KEY_FILE), entropy)?;
        let environment = store.default_environment();
        store
            .create_api_key(environment, KEY_NAME.to_owned(), &key)
            .await?;
        let inbox_token = endpoint(store, entropy, public_url).await?;
        Ok(Self { key, inbox_token })
    }

    /// What to do first, with lines to paste.
    pub(super) fn introduction(&self, url: &PublicUrl, data_dir: &Path) -> String {
        let key = self.key.expose();
        let data_dir = data_dir.display();
        let messages = format!("{url}/api/v1/applications/{APPLICATION_UID}/messages");
        let header = format!("-H 'Authorization: Bearer {key}'");
        let headers = format!("{header} -H 'Content-Type: application/json'");
        let failing = self.inbox_token.as_ref().map_or_else(String::new, |token| {
            format!(
                "
Let the inbox that it went to fail, then send another; with 200 it works again:
  curl -X PUT {url}/api/v1/inboxes/{token} {headers} \\
    -d '{{\"answerStatus\": 500}}'
"
            )
        });
        format!(
            "\
This is Hookpost, ready to be tried out. It keeps what it stores in {data_dir}.

  URL      {url}
  API key  {key}

Open the link above: the dashboard shows what happens below. {url}/docs has every
call of the API, each as a line to paste.

Send a message:
  curl {messages} {headers} \\
    -d '{{\"eventType\": \"greeting.sent\", \"uid\": \"first\", \"payload\": {{\"hello\": \"world\"}}}}'

See where it went, and what came back:
  curl {messages}/first/endpoint-messages {header}
{failing}
Replay it:
  curl -X POST {messages}/first/endpoints/{ENDPOINT_UID}/replays {header}

Bring what comes to a URL to a program of yours, on port 5000 say; follow the deliveries:
  hookpost listen 5000 --server {url}
  HOOKPOST_API_KEY={key} hookpost tail --server {url}
"
        )
    }
}

/// The key that an earlier start has kept, or a new one.
fn key(path: &Path, entropy: &SharedEntropy) -> anyhow::Result<Secret> {
    let kept = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let kept = kept.trim_end();
    // A start that was cut off may have left less.
    if kept.starts_with(API_KEY_PREFIX) && kept.len() >= API_KEY_CHARS_MIN {
        return Ok(Secret::new(kept));
    }
    let mut random = [0; 32];
    entropy.fill(&mut random);
    let key = api_key::new_text(random);
    write_private(path, key.expose())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(path)?, "{text}")
}

async fn application(store: &Store) -> anyhow::Result<Arc<ApplicationEntry>> {
    let environment = store.default_environment();
    let scope = Scope::of_environment(environment);
    if let Some(entry) = store.find_application(scope, APPLICATION_UID)? {
        return Ok(entry);
    }
    let (name, uid) = ("Demo".to_owned(), APPLICATION_UID.to_owned());
    store
        .create_application(environment, name, Some(uid), None)
        .await?;
    store
        .find_application(scope, APPLICATION_UID)?
        .context("the demo application is gone as soon as made")
}

/// Makes the endpoint unless it is there, and gives the token of the inbox
/// that it leads to.
async fn endpoint(
    store: &Store,
    entropy: &SharedEntropy,
    public_url: &PublicUrl,
) -> anyhow::Result<Option<String>> {
    let application = application(store).await?;
    let known = store.find_endpoint(&application, ENDPOINT_UID)?;
    let token = match &known {
        None => inbox(store, entropy).await?.token,
        Some(endpoint) => match inbox_at(store, &endpoint.settings.url, public_url)? {
            Some(token) => token,
            None => return Ok(None),
        },
    };
    let scope = Scope::of_environment(application.application.environment);
    let key = application.application.key;
    let url = format!("{public_url}{INBOX_PATH}{token}/");
    match known {
        None => {
            let settings = EndpointChange {
                name: Some(INBOX_NAME.to_owned()),
                uid: Some(ENDPOINT_UID.to_owned()),
                url: Some(url),
                ..EndpointChange::default()
            };
            store.create_endpoint(scope, key, settings, None).await?;
        }
        // The port is another one than at the last start.
        Some(endpoint) if endpoint.settings.url != url => {
            let change = EndpointChange {
                url: Some(url),
                ..EndpointChange::default()
            };
            let endpoint = endpoint.settings.key;
            store
                .update_endpoint(Principal::operator(scope), key, endpoint, change)
                .await?;
        }
        Some(_) => {}
    }
    Ok(Some(token))
}

/// The token of an inbox of this store, when `url` leads to it: under our
/// public URL, or over loopback at what may be an earlier port.
fn inbox_at(store: &Store, url: &str, public_url: &PublicUrl) -> anyhow::Result<Option<String>> {
    let over_loopback = || {
        let parsed = EndpointUrl::parse(url).ok()?;
        let origin_chars = url.find(INBOX_PATH)?;
        let is_local = parsed.literal_ip().is_some_and(|ip| ip.is_loopback());
        own_inbox(url, url.get(..origin_chars)?).filter(|_| is_local)
    };
    match own_inbox(url, public_url.as_str()).or_else(over_loopback) {
        Some((token, "/")) => Ok(store.inbox(token)?.map(|inbox| inbox.token)),
        _ => Ok(None),
    }
}

/// The inbox of an earlier start that was cut off before it made the endpoint, or a new one.
async fn inbox(store: &Store, entropy: &SharedEntropy) -> anyhow::Result<Inbox> {
    let environment = store.default_environment();
    let mut known = store.list_inboxes(environment)?.into_iter();
    if let Some(inbox) = known.find(|inbox| inbox.name == INBOX_NAME) {
        return Ok(inbox);
    }
    let mut random = [0; TOKEN_BYTES];
    entropy.fill(&mut random);
    let token = URL_SAFE_NO_PAD.encode(random);
    let change = InboxChange {
        name: Some(INBOX_NAME.to_owned()),
        ..InboxChange::default()
    };
    let made = store.create_inbox(environment, token, change, None).await?;
    match made {
        Written::Fresh(inbox) => Ok(inbox),
        Written::Repeated(_) => unreachable!("without an idempotency key nothing is repeated"),
    }
}
