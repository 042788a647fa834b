//! The house's order: layers point down only, files stay short, and nothing unwraps outside tests.
//!
//! Reads the sources as text. Comments and literals do not count; what follows `#[cfg(test)] mod tests {` counts for
//! the layers only.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines a file may have before its tests.
const LINES_MAX: usize = 400;

/// What each layer may use beside itself and [`EVERYWHERE`]. `repo` and `component` meet in `ops` only.
const LAYERS: [(&str, &[&str]); 9] = [
    ("cli", &["web", "service", "ops", "repo", "store", "component", "host", "config"]),
    ("web", &["service", "ops", "repo", "store", "component", "host", "config"]),
    ("service", &["ops", "repo", "store", "component", "host", "config"]),
    ("ops", &["repo", "store", "component", "host", "config"]),
    ("repo", &["store"]),
    ("component", &["host", "config"]),
    ("host", &["config"]),
    ("store", &[]),
    ("config", &[]),
];

/// What every layer may use; of these, each may use those before it.
const EVERYWHERE: [&str; 5] = ["error", "id", "lock", "monitor", "spare"];

/// A source file: its path below `src`, and its text without comments and literals.
struct Source {
    path: String,
    code: String,
    raw: String,
}

impl Source {
    fn new(path: &str, raw: &str) -> Self {
        Source { path: path.to_owned(), code: bare(raw), raw: raw.to_owned() }
    }

    /// The module path: `repo/pack/table.rs` is `[repo, pack, table]`, `repo/mod.rs` is `[repo]`.
    fn module(&self) -> Vec<&str> {
        self.path.trim_end_matches(".rs").split('/').filter(|p| *p != "mod").collect()
    }

    /// The layer it belongs to; none for `lib.rs` and `main.rs`, which stand above all.
    fn layer(&self) -> Option<&str> {
        self.module().first().copied().filter(|m| !["lib", "main"].contains(m))
    }

    /// The text before the tests.
    fn before_tests(text: &str) -> &str {
        let mut at = 0;
        while let Some(found) = text[at..].find("\n#[cfg(test)]\nmod ") {
            let start = at + found;
            let line = text[start + "\n#[cfg(test)]\n".len()..].lines().next().unwrap_or_default();
            if line.ends_with('{') {
                return &text[..start];
            }
            at = start + 1;
        }
        text
    }
}

/// Blanks comments, strings and character literals, keeping every line.
fn bare(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < bytes.len() {
        let end = match bytes[i] {
            b'/' if text[i..].starts_with("//") => i + text[i..].find('\n').unwrap_or(text.len() - i),
            b'/' if text[i..].starts_with("/*") => i + text[i..].find("*/").map_or(text.len() - i, |n| n + 2),
            b'r' if is_raw_string(bytes, i) => raw_string_end(text, i),
            b'"' => string_end(bytes, i, b'"'),
            // A lifetime has no closing quote within two characters.
            b'\'' if bytes.get(i + 1) == Some(&b'\\') => string_end(bytes, i, b'\''),
            b'\'' if text[i + 1..].char_indices().nth(1).is_some_and(|(n, c)| c == '\'' && n > 0) => {
                string_end(bytes, i, b'\'')
            }
            _ => {
                let c = text[i..].chars().next().unwrap();
                out.push(c);
                i += c.len_utf8();
                continue;
            }
        };
        out.extend(text[i..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    out
}

fn is_raw_string(bytes: &[u8], i: usize) -> bool {
    let starts_a_word = i == 0 || !(bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
    let after = bytes[i + 1..].iter().find(|b| **b != b'#');
    (starts_a_word || bytes[i - 1] == b'b') && after == Some(&b'"') && matches!(bytes[i + 1], b'#' | b'"')
}

fn raw_string_end(text: &str, i: usize) -> usize {
    let hashes = text[i + 1..].bytes().take_while(|b| *b == b'#').count();
    let body = i + 1 + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    text[body..].find(&close).map_or(text.len(), |n| body + n + close.len())
}

fn string_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut i = start + 1;
    while i < bytes.len() && bytes[i] != quote {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(bytes.len())
}

/// The crate's top modules that the file names, by `crate::x`, `crate::{x, y::z}` or `super::` up to the root.
fn used(source: &Source) -> BTreeSet<String> {
    let depth = source.module().len();
    let up = "super::".repeat(depth);
    let mut found = BTreeSet::new();
    for root in ["crate::", up.as_str()] {
        for (at, _) in source.code.match_indices(root) {
            let whole = !source.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
            let rest = source.code[at + root.len()..].trim_start();
            if whole && !rest.starts_with("super::") {
                found.extend(heads(rest));
            }
        }
    }
    found
}

/// The first words of a path or of each path in a group.
fn heads(rest: &str) -> Vec<String> {
    let word =
        |s: &str| s.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut heads, mut part) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(&std::mem::take(&mut part))),
            _ if depth == 0 => part.push(c),
            _ => {}
        }
    }
    heads.push(word(&part));
    heads.into_iter().filter(|h| !h.is_empty()).collect()
}

/// What one file does against the order.
fn faults(source: &Source, test_only: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let is_layer = |name: &str| LAYERS.iter().any(|(l, _)| *l == name) || EVERYWHERE.contains(&name);
    if let Some(layer) = source.layer() {
        if !is_layer(layer) {
            faults.push(format!("{}: no layer is named {layer}", source.path));
        }
        for name in used(source).iter().filter(|name| is_layer(name)) {
            if !may_use(layer, name) {
                faults.push(format!("{}: {layer} may not use {name}", source.path));
            }
        }
    }
    // A module that is for tests only has its own parts in a folder of its name.
    let below = |file: &String| source.path.starts_with(&format!("{}/", file.trim_end_matches(".rs")));
    if test_only.contains(&source.path) || test_only.iter().any(below) {
        return faults;
    }
    let lines = Source::before_tests(&source.raw).lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{}: {lines} lines before its tests; split it at {LINES_MAX}", source.path));
    }
    for (n, line) in Source::before_tests(&source.code).lines().enumerate() {
        if line.contains(".unwrap()") {
            faults.push(format!("{}:{}: unwrap outside tests", source.path, n + 1));
        }
    }
    faults
}

fn may_use(layer: &str, name: &str) -> bool {
    let place = |n: &str| EVERYWHERE.iter().position(|e| *e == n);
    match (place(layer), place(name)) {
        _ if layer == name => true,
        (Some(user), Some(used)) => used < user,
        (None, Some(_)) => true,
        _ => LAYERS.iter().any(|(l, below)| *l == layer && below.contains(&name)),
    }
}

/// The files that a parent declares with `#[cfg(test)] mod name;`.
fn test_only(sources: &[Source]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for source in sources {
        for part in source.code.split("#[cfg(test)]").skip(1) {
            let line = part.trim_start().lines().next().unwrap_or_default();
            let Some((_, name)) = line.trim_end_matches(';').split_once("mod ") else { continue };
            if line.ends_with(';') {
                let dir = source.module().join("/");
                files.insert(format!("{dir}/{name}.rs"));
                files.insert(format!("{dir}/{name}/mod.rs"));
            }
        }
    }
    files
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                found.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn layers_point_down_files_are_short_and_nothing_unwraps() {
    let sources = sources();
    assert!(sources.len() > 20, "found only {} sources", sources.len());
    let test_only = test_only(&sources);
    let faults: Vec<String> = sources.iter().flat_map(|s| faults(s, &test_only)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn faults_of(path: &str, text: &str) -> Vec<String> {
    faults(&Source::new(path, text), &BTreeSet::new())
}

#[test]
fn a_layer_that_reaches_up_or_sideways_is_named() {
    let up = "use crate::ops::backup;\n";
    assert_eq!(faults_of("store/local.rs", up), ["store/local.rs: store may not use ops"]);
    assert_eq!(faults_of("cli/mod.rs", up), [""; 0]);
    let sideways = "use crate::{error::Result, component::{Dump, Piece}, id::TenantName};\n";
    assert_eq!(faults_of("repo/writer.rs", sideways), ["repo/writer.rs: repo may not use component"]);
    let inline = "fn f() -> crate :: Result { crate::repo::open() }\n";
    assert_eq!(faults_of("component/mod.rs", inline), ["component/mod.rs: component may not use repo"]);
    let by_super = "use super::super::service::jobs;\nuse super::extent;\n";
    assert_eq!(faults_of("repo/pack.rs", by_super), ["repo/pack.rs: repo may not use service"]);
    assert_eq!(faults_of("error.rs", "use crate::id::TenantName;\n"), ["error.rs: error may not use id"]);
    assert_eq!(faults_of("misc/mod.rs", ""), ["misc/mod.rs: no layer is named misc"]);
}

#[test]
fn comments_and_literals_are_no_use() {
    let text = "//! [`crate::ops`]\n/* crate::cli */ const A: &str = \"crate::web \\\" .unwrap()\";\n\
                const B: &str = r#\"crate::ops \" crate::cli\"#; fn f<'a>(x: &'a str) -> char { '\"' }\n";
    assert_eq!(faults_of("store/local.rs", text), [""; 0]);
    let after = format!("{text}use crate::cli::Args;\n");
    assert_eq!(faults_of("store/local.rs", &after), ["store/local.rs: store may not use cli"]);
}

#[test]
fn length_and_unwrap_count_before_the_tests_only() {
    let long = "const A: u8 = 1;\n".repeat(LINES_MAX + 1);
    assert_eq!(faults_of("id.rs", &long).len(), 1);
    let tests = format!("fn f() {{}}\n\n#[cfg(test)]\nmod tests {{\n{long}    x.unwrap();\n}}\n");
    assert_eq!(faults_of("id.rs", &tests), [""; 0]);
    let declared = "#![x]\n#[cfg(test)]\nmod fixture;\n\nfn f() { x.unwrap(); }\n";
    assert_eq!(faults_of("repo/mod.rs", declared), ["repo/mod.rs:5: unwrap outside tests"]);
    let parents = [Source::new("repo/mod.rs", declared)];
    assert!(test_only(&parents).contains("repo/fixture.rs"));
    let fixture = Source::new("repo/fixture.rs", "fn f() { x.unwrap(); }\n");
    assert_eq!(faults(&fixture, &test_only(&parents)), [""; 0]);
    let part = Source::new("repo/fixture/part.rs", "fn f() { g().unwrap(); }");
    assert_eq!(faults(&part, &test_only(&parents)), [""; 0]);
}
