//! The comparison of three books: the senders' ledger, the store, and what
//! arrived at the sink.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::ledger::payload;
use super::sink::{Answered, Arrival, ENDPOINTS};
use super::{Client, Ending, Figures, RETRIES, ROUTES, Series, endpoint_uid};

const READERS: usize = 3;
/// An attempt that ended this long before a kill must have been recorded.
const UNRECORDED_AGE_MAX: Duration = Duration::from_secs(2);

/// By endpoint: status and number of attempts.
type Deliveries = HashMap<usize, (String, u64)>;

/// A message in the store.
struct Kept {
    number: u64,
    deliveries: Deliveries,
}

/// An attempt in the store.
struct Recorded {
    started_ms: u64,
    status: u64,
}

/// Message id and endpoint: one delivery.
type Pair = (String, usize);

/// Adds what does not fit to `faults`, and counts the rest.
pub(super) fn audit(series: &Series, faults: &mut Vec<String>) -> Figures {
    let kept = messages(series, faults);
    let recorded = attempts(series);
    let mut arrived: HashMap<Pair, Vec<Arrival>> = HashMap::new();
    for arrival in series.sink.arrivals() {
        let pair = (arrival.message.clone(), arrival.endpoint);
        arrived.entry(pair).or_default().push(arrival);
    }
    faults.extend(series.sink.faults());
    let mut figures = Figures::default();
    totals(series, &kept, &recorded, faults);
    figures.lost = acknowledgements(series, &kept, faults);
    strangers(series, &kept, &arrived, faults);
    deliveries(&kept, &recorded, &arrived, &mut figures, faults);
    runs(series, &recorded, &arrived, &mut figures, faults);
    figures.attempts = recorded.values().map(Vec::len).sum();
    figures
}

/// Every message of the store with its deliveries, by id.
fn messages(series: &Series, faults: &mut Vec<String>) -> HashMap<String, Kept> {
    let rows = Client::new(&series.server).list("/applications/app/messages");
    let mut ids = Vec::with_capacity(rows.len());
    let mut kept = HashMap::with_capacity(rows.len());
    for row in rows {
        let id = row["id"].as_str().expect("an id").to_owned();
        let text = row["payload"].to_string();
        let number = row["payload"]["number"].as_u64().unwrap_or_default();
        if text != payload(number) {
            faults.push(format!("{id} has a payload that nobody posted"));
        }
        ids.push(id.clone());
        let deliveries = HashMap::new();
        if kept
            .insert(id.clone(), Kept { number, deliveries })
            .is_some()
        {
            faults.push(format!("{id} is listed twice"));
        }
    }
    let share = ids.len().div_ceil(READERS).max(1);
    let read: Vec<(String, Deliveries)> = thread::scope(|scope| {
        let readers: Vec<_> = ids
            .chunks(share)
            .map(|ids| scope.spawn(move || deliveries_of(series, ids)))
            .collect();
        let read = readers.into_iter().map(thread::ScopedJoinHandle::join);
        read.flat_map(|read| read.expect("a reader does not panic"))
            .collect()
    });
    for (id, deliveries) in read {
        kept.get_mut(&id).expect("it was listed").deliveries = deliveries;
    }
    kept
}

fn deliveries_of(series: &Series, ids: &[String]) -> Vec<(String, Deliveries)> {
    let mut client = Client::new(&series.server);
    let read = ids.iter().map(|id| {
        let path = format!("/applications/app/messages/{id}/endpoint-messages");
        let answer = client.get(&path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let Value::Array(rows) = answer.json() else {
            panic!("{path} is no list");
        };
        let deliveries = rows.iter().map(|row| {
            let uid = row["endpoint"]["uid"].as_str().expect("a uid");
            let status = row["status"].as_str().expect("a status").to_owned();
            let attempts = row["attemptCount"].as_u64().expect("a number");
            (endpoint_of(uid), (status, attempts))
        });
        (id.clone(), deliveries.collect())
    });
    read.collect()
}

fn endpoint_of(uid: &str) -> usize {
    (0..ENDPOINTS)
        .find(|&endpoint| endpoint_uid(endpoint) == uid)
        .expect("an endpoint of ours")
}

/// Every attempt of the store, oldest first.
fn attempts(series: &Series) -> HashMap<Pair, Vec<Recorded>> {
    let mut client = Client::new(&series.server);
    let mut recorded: HashMap<Pair, Vec<Recorded>> = HashMap::new();
    for endpoint in 0..ENDPOINTS {
        let uid = endpoint_uid(endpoint);
        let rows = client.list(&format!("/applications/app/endpoints/{uid}/attempts"));
        for row in rows.iter().rev() {
            let message = row["messageId"].as_str().expect("an id").to_owned();
            let attempt = Recorded {
                started_ms: row["timestamp"].as_u64().expect("a time"),
                status: row["statusCode"].as_u64().expect("a status"),
            };
            recorded
                .entry((message, endpoint))
                .or_default()
                .push(attempt);
        }
    }
    recorded
}

/// What the store says of itself is what can be counted.
fn totals(
    series: &Series,
    kept: &HashMap<String, Kept>,
    recorded: &HashMap<Pair, Vec<Recorded>>,
    faults: &mut Vec<String>,
) {
    let store = Client::new(&series.server).get("/store").json();
    let mut client = Client::new(&series.server);
    let told = client.get("/applications/operational-events/messages?pageSize=250");
    let told = told.json().as_array().map_or(0, Vec::len);
    assert!(told < 250, "they fit a page");
    let attempts: usize = recorded.values().map(Vec::len).sum();
    for (name, counted) in [
        ("messages", kept.len() + told),
        ("attempts", attempts),
        ("waiting", 0),
    ] {
        if store[name] != counted {
            faults.push(format!(
                "the store counts {} {name}; there are {counted}",
                store[name]
            ));
        }
    }
}

/// Every acknowledged message is there once, owed to whom it must be. Answers
/// how many are not.
fn acknowledgements(
    series: &Series,
    kept: &HashMap<String, Kept>,
    faults: &mut Vec<String>,
) -> usize {
    let ledger = &series.ledger;
    let mut lost = 0;
    for (number, (id, route)) in &ledger.acknowledged {
        match kept.get(id) {
            None => {
                lost += 1;
                faults.push(format!(
                    "message {number} ({id}) was acknowledged and is lost"
                ));
            }
            Some(found) if found.number != *number => {
                faults.push(format!("{id} is {}, not {number}", found.number));
            }
            Some(found) => {
                let mut owed: Vec<_> = found.deliveries.keys().copied().collect();
                owed.sort_unstable();
                if owed != ROUTES[*route] {
                    lost += ROUTES[*route].len().saturating_sub(owed.len());
                    faults.push(format!(
                        "{id} is owed to {owed:?}, not {:?}",
                        ROUTES[*route]
                    ));
                }
            }
        }
    }
    lost
}

/// Nothing is there that nobody posted, and nothing twice.
fn strangers(
    series: &Series,
    kept: &HashMap<String, Kept>,
    arrived: &HashMap<Pair, Vec<Arrival>>,
    faults: &mut Vec<String>,
) {
    let ledger = &series.ledger;
    let mut by_number: HashMap<u64, &str> = HashMap::new();
    for (id, found) in kept {
        let number = found.number;
        if let Some(other) = by_number.insert(number, id) {
            faults.push(format!("message {number} is there as {other} and as {id}"));
        }
        match (
            ledger.acknowledged.get(&number),
            ledger.unanswered.get(&number),
        ) {
            (Some((acknowledged, _)), _) if acknowledged == id => {}
            (Some((acknowledged, _)), _) => {
                faults.push(format!("message {number} is {acknowledged}, and also {id}"));
            }
            (None, Some(unanswered)) if unanswered.must_not_be => {
                faults.push(format!(
                    "message {number} ({id}) was kept by a server that stopped without answering"
                ));
            }
            (None, Some(unanswered)) => {
                let owed = found.deliveries.len();
                if owed != ROUTES[unanswered.route].len() {
                    faults.push(format!("message {number} ({id}) was kept in part"));
                }
            }
            (None, None) => faults.push(format!("nobody posted message {number} ({id})")),
        }
    }
    for ((id, endpoint), arrivals) in arrived {
        let number = arrivals[0].number;
        let owed = kept
            .get(id)
            .is_some_and(|found| found.number == number && found.deliveries.contains_key(endpoint));
        if !owed {
            faults.push(format!(
                "{id} (message {number}) came to endpoint {endpoint}, and the store does not owe it"
            ));
        }
    }
}

/// Every delivery has ended, as its attempts and the sink say.
fn deliveries(
    kept: &HashMap<String, Kept>,
    recorded: &HashMap<Pair, Vec<Recorded>>,
    arrived: &HashMap<Pair, Vec<Arrival>>,
    figures: &mut Figures,
    faults: &mut Vec<String>,
) {
    for (id, found) in kept {
        for (endpoint, (status, count)) in &found.deliveries {
            let pair = (id.clone(), *endpoint);
            let attempts = recorded.get(&pair).map_or(&[][..], Vec::as_slice);
            let delivered = attempts
                .iter()
                .filter(|attempt| attempt.status == 200)
                .count();
            let arrivals = arrived.get(&pair).map_or(&[][..], Vec::as_slice);
            let welcomed = arrivals
                .iter()
                .filter(|arrival| arrival.answered == Answered::Ok)
                .count();
            let fits = match status.as_str() {
                "success" => delivered == 1 && welcomed >= 1,
                "failed" => delivered == 0 && attempts.len() == RETRIES.len() + 1,
                _ => false,
            };
            if !fits || *count != attempts.len() as u64 {
                let statuses: Vec<_> = attempts.iter().map(|attempt| attempt.status).collect();
                faults.push(format!(
                    "{id} to endpoint {endpoint} is {status} after {count} attempts, {statuses:?}; \
                     it was taken {welcomed} times"
                ));
            }
            figures.delivered += usize::from(status == "success");
            figures.exhausted += usize::from(status == "failed");
            figures.duplicates += welcomed.saturating_sub(1);
        }
    }
}

/// What arrived was recorded, and what was recorded arrived, run by run.
fn runs(
    series: &Series,
    recorded: &HashMap<Pair, Vec<Recorded>>,
    arrived: &HashMap<Pair, Vec<Arrival>>,
    figures: &mut Figures,
    faults: &mut Vec<String>,
) {
    let mut unrecorded: HashMap<usize, usize> = HashMap::new();
    for (pair, arrivals) in arrived {
        let attempts = recorded.get(pair).map_or(&[][..], Vec::as_slice);
        for of_run in arrivals.chunk_by(|one, next| one.run == next.run) {
            let number = of_run[0].run;
            match missing(series, number, of_run, attempts) {
                Ok(None) => {}
                Ok(Some(age)) => {
                    figures.unrecorded_age_max = figures.unrecorded_age_max.max(age);
                    *unrecorded.entry(number).or_default() += 1;
                }
                Err(what) => faults.push(format!("{pair:?}, run {number}: {what}")),
            }
        }
    }
    figures.unrecorded = unrecorded.values().sum();
    figures.unrecorded_max = unrecorded.values().copied().max().unwrap_or(0);
    if figures.duplicates > figures.unrecorded {
        faults.push(format!(
            "{} duplicates, though only {} attempts were in flight at the kills",
            figures.duplicates, figures.unrecorded
        ));
    }
    for (pair, attempts) in recorded {
        let answered = attempts.iter().filter(|attempt| attempt.status != 0);
        let (answered, came) = (answered.count(), arrived.get(pair).map_or(0, Vec::len));
        if answered > came {
            faults.push(format!(
                "{pair:?}: {answered} attempts were answered, {came} came"
            ));
        }
    }
}

/// Whether an arrival of this delivery in this run was not recorded, and how
/// old it was when the server was killed. Only a kill may do that, and only to
/// the one attempt that was being made.
fn missing(
    series: &Series,
    run: usize,
    arrivals: &[Arrival],
    attempts: &[Recorded],
) -> Result<Option<Duration>, String> {
    let mut missing = 0;
    for (answered, status) in [(Answered::Ok, 200), (Answered::Error, 500)] {
        let came = arrivals.iter().filter(|one| one.answered == answered);
        let on_disk = attempts
            .iter()
            .filter(|one| one.status == status && series.run_at(one.started_ms) == run);
        let (came, on_disk) = (came.count(), on_disk.count());
        if on_disk > came {
            return Err(format!("{on_disk} attempts with {status}, {came} arrivals"));
        }
        missing += came - on_disk;
    }
    if missing == 0 {
        return Ok(None);
    }
    let last = arrivals.last().expect("a run of arrivals is not empty");
    let Some((Ending::Killed, at)) = series.runs[run].ended else {
        return Err(format!("{missing} arrivals unrecorded without a kill"));
    };
    let age = at.saturating_duration_since(last.at);
    if missing > 1 || age > UNRECORDED_AGE_MAX {
        return Err(format!(
            "{missing} arrivals unrecorded, the last {age:?} before the kill"
        ));
    }
    Ok(Some(age))
}
