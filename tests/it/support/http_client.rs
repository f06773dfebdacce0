//! Requests over a plain socket: one connection each, or one for many.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const CONNECT_TIME: Duration = Duration::from_secs(10);
/// For each read and write, not for the whole.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const RESPONSE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A whole response, its body without chunks.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case, in the order in which they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header of that name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(given, _)| given == name)?;
        Some(value)
    }

    /// The body, for people.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which has to be JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {:?}", self.status, self.text()))
    }
}

/// Sends a request and reads its whole response.
///
/// `host`, `content-length` and `connection: close` are added to `headers`.
/// A response that ends too early is an error, as is one that is no HTTP.
pub(crate) fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let mut stream = connect(server)?;
    let headers = [headers, &[("connection", "close")]].concat();
    let bytes = message(server, method, path, &headers, body);
    // A server may answer and close before it has read everything.
    let written = stream.write_all(&bytes);
    let mut answer = Vec::new();
    let read = stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut answer);
    match parse(&answer) {
        Some(response) => Ok(response),
        None => Err(read
            .and(written.map(|()| 0))
            .err()
            .unwrap_or_else(|| incomplete(&answer))),
    }
}

/// A connection that is kept for one request after the other.
pub(crate) struct Connection {
    server: SocketAddr,
    stream: TcpStream,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = connect(server)?;
        stream.set_nodelay(true)?;
        Ok(Self { server, stream })
    }

    /// Sends a request and reads its response, which has to say how long it is.
    ///
    /// After an error the connection is of no use.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let bytes = message(self.server, method, path, headers, body);
        self.stream.write_all(&bytes)?;
        let mut answer = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk)? {
                0 => return Err(incomplete(&answer)),
                length => answer.extend_from_slice(&chunk[..length]),
            }
            if let Some(response) = parse(&answer) {
                return Ok(response);
            }
        }
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, CONNECT_TIME)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn message(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = head(server, method, path, headers, body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn head(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body_bytes: usize,
) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head + &format!("content-length: {body_bytes}\r\n\r\n")
}

fn incomplete(answer: &[u8]) -> io::Error {
    let shown = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
    let reason = format!("the response is not whole: {shown:?}");
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

/// The final response in `bytes`, interim ones passed over.
fn parse(mut bytes: &[u8]) -> Option<Response> {
    loop {
        let (head, rest) = split(bytes, b"\r\n\r\n")?;
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let status = status(lines.next()?)?;
        if (100..200).contains(&status) {
            bytes = rest;
            continue;
        }
        let mut response = Response {
            status,
            headers: lines.map(header).collect::<Option<_>>()?,
            body: Vec::new(),
        };
        response.body = body(&response, rest)?;
        return Some(response);
    }
}

fn split<'a>(bytes: &'a [u8], end: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    Some((&bytes[..at], &bytes[at + end.len()..]))
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ")?;
    rest.get(..3)?.parse().ok()
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn body(response: &Response, rest: &[u8]) -> Option<Vec<u8>> {
    if response.header("transfer-encoding") == Some("chunked") {
        return unchunked(rest);
    }
    match response.header("content-length") {
        Some(length) => rest.get(..length.parse().ok()?).map(<[u8]>::to_vec),
        // No body, or one that ends with the connection.
        None => Some(rest.to_vec()),
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (size, after) = split(rest, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[test]
fn responses_are_read_as_they_are_framed() {
    for (bytes, want) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", Some((204, ""))),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Some((200, "ok")),
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", None),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nab\r\nA\r\n0123456789\r\n0\r\n\r\n",
            Some((200, "ab0123456789")),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
            None,
        ),
        ("HTTP/1.1 200 OK\r\n", None),
        ("SSH-2.0\r\n\r\n", None),
    ] {
        let got = parse(bytes.as_bytes()).map(|response| (response.status, response.text()));
        let want = want.map(|(status, body)| (status, body.to_owned()));
        assert_eq!(got, want, "{bytes:?}");
    }
}
