//! The reference for people: whole, within its policy, and every line of it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use hookpost::api::native::ROUTES;
use hookpost::domain::operational::TYPES;
use tempfile::TempDir;

use crate::support::app::TestApp;
use crate::support::html::{Element, parse};
use crate::support::http_client;
use crate::support::server_process::{ServerProcess, executable};

/// Every page by its path, as `get` gives them.
fn pages(get: impl Fn(&str) -> String) -> BTreeMap<String, Vec<Element>> {
    let mut pages = BTreeMap::new();
    for path in in_order(&elements("/docs", &get("/docs"))) {
        let found = elements(&path, &get(&path));
        pages.insert(path, found);
    }
    pages
}

/// The paths of all pages, as the navigation has them.
fn in_order(overview: &[Element]) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    let navigation = overview.iter().skip_while(|one| one.name != "nav");
    for link in navigation.take_while(|one| one.name != "main") {
        let path = link.attribute("href").unwrap_or_default();
        if path.starts_with("/docs") && !paths.iter().any(|known| known == path) {
            paths.push(path.to_owned());
        }
    }
    paths
}

#[track_caller]
fn elements(path: &str, page: &str) -> Vec<Element> {
    let (elements, faults) = parse(page);
    assert!(faults.is_empty(), "{path}: {faults:#?}");
    elements
}

async fn fetched(app: &TestApp) -> BTreeMap<String, String> {
    let overview = app.get("/docs").await.ok(200).text();
    let mut pages = BTreeMap::new();
    for path in in_order(&elements("/docs", &overview)) {
        let page = app.request("GET", &path).without_key().send().await;
        pages.insert(path, page.ok(200).text());
    }
    pages
}

#[tokio::test]
async fn pages_are_well_formed_and_in_order() {
    let app = TestApp::start().await;
    let pages = fetched(&app).await;
    assert!(pages.len() > 8, "{:?}", pages.keys());
    for (path, page) in &pages {
        let elements = elements(path, page);
        let html = &elements[0];
        assert_eq!(html.attribute("lang"), Some("en"), "{path}");
        let titles = elements.iter().filter(|one| one.name == "title");
        let titles: Vec<_> = titles.map(|one| one.text.as_str()).collect();
        assert!(
            matches!(titles[..], [title] if title.ends_with(" · Hookpost")),
            "{path}"
        );
        let mut level = 0;
        let mut ids = BTreeSet::new();
        for element in &elements {
            if let Some(id) = element.attribute("id") {
                assert!(ids.insert(id), "{path}: {id} is there twice");
            }
            for (name, _) in &element.attributes {
                assert!(
                    name != "style" && !name.starts_with("on"),
                    "{path}: {element:?}"
                );
            }
            assert!(
                !["script", "style", "iframe"].contains(&element.name.as_str()),
                "{path}"
            );
            let heading = element
                .name
                .strip_prefix('h')
                .and_then(|rest| rest.parse().ok());
            let Some(next) = heading else { continue };
            assert!(level > 0 || next == 1, "{path}: it begins with {element:?}");
            assert!(
                next == 1 || next <= level + 1,
                "{path}: {element:?} skips a level"
            );
            assert!(next > 1 || level == 0, "{path}: a second h1");
            level = next;
        }
        assert!(level > 0, "{path}: it has no heading");
    }
}

#[tokio::test]
async fn every_link_leads_somewhere() {
    let app = TestApp::start().await;
    let texts = fetched(&app).await;
    let pages = pages(|path| texts[path].clone());
    let ids = |path: &str| -> BTreeSet<&str> {
        let elements = pages.get(path).into_iter().flatten();
        elements.filter_map(|one| one.attribute("id")).collect()
    };
    let mut files = BTreeSet::new();
    for (path, elements) in &pages {
        for link in elements.iter().filter_map(|one| one.attribute("href")) {
            let (target, id) = link.split_once('#').unwrap_or((link, ""));
            match (target, id) {
                ("", id) => assert!(ids(path).contains(id), "{path}: {link}"),
                (page, id) if page.starts_with("/docs") => {
                    assert!(pages.contains_key(page), "{path}: {link}");
                    assert!(id.is_empty() || ids(page).contains(id), "{path}: {link}");
                }
                (file, "") if file.starts_with('/') => {
                    files.insert(file.to_owned());
                }
                (elsewhere, _) => {
                    assert_eq!(elsewhere, "https://www.standardwebhooks.com", "{path}");
                }
            }
        }
    }
    for file in files {
        app.request("GET", &file).without_key().send().await.ok(200);
    }
}

#[tokio::test]
async fn every_route_and_every_event_is_shown() {
    let app = TestApp::start().await;
    let texts = fetched(&app).await;
    let all: String = texts.values().map(String::as_str).collect();
    let all = all.replace("<wbr>", "");
    for (method, path, capability) in ROUTES {
        let line = format!("{method}</span> <code>/api/v1{path}</code>");
        assert_eq!(all.matches(&line).count(), 1, "{line}");
        assert!(all.contains(&format!("<code>{}</code>", capability.name())));
    }
    for (name, _) in TYPES {
        assert!(all.contains(&format!("<code>{name}</code>")), "{name}");
    }
}

#[tokio::test]
async fn pages_are_within_their_policy_and_can_be_kept() {
    let app = TestApp::start().await;
    for path in ["/docs", "/docs/", "/docs/messages"] {
        let page = app.request("GET", path).without_key().send().await.ok(200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'; "),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        let again = app
            .request("GET", path)
            .header("if-none-match", page.header("etag"));
        assert!(again.send().await.ok(304).body.is_empty());
    }
    for path in [
        "/docs/nothing",
        "/docs/messages/x",
        "/docs/%00",
        "/docs/%ff",
    ] {
        let none = app.get(path).await.ok(404);
        assert_eq!(
            none.header("content-type"),
            "application/problem+json",
            "{path}"
        );
    }
}

#[tokio::test]
async fn files_of_pages_are_kept_for_good() {
    let app = TestApp::start().await;
    let overview = app.get("/docs").await.ok(200).text();
    let links = elements("/docs", &overview);
    let links = links.iter().filter(|one| one.name == "link");
    let paths: Vec<&str> = links.filter_map(|one| one.attribute("href")).collect();
    assert!(paths.len() > 5, "{paths:?}");
    for path in &paths {
        let file = app.request("GET", path).without_key().send().await.ok(200);
        let wanted = match path.rsplit_once('.') {
            Some((_, "css")) => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(file.header("content-type"), wanted, "{path}");
        assert!(file.header("cache-control").contains("immutable"), "{path}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        let hash = file.header("etag").trim_matches('"');
        assert!(path.contains(hash) && hash.len() == 16, "{path} {hash}");
        let other = path.replace(hash, "0123456789abcdef");
        app.get(&other).await.ok(404);
    }
    for path in [
        "/static/",
        "/static/tokens.css",
        "/static/../Cargo.toml",
        "/static/%2e%2e%2fx",
    ] {
        app.get(path).await.ok(404);
    }
}

/// One block of lines to run.
struct Block {
    place: String,
    lines: String,
    status: String,
}

/// The blocks of all pages, in the order in which a reader comes to them.
fn blocks(server: &ServerProcess) -> Vec<Block> {
    let get = |path: &str| {
        let answer = http_client::request(server.address(), "GET", path, &[], b"");
        String::from_utf8(answer.expect("an answer").body).expect("UTF-8")
    };
    let mut blocks = Vec::new();
    for path in in_order(&elements("/docs", &get("/docs"))) {
        let elements = elements(&path, &get(&path));
        for (at, pre) in elements.iter().enumerate() {
            let status = pre.attribute("data-status");
            if pre.attribute("class") != Some("shell") {
                continue;
            }
            blocks.push(Block {
                place: format!("{path} {at}"),
                lines: elements[at + 1].text.clone(),
                status: status.expect("each says its status").to_owned(),
            });
        }
    }
    blocks
}

/// What runs the blocks: `curl` as it is, with its status noted, and after
/// each block a look whether everything that it set off is done.
fn script(server: &ServerProcess, blocks: &[Block]) -> String {
    let (url, key) = (server.base_url(), server.api_key());
    let mut script = format!(
        r#"export API='{url}/api/v1' KEY='{key}'
set -u
curl() {{ command curl --max-time 60 -w '%{{stderr}}%{{http_code}}\n' "$@" 2>>"$NOW.status"; }}
settle() {{
  for _ in $(seq 2000); do
    case $(command curl -s "$API/store" -H "Authorization: Bearer $KEY") in
      *'"waiting":0,"inFlight":0,'*) return ;;
    esac
    sleep 0.01
  done
  echo 'deliveries do not end' >>"$NOW.status"
}}
"#
    );
    for (at, block) in blocks.iter().enumerate() {
        // A group, not a subshell: what one block sets, the next ones have.
        write!(
            script,
            "NOW={at}\n{{\n{}\n}} >{at}.out 2>{at}.err\nsettle\n",
            block.lines
        )
        .expect("a string takes it all");
    }
    script
}

#[test]
fn every_example_runs_as_it_stands() {
    let server = ServerProcess::start();
    let blocks = blocks(&server);
    assert!(blocks.len() > ROUTES.len(), "{} examples", blocks.len());
    let folder = TempDir::new().expect("a folder");
    let file = |at: usize, end: &str| {
        let path = folder.path().join(format!("{at}.{end}"));
        fs::read_to_string(path).unwrap_or_default()
    };
    let ran = Command::new("bash")
        .args(["-c", &script(&server, &blocks)])
        .current_dir(folder.path())
        .output()
        .expect("bash can be started");
    let mut faults = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let (out, err, statuses) = (file(at, "out"), file(at, "err"), file(at, "status"));
        let statuses: Vec<&str> = statuses.lines().collect();
        let requests = block.lines.matches("curl -s").count();
        let last = statuses.last().copied();
        // What is to be verified again has to be refused first.
        let refuses = block.lines.contains("/verifications");
        let good = |status: &&str| status.starts_with('2') || (refuses && **status == *"422");
        let before = statuses.iter().all(good);
        let told = last == Some(block.status.as_str());
        if statuses.len() != requests || !before || !told || !err.is_empty() || out.is_empty() {
            faults.push(format!(
                "{}: {statuses:?}, not {}:\n{}\n{out}\n{err}",
                block.place, block.status, block.lines
            ));
        }
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        faults.is_empty() && ran.status.success(),
        "{said}\n{}",
        faults.join("\n\n")
    );
}

#[tokio::test]
async fn the_pages_name_the_server_that_they_come_from() {
    let app = TestApp::start().await;
    let overview = elements("/docs", &app.get("/docs").await.ok(200).text());
    let set = overview
        .iter()
        .position(|one| one.attribute("class") == Some("set"));
    let lines = &overview[set.expect("it is shown") + 1].text;
    let url = &app.public_url;
    assert!(
        lines.starts_with(&format!("export API={url}/api/v1\nexport KEY=")),
        "{lines}"
    );
}

#[tokio::test]
async fn the_verification_by_hand_verifies() {
    let python = Command::new("python3").arg("--version").output();
    if python.is_err() {
        eprintln!("SKIPPED: python3 is not installed");
        return;
    }
    let app = TestApp::start().await;
    let page = elements(
        "/docs/verifying",
        &app.get("/docs/verifying").await.ok(200).text(),
    );
    let at = page
        .iter()
        .position(|one| one.attribute("data-language") == Some("python"));
    let shown = &page[at.expect("it is shown") + 1].text;
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("body"), "{\"order\": 42}").expect("a file");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let signed = Command::new(executable())
        .args(["sign", "--id", "msg_1", "body"])
        .env("HOOKPOST_SECRET", secret)
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    let headers = String::from_utf8(signed.stdout).expect("UTF-8");
    let script = format!(
        "{shown}\n\
         headers = dict(line.split(': ', 1) for line in {headers:?}.splitlines())\n\
         body = b'{{\"order\": 42}}'\n\
         verify({secret:?}, headers, body)\n\
         for wrong in [dict(headers, **{{'webhook-id': 'msg_2'}}), dict(headers, **{{'webhook-timestamp': '1'}})]:\n\
         \x20   try:\n\
         \x20       verify({secret:?}, wrong, body)\n\
         \x20   except ValueError:\n\
         \x20       continue\n\
         \x20   raise SystemExit('it took what is wrong')\n"
    );
    let ran = Command::new("python3")
        .args(["-c", &script])
        .output()
        .expect("it runs");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}
