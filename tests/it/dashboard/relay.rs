//! The relay on pages: who listens, both halves of an event, and Replay once
//! the program on the laptop works again.

use serde_json::{Value, json};

use super::browser::Place;
use crate::support::browser::{Browser, Look, WIDE};
use crate::support::remote_command::{Running, application, command};
use crate::support::sink::{Reply, Sink};

/// A new endpoint of the application with this URL.
fn endpoint(place: &Place, url: &str) {
    let fields = json!({"url": url, "uid": "laptop", "retrySchedule": []});
    let path = "/applications/acme/endpoints";
    let made = place
        .server
        .api("POST", path, fields.to_string().as_bytes());
    assert_eq!(made.status, 201, "{}", made.text());
}

fn send(place: &Place, uid: &str) {
    let fields = json!({"eventType": "items.scanned", "uid": uid, "payload": {"item": uid}});
    let path = "/applications/acme/messages";
    let sent = place
        .server
        .api("POST", path, fields.to_string().as_bytes());
    assert_eq!(sent.status, 202, "{}", sent.text());
}

/// The `event` of a line that the listener wrote.
fn event(line: &str) -> Value {
    let line: Value = serde_json::from_str(line).expect("JSON");
    line["event"].clone()
}

async fn a_handler_is_broken_repaired_and_gets_its_event(name: &'static str, look: Look) {
    let place = Place::start(&["--dev"]);
    let program = Sink::start([]).await;
    // It is not to live on in connections that are kept.
    program.always(
        Reply::status(200)
            .header("connection", "close")
            .body("thanks"),
    );
    let (port, target) = (program.address, format!("http://{}/hook", program.address));
    let words = ["listen", &target, "--output", "json"];
    let mut listener = Running::start(&mut command(&place.server, &words));
    let first: Value = serde_json::from_str(&listener.lines(1)[0]).expect("JSON");
    let url = first["listening"]["url"]
        .as_str()
        .expect("a URL")
        .to_owned();
    let view = first["listening"]["view"]
        .as_str()
        .expect("a page")
        .to_owned();
    application(&place.server, "acme");
    endpoint(&place, &url);
    let browser = Browser::start(name, look).await;
    browser.open(&place.link).await;
    browser.sees("Activity in default").await;
    let env = browser.path().await;
    let base = place.server.base_url();

    send(&place, "one");
    let told = event(&listener.lines(2)[1]);
    assert_eq!(told["status"], 200, "{told}");
    assert_eq!(told["type"], "items.scanned", "{told}");
    browser.open(&view).await;
    browser
        .sees("What comes is the listener's to answer.")
        .await;
    browser.sees("items.scanned").await;
    browser.sees("answered by the listener").await;
    browser.screenshot("01-listening").await;
    let mut found = Vec::new();
    if look.scripts {
        found.extend(browser.axe().await);
    }
    browser.press("POST").await;
    browser.sees("What the listener answered").await;
    browser.sees("thanks").await;
    browser.screenshot("02-both-halves").await;
    if look.scripts {
        found.extend(browser.axe().await);
    }

    drop(program);
    send(&place, "two");
    let told = event(&listener.lines(3)[2]);
    assert_eq!(told["outcome"], "failed", "{told}");
    let reason = format!("connection refused at {port}");
    assert_eq!(told["error"], *reason, "{told}");
    browser.open(&view).await;
    browser
        .sees_on_reload("the listener's program gave no answer")
        .await;
    browser.open(&format!("{base}{env}/attempts")).await;
    browser.sees_on_reload("502").await;
    browser.screenshot("03-failed").await;

    let program = Sink::start_at(port).await;
    program.always(Reply::status(200).body("repaired"));
    browser.press("items.scanned").await;
    browser.sees("connection refused at").await;
    browser.screenshot("04-reason").await;
    browser.press("Replay").await;
    let told = event(&listener.lines(4)[3]);
    assert_eq!(told["status"], 200, "{told}");
    let seen = program.wait_for(1).await;
    assert_eq!(seen[0].path, "/hook");
    assert_eq!(&seen[0].body[..], b"{\"item\":\"two\"}");

    browser.open(&format!("{base}{env}/inboxes")).await;
    browser.sees("Listening now").await;
    browser.screenshot("05-inboxes").await;
    assert!(!browser.is_too_wide().await);
    browser.press("Disconnect").await;
    browser.sees("Disconnected.").await;
    browser.sees("The listener is away").await;
    browser.screenshot("06-disconnected").await;
    if look.scripts {
        found.extend(browser.axe().await);
    }
    assert_eq!(listener.exit_code(), Some(1));
    listener.complains("dashboard");
    let complaints = browser.complaints().await;
    browser.end().await;
    assert!(found.is_empty(), "{found:#?}");
    if look.scripts {
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_broken_repaired_and_gets_its_event_wide_and_light() {
    a_handler_is_broken_repaired_and_gets_its_event("relay-wide", WIDE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_broken_repaired_and_gets_its_event_on_a_phone_in_the_dark() {
    a_handler_is_broken_repaired_and_gets_its_event("relay-phone", WIDE.phone().dark()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_broken_repaired_and_gets_its_event_without_scripts() {
    a_handler_is_broken_repaired_and_gets_its_event("relay-plain", WIDE.without_scripts()).await;
}
