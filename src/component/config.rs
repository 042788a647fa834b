//! The component `config`: what a tenant needs to run again besides its data, as a tar of named files.
//!
//! Promises stable names (`site/site_config.json`, `site/common_site_config.json`, `compose/…`, `containers/<name>.json`,
//! `traefik/…`, `dns/…`, `authentik/…`), the same bytes for the same input, and that each file named as needed is there or listed in `lacks`;
//! one that is optional and absent is a warning. Where members go at a restore is the caller's to say, with
//! [`places`] as a proposal; how a `site_config.json` is merged is `component::site`'s.
//!
//! Does not follow symbolic links unless told to, does not keep empty folders, and takes no file over 16 MiB.

use serde_json::Value;

use super::archive::Archive;
use super::{Dump, Source};
use crate::error::{Context, Kind, Result};

pub(super) mod collect;
mod place;

pub use collect::{Item, places};
pub use place::{Staged, Waiting, stage};

/// Gathers the items and returns them as a dump; `record` is kept in the manifest beside the members' places.
///
/// A name that stands twice fails it. To be called within a Tokio runtime.
pub async fn dump(items: Vec<Item>, record: Value) -> Result<Dump> {
    let gathering = tokio::task::spawn_blocking(move || collect::collect(items));
    let collect::Collected { archive, mut completion, .. } =
        gathering.await.context(Kind::Bug, "config task")??;
    completion.record["about"] = record;
    Ok(archive.into_dump(completion))
}

/// Reads the members back; they are put to their places by [`stage`] and [`Staged::swap`].
pub async fn load(tar: Source) -> Result<Archive> {
    Archive::read(tar).await
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::super::{Completion, Piece};
    use super::*;

    async fn taken(mut dump: Dump) -> (Archive, Vec<u8>, Completion) {
        let mut tar = Vec::new();
        while let Some(piece) = dump.pieces.recv().await {
            if let Piece::Bytes(bytes) = piece {
                tar.extend_from_slice(&bytes);
            }
        }
        let completion = dump.completion.await.unwrap();
        (load(Box::pin(std::io::Cursor::new(tar.clone()))).await.unwrap(), tar, completion)
    }

    fn host(root: &Path) -> Vec<Item> {
        fs::create_dir_all(root.join("traefik/deep")).unwrap();
        fs::write(root.join("site_config.json"), r#"{"db_name":"_1"}"#).unwrap();
        fs::write(root.join("traefik/byrne.yml"), "http: {}").unwrap();
        fs::write(root.join("traefik/deep/tls.yml"), "tls: {}").unwrap();
        fs::write(root.join("traefik/.lifeboat-x"), "ours").unwrap();
        vec![
            Item::file("site/site_config.json", root.join("site_config.json")),
            Item::folder("traefik", root.join("traefik")),
            Item::json("containers/db.json", &json!({"b": {"z": 1, "a": [2]}, "a": null})),
            Item::text("dns/zone", "@ SOA"),
        ]
    }

    #[tokio::test]
    async fn files_folders_and_values_stand_under_their_names_and_come_back() {
        let root = tempfile::tempdir().unwrap();
        let (archive, tar, completion) =
            taken(dump(host(root.path()), json!({"images": 1})).await.unwrap()).await;
        let names: Vec<&str> = archive.members().map(|(name, _)| name).collect();
        let expected = [
            "containers/db.json",
            "dns/zone",
            "site/site_config.json",
            "traefik/byrne.yml",
            "traefik/deep/tls.yml",
        ];
        assert_eq!(names, expected);
        assert!(completion.lacks.is_empty() && completion.warnings.is_empty());
        assert_eq!(completion.record["about"]["images"], 1);
        let places = places(&completion.record).unwrap();
        assert_eq!(places["traefik/deep/tls.yml"], root.path().join("traefik/deep/tls.yml"));
        assert!(!places.contains_key("dns/zone"));
        let (_, again, _) = taken(dump(host(root.path()), json!({})).await.unwrap()).await;
        assert_eq!(tar, again);
    }

    #[tokio::test]
    async fn what_is_needed_and_absent_lacks_and_what_is_optional_is_a_warning() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("half.json"), "{\"a\":").unwrap();
        std::os::unix::fs::symlink("half.json", root.path().join("link.yml")).unwrap();
        let items = vec![
            Item::file("a", root.path().join("absent")),
            Item::file("b", root.path().join("absent")).optional(),
            Item::folder("c", root.path().join("absent")).optional(),
            Item::file("d.json", root.path().join("half.json")),
            Item::file("e", root.path().join("link.yml")),
            Item::file("f", root.path().join("link.yml")).through_links(),
            Item::file("g", root.path()),
            Item::file("h", "/dev/zero"),
            Item::missing("i", "nobody answers"),
            Item::missing("j", "it has none").optional(),
        ];
        let (archive, _, completion) = taken(dump(items, Value::Null).await.unwrap()).await;
        assert_eq!(completion.lacks, ["a", "d.json", "e", "g", "h", "i"]);
        assert_eq!(completion.warnings.len(), 9);
        assert!(completion.warnings.contains(&"i: nobody answers".to_owned()));
        let names: Vec<&str> = archive.members().map(|(name, _)| name).collect();
        assert_eq!(names, ["d.json", "f"], "what is half is kept, and named");
    }

    #[tokio::test]
    async fn a_name_twice_fails_the_component() {
        assert!(dump(vec![Item::text("a", "1"), Item::text("a", "2")], Value::Null).await.is_err());
    }
}
