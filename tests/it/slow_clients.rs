//! Clients that are slow, rude or many, against the server loop over real sockets.

mod raw;

use std::time::Duration;

use hookpost::http::server::{DrainReport, ServerLimits};
use raw::{Client, PATIENCE, Server, no_limits};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(400);
const LONGER: Duration = Duration::from_millis(1500);

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "not {status}: {answer:?}"
    );
}

async fn soon(what: impl Future) {
    timeout(PATIENCE, what).await.expect("in time");
}

fn short_heads() -> ServerLimits {
    ServerLimits {
        header_time: SHORT,
        ..no_limits()
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let server = Server::start(short_heads()).await;
    let waited = server.connect().await.time_until_closed().await;
    assert!(waited >= SHORT / 2, "{waited:?}");
}

#[tokio::test]
async fn a_dribbled_head_is_closed() {
    let server = Server::start(short_heads()).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nx: ").await;
    assert_eq!(client.drip_until_closed(b"x").await, "");
}

#[tokio::test]
async fn empty_lines_are_not_a_head() {
    let server = Server::start(short_heads()).await;
    let mut client = server.connect().await;
    assert_eq!(client.drip_until_closed(b"\r\n").await, "");
}

#[tokio::test]
async fn the_http_2_preface_does_not_get_around_the_limits() {
    let server = Server::start(short_heads()).await;
    let mut client = server.connect().await;
    client.send("PRI * HT").await;
    assert_eq!(client.until_closed().await, "");
}

#[tokio::test]
async fn a_waiting_connection_outlives_the_time_for_a_head() {
    let server = Server::start(ServerLimits {
        idle_time: LONGER,
        ..short_heads()
    })
    .await;
    let mut client = server.connect().await;
    assert_status(&client.get("/").await, 200);
    let waited = client.time_until_closed().await;
    assert!(waited + SHORT >= LONGER, "{waited:?}");
}

#[tokio::test]
async fn a_later_head_has_no_more_time_than_the_first() {
    let server = Server::start(short_heads()).await;
    let mut client = server.connect().await;
    assert_status(&client.get("/").await, 200);
    client.send("GET / HTTP/1.1\r\n").await;
    assert_eq!(client.drip_until_closed(b"x").await, "");
}

#[tokio::test]
async fn the_beginning_of_a_pipelined_head_starts_its_time() {
    let server = Server::start(short_heads()).await;
    let mut client = server.connect().await;
    client
        .send("GET / HTTP/1.1\r\nhost: t\r\n\r\nGET / HT")
        .await;
    assert_status(&client.until_closed().await, 200);
}

#[tokio::test]
async fn a_slow_handler_is_not_a_slow_client() {
    let server = Server::start(ServerLimits {
        idle_time: SHORT,
        ..short_heads()
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET /gate HTTP/1.1\r\nhost: t\r\n\r\n").await;
    soon(server.signals.arrived.notified()).await;
    // Another connection's end tells that every limit has passed.
    server.connect().await.time_until_closed().await;
    server.connect().await.time_until_closed().await;
    server.signals.open.notify_one();
    assert_status(&client.answer().await, 200);
}

#[tokio::test]
async fn a_body_that_stops_is_answered_408_and_closed() {
    let server = Server::start(ServerLimits {
        body_idle: SHORT,
        ..no_limits()
    })
    .await;
    for body in [
        "content-length: 9\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut client = server.connect().await;
        client
            .send(format!("POST /echo HTTP/1.1\r\nhost: t\r\n{body}"))
            .await;
        let answer = client.until_closed().await;
        assert_status(&answer, 408);
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(
            answer.ends_with("the request body stopped coming"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_body_below_the_lowest_rate_is_answered_408() {
    let limits = ServerLimits {
        body_bytes_per_second_min: 100_000,
        body_rate_grace: SHORT,
        ..no_limits()
    };
    check_dribbled_body(limits, "came too slowly").await;
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_answered_408() {
    let limits = ServerLimits {
        body_total: SHORT,
        ..no_limits()
    };
    check_dribbled_body(limits, "took too long").await;
}

async fn check_dribbled_body(limits: ServerLimits, why: &str) {
    let server = Server::start(limits).await;
    let mut client = server.connect().await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\n")
        .await;
    let answer = client.drip_until_closed(b"x").await;
    assert_status(&answer, 408);
    assert!(answer.ends_with(why), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let server = Server::start(ServerLimits {
        write_idle: SHORT,
        ..no_limits()
    })
    .await;
    let mut client = server.connect().await;
    client
        .send("GET /endless HTTP/1.1\r\nhost: t\r\n\r\n")
        .await;
    soon(server.signals.dropped.notified()).await;
}

#[tokio::test]
async fn too_large_heads_are_answered_431() {
    let server = Server::start(no_limits()).await;
    let long = format!("x: {}\r\n", "x".repeat(33 * 1024));
    let many = "x: y\r\n".repeat(100);
    for headers in [long, many] {
        let mut client = server.connect().await;
        client
            .send(format!("GET / HTTP/1.1\r\nhost: t\r\n{headers}\r\n"))
            .await;
        assert_status(&client.until_closed().await, 431);
    }
}

#[tokio::test]
async fn heads_at_the_limits_are_served() {
    let server = Server::start(no_limits()).await;
    let long = format!("x: {}\r\n", "x".repeat(31 * 1024));
    let many = "x: y\r\n".repeat(99);
    let mut client = server.connect().await;
    for headers in [long, many] {
        client
            .send(format!("GET / HTTP/1.1\r\nhost: t\r\n{headers}\r\n"))
            .await;
        assert_status(&client.answer().await, 200);
    }
}

#[tokio::test]
async fn heads_that_could_be_read_in_two_ways_are_refused() {
    let server = Server::start(no_limits()).await;
    for (what, head) in [
        (
            "length and encoding",
            "host: t\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n",
        ),
        (
            "encoding and length",
            "host: t\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n",
        ),
        (
            "two lengths",
            "host: t\r\ncontent-length: 3\r\ncontent-length: 4\r\n",
        ),
        ("a list of lengths", "host: t\r\ncontent-length: 3, 3\r\n"),
        ("a signed length", "host: t\r\ncontent-length: +3\r\n"),
        (
            "an unknown encoding",
            "host: t\r\ntransfer-encoding: xchunked\r\n",
        ),
        (
            "an encoding before chunked",
            "host: t\r\ntransfer-encoding: gzip, chunked\r\n",
        ),
        (
            "chunked twice",
            "host: t\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ),
        ("a folded line", "host: t\r\nx: a\r\n b\r\n"),
        ("a bare CR", "host: t\r\nx: a\rb\r\n"),
        ("a NUL", "host: t\r\nx: a\0b\r\n"),
        ("a space before the colon", "host: t\r\nx : a\r\n"),
        ("no host", "x: a\r\n"),
        ("two hosts", "host: t\r\nhost: u\r\n"),
    ] {
        let mut client = server.connect().await;
        client
            .send(format!("POST /echo HTTP/1.1\r\n{head}\r\n0\r\n\r\n"))
            .await;
        let answer = client.until_closed().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn an_ambiguous_length_is_found_behind_other_requests() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    client
        .send(
            "GET / HTTP/1.1\r\nhost: t\r\n\r\n\
             POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\
             POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n\
             0\r\n\r\nGET /peer HTTP/1.1\r\nhost: t\r\n\r\n",
        )
        .await;
    let answers = client.until_closed().await;
    let statuses: Vec<_> = answers
        .match_indices("HTTP/1.1 ")
        .map(|(at, found)| &answers[at + found.len()..][..3])
        .collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answers}");
    assert!(
        answers.contains("content-type: application/problem+json"),
        "{answers}"
    );
    assert!(
        answers.contains(r#""code":"ambiguous_length""#),
        "{answers}"
    );
}

#[tokio::test]
async fn a_target_on_another_host_is_refused_and_our_own_is_made_relative() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    assert!(
        client
            .get("http://t/target?q=1")
            .await
            .ends_with("\r\n\r\n/target?q=1")
    );
    client
        .send("GET http://other/ HTTP/1.1\r\nhost: t\r\n\r\n")
        .await;
    assert_status(&client.until_closed().await, 400);
}

#[tokio::test]
async fn connect_opens_no_tunnel() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    client
        .send("CONNECT t:443 HTTP/1.1\r\nhost: t:443\r\n\r\nGET / HTTP/1.1\r\nhost: t\r\n\r\n")
        .await;
    let answer = client.until_closed().await;
    assert_status(&answer, 405);
    assert!(answer.contains("\r\nallow: GET, "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer:?}");
}

#[tokio::test]
async fn an_offered_upgrade_is_answered_as_if_it_were_not_there() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    client
        .send("GET / HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
        .await;
    assert_status(&client.answer().await, 200);
    assert_status(&client.get("/").await, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    let mut requests = String::new();
    for body in ["one", "two", "three"] {
        let length = body.len().to_string();
        requests += "POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: ";
        requests += &[length.as_str(), body].join("\r\n\r\n");
    }
    client.send(requests).await;
    for body in ["one", "two", "three"] {
        assert!(client.answer().await.ends_with(body));
    }
}

#[tokio::test]
async fn chunks_are_put_together_however_they_come() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    let request = "POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nx-sum: 1\r\n\r\n";
    client.send(request).await;
    assert!(client.answer().await.ends_with("\r\n\r\nhello world"));
    for byte in request.bytes() {
        client.send([byte]).await;
    }
    assert!(client.answer().await.ends_with("\r\n\r\nhello world"));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_continue() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert_status(&client.answer().await, 100);
    client.send("ok").await;
    assert!(client.answer().await.ends_with("ok"));
}

#[tokio::test]
async fn a_client_may_finish_sending_after_its_answer() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    let length = 3 * 1024 * 1024;
    client
        .send(format!(
            "POST /deaf HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    assert!(client.answer().await.ends_with("did not listen"));
    let sent = client.try_send("x".repeat(length)).await;
    assert!(sent.is_ok(), "{sent:?}");
    assert_eq!(client.until_closed().await, "");
}

#[tokio::test]
async fn handlers_know_the_peer() {
    let server = Server::start(no_limits()).await;
    let answer = server.connect().await.get("/peer").await;
    assert!(answer.contains("\r\n\r\n127.0.0.1:"), "{answer}");
}

#[tokio::test]
async fn many_idle_connections_do_not_stop_a_healthy_client() {
    let server = Server::start(no_limits()).await;
    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..300 {
        idle.push(server.connect().await);
    }
    assert_status(&server.connect().await.get("/").await, 200);
    assert_eq!(idle.len(), 300);
}

#[tokio::test]
async fn beyond_the_cap_a_client_waits_for_another_to_leave() {
    let server = Server::start(ServerLimits {
        connections_max: 1,
        ..no_limits()
    })
    .await;
    let mut first = server.connect().await;
    assert_status(&first.get("/").await, 200);
    let mut second = server.connect().await;
    second.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_status(&first.get("/").await, 200);
    drop(first);
    assert_status(&second.answer().await, 200);
}

#[tokio::test]
async fn a_panic_costs_only_its_own_connection() {
    let server = Server::start(ServerLimits {
        connections_max: 2,
        ..no_limits()
    })
    .await;
    let mut other = server.connect().await;
    assert_status(&other.get("/").await, 200);
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.send("GET /panic HTTP/1.1\r\nhost: t\r\n\r\n").await;
        assert_eq!(client.until_closed().await, "");
    }
    assert_status(&other.get("/").await, 200);
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_closes_what_waits() {
    let server = Server::start(no_limits()).await;
    let addr = server.addr;
    let mut idle = server.connect().await;
    assert_status(&idle.get("/").await, 200);
    let mut silent = server.connect().await;
    let mut running = server.connect().await;
    running.send("GET /gate HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let signals = server.signals.clone();
    soon(signals.arrived.notified()).await;

    let serving = server.stop();
    idle.time_until_closed().await;
    silent.time_until_closed().await;
    assert!(std::net::TcpStream::connect(addr).is_err(), "still listens");
    assert!(!serving.is_finished());

    signals.open.notify_one();
    let answer = running.until_closed().await;
    assert_status(&answer, 200);
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("passed"), "{answer}");
    assert_eq!(serving.await.unwrap(), DrainReport { cut: 0 });
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_finish() {
    let server = Server::start_with_drain(no_limits(), SHORT).await;
    let mut running = server.connect().await;
    running.send("GET /gate HTTP/1.1\r\nhost: t\r\n\r\n").await;
    soon(server.signals.arrived.notified()).await;
    let report = server.stop().await.unwrap();
    assert_eq!(report, DrainReport { cut: 1 });
    assert_eq!(running.until_closed().await, "");
}

#[tokio::test]
async fn connections_end_with_the_future_that_serves_them() {
    let server = Server::start(no_limits()).await;
    let mut client = server.connect().await;
    assert_status(&client.get("/").await, 200);
    server.abandon();
    client.time_until_closed().await;
}

#[tokio::test]
async fn the_default_limits_leave_a_quick_client_alone() {
    let server = Server::start(ServerLimits::default()).await;
    let mut client = server.connect().await;
    for _ in 0..100 {
        assert_status(&client.get("/").await, 200);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_served_the_same() {
    use hookpost::http::server::serve_unix;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let app = raw::app(std::sync::Arc::default());
    let serving = tokio::spawn(serve_unix(listener, app, no_limits(), shutdown, PATIENCE));

    let request = b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    soon(client.read_to_string(&mut answer)).await;
    assert_status(&answer, 200);
    drop(stop);
    assert_eq!(serving.await.unwrap(), DrainReport { cut: 0 });
}
