//! Permissions: Lifeboat's configuration, secrets and state are closed to everybody else on this host.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Diagnosis, Question, Weight};
use crate::config::Config;

/// How far below the state folder is looked.
const DEPTH: usize = 4;
/// The most files that are looked at; more are beside the point.
const MOST: usize = 20_000;

const ASKED: Question = Question::Permissions;

/// Looks at Lifeboat's own files.
pub(super) fn look(d: &mut Diagnosis, config: &Config) {
    let state = &config.machine.state_dir;
    let mut count = 0;
    let mut open = Vec::new();
    let mut see = |path: &Path, meta: &Metadata| {
        if meta.mode() & 0o077 != 0 && !meta.file_type().is_symlink() {
            open.push(path.to_owned());
        }
    };
    walk(state, DEPTH, &mut count, &mut see);
    // Keys are closed by themselves, whatever becomes of the folder that they lie in.
    for key in inside(&state.join("keys")) {
        if let Ok(meta) = std::fs::symlink_metadata(&key) {
            see(&key, &meta);
        }
    }
    open.dedup();
    told(d, &open, "is open to others on this host, and may hold keys", "chmod go-rwx");
    let mut writable = Vec::new();
    walk(&config.dir, 3, &mut count, &mut |path, meta| {
        if meta.mode() & 0o022 != 0 && !meta.file_type().is_symlink() {
            writable.push(path.to_owned());
        }
    });
    let what = "can be changed by others: whoever can decides what is backed up, and where to";
    told(d, &writable, what, "chmod go-w");
    let warnings = config.warnings().iter().map(ToString::to_string);
    let secrets: Vec<String> = warnings.filter(|w| w.contains("readable by everybody")).collect();
    for warning in &secrets {
        d.say(ASKED, Weight::Bad, warning.clone());
    }
    if open.is_empty() && writable.is_empty() && secrets.is_empty() {
        let said = format!("nobody else reads {} or changes {}", state.display(), config.dir.display());
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

/// Shows what others can reach: what lies in a folder that is closed to them is closed too.
fn walk(path: &Path, depth: usize, count: &mut usize, see: &mut dyn FnMut(&Path, &Metadata)) {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return };
    if *count >= MOST {
        return;
    }
    *count += 1;
    see(path, &meta);
    if depth == 0 || !meta.is_dir() || meta.mode() & 0o077 == 0 {
        return;
    }
    for path in inside(path) {
        walk(&path, depth - 1, count, see);
    }
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_lies_in_a_closed_folder_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let (inner, file) = (dir.path().join("inner"), dir.path().join("inner/file"));
        fs::create_dir(&inner).unwrap();
        fs::write(&file, "x").unwrap();
        mode(&file, 0o644);
        mode(dir.path(), 0o755);
        let seen = |inner_mode| {
            mode(&inner, inner_mode);
            let mut all = Vec::new();
            walk(dir.path(), 5, &mut 0, &mut |path, _| all.push(path.to_owned()));
            all.contains(&file)
        };
        assert!(!seen(0o700));
        assert!(seen(0o755));
    }
}
