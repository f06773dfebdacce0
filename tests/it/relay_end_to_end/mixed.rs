//! Requests and answers of every kind, each made from its number alone.

use super::scene::{NUMBER, TOKEN};
use super::wire::Message;

/// The largest body that the server takes by default.
const LARGE_BYTES: usize = 2_000_000;
const METHODS: [&str; 8] = [
    "POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS", "X-ODD!",
];
const PATHS: [&str; 8] = [
    "",
    "/",
    "/a/b/",
    "/a%20b//c",
    "/%ff%00",
    "/a;b=c,d/@:$'()*+",
    "/a%2e%2e%2fx",
    "/~a|b",
];
const QUERIES: [&str; 6] = [
    "",
    "?a=1&a=2",
    "?",
    "?%ff&=&&",
    "?q=a+b%20c/d?e",
    "?a[]={b|c}",
];
const STATUSES: [&str; 16] = [
    "200", "201", "202", "204", "206", "301", "304", "400", "404", "410", "418", "429", "500",
    "502", "503", "599",
];

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn of(number: usize, side: u64) -> Self {
        Self((number as u64) << 8 | side)
    }

    /// Source: splitmix64.
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a limit is small");
        usize::try_from(self.roll() % limit).expect("it is below a limit")
    }

    fn of_these<'a>(&mut self, these: &[&'a str]) -> &'a str {
        these[self.below(these.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.roll().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Nothing, JSON, or any bytes.
    fn body(&mut self, large: bool) -> Vec<u8> {
        if large {
            return self.bytes(LARGE_BYTES);
        }
        match self.below(4) {
            0 => Vec::new(),
            1 => format!(
                r#"{{"type":"a.b","text":"\u00e4 ä € 😀","n":{}}}"#,
                self.roll()
            )
            .into(),
            2 => (0..=255).collect(),
            _ => {
                let length = self.below(20_000);
                self.bytes(length)
            }
        }
    }

    /// Names and values at the edges of what HTTP permits, some repeated.
    fn headers(&mut self, mut message: Message) -> Message {
        let visible_and_beyond: Vec<u8> = (b' '..=b'~').chain(0x80..=0xff).collect();
        let odd = self.below(visible_and_beyond.len());
        let repeats = self.below(4);
        message = message
            .with(
                "Content-Type",
                self.of_these(&["application/json", "a/b; c=\"d\"", "x"]),
            )
            .with("X-!#$%&'*+-.^_`|~9", visible_and_beyond[odd..].trim_ascii())
            .with("x-tab", "a\tb")
            .with("x-empty", "")
            .with("X-Long", "l".repeat(self.below(3_000)))
            .with("x-utf-8", "ä€😀");
        for turn in 0..repeats {
            let name = if turn % 2 == 0 { "x-twice" } else { "X-Twice" };
            message = message
                .with(name, (turn % 2).to_string())
                .with("x-between", turn.to_string());
        }
        message
    }
}

/// What is sent as the `number`th, and is `large` or not.
pub(super) fn request(number: usize, large: bool) -> Message {
    let mut dice = Dice::of(number, 0);
    let (method, below) = (dice.of_these(&METHODS), below(&mut dice));
    let body = dice.body(large);
    let request = Message::new(format!("{method} /in/{TOKEN}{below}"), body);
    dice.headers(request.with(NUMBER, number.to_string()))
        .with("Authorization", "Bearer of-the-sender")
        .with("accept-encoding", "gzip, br")
        .with("user-agent", "a sender (1.0)")
        .with("x-forwarded-for", "192.0.2.1, 192.0.2.2")
        .with("x-hub-signature-256", "sha256=00")
        .with("hookpost-event-type", "a.b")
        .with("via", "1.1 somewhere")
}

fn below(dice: &mut Dice) -> String {
    let path = dice.of_these(&PATHS);
    format!("{path}{}", dice.of_these(&QUERIES))
}

/// How the program sees what was sent, when its place is `/hook`.
pub(super) fn arrives(sent: Message) -> Message {
    let (method, target) = sent.first.split_once(' ').expect("both are there");
    let below = target.strip_prefix(&format!("/in/{TOKEN}"));
    let below = below.expect("it was sent to the inbox");
    // The place of the program is all of the path when nothing is below it.
    let below = match below.strip_prefix('/') {
        Some(rest) if rest.is_empty() || rest.starts_with('?') => rest,
        _ => below,
    };
    let first = format!("{method} /hook{below}");
    Message { first, ..sent }.end_to_end()
}

/// What the program answers; `large` as the request is, by its other half.
pub(super) fn answer(number: usize, large: bool, method: &str) -> Message {
    let mut dice = Dice::of(number, 1);
    let status = dice.of_these(&STATUSES);
    let has_body = method != "HEAD" && status != "204" && status != "304";
    let body = if has_body {
        dice.body(large)
    } else {
        Vec::new()
    };
    let answer = Message::new(status, body).with("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    dice.headers(answer)
        .with("location", "/elsewhere?x=%20")
        .with("etag", "W/\"1\"")
        .with("Retry-After", "7")
        .with("www-authenticate", "Basic realm=\"a\"")
        .with("www-authenticate", "Bearer")
}
