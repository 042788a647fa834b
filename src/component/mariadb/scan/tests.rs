use super::*;

const HEAD: &str = "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\n--\n-- Host: localhost    Database: erp\n\
    -- ------------------------------------------------------\n-- Server version\t10.11.19\n\n/*!40101 SET NAMES utf8mb4 */;\n";
const END: &str = "/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n-- Dump completed\n";

const BODY: &str = "\n--\n-- Sequence structure for `s``1`\n--\n\nCREATE SEQUENCE `s``1` start with 1;\n\
    DO SETVAL(`s``1`, 15, 0);\n\n--\n-- Table structure for table `tab Space Name`\n--\n\n\
    CREATE TABLE `tab Space Name` (\n  `a` int\n);\n\n--\n-- Dumping data for table `tab Space Name`\n--\n\n\
    INSERT INTO `tab Space Name` VALUES\n(1,'x;\\n(y);'),\n(2,'z');\nINSERT INTO `tab Space Name` VALUES\n(3,NULL);\n\
    DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`%`*/ /*!50003 trigger t1 after insert on x for each row begin\n\
    INSERT INTO `log` VALUES\n(1);\n-- Dump completed\nend */;;\nDELIMITER ;\n\n--\n\
    -- Dumping data for table `empty`\n--\n\n--\n-- Dumping events for database 'erp'\n--\n\
    /*!50106 DROP EVENT IF EXISTS `e1` */;\nDELIMITER ;;\n/*!50106 CREATE*/ EVENT;;\nDELIMITER ;\n\n--\n\
    -- Dumping routines for database 'erp'\n--\n/*!50003 DROP FUNCTION IF EXISTS `f1` */;\nDELIMITER ;;\nCREATE f;;\nDELIMITER ;\n\
    /*!50001 VIEW `v1` AS select 1 */;\n";

const BINLOG_HEAD: &str = "-- CHANGE MASTER TO MASTER_USE_GTID=slave_pos;\n\n--\n-- Alternately, following is the position\n--\n\n\
    -- CHANGE MASTER TO MASTER_LOG_FILE='bin.000001', MASTER_LOG_POS=1941;\n";
const BINLOG_END: &str = "\n-- The deferred gtid setting for slave corresponding to the master-data CHANGE-MASTER follows\n\n\
    -- Preferably use GTID to start replication from GTID position:\n\n-- SET GLOBAL gtid_slave_pos='0-1-10';\n";

fn scan(text: &str, step: usize) -> Scanned {
    let mut scan = Scan::new();
    for piece in text.as_bytes().chunks(step) {
        scan.push(piece);
    }
    scan.finish()
}

fn plain() -> String {
    [HEAD, BODY, END].concat()
}

#[test]
fn all_kinds_of_objects_are_seen_wherever_the_pieces_end() {
    let whole = scan(&plain(), 1 << 20);
    assert!(whole.header && whole.trailer);
    let tables: Vec<_> = whole.tables.iter().map(|(n, r)| (n.as_str(), *r)).collect();
    assert_eq!(tables, [("empty", Some(0)), ("tab Space Name", Some(3))]);
    assert!(whole.sequences.contains("s`1") && whole.views.contains("v1") && whole.events.contains("e1"));
    assert!(whole.routines.contains("function f1"));
    assert_eq!(whole.triggers, 1);
    for step in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(scan(&plain(), step), whole, "step {step}");
    }
}

#[test]
fn a_dump_without_its_trailer_at_the_very_end_is_not_whole() {
    let text = plain();
    assert!(!scan(text.strip_suffix("-- Dump completed\n").unwrap(), 9).trailer);
    assert!(!scan(text.strip_suffix('\n').unwrap(), 9).trailer);
    assert!(!scan(&format!("{text}DROP TABLE `x`;\n"), 9).trailer);
    for end in (0..text.len()).step_by(17) {
        assert!(!scan(&text[..end], 100).trailer, "cut at {end}");
    }
}

#[test]
fn binlog_positions_are_read_and_do_not_change_the_digest() {
    let with = [HEAD, BINLOG_HEAD, BODY, BINLOG_END, END].concat();
    let (a, b) = (scan(&plain(), 50), scan(&with, 50));
    assert_eq!(a.body_sha256, b.body_sha256);
    assert_eq!(a.binlog, None);
    let expected = BinlogPosition { file: "bin.000001".into(), position: 1941, gtid: Some("0-1-10".into()) };
    assert_eq!(b.binlog, Some(expected));
}

#[test]
fn another_host_version_or_database_name_does_not_change_the_digest() {
    let other = plain()
        .replace("Database: erp", "Database: new")
        .replace("'erp'", "'new'")
        .replace("10.11.19", "11.8.1");
    assert_eq!(scan(&plain(), 50).body_sha256, scan(&other, 50).body_sha256);
}

#[test]
fn every_other_byte_changes_the_digest() {
    let base = scan(&plain(), 50).body_sha256;
    let start = HEAD.find("/*!40101 SET NAMES").unwrap();
    let text = plain();
    let end = text.len() - "\n-- Dump completed\n".len();
    let names = ["-- Dumping events", "-- Dumping routines"].map(|s| text.find(s).unwrap());
    for at in start..end {
        let line_start = text[..at].rfind('\n').unwrap() + 1;
        // Comments before the first object, and the two that name the database.
        if names.contains(&line_start) || (HEAD.len()..HEAD.len() + 6).contains(&at) {
            continue;
        }
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'#' { b'$' } else { b'#' };
        let changed = scan(std::str::from_utf8(&bytes).unwrap(), 50);
        assert_ne!(changed.body_sha256, base, "byte {at}: {:?}", &text[at..at + 5]);
    }
}

#[test]
fn rows_longer_than_memory_allows_are_counted() {
    let row = format!("(1,0x{}),\n(2,0x{});\n", "AB".repeat(300_000), "CD".repeat(300_000));
    let text = format!(
        "{HEAD}\n-- Dumping data for table `big`\nINSERT INTO `big` VALUES\n{row}CREATE SEQUENCE `s` x;\n{END}"
    );
    for step in [1 << 20, 32 * 1024, 777] {
        let seen = scan(&text, step);
        assert_eq!(seen.tables["big"], Some(2));
        assert!(seen.sequences.contains("s") && seen.trailer);
    }
}

#[test]
fn rows_of_an_older_client_that_share_a_line_are_not_guessed() {
    let text = format!("{HEAD}\n-- Dumping data for table `t`\nINSERT INTO `t` VALUES (1),(2);\n{END}");
    assert_eq!(scan(&text, 100).tables["t"], None);
}
