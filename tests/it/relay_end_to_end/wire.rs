//! HTTP as it is on the wire: both ends of the relay are compared by it.

use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// For a connection, and for each read and write of it.
const SILENCE_MAX: Duration = Duration::from_mins(1);
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// What belongs to one connection, or to the server between the two ends.
const NOT_COMPARED: [&str; 6] = [
    "connection",
    "content-length",
    "content-security-policy",
    "host",
    "transfer-encoding",
    "x-content-type-options",
];

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Method and target of a request, the status of an answer.
    pub(super) first: String,
    /// In the order in which they are sent.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Message {
    pub(super) fn new(first: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            first: first.into(),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref().to_vec();
        self.headers.push((name.to_owned(), value));
        self
    }

    /// The first header of that name, whatever its case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// The status of an answer.
    pub(super) fn status(&self) -> u16 {
        self.first.parse().expect("an answer begins with a status")
    }

    /// What has to be the same at both ends. The order of headers says
    /// something only among those of one name.
    pub(super) fn end_to_end(mut self) -> Self {
        for (name, _) in &mut self.headers {
            name.make_ascii_lowercase();
        }
        self.headers
            .retain(|(name, _)| !NOT_COMPARED.contains(&name.as_str()));
        self.headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        self
    }

    fn write(&self, first: &str, writer: &mut impl Write) -> io::Result<()> {
        let mut bytes = format!("{first}\r\n").into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        let length = format!("content-length: {}\r\n\r\n", self.body.len());
        bytes.extend(length.into_bytes());
        bytes.extend(&self.body);
        writer.write_all(&bytes)
    }

    /// Writes an answer.
    pub(super) fn answer(&self, writer: &mut impl Write) -> io::Result<()> {
        self.write(&format!("HTTP/1.1 {} x", self.first), writer)
    }
}

/// Reads a request; `None` at the end of the connection.
pub(super) fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let Some(line) = read_line(reader)? else {
        return Ok(None);
    };
    let first = line.strip_suffix(b" HTTP/1.1").ok_or_else(|| bad(&line))?;
    let first = String::from_utf8(first.to_vec()).map_err(io::Error::other)?;
    read_rest(reader, first, true).map(Some)
}

fn read_answer(reader: &mut impl BufRead, to: &str) -> io::Result<Message> {
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = line
            .strip_prefix(b"HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = String::from_utf8(status.ok_or_else(|| bad(&line))?.to_vec());
        let status = status.map_err(io::Error::other)?;
        let interim = status.starts_with('1');
        let has_body = !interim && !to.starts_with("HEAD ") && status != "204" && status != "304";
        let answer = read_rest(reader, status, has_body)?;
        if !interim {
            return Ok(answer);
        }
    }
}

fn read_rest(reader: &mut impl BufRead, first: String, has_body: bool) -> io::Result<Message> {
    let mut message = Message::new(first, []);
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or_else(|| bad(&line))?);
        let name = String::from_utf8(name.to_vec()).map_err(io::Error::other)?;
        message
            .headers
            .push((name, value[1..].trim_ascii().to_vec()));
    }
    if !has_body {
        return Ok(message);
    }
    if message.header("transfer-encoding") == Some("chunked") {
        read_chunks(reader, &mut message.body)?;
    } else if let Some(length) = message.header("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        message.body.resize(length, 0);
        reader.read_exact(&mut message.body)?;
    }
    Ok(message)
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = std::str::from_utf8(&line).map_err(io::Error::other)?;
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        read_line(reader)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// A line without its end; `None` at the end of the connection.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let whole = line.strip_suffix(b"\r\n").map(<[u8]>::to_vec);
    whole.ok_or_else(|| bad(&line)).map(Some)
}

fn bad(line: &[u8]) -> io::Error {
    io::Error::other(format!("no HTTP: {:?}", String::from_utf8_lossy(line)))
}

/// Sends requests to one address, over one connection for as long as it holds.
pub(super) struct Sender {
    server: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Sender {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            connection: None,
        }
    }

    /// The answer to a request. An error says nothing of whether it arrived.
    pub(super) fn send(&mut self, request: &Message) -> io::Result<Message> {
        let sent = self.try_send(request);
        let closes = |answer: &Message| answer.header("connection") == Some("close");
        if !sent.as_ref().is_ok_and(|answer| !closes(answer)) {
            self.connection = None;
        }
        sent
    }

    fn try_send(&mut self, request: &Message) -> io::Result<Message> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(connect(self.server)?),
        };
        let first = format!("{} HTTP/1.1\r\nhost: {}", request.first, self.server);
        request.write(&first, connection.get_mut())?;
        read_answer(connection, &request.first)
    }
}

fn connect(server: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&server, SILENCE_MAX)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}
