//! Jobs: what goes on for longer than a page.

use askama::Template;

use super::endpoints::{answer, back};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Can, Frame, Kind, Tab};
use super::parts::{ApiCall, Id, Moment, Tag, counted, number};
use super::place::Place;
use crate::domain::ids::JobKey;
use crate::domain::job::{Job, JobKind};
use crate::http::paging::Params;

/// Jobs on a page.
const PAGE: usize = 50;

struct Row {
    href: String,
    kind: &'static str,
    tag: Tag,
    progress: String,
    to: String,
    started: Moment,
}

/// What a job is called on pages.
fn words(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Recovery => "Recover failed",
        JobKind::Backfill => "Replay missing",
        JobKind::Replay => "Replay",
        JobKind::Erasure => "Erase content",
    }
}

fn tag(job: &Job) -> Tag {
    match job.state.name() {
        "running" => Tag::new(Kind::Wait, "Running"),
        "finished" => Tag::new(Kind::Good, "Finished"),
        "cancelled" => Tag::new(Kind::Idle, "Cancelled"),
        _ => Tag::new(Kind::Bad, "Failed"),
    }
}

fn done(job: &Job) -> String {
    match job.total {
        Some(total) => format!("{} of {}", number(job.progress.done), number(total)),
        None => number(job.progress.done),
    }
}

/// The URL of a job's endpoint, if it has one.
fn url_of(place: &Place, job: &Job) -> Result<String, Failure> {
    let entry = place.state.store.application(job.application)?;
    let live = job
        .endpoint
        .and_then(|key| entry.as_ref()?.endpoint(key).cloned());
    Ok(live.map_or_else(String::new, |live| live.settings.url.clone()))
}

#[derive(Template)]
#[template(path = "dashboard/jobs/index.html")]
struct IndexPage {
    frame: Frame,
    rows: Vec<Row>,
    older: Option<String>,
    again: bool,
    api: ApiCall,
}

/// `GET /jobs`
pub(super) async fn index(place: Place, params: Params) -> Answered {
    let store = &place.state.store;
    let before = params.parsed("before", "the id of a job", |text| store.ids().parse(text))?;
    let (jobs, next) = store.list_jobs(place.scope(), None, before, PAGE)?;
    let mut rows = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let base = place.application_base(&place.id(job.application));
        rows.push(Row {
            href: format!("{base}/jobs/{}", place.id(job.key)),
            kind: words(job.selection.kind),
            tag: tag(job),
            progress: done(job),
            to: url_of(&place, job)?,
            started: Moment::new(job.created, place.now),
        });
    }
    let page = IndexPage {
        frame: Frame::new(&place, Tab::Elsewhere, &[], "Jobs"),
        again: jobs.iter().any(Job::runs),
        rows,
        older: next.map(|next| place.link(&format!("/jobs?before={}", place.id(next)))),
        api: ApiCall::new("api-jobs", "GET", &place.api("/jobs"), None),
    };
    answer(&page)
}

#[derive(Template)]
#[template(path = "dashboard/jobs/show.html")]
struct ShowPage {
    frame: Frame,
    can: Can,
    kind: &'static str,
    id: Id,
    tag: Tag,
    done: u64,
    total: Option<u64>,
    words: String,
    to: String,
    started: Moment,
    since: Option<Moment>,
    runs: bool,
    cancel: String,
    failed: String,
    api: ApiCall,
}

/// `GET /jobs/{job}`
pub(super) async fn show(place: Place) -> Answered {
    let job = found(&place)?;
    let id = place.id(job.key);
    let trail = [("Jobs", "/jobs".to_owned())];
    let to = url_of(&place, &job)?;
    let page = ShowPage {
        frame: Frame::new(&place, Tab::Elsewhere, &trail, words(job.selection.kind)),
        can: place.can(),
        kind: words(job.selection.kind),
        tag: tag(&job),
        done: job.progress.done,
        total: job.total,
        words: format!(
            "{} put into the queue{}",
            counted(job.progress.done, "delivery", "deliveries"),
            job.total.map_or_else(String::new, |total| format!(
                ", of {} counted",
                number(total)
            ))
        ),
        to,
        started: Moment::new(job.created, place.now),
        since: (job.since.0 > 0).then(|| Moment::new(job.since, place.now)),
        runs: job.runs(),
        cancel: place.link(&format!("/jobs/{id}/cancellations")),
        failed: place.link("/attempts?trigger=manual"),
        api: ApiCall::new("api-job", "GET", &place.api(&format!("/jobs/{id}")), None),
        id: Id::new(id).whole(),
    };
    answer(&page)
}

fn found(place: &Place) -> Result<Job, Failure> {
    let store = &place.state.store;
    let key: Option<JobKey> = store.ids().parse(place.name("job"));
    let missing = || Failure::not_found("job");
    let found = store.find_job(place.scope(), key.ok_or_else(missing)?)?;
    found.ok_or_else(missing)
}

/// `POST /jobs/{job}/cancellations`
pub(super) async fn cancel(place: Place, _: Form) -> Answered {
    let job = found(&place)?;
    let control = place.state.control();
    control.cancel_job(place.principal, job.key, None).await?;
    let to = place.link(&format!("/jobs/{}", place.id(job.key)));
    Ok(back(&to, "cancelled"))
}
