//! Opens a page in the browser of whoever sits here.

use std::io;
use std::process::{Command, Stdio};
use std::thread;

use url::Url;

/// The page of an event, if its id can be a part of a path.
pub(super) fn event_page(view: &str, id: &str) -> Option<String> {
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let fits = !id.is_empty() && id.bytes().all(is_of_id);
    fits.then(|| format!("{}/received/{id}", view.trim_end_matches('/')))
}

/// Opens an http or https URL. It comes from a server: nothing else is opened,
/// and no shell reads it.
pub(super) fn open(url: &str) -> io::Result<()> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "it is no http URL");
    let url = Url::parse(url).map_err(|_| refused())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused());
    }
    let mut child = opener(url.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Some browsers run as long as their window; their end is waited for aside.
    thread::spawn(move || child.wait());
    Ok(())
}

#[cfg(target_os = "macos")]
fn opener(url: &str) -> Command {
    let mut command = Command::new("open");
    command.arg(url);
    command
}

#[cfg(windows)]
fn opener(url: &str) -> Command {
    // As `start` does, but without cmd, which would read the URL as a command.
    let mut command = Command::new("rundll32");
    command.args(["url.dll,FileProtocolHandler", url]);
    command
}

#[cfg(not(any(target_os = "macos", windows)))]
fn opener(url: &str) -> Command {
    let mut command = Command::new("xdg-open");
    command.arg(url);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_are_opened() {
        for url in ["file:///etc/passwd", "javascript:alert(1)", "--help", ""] {
            assert!(open(url).is_err(), "{url}");
        }
        for (id, want) in [
            ("rcv_1", Some("http://h/view/received/rcv_1")),
            ("../x", None),
            ("", None),
        ] {
            assert_eq!(event_page("http://h/view/", id).as_deref(), want, "{id}");
        }
    }
}
