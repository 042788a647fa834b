//! Nights of changes to a tree, at random.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::tree::path;

/// One change; the numbers choose among names.
#[derive(Debug, Clone)]
pub enum Change {
    Write { at: Vec<usize>, size: usize, seed: u8 },
    Folder { at: Vec<usize> },
    Link { at: Vec<usize>, to: usize },
    HardLink { at: Vec<usize>, to: Vec<usize> },
    Remove { at: Vec<usize> },
    Rename { at: Vec<usize>, to: Vec<usize> },
    Mode { at: Vec<usize>, mode: u32 },
    Time { at: Vec<usize>, seconds: i64 },
}

/// Names that sort badly, are long, or are not text.
fn names() -> [Vec<u8>; 11] {
    let words = [
        &b"a"[..],
        b"a-b",
        b"a.txt",
        b"a b%41",
        b"\xff\xfe",
        "Rechnung Müller.pdf".as_bytes(),
        b"\n",
        b"..x",
    ];
    let mut names = words.map(<[u8]>::to_vec).to_vec();
    names.push(vec![b'l'; 99]);
    names.push(vec![b'l'; 101]);
    names.push(vec![b'L'; 255]);
    names.try_into().unwrap()
}

fn at(parts: &[usize]) -> PathBuf {
    parts.iter().map(|i| path(&names()[i % names().len()]).to_owned()).collect()
}

fn place() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..names().len(), 1..4)
}

pub fn change() -> impl Strategy<Value = Change> {
    let size = prop_oneof![8 => 0..3000_usize, 1 => Just(512), 1 => Just((1 << 20) - 1), 1 => (1 << 20)..(3 << 20) + 7_usize];
    prop_oneof![
        6 => (place(), size, any::<u8>()).prop_map(|(at, size, seed)| Change::Write { at, size, seed }),
        4 => place().prop_map(|at| Change::Folder { at }),
        1 => (place(), 0..names().len()).prop_map(|(at, to)| Change::Link { at, to }),
        1 => (place(), place()).prop_map(|(at, to)| Change::HardLink { at, to }),
        2 => place().prop_map(|at| Change::Remove { at }),
        2 => (place(), place()).prop_map(|(at, to)| Change::Rename { at, to }),
        1 => (place(), 0..0o10000_u32).prop_map(|(at, mode)| Change::Mode { at, mode }),
        1 => (place(), -1_000_000_000..3_000_000_000_i64).prop_map(|(at, seconds)| Change::Time { at, seconds }),
    ]
}

/// Does what can be done; a change that does not fit the tree is no change.
pub fn apply(root: &Path, change: &Change) {
    let full = |parts: &[usize]| root.join(at(parts));
    let done = match change {
        Change::Write { at, size, seed } => {
            let target = full(at);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).ok();
            }
            fs::write(target, vec![*seed; *size])
        }
        Change::Folder { at } => fs::create_dir_all(full(at)),
        Change::Link { at, to } => symlink(path(&names()[*to]), full(at)),
        Change::HardLink { at, to } => fs::hard_link(full(to), full(at)),
        Change::Remove { at } => fs::remove_dir_all(full(at)).or_else(|_| fs::remove_file(full(at))),
        Change::Rename { at, to } => fs::rename(full(at), full(to)),
        Change::Mode { at, mode } if !full(at).is_symlink() => {
            fs::set_permissions(full(at), fs::Permissions::from_mode(*mode))
        }
        Change::Time { at, seconds } if !full(at).is_symlink() => fs::File::open(full(at)).and_then(|f| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.unsigned_abs());
            let before = std::time::UNIX_EPOCH - std::time::Duration::from_secs(seconds.unsigned_abs());
            f.set_modified(if *seconds < 0 { before } else { time })
        }),
        _ => Ok(()),
    };
    done.ok();
}
