//! How an endpoint fares, in a word and a sentence.

use super::frame::Kind;
use super::parts::{Moment, Tag, counted, outcome_words};
use crate::domain::attempt::Attempt;
use crate::domain::delivery::Verdict;
use crate::domain::endpoint::{DisabledReason, LiveEndpoint};
use crate::domain::time::Timestamp;

/// What is said about an endpoint under its URL.
pub(super) struct State {
    pub(super) tag: Tag,
    pub(super) words: String,
    /// What the sentence is about, when that is a moment.
    pub(super) since: Option<Moment>,
    /// When the next attempt is due.
    pub(super) next: Option<Moment>,
}

/// `last` is the newest attempt, `due` when the first waiting delivery is.
pub(super) fn state(
    live: &LiveEndpoint,
    last: Option<&Attempt>,
    due: Option<Timestamp>,
    now: Timestamp,
) -> State {
    let said = |kind, tag: &str, words: String| State {
        tag: Tag::new(kind, tag),
        words,
        since: None,
        next: None,
    };
    let (settings, health) = (&live.settings, &live.state);
    if let Some(deleted) = settings.deleted {
        return State {
            since: Some(Moment::new(deleted, now)),
            ..said(Kind::Idle, "Deleted", "Deleted".to_owned())
        };
    }
    if let Some(disabled) = health.disabled {
        let why = match disabled.reason {
            DisabledReason::Gone => {
                "The receiver answered 410, that it wants nothing more; disabled"
            }
            DisabledReason::Failing => "It did nothing but fail for five days; disabled",
        };
        return State {
            since: Some(Moment::new(disabled.at, now)),
            ..said(Kind::Idle, "Disabled", why.to_owned())
        };
    }
    if !settings.enabled {
        let words = "Disabled by hand: nothing new is sent to it, and what waits stops.";
        return said(Kind::Idle, "Disabled", words.to_owned());
    }
    if settings.paused {
        let words = "Paused: what is due waits until it is resumed.";
        return said(Kind::Wait, "Paused", words.to_owned());
    }
    let next = due.map(|due| Moment::new(due.max(now), now));
    let Some(last) = last else {
        let words = if due.is_some() {
            "Its first delivery is on its way."
        } else {
            "Nothing was sent to it yet."
        };
        return said(Kind::Wait, "Ready", words.to_owned());
    };
    if let (Some(since), true) = (health.failing_since, health.failures > 0) {
        let answer = outcome_words(&last.of.exchange.outcome);
        let words = format!(
            "{answer} from the receiver, {} in a row since",
            counted(health.failures.into(), "failure", "failures")
        );
        return State {
            since: Some(Moment::new(since, now)),
            next,
            ..said(Kind::Bad, "Failing", words)
        };
    }
    let words = if last.of.verdict == Verdict::Delivered {
        "Last delivered"
    } else {
        "Last tried"
    };
    State {
        since: Some(Moment::new(last.of.started, now)),
        next,
        ..said(Kind::Good, "Healthy", words.to_owned())
    }
}
