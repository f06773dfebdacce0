//! The store on real files: who may open them, what they look like, and what
//! is not in them.

#![expect(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use hookpost::domain::api_key;
use hookpost::domain::endpoint::{CustomHeader, EndpointChange};
use hookpost::domain::ids::Key;
use hookpost::domain::inbox::InboxChange;
use hookpost::domain::principal::Scope;
use hookpost::domain::secret::Secret;
use hookpost::domain::signing::SigningSecret;
use hookpost::seams::clock::SystemClock;
use hookpost::seams::entropy::SystemEntropy;
use hookpost::store::{
    Durability, Idempotent, MasterKey, OpenError, Store, StoreError, StoreOptions, StoredAnswer,
    WriteError, Written,
};
use tempfile::TempDir;

use crate::support::entropy::Rng;
use crate::support::store::{Machine, message};

const FILE: &str = "hookpost.redb";

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        data_dir: dir.to_owned(),
        cache_bytes: 1 << 20,
        durability: Durability::Safe,
        master_key: MasterKey::InFile(None),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        backend: None,
    }
}

fn with_key(dir: &Path, master_key: MasterKey) -> StoreOptions {
    StoreOptions {
        master_key,
        ..options(dir)
    }
}

fn open(dir: &Path) -> Store {
    Store::open(options(dir)).unwrap()
}

fn fresh<A>(written: Written<A>) -> A {
    match written {
        Written::Fresh(answer) => answer,
        Written::Repeated(_) => panic!("repeated"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A store that was closed, with one row of each kind that carries a secret.
async fn filled(dir: &Path) {
    let store = open(dir);
    let env = store.default_environment();
    let scope = Scope::of_environment(env);
    let made = store.create_application(env, "Acme".to_owned(), Some("acme".to_owned()), None);
    let application = fresh(made.await.unwrap()).key;
    let settings = EndpointChange {
        url: Some("https://example.com/hook".to_owned()),
        headers: Some(vec![CustomHeader {
            name: "authorization".to_owned(),
            value: Secret::new("Bearer canary-in-a-header"),
        }]),
        secrets: Some(vec![
            SigningSecret::parse("canary-of-a-signing-secret").unwrap(),
        ]),
        ..EndpointChange::default()
    };
    let made = store.create_endpoint(scope, application, settings, None);
    fresh(made.await.unwrap());
    let idempotent = Idempotent {
        hash: [9; 32],
        render: Box::new(|_| StoredAnswer {
            status: 202,
            body: "canary-in-an-answer".into(),
        }),
    };
    let new = message(
        application,
        "order.paid",
        Some("m-1"),
        "a payload in plain sight",
    );
    fresh(store.accept(scope, new, Some(idempotent)).await.unwrap());
    let text = Secret::new("hookpost_canary-of-an-api-key-0123456789");
    store
        .create_api_key(env, "ci".to_owned(), &text)
        .await
        .unwrap();
    store.close();
}

#[tokio::test]
async fn a_second_opening_of_the_same_directory_is_refused() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path());
    let second = Store::open(options(dir.path()));
    assert!(
        matches!(second, Err(OpenError::InUse { .. })),
        "{:?}",
        second.err()
    );
    first.close();
    open(dir.path()).close();
}

#[tokio::test]
async fn what_was_written_is_there_after_closing_and_opening() {
    let dir = TempDir::new().unwrap();
    filled(dir.path()).await;
    let store = open(dir.path());
    let scope = Scope::of_environment(store.default_environment());
    let entry = store.find_application(scope, "acme").unwrap().unwrap();
    let found = store
        .find_message(entry.application.key, "m-1")
        .unwrap()
        .unwrap();
    assert_eq!(found.payload.unwrap(), "a payload in plain sight");
    let endpoint = &entry.endpoints[0].settings;
    assert_eq!(
        endpoint.secrets[0].secret.text().expose(),
        "canary-of-a-signing-secret"
    );
    assert_eq!(
        endpoint.headers[0].value.expose(),
        "Bearer canary-in-a-header"
    );
    let hash = api_key::hash("hookpost_canary-of-an-api-key-0123456789");
    assert_eq!(store.catalog().api_key(&hash).unwrap().name, "ci");
    assert_eq!(store.figures().unwrap().totals.waiting, 1);
    let report = store.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
    store.close();
}

#[tokio::test]
async fn secrets_are_not_in_the_files_bytes() {
    let dir = TempDir::new().unwrap();
    filled(dir.path()).await;
    let bytes = fs::read(dir.path().join(FILE)).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(
        has("a payload in plain sight"),
        "the search finds what is there"
    );
    for canary in [
        "canary-in-a-header",
        "canary-of-a-signing-secret",
        "canary-in-an-answer",
        "canary-of-an-api-key",
    ] {
        assert!(!has(canary), "{canary}");
    }
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let outer = TempDir::new().unwrap();
    let dir = outer.path().join("data");
    filled(&dir).await;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(FILE)), 0o600);
    assert_eq!(mode(&dir.join("master.key")), 0o600);
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, [FILE, "master.key"]);
}

#[tokio::test]
async fn what_an_unfinished_first_start_left_is_removed() {
    let dir = TempDir::new().unwrap();
    for name in ["hookpost.redb.new", "master.key.new"] {
        fs::write(dir.path().join(name), "half").unwrap();
    }
    open(dir.path()).close();
    for name in ["hookpost.redb.new", "master.key.new"] {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn another_master_key_is_refused_and_nothing_is_lost() {
    let dir = TempDir::new().unwrap();
    filled(dir.path()).await;
    let wrong = Store::open(with_key(dir.path(), MasterKey::Given([1; 32])));
    assert!(
        matches!(wrong, Err(OpenError::WrongMasterKey)),
        "{:?}",
        wrong.err()
    );
    let store = open(dir.path());
    let scope = Scope::of_environment(store.default_environment());
    assert!(store.find_application(scope, "acme").unwrap().is_some());
    store.close();
}

#[tokio::test]
async fn a_master_key_that_is_missing_or_malformed_is_named_and_not_replaced() {
    let dir = TempDir::new().unwrap();
    filled(dir.path()).await;
    let path = dir.path().join("master.key");
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let missing = Store::open(options(dir.path()));
    assert!(
        matches!(&missing, Err(OpenError::MasterKeyMissing { path: named }) if *named == path),
        "{:?}",
        missing.err()
    );
    assert!(!path.exists(), "a new one would hide the loss");
    for bad in ["", "c2hvcnQ=", "not base64 at all"] {
        fs::write(&path, bad).unwrap();
        let malformed = Store::open(options(dir.path()));
        assert!(
            matches!(malformed, Err(OpenError::MasterKeyMalformed { .. })),
            "{bad:?}: {:?}",
            malformed.err()
        );
    }
    fs::write(&path, text).unwrap();
    open(dir.path()).close();
}

#[tokio::test]
async fn a_damaged_file_gives_an_error_or_a_store_but_no_panic() {
    let dir = TempDir::new().unwrap();
    filled(dir.path()).await;
    let path = dir.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    let check = |what: String, bytes: &[u8], must_fail: bool| {
        fs::write(&path, bytes).unwrap();
        match Store::open(options(dir.path())) {
            Ok(store) => {
                assert!(!must_fail, "{what} was opened");
                store.close();
            }
            Err(OpenError::Unreadable(words)) => assert!(!words.is_empty(), "{what}"),
            Err(other) => assert!(!must_fail, "{what}: {other:?}"),
        }
    };
    for len in [0, 1, 64, 320, 4095, 4096, 8192, whole.len() / 2] {
        check(format!("cut to {len} bytes"), &whole[..len], true);
    }
    let mut rng = Rng::new(1);
    let noise: Vec<u8> = (0..65_536).map(|_| rng.next().to_be_bytes()[0]).collect();
    check("noise".to_owned(), &noise, true);
    for at in (0..320).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << rng.below(8);
        check(format!("byte {at} of the header flipped"), &flipped, false);
    }
    for _ in 0..20 {
        let at = usize::try_from(rng.below(whole.len() as u64)).unwrap();
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << rng.below(8);
        check(format!("byte {at} flipped"), &flipped, false);
    }
    check("the file as it was".to_owned(), &whole, false);
    open(dir.path()).close();
}

/// Requests that the queue holds. A few more are turned away.
const QUEUE_MAX: usize = 10_000;

#[tokio::test]
async fn a_full_queue_answers_busy_and_takes_more_once_written() {
    let store = Machine::new(1, Durability::Safe).open().unwrap();
    let env = store.default_environment();
    let waiting: Vec<_> = (0..QUEUE_MAX)
        .map(|_| {
            let mut future = Box::pin(store.update_inbox(Key::from_u64(1), InboxChange::default()));
            let polled = futures_util::FutureExt::now_or_never(&mut future);
            assert!(polled.is_none(), "it waits");
            future
        })
        .collect();
    let extra = store.create_application(env, "one more".to_owned(), None, None);
    let refused = extra.await;
    assert!(
        matches!(refused, Err(WriteError::Store(StoreError::Busy))),
        "{refused:?}"
    );
    while store.pump() {}
    for future in waiting {
        assert!(matches!(future.await, Err(WriteError::Refused(_))));
    }
    let made = store.create_application(env, "now".to_owned(), None, None);
    fresh(crate::support::store::now_or_pump(&store, made).unwrap());
}

#[tokio::test]
async fn closing_writes_what_waits_and_takes_no_more() {
    let store = Machine::new(1, Durability::Safe).open().unwrap();
    let env = store.default_environment();
    let mut waiting = Box::pin(store.create_application(env, "last".to_owned(), None, None));
    assert!(futures_util::FutureExt::now_or_never(&mut waiting).is_none());
    store.close();
    fresh(waiting.await.unwrap());
    let late = store.create_application(env, "late".to_owned(), None, None);
    assert!(matches!(
        late.await,
        Err(WriteError::Store(StoreError::Unavailable(_)))
    ));
}
