//! `hookpost users`: accounts by hand, whether the server runs or not.

use std::io;
use std::sync::Arc;

use super::reach::{Missing, Reached, reach};
use super::table::table;
use super::{
    Console, EXIT_FAILED, EXIT_OK, EXIT_USAGE, StoreFlags, UsersArgs, UsersCommand, answer, load,
};
use crate::config::Settings;
use crate::control_socket::{UserAnswer, UserDesk, UserLine, UserQuestion};
use crate::seams::clock::SystemClock;

/// Does what the command says; a link is the last line of `console.out`.
pub fn run(args: UsersArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let UsersArgs {
        command,
        settings: StoreFlags { overrides },
    } = args;
    let Some(settings) = load(overrides, console)? else {
        return Ok(EXIT_USAGE);
    };
    let how_long = match &command {
        UsersCommand::Invite { .. } => "7 days",
        _ => "one hour",
    };
    match run_async(&settings, question(command)) {
        Ok(done) => write(&done, how_long, console).map(|()| EXIT_OK),
        Err(error) => answer(Err(error), EXIT_FAILED, console),
    }
}

fn question(command: UsersCommand) -> UserQuestion {
    match command {
        UsersCommand::Invite {
            email,
            role,
            environment,
        } => UserQuestion::Invite {
            email,
            role,
            environment,
        },
        UsersCommand::ResetPassword { email } => UserQuestion::ResetPassword { email },
        UsersCommand::List => UserQuestion::List,
        UsersCommand::Remove { email } => UserQuestion::Remove { email },
    }
}

fn run_async(settings: &Settings, question: UserQuestion) -> anyhow::Result<UserAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Only an invitation may make a store.
        let missing = match question {
            UserQuestion::Invite { .. } => Missing::Made,
            _ => Missing::AMistake,
        };
        match reach(settings, missing).await? {
            #[cfg(unix)]
            Reached::Server(mut client) => client.ask_about_users(&question).await,
            Reached::Alone(store, entropy) => {
                let desk = UserDesk {
                    store: store.clone(),
                    entropy,
                    clock: Arc::new(SystemClock),
                    public_url: settings.public_url_for(settings.listen).to_string(),
                };
                let answered = desk.answer(question).await;
                store.close();
                Ok(answered?)
            }
        }
    })
}

fn write(done: &UserAnswer, how_long: &str, console: &mut Console<'_>) -> io::Result<()> {
    match done {
        UserAnswer::Link { email, url } => {
            writeln!(
                console.err,
                "give {email} this link: it lets them choose a password, works once, and for {how_long}"
            )?;
            writeln!(console.out, "{url}")
        }
        UserAnswer::List(users) => console
            .out
            .write_all(table(HEADINGS, users.iter().map(row)).as_bytes()),
        UserAnswer::Removed { email } => {
            writeln!(console.err, "removed {email}; their sessions have ended")
        }
    }
}

const HEADINGS: [&str; 5] = ["EMAIL", "ROLES", "PASSWORD", "CREATED", "LAST SIGN-IN"];

fn row(user: &UserLine) -> [String; 5] {
    let last = user.last_sign_in;
    [
        user.email.clone(),
        user.roles.clone(),
        if user.has_password { "chosen" } else { "none" }.to_owned(),
        user.created.rfc3339(),
        last.map_or_else(
            || "never".to_owned(),
            super::super::domain::time::Timestamp::rfc3339,
        ),
    ]
}
