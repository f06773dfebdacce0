//! Rows of the Markdown table, the goals beside them, and the line about the machine.

use std::fmt::Write as _;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Median and tail of many times, in ms.
#[derive(Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Latency {
    /// Of times in nanoseconds; `None` when there are none.
    pub(crate) fn of(mut times_ns: Vec<u64>) -> Option<Self> {
        times_ns.sort_unstable();
        let last = times_ns.len().checked_sub(1)?;
        // Nearest rank: the smallest time that at least this share of all does not exceed.
        let at = |percent: usize| {
            let rank = (times_ns.len() * percent).div_ceil(100);
            ratio(times_ns[rank.saturating_sub(1).min(last)], 1_000_000)
        };
        Some(Self {
            p50_ms: at(50),
            p95_ms: at(95),
            p99_ms: at(99),
        })
    }
}

/// A figure with the limit set for it, or without one when it is only told.
pub(crate) struct Goal {
    text: String,
    met: Option<bool>,
}

impl Goal {
    /// `value` should not exceed `limit`; a figure the server does not give is shown as n/a.
    pub(crate) fn at_most(what: &str, value: Option<f64>, limit: f64, unit: &str) -> Self {
        let shown = value.map_or_else(|| "n/a".to_owned(), decimal);
        Self {
            text: format!("{what} {shown} (≤ {} {unit})", decimal(limit)),
            met: value.map(|value| value <= limit),
        }
    }

    /// `value` should reach `limit`.
    pub(crate) fn at_least(what: &str, value: Option<f64>, limit: f64, unit: &str) -> Self {
        let shown = value.map_or_else(|| "n/a".to_owned(), decimal);
        Self {
            text: format!("{what} {shown} (≥ {} {unit})", decimal(limit)),
            met: value.map(|value| value >= limit),
        }
    }

    /// A figure nobody set a limit for.
    pub(crate) fn told(text: String) -> Self {
        Self { text, met: None }
    }
}

/// One line of the table; what a scenario does not measure stays empty.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) accepted_per_s: Option<f64>,
    pub(crate) delivered_per_s: Option<f64>,
    pub(crate) latency: Option<Latency>,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) live_bytes: Option<f64>,
    pub(crate) goals: Vec<Goal>,
}

/// Prints as it goes, so that a long run shows where it is.
#[derive(Default)]
pub(crate) struct Report {
    failures: Vec<String>,
    missed: usize,
}

impl Report {
    /// Prints what comes before the rows.
    pub(crate) fn begin(kind: &str) -> Self {
        println!("{}\n", machine());
        println!(
            "{kind}. Times in ms; CPU is the server's user and system time in µs; memory in MiB.\n"
        );
        println!(
            "| scenario | accepted/s | delivered/s | p50 | p95 | p99 | CPU µs/msg | peak RSS \
             | live bytes/msg | goal | met? |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|---|");
        Self::default()
    }

    pub(crate) fn row(&mut self, row: &Row) {
        self.missed += row.goals.iter().filter(|g| g.met == Some(false)).count();
        let latency = |part: fn(Latency) -> f64| cell(row.latency.map(part));
        let goals: Vec<&str> = row.goals.iter().map(|goal| goal.text.as_str()).collect();
        let met: Vec<&str> = row.goals.iter().map(met_word).collect();
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.name,
            cell(row.accepted_per_s),
            cell(row.delivered_per_s),
            latency(|l| l.p50_ms),
            latency(|l| l.p95_ms),
            latency(|l| l.p99_ms),
            cell(row.cpu_us),
            cell(row.peak_bytes.map(mebibytes)),
            cell(row.live_bytes),
            goals.join("; "),
            met.join(", "),
        );
    }

    pub(crate) fn failure(&mut self, scenario: &str, error: &anyhow::Error) {
        eprintln!("{scenario} failed: {error:#}");
        self.failures.push(format!("{scenario}: {error:#}"));
    }

    /// Prints what failed and returns whether everything could be measured.
    pub(crate) fn end(self) -> bool {
        println!("\nGoals missed: {}.", self.missed);
        for failure in &self.failures {
            println!("- failed: {}", failure.replace('\n', "\n  "));
        }
        self.failures.is_empty()
    }
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    ratio(bytes, 1) / MEBIBYTE
}

/// One number over another, as a fraction.
#[expect(
    clippy::cast_precision_loss,
    reason = "a measured figure has no 15 digits"
)]
pub(crate) fn ratio(value: u64, by: u64) -> f64 {
    value as f64 / by as f64
}

fn met_word(goal: &Goal) -> &'static str {
    match goal.met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "–",
    }
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, decimal)
}

/// Three figures that count, thousands set apart.
fn decimal(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let plain = format!("{value:.digits$}");
    let whole_digits = plain.find('.').unwrap_or(plain.len());
    let mut text = String::with_capacity(plain.len() + 4);
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && index < whole_digits && (whole_digits - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let field = |path, name: &str| {
        let text = read(path);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.trim_start_matches([':', ' ', '\t']).to_owned())
    };
    let unknown = || "unknown".to_owned();
    let mut line = String::from("Machine: ");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_else(unknown);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    write!(
        line,
        "{cores} cores, {model}, memory {memory}, Linux {}, load average {} at the start. \
         Server, loader and sink share the cores.",
        kernel.trim(),
        load.join(" ")
    )
    .expect("writing to a string cannot fail");
    line
}
