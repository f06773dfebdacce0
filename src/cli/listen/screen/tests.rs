//! The screen, drawn into memory.

use std::time::Duration;

use crossterm::event::KeyEvent;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::rows::{ROWS_MAX, WHOLE_BYTES_MAX};
use super::*;
use crate::cli::listen::bytes::SHOWN_BYTES_MAX;
use crate::relay::client::notice::{Answer, Answered, Arrived, Outcome};

const NOW: Timestamp = Timestamp(1_795_305_600_000);

fn head(number: u64) -> Head {
    Head {
        number,
        id: format!("rcv_{number}"),
        method: "POST".to_owned(),
        below: String::new(),
        path: format!("/webhook/{number}"),
        event_type: Some("invoice.paid".to_owned()),
        headers: vec![("x-a".to_owned(), b"1\x1b[2J".to_vec())],
        body_bytes: 0,
        at: NOW,
        replay_of: None,
    }
}

fn arrived(number: u64, body: impl Into<Bytes>) -> Notice {
    let body = body.into();
    let head = Head {
        body_bytes: body.len(),
        ..head(number)
    };
    Notice::Arrived(Arrived {
        head: Arc::new(head),
        body,
    })
}

fn answered(number: u64, outcome: Outcome) -> Notice {
    Notice::Answered(Answered {
        head: Arc::new(head(number)),
        outcome,
        took: Duration::from_millis(7),
    })
}

fn listening() -> Notice {
    Notice::Listening(Listening {
        url: "http://h/in/c_1/".to_owned(),
        view: Some("http://h/view".to_owned()),
        waiting: 0,
    })
}

fn screen(notices: impl IntoIterator<Item = Notice>) -> Screen {
    let mut screen = Screen::new("http://l:1/webhook".to_owned());
    for notice in notices {
        screen.apply(notice, NOW);
    }
    screen
}

fn drawn_at(screen: &mut Screen, columns: u16, lines: u16, now: Timestamp) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| screen.draw(frame, now)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells = (0..columns).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..lines).map(line).collect()
}

fn drawn(screen: &mut Screen) -> String {
    drawn_at(screen, 110, 14, NOW).join("\n")
}

fn press(screen: &mut Screen, code: KeyCode) -> Option<Action> {
    screen.key(KeyEvent::from(code))
}

fn type_keys(screen: &mut Screen, keys: &str) {
    for key in keys.chars() {
        assert_eq!(press(screen, KeyCode::Char(key)), None, "{key}");
        drawn(screen);
    }
}

fn selected(screen: &Screen) -> u64 {
    screen.row().unwrap().head.number
}

#[test]
fn the_connection_is_told_as_it_is() {
    let mut screen = screen([]);
    assert!(drawn(&mut screen).contains("Connection  connecting"));
    assert!(drawn(&mut screen).contains("Nothing has come yet"));
    screen.apply(listening(), NOW);
    let shown = drawn(&mut screen);
    assert!(shown.contains("Public URL  http://h/in/c_1/"), "{shown}");
    assert!(shown.contains("Target      http://l:1/webhook"), "{shown}");
    assert!(shown.contains("connected, 0 events"), "{shown}");
    let away = Away {
        reason: "reset\u{7}".to_owned(),
        next_try: Duration::from_secs(5),
        lost: true,
    };
    screen.apply(Notice::Away(away), NOW);
    assert!(screen.moves());
    for (after_ms, want) in [(0, "in 5 s"), (1500, "in 4 s"), (5000, "now")] {
        let now = NOW.plus(Duration::from_millis(after_ms));
        let shown = drawn_at(&mut screen, 100, 12, now).join("\n");
        let want = format!("away, trying again {want}: reset\\u{{7}}");
        assert!(shown.contains(&want), "{after_ms}: {shown}");
    }
    screen.apply(Notice::Back, NOW);
    assert!(drawn(&mut screen).contains("connected, 0 events"));
    assert!(!screen.moves());
}

#[test]
fn an_event_is_a_line_that_says_how_it_ended() {
    let answer = Answer {
        status: 201,
        ..Answer::default()
    };
    let mut screen = screen([
        listening(),
        arrived(1, "a"),
        arrived(2, "a"),
        arrived(3, "a"),
        answered(1, Outcome::Answer(answer)),
        answered(2, Outcome::Failed("refused\u{1b}".to_owned())),
    ]);
    screen.apply(
        Notice::Repeated {
            id: "rcv_1".to_owned(),
        },
        NOW,
    );
    let shown = drawn_at(&mut screen, 140, 12, NOW);
    for (line, want) in [
        (
            4,
            &[
                "POST",
                "201",
                "invoice.paid",
                "/webhook/1",
                "7 ms",
                "came 1 more time",
            ][..],
        ),
        (5, &["POST", "502", "/webhook/2", "refused\\u{1b}"]),
        (6, &["POST", "...", "/webhook/3"]),
    ] {
        for want in want {
            assert!(shown[line].contains(want), "{want}: {}", shown[line]);
        }
    }
}

#[test]
fn the_selection_follows_the_newest_until_it_is_moved() {
    let mut screen = screen((1..=30).map(|number| arrived(number, "a")));
    drawn(&mut screen);
    assert_eq!(selected(&screen), 30);
    screen.apply(arrived(31, "a"), NOW);
    assert_eq!(selected(&screen), 31);
    type_keys(&mut screen, "kk");
    assert_eq!(selected(&screen), 29);
    screen.apply(arrived(32, "a"), NOW);
    assert_eq!(selected(&screen), 29, "it stays");
    assert!(drawn(&mut screen).contains("/webhook/29"));
    for (code, want) in [
        (KeyCode::Char('g'), 1),
        (KeyCode::PageDown, 10),
        (KeyCode::Down, 11),
        (KeyCode::PageUp, 2),
        (KeyCode::Up, 1),
        (KeyCode::Up, 1),
        (KeyCode::Char('G'), 32),
    ] {
        press(&mut screen, code);
        let shown = drawn(&mut screen);
        assert_eq!(selected(&screen), want, "{code:?}");
        assert!(shown.contains(&format!("/webhook/{want}")), "{shown}");
    }
    screen.apply(arrived(33, "a"), NOW);
    assert_eq!(selected(&screen), 33, "it follows again");
}

#[test]
fn the_detail_has_all_of_an_event_and_scrolls() {
    let answer = Answer {
        status: 200,
        headers: vec![("set-cookie".to_owned(), b"a=b".to_vec())],
        body: Bytes::from_static(b"\x00\x01"),
    };
    let mut screen = screen([
        arrived(1, r#"{"n":[1,2]}"#),
        answered(1, Outcome::Answer(answer)),
    ]);
    press(&mut screen, KeyCode::Enter);
    let all = drawn_at(&mut screen, 80, 40, NOW).join("\n");
    for want in [
        "#1  POST /webhook/1",
        "rcv_1  type invoice.paid",
        "x-a: 1\\u{1b}[2J",
        "  \"n\": [",
        "200 after 7 ms",
        "set-cookie: a=b",
        "00000000  00 01",
    ] {
        assert!(all.contains(want), "{want}: {all}");
    }
    assert!(!drawn(&mut screen).contains("00000000  00 01"));
    press(&mut screen, KeyCode::End);
    assert!(drawn(&mut screen).contains("00000000  00 01"));
    press(&mut screen, KeyCode::Home);
    assert!(drawn(&mut screen).contains("#1  POST"));
    let wide = drawn_at(&mut screen, 160, 30, NOW).join("\n");
    assert!(wide.contains("q quit") && wide.matches("/webhook/1").count() == 2);
    press(&mut screen, KeyCode::Esc);
    assert!(screen.detail.is_none());
}

#[test]
fn long_lines_go_on_in_the_next_one() {
    let mut screen = screen([arrived(1, format!("{}END", "\u{20ac}".repeat(200)))]);
    press(&mut screen, KeyCode::Char('d'));
    let shown = drawn_at(&mut screen, 60, 30, NOW).join("\n");
    assert!(shown.contains("END"), "{shown}");
    // Smaller than any layout: nothing to see, and no panic.
    for (columns, lines) in [(1, 1), (2, 5), (10, 2)] {
        drawn_at(&mut screen, columns, lines, NOW);
    }
}

#[test]
fn keys_ask_for_replays_pages_and_the_end() {
    let mut screen = screen([listening()]);
    assert_eq!(
        press(&mut screen, KeyCode::Char('o')),
        Some(Action::Open("http://h/view".to_owned()))
    );
    assert_eq!(press(&mut screen, KeyCode::Char('r')), None);
    assert_eq!(press(&mut screen, KeyCode::Enter), None);
    assert!(screen.detail.is_none(), "there is nothing to show");
    screen.apply(arrived(1, "abc"), NOW);
    let Some(Action::Replay { head, body }) = press(&mut screen, KeyCode::Char('r')) else {
        panic!("no replay");
    };
    assert_eq!((head.number, &body[..]), (1, &b"abc"[..]));
    assert_eq!(
        press(&mut screen, KeyCode::Char('o')),
        Some(Action::Open("http://h/view/received/rcv_1".to_owned()))
    );
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(screen.key(control_c), Some(Action::Quit));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Some(Action::Quit));
    let replay = Head {
        replay_of: Some(1),
        ..super::tests::head(2)
    };
    screen.apply(
        Notice::Arrived(Arrived {
            head: Arc::new(replay),
            body: Bytes::new(),
        }),
        NOW,
    );
    assert!(drawn_at(&mut screen, 140, 12, NOW)[5].contains("replay of #1"));
    assert_eq!(screen.came(), 1);
}

#[test]
fn only_so_many_events_and_bytes_are_kept() {
    let number = ROWS_MAX as u64 + 10;
    let mut kept = screen((1..=number).map(|number| arrived(number, "a")));
    assert_eq!(kept.rows.len(), ROWS_MAX);
    assert_eq!(kept.came(), number);
    type_keys(&mut kept, "g");
    assert_eq!(selected(&kept), 11);
    kept.apply(arrived(number + 1, "a"), NOW);
    assert_eq!(selected(&kept), 12, "the oldest one takes its place");

    let large = Bytes::from(vec![b'x'; WHOLE_BYTES_MAX / 2 + 1]);
    let mut screen = screen([arrived(1, large.clone()), arrived(2, large)]);
    type_keys(&mut screen, "g");
    assert_eq!(screen.row().unwrap().body.len(), SHOWN_BYTES_MAX);
    assert_eq!(press(&mut screen, KeyCode::Char('r')), None);
    assert!(drawn(&mut screen).contains("its body is not kept any more"));
    type_keys(&mut screen, "G");
    assert!(press(&mut screen, KeyCode::Char('r')).is_some());
}
