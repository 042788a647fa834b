use super::*;
use crate::id::Sha256;

const DATABASE: ComponentName = ComponentName::Database;
const FILES: ComponentName = ComponentName::Files;

/// One tenant's folder, night after night.
struct House {
    folder: tempfile::TempDir,
    nights: Nights,
    at: i64,
}

impl House {
    fn new() -> House {
        House { folder: tempfile::tempdir().unwrap(), nights: Nights::default(), at: 1_800_000_000 }
    }

    /// Backs up a table of so many rows and these files; returns the words of what looks wrong.
    fn night(&mut self, rows: u64, files: &[String]) -> Vec<&'static str> {
        let tables = BTreeMap::from([("tabGL Entry".to_owned(), rows)]);
        let database = Measured { bytes: 1 << 20, tables, ..Measured::default() };
        let mut census = Census::default();
        files.iter().for_each(|f| census.saw(f.as_bytes(), &Sha256::of(b"x")));
        let (mut tonight, folder) = (Tonight::default(), self.folder.path().to_owned());
        let mut found = self.nights.judge(DATABASE, database, None, &folder, &mut tonight).unwrap();
        let more = self.nights.judge(FILES, Measured::default(), Some(&census), &folder, &mut tonight);
        found.extend(more.unwrap());
        self.at += 86_400;
        let at = Timestamp::from_second(self.at).unwrap();
        let snapshot = SnapshotId::new(at, [1; 4]);
        self.nights.committed(tonight, &snapshot, at, &folder).unwrap();
        self.nights = state::read_json(&file(&folder)).unwrap().unwrap();
        found.iter().map(|a| a.check.word()).collect()
    }
}

fn files(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("private/files/{n}.pdf")).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn the_first_night_is_held_against_nothing() {
    let mut house = House::new();
    assert_eq!(house.night(1000, &files(40)), NOTHING);
    assert_eq!(house.night(1010, &files(41)), NOTHING);
    assert!(house.nights.suspects().is_empty());
}

#[test]
fn a_loss_is_told_every_night_until_the_rows_are_back() {
    let mut house = House::new();
    house.night(1000, &files(40));
    assert_eq!(house.night(500, &files(40)), ["rows"]);
    let since = house.nights.suspects()[&DATABASE].since;
    assert_eq!(house.night(490, &files(40)), ["rows"]);
    assert_eq!(house.nights.suspects()[&DATABASE].since, since);
    assert_eq!(house.night(1001, &files(40)), NOTHING);
    assert!(house.nights.suspects().is_empty());
}

#[test]
fn files_are_held_against_the_last_night_that_looked_right() {
    let mut house = House::new();
    house.night(1000, &files(40));
    assert_eq!(house.night(1000, &files(20)), ["files-gone"]);
    assert_eq!(house.night(1000, &files(20)), ["files-gone"]);
    assert_eq!(house.night(1000, &files(39)), NOTHING);
}

#[test]
fn one_component_that_looks_wrong_does_not_hold_up_the_other() {
    let mut house = House::new();
    house.night(1000, &files(40));
    assert_eq!(house.night(500, &files(50)), ["rows"]);
    assert_eq!(house.night(500, &files(30)), ["rows", "files-gone"], "20 of the 50 of last night are gone");
}

#[test]
fn what_is_remembered_from_nights_without_end_is_bounded() {
    let mut house = House::new();
    (0..40).for_each(|_| drop(house.night(1000, &[])));
    assert_eq!(house.nights.usual[&DATABASE].len(), USUAL_NIGHTS);
}
