//! A disk that takes no more: what cannot be kept is not acknowledged, and what
//! was acknowledged stays.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::patience::{PATIENCE, wait_for};
use crate::support::server_process::ServerProcess;

/// What the store's file may grow to.
const FILE_BYTES_MAX: u64 = 6 * 1024 * 1024;
const DISK_BYTES: u64 = 16 * 1024 * 1024;
const PAYLOAD_BYTES: usize = 20_000;
/// More than fit.
const POSTS_MAX: u64 = 2_000;
/// Posts after the first that was refused.
const POSTS_WHEN_FULL: usize = 10;

#[test]
fn what_does_not_fit_on_the_disk_is_refused_and_the_rest_stays() {
    let mut server = ServerProcess::never_started(&[]);
    server.limit_files(Some(FILE_BYTES_MAX));
    server.restart();
    let mut books = Books::open(&server);
    books.fill(&server);

    // As if somebody had made room, while the server runs.
    if lift_limit(&server) {
        books.recovers(&server);
        assert!(server.terminate().success());
    } else {
        println!("SKIPPED: recovery without a restart: there is no prlimit here");
    }
    server.limit_files(None);
    server.restart();
    books.recovers(&server);
    assert!(!server.output().contains("panicked"));
}

#[test]
fn a_server_killed_on_a_full_disk_loses_nothing() {
    let mut server = ServerProcess::never_started(&[]);
    server.limit_files(Some(FILE_BYTES_MAX));
    server.restart();
    let mut books = Books::open(&server);
    books.fill(&server);

    server.kill9();
    server.limit_files(None);
    server.restart();
    books.recovers(&server);
    assert!(!server.output().contains("panicked"));
}

#[test]
fn a_server_on_a_full_file_system_goes_on_when_there_is_room() {
    let mut server = ServerProcess::never_started(&[]);
    let disk = match SmallDisk::mount(server.data_dir()) {
        Ok(disk) => disk,
        Err(why) => {
            println!("SKIPPED: a full file system: {why}");
            return;
        }
    };
    let ballast = disk.0.join("ballast");
    let half = usize::try_from(DISK_BYTES / 2).expect("a small disk");
    fs::write(&ballast, vec![0; half]).expect("there is room for half of it");
    server.restart();
    let mut books = Books::open(&server);
    books.fill(&server);

    fs::remove_file(&ballast).expect("it is there");
    books.recovers(&server);
    assert!(server.terminate().success());
    server.restart();
    books.recovers(&server);
    assert!(!server.output().contains("panicked"));
    server.kill9();
}

/// What was acknowledged.
struct Books {
    posts: u64,
    /// Number and id.
    acknowledged: Vec<(u64, String)>,
}

impl Books {
    fn open(server: &ServerProcess) -> Self {
        let body = json!({ "name": "full", "uid": "app" }).to_string();
        let created = server.api("POST", "/applications", body.as_bytes());
        assert_eq!(created.status, 201, "{}", created.text());
        Self {
            posts: 0,
            acknowledged: Vec::new(),
        }
    }

    /// Posts until nothing more fits, and a little further.
    fn fill(&mut self, server: &ServerProcess) {
        let refused = (0..POSTS_MAX).find(|_| !self.post(server));
        assert!(refused.is_some(), "all of {POSTS_MAX} posts fit");
        assert!(!self.acknowledged.is_empty(), "not one post fit");
        // A smaller gap may be left; what matters is that no answer is wrong.
        let when_full = (0..POSTS_WHEN_FULL).filter(|_| self.post(server)).count();
        assert!(when_full < POSTS_WHEN_FULL, "it took all the same");
    }

    /// Whether it was taken. There is no third answer beside 202 and 503.
    fn post(&mut self, server: &ServerProcess) -> bool {
        self.posts += 1;
        let number = self.posts;
        let body = json!({ "eventType": "disk.full", "payload": payload(number) }).to_string();
        let answer = server.api("POST", "/applications/app/messages", body.as_bytes());
        match answer.status {
            202 => {
                let id = answer.json()["id"].as_str().expect("an id").to_owned();
                self.acknowledged.push((number, id));
                true
            }
            503 => false,
            other => panic!("post {number}: {other} {}", answer.text()),
        }
    }

    /// The server takes posts again, and all that it acknowledged is there.
    fn recovers(&mut self, server: &ServerProcess) {
        let taken = wait_for(PATIENCE, || self.post(server).then_some(()));
        assert!(taken.is_some(), "it takes nothing, though there is room");
        for (number, id) in &self.acknowledged {
            let read = server.api("GET", &format!("/applications/app/messages/{id}"), b"");
            assert_eq!(read.status, 200, "message {number} ({id}): {}", read.text());
            assert_eq!(read.json()["payload"], payload(*number), "message {number}");
        }
    }
}

fn payload(number: u64) -> serde_json::Value {
    json!({ "number": number, "pad": "x".repeat(PAYLOAD_BYTES) })
}

/// Takes the limit on files from a running server.
fn lift_limit(server: &ServerProcess) -> bool {
    Command::new("prlimit")
        .args(["--fsize=unlimited:", "--pid", &server.id().to_string()])
        .status()
        .is_ok_and(|status| status.success())
}

/// A file system in memory, which only root can mount.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&place).map_err(|error| error.to_string())?;
        let size = format!("size={DISK_BYTES},mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "hookpost-test"])
            .arg(&place)
            .output()
            .map_err(|error| error.to_string())?;
        if mounted.status.success() {
            Ok(Self(place))
        } else {
            let why = String::from_utf8_lossy(&mounted.stderr);
            Err(why.trim().to_owned())
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is killed only later may have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
