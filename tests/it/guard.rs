//! The guard: which URLs are taken, and what is dialled when the time comes.

use std::net::{IpAddr, TcpListener};
use std::process::Command;

use hookpost::domain::address::EndpointUrl;
use serde_json::{Value, json};

use crate::support::app::{Answer, Options, TestApp};
use crate::support::sink::{Reply, Sink};

/// Columns are described at the head of the file.
const URLS: &str = include_str!("../data/urls.tsv");

struct Row {
    input: String,
    verdict: &'static str,
    answers: Vec<IpAddr>,
}

fn rows() -> Vec<Row> {
    let rows = URLS.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let mut columns = row.split('\t');
        let input = unescape(columns.next().unwrap_or_default());
        let verdict = columns.next().expect("a verdict");
        let answers = addresses(columns.next().unwrap_or_default());
        Row {
            input,
            verdict,
            answers,
        }
    })
    .collect()
}

fn addresses(list: &str) -> Vec<IpAddr> {
    let texts = list.split(',').filter(|text| !text.is_empty());
    texts
        .map(|text| text.parse().expect("an address"))
        .collect()
}

/// `\\ \t \n \r \u{hex}`
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escape = if c == '\\' { chars.next() } else { None };
        plain.push(match escape {
            None => c,
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('u') => {
                let hex: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let code = u32::from_str_radix(hex.trim_start_matches('{'), 16);
                code.ok().and_then(char::from_u32).expect("a character")
            }
            Some(other) => other,
        });
    }
    plain
}

/// Nothing may be delivered to but public addresses.
fn strict() -> Options {
    Options {
        allow: Vec::new(),
        ..Options::default()
    }
}

/// The reason of a refused URL, or `ok`.
fn verdict(answer: &Answer) -> String {
    if (200..300).contains(&answer.status) {
        return "ok".to_owned();
    }
    let json = answer.json();
    assert_eq!(answer.status, 422, "{json}");
    assert_eq!(json["code"], "endpoint_url_blocked", "{json}");
    let errors = json["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 1, "{json}");
    assert_eq!(errors[0]["path"], "url", "{json}");
    errors[0]["reason"].as_str().expect("a reason").to_owned()
}

#[tokio::test]
async fn every_listed_url_gets_its_verdict_from_the_api() {
    let app = TestApp::start_with(strict()).await;
    let application = app.application().await;
    let good = "https://good.example/";
    let endpoint = app.endpoint(&application, good, json!({})).await;
    let endpoints = format!("/api/v1/applications/{application}/endpoints");
    let one = format!("{endpoints}/{endpoint}");
    let (mut refused, mut taken) = (0, 0);
    for row in rows() {
        let host = EndpointUrl::parse(&row.input).map(|url| url.host_text().to_owned());
        if let Ok(host) = &host {
            app.resolve_to(host, &row.answers);
        }
        let body = json!({"url": row.input});
        let before = app.store.dump();
        let posted = app.post(&endpoints, body.clone()).await;
        assert_eq!(verdict(&posted), row.verdict, "POST {:?}", row.input);
        let put = if row.verdict == "ok" {
            taken += 1;
            assert_eq!(posted.json()["url"], row.input);
            app.put(&one, body).await
        } else {
            refused += 1;
            let put = app.put(&one, body).await;
            assert!(
                app.store.dump() == before,
                "{:?} changed the store",
                row.input
            );
            let resolved = row
                .answers
                .iter()
                .any(|ip| posted.text().contains(&ip.to_string()));
            let own_words = row.input.contains(
                &row.answers
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            );
            assert!(
                !resolved || own_words,
                "it reveals an address: {}",
                posted.text()
            );
            put
        };
        assert_eq!(verdict(&put), row.verdict, "PUT {:?}", row.input);
        app.put(&one, json!({"url": good})).await.ok(200);
    }
    assert_eq!(app.dialler.dials(), 0, "saving an endpoint dials nothing");
    println!("URLs through POST and PUT: {refused} refused, {taken} taken, 0 dials");
    assert!(refused > 150 && taken > 10);
}

/// A text as long as a URL may not be, and values that are no text.
#[tokio::test]
async fn what_is_no_url_at_all_is_refused() {
    let app = TestApp::start_with(strict()).await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/endpoints");
    let before = app.store.dump();
    let long = format!("https://a.example/{}", "x".repeat(2048));
    for url in [
        json!(long),
        json!(1),
        json!(["https://a.example/"]),
        json!({}),
        Value::Null,
    ] {
        let answer = app.post(&path, json!({"url": url})).await;
        assert_eq!(
            answer.json()["errors"][0]["path"],
            "url",
            "{}",
            answer.text()
        );
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    assert!(app.store.dump() == before);
}

/// The guard lets an inbox of ours through, but only when no parser could read
/// another place out of the same text.
#[tokio::test]
async fn a_url_below_our_own_inboxes_must_be_a_url_too() {
    let app = TestApp::start_with(strict()).await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/endpoints");
    let inbox = app.post("/api/v1/inboxes", json!({})).await.ok(201).json();
    let own = inbox["url"].as_str().expect("a URL").to_owned();
    let bare = own.trim_end_matches('/').to_owned();
    for (url, want) in [
        (own.clone(), "ok"),
        (bare.clone(), "ok"),
        (format!("{bare}/x/y?z=1"), "ok"),
        (format!("{own}\r\nX: 1"), "control_character"),
        (format!("{own}\u{0}"), "control_character"),
        (format!("{own}#x"), "fragment"),
        (format!("{own}\\x"), "backslash"),
        (format!("{own} x"), "invalid_url"),
        (own.replace("://", "://x@"), "userinfo"),
        (own.replace("http", "HTTP"), "ok"),
        (own.replace("/in/", "/in/../"), "loopback"),
        (format!("{bare}/../../api/v1/store"), "loopback"),
        // The parser makes it another inbox, which may not exist.
        (format!("{bare}/%2e%2E/x"), "ok"),
        (own.replace("/in/", "/api/v1/store/"), "loopback"),
        (app.public_url.clone(), "loopback"),
        (own.replace("/in/", ".example/in/"), "invalid_url"),
        (own.replace("/in/", "@b.example/in/"), "userinfo"),
    ] {
        let before = app.store.dump();
        let answer = app.post(&path, json!({"url": url})).await;
        assert_eq!(verdict(&answer), want, "{url:?}");
        assert!(want == "ok" || app.store.dump() == before, "{url:?}");
    }
    assert_eq!(app.dialler.dials(), 0);
}

/// The addresses of every kind that is refused, as a name's answers.
const DENIED: [&str; 44] = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.127.127.127",
    "168.63.129.16",
    "169.254.1.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.1.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2620:4f:8000::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
];

/// What the only attempt for a new message came to.
async fn attempt(app: &TestApp, application: &str) -> Value {
    let message = app.message(application, "a.b", json!({})).await;
    let path = format!("/api/v1/applications/{application}/messages/{message}/attempts");
    let what = format!("{message} is attempted");
    app.until(&what, async || {
        let attempts = app.get(&path).await.ok(200).items();
        attempts.into_iter().next()
    })
    .await
}

#[tokio::test]
async fn a_name_that_moves_to_a_refused_address_is_not_dialled() {
    let mut options = strict();
    options.retry_schedule = Vec::new();
    let app = TestApp::start_with(options).await;
    let public: IpAddr = "93.184.215.14".parse().expect("an address");
    let mut cases: Vec<Vec<IpAddr>> = Vec::new();
    for denied in DENIED {
        let denied = denied.parse().expect("an address");
        cases.extend([vec![denied], vec![public, denied], vec![denied, public]]);
    }
    // As through an alias, and at the end of many.
    let many = (0..40).map(|n| IpAddr::from([93, 184, 215, n]));
    cases.push(
        many.chain(["10.0.0.1".parse().expect("an address")])
            .collect(),
    );
    for (n, answers) in cases.iter().enumerate() {
        let name = format!("rebind{n}.example");
        app.resolve_to(&name, &[public]);
        let application = app.application().await;
        app.endpoint(&application, &format!("http://{name}/"), json!({}))
            .await;
        app.resolve_to(&name, answers);
        let attempt = attempt(&app, &application).await;
        assert_eq!(
            attempt["result"], "blockedAddress",
            "{answers:?}: {attempt}"
        );
        assert_eq!(attempt["outcome"], "failed");
        assert_eq!(attempt["peer"], Value::Null, "{answers:?}");
        assert_eq!(attempt["response"], Value::Null, "{answers:?}");
        let detail = attempt["detail"].as_str().expect("a sentence");
        let reveals = answers.iter().any(|ip| detail.contains(&ip.to_string()));
        assert!(!reveals, "{answers:?}: {detail}");
        assert_eq!(app.dialler.dials(), 0, "{answers:?}");
    }
    println!("names that moved: {} answers blocked, 0 dials", cases.len());
}

#[tokio::test]
async fn allowed_addresses_are_dialled() {
    let options = Options {
        allow: vec!["127.0.0.1/32"],
        ..Options::default()
    };
    let app = TestApp::start_with(options).await;
    let sink = Sink::start([]).await;
    let port = sink.address.port();
    let here = addresses("127.0.0.1");
    for (n, host) in ["127.0.0.1", "name.example", "localhost", "db"]
        .into_iter()
        .enumerate()
    {
        if host != "127.0.0.1" {
            app.resolve_to(host, &here);
        }
        let application = app.application().await;
        let url = format!("http://{host}:{port}/");
        app.endpoint(&application, &url, json!({})).await;
        assert_eq!(
            attempt(&app, &application).await["statusCode"],
            200,
            "{host}"
        );
        assert_eq!(
            app.dialler.dials(),
            n + 1,
            "{host} has a connection of its own"
        );
    }
    // One refused address refuses all, allowed ones among them.
    app.resolve_to("both.example", &here);
    let application = app.application().await;
    let url = format!("http://both.example:{port}/");
    app.endpoint(&application, &url, json!({})).await;
    app.resolve_to("both.example", &addresses("127.0.0.1,127.0.0.2"));
    let dials = app.dialler.dials();
    assert_eq!(
        attempt(&app, &application).await["result"],
        "blockedAddress"
    );
    assert_eq!(app.dialler.dials(), dials);
}

#[tokio::test]
async fn a_stricter_policy_stops_what_was_taken_before() {
    let sink = Sink::start([]).await;
    let app = TestApp::start().await;
    app.resolve_to("name.example", &addresses("127.0.0.1"));
    let mut applications = Vec::new();
    for host in ["127.0.0.1", "name.example"] {
        let application = app.application().await;
        let url = format!("http://{host}:{}/", sink.address.port());
        app.endpoint(&application, &url, json!({})).await;
        assert_eq!(attempt(&app, &application).await["statusCode"], 200);
        applications.push(application);
    }
    let app = app.restart_with(strict()).await;
    app.resolve_to("name.example", &addresses("127.0.0.1"));
    for application in applications {
        let attempt = attempt(&app, &application).await;
        assert_eq!(attempt["result"], "blockedAddress", "{attempt}");
    }
    assert_eq!(app.dialler.dials(), 0);
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let app = TestApp::start().await;
    let inside = Sink::start([]).await;
    let targets = [
        inside.url(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::1]/".to_owned(),
        format!("//{}/", inside.address),
        "/hook".to_owned(),
        "file:///etc/passwd".to_owned(),
    ];
    let mut cases = 0;
    for status in [300, 301, 302, 303, 304, 305, 307, 308, 399] {
        for target in &targets {
            let sink = Sink::start([]).await;
            sink.always(Reply::status(status).header("location", target));
            let application = app.application().await;
            let once = json!({"retrySchedule": []});
            app.endpoint(&application, &sink.url(), once).await;
            let dials = app.dialler.dials();
            let attempt = attempt(&app, &application).await;
            assert_eq!(attempt["statusCode"], status, "{target}");
            assert_eq!(attempt["outcome"], "failed", "{status} {target}");
            assert_eq!(app.dialler.dials(), dials + 1, "{status} {target}");
            assert_eq!(sink.count(), 1, "{status} {target}");
            cases += 1;
        }
    }
    assert_eq!(inside.count(), 0);
    println!("redirects: {cases} answers, none followed");
}

#[tokio::test]
async fn the_server_does_not_deliver_to_itself() {
    let options = Options {
        knows_itself: true,
        ..strict()
    };
    let app = TestApp::start_with(options).await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/endpoints");
    let url = format!("http://{}/api/v1/store", app.address);
    let answer = app.post(&path, json!({"url": url})).await;
    assert_eq!(verdict(&answer), "self");
    let named = format!("http://me.example:{}/", app.address.port());
    app.resolve_to("me.example", &[app.address.ip()]);
    let answer = app.post(&path, json!({"url": named})).await;
    assert_eq!(verdict(&answer), "self");
    app.resolve_to("me.example", &addresses("93.184.215.14"));
    app.endpoint(&application, &named, json!({})).await;
    app.resolve_to("me.example", &[app.address.ip()]);
    assert_eq!(
        attempt(&app, &application).await["result"],
        "blockedAddress"
    );
    assert_eq!(app.dialler.dials(), 0);
}

/// Runs a test that delivers once more, in a process whose environment names
/// a proxy for everything.
#[test]
fn proxies_of_the_environment_are_not_asked() {
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a free port");
    proxy.set_nonblocking(true).expect("it can be asked");
    let url = format!("http://{}", proxy.local_addr().expect("is bound"));
    let mut child = Command::new(std::env::current_exe().expect("this is a program"));
    child.args(["--exact", "guard::allowed_addresses_are_dialled"]);
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        child.env(name, &url).env(name.to_ascii_uppercase(), &url);
    }
    child.env_remove("no_proxy").env_remove("NO_PROXY");
    let output = child.output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 passed"), "{text}");
    assert!(proxy.accept().is_err(), "the proxy was asked");
}
