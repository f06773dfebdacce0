//! The program itself, run as an operator runs it.
//!
//! `HOOKPOST_BIN` names another binary to test than the one just built.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are tests too, which clippy cannot see"
)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::http_client;
use crate::support::patience::{PATIENCE, wait_for};

const API_KEY: &str = "given-0123456789abcdef0123456789abcdef";

fn program() -> PathBuf {
    match std::env::var_os("HOOKPOST_BIN") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_hookpost").into(),
    }
}

/// Asks until there is an answer.
#[track_caller]
fn poll<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_for(PATIENCE, ask).unwrap_or_else(|| panic!("waited too long: {what}"))
}

/// A folder to run the program in.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program here, without the settings of whoever runs the tests.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOOKPOST_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    /// Starts a server that listens on a free port.
    fn serve(&self, arguments: &[&str]) -> Server {
        let (out, err) = (self.path("out"), self.path("err"));
        let child = self
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let mut server = Server {
            child,
            address: "0.0.0.0:0".parse().unwrap(),
            out,
            err,
        };
        server.address = poll("the server to listen", || {
            let ended = server.child.try_wait().unwrap();
            assert_eq!(ended, None, "the server ended: {}", server.err());
            let out = server.out();
            let (line, _) = out.split_once('\n')?;
            let address = line.strip_prefix("listening on http://").unwrap();
            Some(address.parse().unwrap())
        });
        server
    }
}

/// What a run of the program gave.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Checks that it worked, and gives its output.
    #[track_caller]
    fn worked(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    /// Checks that it ended with `code` and named all of `reasons`.
    #[track_caller]
    fn refused(&self, code: i32, reasons: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for reason in reasons {
            assert!(self.err.contains(reason), "{reason:?} not in {}", self.err);
        }
    }
}

/// A server under test; dropping it kills it.
struct Server {
    child: Child,
    address: SocketAddr,
    out: PathBuf,
    err: PathBuf,
}

impl Server {
    fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    fn signal(&self, name: &str) {
        let (option, process) = (format!("-{name}"), self.child.id().to_string());
        let status = Command::new("kill").args([option, process]).status();
        assert!(status.unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let status = poll("the server to end", || self.child.try_wait().unwrap());
        status.code()
    }

    #[track_caller]
    fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.exit_code(), Some(0), "{}", self.err());
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request and gives the status of its answer.
    fn get(&self, path: &str) -> u16 {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
        status_of(stream)
    }

    /// A request that its handler waits for: the last byte of its body is missing.
    fn half_a_request(&self) -> TcpStream {
        let mut stream = self.connect();
        write!(
            stream,
            "POST /api/v1/applications HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\n\
             content-length: 12\r\nexpect: 100-continue\r\n\r\n"
        )
        .unwrap();
        // The server says so when the handler asks for the body.
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(br#"{"name":"x""#).unwrap();
        stream
    }

    fn refuses_connections(&self) -> Option<()> {
        TcpStream::connect(self.address).err().map(|_| ())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn status_of(mut stream: TcpStream) -> u16 {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The lines of `keys list` without the headings.
fn listed(place: &Place) -> Vec<String> {
    let out = place.run(&["keys", "list"]).worked();
    out.lines().skip(1).map(str::to_owned).collect()
}

fn id_of(line: &str) -> &str {
    line.split(' ').next().unwrap()
}

/// Makes, lists, rotates and revokes a key.
fn manage_a_key(place: &Place) {
    let made = place.run(&["keys", "create", "--name", "billing"]);
    assert!(made.err.contains("not shown again"), "{}", made.err);
    let text = made.worked();
    let text = text.strip_suffix('\n').unwrap();
    assert!(
        text.starts_with("hookpost_") && !text.contains('\n'),
        "{text}"
    );

    let lines = listed(place);
    let line = lines.last().unwrap().clone();
    let id = id_of(&line);
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert!(id.starts_with("key_"), "{line}");
    assert_eq!(columns[1..3], ["billing", "default"], "{line}");
    assert!(line.contains(&text[..14]) && !line.contains(text), "{line}");

    let rotated = place.run(&["keys", "rotate", id]).worked();
    assert_ne!(rotated.trim_end(), text);
    let after = listed(place);
    assert_eq!(after.len(), lines.len());
    assert_eq!(id_of(after.last().unwrap()), id);
    assert!(after.last().unwrap().contains(&rotated[..14]));

    place.run(&["keys", "revoke", id]).worked();
    assert_eq!(listed(place), lines[..lines.len() - 1]);
    for again in ["rotate", "revoke"] {
        let ran = place.run(&["keys", again, id]);
        ran.refused(1, &["there is no API key", id]);
    }
}

fn refuse_what_is_not_there(place: &Place) {
    for (arguments, reason) in [
        (
            &["rotate", "key_nonsense"][..],
            "no API key \"key_nonsense\"",
        ),
        (&["revoke", "../keys"], "no API key \"../keys\""),
        (&["revoke", ""], "no API key \"\""),
        (
            &["create", "--environment", "staging"],
            "no environment \"staging\"; there are \"default\"",
        ),
        (
            &["create", "--application", "acme"],
            "no application \"acme\"",
        ),
        (&["create", "--scopes", "read,all"], "the scope \"all\""),
        (
            &["create", "--scopes", "environments", "--application", "a"],
            "the scope \"environments\" cannot be given",
        ),
        (&["create", "--expires", "0s"], "expires within ten years"),
        (
            &["create", "--expires", "3661d"],
            "expires within ten years",
        ),
        (&["create", "--name", "a\nb"], "control characters"),
    ] {
        let ran = place.run(&[&["keys"], arguments].concat());
        ran.refused(1, &[reason]);
        assert_eq!(ran.out, "", "{arguments:?}");
    }
}

#[test]
fn a_key_is_made_for_one_application_of_one_environment_for_a_while() {
    let place = Place::new();
    let server = place.serve(&["--api-key", API_KEY]);
    let post = |path: &str, key: &str, body: &str| {
        let key = format!("Bearer {key}");
        let headers = [("authorization", key.as_str())];
        let path = format!("/api/v1{path}");
        let address = server.address;
        let made = http_client::request(address, "POST", &path, &headers, body.as_bytes());
        let made = made.unwrap();
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()
    };
    let environment = post("/environments", API_KEY, r#"{"name": "staging"}"#);
    let environment = environment["id"].as_str().unwrap();
    let create = ["keys", "create", "--environment"];
    let admin = place.run(&[&create[..], &["staging"]].concat()).worked();
    let made = post(
        "/applications",
        admin.trim_end(),
        r#"{"name": "n", "uid": "acme"}"#,
    );
    let application = made["id"].as_str().unwrap();
    let more = [environment, "--application", "acme", "--expires", "365d"];
    let scopes = ["--scopes", "read,secrets", "--name", "narrow"];
    let flags = [&create[..], &more, &scopes].concat();
    let text = place.run(&flags).worked();
    let line = listed(&place).pop().unwrap();
    let columns: Vec<&str> = line.split_whitespace().collect();
    let want = [
        "narrow",
        "staging",
        "read,secrets",
        application,
        &text[..14],
    ];
    assert_eq!(columns[1..6], want, "{line}");
    assert_eq!(columns[8], "never", "{line}");
    assert!(
        columns[7] > columns[6] && columns[7].ends_with('Z'),
        "{line}"
    );
    server.stop();
    assert_eq!(
        listed(&place).pop().unwrap(),
        line,
        "without the server too"
    );
}

#[test]
fn keys_are_managed_without_a_server() {
    let place = Place::new();
    manage_a_key(&place);
    refuse_what_is_not_there(&place);
}

#[test]
fn keys_are_managed_while_the_server_runs() {
    let place = Place::new();
    let server = place.serve(&["--api-key", API_KEY]);
    assert_eq!(mode_of(&place.path("hookpost-data/control.sock")), 0o600);
    manage_a_key(&place);
    refuse_what_is_not_there(&place);
    assert_eq!(listed(&place).len(), 1, "the key that was given");
    server.stop();
}

#[test]
fn only_making_a_key_makes_a_store() {
    let place = Place::new();
    for arguments in [&["list"][..], &["rotate", "key_1"], &["revoke", "key_1"]] {
        let ran = place.run(&[&["keys"], arguments].concat());
        ran.refused(1, &["there is no store in ./hookpost-data"]);
    }
    assert!(!place.path("hookpost-data").exists());
    place.run(&["keys", "create"]).worked();
    assert_eq!(listed(&place).len(), 1);
}

#[test]
fn a_key_made_first_serves_without_a_hint() {
    let place = Place::new();
    let server = place.serve(&[]);
    let err = server.err();
    assert!(
        err.contains("hookpost keys create --data-dir ./hookpost-data"),
        "{err}"
    );
    server.stop();
    place.run(&["keys", "create"]).worked();
    let server = place.serve(&[]);
    assert!(!server.err().contains("keys create"), "{}", server.err());
    server.stop();
}

#[test]
fn a_socket_that_a_crash_left_is_no_server() {
    let place = Place::new();
    let mut server = place.serve(&["--api-key", API_KEY]);
    server.signal("KILL");
    assert_eq!(server.exit_code(), None);
    assert!(place.path("hookpost-data/control.sock").exists());
    assert_eq!(listed(&place).len(), 1);
    let server = place.serve(&[]);
    assert_eq!(listed(&place).len(), 1);
    server.stop();
}

#[test]
fn a_signal_stops_the_server_and_another_start_works() {
    let place = Place::new();
    for signal in ["TERM", "INT"] {
        let mut server = place.serve(&["--api-key", API_KEY]);
        assert_eq!(server.get("/readyz"), 200);
        assert_eq!(
            listed(&place).len(),
            1,
            "the same key again is the same key"
        );
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(0), "{}", server.err());
        assert!(server.err().contains("stopped"), "{}", server.err());
        assert!(!place.path("hookpost-data/control.sock").exists());
        assert!(server.refuses_connections().is_some());
    }
}

#[test]
fn a_request_under_way_is_answered_before_the_server_stops() {
    let place = Place::new();
    let mut server = place.serve(&["--api-key", API_KEY]);
    let mut stream = server.half_a_request();
    server.signal("TERM");
    poll("the listener to close", || server.refuses_connections());
    stream.write_all(b"}").unwrap();
    assert_eq!(status_of(stream), 201);
    assert_eq!(server.exit_code(), Some(0), "{}", server.err());
}

#[test]
fn a_request_that_does_not_end_is_cut() {
    let place = Place::new();
    let mut server = place.serve(&["--api-key", API_KEY, "--drain-timeout", "1ms"]);
    let _stream = server.half_a_request();
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0), "{}", server.err());
    assert!(server.err().contains("cut requests"), "{}", server.err());
}

#[test]
fn a_second_signal_stops_at_once() {
    let place = Place::new();
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = place.serve(&["--api-key", API_KEY, "--drain-timeout", "10m"]);
        let _stream = server.half_a_request();
        server.signal("TERM");
        poll("the listener to close", || server.refuses_connections());
        server.signal(second);
        assert_eq!(server.exit_code(), Some(code), "{}", server.err());
    }
}

#[test]
fn one_data_directory_has_one_server() {
    let place = Place::new();
    let first = place.serve(&[]);
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    second.refused(1, &["./hookpost-data", "in use by another hookpost"]);
    assert_eq!(first.get("/readyz"), 200);
    first.stop();
}

#[test]
fn one_address_has_one_server() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = place.run(&["serve", "--listen", &address]);
    ran.refused(1, &[&address, "in use", "give another --listen"]);
    // The store was closed again.
    place.serve(&[]).stop();
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    for command in [&["serve"][..], &["keys", "create"]] {
        let ran = place.run(&[command, &["--data-dir", "file/data"]].concat());
        ran.refused(1, &["cannot use the data directory file/data"]);
    }
}

#[test]
fn wrong_settings_end_every_start() {
    let place = Place::new();
    for command in [&["serve"][..], &["keys", "list"]] {
        let file = place.path("hookpost.toml");
        fs::write(&file, "listen = \"127.0.0.1:0\"\n\nlistne = 1\n").unwrap();
        let ran = place.run(command);
        ran.refused(2, &["hookpost.toml:3", "listne"]);
        fs::remove_file(&file).unwrap();
    }
    let ran = place.run(&["serve", "--listen", "nowhere"]);
    ran.refused(2, &["--listen", "nowhere"]);
    place
        .run(&["serve", "--api-key", "short"])
        .refused(2, &["api_key", "too short"]);
    place.run(&["serve", "--lsiten"]).refused(2, &["--listen"]);
    assert!(!place.path("hookpost-data").exists());
}

#[test]
fn log_lines_are_json_when_asked_and_show_no_secret() {
    let place = Place::new();
    let server = place.serve(&[
        "--log-format",
        "json",
        "--log-level",
        "trace",
        "--api-key",
        API_KEY,
    ]);
    assert_eq!(server.get("/readyz"), 200);
    let (err, address) = (server.err.clone(), server.address.to_string());
    server.stop();
    let log = fs::read_to_string(err).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let listening = lines.iter().find(|line| line["message"] == "listening");
    assert_eq!(listening.unwrap()["address"], address);
    assert_eq!(listening.unwrap()["data_dir"], "./hookpost-data");
    assert!(!log.contains(API_KEY), "{log}");
}

#[test]
fn a_trial_introduces_itself_alike_at_every_start() {
    let place = Place::new();
    let introduction = |server: &Server| {
        let port = format!(":{}", server.address.port());
        let out = server.out().replace(&port, ":PORT");
        // The link into the dashboard is another at every start.
        let (before, rest) = out.split_once("/links/").unwrap_or((&out, " "));
        let (_, after) = rest.split_once(' ').unwrap_or_default();
        format!("{before}/links/TOKEN {after}")
    };
    let first = place.serve(&["--dev"]);
    let told = poll("the introduction", || {
        Some(introduction(&first)).filter(|told| told.contains("/replays"))
    });
    first.stop();
    let key = fs::read_to_string(place.path("hookpost-data/dev-key")).unwrap();
    assert_eq!(mode_of(&place.path("hookpost-data/dev-key")), 0o600);
    assert!(told.contains(key.trim_end()) && told.contains("/api/v1/inboxes/"));

    let second = place.serve(&["--dev"]);
    let told_again = poll("the introduction", || {
        Some(introduction(&second)).filter(|told| told.contains("/replays"))
    });
    assert_eq!(told_again, told);
    assert_eq!(listed(&place).len(), 1);
    second.stop();
}

#[test]
fn what_is_signed_verifies() {
    let place = Place::new();
    fs::write(
        place.path("secret"),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
    )
    .unwrap();
    fs::write(place.path("body"), r#"{"a": 1}"#).unwrap();
    fs::write(place.path("other"), r#"{"a": 2}"#).unwrap();
    let secret = ["--secret-file", "secret"];
    let sign = [&["sign", "--id", "msg_1"], &secret[..], &["body"]].concat();
    let headers = place.run(&sign).worked();
    let verify = |body: &'static str, headers: &str| {
        let mut arguments = vec!["verify", "--secret-file", "secret"];
        for line in headers.lines() {
            arguments.extend(["--header", line]);
        }
        place.run(&[&arguments[..], &[body]].concat())
    };
    assert_eq!(verify("body", &headers).worked(), "valid\n");
    verify("other", &headers).refused(1, &["not valid"]);
    verify("nowhere", &headers).refused(2, &["nowhere"]);
}

#[test]
fn a_body_to_sign_may_come_through_a_pipe() {
    let place = Place::new();
    let mut child = place
        .command(&["sign", "--id", "msg_1"])
        .env("HOOKPOST_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"{}").unwrap();
    let out = Ran::from(child.wait_with_output().unwrap()).worked();
    assert!(out.contains("webhook-signature: v1,"), "{out}");
}

#[test]
fn the_program_tells_its_version() {
    let out = Place::new().run(&["--version"]).worked();
    assert_eq!(out, format!("hookpost {}\n", env!("CARGO_PKG_VERSION")));
}

/// Whether this machine has the program; says what is left out when not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    let has = found.is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("SKIPPED: {program} is not installed");
    }
    has
}

#[test]
fn shells_take_their_completions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.run(&["completions", shell]).worked();
        for word in ["rotate", "--retry-schedule", "completions"] {
            let word = word.trim_start_matches('-');
            assert!(script.contains(word), "{shell}: {word}");
        }
        let file = place.path(shell);
        fs::write(&file, script).unwrap();
        if ["bash", "zsh", "fish"].contains(&shell) && has(shell) {
            let read = Command::new(shell).arg("-n").arg(&file).output().unwrap();
            let said = String::from_utf8_lossy(&read.stderr);
            assert!(read.status.success() && said.is_empty(), "{shell}: {said}");
        }
    }
    place
        .run(&["completions", "dash"])
        .refused(2, &["possible values: bash"]);
}

#[test]
fn bash_completes_commands_and_flags() {
    let place = Place::new();
    fs::write(
        place.path("script"),
        place.run(&["completions", "bash"]).worked(),
    )
    .unwrap();
    for (words, want) in [
        ("hookpost ke", "keys"),
        ("hookpost keys ro", "rotate"),
        ("hookpost serve --retry", "--retry-schedule"),
    ] {
        let (_, last) = words.rsplit_once(' ').unwrap();
        let asks = format!(
            "source ./script; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _hookpost hookpost '{last}' ''; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        let bash = bash.current_dir(place.0.path()).args(["-c", &asks]);
        let out = Ran::from(bash.output().unwrap()).worked();
        assert_eq!(out.trim_end(), want, "{words}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let place = Place::new();
    let page = place.run(&["man"]).worked();
    assert!(page.contains(".TH hookpost 1"), "{page}");
    assert_eq!(place.run(&["man", "--dir", "pages"]).worked(), "");
    let pages = fs::read_dir(place.path("pages")).unwrap();
    let mut pages: Vec<PathBuf> = pages.map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    let is_there = |name: &str| pages.contains(&place.path("pages").join(name));
    for name in ["hookpost.1", "hookpost-serve.1", "hookpost-keys-rotate.1"] {
        assert!(is_there(name), "{name}");
    }
    assert!(!is_there("hookpost-help.1"), "there is no such command");
    assert_eq!(
        fs::read_to_string(place.path("pages/hookpost.1")).unwrap(),
        page
    );
    if has("groff") {
        let read = Command::new("groff")
            .args(["-ww", "-man", "-Tutf8"])
            .args(&pages)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success() && said.is_empty(), "{said}");
        let text = String::from_utf8_lossy(&read.stdout);
        assert!(text.contains("whsec_") || text.contains("HOOKPOST_DATA_DIR"));
    }
}

#[test]
fn a_manual_that_cannot_be_written_says_where() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let ran = place.run(&["man", "--dir", "file/pages"]);
    ran.refused(1, &["cannot make the folder file/pages"]);
}

#[cfg(unix)]
#[test]
fn accounts_are_managed_with_the_server_and_without() {
    let place = Place::new();
    let alone = place.run(&["users", "invite", "Ada@Example.com", "--role", "admin"]);
    assert_eq!(alone.code, Some(0), "{}", alone.err);
    assert!(
        alone.err.contains("works once, and for 7 days"),
        "{}",
        alone.err
    );
    assert!(
        alone.out.starts_with("http://127.0.0.1:8071/links/"),
        "{}",
        alone.out
    );
    let server = place.serve(&[]);
    let invited = place.run(&[
        "users",
        "invite",
        "bob@example.com",
        "--environment",
        "default",
    ]);
    let link = invited.worked();
    assert!(
        link.starts_with(&format!("http://{}/links/", server.address)),
        "{link}"
    );
    let listed = place.run(&["users", "list"]).worked();
    assert!(
        listed.contains("ada@example.com  admin everywhere"),
        "{listed}"
    );
    assert!(
        listed.contains("bob@example.com  operator in default"),
        "{listed}"
    );
    let again = place
        .run(&["users", "reset-password", "bob@example.com"])
        .worked();
    assert_ne!(again, link);
    place.run(&["users", "remove", "bob@example.com"]).worked();
    assert!(!place.run(&["users", "list"]).worked().contains("bob@"));
    for (arguments, words) in [
        (
            &["users", "invite", "ada@example.com"][..],
            "has an account",
        ),
        (&["users", "invite", "ada"], "must be an e-mail address"),
        (
            &["users", "invite", "eve@example.com", "--role", "king"],
            "no role \"king\"",
        ),
        (
            &[
                "users",
                "invite",
                "eve@example.com",
                "--environment",
                "moon",
            ],
            "no environment",
        ),
        (&["users", "remove", "eve@example.com"], "no account"),
        (&["users", "remove", "ada@example.com"], "last admin"),
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, Some(1), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(words), "{arguments:?}: {}", ran.err);
    }
    server.stop();
}
