//! Requests on pages: asked by a form, seen with their answer.

use serde_json::{Value, json};

use super::browser::Place;
use crate::requests::{Asked, Manner, SECRET};
use crate::support::browser::{Browser, Look, WIDE};

async fn a_question_is_asked_and_its_answer_seen(name: &'static str, look: Look) {
    let place = Place::start(&["--dev"]);
    let (asked, url) = Asked::start(Manner::AnswersAtOnce).await;
    let made = json!({"url": url, "secrets": [SECRET], "signatures": [{"scheme": "optech"}]});
    let below = "/applications/demo/endpoints";
    let made = place.server.api("POST", below, made.to_string().as_bytes());
    let made: Value = serde_json::from_slice(&made.body).expect("JSON");
    let browser = Browser::start(name, look).await;
    browser.open(&place.link).await;
    browser.sees("Activity in default").await;
    let env = browser.path().await;
    let base = format!("{}{env}/applications/demo", place.server.base_url());
    browser.open(&format!("{base}/requests")).await;
    browser.sees("Nothing was asked yet").await;
    browser.screenshot("01-none").await;
    browser.fill("For", "getOrders").await;
    browser.fill("Inputs", "[1]").await;
    browser.press("Ask").await;
    browser.sees("must be a JSON object").await;
    browser.screenshot("02-wrong").await;
    browser.fill("Inputs", "{\"userId\": \"42\"}").await;
    browser.press("Ask").await;
    browser.sees_on_reload("The answer").await;
    let text = browser.text().await;
    assert!(text.contains("orders") && text.contains("userId"), "{text}");
    assert_eq!(asked.seen().len(), 1);
    browser.screenshot("03-answered").await;
    let mut found = Vec::new();
    if look.scripts {
        found.extend(browser.axe().await);
    }
    browser.open(&format!("{base}/requests")).await;
    browser.sees("getOrders").await;
    browser.screenshot("04-log").await;
    assert!(!browser.is_too_wide().await);
    if look.scripts {
        found.extend(browser.axe().await);
    }
    browser
        .open(&format!("{}{env}/requests", place.server.base_url()))
        .await;
    browser.sees("all applications").await;
    browser.sees("Demo").await;
    browser.press("getOrders").await;
    browser.sees("The answer").await;
    let endpoint = made["id"].as_str().expect("an id");
    browser
        .open(&format!("{base}/endpoints/{endpoint}/testing"))
        .await;
    browser.press("Validate endpoint").await;
    browser.sees_on_reload("The answer").await;
    browser.screenshot("05-validated").await;
    assert_eq!(asked.seen().len(), 2);
    let complaints = browser.complaints().await;
    browser.end().await;
    assert!(found.is_empty(), "{found:#?}");
    if look.scripts {
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_and_its_answer_seen_wide_and_light() {
    a_question_is_asked_and_its_answer_seen("requests-wide", WIDE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_and_its_answer_seen_on_a_phone_in_the_dark() {
    a_question_is_asked_and_its_answer_seen("requests-phone", WIDE.phone().dark()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_and_its_answer_seen_without_scripts() {
    a_question_is_asked_and_its_answer_seen("requests-no-scripts", WIDE.without_scripts()).await;
}
