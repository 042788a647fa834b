//! Permissions: Lifeboat's configuration, secrets and state are closed to everybody else on this host.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Diagnosis, Question, Weight};
use crate::config::Config;
use crate::error::counted;

/// How far below the state folder is looked.
const DEPTH: usize = 4;
/// The most files that are looked at; more are beside the point.
const MOST: usize = 20_000;

const ASKED: Question = Question::Permissions;

/// Looks at Lifeboat's own files.
pub(super) fn look(d: &mut Diagnosis, config: &Config) {
    let state = &config.machine.state_dir;
    let mut open = Vec::new();
    let mut count = 0;
    walk(state, DEPTH, &mut count, &mut |path, meta| {
        // Nothing in the state is for anybody but its owner.
        if meta.mode() & 0o077 != 0 && !meta.file_type().is_symlink() {
            open.push(path.to_owned());
        }
    });
    told(d, &open, "is open to others on this host, and may hold keys", "chmod -R go-rwx");
    let mut writable = Vec::new();
    walk(&config.dir, 3, &mut count, &mut |path, meta| {
        if meta.mode() & 0o022 != 0 && !meta.file_type().is_symlink() {
            writable.push(path.to_owned());
        }
    });
    told(
        d,
        &writable,
        "can be changed by others: whoever can decides what is backed up, and where to",
        "chmod -R go-w",
    );
    let secrets: Vec<String> = config
        .warnings()
        .iter()
        .map(ToString::to_string)
        .filter(|w| w.contains("readable by everybody"))
        .collect();
    for warning in &secrets {
        d.say(ASKED, Weight::Bad, warning.clone());
    }
    if open.is_empty() && writable.is_empty() && secrets.is_empty() {
        let said = format!(
            "nobody else reads {} or changes {} ({} looked at)",
            state.display(),
            config.dir.display(),
            counted(count, "file")
        );
        d.say(ASKED, Weight::Good, said);
    }
}

fn told(d: &mut Diagnosis, paths: &[PathBuf], what: &str, remedy: &str) {
    let Some(first) = paths.first() else { return };
    let more = match paths.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    d.say(ASKED, Weight::Bad, format!("{}{more} {what}: `{remedy} {}`", first.display(), first.display()));
}

fn walk(path: &Path, depth: usize, count: &mut usize, see: &mut dyn FnMut(&Path, &Metadata)) {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return };
    if *count >= MOST {
        return;
    }
    *count += 1;
    see(path, &meta);
    if depth == 0 || !meta.is_dir() {
        return;
    }
    let mut inner: Vec<PathBuf> =
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
    inner.sort();
    for path in inner {
        walk(&path, depth - 1, count, see);
    }
}
