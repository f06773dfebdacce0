//! The whole server in this process: store, engine, API and inboxes behind a
//! real listener, over time that the test moves.
//!
//! ```text
//! let app = TestApp::start().await;
//! let sink = Sink::start([Reply::status(500), Reply::status(200)]).await;
//! let application = app.application().await;
//! let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
//! let message = app.message(&application, "a.b", json!({"n": 1})).await;
//! sink.wait_for(1).await;
//! app.waiting(&application, &message).await;
//! app.advance(Duration::from_secs(6)).await;
//! sink.wait_for(2).await;
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hookpost::domain::address::DestinationPolicy;
use hookpost::domain::retry::DEFAULT_SCHEDULE;
use hookpost::domain::secret::Secret;
use hookpost::domain::time::Timestamp;
use hookpost::engine::relay::Listener;
use hookpost::engine::transport::{
    Dialler, HttpTransport, Resolver, SystemDialler, Transport, client_tls, trust_anchors,
};
use hookpost::engine::{Engine, EngineSettings};
use hookpost::http::server::{ServerLimits, serve};
use hookpost::http::state::{ApiLimits, AppState, Parts};
use hookpost::seams::clock::{Clock, SharedClock};
use hookpost::seams::entropy::{Entropy, SharedEntropy};
use hookpost::store::{Durability, MasterKey, Retention, Store, StoreOptions};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Where a test's time begins: 2026-11-22T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp(1_795_305_600_000);
/// The API key of every [`TestApp`].
pub(crate) const KEY: &str = "key-of-the-tests-0123456789abcdef";
/// How long a test waits, in real time, for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at what must happen.
const LOOK: Duration = Duration::from_millis(2);
/// Turns that every task gets when time has passed, before the test goes on:
/// enough for the scheduler to have begun what is due.
const TURNS: usize = 16;
const DAY: Duration = Duration::from_hours(24);

/// The clock seam, moved by hand. Clones are the same clock.
#[derive(Clone, Default)]
pub(crate) struct TestClock {
    state: Arc<Mutex<ClockState>>,
}

#[derive(Default)]
struct ClockState {
    passed: Duration,
    /// How far the wall clock is ahead of what has passed.
    ahead: Duration,
    next_sleeper: u64,
    sleepers: HashMap<u64, (Duration, Option<Waker>)>,
}

impl TestClock {
    fn lock(&self) -> MutexGuard<'_, ClockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the wall clock ahead of what has passed; no more than that later, it
    /// steps back.
    pub(crate) fn set_ahead(&self, ahead: Duration) {
        self.lock().ahead = ahead;
    }

    /// Lets `wait` pass, and wakes all who slept until then.
    pub(crate) fn advance(&self, wait: Duration) {
        let mut state = self.lock();
        state.passed += wait;
        let passed = state.passed;
        let wakers: Vec<Waker> = state
            .sleepers
            .values_mut()
            .filter(|(until, _)| *until <= passed)
            .filter_map(|(_, waker)| waker.take())
            .collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let state = self.lock();
        START.plus(state.passed + state.ahead)
    }

    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut state = self.lock();
        let number = state.next_sleeper;
        state.next_sleeper += 1;
        let until = state.passed + wait;
        state.sleepers.insert(number, (until, None));
        drop(state);
        Box::pin(Sleep {
            clock: self.clone(),
            number,
        })
    }
}

struct Sleep {
    clock: TestClock,
    number: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        let passed = state.passed;
        match state.sleepers.get_mut(&self.number) {
            Some((until, waker)) if *until > passed => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.number);
    }
}

/// Random bytes that repeat, and a jitter that the test sets.
struct TestEntropy {
    state: Mutex<u64>,
    jitter: f64,
}

impl Entropy for TestEntropy {
    /// The generator `SplitMix64`.
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_be_bytes()[..chunk.len()]);
        }
    }

    fn fraction(&self) -> f64 {
        self.jitter
    }
}

/// Answers each name from a table; other names do not exist.
#[derive(Clone, Default)]
struct ScriptedResolver(Arc<Mutex<HashMap<String, Vec<IpAddr>>>>);

impl ScriptedResolver {
    fn names(&self) -> MutexGuard<'_, HashMap<String, Vec<IpAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for ScriptedResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.names().get(host).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// Dials as the system does, and counts.
#[derive(Default)]
pub(crate) struct CountingDialler {
    dials: AtomicUsize,
}

impl CountingDialler {
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

impl Dialler for CountingDialler {
    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        SystemDialler.dial(addr)
    }
}

/// What a test may want otherwise.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) retry_schedule: Vec<Duration>,
    pub(crate) attempt_timeout: Duration,
    pub(crate) payload_bytes_max: usize,
    pub(crate) sockets_max: usize,
    /// Addresses that may be delivered to besides public ones.
    pub(crate) allow: Vec<&'static str>,
    /// Names that exist, and their addresses.
    pub(crate) names: Vec<(&'static str, &'static str)>,
    /// The guard knows the server's own address, as it does in production.
    pub(crate) knows_itself: bool,
    /// Added to every wait, as a share of the most that may be added.
    pub(crate) jitter: f64,
    /// Listeners without an API key may make inboxes.
    pub(crate) open_relay: bool,
    /// Certificate authorities besides the web's.
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retry_schedule: DEFAULT_SCHEDULE.to_vec(),
            attempt_timeout: Duration::from_secs(20),
            payload_bytes_max: 4 * 1024 * 1024,
            sockets_max: 1000,
            allow: vec!["127.0.0.0/8"],
            names: Vec::new(),
            knows_itself: false,
            jitter: 0.0,
            open_relay: false,
            roots: Vec::new(),
        }
    }
}

/// A running server. Use it in tests on one thread (`#[tokio::test]`): only
/// then nothing happens between a look at the clock and a sleep.
pub(crate) struct TestApp {
    pub(crate) clock: TestClock,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) dialler: Arc<CountingDialler>,
    pub(crate) address: SocketAddr,
    /// Where this server says it can be reached; inboxes are below it.
    pub(crate) public_url: String,
    resolver: ScriptedResolver,
    client: Client<HttpConnector, Full<Bytes>>,
    tasks: Vec<JoinHandle<()>>,
    options: Options,
    stop: watch::Sender<bool>,
    folder: Option<TempDir>,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let folder = TempDir::new().expect("a folder for the store");
        Self::start_in(folder, TestClock::default(), options).await
    }

    /// Stops without waiting for anything, as a crash would, and starts again
    /// on the same store, at another address.
    pub(crate) async fn restart(self) -> Self {
        let options = self.options.clone();
        self.restart_with(options).await
    }

    /// As [`restart`](Self::restart), with other options.
    pub(crate) async fn restart_with(mut self, options: Options) -> Self {
        let clock = self.clock.clone();
        let folder = self.folder.take().expect("only a restart takes it");
        drop(self);
        Self::start_in(folder, clock, options).await
    }

    async fn start_in(folder: TempDir, clock: TestClock, options: Options) -> Self {
        let runtime = tokio::runtime::Handle::current().runtime_flavor();
        assert_eq!(
            runtime,
            tokio::runtime::RuntimeFlavor::CurrentThread,
            "see TestApp"
        );
        let shared_clock: SharedClock = Arc::new(clock.clone());
        let entropy: SharedEntropy = Arc::new(TestEntropy {
            state: Mutex::new(clock.now().0),
            jitter: options.jitter,
        });
        let store = open_store(folder.path().into(), &shared_clock, &entropy);
        let key = Secret::new(KEY.to_owned());
        let environment = store.default_environment();
        store
            .create_api_key(environment, "tests".to_owned(), &key)
            .await
            .expect("a key can be made");
        let dialler = Arc::new(CountingDialler::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let resolver = resolver(&options);
        let transport = Arc::new(transport(&options, address, &resolver, &dialler));
        let public_url = format!("http://{address}");
        let settings = EngineSettings {
            retry_schedule: options.retry_schedule.clone(),
            attempt_timeout: options.attempt_timeout,
            sockets_max: options.sockets_max,
            public_url: public_url.clone(),
            trust_anchors: trust_anchors(&options.roots).expect("roots that are certificates"),
        };
        let engine = Engine::new(
            store.clone(),
            Arc::clone(&transport) as Arc<dyn Transport>,
            Arc::clone(&shared_clock),
            Arc::clone(&entropy),
            settings,
        );
        let retention = Retention {
            payloads: 90 * DAY,
            attempts: 90 * DAY,
            bytes_max: None,
        };
        let (stop, stopping) = watch::channel(false);
        let router = hookpost::serve::faces::router(&AppState::new(Parts {
            store: store.clone(),
            engine: engine.clone(),
            transport,
            entropy,
            clock: shared_clock,
            limits: ApiLimits {
                payload_bytes_max: options.payload_bytes_max,
            },
            public_url: public_url.as_str().into(),
            retention,
            open_relay: options.open_relay,
            stopping,
        }));
        let serving = async move {
            let limits = ServerLimits::default();
            let _ = serve(
                listener,
                router,
                limits,
                std::future::pending(),
                Duration::ZERO,
            )
            .await;
        };
        let tasks = vec![
            tokio::spawn({
                engine.ask_again();
                engine.run()
            }),
            tokio::spawn(engine.clone().prune(retention)),
            tokio::spawn(engine.clone().run_jobs()),
            tokio::spawn(engine.clone().keep_counts()),
            tokio::spawn(serving),
        ];
        Self {
            clock,
            store,
            engine,
            dialler,
            address,
            public_url,
            resolver,
            client: Client::builder(TokioExecutor::new()).build_http(),
            tasks,
            options,
            stop,
            folder: Some(folder),
        }
    }

    /// From now on `name` has these addresses; none: it does not exist.
    pub(crate) fn resolve_to(&self, name: &str, addresses: &[IpAddr]) {
        let mut names = self.resolver.names();
        if addresses.is_empty() {
            names.remove(name);
        } else {
            names.insert(name.to_owned(), addresses.to_vec());
        }
    }

    /// Tells everybody that the server is to stop.
    pub(crate) fn tell_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Lets time pass, and the tasks that waited for it take their turn.
    pub(crate) async fn advance(&self, wait: Duration) {
        self.clock.advance(wait);
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass until `due`, if it is later than now.
    pub(crate) async fn advance_to(&self, due: Timestamp) {
        self.advance(due.since(self.clock.now())).await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What `look` finds, looked for again and again. `what` says in the
    /// failure what did not happen.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
        let found = self.find(look).await;
        found.unwrap_or_else(|| panic!("did not happen within {PATIENCE:?}: {what}"))
    }

    async fn find<T>(&self, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                // There is nothing to be told by: what must happen is seen from outside.
                let _ = timeout(LOOK, std::future::pending::<()>()).await;
            }
        };
        timeout(PATIENCE, looking).await.ok()
    }

    /// Waits until no attempt is being made or waits to be recorded.
    pub(crate) async fn idle(&self) {
        self.until("no attempt is in flight", async || {
            (self.engine.in_flight() == 0).then_some(())
        })
        .await;
    }

    /// Waits until so many attempts are on record: that comes after the answer.
    pub(crate) async fn recorded(&self, attempts: u64) {
        self.until("the attempts are on record", async || {
            let figures = self.store.figures().expect("it reads");
            (figures.totals.attempts == attempts).then_some(())
        })
        .await;
    }

    /// Who listens in the first environment.
    pub(crate) fn listeners(&self) -> Vec<Listener> {
        let environment = self.store.default_environment();
        self.engine.listeners(environment, None)
    }

    // Calls of the API.

    /// A request with the API key, to be completed and sent.
    pub(crate) fn request(&self, method: &str, path: &str) -> Call<'_> {
        let mut headers = HeaderMap::new();
        let key = HeaderValue::from_str(&format!("Bearer {KEY}")).expect("visible ASCII");
        headers.insert(http::header::AUTHORIZATION, key);
        Call {
            app: self,
            method: method.parse().expect("a method"),
            path: path.to_owned(),
            headers,
            body: Bytes::new(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.request("POST", path).json(&body).send().await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.request("PUT", path).json(&body).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path).send().await
    }

    /// Makes an application; its id.
    pub(crate) async fn application(&self) -> String {
        let made = self
            .post("/api/v1/applications", json!({"name": "Example"}))
            .await;
        made.ok(201).id()
    }

    /// Makes an endpoint with these fields beside its URL; its id.
    pub(crate) async fn endpoint(&self, application: &str, url: &str, more: Value) -> String {
        let mut fields = more;
        fields["url"] = url.into();
        let path = format!("/api/v1/applications/{application}/endpoints");
        self.post(&path, fields).await.ok(201).id()
    }

    /// Sends a message; its id.
    pub(crate) async fn message(
        &self,
        application: &str,
        event_type: &str,
        payload: Value,
    ) -> String {
        let path = format!("/api/v1/applications/{application}/messages");
        let body = json!({"eventType": event_type, "payload": payload});
        self.post(&path, body).await.ok(202).id()
    }

    /// How a message stands with each endpoint.
    pub(crate) async fn endpoint_messages(&self, application: &str, message: &str) -> Vec<Value> {
        let path =
            format!("/api/v1/applications/{application}/messages/{message}/endpoint-messages");
        self.get(&path).await.ok(200).items()
    }

    /// Waits until a message stands with its only endpoint as `status` says,
    /// after `attempts` recorded attempts; the endpoint-message.
    pub(crate) async fn stands(
        &self,
        application: &str,
        message: &str,
        status: &str,
        attempts: usize,
    ) -> Value {
        let mut last = Value::Null;
        let looking = self.find(async || {
            let rows = self.endpoint_messages(application, message).await;
            assert_eq!(rows.len(), 1, "one endpoint");
            last = rows.into_iter().next()?;
            let stands = last["status"] == status && last["attemptCount"] == attempts;
            stands.then(|| last.clone())
        });
        let found = looking.await;
        found.unwrap_or_else(|| panic!("not {status} after {attempts} attempts: {last:#}"))
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.store.close();
    }
}

fn open_store(data_dir: PathBuf, clock: &SharedClock, entropy: &SharedEntropy) -> Store {
    let options = StoreOptions {
        data_dir,
        cache_bytes: 8 << 20,
        durability: Durability::Fast,
        master_key: MasterKey::InFile(None),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        backend: None,
    };
    Store::open(options).expect("the store opens")
}

fn resolver(options: &Options) -> ScriptedResolver {
    let resolver = ScriptedResolver::default();
    for (name, address) in &options.names {
        let address = address.parse().expect("an address");
        let mut names = resolver.names();
        names.entry((*name).to_owned()).or_default().push(address);
    }
    resolver
}

fn transport(
    options: &Options,
    address: SocketAddr,
    resolver: &ScriptedResolver,
    dialler: &Arc<CountingDialler>,
) -> HttpTransport {
    let policy = DestinationPolicy {
        allow: options
            .allow
            .iter()
            .map(|network| network.parse().expect("a network"))
            .collect(),
        own: Vec::from_iter(options.knows_itself.then_some(address)),
        ..DestinationPolicy::default()
    };
    HttpTransport::new(
        policy,
        Arc::new(resolver.clone()),
        Arc::clone(dialler) as Arc<dyn Dialler>,
        client_tls(&options.roots).expect("TLS can be set up"),
    )
}

/// A request to the server.
pub(crate) struct Call<'a> {
    app: &'a TestApp,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call<'_> {
    /// Sets a header; the one of that name before it goes.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(name, value);
        self
    }

    /// Adds a header, beside those of that name.
    pub(crate) fn append(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
        self.headers.append(name, value);
        self
    }

    /// Leaves the API key out.
    pub(crate) fn without_key(mut self) -> Self {
        self.headers.remove(http::header::AUTHORIZATION);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Status and headers alone: the body may never end.
    pub(crate) async fn send_for_head(self) -> Answer {
        let (head, _) = timeout(PATIENCE, self.exchange())
            .await
            .expect("an answer in time");
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: Bytes::new(),
        }
    }

    /// The answer's head, and its body piece by piece.
    pub(crate) async fn exchange(self) -> (http::response::Parts, hyper::body::Incoming) {
        let uri = format!("http://{}{}", self.app.address, self.path);
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri.parse().expect("a path that is a URI");
        *request.headers_mut() = self.headers;
        let response = self.app.client.request(request).await.expect("an answer");
        response.into_parts()
    }

    pub(crate) async fn send(self) -> Answer {
        let exchange = async {
            let (head, body) = self.exchange().await;
            let body = body.collect().await.expect("a whole body").to_bytes();
            Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            }
        };
        timeout(PATIENCE, exchange)
            .await
            .expect("an answer in time")
    }
}

/// What the server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// This answer, which must have that status.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {:?}", self.status, self.text()))
    }

    /// The items of a list.
    #[track_caller]
    pub(crate) fn items(&self) -> Vec<Value> {
        match self.json() {
            Value::Array(items) => items,
            other => panic!("not a list: {other}"),
        }
    }

    /// The `id` in the body.
    #[track_caller]
    pub(crate) fn id(&self) -> String {
        let json = self.json();
        json["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Every header of that name.
    pub(crate) fn header_values(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("ASCII")).collect()
    }

    /// The first header of that name, or "".
    /// The header, or nothing when there is none.
    pub(crate) fn header_or(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(HeaderValue::to_str);
        value.and_then(Result::ok).unwrap_or_default()
    }
}
