//! Every parser of bytes that somebody else may have written, as a function that must neither panic nor take more than a
//! moment. The fuzz targets call them, and `tests/corpora.rs` with what the targets have found.
//!
//! Each takes what its public function takes, and tells whether it took them. What is signed is parsed here as if the
//! signature were right.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use lifeboat::component::acme;
use lifeboat::component::archive;
use lifeboat::component::files::{Line, Listing, spell, unspell};
use lifeboat::component::mariadb::Scan;
use lifeboat::component::redis::AofManifest;
use lifeboat::component::site::{self, SiteConfig};
use lifeboat::config::{Config, SourceFile, Surroundings};
use lifeboat::error::{Error, Kind, Result};
use lifeboat::ops::kit::Kit;
use lifeboat::repo::age_file::{Identities, Recipient, generate_identity};
use lifeboat::repo::cache::record::Record;
use lifeboat::repo::certificate::Certificate;
use lifeboat::repo::drill::DrillOutcome;
use lifeboat::repo::pack::Table;
use lifeboat::repo::repository::Repository;
use lifeboat::repo::sign::SigningKey;
use lifeboat::repo::vault::{VaultKey, Wrap, vault_id};
use lifeboat::repo::{frame, manifest, object, receipt, void};
use lifeboat::store::{Body, Download, Entry, Key, PutMode, Store};

/// Takes bytes, or does not.
pub type Parser = fn(&[u8]) -> bool;

/// All of them by name.
pub const ALL: [(&str, Parser); 20] = [
    ("acme", acme),
    ("aof_manifest", aof_manifest),
    ("cache_record", cache_record),
    ("certificate", certificate),
    ("config", config),
    ("drill", drill),
    ("dump", dump),
    ("file_list", file_list),
    ("frame", frame),
    ("kit", kit),
    ("manifest", manifest),
    ("pack_list", pack_list),
    ("pack_table", pack_table),
    ("receipt", receipt),
    ("repository", repository),
    ("signature", signature),
    ("site_config", site_config),
    ("tar", tar),
    ("void_mark", void_mark),
    ("wraps", wraps),
];

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Entries of a Traefik `acme.json`: a whole file, and what a restore merges into one.
pub fn acme(bytes: &[u8]) -> bool {
    let domains = ["erp.example.com".to_owned()];
    drop(acme::merge(br#"{"le":{"Certificates":[]}}"#, bytes, &domains));
    let Ok(entries) = acme::entries_of(bytes, &domains) else { return false };
    acme::merge(bytes, entries.json.to_string().as_bytes(), &domains).is_ok()
}

/// The manifest of Redis' append-only files.
pub fn aof_manifest(bytes: &[u8]) -> bool {
    let Some(Ok(manifest)) = text(bytes).map(|t| AofManifest::parse(t, "manifest")) else { return false };
    manifest.growing().is_none_or(|name| manifest.is_increment(name)) && manifest.base() != Some("")
}

/// A record of a host's cache, whose end may be torn; one that reads is spelled as it was read.
pub fn cache_record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::read(bytes) else { return false };
    let mut again = Vec::new();
    record.write(&mut again);
    assert_eq!(again.get(again.len() - bytes.len()..), Some(bytes));
    true
}

/// A host's certificate.
pub fn certificate(bytes: &[u8]) -> bool {
    object::decode::<Certificate>(&key("hosts/h1.1.json"), "host", bytes).is_ok()
}

/// The host's file, a policy and a tenant's file, with a line `---` between them.
pub fn config(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let names = ["lifeboat.toml", "policies/p.toml", "tenants/t.toml"];
    let files: Vec<SourceFile> =
        names.iter().zip(text.split("\n---\n")).map(|(n, t)| SourceFile::new(*n, t)).collect();
    let around = Surroundings { hostname: "h1".to_owned(), zone: jiff::tz::TimeZone::UTC };
    Config::from_files(Path::new("/etc/lifeboat"), &files, &around).is_ok()
}

/// The clear outcome of a drill.
pub fn drill(bytes: &[u8]) -> bool {
    object::decode::<DrillOutcome>(&key("tenants/t/drills/d.json"), "drill", bytes).is_ok()
}

/// A dump of a database; how it is cut into pieces on its way changes nothing.
pub fn dump(bytes: &[u8]) -> bool {
    let (mut whole, mut pieces) = (Scan::new(), Scan::new());
    whole.push(bytes);
    for piece in bytes.chunks(7) {
        pieces.push(piece);
    }
    let scanned = whole.finish();
    assert_eq!(format!("{scanned:?}"), format!("{:?}", pieces.finish()));
    scanned.trailer
}

/// The list of a site's files; a line that reads comes back when it is spelled.
pub fn file_list(bytes: &[u8]) -> bool {
    for line in bytes.split(|b| *b == b'\n') {
        if let Ok(line) = Line::parse(line) {
            let again = Line::parse(&line.to_json()).expect("a line that is spelled can be read");
            assert_eq!(again, line);
        }
        assert_eq!(unspell(&spell(line)).as_deref(), Some(line));
    }
    let mut listing = Listing::new(Box::pin(std::io::Cursor::new(bytes.to_vec())));
    loop {
        match futures::executor::block_on(listing.next()) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// A zstd frame of a pack behind the length that the pack's table gives.
pub fn frame(bytes: &[u8]) -> bool {
    let Some((length, compressed)) = bytes.split_first_chunk::<4>() else { return false };
    frame::open(compressed, u32::from_le_bytes(*length) % (32 << 20), &lifeboat::repo::reader::frame_memory())
        .is_ok()
}

/// A recovery kit.
pub fn kit(bytes: &[u8]) -> bool {
    let Some(Ok(kit)) = text(bytes).map(Kit::parse) else { return false };
    kit.identities().is_ok()
}

/// The text of a manifest.
pub fn manifest(bytes: &[u8]) -> bool {
    manifest::decode_lines(bytes).is_ok()
}

/// A pack list.
pub fn pack_list(bytes: &[u8]) -> bool {
    receipt::parse_pack_list(&Bytes::copy_from_slice(bytes)).is_ok()
}

/// The table of a pack with its skippable frame; one that reads is spelled as it was read.
pub fn pack_table(bytes: &[u8]) -> bool {
    drop(Table::parse(bytes));
    let Ok(table) = Table::read(&mut &bytes[..]) else { return false };
    let again = table.to_bytes();
    assert_eq!(bytes.get(..again.len()), Some(&again[..]));
    let layout = table.layout();
    let last = table.decompressed_bytes().checked_sub(1).map(|last| layout.frame_of(last));
    assert!(last.is_none_or(|frame| frame.is_some()));
    true
}

/// A receipt.
pub fn receipt(bytes: &[u8]) -> bool {
    receipt::parse(&key("tenants/t/snapshots/s.json"), bytes).is_ok()
}

/// `lifeboat.json`.
pub fn repository(bytes: &[u8]) -> bool {
    let store = Arc::new(One(Bytes::copy_from_slice(bytes)));
    futures::executor::block_on(Repository::open(store, None)).is_ok()
}

/// A signature; none of a key that nobody has is right.
pub fn signature(bytes: &[u8]) -> bool {
    static SIGNER: LazyLock<SigningKey> =
        LazyLock::new(|| SigningKey::generate("fuzz", None).expect("a key").0);
    assert!(SIGNER.public().verify(&key("a.json"), b"{}", bytes).is_err());
    false
}

/// A site's configuration, merged and muted.
pub fn site_config(bytes: &[u8]) -> bool {
    let Ok(mut config) = SiteConfig::parse(bytes) else { return false };
    drop(site::merge(&config, Some(&config)));
    site::mute(&mut config, "drill.example.com");
    config.to_json().is_ok()
}

/// A tar of ours.
pub fn tar(bytes: &[u8]) -> bool {
    let mut reader = archive::Reader::new(bytes);
    let mut buffer = [0; 4096];
    loop {
        match reader.next_entry() {
            Ok(Some((entry, _))) => assert!(archive::check_path(&entry.path).is_ok()),
            Ok(None) => return true,
            Err(_) => return false,
        }
        while matches!(reader.content(&mut buffer), Ok(n) if n > 0) {}
    }
}

/// A void mark, and the receipts that it forgets.
pub fn void_mark(bytes: &[u8]) -> bool {
    let Ok(mark) = void::parse(&key("tenants/t/void/1.json"), bytes) else { return false };
    let joined = void::joined(mark.forgotten);
    assert!(joined.windows(2).all(|w| w[0].to < w[1].from));
    true
}

/// A wrap, opened by somebody for whom it is not.
pub fn wraps(bytes: &[u8]) -> bool {
    static OPERATOR: LazyLock<Identities> =
        LazyLock::new(|| Identities::of_secret(&generate_identity().0).expect("an identity"));
    static VAULT: LazyLock<Recipient> = LazyLock::new(|| generate_identity().1);
    let wrap = Wrap::of(Bytes::copy_from_slice(bytes));
    assert!(VaultKey::open(&vault_id(&VAULT), &[wrap], &OPERATOR).is_err());
    false
}

/// A store whose every object is this one.
#[derive(Debug)]
struct One(Bytes);

impl One {
    fn entry(&self, key: Key) -> Entry {
        Entry { key, size_bytes: self.0.len() as u64, modified: jiff::Timestamp::UNIX_EPOCH, version: None }
    }
}

#[async_trait::async_trait]
impl Store for One {
    fn address(&self) -> String {
        "memory".to_owned()
    }

    async fn put(&self, _key: &Key, _body: Body, _mode: PutMode) -> Result<Entry> {
        Err(Error::new(Kind::Denied, "nothing is stored here"))
    }

    async fn get(&self, _key: &Key, _version: Option<&str>) -> Result<Download> {
        Ok(Download::of(self.0.clone()))
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(Some(self.entry(key.clone())))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(prefix.parse().ok().into_iter().map(|key| self.entry(key)).collect())
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.list(prefix).await
    }

    async fn delete(&self, _key: &Key, _version: Option<&str>) -> Result<()> {
        Ok(())
    }

    async fn sweep(&self, _older_than: Duration) -> Result<u64> {
        Ok(0)
    }
}
