//! `hookpost jobs`: jobs by hand, whether the server runs or not.

use std::fmt::Write as _;
use std::io;

use super::reach::{Missing, Reached, reach};
use super::table::table;
use super::{
    Console, EXIT_FAILED, EXIT_OK, EXIT_USAGE, JobsArgs, JobsCommand, StoreFlags, answer, load,
};
use crate::config::Settings;
use crate::control_socket::{JobDesk, JobLine};
use crate::domain::time::Timestamp;

/// What stands where there is nothing.
const NOTHING: &str = "-";

/// Does what the command says.
pub fn run(args: JobsArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let JobsArgs {
        command,
        settings: StoreFlags { overrides },
    } = args;
    let Some(settings) = load(overrides, console)? else {
        return Ok(EXIT_USAGE);
    };
    match run_async(&settings, &command) {
        Ok(done) => done.write(console).map(|()| EXIT_OK),
        Err(error) => answer(Err(error), EXIT_FAILED, console),
    }
}

/// What was done, for people and scripts.
enum Done {
    Listed(Vec<JobLine>),
    Shown(JobLine),
    Cancelled(JobLine),
}

impl Done {
    fn write(&self, console: &mut Console<'_>) -> io::Result<()> {
        match self {
            Self::Listed(jobs) => console
                .out
                .write_all(table(HEADINGS, jobs.iter().map(row)).as_bytes()),
            Self::Shown(job) => console.out.write_all(details(job).as_bytes()),
            Self::Cancelled(job) => {
                let JobLine {
                    id, state, done, ..
                } = job;
                writeln!(console.err, "the job {id} is {state}, after {done} done")
            }
        }
    }
}

fn run_async(settings: &Settings, command: &JobsCommand) -> anyhow::Result<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match reach(settings, Missing::AMistake).await? {
            #[cfg(unix)]
            Reached::Server(mut client) => Ok(match command {
                JobsCommand::List => Done::Listed(client.list_jobs().await?),
                JobsCommand::Show { job_id } => Done::Shown(client.show_job(job_id).await?),
                JobsCommand::Cancel { job_id } => Done::Cancelled(client.cancel_job(job_id).await?),
            }),
            Reached::Alone(store, _) => {
                let done = alone(&JobDesk::new(store.clone()), command).await;
                store.close();
                done
            }
        }
    })
}

async fn alone(desk: &JobDesk, command: &JobsCommand) -> anyhow::Result<Done> {
    Ok(match command {
        JobsCommand::List => Done::Listed(desk.list()?),
        JobsCommand::Show { job_id } => Done::Shown(desk.show(job_id)?),
        JobsCommand::Cancel { job_id } => Done::Cancelled(desk.cancel(job_id).await?),
    })
}

const HEADINGS: [&str; 6] = ["ID", "KIND", "STATE", "DONE", "OF", "CREATED"];

fn row(job: &JobLine) -> [String; 6] {
    [
        job.id.clone(),
        job.kind.clone(),
        job.state.clone(),
        job.done.to_string(),
        or_nothing(job.total.map(|total| total.to_string())),
        job.created.rfc3339(),
    ]
}

fn or_nothing(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOTHING.to_owned())
}

/// A line for each thing there is to say.
fn details(job: &JobLine) -> String {
    let rate = job.rate_per_second.map(|rate| format!("{rate} a second"));
    let lines = [
        ("id", job.id.clone()),
        ("environment", job.environment.clone()),
        ("application", job.application.clone()),
        ("endpoint", or_nothing(job.endpoint.clone())),
        ("kind", job.kind.clone()),
        ("state", job.state.clone()),
        ("reason", or_nothing(job.reason.clone())),
        ("limit", or_nothing(rate)),
        (
            "total",
            or_nothing(job.total.map(|total| total.to_string())),
        ),
        ("examined", job.examined.to_string()),
        ("done", job.done.to_string()),
        ("skipped", job.skipped.to_string()),
        ("created", job.created.rfc3339()),
        ("ended", or_nothing(job.ended.map(Timestamp::rfc3339))),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        writeln!(text, "{name:11}  {value}").expect("writing to a text cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, total: Option<u64>) -> JobLine {
        JobLine {
            id: id.to_owned(),
            environment: "default".to_owned(),
            kind: "recovery".to_owned(),
            state: "running".to_owned(),
            reason: None,
            application: "app_1".to_owned(),
            endpoint: Some("ep_1".to_owned()),
            rate_per_second: Some(50),
            total,
            examined: 400,
            done: 312,
            skipped: 1,
            created: Timestamp(1_709_210_096_789),
            ended: None,
        }
    }

    #[test]
    fn the_table_is_aligned() {
        let want = "\
ID      KIND      STATE    DONE  OF    CREATED
job_1   recovery  running  312   1000  2024-02-29T12:34:56.789Z
job_22  recovery  running  312   -     2024-02-29T12:34:56.789Z
";
        let jobs = [job("job_1", Some(1000)), job("job_22", None)];
        assert_eq!(table(HEADINGS, jobs.iter().map(row)), want);
    }

    #[test]
    fn one_job_is_shown_whole() {
        let want = "\
id           job_1
environment  default
application  app_1
endpoint     ep_1
kind         recovery
state        running
reason       -
limit        50 a second
total        -
examined     400
done         312
skipped      1
created      2024-02-29T12:34:56.789Z
ended        -
";
        assert_eq!(details(&job("job_1", None)), want);
    }
}
