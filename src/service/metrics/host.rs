//! The service itself, its host's disks and its queue.

use std::fs;

use jiff::Timestamp;

use super::page::{Labels, Page};
use crate::service::desk::Sight;

/// What Linux counts processor time in for user space: a constant of its interface, see proc(5) and getauxval(3).
const TICKS_PER_SECOND: f64 = 100.0;

pub fn write(sight: &Sight, page: &mut Page) {
    let one = || Labels::default();
    let seconds = |at: Option<Timestamp>| at.map(|at| (Labels::default(), at.as_second()));
    let build = one().and("version", env!("CARGO_PKG_VERSION")).and("host", sight.status.host.as_str());
    page.whole("build_info", "1, with the version and the host's name", [(build, 1)]);
    page.whole("service_loop_timestamp_seconds", "When the scheduler last turned", seconds(Some(sight.beat)));
    let facts = &sight.facts;
    page.whole(
        "state_read_timestamp_seconds",
        "When locks, anomalies, copies and disks were last read from the state folder",
        seconds(facts.read),
    );
    page.whole(
        "kit_confirmed_timestamp_seconds",
        "When the recovery kit was last shown to open what is sealed",
        seconds(facts.kit_confirmed),
    );
    let of_disk = |place| one().and("place", place);
    let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    page.whole(
        "disk_free_bytes",
        "What can still be written: state folder, and store where that is a folder",
        facts.disks.iter().map(|d| (of_disk(d.place), bytes(d.free_bytes))),
    );
    page.whole(
        "disk_size_bytes",
        "The size of that disk",
        facts.disks.iter().map(|d| (of_disk(d.place), bytes(d.size_bytes))),
    );
    let oldest = sight.waiting.iter().map(|w| w.planned).min();
    page.whole(
        "queue_oldest_planned_timestamp_seconds",
        "When the run should have begun that waits longest",
        seconds(oldest),
    );
    process(page);
}

/// Adds what all programs tell of themselves, by the names that Prometheus' client libraries use.
fn process(page: &mut Page) {
    let process = Process::look().unwrap_or_default();
    page.common_count("process_cpu_seconds", "Processor time used, user and system", process.cpu_seconds);
    page.common("process_resident_memory_bytes", "Resident memory", process.resident_bytes);
    page.common("process_start_time_seconds", "When the process began", process.start_seconds);
    page.common("process_open_fds", "Open file descriptors", process.open_files);
}

#[derive(Debug, Default)]
struct Process {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    start_seconds: Option<f64>,
    open_files: Option<f64>,
}

impl Process {
    /// Reads /proc/self, see proc(5); none where it is not as described there.
    fn look() -> Option<Process> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name, in brackets, may hold spaces; the third field follows.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        Some(Process {
            cpu_seconds: Some((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND),
            resident_bytes: resident.and_then(|kb| kb.trim().parse::<f64>().ok()).map(|kb| kb * 1024.0),
            start_seconds: boot.zip(ticks(22)).map(|(boot, start)| boot + start / TICKS_PER_SECOND),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_memory_and_that_it_began_before_now() {
        let process = Process::look().unwrap();
        assert!(process.resident_bytes.unwrap() > 100_000.0, "{process:?}");
        assert!(process.open_files.unwrap() >= 3.0, "{process:?}");
        let age = Timestamp::now().as_second() as f64 - process.start_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{process:?}");
    }
}
