//! The order of the layers, which the language does not hold for us.

use std::fs;
use std::path::{Path, PathBuf};

/// A layer may use those before it in this list; those of one row never use
/// one another.
const LAYERS: [&[&str]; 11] = [
    &["domain"],
    &["seams"],
    &["store"],
    &["engine"],
    &["control"],
    &["http"],
    &["api", "dashboard", "docs", "receiver", "relay"],
    &["config"],
    &["control_socket"],
    &["serve"],
    &["cli"],
];

fn level(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&layer))
}

/// The layers that a line of code names, by `crate::` or in a `crate::{..}`.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => heads(group),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            found.push((line, name[..end.unwrap_or(name.len())].to_owned()));
        }
    }
    found
}

/// Where each item of a group begins, the groups inside it left out.
fn heads(group: &str) -> Vec<&str> {
    let (mut depth, mut begins, mut heads) = (1, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => begins = true,
            c if c.is_whitespace() => {}
            _ if begins => {
                heads.push(&group[at..]);
                begins = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// Code without comments: documentation may point anywhere.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let comment = line.trim_start().starts_with("//");
        if comment { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// What is wrong in one file, each with its line.
fn violations(layer: &str, text: &str) -> Vec<(usize, String)> {
    let own = level(layer);
    let mut wrong = Vec::new();
    for (line, used) in named(&without_comments(text)) {
        if used == layer {
            continue;
        }
        match (own, level(&used)) {
            (Some(own), Some(other)) if other < own => {}
            (_, None) => wrong.push((line, format!("{used} is no layer"))),
            _ => wrong.push((line, format!("{layer} uses {used}"))),
        }
    }
    wrong
}

#[test]
fn a_layer_uses_only_those_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "the source is here");
    let mut wrong = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&root).expect("below it");
        let first = inside.iter().next().expect("a name");
        let layer = first.to_str().expect("ASCII").trim_end_matches(".rs");
        if matches!(layer, "lib" | "main") {
            continue;
        }
        let text = fs::read_to_string(file).expect("text");
        if level(layer).is_none() {
            wrong.push(format!("src/{}: {layer} is no layer", inside.display()));
        }
        for (line, what) in violations(layer, &text) {
            wrong.push(format!("src/{}:{line}: {what}", inside.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_way_of_naming_a_layer_is_seen() {
    for (text, want) in [
        ("use crate::domain::ids;", vec![]),
        ("use crate::api::native;", vec![(1, "store uses api")]),
        (
            "\n\nfn f(x: crate::http::Y) {}",
            vec![(3, "store uses http")],
        ),
        ("pub(crate) use crate::store::x;", vec![]),
        (
            "use crate::{\n    domain::{ids, time},\n    engine::Engine,\n    cli,\n};",
            vec![(1, "store uses engine"), (1, "store uses cli")],
        ),
        ("/// See [`crate::api`].\n// crate::api", vec![]),
        ("use hookpost_crate::api;", vec![]),
        ("use crate::other;", vec![(1, "other is no layer")]),
    ] {
        let got = violations("store", text);
        let got: Vec<_> = got.iter().map(|(at, what)| (*at, what.as_str())).collect();
        assert_eq!(got, want, "{text}");
    }
    let siblings = violations("receiver", "use crate::api::x;");
    assert_eq!(siblings, [(1, "receiver uses api".to_owned())]);
}
