//! The customers' servers: they answer as their kind does, and write down what
//! came.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Dice, ledger};
use crate::support::patience::{PATIENCE, wait_for};

/// 0 is quick, 1 slow, 2 fails now and then, 3 breaks off now and then.
pub(super) const ENDPOINTS: usize = 4;
const SLOW: Duration = Duration::from_millis(50);
const BODY_BYTES_MAX: usize = 1 << 20;
const HEAD_LINES_MAX: usize = 100;

/// How an arrival was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answered {
    Ok,
    Error,
    /// The connection was closed before or amid the answer.
    Broken,
}

/// A request that came whole.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// The run of the server that sent it.
    pub(super) run: usize,
    /// `webhook-id`.
    pub(super) message: String,
    pub(super) number: u64,
    pub(super) endpoint: usize,
    pub(super) answered: Answered,
    pub(super) at: Instant,
}

/// All endpoints on one port, told apart by path.
pub(super) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    dice: Mutex<Dice>,
    run: AtomicUsize,
    /// Connections that are not closed.
    open: AtomicUsize,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    arrivals: Vec<Arrival>,
    faults: Vec<String>,
}

impl Sink {
    pub(super) fn open(seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            dice: Mutex::new(Dice(seed)),
            run: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            book: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        // Ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                accepting.open.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&accepting);
                thread::spawn(move || {
                    // An error is how a killed server looks from here.
                    let _ = shared.converse(stream);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared }
    }

    pub(super) fn url(&self, endpoint: usize) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    /// What arrives from here on is of this run.
    pub(super) fn begin_run(&self, run: usize) {
        self.shared.run.store(run, Ordering::SeqCst);
    }

    /// Returns when everything that the server had sent before it ended is
    /// written down.
    pub(super) fn settle(&self) {
        // Connections are accepted in order: when this one is answered, none of
        // the server's is left in the queue.
        let mut probe = TcpStream::connect(self.address).expect("the sink listens");
        probe.write_all(b"\r\n\r\n").expect("the sink reads");
        let mut answer = Vec::new();
        probe.read_to_end(&mut answer).expect("the sink closes");
        wait_for(PATIENCE, || {
            (self.shared.open.load(Ordering::SeqCst) == 0).then_some(())
        })
        .expect("the connections of a server that ended are closed");
    }

    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        self.shared.book().arrivals.clone()
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.shared.book().faults.clone()
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn one_in(&self, count: u64) -> bool {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        dice.one_in(count)
    }

    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        while let Some(request) = read(&mut reader)? {
            let answered = self.answer(request.endpoint);
            self.enter(&request, answered);
            if request.endpoint == 1 {
                thread::sleep(SLOW);
            }
            if answered == Answered::Broken {
                // Where nothing comes at all, a kept connection may have been at
                // its end, and the request is sent anew; amid an answer it is not.
                let some = self.one_in(2);
                return writer.write_all(if some { b"HTTP/1.1 20" } else { b"" });
            }
            writer.write_all(match answered {
                Answered::Ok => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                _ => b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
            })?;
        }
        Ok(())
    }

    fn answer(&self, endpoint: usize) -> Answered {
        match endpoint {
            2 if self.one_in(4) => Answered::Error,
            3 if self.one_in(8) => Answered::Broken,
            _ => Answered::Ok,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what is measured is another process"
    )]
    fn enter(&self, request: &Request, answered: Answered) {
        let number = ledger::number_in(&request.body).unwrap_or_default();
        let whole = request.body == ledger::payload(number);
        let mut book = self.book();
        if !whole {
            let Request {
                message, endpoint, ..
            } = request;
            book.faults.push(format!(
                "{message} came to endpoint {endpoint} with a wrong body"
            ));
        }
        book.arrivals.push(Arrival {
            run: self.run.load(Ordering::SeqCst),
            message: request.message.clone(),
            number,
            endpoint: request.endpoint,
            answered,
            at: Instant::now(),
        });
    }
}

struct Request {
    endpoint: usize,
    message: String,
    body: String,
}

/// The next request, or `None` at the end of the connection.
fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line
        .split(' ')
        .nth(1)
        .and_then(|path| path.strip_prefix('/'));
    let Some(endpoint) = path.and_then(|path| path.parse().ok()) else {
        return Ok(None);
    };
    let (mut message, mut body_bytes) = (String::new(), 0);
    for _ in 0..HEAD_LINES_MAX {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name {
            "webhook-id" => value.clone_into(&mut message),
            "content-length" => body_bytes = value.parse().map_err(io::Error::other)?,
            _ => {}
        }
    }
    let mut body = vec![0; BODY_BYTES_MAX.min(body_bytes)];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        endpoint,
        message,
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}
