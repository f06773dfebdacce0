//! `tests/python/sign_presets.py`: what providers send, made by independent code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::support::python;

/// A preset in one of the ways that its provider sends.
#[derive(Debug, Deserialize)]
pub(super) struct Way {
    pub(super) preset: String,
    pub(super) variant: String,
    pub(super) slug: String,
    secrets: Vec<String>,
    settings: BTreeMap<String, String>,
    signature: Value,
    /// As the provider has it.
    pub(super) event_type: String,
    pub(super) event_id: Option<String>,
    /// `status` and `body` of the answer to an event, where it is choosy.
    pub(super) wants: Value,
    pub(super) cases: BTreeMap<String, Option<Wire>>,
    pub(super) handshakes: Vec<Handshake>,
    pub(super) forgeries: Vec<Forgery>,
    /// What is fetched to verify, by URL.
    pub(super) serve: BTreeMap<String, Served>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wire {
    pub(super) method: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    #[serde(rename = "body_base64", deserialize_with = "bytes")]
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Handshake {
    pub(super) name: String,
    pub(super) request: Wire,
    pub(super) answer: Wanted,
    pub(super) verdict: String,
}

/// The answer that a provider wants.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) headers: BTreeMap<String, String>,
}

/// To be refused.
#[derive(Debug, Deserialize)]
pub(super) struct Forgery {
    pub(super) name: String,
    pub(super) request: Wire,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Served {
    pub(super) content_type: String,
    #[serde(rename = "body_base64", deserialize_with = "bytes")]
    pub(super) body: Vec<u8>,
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

impl Way {
    /// For people.
    pub(super) fn name(&self) -> String {
        if self.variant.is_empty() {
            self.preset.clone()
        } else {
            format!("{} ({})", self.preset, self.variant)
        }
    }

    /// What the API is told.
    pub(super) fn verification(&self) -> Value {
        let mut told = json!({"preset": self.preset});
        if !self.secrets.is_empty() {
            told["secrets"] = json!(self.secrets);
        }
        if !self.signature.is_null() {
            told["signature"] = self.signature.clone();
        }
        for (name, text) in &self.settings {
            told[name] = json!(text);
        }
        told
    }
}

/// The script, running; killed when dropped.
pub(super) struct Sender {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Whom the certificates that it makes end in.
    pub(super) anchor: CertificateDer<'static>,
}

impl Sender {
    pub(super) fn start(python: OsString) -> Self {
        let mut child = python::script(python, "sign_presets.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python can be started");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let first: Value = next(&mut lines);
        let pem = first["anchors_pem"].as_str().expect("its anchor");
        let anchor = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        Self {
            child,
            stdin,
            lines,
            anchor,
        }
    }

    /// Every way to send to `url`, in which `<slug>` stands for each one's own.
    pub(super) fn ways(&mut self, now_ms: u64, url: &str) -> Vec<Way> {
        let asked = json!({"now_ms": now_ms, "url": url});
        writeln!(self.stdin, "{asked}").expect("it reads stdin");
        next(&mut self.lines)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn next<T: for<'de> Deserialize<'de>>(lines: &mut Lines<BufReader<ChildStdout>>) -> T {
    let line = lines.next().expect("it answers").expect("it is read");
    serde_json::from_str(&line).expect("it prints JSON")
}
