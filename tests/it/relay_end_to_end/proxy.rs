//! A network that can go silent: nothing comes through any more, and nobody is
//! told. It can be slow as well.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that it takes from one end before the other end has them.
const BUFFER_BYTES: usize = 16 * 1024;

/// Connections on loopback that lead to one address.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    network: Arc<Network>,
}

struct Network {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: u64,
    /// Connections with a smaller number are silent.
    silent_below: u64,
    /// From the client to the server.
    bytes_per_second_max: Option<usize>,
}

impl Proxy {
    pub(super) fn open(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let network = Arc::new(Network {
            server,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&network);
        // Ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let network = Arc::clone(&accepting);
                let number = network.with(|state| {
                    state.connections += 1;
                    state.connections
                });
                // An error is how a server looks that is down.
                thread::spawn(move || drop(network.lead(&client, number)));
            }
        });
        Self { address, network }
    }

    /// Connections since it was opened.
    pub(super) fn connections(&self) -> u64 {
        self.network.with(|state| state.connections)
    }

    /// Lets the connections that there are be silent, but no new ones.
    pub(super) fn silence_old(&self) {
        self.network
            .with(|state| state.silent_below = state.connections + 1);
    }

    /// Lets all connections be silent, also those to come.
    pub(super) fn silence_all(&self) {
        self.network.with(|state| state.silent_below = u64::MAX);
    }

    /// Lets each connection carry no more than this to the server.
    pub(super) fn slow_down(&self, bytes_per_second_max: usize) {
        self.network
            .with(|state| state.bytes_per_second_max = Some(bytes_per_second_max));
    }

    /// Lets what was held back and what follows come through.
    pub(super) fn end_silence(&self) {
        self.network.with(|state| state.silent_below = 0);
        self.network.changed.notify_all();
    }
}

impl Network {
    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait_until_heard(&self, number: u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = self
            .changed
            .wait_while(state, |state| number < state.silent_below);
        drop(heard);
    }

    fn lead(self: &Arc<Self>, client: &TcpStream, number: u64) -> io::Result<()> {
        self.wait_until_heard(number);
        let server = TcpStream::connect(self.server)?;
        let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
        let network = Arc::clone(self);
        thread::spawn(move || network.copy(&server_too, &client_too, number, false));
        self.copy(client, &server, number, true);
        Ok(())
    }

    /// How long so many bytes take to the server.
    fn time_of(&self, bytes: usize) -> Duration {
        let max = self.with(|state| state.bytes_per_second_max);
        let millis = max.map_or(0, |max| bytes * 1000 / max);
        Duration::from_millis(millis.try_into().unwrap_or(u64::MAX))
    }

    /// Copies until either end is gone. An end is news too: it waits as well.
    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, number: u64, to_server: bool) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            self.wait_until_heard(number);
            if to_server {
                thread::sleep(self.time_of(read));
            }
            if read == 0 || to.write_all(&buffer[..read]).is_err() {
                // They may be gone already.
                drop(to.shutdown(Shutdown::Write));
                drop(from.shutdown(Shutdown::Read));
                return;
            }
        }
    }
}
