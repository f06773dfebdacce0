//! A disk in memory that loses power, and fails, as told.
//!
//! It keeps what a real one keeps: the bytes that readers see (`live`), the
//! bytes that are safe (`durable`), and what was written since the last sync
//! (`pending`), of which a loss of power keeps any part. A crash is planned
//! with [`Disk::crash_at`]: at that operation (writes, changes of length and
//! syncs count; reads do not) the disk dies, and everything fails until
//! [`Disk::reboot`].
//!
//! After a reboot the disk holds `durable` plus a seeded random subset of
//! `pending`, in order: each change of length kept or lost by itself, each
//! write kept, lost, or torn into its 512-byte sectors. What was written past
//! the end that the file came back with is lost.
//!
//! It says nothing of disks that rot, or write in the wrong place.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::entropy::Rng;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A fault other than a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next sync from operation `at` on fails. What it had to make safe is
    /// lost but for a random part, and readers see that too.
    SyncFails { at: u64 },
    /// As before, but readers go on seeing what was lost, until the next
    /// reboot: some file systems keep it in their cache, marked clean.
    SyncFailsUnseen { at: u64 },
    /// The next growth or write from operation `at` on finds the disk full.
    Full { at: u64 },
    /// Every sync whose number divides by `every` answers that all is safe, and
    /// does nothing. No promise holds on such a disk: this is the control that
    /// shows whether a test would notice.
    SyncLies { every: u64 },
}

/// The disk. Cheap to clone; clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug)]
struct State {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Operations since it was made.
    operations: u64,
    syncs: u64,
    crash_at: Option<u64>,
    is_dead: bool,
    fault: Option<Fault>,
    /// Counts reboots: what was opened before one cannot write after it.
    boot: u64,
    rng: Rng,
}

#[derive(Clone, Debug)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Disk {
    /// An empty disk. `seed` decides what crashes keep.
    pub(crate) fn new(seed: u64) -> Self {
        Self::from_state(State {
            live: Vec::new(),
            durable: Vec::new(),
            pending: Vec::new(),
            operations: 0,
            syncs: 0,
            crash_at: None,
            is_dead: false,
            fault: None,
            boot: 0,
            rng: Rng::new(seed),
        })
    }

    fn from_state(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk with the same content, whose crashes go by `seed`.
    pub(crate) fn fork(&self, seed: u64) -> Self {
        let mut state = self.lock().clone();
        state.rng = Rng::new(seed);
        Self::from_state(state)
    }

    /// A handle on it, as `StoreOptions.backend` makes one at each opening.
    pub(crate) fn handle(&self) -> Handle {
        Handle {
            disk: self.clone(),
            boot: self.lock().boot,
        }
    }

    /// Writes, changes of length and syncs so far.
    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Plans a loss of power at operation `at`, counted as
    /// [`operations`](Self::operations) does, the first being 1.
    pub(crate) fn crash_at(&self, at: u64) {
        self.lock().crash_at = Some(at);
    }

    /// Plans a fault, in place of one that was planned.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Whether a planned fault has not come yet.
    pub(crate) fn has_fault(&self) -> bool {
        self.lock().fault.is_some()
    }

    /// Whether it has lost power.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    /// Loses power, if it has not, and comes back. Handles from before fail.
    pub(crate) fn reboot(&self) {
        let mut state = self.lock();
        state.settle();
        let State { live, durable, .. } = &mut *state;
        live.clone_from(durable);
        state.crash_at = None;
        state.is_dead = false;
        state.boot += 1;
    }
}

impl State {
    /// Makes a random part of what is pending durable, and forgets the rest.
    fn settle(&mut self) {
        // How much survives differs from crash to crash, both ends included.
        let keep_percent = [0, 20, 50, 80, 100][usize::try_from(self.rng.below(5)).expect("small")];
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::SetLen(len) if self.rng.chance(keep_percent) => {
                    self.durable.resize(len, 0);
                }
                Pending::SetLen(_) => {}
                Pending::Write { offset, bytes } => self.tear(offset, &bytes, keep_percent),
            }
        }
    }

    /// Makes a write durable whole, not at all, or sector by sector.
    fn tear(&mut self, offset: usize, bytes: &[u8], keep_percent: u64) {
        let whole = self.rng.chance(50).then(|| self.rng.chance(keep_percent));
        let mut at = 0;
        while at < bytes.len() {
            let sector_end = (offset + at) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
            let end = bytes.len().min(sector_end - offset);
            let kept = whole.unwrap_or_else(|| self.rng.chance(keep_percent));
            let room = self.durable.len().saturating_sub(offset + at);
            let len = (end - at).min(room);
            if kept && len > 0 {
                self.durable[offset + at..offset + at + len].copy_from_slice(&bytes[at..at + len]);
            }
            at = end;
        }
    }

    /// Makes all that is pending durable.
    fn flush(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::SetLen(len) => self.durable.resize(len, 0),
                Pending::Write { offset, bytes } => {
                    self.durable[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
    }

    /// Counts an operation. Answers whether power is lost in it.
    fn step(&mut self) -> bool {
        self.operations += 1;
        self.is_dead = self.crash_at.is_some_and(|at| self.operations >= at);
        self.is_dead
    }

    fn is_full(&mut self) -> bool {
        let full = matches!(self.fault, Some(Fault::Full { at }) if self.operations >= at);
        if full {
            self.fault = None;
        }
        full
    }

    fn sync(&mut self) -> Result<()> {
        self.syncs += 1;
        match self.fault {
            Some(Fault::SyncLies { every }) if self.syncs.is_multiple_of(every) => return Ok(()),
            Some(Fault::SyncFails { at }) if self.operations >= at => {
                self.fault = None;
                self.settle();
                self.live = self.durable.clone();
                return Err(Error::other("the disk failed to sync"));
            }
            Some(Fault::SyncFailsUnseen { at }) if self.operations >= at => {
                self.fault = None;
                self.settle();
                // What was lost can be rewritten only within the file's length.
                let len = self.live.len();
                self.durable.resize(len, 0);
                return Err(Error::other("the disk failed to sync"));
            }
            _ => {}
        }
        self.flush();
        Ok(())
    }
}

/// An open file on a [`Disk`].
#[derive(Debug)]
pub(crate) struct Handle {
    disk: Disk,
    boot: u64,
}

impl Handle {
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.is_dead || state.boot != self.boot {
            return Err(Error::other("the disk has lost power"));
        }
        Ok(state)
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a test's file fits memory")
}

impl StorageBackend for Handle {
    fn len(&self) -> Result<u64> {
        Ok(self.state()?.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.state()?;
        let offset = index(offset);
        let bytes = state.live.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut state = self.state()?;
        let died = state.step();
        let len = index(len);
        if len > state.live.len() && state.is_full() {
            return Err(ErrorKind::StorageFull.into());
        }
        state.pending.push(Pending::SetLen(len));
        state.live.resize(len, 0);
        alive(died)
    }

    fn sync_data(&self) -> Result<()> {
        let mut state = self.state()?;
        let died = state.step();
        alive(died)?;
        state.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state()?;
        let died = state.step();
        if state.is_full() {
            return Err(ErrorKind::StorageFull.into());
        }
        let offset = index(offset);
        let end = offset + data.len();
        if end > state.live.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        state.live[offset..end].copy_from_slice(data);
        state.pending.push(Pending::Write {
            offset,
            bytes: data.to_vec(),
        });
        alive(died)
    }
}

fn alive(died: bool) -> Result<()> {
    if died {
        return Err(Error::other("the disk has lost power"));
    }
    Ok(())
}
