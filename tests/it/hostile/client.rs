//! Requests that no client library would send, and what a refusal must look like.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app::{KEY, PATIENCE};

/// A request as bytes in the making.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: String,
    pub(super) target: Vec<u8>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Sent,
}

/// How a body is framed.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    Nothing,
    Whole(Vec<u8>),
    Chunked(Vec<u8>),
    /// These bytes under a length of this text, and then the end.
    Lying(&'static str, Vec<u8>),
}

impl Ask {
    pub(super) fn new(method: &str, target: impl Into<Vec<u8>>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: Vec::new(),
            body: Sent::Nothing,
        }
        .header("authorization", format!("Bearer {KEY}"))
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn without_key(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "authorization");
        self
    }

    pub(super) fn json(mut self, body: &Value) -> Self {
        self.body = Sent::Whole(body.to_string().into_bytes());
        self.header("content-type", "application/json")
    }

    pub(super) fn body(mut self, body: Sent) -> Self {
        self.body = body;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.method.clone().into_bytes();
        bytes.extend_from_slice(b" ");
        bytes.extend_from_slice(&self.target);
        bytes.extend_from_slice(b" HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n");
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        match &self.body {
            Sent::Nothing => bytes.extend_from_slice(b"\r\n"),
            Sent::Whole(body) => {
                bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend_from_slice(body);
            }
            Sent::Chunked(body) => {
                bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for chunk in body.chunks(64 * 1024) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            Sent::Lying(length, body) => {
                bytes.extend(format!("content-length: {length}\r\n\r\n").bytes());
                bytes.extend_from_slice(body);
            }
        }
        bytes
    }

    /// Sends it over a connection of its own; `None` when no answer came.
    #[expect(clippy::disallowed_methods, reason = "it dials the server under test")]
    pub(super) async fn send(&self, server: SocketAddr) -> Option<Told> {
        let bytes = self.bytes();
        let exchange = async {
            let stream = TcpStream::connect(server).await.expect("it listens");
            let (mut reader, mut writer) = stream.into_split();
            let writing = async {
                // The server may answer and close before it has read it all.
                let _ = writer.write_all(&bytes).await;
                if matches!(self.body, Sent::Lying(..)) {
                    let _ = writer.shutdown().await;
                }
            };
            let mut answer = Vec::new();
            let reading = reader.read_to_end(&mut answer);
            let _ = tokio::join!(writing, reading);
            answer
        };
        let answer = timeout(PATIENCE, exchange).await.expect("it ends in time");
        Told::parse(&answer)
    }
}

/// An answer, and what it says.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Told {
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        loop {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let rest = &bytes[end + 4..];
            let mut lines = head.split("\r\n");
            let status = lines.next()?.get(9..12)?.parse().ok()?;
            if (100..200).contains(&status) {
                bytes = rest;
                continue;
            }
            let headers = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            return Some(Self {
                status,
                headers,
                body: rest.to_vec(),
            });
        }
    }

    /// The first header of that name, or "".
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn code(&self) -> String {
        let json = self.json().unwrap_or_default();
        json["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The paths of the fields that a 422 finds wrong.
    pub(super) fn paths(&self) -> Vec<String> {
        let json = self.json().unwrap_or_default();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        let path = |error: &Value| error["path"].as_str().map(str::to_owned);
        errors.iter().filter_map(path).collect()
    }

    /// What is missing for this to be a problem in the documented form.
    pub(super) fn problem_fault(&self) -> Option<String> {
        let kind = self.header("content-type");
        if kind != "application/problem+json" {
            return Some(format!("its content type is {kind:?}"));
        }
        let Some(json) = self.json() else {
            return Some("it is no JSON".to_owned());
        };
        if json["status"] != self.status {
            return Some(format!("its status is {}", json["status"]));
        }
        let names = ["type", "title", "detail", "code"];
        let text = |name: &&&str| json[**name].as_str().is_none_or(str::is_empty);
        if let Some(missing) = names.iter().find(text) {
            return Some(format!("it has no {missing}"));
        }
        let names_none = self.paths().is_empty();
        (self.status == 422 && names_none).then(|| "it names no field".to_owned())
    }
}
