//! The server: its parts put together, run, and taken down again.

mod demo;
pub mod faces;
mod log;
mod own_addresses;
pub(crate) mod signals;
mod way_in;

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{self, PublicUrl, Settings};
use crate::control_socket::{self, Desks, JobDesk, KeyDesk, UserDesk};
use crate::domain::address::DestinationPolicy;
use crate::engine::transport::{HttpTransport, trust_anchors};
use crate::engine::{Engine, EngineSettings};
use crate::http::server::{self, DrainReport, ServerLimits};
use crate::http::state::{ApiLimits, AppState, Parts};
use crate::seams::clock::{SharedClock, SystemClock};
use crate::seams::entropy::{SharedEntropy, SystemEntropy};
use crate::store::{Durability, MasterKey, Retention, Store, StoreOptions};

use self::demo::Demo;
use self::signals::Signals;
use self::way_in::WayIn;

/// What the key from `--api-key` is called in lists.
const GIVEN_KEY_NAME: &str = "from --api-key";
/// How long the end of the process waits for threads that look up a name.
const THREADS_WAIT: Duration = Duration::from_millis(500);

/// Whether this is a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    /// Loopback may be delivered to, and a demo application is made.
    Dev,
}

/// Serves until a signal ends it, or something that it cannot do without fails.
///
/// `out` gets the line `listening on http://ADDRESS` once requests are
/// answered, and in a trial what to try first. Everything else is logged to
/// the standard error output.
pub fn serve(settings: &Settings, mode: Mode, out: &mut dyn Write) -> anyhow::Result<()> {
    log::install(settings.log_format, settings.log_level);
    // Fails only where one is installed already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = runtime().context("cannot start threads")?;
    // From here on a signal ends the server in good order, however early it comes.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen().context("cannot listen for signals")?
    };
    let seams = Seams::system();
    let store = open_store(settings, &seams)?;
    let ended = runtime.block_on(async {
        let server = Server::assemble(settings, mode, &seams, &store).await?;
        let greeting = Greeting {
            bound: server.bound,
            demo: server.demo.clone(),
            way_in: server.way_in.clone(),
        };
        let running = server.start(settings);
        announce(settings, &greeting, &store, out);
        running.until_stopped(&mut signals).await
    });
    // What still runs ends first, so that nobody meets a closed store.
    runtime.shutdown_timeout(THREADS_WAIT);
    store.close();
    if ended.is_ok() {
        tracing::info!("stopped");
    }
    ended
}

/// The outside world, as the server and the commands beside it see it.
pub(crate) struct Seams {
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
}

impl Seams {
    pub(crate) fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }
}

/// Opens the store that `settings` describe, or makes it.
pub(crate) fn open_store(settings: &Settings, seams: &Seams) -> anyhow::Result<Store> {
    let options = StoreOptions {
        data_dir: settings.data_dir.clone(),
        cache_bytes: in_memory(settings.cache_bytes),
        durability: match settings.durability {
            config::Durability::Safe => Durability::Safe,
            config::Durability::Fast => Durability::Fast,
        },
        // A key in a file of the operator's was read with the settings.
        master_key: match &settings.master_key {
            Some(key) => MasterKey::Given(*key.expose()),
            None => MasterKey::InFile(None),
        },
        clock: Arc::clone(&seams.clock),
        entropy: Arc::clone(&seams.entropy),
        backend: None,
    };
    Store::open(options).with_context(|| {
        format!(
            "cannot use the data directory {}",
            settings.data_dir.display()
        )
    })
}

fn runtime() -> io::Result<Runtime> {
    let threads = std::thread::available_parallelism()?.get();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("hookpost")
        .enable_all()
        .build()
}

/// The parts, put together but not running.
struct Server {
    listener: TcpListener,
    bound: SocketAddr,
    engine: Engine,
    app: axum::Router,
    desks: Desks,
    demo: Option<Demo>,
    way_in: Option<WayIn>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Binds first: clients that connect meanwhile wait instead of being refused.
    async fn assemble(
        settings: &Settings,
        mode: Mode,
        seams: &Seams,
        store: &Store,
    ) -> anyhow::Result<Self> {
        let listener = bind(settings.listen).await?;
        let bound = listener.local_addr()?;
        let public_url = settings.public_url_for(bound);
        let roots = extra_roots(settings.ca_file.as_deref())?;
        let transport = HttpTransport::system(policy(settings, mode, bound), &roots)
            .context("cannot prepare for deliveries")?;
        let transport = Arc::new(transport);
        let engine = Engine::new(
            store.clone(),
            Arc::<HttpTransport>::clone(&transport),
            Arc::clone(&seams.clock),
            Arc::clone(&seams.entropy),
            engine_settings(settings, &public_url, &roots)?,
        );
        keep_given_key(settings, store).await?;
        let demo = match mode {
            Mode::Plain => None,
            Mode::Dev => {
                Some(Demo::prepare(store, &seams.entropy, &settings.data_dir, &public_url).await?)
            }
        };
        let way_in = way_in::prepare(settings, mode, store, seams, &public_url).await?;
        let (stop, stopping) = watch::channel(false);
        let state = AppState::new(Parts {
            store: store.clone(),
            engine: engine.clone(),
            transport,
            entropy: Arc::clone(&seams.entropy),
            clock: Arc::clone(&seams.clock),
            limits: ApiLimits {
                payload_bytes_max: in_memory(settings.payload_bytes_max),
            },
            public_url: public_url.as_str().into(),
            retention: retention(settings),
            open_relay: settings.open_relay || mode == Mode::Dev,
            stopping,
        });
        Ok(Self {
            listener,
            bound,
            engine,
            app: faces::router(&state),
            desks: Desks {
                keys: KeyDesk::new(store.clone(), Arc::clone(&seams.entropy)),
                jobs: JobDesk::new(store.clone()),
                users: UserDesk {
                    store: store.clone(),
                    entropy: Arc::clone(&seams.entropy),
                    clock: Arc::clone(&seams.clock),
                    public_url: public_url.to_string(),
                },
            },
            demo,
            way_in,
            stop,
        })
    }

    fn start(self, settings: &Settings) -> Running {
        let stopping = self.stop.subscribe();
        let drain = settings.drain_timeout;
        let limits = ServerLimits::default();
        let retention = retention(settings);
        Running {
            stop: self.stop,
            drain,
            delivering: tokio::spawn({
                self.engine.ask_again();
                self.engine.run()
            }),
            pruning: tokio::spawn(self.engine.clone().prune(retention)),
            counting: tokio::spawn(self.engine.clone().keep_counts()),
            working: tokio::spawn(self.engine.clone().run_jobs()),
            answering: tokio::spawn(server::serve(
                self.listener,
                self.app,
                limits,
                told(stopping.clone()),
                drain,
            )),
            control: control_socket::start(&settings.data_dir, self.desks, told(stopping), drain),
            engine: self.engine,
        }
    }
}

fn retention(settings: &Settings) -> Retention {
    Retention {
        payloads: settings.retention_payloads,
        attempts: settings.retention_attempts,
        bytes_max: settings.store_bytes_max,
    }
}

fn engine_settings(
    settings: &Settings,
    public_url: &PublicUrl,
    roots: &[CertificateDer<'static>],
) -> anyhow::Result<EngineSettings> {
    Ok(EngineSettings {
        trust_anchors: trust_anchors(roots).context("cannot prepare for inbound requests")?,
        retry_schedule: settings.retry_schedule.clone(),
        attempt_timeout: settings.attempt_timeout,
        sockets_max: settings.sockets_max,
        public_url: public_url.to_string(),
    })
}

/// A size as this machine counts; more than it can address is no limit.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "the address is in use; give another --listen".to_owned(),
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have the address; give another --listen".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not use the port; give another --listen, with a port from 1024"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        anyhow!("cannot listen on {address}: {remedy}")
    })
}

/// What may be delivered to: never this server itself, unless the operator says so.
fn policy(settings: &Settings, mode: Mode, bound: SocketAddr) -> DestinationPolicy {
    let mut allow = settings.allow_destinations.clone();
    if mode == Mode::Dev {
        let v4 = IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8);
        let v6 = IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128);
        allow.extend([v4, v6]);
    }
    DestinationPolicy {
        https_only: settings.https_only,
        allow,
        own: own_addresses::of(bound),
        ..DestinationPolicy::default()
    }
}

/// The certificates that a file adds to those that are trusted anyway.
pub(crate) fn extra_roots(ca_file: Option<&Path>) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let Some(path) = ca_file else {
        return Ok(Vec::new());
    };
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read the certificates in {}", path.display()))
}

async fn keep_given_key(settings: &Settings, store: &Store) -> anyhow::Result<()> {
    if let Some(text) = &settings.api_key {
        let environment = store.default_environment();
        store
            .create_api_key(environment, GIVEN_KEY_NAME.to_owned(), text)
            .await
            .context("cannot keep the key from --api-key")?;
    }
    Ok(())
}

/// What a start says to who started it.
struct Greeting {
    bound: SocketAddr,
    demo: Option<Demo>,
    way_in: Option<WayIn>,
}

fn announce(settings: &Settings, greeting: &Greeting, store: &Store, out: &mut dyn Write) {
    let bound = greeting.bound;
    let data_dir = settings.data_dir.display();
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(address = %bound, %data_dir, version, "listening");
    if greeting.demo.is_some() && !bound.ip().is_loopback() {
        tracing::warn!(
            "with --dev deliveries reach this machine's own services, and this address is open \
             to others; listen on loopback unless the network is yours"
        );
    }
    if store.catalog().api_keys().is_empty() {
        tracing::warn!(
            "there is no API key yet; make one with: hookpost keys create --data-dir {data_dir}"
        );
    }
    // A server whose standard output is closed serves all the same.
    let _ = write_announcement(settings, greeting, out);
}

fn write_announcement(
    settings: &Settings,
    greeting: &Greeting,
    out: &mut dyn Write,
) -> io::Result<()> {
    let bound = greeting.bound;
    writeln!(out, "listening on http://{bound}")?;
    if let Some(way_in) = &greeting.way_in {
        let url = settings.public_url_for(bound);
        writeln!(out, "{}", way_in.introduction(&url))?;
    }
    if let Some(demo) = &greeting.demo {
        let url = PublicUrl::local(bound);
        write!(out, "\n{}", demo.introduction(&url, &settings.data_dir))?;
    }
    out.flush()
}

/// A server that answers and delivers.
struct Running {
    engine: Engine,
    stop: watch::Sender<bool>,
    /// Time for what is under way when it is told to stop.
    drain: Duration,
    delivering: JoinHandle<()>,
    pruning: JoinHandle<()>,
    counting: JoinHandle<()>,
    /// On jobs.
    working: JoinHandle<()>,
    answering: JoinHandle<DrainReport>,
    control: Option<JoinHandle<()>>,
}

impl Running {
    /// Comes back when a signal came and what was under way has ended or is
    /// cut. A second signal ends the process.
    async fn until_stopped(mut self, signals: &mut Signals) -> anyhow::Result<()> {
        let failure = tokio::select! {
            signal = signals.next() => {
                tracing::info!(%signal, "stopping; a second signal stops at once");
                None
            }
            ended = &mut self.delivering => Some(anyhow!("the engine ended by itself: {ended:?}")),
        };
        tokio::select! {
            () = self.drain() => {}
            again = signals.next() => {
                tracing::warn!(signal = %again, "stopping at once");
                std::process::exit(again.exit_code());
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn drain(self) {
        self.stop.send_replace(true);
        self.pruning.abort();
        self.counting.abort();
        self.working.abort();
        let control = async {
            match self.control {
                Some(control) => control.await,
                None => Ok(()),
            }
        };
        let (answering, in_flight, control) =
            tokio::join!(self.answering, self.engine.drain(self.drain), control);
        if let Ok(DrainReport {
            cut: requests @ 1..,
        }) = answering
        {
            tracing::warn!(requests, "cut requests that did not end in time");
        }
        if in_flight > 0 {
            tracing::warn!(
                attempts = in_flight,
                "cut attempts that did not end in time; they are made again after the next start"
            );
        }
        for error in [answering.err(), control.err()].into_iter().flatten() {
            tracing::error!(%error, "a part of the server failed");
        }
    }
}

async fn told(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
