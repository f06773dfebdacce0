//! `hookpost listen --print-secret` against a real server.

use serde_json::json;

use crate::support::remote_command::{Ran, application, bare_command, command, post};
use crate::support::server_process::ServerProcess;

const TOKEN: &str = "--token";

fn print(server: &ServerProcess, token: &str) -> Ran {
    let arguments = ["listen", "--print-secret", TOKEN, token];
    Ran::of(&mut command(server, &arguments))
}

#[test]
fn the_secret_of_whoever_sends_to_the_url_is_printed_alone() {
    let server = ServerProcess::start();
    application(&server, "acme");
    let inbox = post(&server, "/inboxes", &json!({}));
    let token = inbox["token"].as_str().expect("a token");
    print(&server, token).refused(1, "no endpoint sends to");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let fields = json!({"url": inbox["url"], "secrets": [secret]});
    post(&server, "/applications/acme/endpoints", &fields);
    let printed = print(&server, token).worked();
    assert_eq!(printed, format!("{secret}\n"));
    assert_eq!(print(&server, token).worked(), printed, "it stays");
}

#[test]
fn what_is_missing_is_said() {
    let server = ServerProcess::start();
    // One that the server made may begin with a dash.
    for token in ["c_0123456789", "-D9abc", "--b_c"] {
        print(&server, token).refused(1, &format!("there is no inbox {token}"));
    }
    let arguments = ["listen", "--print-secret"];
    Ran::of(&mut command(&server, &arguments)).refused(2, "needs --token");
    let arguments = ["listen", "--print-secret", TOKEN, "c_0123456789"];
    Ran::of(&mut bare_command(&arguments)).refused(2, "no API key");
    let arguments = ["listen"];
    Ran::of(&mut bare_command(&arguments)).refused(2, "<TARGET>");
    let arguments = ["listen", "5000", "--print-secret"];
    Ran::of(&mut bare_command(&arguments)).refused(2, "cannot be used with");
}
