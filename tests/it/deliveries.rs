//! What reaches an endpoint, when, and what stops it.

use std::time::Duration;

use serde_json::json;

use crate::support::app::TestApp;
use crate::support::sink::{Reply, Sink};

#[tokio::test]
async fn a_failed_delivery_is_tried_again_after_five_seconds() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500)]).await;
    let application = app.application().await;
    app.endpoint(&application, &sink.url(), json!({})).await;
    let message = app.message(&application, "a.b", json!({"n": 1})).await;
    sink.wait_for(1).await;
    app.stands(&application, &message, "pending", 1).await;
    app.advance(Duration::from_secs(6)).await;
    sink.wait_for(2).await;
    app.stands(&application, &message, "success", 2).await;
}
