use proptest::prelude::*;
use serde_json::json;

use super::decode::decode_lines;
use super::*;
use crate::error::Kind;
use crate::id::Sha256;
use crate::repo::extent::{Cutter, Digest, Extent, Segment};
use crate::repo::vault::VaultKey;

fn segment(n: u32, content: &[u8]) -> Segment {
    let length = u32::try_from(content.len()).unwrap();
    let extents = if content.is_empty() { vec![] } else { vec![Extent { pack: n % 3, offset: n, length }] };
    Segment { size_bytes: content.len() as u64, sha256: Sha256::of(content), extents }
}

fn stream(component: ComponentName, name: &str, segments: Vec<Segment>) -> StreamRecord {
    StreamRecord {
        component,
        stream: name.to_owned(),
        cutter: Cutter { name: "fastcdc-2020".into(), min: 512, average: 2048, max: 8192 },
        size_bytes: segments.iter().map(|s| s.size_bytes).sum(),
        digest: Digest::of(&segments),
        segments,
    }
}

fn sample() -> Manifest {
    let component = |component, state| ComponentRecord {
        component,
        state,
        lacks: vec![],
        reason: None,
        detail: None,
        record: json!({"image": "mariadb"}),
    };
    let mut failed = component(ComponentName::RedisCache, State::Failed);
    failed.reason = Some("host".into());
    failed.detail = Some("container is dead".into());
    let many = (0..1500).map(|i| Extent { pack: i % 3, offset: i * 7, length: 2 }).collect();
    let scattered = Segment { size_bytes: 3000, sha256: Sha256::of(b"x"), extents: many };
    Manifest {
        header: Header {
            repository: "00112233445566778899aabbccddeeff".parse().unwrap(),
            tenant: "byrne".parse().unwrap(),
            snapshot: "20261123t020000z-1a2b3c4d".parse().unwrap(),
            host: "h1".parse().unwrap(),
            started: "2026-11-23T02:00:00Z".parse().unwrap(),
            label: Some("before ‘update’".into()),
            packs: 3,
        },
        components: vec![
            component(ComponentName::Database, State::Whole),
            component(ComponentName::Files, State::Lacking),
            failed,
        ],
        streams: vec![
            stream(ComponentName::Database, "sql", vec![scattered]),
            stream(ComponentName::Files, "tar", vec![segment(1, b"a"), segment(2, b""), segment(3, b"ccc")]),
            stream(ComponentName::Files, "list", vec![]),
        ],
    }
}

fn text_of(manifest: &Manifest, key: &VaultKey) -> String {
    use std::io::Read;
    let object = encode(manifest, key.recipient()).unwrap();
    let opened = crate::repo::age_file::opener("m", &object[..], key.identities()).unwrap();
    let mut text = String::new();
    zstd::stream::read::Decoder::new(opened).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_manifest_comes_back_as_it_was() {
    let key = VaultKey::generate();
    let object = encode(&sample(), key.recipient()).unwrap();
    assert_eq!(decode(&object, key.identities()).unwrap(), sample());
    let other = VaultKey::generate();
    assert_eq!(decode(&object, other.identities()).unwrap_err().kind(), Kind::WrongKey);
}

#[test]
fn extents_are_split_over_lines() {
    let text = text_of(&sample(), &VaultKey::generate());
    assert_eq!(text.lines().filter(|l| l.contains(r#""line":"extents""#)).count(), 3 + 2);
    assert!(text.ends_with(&format!("{{\"line\":\"end\",\"lines\":{}}}\n", text.lines().count() - 1)));
}

#[test]
fn a_manifest_that_lacks_any_line_is_damaged() {
    let text = text_of(&sample(), &VaultKey::generate());
    let lines: Vec<&str> = text.lines().collect();
    for skip in 0..lines.len() {
        let cut: String =
            lines.iter().enumerate().filter(|(i, _)| *i != skip).map(|(_, l)| format!("{l}\n")).collect();
        assert_eq!(decode_lines(cut.as_bytes()).unwrap_err().kind(), Kind::Damaged, "without line {skip}");
    }
    assert_eq!(decode_lines(&text.as_bytes()[..text.len() - 1]).unwrap_err().kind(), Kind::Damaged);
    let more = format!("{text}{{\"line\":\"later\"}}\n");
    assert_eq!(decode_lines(more.as_bytes()).unwrap_err().kind(), Kind::Damaged);
}

#[test]
fn unknown_lines_fields_and_components_are_left_out() {
    let text = text_of(&sample(), &VaultKey::generate());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[0] = lines[0].replacen('{', r#"{"mood":"calm","#, 1);
    lines.insert(1, r#"{"line":"weather","sun":true}"#.into());
    lines.insert(2, r#"{"line":"component","component":"physical","state":"odd"}"#.into());
    let end = lines.pop().unwrap();
    lines.push(
        r#"{"line":"stream","component":"physical","stream":"x","cutter":7,"size":1,"digest":"?","segments":9}"#.into(),
    );
    lines.push(r#"{"line":"segment","size":1,"sha256":"00","#.to_owned() + r#""odd":1}"#);
    let n: u64 = lines.len() as u64;
    assert!(end.contains("\"end\""));
    lines.push(format!(r#"{{"line":"end","lines":{n}}}"#));
    let text =
        lines.join("\n").replace(r#""sha256":"00""#, &format!(r#""sha256":"{}""#, "0".repeat(64))) + "\n";
    assert_eq!(decode_lines(text.as_bytes()).unwrap(), sample());
}

#[test]
fn a_newer_manifest_is_refused_by_name() {
    let text = text_of(&sample(), &VaultKey::generate()).replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(decode_lines(text.as_bytes()).unwrap_err().kind(), Kind::TooNew);
}

#[test]
fn extents_outside_their_packs_and_wrong_sums_are_damaged() {
    let text = text_of(&sample(), &VaultKey::generate());
    for (from, to) in [
        ("[1,1,1]", "[3,1,1]"),
        ("[1,1,1]", "[1,4294967295,1]"),
        ("[1,1,1]", "[1,1,0]"),
        ("[1,1,1]", "[1,1,2]"),
        ("[1,1,1]", "[1,-1,1]"),
        (r#""segments":3"#, r#""segments":2"#),
        (r#""segments":3"#, r#""segments":4"#),
        (r#""stream":"list""#, r#""stream":"tar""#),
        (r#""stream":"list""#, r#""stream":"../x""#),
        (r#""component":"files","state":"lacking""#, r#""component":"files","state":"failed""#),
        (r#""component":"redis-cache""#, r#""component":"files""#),
        ("segments:", "sha256:"),
        ("segments:", "md5:"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text, "{from}");
        assert_eq!(decode_lines(bad.as_bytes()).unwrap_err().kind(), Kind::Damaged, "{from} -> {to}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_do_not_panic(junk in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(decode_lines(&junk[..]).is_err());
    }

    #[test]
    fn a_manifest_with_bytes_changed_never_panics(at in 0usize..100_000, to in proptest::collection::vec(any::<u8>(), 1..8)) {
        let mut text = text_of(&sample(), &VaultKey::generate()).into_bytes();
        let at = at % text.len();
        let end = (at + to.len()).min(text.len());
        text[at..end].copy_from_slice(&to[..end - at]);
        if let Err(e) = decode_lines(&text[..]) {
            prop_assert!(matches!(e.kind(), Kind::Damaged | Kind::TooNew), "{e}");
        }
    }
}
