//! An inbox on pages: live, told what to answer, replayed, cleared, deleted.

use serde_json::Value;

use super::browser::Place;
use crate::support::browser::{Browser, Look, WIDE};
use crate::support::http_client;

async fn what_comes_is_seen_and_sent_on(name: &'static str, look: Look) {
    let place = Place::start(&["--dev"]);
    let browser = Browser::start(name, look).await;
    browser.open(&place.link).await;
    browser.sees("Activity in default").await;
    let env = browser.path().await;
    let base = place.server.base_url();
    let other = place
        .server
        .api("POST", "/inboxes", b"{\"name\": \"other\"}");
    let other: Value = serde_json::from_slice(&other.body).expect("JSON");
    browser.open(&format!("{base}{env}/inboxes")).await;
    browser.fill("Name", "Trial").await;
    browser.press("Create inbox").await;
    browser.sees("Nothing came yet").await;
    let page = browser.path().await;
    let path = format!("/in{}", &page[page.rfind('/').expect("a path")..]);
    let send = |body: &str| {
        let head = [
            ("content-type", "application/json"),
            ("authorization", "Bearer theirs"),
        ];
        let address = place.server.address();
        let sent = http_client::request(address, "POST", &path, &head, body.as_bytes());
        let answer = sent.expect("it is answered");
        (answer.status, answer.text())
    };
    assert_eq!(send("{\"order\": 42}"), (200, "OK".to_owned()));
    if look.scripts {
        // By itself: the log is live.
        browser.sees("POST").await;
    } else {
        browser.sees_on_reload("POST").await;
    }
    browser.screenshot("01-log").await;
    let mut found = Vec::new();
    if look.scripts {
        found.extend(browser.axe().await);
    }
    browser.press("Body and headers").await;
    browser.fill("Fail the next", "1").await;
    browser.fill("Status", "201").await;
    browser.fill("Body", "Thanks").await;
    browser.fill("Headers", "content-length: 3").await;
    browser.press("Save").await;
    browser
        .sees("answerHeaders.content-length is a header")
        .await;
    browser.fill("Headers", "x-limit: 3").await;
    browser.press("Save").await;
    browser.sees("Saved.").await;
    browser.screenshot("02-saved").await;
    assert_eq!(send("{}").0, 503);
    assert_eq!(send("{}"), (201, "Thanks".to_owned()));
    browser.open(&format!("{base}{page}")).await;
    browser.press("POST").await;
    browser.sees("Replay to a URL").await;
    assert!(!browser.text().await.contains("theirs"), "it is masked");
    let to = other["url"].as_str().expect("a text");
    browser.fill("URL", to).await;
    browser.press("Replay").await;
    browser.sees("It was tried.").await;
    browser.sees("What came of replays").await;
    browser.screenshot("03-replayed").await;
    if look.scripts {
        found.extend(browser.axe().await);
    }
    browser.fill("URL", "http://169.254.169.254/").await;
    browser.press("Replay").await;
    browser.sees("169.254.169.254").await;
    browser.screenshot("04-refused").await;
    browser.open(&format!("{base}{page}")).await;
    browser.press("Clear or delete").await;
    browser.press("Clear inbox").await;
    browser.sees("Cleared").await;
    browser.sees("Nothing came yet").await;
    browser.press("Clear or delete").await;
    browser.screenshot("05-cleared").await;
    assert!(!browser.is_too_wide().await);
    browser.press("Delete inbox").await;
    browser.sees("Deleted.").await;
    assert_eq!(send("{}").0, 404);
    let complaints = browser.complaints().await;
    browser.end().await;
    assert!(found.is_empty(), "{found:#?}");
    if look.scripts {
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_seen_and_sent_on_wide_and_light() {
    what_comes_is_seen_and_sent_on("inbox-wide", WIDE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_seen_and_sent_on_on_a_phone_in_the_dark() {
    what_comes_is_seen_and_sent_on("inbox-phone", WIDE.phone().dark()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_seen_and_sent_on_without_scripts() {
    what_comes_is_seen_and_sent_on("inbox-no-scripts", WIDE.without_scripts()).await;
}
