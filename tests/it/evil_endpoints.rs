//! The transport against endpoints that stall, lie, break off and flood.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

mod zoo;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hookpost::domain::address::EndpointUrl;
use hookpost::domain::attempt::{
    CapturedResponse, Exchange, Outcome, RESPONSE_BODY_KEPT_BYTES, Timing,
};
use hookpost::engine::transport::INFORMATIONAL_MAX;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use zoo::{CountingDialler, OK, SHORT, SOON, Sender, Step, Zoo};

const HOST: &str = "hooks.example.com";

fn write(bytes: impl AsRef<[u8]>) -> Step {
    Step::Write(bytes.as_ref().to_vec())
}

/// Reads a request, answers with `bytes`, and closes.
fn answer_and_close(bytes: impl AsRef<[u8]>) -> Vec<Step> {
    vec![Step::Read, write(bytes), Step::Close]
}

/// Reads a request, answers with `bytes`, and keeps the connection open.
fn answer_and_stay(bytes: impl AsRef<[u8]>) -> Vec<Step> {
    vec![Step::Read, write(bytes)]
}

/// One request to a server that plays `script` on every connection.
async fn meet(script: Vec<Step>) -> (Exchange, Zoo) {
    let zoo = Zoo::open(vec![script]).await;
    (Sender::local().send_to(&zoo).await, zoo)
}

/// One request with a short deadline, which the server is expected to outwait.
async fn outwait(script: Vec<Step>) -> (Exchange, Zoo) {
    let zoo = Zoo::open(vec![script]).await;
    let exchange = Sender::local()
        .send(&zoo.url("http", "127.0.0.1"), SHORT)
        .await;
    let spent = Duration::from_micros(exchange.timing.total_us.into());
    assert!(spent >= SHORT && spent < SOON, "{spent:?}");
    (exchange, zoo)
}

#[track_caller]
fn check(exchange: &Exchange, name: &str, words: &str) {
    let outcome = &exchange.outcome;
    assert_eq!(outcome.name(), name, "{outcome:?}");
    let detail = outcome.detail().unwrap_or_default();
    assert!(detail.contains(words), "{detail:?} without {words:?}");
    assert_eq!(exchange.response, None);
}

#[track_caller]
fn check_response(exchange: &Exchange, status: u16) -> &CapturedResponse {
    assert_eq!(exchange.outcome, Outcome::Response { status });
    exchange.response.as_ref().unwrap()
}

#[tokio::test]
async fn a_request_goes_out_as_given() {
    let (exchange, zoo) = meet(answer_and_stay(OK)).await;
    let response = check_response(&exchange, 200);
    assert_eq!(response.body, b"ok");
    assert!(!response.truncated);
    assert_eq!(
        response.headers,
        [("content-length".to_owned(), b"2".to_vec())]
    );
    let request = String::from_utf8(zoo.requests().remove(0)).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().collect();
    lines.sort_unstable();
    let host = format!("host: {}", zoo.address);
    let want = [
        "POST /in?x=1 HTTP/1.1",
        "content-length: 7",
        &host,
        "webhook-id: msg_1",
    ];
    assert_eq!(lines, want);
    assert_eq!(body, "{\"n\":1}");
}

#[tokio::test]
async fn silence_times_out_and_the_connection_is_dropped() {
    let (exchange, zoo) = outwait(vec![Step::Read]).await;
    check(&exchange, "timedOut", "no answer came within 300 ms");
    assert_eq!(exchange.peer, Some(zoo.address));
    assert!(exchange.timing.connect_us > 0);
    zoo.closed(1).await;
}

#[tokio::test]
async fn a_dripping_head_times_out() {
    let head = [b"HTTP/1.1 200 OK\r\nx: ", [b'y'; 1000].as_slice()].concat();
    let (exchange, zoo) = outwait(vec![Step::Read, Step::Drip(head)]).await;
    check(&exchange, "timedOut", "no answer came");
    zoo.closed(1).await;
}

#[tokio::test]
async fn an_endless_body_is_cut_and_the_status_counts() {
    let script = vec![
        Step::Read,
        write("HTTP/1.1 200 OK\r\n\r\n"),
        Step::Flood(vec![b'x'; 8192]),
    ];
    let (exchange, zoo) = meet(script).await;
    let response = check_response(&exchange, 200);
    assert_eq!(response.body, vec![b'x'; RESPONSE_BODY_KEPT_BYTES]);
    assert!(response.truncated);
    zoo.closed(1).await;
}

#[tokio::test]
async fn a_dripping_body_is_cut_at_the_deadline_and_the_status_counts() {
    let script = vec![
        Step::Read,
        write("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n"),
        Step::Drip(vec![b'x'; 1000]),
    ];
    let (exchange, zoo) = outwait(script).await;
    let response = check_response(&exchange, 200);
    assert!(response.truncated);
    assert!(response.body.starts_with(b"x"));
    zoo.closed(1).await;
}

#[tokio::test]
async fn a_body_longer_than_what_is_kept_is_marked_and_its_connection_reused() {
    let body = vec![b'x'; RESPONSE_BODY_KEPT_BYTES + 1];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let response = [head.as_bytes(), &body].concat();
    let zoo = Zoo::open(vec![
        [answer_and_stay(response), answer_and_stay(OK)].concat(),
    ])
    .await;
    let sender = Sender::local();
    let exchange = sender.send_to(&zoo).await;
    let response = check_response(&exchange, 200);
    assert_eq!(response.body.len(), RESPONSE_BODY_KEPT_BYTES);
    assert!(response.truncated);
    check_response(&sender.send_to(&zoo).await, 200);
    assert_eq!(zoo.connections(), 1);
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let many = "x: y\r\n".repeat(101);
    let large = format!("x: {}\r\n", "y".repeat(70_000));
    for head in [
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        format!("HTTP/1.1 200 OK\r\n{large}\r\n"),
        format!("HTTP/1.1 200 {}\r\n\r\n", "K".repeat(1 << 20)),
    ] {
        let (exchange, zoo) = meet(vec![Step::Read, write(&head)]).await;
        check(&exchange, "protocol", "larger than 64 KB");
        zoo.closed(1).await;
    }
}

#[tokio::test]
async fn a_hundred_headers_are_fine() {
    let head = format!("HTTP/1.1 204 No Content\r\n{}\r\n", "x: y\r\n".repeat(100));
    let (exchange, _zoo) = meet(answer_and_stay(head)).await;
    assert_eq!(check_response(&exchange, 204).headers.len(), 100);
}

#[tokio::test]
async fn a_break_before_the_status_is_a_reset() {
    for (script, words) in [
        (vec![Step::Read, Step::Close], "closed"),
        (vec![Step::Read, Step::Abrupt, Step::Close], "reset"),
        (answer_and_close("HTTP/1.1 200 OK\r\nx: "), "closed"),
    ] {
        let (exchange, zoo) = meet(script).await;
        check(&exchange, "reset", words);
        assert_eq!(exchange.peer, Some(zoo.address));
        assert!(exchange.timing.connect_us > 0);
        assert_eq!(
            zoo.connections(),
            1,
            "a fresh connection is not tried twice"
        );
    }
}

#[tokio::test]
async fn a_break_after_the_status_keeps_the_status() {
    let script = vec![
        Step::Read,
        write("HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nhalf"),
        Step::Close,
    ];
    let (exchange, _zoo) = meet(script).await;
    let response = check_response(&exchange, 202);
    assert_eq!(response.body, b"half");
    assert!(response.truncated);
}

#[tokio::test]
async fn bytes_after_a_204_cost_the_connection() {
    let zoo = Zoo::open(vec![
        answer_and_stay("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"),
        answer_and_stay(OK),
    ])
    .await;
    let sender = Sender::local();
    let exchange = sender.send_to(&zoo).await;
    assert_eq!(check_response(&exchange, 204).body, b"");
    zoo.closed(1).await;
    check_response(&sender.send_to(&zoo).await, 200);
    assert_eq!(zoo.connections(), 2);
}

#[tokio::test]
async fn a_body_without_length_ends_with_the_connection() {
    let (exchange, _zoo) = meet(answer_and_close("HTTP/1.1 200 OK\r\n\r\nbye")).await;
    let response = check_response(&exchange, 200);
    assert_eq!(response.body, b"bye");
    assert!(!response.truncated);
}

#[tokio::test]
async fn chunks_are_read_as_far_as_they_make_sense() {
    let huge = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(40_000));
    for (chunks, body, truncated) in [
        ("5;e=1\r\nhello\r\n0\r\nx: y\r\n\r\n", "hello", false),
        ("5\r\nhello\r\nZZZ\r\n", "hello", true),
        ("FFFFFFFFFFFFFFFFFF\r\nhello", "", true),
        (huge.as_str(), "", true),
    ] {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let (exchange, zoo) = meet(answer_and_stay(format!("{head}{chunks}"))).await;
        let response = check_response(&exchange, 200);
        assert_eq!(response.body, body.as_bytes(), "{chunks:.20}");
        assert_eq!(response.truncated, truncated, "{chunks:.20}");
        if truncated {
            zoo.closed(1).await;
        }
    }
}

#[tokio::test]
async fn a_length_and_chunks_at_once_cost_the_connection() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
                2\r\nok\r\n0\r\n\r\n";
    let zoo = Zoo::open(vec![answer_and_stay(both)]).await;
    let sender = Sender::local();
    for n in 1..=2 {
        let exchange = sender.send_to(&zoo).await;
        assert_eq!(check_response(&exchange, 200).body, b"ok");
        assert_eq!(zoo.connections(), n);
    }
}

#[tokio::test]
async fn two_lengths_that_differ_are_refused() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk";
    let (exchange, _zoo) = meet(answer_and_stay(answer)).await;
    check(&exchange, "protocol", "not valid");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Zoo::open(vec![answer_and_stay(OK)]).await;
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.url("http", "127.0.0.1");
        let answer =
            format!("HTTP/1.1 {status} x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let (exchange, zoo) = meet(answer_and_stay(answer)).await;
        check_response(&exchange, status);
        assert_eq!((zoo.connections(), zoo.requests().len()), (1, 1));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn switching_protocols_is_refused() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let (exchange, zoo) = meet(answer_and_stay(answer)).await;
    check(&exchange, "protocol", "101");
    zoo.closed(1).await;
}

#[tokio::test]
async fn a_compressed_body_is_kept_as_it_came() {
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 4, 0, 0xff];
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 14\r\n\r\n";
    let (exchange, _zoo) = meet(answer_and_stay([head.as_bytes(), &gzip].concat())).await;
    assert_eq!(check_response(&exchange, 200).body, gzip);
}

#[tokio::test]
async fn informational_responses_are_taken_up_to_a_limit() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let hints = HINT.repeat(INFORMATIONAL_MAX as usize);
    let (exchange, _zoo) = meet(vec![Step::Read, write(&hints), write(OK)]).await;
    check_response(&exchange, 200);
    let (exchange, zoo) = meet(vec![Step::Read, Step::Flood(HINT.into())]).await;
    check(&exchange, "protocol", "informational");
    zoo.closed(1).await;
}

#[tokio::test]
async fn a_server_that_is_not_http_is_told_apart() {
    for script in [
        vec![write("220 mail.example.com ESMTP\r\n")],
        answer_and_stay("220 mail.example.com ESMTP\r\n"),
        answer_and_stay("<html>"),
    ] {
        let (exchange, zoo) = meet(script).await;
        check(&exchange, "protocol", "");
        zoo.closed(1).await;
    }
}

#[tokio::test]
async fn headers_are_kept_as_bytes() {
    let answer = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: \xff\x1b[0m<b>\r\ncontent-length: 0\r\n\r\n";
    let answer = answer.map(|byte| if byte == 0x1b { b'\t' } else { byte });
    let (exchange, _zoo) = meet(answer_and_stay(answer)).await;
    let headers = &check_response(&exchange, 200).headers;
    assert_eq!(headers[0], ("x-a".to_owned(), b"1".to_vec()));
    assert_eq!(headers[1], ("x-a".to_owned(), b"\xff\t[0m<b>".to_vec()));
}

#[tokio::test]
async fn two_requests_share_a_connection_and_only_the_first_pays_for_it() {
    let (tls, root) = certified(HOST, 2090);
    let zoo = Zoo::open_tls(
        vec![[answer_and_stay(OK), answer_and_stay(OK)].concat()],
        tls,
    )
    .await;
    let sender = Sender::new("127.0.0.0/8", &["127.0.0.1"], &[root]);
    let url = zoo.url("https", HOST);

    let first = sender.send(&url, SOON).await;
    check_response(&first, 200);
    let Timing {
        dns_us,
        connect_us,
        tls_us,
        first_byte_us,
        total_us,
    } = first.timing;
    assert!(
        dns_us > 0 && connect_us > 0 && tls_us > 0,
        "{:?}",
        first.timing
    );
    assert!(
        first_byte_us >= dns_us + connect_us + tls_us,
        "{:?}",
        first.timing
    );
    assert!(total_us >= first_byte_us, "{:?}", first.timing);

    let second = sender.send(&url, SOON).await;
    check_response(&second, 200);
    let Timing {
        dns_us,
        connect_us,
        tls_us,
        first_byte_us,
        ..
    } = second.timing;
    assert_eq!((dns_us, connect_us, tls_us), (0, 0, 0));
    assert!(first_byte_us > 0);

    assert_eq!(
        (first.peer, second.peer),
        (Some(zoo.address), Some(zoo.address))
    );
    assert_eq!((zoo.connections(), sender.dialler.dials()), (1, 1));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let zoo = Zoo::open(vec![answer_and_close(OK)]).await;
    let sender = Sender::local();
    for n in 1..=5 {
        check_response(&sender.send_to(&zoo).await, 200);
        assert_eq!(zoo.requests().len(), n);
    }
    assert_eq!(zoo.connections(), 5);
}

#[tokio::test]
async fn a_request_lost_to_a_dying_connection_goes_out_once_more() {
    for lost in [vec![Step::Close], vec![Step::Abrupt, Step::Close]] {
        let dying = [answer_and_stay(OK), vec![Step::Read], lost].concat();
        let zoo = Zoo::open(vec![dying, answer_and_stay(OK)]).await;
        let sender = Sender::local();
        check_response(&sender.send_to(&zoo).await, 200);
        let exchange = sender.send_to(&zoo).await;
        check_response(&exchange, 200);
        assert!(
            exchange.timing.connect_us > 0,
            "it went over a fresh connection"
        );
        assert_eq!((zoo.connections(), zoo.requests().len()), (2, 3));
        assert_eq!(zoo.requests()[1], zoo.requests()[2]);
    }
}

#[tokio::test]
async fn a_lost_request_goes_out_once_more_at_most() {
    let dying = [answer_and_stay(OK), vec![Step::Read, Step::Close]].concat();
    let zoo = Zoo::open(vec![dying, vec![Step::Read, Step::Close]]).await;
    let sender = Sender::local();
    check_response(&sender.send_to(&zoo).await, 200);
    check(&sender.send_to(&zoo).await, "reset", "closed");
    assert_eq!((zoo.connections(), zoo.requests().len()), (2, 3));
}

#[tokio::test]
async fn a_request_with_the_beginning_of_an_answer_is_not_sent_again() {
    let dying = [answer_and_stay(OK), answer_and_close("HTTP/1.1 2")].concat();
    let zoo = Zoo::open(vec![dying, answer_and_stay(OK)]).await;
    let sender = Sender::local();
    check_response(&sender.send_to(&zoo).await, 200);
    check(&sender.send_to(&zoo).await, "reset", "closed");
    assert_eq!((zoo.connections(), zoo.requests().len()), (1, 2));
}

#[tokio::test]
async fn nobody_listening_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let exchange = Sender::local()
        .send(&format!("http://{address}/"), SOON)
        .await;
    check(&exchange, "refused", "refuses connections");
    assert_eq!(exchange.peer, Some(address));
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let zoo = Zoo::open(vec![answer_and_stay(OK)]).await;
    let sender = Sender::new("127.0.0.0/8", &["127.0.0.9 127.0.0.1"], &[]);
    let exchange = sender.send(&zoo.url("http", HOST), SOON).await;
    check_response(&exchange, 200);
    assert_eq!(exchange.peer, Some(zoo.address));
    assert_eq!(sender.dialler.dials(), 2);
}

#[tokio::test]
async fn a_name_without_address_is_a_dns_failure() {
    let sender = Sender::new("", &[""], &[]);
    let url = format!("https://{HOST}/");
    let exchange = sender.send(&url, SOON).await;
    check(&exchange, "dnsFailed", "could not be resolved");
    assert_eq!((exchange.peer, sender.dialler.dials()), (None, 0));
    let url = EndpointUrl::parse(&url).unwrap();
    let judged = sender.transport.judge_now(&url).await;
    assert!(judged.is_ok(), "a name may come to exist later");
}

#[tokio::test]
async fn a_name_that_turns_inward_is_never_dialled() {
    let sender = Sender::new("", &["93.184.215.14", "127.0.0.1"], &[]);
    let url = format!("https://{HOST}/");
    let judged = EndpointUrl::parse(&url).unwrap();
    assert!(sender.transport.judge_now(&judged).await.is_ok());
    let exchange = sender.send(&url, SOON).await;
    check(&exchange, "blockedAddress", "");
    assert_eq!((exchange.peer, sender.dialler.dials()), (None, 0));
    assert!(sender.transport.judge_now(&judged).await.is_err());
}

#[tokio::test]
async fn one_inward_address_among_public_ones_blocks_the_name() {
    for answer in ["93.184.215.14 10.0.0.1", "93.184.215.14 ::1"] {
        let sender = Sender::new("", &[answer], &[]);
        let exchange = sender.send(&format!("https://{HOST}/"), SOON).await;
        check(&exchange, "blockedAddress", "");
        assert_eq!(sender.dialler.dials(), 0, "{answer}");
    }
}

#[tokio::test]
async fn an_inward_literal_is_never_dialled() {
    let zoo = Zoo::open(vec![answer_and_stay(OK)]).await;
    let sender = Sender::new("", &["127.0.0.1"], &[]);
    let exchange = sender.send_to(&zoo).await;
    check(&exchange, "blockedAddress", "");
    assert_eq!((sender.dialler.dials(), zoo.connections()), (0, 0));
}

#[tokio::test]
async fn a_connection_that_ends_up_elsewhere_is_not_used() {
    let zoo = Zoo::open(vec![answer_and_stay(OK)]).await;
    let dialler = CountingDialler::led_astray(zoo.address);
    let sender = Sender::dialling(dialler, "127.0.0.0/8", &["127.0.0.1"], &[]);
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], zoo.address.port()));
    let exchange = sender.send(&format!("http://{elsewhere}/"), SOON).await;
    check(&exchange, "blockedAddress", "another address");
    assert_eq!(zoo.requests().len(), 0);
}

/// A server's TLS settings for `name`, valid to the end of `year`, and the root they need.
fn certified(name: &str, year: i32) -> (TlsAcceptor, CertificateDer<'static>) {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(vec![]).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_name = format!("Root for {name} until {year}");
    root.distinguished_name.push(DnType::CommonName, root_name);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    leaf.not_after = date_time_ymd(year, 12, 31);
    let issuer = Issuer::from_params(&root, &root_key);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let acceptor = acceptor(leaf.der().clone(), &key);
    (acceptor, root_certificate.der().clone())
}

fn self_signed(name: &str, is_ca: IsCa) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = is_ca;
    acceptor(params.self_signed(&key).unwrap().der().clone(), &key)
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn certificates_that_cannot_be_trusted_are_named() {
    let (valid, root) = certified(HOST, 2090);
    let (expired, root_of_expired) = certified(HOST, 2020);
    let (elsewhere, root_of_elsewhere) = certified("other.example.com", 2090);
    let roots = [root_of_expired, root_of_elsewhere];
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (tls, words) in [
        (valid, "issuer is unknown"),
        (expired, "expired"),
        (elsewhere, "not valid for this host name"),
        (self_signed(HOST, IsCa::NoCa), "self-signed"),
        (self_signed(HOST, ca), "self-signed"),
    ] {
        let zoo = Zoo::open_tls(vec![answer_and_stay(OK)], tls).await;
        let sender = Sender::new("127.0.0.0/8", &["127.0.0.1"], &roots);
        let exchange = sender.send(&zoo.url("https", HOST), SOON).await;
        check(&exchange, "tlsFailed", words);
        assert_eq!(exchange.peer, Some(zoo.address));
        assert!(exchange.timing.tls_us > 0);
        assert_eq!(zoo.requests().len(), 0);
    }
    drop(root);
}

#[tokio::test]
async fn servers_that_do_not_speak_tls_get_no_plain_request() {
    const ALERT_PROTOCOL_VERSION: &[u8] = &[21, 3, 1, 0, 2, 2, 70];
    for (script, words) in [
        (vec![write("HTTP/1.1 400 Bad Request\r\n\r\n")], "not TLS"),
        (vec![write(ALERT_PROTOCOL_VERSION)], "no TLS version"),
        (vec![Step::Close], "during the TLS handshake"),
    ] {
        let zoo = Zoo::open(vec![script]).await;
        let exchange = Sender::local().send(&zoo.url("https", HOST), SOON).await;
        check(&exchange, "tlsFailed", words);
        zoo.closed(1).await;
        assert_eq!(zoo.connections(), 1);
    }
}

#[tokio::test]
async fn a_stalled_handshake_times_out() {
    let zoo = Zoo::open(vec![vec![]]).await;
    let exchange = Sender::local().send(&zoo.url("https", HOST), SHORT).await;
    check(
        &exchange,
        "timedOut",
        "no connection came about within 300 ms",
    );
    zoo.closed(1).await;
}
