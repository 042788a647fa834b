//! What was measured, and what follows from it for a first backup.
//!
//! Owns the arithmetic from a stage's own speed to what a backup gets out of it. Measures nothing.

use serde::Serialize;

/// A stage of a backup, or of the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Cutting SQL into chunks.
    ChunkRows,
    /// Cutting other files into chunks.
    ChunkFiles,
    /// Naming chunks: HMAC-SHA256.
    KeyedHash,
    /// Compressing and proving frames of SQL as a first backup does.
    ZstdFirst,
    /// The same as later backups do.
    ZstdLater,
    /// The same with bytes that do not compress.
    ZstdNoise,
    /// Encrypting packs, and hashing the result for its name.
    Age,
    /// Writing packs into the spool, until they are on its disk.
    Spool,
    /// Putting packs into the store.
    StorePut,
    /// Getting them back.
    StoreGet,
}

impl Stage {
    /// The stages that need no store, in the order of a backup.
    pub const LOCAL: [Stage; 8] = [
        Stage::ChunkRows,
        Stage::ChunkFiles,
        Stage::KeyedHash,
        Stage::ZstdFirst,
        Stage::ZstdLater,
        Stage::ZstdNoise,
        Stage::Age,
        Stage::Spool,
    ];

    /// Returns its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Stage::ChunkRows => "chunking, SQL",
            Stage::ChunkFiles => "chunking, files",
            Stage::KeyedHash => "keyed hash",
            Stage::ZstdFirst => "zstd, first backup",
            Stage::ZstdLater => "zstd, later",
            Stage::ZstdNoise => "zstd, incompressible",
            Stage::Age => "age encryption",
            Stage::Spool => "spool, to the disk",
            Stage::StorePut => "store, put",
            Stage::StoreGet => "store, get",
        }
    }
}

/// The speed of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// Which.
    pub stage: Stage,
    /// MB of its own input a second, on one core, or by one transfer at a time.
    pub one_mb_s: f64,
    /// The same on all cores, or by as many transfers as a backup makes at a time.
    pub all_mb_s: f64,
    /// MB of SQL a second that a first backup could read if only this stage held it up; none where it takes no part.
    pub first_backup_mb_s: Option<f64>,
}

/// What holds a first backup up most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bottleneck {
    /// The stage, or the slower one of two that take turns on a core.
    pub stage: Stage,
    /// MB of SQL a second that it lets pass.
    pub mb_s: f64,
}

/// How many cores compress in a backup.
const PRESSES: f64 = 2.0;

/// Says what a stage lets pass, where `ratio` is the share of SQL that is left after compression.
pub fn figure(stage: Stage, one_mb_s: f64, all_mb_s: f64, ratio: f64) -> Figure {
    let first_backup_mb_s = match stage {
        // A stream has one thread for both.
        Stage::ChunkRows | Stage::KeyedHash => Some(one_mb_s),
        Stage::ZstdFirst => Some(all_mb_s.min(PRESSES * one_mb_s)),
        Stage::Age | Stage::Spool => Some(one_mb_s / ratio),
        Stage::StorePut => Some(all_mb_s / ratio),
        Stage::ChunkFiles | Stage::ZstdLater | Stage::ZstdNoise | Stage::StoreGet => None,
    };
    Figure { stage, one_mb_s, all_mb_s, first_backup_mb_s }
}

/// Finds what holds a first backup up most: cutting and naming take turns on one core, the others run beside them.
pub fn bottleneck(figures: &[Figure]) -> Option<Bottleneck> {
    let own = |f: &Figure| Some(Bottleneck { stage: f.stage, mb_s: f.first_backup_mb_s? });
    let turns = |b: &Bottleneck| matches!(b.stage, Stage::ChunkRows | Stage::KeyedHash);
    let (on_one_core, beside): (Vec<_>, Vec<_>) = figures.iter().filter_map(own).partition(turns);
    let seconds_a_mb: f64 = on_one_core.iter().map(|b| 1.0 / b.mb_s).sum();
    let slower = on_one_core.into_iter().min_by(|a, b| a.mb_s.total_cmp(&b.mb_s));
    let stream = slower.map(|b| Bottleneck { mb_s: 1.0 / seconds_a_mb, ..b });
    beside.into_iter().chain(stream).min_by(|a, b| a.mb_s.total_cmp(&b.mb_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_part_of_a_first_backup_is_found() {
        let at = |zstd: f64, put: f64| {
            let all = [
                figure(Stage::ChunkRows, 600.0, 1200.0, 0.1),
                figure(Stage::KeyedHash, 300.0, 600.0, 0.1),
                figure(Stage::ZstdFirst, zstd, zstd * 8.0, 0.1),
                figure(Stage::ZstdNoise, 1.0, 1.0, 0.1),
                figure(Stage::StorePut, 1.0, put, 0.1),
            ];
            bottleneck(&all).unwrap()
        };
        let stream = at(400.0, 100.0);
        assert_eq!(stream.stage, Stage::KeyedHash);
        assert!((stream.mb_s - 200.0).abs() < 1e-9, "they take turns: {}", stream.mb_s);
        assert_eq!(at(50.0, 100.0), Bottleneck { stage: Stage::ZstdFirst, mb_s: 100.0 });
        assert_eq!(at(400.0, 10.0), Bottleneck { stage: Stage::StorePut, mb_s: 100.0 });
        assert_eq!(bottleneck(&[]), None);
    }
}
