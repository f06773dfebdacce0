//! What becomes of the message: to whom it goes, and the first attempt of each.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use super::report::Report;
use super::{Application, Sent, TriggerError};
use crate::cli::follow::{Follower, Row};
use crate::cli::remote::{Question, Remote, RemoteError, segment};
use crate::cli::rows::AttemptRow;

/// Until every delivery was tried once.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(30);
/// Attempts that are looked at of a message that was sent before.
const EARLIER_ATTEMPTS: usize = 250;

/// A message owed to an endpoint.
#[derive(Deserialize)]
pub(super) struct Delivery {
    endpoint: Endpoint,
}

#[derive(Deserialize)]
pub(super) struct Endpoint {
    id: String,
    pub(super) url: String,
    enabled: bool,
    paused: bool,
}

impl Endpoint {
    /// Why nothing is sent to it now.
    pub(super) fn holds(&self) -> Option<&'static str> {
        match (self.enabled, self.paused) {
            (false, _) => Some("the endpoint is disabled"),
            (true, true) => Some("the endpoint is paused"),
            (true, false) => None,
        }
    }
}

pub(super) async fn deliveries(
    remote: &mut Remote,
    application: &Application,
    message: &Sent,
) -> Result<Vec<Delivery>, RemoteError> {
    let below = format!("/messages/{}/endpoint-messages", segment(&message.id));
    let answer = remote.ask(Question::get(application.path(&below))).await?;
    answer.json(remote.server())
}

/// Deliveries that are waited for.
pub(super) struct Waits<'a> {
    message: &'a Sent,
    /// Not tried yet.
    pub(super) open: Vec<&'a Endpoint>,
    /// Those of whom an attempt is known.
    tried: BTreeSet<String>,
    pub(super) failed: bool,
}

impl<'a> Waits<'a> {
    pub(super) fn new(message: &'a Sent, deliveries: &'a [Delivery]) -> Self {
        Self {
            message,
            open: deliveries
                .iter()
                .map(|delivery| &delivery.endpoint)
                .collect(),
            tried: BTreeSet::new(),
            failed: false,
        }
    }

    /// Tells the first attempt that is known of each delivery, until there is
    /// one of all that are not held.
    pub(super) async fn all(
        &mut self,
        remote: &mut Remote,
        application: &Application,
        follower: Follower,
        report: &mut Report<'_, '_>,
    ) -> Result<(), TriggerError> {
        let waiting = self.until_tried(remote, application, follower, report);
        // Time over is told by what is open still.
        timeout(WAIT_MAX, waiting).await.unwrap_or(Ok(()))
    }

    async fn until_tried(
        &mut self,
        remote: &mut Remote,
        application: &Application,
        mut follower: Follower,
        report: &mut Report<'_, '_>,
    ) -> Result<(), TriggerError> {
        let mut rows = self.earlier(remote, application).await?;
        loop {
            for row in &rows {
                self.take(row, remote, report)?;
            }
            if self.open.iter().all(|endpoint| endpoint.holds().is_some()) {
                return Ok(());
            }
            // The message is on its way; a lost connection is not worth a line.
            rows = follower.next(remote, &mut |_| Ok(())).await?;
        }
    }

    /// Attempts that there are already, oldest first: all, should it have been
    /// sent long ago under the same idempotency key.
    async fn earlier(
        &self,
        remote: &mut Remote,
        application: &Application,
    ) -> Result<Vec<Row>, RemoteError> {
        let id = segment(&self.message.id);
        let path = application.path(&format!(
            "/messages/{id}/attempts?pageSize={EARLIER_ATTEMPTS}"
        ));
        let answer = remote.ask(Question::get(path)).await?;
        let mut rows: Vec<Row> = answer.json(remote.server())?;
        rows.reverse();
        Ok(rows)
    }

    fn take(
        &mut self,
        row: &Row,
        remote: &Remote,
        report: &mut Report<'_, '_>,
    ) -> Result<(), TriggerError> {
        let Ok(attempt) = serde_json::from_str::<AttemptRow>(row.get()) else {
            let server = remote.server().to_string();
            let what = "an attempt of its log is none".to_owned();
            return Err(RemoteError::NotHookpost { server, what }.into());
        };
        if attempt.message_id != self.message.id || !self.tried.insert(attempt.endpoint_id.clone())
        {
            return Ok(());
        }
        self.open
            .retain(|endpoint| endpoint.id != attempt.endpoint_id);
        self.failed |= !attempt.is_delivered();
        report.attempt(&attempt, row)?;
        Ok(())
    }
}
