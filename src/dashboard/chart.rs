//! Charts as SVG, drawn here: bars by outcome, and a small line of them.

use askama::Template;
use askama::filters::HtmlSafe;

use super::parts::{field_time, number, parse_field_time};
use crate::control::FieldError;
use crate::domain::statistics::{Counter, Period, PeriodError, Resolution};
use crate::domain::time::Timestamp;
use crate::http::paging::Params;
use crate::http::problem::Problem;

/// Units of the drawing; browsers scale it.
const WIDTH: u32 = 760;
const HEIGHT: u32 = 170;
const LEFT: u32 = 44;
const BOTTOM: u32 = 22;
const TOP: u32 = 8;
/// Between two bars.
const GAP: u32 = 2;
/// Labels below the bars, about.
const LABELS: usize = 6;
/// How long a time can be drawn by itself.
const ZOOM_DAYS_MAX: u64 = 366;
const HOUR_MS: u64 = 60 * 60 * 1000;

/// One bar: what failed at the bottom, where it can be compared; above it what
/// was delivered.
struct Bar {
    x: u32,
    width: u32,
    failed_y: u32,
    failed_height: u32,
    good_y: u32,
    good_height: u32,
    /// For who points at it, and for who cannot see it.
    words: String,
    href: String,
}

struct Label {
    x: u32,
    text: String,
}

struct Line {
    y: u32,
    text: String,
}

struct Row {
    when: String,
    delivered: String,
    failed: String,
}

/// Attempts over time.
#[derive(Template)]
#[template(path = "dashboard/parts/chart.html")]
pub(super) struct Chart {
    title: &'static str,
    bars: Vec<Bar>,
    labels: Vec<Label>,
    lines: Vec<Line>,
    rows: Vec<Row>,
    /// Where dragging over the chart leads: to this page with `?from=` and
    /// `&to=`, in Unix milliseconds.
    zoom: String,
    /// When the first slot begins, in Unix milliseconds.
    start_ms: u64,
    slot_ms: u64,
    /// How wide a slot is drawn.
    step: u32,
}
impl HtmlSafe for Chart {}

impl Chart {
    /// What was counted slot by slot of `period`. `href` leads to the list of
    /// what lies between two moments; `zoom` to the page that draws a part of
    /// the time.
    pub(super) fn new(
        title: &'static str,
        period: &Period,
        counters: &[Counter],
        zoom: String,
        href: impl Fn(Timestamp, Timestamp) -> String,
    ) -> Self {
        let most = counters.iter().map(Counter::attempts).max().unwrap_or(0);
        let top = rounded_up(most);
        let count = u32::try_from(counters.len()).unwrap_or(u32::MAX).max(1);
        let step = (WIDTH - LEFT) / count;
        let plot = HEIGHT - BOTTOM - TOP;
        let height = |part: u64| scaled(part, top, plot);
        let slot = |at: usize| period.slots().start + u32::try_from(at).unwrap_or(0);
        let resolution = period.resolution();
        let base = HEIGHT - BOTTOM;
        let counted = counters.iter().enumerate();
        let bars = counted.filter(|(_, counter)| counter.attempts() > 0);
        let bars = bars.map(|(at, counter)| {
            let (failed, good) = (height(counter.failed), height(counter.delivered));
            let when = resolution.start(slot(at));
            let x = LEFT + step * u32::try_from(at).unwrap_or(0);
            Bar {
                x,
                width: step.saturating_sub(GAP).max(1),
                failed_y: base - failed,
                failed_height: failed,
                good_y: base.saturating_sub(failed + good).max(TOP),
                good_height: good,
                words: format!(
                    "{}: {} delivered, {} failed",
                    slot_words(resolution, when),
                    number(counter.delivered),
                    number(counter.failed)
                ),
                href: href(when, resolution.start(slot(at) + 1)),
            }
        });
        let every = counters.len().div_ceil(LABELS).max(1);
        let labels = (0..counters.len()).step_by(every).map(|at| Label {
            x: LEFT + step * u32::try_from(at).unwrap_or(0),
            text: slot_words(resolution, resolution.start(slot(at))),
        });
        let lines = [top, top / 2].into_iter().filter(|value| *value > 0);
        let lines = lines.map(|value| Line {
            y: base - height(value),
            text: number(value),
        });
        let counted = counters.iter().enumerate();
        let rows = counted
            .filter(|(_, counter)| counter.attempts() > 0)
            .map(|(at, counter)| Row {
                when: slot_words(resolution, resolution.start(slot(at))),
                delivered: number(counter.delivered),
                failed: number(counter.failed),
            });
        Self {
            title,
            bars: bars.collect(),
            labels: labels.collect(),
            lines: lines.collect(),
            rows: rows.collect(),
            zoom,
            start_ms: period.from().0,
            slot_ms: resolution.slot_ms(),
            step,
        }
    }
}

/// A part of the time that is drawn by itself, as it was dragged over.
pub(super) struct Zoom {
    pub(super) period: Period,
}

impl Zoom {
    /// The time between `?from=` and `?to=`, in slots as fine as can be drawn
    /// and are still kept.
    pub(super) fn of(params: &Params, now: Timestamp) -> Result<Option<Self>, Problem> {
        let time = |name| params.parsed(name, "a time", parse_field_time);
        let (from, to) = match (time("from")?, time("to")?) {
            (None, None) => return Ok(None),
            (Some(from), Some(to)) => (from, to),
            (None, Some(_)) => return Err(invalid("?from", "must be given together with `to`")),
            (Some(_), None) => return Err(invalid("?to", "must be given together with `from`")),
        };
        let hours = to.0.saturating_sub(from.0).div_ceil(HOUR_MS);
        if hours > ZOOM_DAYS_MAX * 24 {
            let detail = format!("must lie at most {ZOOM_DAYS_MAX} days before `to`");
            return Err(invalid("?from", &detail));
        }
        let kept =
            |one: Resolution| one.slot(now).saturating_sub(one.slot(from)) < one.slots_kept();
        let resolution = match hours {
            0..=2 if kept(Resolution::Minute) => Resolution::Minute,
            0..=192 if kept(Resolution::Hour) => Resolution::Hour,
            _ => Resolution::Day,
        };
        match Period::new(resolution, Some(from), Some(to), to) {
            Ok(period) => Ok(Some(Self { period })),
            Err(PeriodError::TooLate) => Err(invalid("?to", "lies too far in the future")),
            Err(PeriodError::Empty | PeriodError::TooLong(_)) => {
                Err(invalid("?to", "must be later than `from`"))
            }
        }
    }

    /// From when to when: `2026-11-26 12:00 to 2026-11-26 14:00 (UTC)`.
    pub(super) fn words(&self) -> String {
        let minute = |at| field_time(at).replace('T', " ");
        let (from, to) = (minute(self.period.from()), minute(self.period.to()));
        format!("{from} to {to} (UTC)")
    }
}

fn invalid(path: &str, detail: &str) -> Problem {
    Problem::invalid(vec![FieldError::new(path, detail)])
}

fn scaled(part: u64, whole: u64, length: u32) -> u32 {
    if whole == 0 || part == 0 {
        return 0;
    }
    let share = u128::from(part) * u128::from(length) / u128::from(whole);
    // What is there is seen, however small.
    u32::try_from(share).unwrap_or(length).max(1)
}

/// A round number that is not less than `most`: 1, 2 or 5 with zeros, and even.
fn rounded_up(most: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        for factor in [2, 4, 10] {
            if unit.saturating_mul(factor) >= most {
                return unit.saturating_mul(factor);
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// When a slot begins, in words: `Mon 12:00`, `26 Nov`.
fn slot_words(resolution: Resolution, at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = at.rfc3339();
    let day = usize::try_from(at.0 / 86_400_000 % 7).unwrap_or(0);
    let month = text[5..7]
        .parse::<usize>()
        .map_or("", |month| MONTHS[month - 1]);
    match resolution {
        Resolution::Minute => text[11..16].to_owned(),
        Resolution::Hour => format!("{} {}", DAYS[day], &text[11..16]),
        Resolution::Day => format!("{} {month}", text[8..10].trim_start_matches('0')),
    }
}

/// A chart as small as a word: how many attempts failed and did not, over a day.
#[derive(Template)]
#[template(
    source = r#"<span class="spark chart"><svg viewBox="0 0 84 20" role="img" aria-label="{{ words }}">{% for bar in bars %}<rect class="bar-good" x="{{ bar.0 }}" y="{{ bar.1 }}" width="3" height="{{ bar.2 }}"/><rect class="bar-bad" x="{{ bar.0 }}" y="{{ bar.3 }}" width="3" height="{{ bar.4 }}"/>{% endfor %}<path class="base" d="M0 19.5h84"/></svg></span>"#,
    ext = "html"
)]
pub(super) struct Spark {
    words: String,
    /// x, y and height of what was delivered, y and height of what failed.
    bars: Vec<(u32, u32, u32, u32, u32)>,
}
impl HtmlSafe for Spark {}

impl Spark {
    /// Of the last 24 slots.
    pub(super) fn new(counters: &[Counter]) -> Self {
        let most = counters.iter().map(Counter::attempts).max().unwrap_or(0);
        let sum = |of: fn(&Counter) -> u64| counters.iter().map(of).sum::<u64>();
        let bars = counters.iter().enumerate().take(24).map(|(at, counter)| {
            let failed = scaled(counter.failed, most, 19);
            let good = scaled(counter.delivered, most, 19).min(19 - failed.min(19));
            let x = u32::try_from(at).unwrap_or(0) * 84 / 24;
            (x, 19 - failed - good, good, 19 - failed, failed)
        });
        Self {
            words: format!(
                "{} delivered, {} failed in 24 hours",
                number(sum(|counter| counter.delivered)),
                number(sum(|counter| counter.failed))
            ),
            bars: bars.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_round_and_holds_all() {
        for (most, want) in [
            (0, 2),
            (1, 2),
            (3, 4),
            (5, 10),
            (11, 20),
            (41, 100),
            (99_999, 100_000),
        ] {
            assert_eq!(rounded_up(most), want, "{most}");
        }
        assert!(rounded_up(u64::MAX) >= u64::MAX / 10);
    }

    #[test]
    fn what_failed_stands_on_the_base_line() {
        let counter = |delivered, failed| Counter {
            delivered,
            failed,
            ..Counter::default()
        };
        let now = Timestamp(1_795_305_600_000);
        let period = Period::new(Resolution::Hour, None, None, now).expect("a period");
        let mut counters = vec![Counter::default(); period.slots().len()];
        counters[0] = counter(3, 1);
        let chart = Chart::new("t", &period, &counters, "/zoom".to_owned(), |from, to| {
            format!("?{from}-{to}")
        });
        let bar = &chart.bars[0];
        assert_eq!(bar.failed_y + bar.failed_height, HEIGHT - BOTTOM);
        assert_eq!(bar.good_y + bar.good_height, bar.failed_y);
        assert!(
            bar.words.ends_with("3 delivered, 1 failed"),
            "{}",
            bar.words
        );
        assert_eq!(chart.rows.len(), 1, "empty slots are in no row");
        let html = chart.to_string();
        assert!(!html.contains("style="), "{html}");
        let start = period.from();
        let drag = format!("data-zoom=\"/zoom\" data-start=\"{start}\" data-slot=\"3600000\"");
        assert!(html.contains(&drag), "{html}");
    }

    #[test]
    fn a_part_of_the_time_is_drawn_as_finely_as_it_can_be() {
        let from = NOW.0;
        for (hours, want) in [
            (2, "Ok((Minute, 120))"),
            (3, "Ok((Hour, 3))"),
            (192, "Ok((Hour, 192))"),
            (193, "Ok((Day, 9))"),
            (366 * 24, "Ok((Day, 366))"),
            (366 * 24 + 1, "refused"),
            (0, "refused"),
        ] {
            let query = format!("from={from}&to={}", from + hours * HOUR_MS);
            check(&query, want);
        }
        // Minutes are kept for two days, hours for ninety.
        let day = 24 * HOUR_MS;
        for (days, want) in [
            (1, "Ok((Minute, 60))"),
            (2, "Ok((Hour, 1))"),
            (90, "Ok((Day, 1))"),
        ] {
            let from = NOW.0 - days * day;
            check(&format!("from={from}&to={}", from + HOUR_MS), want);
        }
        check("", "none");
        check(
            "from=2026-11-22T00:00&to=2026-11-22T01:00",
            "Ok((Minute, 60))",
        );
        check("from=soon&to=9", "refused");
        check("from=9", "refused");
        check("to=9", "refused");
        check(
            "from=18446744073709551000&to=18446744073709551615",
            "refused",
        );
    }

    const NOW: Timestamp = Timestamp(1_795_305_600_000);

    #[track_caller]
    fn check(query: &str, want: &str) {
        let got = match Zoom::of(&Params::of(String::new(), query), NOW) {
            Ok(None) => "none".to_owned(),
            Ok(Some(zoom)) => {
                let period = zoom.period;
                format!("Ok(({:?}, {}))", period.resolution(), period.slots().len())
            }
            Err(_) => "refused".to_owned(),
        };
        assert_eq!(got, want, "{query}");
    }

    #[test]
    fn slots_are_named_as_people_do() {
        // A Sunday.
        let at = Timestamp(1_795_305_600_000);
        for (resolution, want) in [
            (Resolution::Minute, "00:00"),
            (Resolution::Hour, "Sun 00:00"),
            (Resolution::Day, "22 Nov"),
        ] {
            assert_eq!(slot_words(resolution, at), want);
        }
    }

    #[test]
    fn a_small_chart_stays_within_its_box() {
        let counters: Vec<_> = (0..24)
            .map(|n| Counter {
                delivered: n,
                failed: 24 - n,
                ..Counter::default()
            })
            .collect();
        let spark = Spark::new(&counters);
        for (x, y, good, failed_y, failed) in spark.bars {
            assert!(x + 3 <= 84 && y + good == failed_y && failed_y + failed == 19);
        }
    }
}
