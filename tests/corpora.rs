//! Every parser of bytes that somebody else may have written, on the corpus of its fuzz target and what comes near it:
//! none panics, and what was right once is right still. `tests/fuzz` looks for more.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

#[path = "../fuzz/parsers.rs"]
mod parsers;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The most that all corpora together take, in bytes.
const LIMIT_BYTES: u64 = 200_000;

/// Those that take nothing here: what they are given is signed by, or sealed to, somebody else.
const TAKE_NOTHING: [&str; 2] = ["signature", "wraps"];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut all: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn no_parser_panics_on_its_corpus_or_on_what_comes_near_it() {
    let mut dice = StdRng::seed_from_u64(1);
    for (name, parse) in parsers::ALL {
        let mut taken = 0;
        for file in files(&fuzz().join("corpus").join(name)) {
            let bytes = std::fs::read(file).unwrap();
            taken += u32::from(parse(&bytes));
            for _ in 0..20 {
                let mut near = bytes.clone();
                near.truncate(dice.random_range(0..=bytes.len()));
                parse(&near);
                let mut near = bytes.clone();
                if let Some(at) = near.len().checked_sub(1).map(|last| dice.random_range(0..=last)) {
                    near[at] ^= 1 << dice.random_range(0..8);
                }
                parse(&near);
            }
        }
        assert_eq!(taken == 0, TAKE_NOTHING.contains(&name), "{name} takes {taken} files of its corpus");
    }
}

#[test]
fn every_parser_has_its_target_and_a_small_corpus() {
    let names: BTreeSet<String> = parsers::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let found = |folder: &str| -> BTreeSet<String> {
        let stem = |p: PathBuf| p.file_stem().unwrap().to_str().unwrap().to_owned();
        files(&fuzz().join(folder)).into_iter().map(stem).collect()
    };
    assert_eq!(found("fuzz_targets"), names);
    assert_eq!(found("corpus"), names);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    assert!(names.iter().all(|n| manifest.contains(&format!("fuzz_targets/{n}.rs"))));
    let all = names.iter().flat_map(|n| files(&fuzz().join("corpus").join(n)));
    let bytes: u64 = all.map(|f| f.metadata().unwrap().len()).sum();
    assert!(bytes <= LIMIT_BYTES, "{bytes} bytes");
}
