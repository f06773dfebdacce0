//! Which endpoints get a message.

use super::message::is_event_type;

/// What an endpoint subscribes to: one event type, or a family of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    text: String,
}

impl EventFilter {
    /// Reads `order.paid`, `order.*` (one further segment), `order.**` (one or
    /// more), `*` or `**`.
    ///
    /// # Errors
    /// The text back in a sentence when it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let stem = stem_of(text).0;
        let wild_alone = stem.is_empty() && matches!(text, "*" | "**");
        if wild_alone || is_event_type(stem) {
            Ok(Self {
                text: text.to_owned(),
            })
        } else {
            Err(
                "is not an event type: letters, digits, '-', '_' and '.', up to 256, \
                 optionally ending in .* or .**"
                    .to_owned(),
            )
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a message of `event_type` is wanted.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        let (stem, wild) = stem_of(&self.text);
        let rest = match wild {
            Wild::No => return event_type == self.text,
            _ if stem.is_empty() => event_type,
            _ => match event_type
                .strip_prefix(stem)
                .and_then(|rest| rest.strip_prefix('.'))
            {
                Some(rest) => rest,
                None => return false,
            },
        };
        !rest.is_empty() && (matches!(wild, Wild::Deep) || !rest.contains('.'))
    }
}

enum Wild {
    No,
    One,
    Deep,
}

fn stem_of(text: &str) -> (&str, Wild) {
    match text {
        "**" => ("", Wild::Deep),
        "*" => ("", Wild::One),
        _ => {
            if let Some(stem) = text.strip_suffix(".**") {
                (stem, Wild::Deep)
            } else if let Some(stem) = text.strip_suffix(".*") {
                (stem, Wild::One)
            } else {
                (text, Wild::No)
            }
        }
    }
}

/// Whether an endpoint that subscribes to `filters` and `wanted` channels gets
/// a message of `event_type` in `channels`.
///
/// No filter: every type. No wanted channel: every message. Wanted channels and
/// a message without any: not sent.
#[must_use]
pub fn selects(
    filters: &[EventFilter],
    wanted: &[String],
    event_type: &str,
    channels: &[String],
) -> bool {
    let type_wanted = filters.is_empty() || filters.iter().any(|filter| filter.matches(event_type));
    let channel_wanted =
        wanted.is_empty() || wanted.iter().any(|channel| channels.contains(channel));
    type_wanted && channel_wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_exactly_one_segment_or_any() {
        for (filter, event_type, want) in [
            ("cluster.optimized", "cluster.optimized", true),
            ("cluster.optimized", "cluster.optimized.a", false),
            ("cluster.optimized", "Cluster.optimized", false),
            ("cluster.optimized.*", "cluster.optimized.a", true),
            ("cluster.optimized.*", "cluster.optimized", false),
            ("cluster.optimized.*", "cluster.optimized.a.b", false),
            ("cluster.optimized.*", "cluster.optimizedx.a", false),
            ("cluster.optimized.*", "cluster.optimized.", false),
            ("cluster.optimized.**", "cluster.optimized.a", true),
            ("cluster.optimized.**", "cluster.optimized.a.b.c", true),
            ("cluster.optimized.**", "cluster.optimized", false),
            ("cluster.optimized.**", "cluster", false),
            ("*", "ping", true),
            ("*", "a.b", false),
            ("**", "a.b", true),
        ] {
            let parsed = EventFilter::parse(filter).unwrap();
            assert_eq!(parsed.matches(event_type), want, "{filter} on {event_type}");
        }
    }

    #[test]
    fn filters_that_are_no_event_type_are_refused() {
        for text in [
            "",
            "a b",
            "a.*.b",
            "***",
            ".**x",
            "a*",
            "é",
            ".*",
            &"a".repeat(257),
        ] {
            assert!(EventFilter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn channels_narrow_who_receives() {
        let list =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        for (wanted, channels, want) in [
            ("", "", true),
            ("", "acme/repo", true),
            ("acme/repo", "", false),
            ("acme/repo", "acme/repo other", true),
            ("acme/repo", "acme/Repo", false),
            ("a b", "b c", true),
        ] {
            assert_eq!(
                selects(&[], &list(wanted), "x", &list(channels)),
                want,
                "{wanted:?} {channels:?}"
            );
        }
        let filters = [EventFilter::parse("a.*").unwrap()];
        assert!(selects(&filters, &[], "a.b", &[]));
        assert!(!selects(&filters, &[], "b.b", &[]));
    }
}
