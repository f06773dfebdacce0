//! The program on the developer's machine.

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::wire::{Message, read_request};

/// Makes an answer, and may take its time.
pub(super) type Answering = fn(&Message) -> Message;

/// An HTTP server that remembers every request as it came.
pub(super) struct Program {
    pub(super) address: SocketAddr,
    came: Arc<Mutex<Vec<Message>>>,
}

impl Program {
    /// One at this address, of which the port may be 0.
    pub(super) fn open(address: impl Into<SocketAddr>, answering: Answering) -> Self {
        let listener = TcpListener::bind(address.into()).expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let came = Arc::<Mutex<Vec<Message>>>::default();
        let accepting = Arc::clone(&came);
        // Ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let came = Arc::clone(&accepting);
                // An error is how a connection looks that was given up.
                thread::spawn(move || drop(converse(&stream, &came, answering)));
            }
        });
        Self { address, came }
    }

    /// All requests so far.
    pub(super) fn came(&self) -> MutexGuard<'_, Vec<Message>> {
        lock(&self.came)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(
    stream: &TcpStream,
    came: &Mutex<Vec<Message>>,
    answering: Answering,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    while let Some(request) = read_request(&mut reader)? {
        lock(came).push(request.clone());
        answering(&request).answer(&mut writer)?;
    }
    Ok(())
}
