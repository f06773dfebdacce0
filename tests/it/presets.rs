//! Every preset against what its provider sends, signed by independent code.
//!
//! `tests/python/sign_presets.py` makes the requests, and
//! `tests/python/test_sign_presets.py` shows them to the providers' own
//! packages. Here they go to sources over HTTP: what each is answered, and what
//! the source's log says of it.

mod published;
mod sender;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hookpost::domain::verification::Scheme;
use hookpost::domain::verification::presets::{self, Preset};
use serde_json::{Value, json};

use self::published::{Authority, Published};
use self::sender::{Handshake, Sender, Way, Wire};
use crate::support::app::{Answer, Options, TestApp};
use crate::support::python;

const SOURCES: &str = "/api/v1/sources";
const REFUSED: &str = "Not accepted.";
/// In the order in which they are sent.
const CASES: [&str; 8] = [
    "good",
    "replayed",
    "retried",
    "next",
    "wrong_secret",
    "tampered",
    "oldest",
    "late",
];

#[test]
fn the_providers_own_packages_take_what_is_sent_here() {
    let Some(python) = python::python("the_providers_own_packages") else {
        return;
    };
    let output = python::script(python, "test_sign_presets.py")
        .output()
        .expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    eprintln!("{said}{failed}");
    assert!(output.status.success());
}

#[tokio::test]
async fn every_preset_takes_what_its_provider_sends_and_nothing_else() {
    let Some(python) = python::python("every_preset_takes_what_its_provider_sends") else {
        return;
    };
    let mut sender = Sender::start(python);
    let authority = Authority::new();
    let app = TestApp::start_with(Options {
        roots: vec![authority.certificate.clone(), sender.anchor.clone()],
        ..Options::default()
    })
    .await;
    let url = format!("{}/in/<slug>", app.public_url);
    let ways = sender.ways(app.now().0, &url);
    let published = publish(&app, &authority, &ways).await;
    let mut trial = Trial {
        application: app.application().await,
        app: &app,
        row: String::new(),
        problems: Vec::new(),
    };
    eprintln!("{}", heading());
    for way in &ways {
        if published.is_none() && !way.serve.is_empty() {
            eprintln!("SKIPPED {}: port 443 cannot be had", way.name());
            continue;
        }
        trial.run(way).await;
        eprintln!("{}", trial.row);
    }
    trial.problems.extend(left_out(&ways));
    if let Some(published) = &published {
        trial.problems.extend(unasked(published, &ways));
    }
    let problems = trial.problems;
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Puts up what the providers publish; `None` when the port cannot be had.
async fn publish(app: &TestApp, authority: &Authority, ways: &[Way]) -> Option<Published> {
    let pages: BTreeMap<_, _> = ways.iter().flat_map(|way| way.serve.clone()).collect();
    let published = Published::start(authority, pages).await;
    let published = published
        .inspect_err(|error| eprintln!("port 443: {error}"))
        .ok()?;
    for host in &published.hosts {
        app.resolve_to(host, &[Published::address()]);
    }
    Some(published)
}

/// Presets that nothing was sent to, and the other way round.
fn left_out(ways: &[Way]) -> Vec<String> {
    let sent: BTreeSet<_> = ways.iter().map(|way| way.preset.as_str()).collect();
    let known: BTreeSet<_> = presets::ALL.iter().map(|preset| preset.name).collect();
    let missing = known
        .difference(&sent)
        .map(|name| format!("{name}: nothing was sent"));
    let unknown = sent
        .difference(&known)
        .map(|name| format!("{name}: no such preset"));
    missing.chain(unknown).collect()
}

/// What should have been fetched and was not.
fn unasked(published: &Published, ways: &[Way]) -> Vec<String> {
    let fetched = published.fetched();
    let urls: BTreeSet<_> = fetched.iter().map(|(_, url, _)| url.as_str()).collect();
    let wanted = ways.iter().flat_map(|way| way.serve.keys());
    let mut problems: Vec<_> = wanted
        .filter(|url| !urls.contains(url.as_str()))
        .map(|url| format!("{url} was not fetched"))
        .collect();
    let to_plaid = fetched.iter().find(|(_, url, _)| url.contains("plaid.com"));
    let told = to_plaid.map(|(method, _, body)| (method.as_str(), body_of(body)));
    let wanted = json!({
        "client_id": "client_id_of_ours",
        "secret": "s3cret",
        "key_id": "bfbd5111-8e33-4643-8ced-b2e642a72f3c",
    });
    if told != Some(("POST", wanted)) {
        problems.push("Plaid was not asked for the key by its credentials".to_owned());
    }
    problems
}

fn body_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

fn heading() -> String {
    let mut line = format!("{:30}", "preset");
    for case in CASES.into_iter().chain(["handshakes", "forgeries"]) {
        write!(line, " {case:12}").expect("text takes text");
    }
    line
}

/// One way after the other, with all that was not as it should be.
struct Trial<'a> {
    app: &'a TestApp,
    application: String,
    /// The line of the way that is tried.
    row: String,
    problems: Vec<String>,
}

/// What came of a request: the answer, and the newest row of the log.
struct Outcome {
    answer: Answer,
    row: Value,
}

impl Outcome {
    fn verdict(&self) -> &str {
        self.row["verdict"].as_str().unwrap_or_default()
    }

    fn reason(&self) -> &str {
        self.row["reason"].as_str().unwrap_or_default()
    }
}

impl Trial<'_> {
    async fn run(&mut self, way: &Way) {
        self.row = format!("{:30}", way.name());
        let preset = presets::find(&way.preset);
        let made = json!({
            "name": way.name(),
            "application": self.application,
            "slug": way.slug,
            "verification": way.verification(),
        });
        let made = self.app.post(SOURCES, made).await;
        let Some(preset) = preset.filter(|_| made.status == 201) else {
            let problem = format!("no source can be made: {}", made.text());
            return self.note(way, "source", &[problem]);
        };
        let handshakes = self.shake(way, preset).await;
        for case in CASES {
            let Some(request) = way.cases.get(case).and_then(Option::as_ref) else {
                self.cell("-");
                continue;
            };
            let outcome = self.send(way, request).await;
            let problems = self.judge(way, preset, case, &outcome).await;
            let mark = if problems.is_empty() { "" } else { "!" };
            self.cell(&format!("{}{mark}", outcome.verdict()));
            self.note(way, case, &problems);
        }
        self.cell(&handshakes);
        self.forge(way).await;
    }

    fn cell(&mut self, text: &str) {
        write!(self.row, " {text:12}").expect("text takes text");
    }

    fn note(&mut self, way: &Way, what: &str, problems: &[String]) {
        let named = |problem: &String| format!("{}: {what}: {problem}", way.name());
        self.problems.extend(problems.iter().map(named));
    }

    /// Sends to the way's source, and waits for its row in the log.
    async fn send(&self, way: &Way, request: &Wire) -> Outcome {
        let log = format!("{SOURCES}/{}/received", way.slug);
        let before = self.app.get(&log).await.ok(200).items().len();
        let query = if request.query.is_empty() { "" } else { "?" };
        let path = format!("/in/{}{query}{}", way.slug, request.query);
        let mut call = self.app.request(&request.method, &path).without_key();
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        let answer = call.body(request.body.clone()).send().await;
        let row = self.app.until("the request is logged", async || {
            let rows = self.app.get(&log).await.ok(200).items();
            (rows.len() > before).then(|| rows[0].clone())
        });
        Outcome {
            answer,
            row: row.await,
        }
    }

    /// What is not as it should be with one of the cases.
    async fn judge(
        &self,
        way: &Way,
        preset: &Preset,
        case: &str,
        outcome: &Outcome,
    ) -> Vec<String> {
        let (verdict, reason) = expected(way, preset, case);
        let mut problems = Vec::new();
        if outcome.verdict() != verdict {
            let (found, why) = (outcome.verdict(), outcome.reason());
            problems.push(format!("{found}, not {verdict}: {why}"));
        } else if !outcome.reason().contains(reason) {
            problems.push(format!("the reason is {:?}", outcome.reason()));
        }
        if verdict == "rejected" {
            problems.extend(refused(way, &outcome.answer));
        } else {
            problems.extend(answered(way, &outcome.answer));
        }
        if case == "good" && outcome.verdict() == "accepted" {
            problems.extend(self.misnamed(way, outcome).await);
            // Not every way has all that the preset looks for.
            if way.variant.is_empty() && way.event_id.is_some() != preset.event_id.is_some() {
                problems.push("the preset and the provider disagree about an event id".to_owned());
            }
        }
        problems
    }

    /// The message is called otherwise than the provider's event.
    async fn misnamed(&self, way: &Way, outcome: &Outcome) -> Option<String> {
        let message = outcome.row["message"].as_str().unwrap_or_default();
        let path = format!(
            "/api/v1/applications/{}/messages/{message}",
            self.application
        );
        let message = self.app.get(&path).await.ok(200).json();
        let name = message["eventType"].as_str().unwrap_or_default();
        (name != way.event_type).then(|| format!("the event is called {name:?}"))
    }

    async fn shake(&mut self, way: &Way, preset: &Preset) -> String {
        let mut good = 0;
        let mut names = BTreeSet::new();
        for handshake in &way.handshakes {
            let outcome = self.send(way, &handshake.request).await;
            let problems = disagreements(handshake, &outcome);
            good += usize::from(problems.is_empty());
            self.note(way, &handshake.name, &problems);
            if handshake.verdict == "handshake" {
                names.insert(outcome.reason().to_owned());
            }
        }
        let known: BTreeSet<_> = preset
            .handshakes
            .iter()
            .map(|one| one.name.to_owned())
            .collect();
        if way.variant.is_empty() && names != known {
            let problem = format!("tried are {names:?}, there are {known:?}");
            self.note(way, "handshakes", &[problem]);
        }
        match way.handshakes.len() {
            0 => "-".to_owned(),
            all => format!("{good} of {all}"),
        }
    }

    async fn forge(&mut self, way: &Way) {
        let mut good = 0;
        for forgery in &way.forgeries {
            let outcome = self.send(way, &forgery.request).await;
            let mut problems = Vec::from_iter(refused(way, &outcome.answer));
            if outcome.verdict() != "rejected" {
                problems.push(format!("{}, not rejected", outcome.verdict()));
            }
            good += usize::from(problems.is_empty());
            self.note(way, &forgery.name, &problems);
        }
        self.cell(&match way.forgeries.len() {
            0 => "-".to_owned(),
            all => format!("{good} of {all}"),
        });
    }
}

/// The verdict on a case, and what the log says of it.
fn expected(way: &Way, preset: &Preset, case: &str) -> (&'static str, &'static str) {
    let is_told_apart = way.event_id.is_some() || preset.is_signed();
    match case {
        "replayed" | "retried" if is_told_apart => ("duplicate", "the same event came as rcv_"),
        "good" | "next" | "replayed" | "oldest" => ("accepted", ""),
        _ => ("rejected", reason(way, preset, case)),
    }
}

/// What an answer to a handshake has otherwise than the provider wants.
fn disagreements(handshake: &Handshake, outcome: &Outcome) -> Vec<String> {
    let (wanted, answer) = (&handshake.answer, &outcome.answer);
    let mut problems = Vec::new();
    if outcome.verdict() != handshake.verdict {
        let (found, why) = (outcome.verdict(), outcome.reason());
        problems.push(format!("{found}, not {}: {why}", handshake.verdict));
    }
    if answer.status != wanted.status {
        problems.push(format!("answered {}, not {}", answer.status, wanted.status));
    }
    if !same_text(&answer.text(), &wanted.body) {
        problems.push(format!(
            "answered {:?}, not {:?}",
            answer.text(),
            wanted.body
        ));
    }
    for (name, value) in &wanted.headers {
        if answer.header(name) != value {
            problems.push(format!("{name} is {:?}", answer.header(name)));
        }
    }
    problems
}

/// The same text, or the same JSON.
fn same_text(one: &str, other: &str) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other || json(one).is_some_and(|value| Some(value) == json(other))
}

/// An answer to an event that its provider would not like.
fn answered(way: &Way, answer: &Answer) -> Option<String> {
    let status = way.wants["status"].as_u64();
    let body = way.wants["body"].as_str();
    let fits = status.map_or((200..300).contains(&answer.status), |status| {
        u64::from(answer.status) == status
    });
    let fits = fits && body.is_none_or(|body| answer.text() == body);
    (!fits).then(|| format!("answered {} {:?}", answer.status, answer.text()))
}

/// A refusal that is none, or that says more than it should.
fn refused(way: &Way, answer: &Answer) -> Option<String> {
    // Xero wants an answer without a body.
    let body = if way.preset == "xero" { "" } else { REFUSED };
    let fits = answer.status == 401 && answer.text() == body;
    (!fits).then(|| format!("answered {} {:?}", answer.status, answer.text()))
}

/// What the log says of a request that has to be refused.
fn reason(way: &Way, preset: &Preset, case: &str) -> &'static str {
    const NO_SECRET: &str = "no secret matches";
    let by_its_hash = "the body is not the one whose hash was signed";
    match (&preset.scheme, case) {
        (Scheme::Jwt(rule), "late") if rule.age_max_s == 0 => "the token has expired",
        (_, "late") => " s old, at most ",
        (Scheme::Basic, _) => "the user or the password is wrong",
        (Scheme::Shared { .. } | Scheme::SharedInOwnHeader | Scheme::SharedInEach { .. }, _) => {
            "is none of the source's secrets"
        }
        (Scheme::Standard | Scheme::Octohooks | Scheme::Optech, _) => {
            "no signature was made from this request with any of the secrets"
        }
        (Scheme::Jwt(rule), "tampered") if rule.body_hash.is_some() => by_its_hash,
        (Scheme::Recipe(_), "tampered") if way.variant == "JSON" => by_its_hash,
        _ => NO_SECRET,
    }
}
