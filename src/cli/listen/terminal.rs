//! The whole screen of a terminal.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt as _;
use ratatui::DefaultTerminal;
use tokio::sync::Semaphore;

use super::plain::forwarding;
use super::screen::{Action, Screen};
use super::text::count;
use super::{Running, browser, outcome};
use crate::relay::client::forward::Forwarder;
use crate::relay::client::lost::Ended;
use crate::relay::client::notice::NOTICES_MAX;
use crate::seams::clock::{Clock as _, SystemClock};

/// How often what moves by itself is drawn.
const TICK: Duration = Duration::from_millis(250);
/// Replays by hand that may be under way.
const REPLAYS_MAX: usize = 16;

/// Gives the terminal back as it was, however this ends. A panic does it by
/// itself before it is told, see [`ratatui::try_init`].
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the screen until the listener ends or somebody quits, and then
/// writes to `out` what is worth to stay.
pub(super) async fn show(
    mut running: Running,
    mut screen: Screen,
    out: &mut dyn Write,
) -> io::Result<Result<(), Ended>> {
    let ended = {
        let _restore = Restore;
        let mut terminal = ratatui::try_init()?;
        until_ended(&mut terminal, &mut running, &mut screen).await?
    };
    if let Some(url) = screen.url() {
        writeln!(out, "{}", forwarding(url, screen.target()))?;
    }
    let came = count(screen.came(), "event came", "events came");
    writeln!(out, "{came}")?;
    Ok(ended)
}

async fn until_ended(
    terminal: &mut DefaultTerminal,
    running: &mut Running,
    screen: &mut Screen,
) -> io::Result<Result<(), Ended>> {
    let mut keys = EventStream::new();
    let replays = Arc::new(Semaphore::new(REPLAYS_MAX));
    loop {
        terminal.draw(|frame| screen.draw(frame, SystemClock.now()))?;
        tokio::select! {
            ended = &mut running.ended => return outcome(ended),
            Some(notice) = running.notices.recv() => {
                screen.apply(notice, SystemClock.now());
                // What came together is drawn together.
                for _ in 0..NOTICES_MAX {
                    match running.notices.try_recv() {
                        Ok(notice) => screen.apply(notice, SystemClock.now()),
                        Err(_) => break,
                    }
                }
            }
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    match screen.key(key) {
                        Some(Action::Quit) => return Ok(stop(running).await),
                        Some(action) => act(action, running, screen, &replays),
                        None => {}
                    }
                }
                // Another size, for one: it is drawn anew.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(stop(running).await),
            },
            () = SystemClock.sleep(TICK), if screen.moves() => {}
        }
    }
}

/// Lets the listener say good-bye to the server. Its last notices are of no use.
async fn stop(running: &mut Running) -> Result<(), Ended> {
    running.notices.close();
    running.stop.take();
    match (&mut running.ended).await {
        Ok(ended) => ended,
        Err(_) => Ok(()),
    }
}

fn act(action: Action, running: &Running, screen: &mut Screen, replays: &Arc<Semaphore>) {
    match action {
        Action::Quit => {}
        Action::Open(page) => {
            if let Err(error) = browser::open(&page) {
                screen.say(format!(
                    "no browser could be opened ({error}); the page is {page}"
                ));
            }
        }
        Action::Replay { head, body } => match Arc::clone(replays).try_acquire_owned() {
            Err(_) => screen.say("enough replays are under way; wait for an answer".to_owned()),
            Ok(turn) => {
                let forwarder: Arc<Forwarder> = Arc::clone(&running.forwarder);
                tokio::spawn(async move {
                    forwarder.replay(&head, body).await;
                    drop(turn);
                });
            }
        },
    }
}
