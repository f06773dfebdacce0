//! Opening, making and reopening the store.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, StorageBackend, WriteTransaction,
    backends::FileBackend,
};

use super::catalog::Catalog;
use super::cipher::Cipher;
use super::codec::{decode, encode};
use super::rows::TotalsV1;
use super::seen::Seen;
use super::statistics::RolledUp;
use super::tables::{self, META, Tables};
use super::writer::{
    self, Change, Idempotent, Listeners, Operation, Queue, WriteError, WriterState, Written,
};
use super::{Store, StoreError, api_keys, environments, sources};
use crate::domain::api_key::ApiKey;
use crate::domain::environment::{DEFAULT_ENVIRONMENT, Environment};
use crate::domain::ids::{EnvironmentKey, Ids, KeySequence};
use crate::domain::source::LiveSource;
use crate::seams::clock::SharedClock;
use crate::seams::entropy::SharedEntropy;

/// The store's file in the data directory.
const FILE_NAME: &str = "hookpost.redb";
/// The file while it is being made.
const FILE_NAME_NEW: &str = "hookpost.redb.new";
/// The master key that the first start makes when none is given.
const MASTER_KEY_FILE: &str = "master.key";

const FORMAT: u8 = 6;
const META_FORMAT: &str = "format";
const META_ID_SECRET: &str = "id_secret";
const META_KEY_CHECK: &str = "key_check";
pub(super) const META_LAST_KEY: &str = "last_key";
pub(super) const META_TOTALS: &str = "totals";
pub(super) const META_ROLLED_UP: &str = "rolled_up";
/// The latest event that is in the table `seen`, as are those before it.
pub(super) const META_SEEN_UPTO: &str = "seen_upto";

/// Waits between tries to reopen a store whose disk failed.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// What an fsync at every commit is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Two-phase commits; after a crash a store of any size opens at once.
    Safe,
    /// One-phase commits. As durable, but after a crash opening reads the
    /// whole file, seconds for each gigabyte; and where the system's cache goes
    /// on showing what a failed sync has lost, a later loss of power can leave
    /// a file that does not open.
    Fast,
}

/// Where the key that secrets are encrypted under comes from.
#[derive(Clone)]
pub enum MasterKey {
    /// These bytes.
    Given([u8; 32]),
    /// This file; made with a new key, mode 0600, when `None` and not there.
    InFile(Option<PathBuf>),
}

/// How to open a store.
pub struct StoreOptions {
    pub data_dir: PathBuf,
    pub cache_bytes: usize,
    pub durability: Durability,
    pub master_key: MasterKey,
    pub clock: SharedClock,
    pub entropy: SharedEntropy,
    /// For tests: storage other than a file, made anew at every opening, and
    /// no writer thread: [`Store::pump`] writes.
    pub backend: Option<BackendFactory>,
}

type BackendFactory = Box<dyn Fn() -> Box<dyn StorageBackend> + Send + Sync>;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: {source}", path = path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is in use by another hookpost; stop that one, or give another --data-dir", path = path.display())]
    InUse { path: PathBuf },
    #[error("the store cannot be opened: {0}")]
    Unreadable(String),
    #[error(
        "the master key does not fit this store; give the one it was made with (--master-key-file, \
         or HOOKPOST_MASTER_KEY)"
    )]
    WrongMasterKey,
    #[error(
        "the store has secrets but {path} is missing; put the file back, or give the key it was made with",
        path = path.display()
    )]
    MasterKeyMissing { path: PathBuf },
    #[error("{path} does not hold a master key: 32 bytes in base64", path = path.display())]
    MasterKeyMalformed { path: PathBuf },
    #[error("the store was written by a newer Hookpost (format {0}); use that one")]
    Newer(u8),
    #[error(
        "the store was made by a Hookpost from before the first release (format {0}), and cannot be \
         read any more; begin with another --data-dir"
    )]
    Older(u8),
}

pub(super) struct Inner {
    pub(super) ids: Ids,
    pub(super) catalog: Catalog,
    pub(super) cipher: Cipher,
    pub(super) queue: Queue,
    pub(super) clock: SharedClock,
    pub(super) entropy: SharedEntropy,
    pub(super) default_environment: EnvironmentKey,
    database: RwLock<Option<Arc<Database>>>,
    state: Mutex<WriterState>,
    seen: Mutex<Seen>,
    listeners: Listeners,
    available: AtomicBool,
    place: Place,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Where the bytes are, and how to open them again.
struct Place {
    file: PathBuf,
    cache_bytes: usize,
    durability: Durability,
    backend: Option<BackendFactory>,
}

/// What a new or opened store says about itself.
struct Opening {
    id_secret: [u8; 32],
    state: WriterState,
    seen: Seen,
    api_keys: Vec<ApiKey>,
    environments: Vec<Environment>,
    sources: Vec<LiveSource>,
    default_environment: EnvironmentKey,
}

impl Store {
    /// Whether there is a store in `data_dir`.
    pub fn is_in(data_dir: &Path) -> std::io::Result<bool> {
        data_dir.join(FILE_NAME).try_exists()
    }

    /// Opens the store in `options.data_dir`, or makes it.
    ///
    /// A new file is made under another name, committed, synced and only then
    /// renamed, so that a crash in between leaves nothing that looks like a store.
    pub fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let place = Place {
            file: options.data_dir.join(FILE_NAME),
            cache_bytes: options.cache_bytes,
            durability: options.durability,
            backend: options.backend,
        };
        if place.backend.is_none() {
            make_private_dir(&options.data_dir)?;
        }
        let is_new = place.is_new()?;
        let master_key = master_key(
            &options.master_key,
            &options.data_dir,
            is_new,
            &options.entropy,
        )?;
        let cipher = Cipher::new(&master_key, Arc::clone(&options.entropy));
        if is_new {
            place
                .make(|database| initialise(database, &cipher, &options.clock, &options.entropy))?;
        }
        let database = place.open()?;
        if place.backend.is_some() && is_blank(&database)? {
            initialise(&database, &cipher, &options.clock, &options.entropy)?;
        }
        let opening = read_opening(&database, &cipher)?;
        let inner = Arc::new(Inner {
            ids: Ids::new(&opening.id_secret),
            catalog: Catalog::default(),
            cipher,
            queue: Queue::default(),
            clock: options.clock,
            entropy: options.entropy,
            default_environment: opening.default_environment,
            database: RwLock::new(Some(Arc::new(database))),
            state: Mutex::new(opening.state),
            seen: Mutex::new(opening.seen),
            listeners: Listeners::default(),
            available: AtomicBool::new(true),
            place,
            writer: Mutex::new(None),
        });
        inner.catalog.set_api_keys(opening.api_keys);
        inner.catalog.set_environments(opening.environments);
        inner.catalog.set_sources(opening.sources);
        let store = Self { inner };
        store.start_writer();
        Ok(store)
    }

    fn start_writer(&self) {
        if self.inner.place.backend.is_some() {
            return;
        }
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || writer::run(&inner))
            .expect("a process that cannot start one thread cannot serve");
        *self
            .inner
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Writes what waits. Only for a store without a writer thread. Answers
    /// whether anything waited.
    #[expect(clippy::must_use_candidate, reason = "most callers only want it done")]
    pub fn pump(&self) -> bool {
        writer::pump(&self.inner)
    }

    /// Calls `listener` after every commit, on the writer's thread, with what
    /// it changed. It must not block.
    pub fn listen(&self, listener: impl Fn(&[Change]) + Send + 'static) {
        self.inner
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(listener));
    }

    /// Whether the store takes writes: false while a failed disk keeps it
    /// from being reopened.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.inner.available.load(Ordering::Acquire)
    }

    /// The environment that every store has.
    #[must_use]
    pub fn default_environment(&self) -> EnvironmentKey {
        self.inner.default_environment
    }

    /// Takes no more writes, finishes those that wait, and closes the file.
    pub fn close(&self) {
        self.inner.queue.close();
        let writer = self
            .inner
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match writer {
            // A panic in it has ended the process already.
            Some(thread) => drop(thread.join()),
            None => while self.pump() {},
        }
        self.inner.available.store(false, Ordering::Release);
        let database = self
            .inner
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(database);
    }

    /// Every row, for comparing what a store held before and after.
    #[must_use]
    pub fn dump(&self) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
        self.read(|txn| Ok(tables::dump(txn)?)).unwrap_or_default()
    }

    /// Runs `body` on a snapshot. Keep it short: a snapshot held open makes
    /// the file grow.
    pub(super) fn read<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let database = self.inner.database()?;
        let txn = database.begin_read()?;
        body(&txn)
    }

    /// Hands an operation to the writer and waits for the commit.
    pub(super) async fn write<O: Operation>(
        &self,
        operation: O,
        idempotent: Option<Idempotent<O::Answer>>,
    ) -> Result<Written<O::Answer>, WriteError> {
        let (reply, answer) = writer::reply_channel();
        self.inner.queue.submit(operation, idempotent, reply);
        answer.await.unwrap_or_else(|_| Err(gone().into()))
    }

    /// As [`write`](Self::write), for an operation that is never repeated.
    pub(super) async fn write_once<O: Operation>(
        &self,
        operation: O,
    ) -> Result<O::Answer, WriteError> {
        match self.write(operation, None).await? {
            Written::Fresh(answer) => Ok(answer),
            Written::Repeated(_) => unreachable!("without an idempotency key nothing is repeated"),
        }
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the writer is gone".to_owned())
}

impl Inner {
    pub(super) fn database(&self) -> Result<Arc<Database>, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database
            .clone()
            .ok_or_else(|| StoreError::Unavailable("it is being reopened".to_owned()))
    }

    pub(super) fn begin_write(&self, database: &Database) -> Result<WriteTransaction, StoreError> {
        let mut txn = database.begin_write()?;
        txn.set_quick_repair(self.place.durability == Durability::Safe);
        Ok(txn)
    }

    pub(super) fn writer_state(&self) -> WriterState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ids of events that are in memory: the writer's alone.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_writer_state(&self, state: WriterState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(super) fn file_bytes(&self) -> u64 {
        fs::metadata(&self.place.file).map_or(0, |file| file.len())
    }

    pub(super) fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        for listener in self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            listener(changes);
        }
    }

    /// After an I/O error redb refuses everything until it is opened anew. What
    /// the failed commit left is read from the file, never guessed; a failed
    /// sync is never tried again on the same handle.
    pub(super) fn reopen(&self) {
        self.available.store(false, Ordering::Release);
        let old = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut old) = old {
            // Readers hold it for milliseconds.
            while let Err(still_read) = Arc::try_unwrap(old) {
                old = still_read;
                std::thread::yield_now();
            }
        }
        loop {
            match self.reopen_once() {
                Ok(()) => break,
                Err(error) if self.place.backend.is_some() => {
                    tracing::error!(%error, "the store could not be reopened");
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "the store cannot be reopened; trying again");
                    writer::turn_away(self, &StoreError::Unavailable(error.to_string()));
                    if self.queue.is_closed() {
                        return;
                    }
                    std::thread::sleep(REOPEN_PAUSE);
                }
            }
        }
        tracing::warn!("the store was reopened after a failure");
        self.available.store(true, Ordering::Release);
    }

    fn reopen_once(&self) -> Result<(), OpenError> {
        let database = self.place.open()?;
        let opening = read_opening(&database, &self.cipher)?;
        self.set_writer_state(opening.state);
        *self.seen() = opening.seen;
        self.catalog.forget_applications();
        self.catalog.set_api_keys(opening.api_keys);
        self.catalog.set_environments(opening.environments);
        self.catalog.set_sources(opening.sources);
        *self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(database));
        Ok(())
    }
}

impl Place {
    fn is_new(&self) -> Result<bool, OpenError> {
        if self.backend.is_some() {
            return Ok(false);
        }
        self.file
            .try_exists()
            .map(|exists| !exists)
            .map_err(io(&self.file))
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder
    }

    fn open(&self) -> Result<Database, OpenError> {
        let opened = unpanicked(|| match &self.backend {
            Some(backend) => Ok(self.builder().create_with_backend(Boxed(backend()))),
            None => Ok(self.builder().open(&self.file)),
        });
        opened?.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse {
                path: self.file.clone(),
            },
            other => OpenError::Unreadable(format!("{}: {other}", self.file.display())),
        })
    }

    fn make(
        &self,
        initialise: impl FnOnce(&Database) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let new = self.file.with_file_name(FILE_NAME_NEW);
        remove_stale(&new)?;
        let database = FileBackend::new(private_file(&new)?)
            .and_then(|backend| self.builder().create_with_backend(backend))
            .map_err(|error| OpenError::Unreadable(format!("{}: {error}", new.display())))?;
        initialise(&database)?;
        database
            .close()
            .map_err(|error| OpenError::Unreadable(error.to_string()))?;
        File::open(&new)
            .and_then(|file| file.sync_all())
            .map_err(io(&new))?;
        fs::rename(&new, &self.file).map_err(io(&self.file))?;
        sync_dir(&self.file)
    }
}

/// redb takes a backend by value; ours comes boxed.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write(offset, data)
    }
    fn close(&self) -> Result<(), std::io::Error> {
        self.0.close()
    }
}

/// `body`, with a panic turned into an error: redb trusts a file that was
/// closed in order, and may panic when it was damaged since.
fn unpanicked<T>(body: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(unreadable("the file is damaged; restore it from a backup")))
}

fn unreadable(error: impl std::fmt::Display) -> OpenError {
    OpenError::Unreadable(error.to_string())
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}

fn is_blank(database: &Database) -> Result<bool, OpenError> {
    let txn = database.begin_read().map_err(unreadable)?;
    match txn.open_table(META) {
        Ok(_) => Ok(false),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(true),
        Err(error) => Err(unreadable(error)),
    }
}

/// Writes what a new store starts with: its format, the secret of its ids, and
/// the default environment.
fn initialise(
    database: &Database,
    cipher: &Cipher,
    clock: &SharedClock,
    entropy: &SharedEntropy,
) -> Result<(), OpenError> {
    let mut id_secret = [0; 32];
    entropy.fill(&mut id_secret);
    let mut sequence = KeySequence::after(0);
    let now = clock.now();
    let environment = Environment {
        key: sequence.next(now, entropy.next_u64()),
        name: DEFAULT_ENVIRONMENT.to_owned(),
        operational: sequence.next(now, entropy.next_u64()),
        created: now,
        updated: now,
    };
    let mut txn = database.begin_write().map_err(unreadable)?;
    txn.set_quick_repair(true);
    {
        let mut tables = Tables::open(&txn).map_err(unreadable)?;
        let check = cipher.seal("meta", META_KEY_CHECK.as_bytes(), META_KEY_CHECK.as_bytes());
        let last_key = sequence.last().to_be_bytes();
        let totals = encode(&TotalsV1::default());
        let rolled_up = RolledUp::default().to_bytes();
        let rows: [(&str, &[u8]); 6] = [
            (META_FORMAT, &[FORMAT]),
            (META_ID_SECRET, &id_secret),
            (META_KEY_CHECK, &check),
            (META_LAST_KEY, &last_key),
            (META_TOTALS, &totals),
            (META_ROLLED_UP, &rolled_up),
        ];
        for (name, value) in rows {
            tables.meta.insert(name, value).map_err(unreadable)?;
        }
        environments::write_new(&environment, &mut tables).map_err(unreadable)?;
    }
    txn.commit().map_err(unreadable)
}

fn read_opening(database: &Database, cipher: &Cipher) -> Result<Opening, OpenError> {
    unpanicked(|| read_opening_trusting(database, cipher))
}

fn read_opening_trusting(database: &Database, cipher: &Cipher) -> Result<Opening, OpenError> {
    let txn = database.begin_read().map_err(unreadable)?;
    let meta = txn.open_table(META).map_err(unreadable)?;
    let value = |name: &str| -> Result<Vec<u8>, OpenError> {
        let row = meta.get(name).map_err(unreadable)?;
        row.map(|bytes| bytes.value().to_vec())
            .ok_or_else(|| unreadable(format!("it has no {name}")))
    };
    match value(META_FORMAT)?.as_slice() {
        [FORMAT] => {}
        [older, ..] if *older < FORMAT => return Err(OpenError::Older(*older)),
        [newer, ..] => return Err(OpenError::Newer(*newer)),
        [] => return Err(unreadable("its format is empty")),
    }
    let check = cipher.open("meta", META_KEY_CHECK.as_bytes(), &value(META_KEY_CHECK)?);
    if check.is_err() {
        return Err(OpenError::WrongMasterKey);
    }
    let id_secret = value(META_ID_SECRET)?
        .try_into()
        .map_err(|_| unreadable("its id secret is malformed"))?;
    let last_key = value(META_LAST_KEY)?
        .try_into()
        .map_err(|_| unreadable("its last key is malformed"))?;
    let totals = decode::<TotalsV1>(&value(META_TOTALS)?).map_err(unreadable)?;
    let rolled_up = RolledUp::from_bytes(&value(META_ROLLED_UP)?).map_err(unreadable)?;
    let environments = environments::load(&txn).map_err(unreadable)?;
    let first = environments.iter().map(|environment| environment.key).min();
    let default_environment = first.ok_or_else(|| unreadable("it has no environment"))?;
    Ok(Opening {
        id_secret,
        state: WriterState {
            sequence: KeySequence::after(u64::from_be_bytes(last_key)),
            totals,
            rolled_up,
        },
        seen: Seen::load(&txn).map_err(unreadable)?,
        api_keys: api_keys::load(&txn).map_err(unreadable)?,
        sources: sources::load(&txn, cipher).map_err(unreadable)?,
        environments,
        default_environment,
    })
}

fn master_key(
    wanted: &MasterKey,
    data_dir: &Path,
    is_new: bool,
    entropy: &SharedEntropy,
) -> Result<[u8; 32], OpenError> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let path = match wanted {
        MasterKey::Given(key) => return Ok(*key),
        MasterKey::InFile(Some(path)) => path.clone(),
        MasterKey::InFile(None) => data_dir.join(MASTER_KEY_FILE),
    };
    let missing = !path.try_exists().map_err(io(&path))?;
    if missing && !is_new {
        return Err(OpenError::MasterKeyMissing { path });
    }
    if missing {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        write_whole(&path, &format!("{}\n", STANDARD.encode(key)))?;
        return Ok(key);
    }
    let text = fs::read_to_string(&path).map_err(io(&path))?;
    let malformed = || OpenError::MasterKeyMalformed { path: path.clone() };
    let bytes = STANDARD.decode(text.trim()).map_err(|_| malformed())?;
    bytes.try_into().map_err(|_| malformed())
}

/// Makes a private file that is there with all of `text`, or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), OpenError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    remove_stale(&new)?;
    let mut file = private_file(&new)?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io(&new))?;
    fs::rename(&new, path).map_err(io(path))?;
    sync_dir(path)
}

/// Removes what a start that did not end has left.
fn remove_stale(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}

fn make_private_dir(dir: &Path) -> Result<(), OpenError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(io(dir))
}

fn private_file(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(io(path))
}

fn sync_dir(file: &Path) -> Result<(), OpenError> {
    let dir = file.parent().expect("the file lies in the data directory");
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io(dir))
}
