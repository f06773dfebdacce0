//! The journeys of people, in a real browser. Screenshots are kept in
//! `target/screenshots`.

use std::fs;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::support::browser::{Browser, Look, WIDE};
use crate::support::patience::wait_for;
use crate::support::server_process::ServerProcess;
use crate::support::sink::{Reply, Seen, Sink};

/// A server of its own, and the link that it printed.
pub(super) struct Place {
    pub(super) server: ServerProcess,
    pub(super) link: String,
}

impl Place {
    pub(super) fn start(flags: &[&str]) -> Self {
        let server = ServerProcess::start_with(flags);
        let out = wait_for(Duration::from_secs(10), || {
            let out = server.output();
            let told = out.contains(" to sign in") || out.contains(" to make the first account");
            told.then_some(out)
        });
        let out = out.expect("a link is printed");
        let (_, rest) = out.split_once("/links/").expect("a link");
        let token = rest.split_whitespace().next().expect("its token");
        Self {
            link: format!("{}/links/{token}", server.base_url()),
            server,
        }
    }
}

/// From nothing: the first account, an application, an endpoint, a message
/// that fails, the receiver repaired, Replay, delivered.
async fn from_nothing_to_a_replay(name: &'static str, look: Look) {
    let place = Place::start(&[]);
    let kept = fs::read_to_string(place.server.data_dir().join("first-account-link"));
    assert!(
        place.link.ends_with(
            kept.expect("it is kept")
                .trim()
                .rsplit('/')
                .next()
                .expect("a token")
        )
    );
    let replies = std::iter::repeat_with(|| Reply::status(503).body("under repair")).take(2);
    let sink = Sink::start(replies).await;
    let browser = Browser::start(name, look).await;
    browser.open(&place.link).await;
    browser.screenshot("01-first-account").await;
    browser.fill("E-mail", "ada@example.com").await;
    browser.fill("Password", "a few words will do").await;
    browser.fill("once more", "a few words will do").await;
    browser.press("Create account").await;
    browser.sees("Three steps").await;
    browser.screenshot("02-empty").await;
    let menu = async || {
        if look.width < 500 {
            browser.press("Menu").await;
        }
    };
    menu().await;
    browser.press("Applications").await;
    browser.fill("Name", "Acme").await;
    browser.press("Create application").await;
    browser.sees("Activity of Acme").await;
    menu().await;
    browser.press("Endpoints").await;
    browser.sees("Set up an endpoint to get started").await;
    browser.screenshot("03-no-endpoint").await;
    browser.press("Add endpoint").await;
    browser.fill("Endpoint URL", "not a url").await;
    browser.press("Create").await;
    browser.sees("Nothing was changed").await;
    browser.screenshot("04-wrong-url").await;
    browser.fill("Endpoint URL", &sink.url()).await;
    browser.press("Create").await;
    browser.sees("Send a test").await;
    browser.press("Send hookpost.ping").await;
    browser.sees_on_reload("under repair").await;
    browser.screenshot("05-failed").await;
    browser.press("All about it").await;
    browser.sees("503").await;
    browser.screenshot("06-message").await;
    // The receiver was repaired after its second answer.
    browser.press("Replay").await;
    browser.sees("The replay is on its way").await;
    sink.wait_for(2).await;
    browser.sees_on_reload("Attempt 2").await;
    browser.press("Replay").await;
    sink.wait_for(3).await;
    browser.sees_on_reload("Attempt 3").await;
    menu().await;
    browser.press("Logs").await;
    browser.sees("Delivered").await;
    browser.screenshot("07-delivered").await;
    if look.scripts {
        let complaints = browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_replay_wide_and_light() {
    from_nothing_to_a_replay("wide-light", WIDE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_replay_on_a_phone_in_the_dark() {
    from_nothing_to_a_replay("phone-dark", WIDE.phone().dark()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_replay_without_scripts() {
    from_nothing_to_a_replay("no-scripts", WIDE.without_scripts()).await;
}

/// Every screen of a place with something in it.
const SCREENS: [&str; 27] = [
    "",
    "/applications",
    "/endpoints",
    "/event-types",
    "/event-types/new",
    "/messages",
    "/attempts",
    "/jobs",
    "/inboxes",
    "/records",
    "/requests",
    "/sources",
    "/sources/new",
    "/sources/new?preset=custom",
    "/settings",
    "/settings/keys",
    "/settings/users",
    "/settings/audit",
    "/settings/portal",
    "/settings/environments",
    "/account",
    "/applications/demo",
    "/applications/demo/endpoints/new",
    "/applications/demo/endpoints/demo-inbox",
    "/applications/demo/endpoints/demo-inbox/advanced",
    "/applications/demo/endpoints/demo-inbox/testing",
    "/applications/demo/messages/new",
];

async fn every_screen_can_be_read(name: &'static str, look: Look) {
    let place = Place::start(&["--dev"]);
    let browser = Browser::start(name, look).await;
    browser
        .open(&format!("{}/sign-in", place.server.base_url()))
        .await;
    let mut found = browser.axe().await;
    browser.open(&place.link).await;
    browser.sees("Activity in default").await;
    let env = browser.path().await;
    let base = format!("{}{env}", place.server.base_url());
    // Something to see on each.
    browser
        .open(&format!("{base}/applications/demo/messages/new"))
        .await;
    browser.fill("Event type", "invoice.paid").await;
    browser.press("Send").await;
    browser.sees("Delivered").await;
    found.extend(browser.axe().await);
    browser.screenshot("message").await;
    browser.open(&format!("{base}/event-types/new")).await;
    browser.fill("Name", "invoice.paid").await;
    browser.fill("Example", "{\"total\": 42}").await;
    browser.press("Create").await;
    browser.sees("Created.").await;
    let mut wide = Vec::new();
    for (number, path) in SCREENS.iter().enumerate() {
        browser.open(&format!("{base}{path}")).await;
        let axe = browser.axe().await;
        found.extend(axe.into_iter().map(|one| format!("{path}: {one}")));
        if browser.is_too_wide().await {
            wide.push(*path);
        }
        browser
            .screenshot(&format!(
                "{number:02}{}",
                path.replace(['/', '?', '='], "-")
            ))
            .await;
    }
    let complaints = browser.complaints().await;
    browser.end().await;
    eprintln!(
        "{name}: {} screens, {} serious findings",
        SCREENS.len() + 2,
        found.len()
    );
    assert!(found.is_empty(), "{found:#?}");
    assert!(wide.is_empty(), "too wide: {wide:?}");
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_can_be_read_in_the_light() {
    every_screen_can_be_read("screens-light", WIDE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_can_be_read_on_a_phone_in_the_dark() {
    every_screen_can_be_read("screens-dark", WIDE.phone().dark()).await;
}

/// Keys, live rows, a secret that is revealed, and the portal.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_add_keys_live_rows_and_copying() {
    let place = Place::start(&["--dev"]);
    let browser = Browser::start("scripts", WIDE).await;
    browser.open(&place.link).await;
    browser.sees("Activity in default").await;
    let env = browser.path().await;
    let base = format!("{}{env}/applications/demo", place.server.base_url());
    browser.open(&format!("{base}/messages")).await;
    browser.sees("live").await;
    let other = Browser::start("scripts-other", WIDE).await;
    let body = b"{\"eventType\": \"live.row\", \"payload\": {}}";
    let sent = place
        .server
        .api("POST", "/applications/demo/messages", body);
    assert_eq!(sent.status, 202);
    browser.sees("live.row").await;
    browser.keys("j").await;
    browser.screenshot("marked").await;
    browser.keys("?").await;
    browser.sees("Keyboard").await;
    browser.screenshot("shortcuts").await;
    browser.press("Close").await;
    browser.open(&format!("{base}/endpoints/demo-inbox")).await;
    browser.press("Reveal").await;
    browser
        .sees("That you have seen it is in the audit log")
        .await;
    let secret = browser.text_of("#secret-0").await;
    assert!(secret.starts_with("whsec_"), "{secret}");
    browser.press("Rotate").await;
    browser.press("Rotate the secret").await;
    browser.sees("There is a new secret").await;
    browser.open(&base).await;
    browser.press("Make a portal link").await;
    browser.sees("A link into the portal").await;
    let link = browser.text_of("#portal-link").await;
    other.open(&link).await;
    other.sees("Activity of Demo").await;
    assert!(
        !other.text().await.contains("Applications"),
        "a customer has one"
    );
    other.screenshot("portal").await;
    let found = other.axe().await;
    assert!(found.is_empty(), "{found:#?}");
    for one in [&browser, &other] {
        let complaints = one.complaints().await;
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    browser.end().await;
    other.end().await;
}

/// A part of a chart is shown by itself, and the page about it can be sent on.
#[tokio::test(flavor = "multi_thread")]
async fn dragging_over_a_chart_shows_that_time() {
    let place = Place::start(&["--dev"]);
    let browser = Browser::start("zoom", WIDE).await;
    browser.open(&place.link).await;
    browser.sees("Activity in default").await;
    let env = browser.path().await;
    let base = format!("{}{env}/applications/demo", place.server.base_url());
    let body = b"{\"eventType\": \"zoomed.in\", \"payload\": {}}";
    let sent = place
        .server
        .api("POST", "/applications/demo/messages", body);
    assert_eq!(sent.status, 202);
    for path in ["", "/endpoints/demo-inbox"] {
        browser.open(&format!("{base}{path}")).await;
        browser.drag("figure[data-zoom] > svg", 0.8, 0.97).await;
        browser.sees("00 (UTC)").await;
        browser
            .screenshot(&format!("shown{}", path.replace('/', "-")))
            .await;
    }
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    browser.end().await;
}

/// Several deliveries failed; the receiver is repaired, and one press replays
/// them all. Then its secret is revealed and rotated, and what comes next
/// verifies with what the page showed.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_recovered_and_the_new_secret_signs() {
    let place = Place::start(&["--dev", "--retry-schedule", "1h"]);
    let replies = std::iter::repeat_with(|| Reply::status(503).body("under repair")).take(3);
    let sink = Sink::start(replies).await;
    let body = format!("{{\"url\": \"{}\", \"uid\": \"repaired\"}}", sink.url());
    let path = "/applications/demo/endpoints";
    let made = place.server.api("POST", path, body.as_bytes());
    assert_eq!(made.status, 201, "{made:?}");
    let send = || {
        let body = b"{\"eventType\": \"order.paid\", \"payload\": {\"n\": 1}}";
        let path = "/applications/demo/messages";
        assert_eq!(place.server.api("POST", path, body).status, 202);
    };
    for _ in 0..3 {
        send();
    }
    sink.wait_for(3).await;
    let browser = Browser::start("recover", WIDE).await;
    browser.open(&place.link).await;
    browser.sees("Activity in default").await;
    let env = browser.path().await;
    let endpoint = format!(
        "{}{env}/applications/demo/endpoints/repaired",
        place.server.base_url()
    );
    browser.open(&endpoint).await;
    browser.sees_on_reload("3 failures in a row").await;
    browser.press("Recover failed").await;
    browser.sees("Since when?").await;
    browser.press("8 hours").await;
    browser.sees("Replay 3").await;
    browser.screenshot("counted").await;
    browser.press("Replay 3").await;
    sink.wait_for(6).await;
    browser.open(&endpoint).await;
    browser.sees_on_reload("Last delivered").await;
    browser.press("Reveal").await;
    browser.sees("That you have seen it").await;
    let old = browser.text_of("#secret-0").await;
    browser.press("Rotate").await;
    browser.press("Rotate the secret").await;
    browser.sees("There is a new secret").await;
    browser.press("Reveal").await;
    browser.sees("That you have seen it").await;
    let new = browser.text_of("#secret-0").await;
    assert_ne!(new, old);
    send();
    sink.wait_for(7).await;
    let requests = sink.requests();
    let last = requests.last().expect("a request");
    let signatures = last.header("webhook-signature");
    assert!(signatures.split(' ').any(|one| one == signed(&new, last)));
    let first = &requests[0];
    assert_eq!(first.header("webhook-signature"), signed(&old, first));
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    browser.end().await;
}

/// The signature by `secret`, computed apart from the code that is tested.
fn signed(secret: &str, request: &Seen) -> String {
    let key = secret
        .strip_prefix("whsec_")
        .expect("a secret of the usual form");
    let key = STANDARD.decode(key).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    for part in ["webhook-id", "webhook-timestamp"] {
        mac.update(request.header(part).as_bytes());
        mac.update(b".");
    }
    mac.update(&request.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// A page of another site than the server's, with `framed` in a frame; its
/// origin.
async fn page_around(framed: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let page = format!(
        "<!doctype html><title>Product</title><iframe src=\"{framed}\" width=1200 height=800></iframe>"
    );
    let routes = Router::new().route("/", get(async move || Html(page)));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://localhost:{port}")
}

/// A product shows the portal in a frame: another site's page may do so once
/// its origin is named, and the customer can work in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_portal_works_in_a_frame_of_another_site() {
    let place = Place::start(&["--dev"]);
    let link = || {
        let path = "/applications/demo/portal-links";
        let made = place
            .server
            .api("POST", path, b"{\"next\": \"/endpoints\"}");
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["url"].as_str().expect("a link").to_owned()
    };
    let admin = Browser::start("frame-admin", WIDE).await;
    admin.open(&place.link).await;
    admin.sees("Activity in default").await;
    let settings = format!("{}/settings/portal", admin.path().await);
    let product = Browser::start("frame", WIDE).await;
    let around = async |origin: &str| {
        product.open(origin).await;
        product.enter_frame().await;
    };
    around(&page_around(&link()).await).await;
    let kept_out = product.text().await;
    assert!(!kept_out.contains("Endpoints"), "{kept_out}");
    let complaints = product.complaints().await.join("\n");
    assert!(complaints.contains("frame-ancestors"), "{complaints}");
    let origin = page_around(&link()).await;
    admin
        .open(&format!("{}{settings}", place.server.base_url()))
        .await;
    admin.fill("Origins that may show it", &origin).await;
    admin.press("Save").await;
    admin.sees("Saved").await;
    around(&origin).await;
    product.sees("Demo inbox").await;
    product.press("Add endpoint").await;
    product
        .fill("Endpoint URL", "https://framed.example.com/hooks")
        .await;
    product.press("Create").await;
    product.sees("Send a test").await;
    product.screenshot("works").await;
    let complaints = product.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    admin.end().await;
    product.end().await;
}
