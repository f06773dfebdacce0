//! What the fields of endpoints and messages may hold, to the character.

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::sink::Sink;

/// `Ok`, or the path of the field that is named.
type Want = Result<(), &'static str>;

const FINE: Want = Ok(());

async fn check(app: &TestApp, path: &str, fields: &[(Value, Want)], good: &Value) {
    for (fields, want) in fields {
        let mut body = good.clone();
        for (name, value) in fields.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let before = app.store.dump();
        let answer = app.post(path, body).await;
        let shown: String = fields.to_string().chars().take(120).collect();
        let (status, text) = (answer.status, answer.text());
        match want {
            Ok(()) => assert!((200..300).contains(&status), "{shown}: {status} {text}"),
            Err(place) => {
                assert!(matches!(status, 409 | 422), "{shown}: {status} {text}");
                assert_eq!(
                    answer.json()["errors"][0]["path"],
                    *place,
                    "{shown}: {text}"
                );
                assert!(app.store.dump() == before, "{shown} changed the store");
            }
        }
    }
}

async fn endpoint_fields(fields: &[(Value, Want)]) {
    let app = TestApp::start().await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/endpoints");
    let good = json!({"url": "https://1.1.1.1/"});
    check(&app, &path, fields, &good).await;
    eprintln!("{} cases", fields.len());
}

fn header(name: &str, value: &str, want: Want) -> (Value, Want) {
    (json!({"headers": {name: value}}), want)
}

#[tokio::test]
async fn header_names_are_tokens_that_are_not_ours() {
    let mut cases = Vec::new();
    for name in [
        "x",
        "X-Tenant",
        "x_y",
        "Authorization",
        "Cookie",
        "!#$%&'*+-.^_`|~",
        "1",
        "accept",
        "date",
        "x-webhook-id",
        "webhook",
    ] {
        cases.push(header(name, "v", FINE));
    }
    for (name, place) in [
        ("", "headers."),
        ("x y", "headers.x y"),
        ("x:", "headers.x:"),
        ("é", "headers.é"),
        ("x\r\ny: z", "headers.x\r\ny: z"),
        ("x\0", "headers.x\0"),
        ("x\n", "headers.x\n"),
        ("(x)", "headers.(x)"),
        (" x", "headers. x"),
        ("x\u{202e}", "headers.x\u{202e}"),
    ] {
        cases.push(header(name, "v", Err(place)));
    }
    for (name, place) in [
        ("accept-encoding", "headers.accept-encoding"),
        ("Connection", "headers.Connection"),
        ("content-encoding", "headers.content-encoding"),
        ("Content-Length", "headers.Content-Length"),
        ("CONTENT-TYPE", "headers.CONTENT-TYPE"),
        ("expect", "headers.expect"),
        ("Forwarded", "headers.Forwarded"),
        ("Host", "headers.Host"),
        ("keep-alive", "headers.keep-alive"),
        ("TE", "headers.TE"),
        ("Trailer", "headers.Trailer"),
        ("Transfer-Encoding", "headers.Transfer-Encoding"),
        ("upgrade", "headers.upgrade"),
        ("User-Agent", "headers.User-Agent"),
        ("Via", "headers.Via"),
        ("X-Signature", "headers.X-Signature"),
        ("x-forwarded-for", "headers.x-forwarded-for"),
        ("X-Forwarded-Host", "headers.X-Forwarded-Host"),
        ("x-forwarded-proto", "headers.x-forwarded-proto"),
        ("x-forwarded-anything", "headers.x-forwarded-anything"),
        ("X-Real-IP", "headers.X-Real-IP"),
        ("webhook-id", "headers.webhook-id"),
        ("Webhook-Signature", "headers.Webhook-Signature"),
        ("svix-id", "headers.svix-id"),
        ("Svix-Anything", "headers.Svix-Anything"),
        ("hookpost-x", "headers.hookpost-x"),
        ("Proxy-Authorization", "headers.Proxy-Authorization"),
        ("proxy-connection", "headers.proxy-connection"),
    ] {
        cases.push(header(name, "v", Err(place)));
    }
    endpoint_fields(&cases).await;
}

#[tokio::test]
async fn header_values_are_visible_and_bounded() {
    let place = Err("headers.x");
    let mut cases = Vec::new();
    let longest = "v".repeat(4096);
    for value in ["", "v", "a b", "a,b;c=\"d\"", "~", longest.as_str()] {
        cases.push(header("x", value, FINE));
    }
    let longer = "v".repeat(4097);
    for value in [
        "a\r\nb: c",
        "a\n",
        "\ra",
        "a\0b",
        "a\tb",
        "\u{7f}",
        "é",
        "\u{202e}",
        " a",
        "a ",
        " ",
        "\u{a0}a",
        longer.as_str(),
        "••••",
        "•••••",
    ] {
        cases.push(header("x", value, place));
    }
    let many = |count: usize| -> Value {
        let headers: serde_json::Map<_, _> =
            (0..count).map(|n| (format!("x-{n}"), json!("v"))).collect();
        json!({ "headers": headers })
    };
    cases.push((many(20), FINE));
    cases.push((many(21), Err("headers")));
    // With their names: 8192 bytes, and one more.
    let sized = |last: usize| json!({"headers": {"a": "v".repeat(4095), "b": "v".repeat(last)}});
    cases.push((sized(4095), FINE));
    cases.push((sized(4096), Err("headers")));
    cases.push((
        json!({"headers": {"x-a": "1", "X-A": "2"}}),
        Err("headers.x-a"),
    ));
    cases.push((json!({"headers": ["x"]}), Err("headers")));
    cases.push((json!({"headers": {"x": null}}), Err("headers")));
    endpoint_fields(&cases).await;
}

#[tokio::test]
async fn masked_values_put_back_count_as_what_they_stand_for() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let application = app.application().await;
    let (one, two) = ("1".repeat(4000), "2".repeat(4000));
    let fields = json!({"headers": {"a-token": one, "b-token": two, "c": "3"}});
    let endpoint = app.endpoint(&application, &sink.url(), fields).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    let mut shown = app.get(&path).await.ok(200).json();
    assert_eq!(
        shown["headers"],
        json!({"a-token": "••••", "b-token": "••••", "c": "3"})
    );
    shown["name"] = json!("put back");
    app.put(&path, shown).await.ok(200);
    // Another spelling is the same header.
    let other = json!({"headers": {"A-Token": "••••", "b-token": "••••"}});
    app.put(&path, other).await.ok(200);
    let message = app.message(&application, "a.b", json!({})).await;
    let seen = sink.wait_for(1).await;
    assert_eq!(seen[0].header("a-token"), one);
    assert_eq!(seen[0].header("b-token"), two);
    assert_eq!(seen[0].header("c"), "");
    app.stands(&application, &message, "success", 1).await;
    let before = app.store.dump();
    for headers in [
        json!({"a-token": "••••", "b-token": "••••", "c": "3".repeat(4000)}),
        json!({"a-token": "••••", "A-Token": "••••"}),
        json!({"d-token": "••••"}),
        json!({"c": "••••"}),
    ] {
        let answer = app.put(&path, json!({"headers": headers})).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(app.store.dump() == before, "{}", answer.text());
    }
}

#[tokio::test]
async fn uids_are_short_visible_and_their_own() {
    let app = TestApp::start().await;
    let wide = "é".repeat(256);
    let cases = [
        (json!({"uid": "x"}), FINE),
        (json!({"uid": "x"}), Err("uid")),
        (json!({"uid": "X"}), FINE),
        (json!({"uid": "x".repeat(256)}), FINE),
        (json!({"uid": "x".repeat(257)}), Err("uid")),
        (json!({"uid": wide}), FINE),
        (json!({"uid": "a/b?c#d%e"}), FINE),
        (json!({"uid": "<script>"}), FINE),
        (json!({"uid": ""}), Err("uid")),
        (json!({"uid": "a\nb"}), Err("uid")),
        (json!({"uid": "a\u{0}b"}), Err("uid")),
        (json!({"uid": "a\u{7f}"}), Err("uid")),
        (json!({"uid": "a\u{9f}"}), Err("uid")),
        (json!({"uid": "\u{1b}[31m"}), Err("uid")),
        (json!({"uid": null}), FINE),
    ];
    let application = app.application().await;
    let endpoints = format!("/api/v1/applications/{application}/endpoints");
    check(&app, "/api/v1/applications", &cases, &json!({"name": "n"})).await;
    let good = json!({"url": "https://1.1.1.1/", "enabled": false});
    check(&app, &endpoints, &cases, &good).await;
    // Changing to one that is taken is refused; to its own is not.
    for path in ["/api/v1/applications".to_owned(), endpoints] {
        let answer = app.put(&format!("{path}/X"), json!({"uid": "x"})).await;
        assert_eq!(answer.status, 409, "{}", answer.text());
        app.put(&format!("{path}/X"), json!({"uid": "X"}))
            .await
            .ok(200);
        app.put(&format!("{path}/X"), json!({"uid": "y"}))
            .await
            .ok(200);
        app.get(&format!("{path}/X")).await.ok(404);
        app.get(&format!("{path}/y")).await.ok(200);
    }
    // Those of messages need not be their own.
    let messages = format!("/api/v1/applications/{application}/messages");
    let good = json!({"eventType": "a", "payload": 1});
    let mut cases = cases.to_vec();
    cases[1].1 = FINE;
    check(&app, &messages, &cases, &good).await;
}

#[tokio::test]
async fn what_an_endpoint_subscribes_to_is_bounded() {
    let type_at = |text: &str, want: Want| (json!({"eventTypes": [text]}), want);
    let channel = |text: &str, want: Want| (json!({"channels": [text]}), want);
    let texts = |count: usize| -> Vec<String> { (0..count).map(|n| format!("t{n}")).collect() };
    let (t, c) = (Err("eventTypes[0]"), Err("channels[0]"));
    endpoint_fields(&[
        type_at("a", FINE),
        type_at("a.b-c_D.9", FINE),
        type_at("a.*", FINE),
        type_at("a.**", FINE),
        type_at("*", FINE),
        type_at("**", FINE),
        type_at(&"a".repeat(256), FINE),
        type_at(&"a".repeat(257), t),
        type_at("", t),
        type_at(" ", t),
        type_at("a b", t),
        type_at("a.*.b", t),
        type_at("a*", t),
        type_at("***", t),
        type_at("é", t),
        type_at("a\n", t),
        type_at("a\u{0}", t),
        type_at("<script>", t),
        type_at(".*", t),
        type_at("{warehouse}", t),
        type_at("a/b", t),
        (json!({"eventTypes": texts(1000)}), FINE),
        (json!({"eventTypes": texts(1001)}), Err("eventTypes")),
        (json!({"eventTypes": ["a", 1]}), Err("eventTypes[1]")),
        channel("acme/repo", FINE),
        channel(" ", FINE),
        channel(&"é".repeat(128), FINE),
        channel(&"c".repeat(129), c),
        channel("", c),
        channel("a\u{85}", c),
        (json!({"channels": texts(100)}), FINE),
        (json!({"channels": texts(101)}), Err("channels")),
    ])
    .await;
    let app = TestApp::start().await;
    let path = format!("/api/v1/applications/{}/messages", app.application().await);
    let good = json!({"eventType": "a", "payload": 1});
    let kind = |text: &str, want: Want| (json!({"eventType": text}), want);
    let e = Err("eventType");
    check(
        &app,
        &path,
        &[
            kind("a.b-c_D.9", FINE),
            kind(&"a".repeat(256), FINE),
            kind(&"a".repeat(257), e),
            kind("", e),
            kind("*", e),
            kind("a.*", e),
            kind("a b", e),
            kind("é", e),
            kind("a\n", e),
            kind("{warehouse}", e),
            (json!({"channels": texts(100)}), FINE),
            (json!({"channels": texts(101)}), Err("channels")),
            (json!({"channels": [""]}), c),
            (json!({"channels": "a"}), Err("channels")),
            (json!({"payload": null}), Err("payload")),
            (json!({"payload": false}), FINE),
            (json!({"payload": ""}), FINE),
            (json!({"payload": 0}), FINE),
        ],
        &good,
    )
    .await;
}

#[tokio::test]
async fn secrets_are_what_can_sign() {
    let secret = |text: &str, want: Want| (json!({"secrets": [text]}), want);
    let s = Err("secrets[0]");
    // A key pair of RFC 8032, 7.1, test 1; then with one character less or other.
    let pair = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
    endpoint_fields(&[
        secret("x", FINE),
        secret(" ", FINE),
        secret("é", FINE),
        secret(&"x".repeat(1024), FINE),
        secret("whsec_YQ==", FINE),
        secret("whsec", FINE),
        secret("WHSEC_%", FINE),
        secret(pair, FINE),
        secret("", s),
        secret(&"x".repeat(1025), s),
        secret(&"é".repeat(1024), s),
        secret("a\nb", s),
        secret("a\u{0}", s),
        secret("whsec_", s),
        secret("whsec_%", s),
        secret("whsec_YQ", s),
        secret("whsec_Y Q==", s),
        secret("whsec_-_==", s),
        secret("whpk_", s),
        secret("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", s),
        secret("whsk_", s),
        secret("whsk_AAAA", s),
        secret(&pair[..pair.len() - 4], s),
        secret(&pair[..pair.len() - 1], s),
        secret(&pair.replace("nWGx", "nWGy"), s),
        secret(&pair.replace("RGg", "RGk"), s),
        (json!({"secrets": vec!["x"; 10]}), FINE),
        (json!({"secrets": vec!["x"; 11]}), Err("secrets")),
        (json!({"secrets": ["x", ""]}), Err("secrets[1]")),
        (json!({"secrets": []}), FINE),
    ])
    .await;
}

#[tokio::test]
async fn schemes_have_their_parts() {
    let scheme = |value: Value, want: Want| (json!({"signatures": [{"scheme": value}]}), want);
    let custom = |part: &str, value: Value, want: Want| {
        let mut scheme = json!({
            "scheme": "custom", "header": "x-a", "template": "{body}", "encoding": "hex"
        });
        scheme[part] = value;
        (json!({"signatures": [scheme]}), want)
    };
    endpoint_fields(&[
        scheme(json!("optech"), FINE),
        scheme(json!("custom"), Err("signatures[0].header")),
        custom("template", json!("{id}.{timestamp}.{body}"), FINE),
        custom("template", json!("no body"), Err("signatures[0].template")),
        custom(
            "template",
            json!("{body}{url}"),
            Err("signatures[0].template"),
        ),
        custom("template", json!(""), Err("signatures[0].template")),
        custom("encoding", json!("base64"), FINE),
        custom(
            "encoding",
            json!("base64url"),
            Err("signatures[0].encoding"),
        ),
        custom("prefix", json!("t={timestamp},v1="), FINE),
        custom("prefix", json!("{body}"), Err("signatures[0].prefix")),
        custom("header", json!("X-Signature"), Err("signatures[0].header")),
        custom("header", json!("x".repeat(128)), FINE),
        custom(
            "header",
            json!("x".repeat(129)),
            Err("signatures[0].header"),
        ),
        custom("scheme", json!("standard"), Err("signatures[0].header")),
        (json!({"payloadInHeaders": true, "asciiBody": false}), FINE),
        (json!({"payloadInHeaders": "true"}), Err("payloadInHeaders")),
        (json!({"asciiBody": 1}), Err("asciiBody")),
        (json!({"signatures": ["standard"]}), Err("signatures[0]")),
    ])
    .await;
}

#[tokio::test]
async fn schedules_limits_and_rules_are_bounded() {
    let wait = |text: &str, want: Want| (json!({"retrySchedule": [text]}), want);
    let w = Err("retrySchedule[0]");
    let rule = |name: &str, value: Value, want: Want| (json!({"success": {name: value}}), want);
    let scheme = |value: Value, want: Want| (json!({"signatures": [{"scheme": value}]}), want);
    endpoint_fields(&[
        wait("0s", FINE),
        wait("250ms", FINE),
        wait("1d", FINE),
        wait("1h30m", FINE),
        wait("", w),
        wait("5", w),
        wait("-5s", w),
        wait(" 5s", w),
        wait("5 s", w),
        wait("5S", w),
        wait("1.5h", w),
        wait("30m1h", w),
        wait("999999999999999999999s", w),
        wait("\u{ff15}s", w),
        wait("10000d", w),
        wait("5s\u{0}", w),
        wait("NaN", w),
        wait("PT5S", w),
        (json!({"retrySchedule": []}), FINE),
        (json!({"retrySchedule": vec!["1s"; 40]}), FINE),
        (
            json!({"retrySchedule": vec!["1s"; 41]}),
            Err("retrySchedule"),
        ),
        (json!({"retrySchedule": ["1s", 2]}), Err("retrySchedule[1]")),
        (json!({"timeoutSeconds": 0}), FINE),
        (json!({"timeoutSeconds": 60}), FINE),
        (json!({"timeoutSeconds": 61}), Err("timeoutSeconds")),
        (json!({"timeoutSeconds": 1.0}), Err("timeoutSeconds")),
        (json!({"timeoutSeconds": "1"}), Err("timeoutSeconds")),
        (json!({"rateLimit": 0}), FINE),
        (json!({"rateLimit": 10_000}), FINE),
        (json!({"rateLimit": 10_001}), Err("rateLimit")),
        (json!({"rateLimit": u64::MAX}), Err("rateLimit")),
        (json!({"rateLimit": 4_294_967_296_u64}), Err("rateLimit")),
        rule("status", json!(200), FINE),
        rule("status", json!(599), FINE),
        rule("status", json!(199), Err("success.status")),
        rule("status", json!(600), Err("success.status")),
        rule("status", json!(65_736), Err("success.status")),
        rule("body", json!(""), FINE),
        rule("body", json!("x".repeat(1024)), FINE),
        rule("body", json!("x".repeat(1025)), Err("success.body")),
        rule("body", json!("a\u{0}"), Err("success.body")),
        rule("contentType", json!("text/plain"), FINE),
        rule("contentType", json!(""), Err("success.contentType")),
        rule(
            "contentType",
            json!("x".repeat(257)),
            Err("success.contentType"),
        ),
        scheme(json!("standard"), FINE),
        scheme(json!("octohooks"), FINE),
        scheme(json!("Standard"), Err("signatures[0]")),
        scheme(json!("none"), Err("signatures[0]")),
        scheme(json!(1), Err("signatures[0].scheme")),
        (json!({"signatures": [{}]}), Err("signatures[0].scheme")),
        (
            json!({"signatures": vec![json!({"scheme": "standard"}); 9]}),
            Err("signatures"),
        ),
        (json!({"name": "x".repeat(256)}), FINE),
        (json!({"name": "x".repeat(257)}), Err("name")),
        (json!({"description": "x".repeat(2000)}), FINE),
        (json!({"description": "x".repeat(2001)}), Err("description")),
        (json!({"metadata": {"a": "x".repeat(4095)}}), FINE),
        (
            json!({"metadata": {"a": "x".repeat(4096)}}),
            Err("metadata"),
        ),
        (json!({"metadata": {"x".repeat(4097): ""}}), Err("metadata")),
        (json!({"metadata": {"a": 1}}), Err("metadata")),
        (json!({"metadata": []}), Err("metadata")),
    ])
    .await;
}
