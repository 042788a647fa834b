//! What a stream needs, step by step, and when each pack is needed for the last time. Pure.

use std::collections::HashMap;

use super::super::extent::{Extent, Segment};
use crate::error::{Error, Kind, Result};

/// Extents are read in steps of at most this many bytes.
const STEP_BYTES: u32 = 1024 * 1024;

/// A run of bytes to be read from a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where it lies; of length 0 where only a segment ends.
    pub run: Extent,
    /// The segment that ends with it.
    pub ends: Option<usize>,
}

/// The steps of a stream, or of a part of it.
#[derive(Debug, Default)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// The first segment that lies wholly within; what comes before is not verified.
    pub first_whole: usize,
    /// The numbers of the steps that need each pack, rising.
    uses: HashMap<u32, Vec<u32>>,
    /// The packs in the order in which they are needed first.
    pub packs: Vec<u32>,
}

impl Plan {
    /// Plans the bytes from `offset`; `pack_count` bounds what extents may name.
    ///
    /// [`Kind::Usage`] where the stream is not that long, [`Kind::Damaged`] where it names packs that are not there.
    pub fn new(segments: &[Segment], offset: u64, length: u64, pack_count: usize) -> Result<Plan> {
        let mut plan = Plan::default();
        let end = offset.checked_add(length).ok_or_else(too_short)?;
        let mut at = 0_u64;
        let mut first_whole = None;
        for (number, segment) in segments.iter().enumerate() {
            let (start, stop) = (at, at + segment.size_bytes);
            at = stop;
            if stop < offset || start > end {
                continue;
            }
            if start >= offset {
                first_whole.get_or_insert(number);
            }
            let from = offset.saturating_sub(start);
            let to = segment.size_bytes.min(end - start);
            plan.segment(segment, from, to)?;
            if stop <= end {
                plan.end_segment(number);
            }
        }
        if end > at {
            return Err(too_short());
        }
        plan.first_whole = first_whole.unwrap_or(segments.len());
        plan.count_uses(pack_count)?;
        Ok(plan)
    }

    /// Adds the bytes `from..to` of a segment.
    fn segment(&mut self, segment: &Segment, from: u64, to: u64) -> Result<()> {
        let mut at = 0_u64;
        for extent in &segment.extents {
            let start = at;
            at += u64::from(extent.length);
            let (low, high) = (from.max(start), to.min(at));
            if low < high {
                let run = Extent {
                    pack: extent.pack,
                    offset: add(extent.offset, low - start)?,
                    length: add(0, high - low)?,
                };
                self.run(run)?;
            }
        }
        if at == segment.size_bytes { Ok(()) } else { Err(damaged("extents do not add up to its segment")) }
    }

    fn run(&mut self, run: Extent) -> Result<()> {
        let mut done = 0;
        while done < run.length {
            let length = STEP_BYTES.min(run.length - done);
            let part = Extent { pack: run.pack, offset: add(run.offset, done.into())?, length };
            self.steps.push(Step { run: part, ends: None });
            done += length;
        }
        Ok(())
    }

    fn end_segment(&mut self, number: usize) {
        match self.steps.last_mut().filter(|step| step.ends.is_none()) {
            Some(step) => step.ends = Some(number),
            None => {
                let nothing = Extent { pack: 0, offset: 0, length: 0 };
                self.steps.push(Step { run: nothing, ends: Some(number) });
            }
        }
    }

    fn count_uses(&mut self, pack_count: usize) -> Result<()> {
        for (number, step) in self.steps.iter().enumerate().filter(|(_, step)| step.run.length > 0) {
            let number = u32::try_from(number).map_err(|_| damaged("has too many extents"))?;
            if step.run.pack as usize >= pack_count {
                return Err(damaged("names a pack beyond the pack list"));
            }
            let uses = self.uses.entry(step.run.pack).or_insert_with(|| {
                self.packs.push(step.run.pack);
                Vec::new()
            });
            uses.push(number);
        }
        Ok(())
    }

    /// Returns the first step at or after `step` that needs the pack.
    pub fn next_use(&self, pack: u32, step: u32) -> Option<u32> {
        let uses = self.uses.get(&pack)?;
        uses.get(uses.partition_point(|&n| n < step)).copied()
    }

    /// Tells whether `step` is the last that needs its pack.
    pub fn is_last_use(&self, step: u32) -> bool {
        let run = self.steps[step as usize].run;
        run.length > 0 && self.uses.get(&run.pack).and_then(|uses| uses.last()) == Some(&step)
    }
}

fn add(offset: u32, more: u64) -> Result<u32> {
    let sum = u64::from(offset).checked_add(more).and_then(|n| u32::try_from(n).ok());
    sum.ok_or_else(|| damaged("has an extent beyond 4 GiB"))
}

fn too_short() -> Error {
    Error::new(Kind::Usage, "the stream is not that long")
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Damaged, format!("stream {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Sha256;

    fn extent(pack: u32, offset: u32, length: u32) -> Extent {
        Extent { pack, offset, length }
    }

    fn segments() -> Vec<Segment> {
        let segment = |extents: Vec<Extent>| Segment {
            size_bytes: extents.iter().map(|e| u64::from(e.length)).sum(),
            sha256: Sha256([0; 32]),
            extents,
        };
        vec![
            segment(vec![extent(1, 0, 10), extent(0, 5, 5)]),
            segment(vec![]),
            segment(vec![extent(1, 50, 3 << 20)]),
        ]
    }

    fn whole() -> Plan {
        Plan::new(&segments(), 0, 15 + (3 << 20), 2).unwrap()
    }

    #[test]
    fn a_whole_stream_is_read_in_steps_that_end_each_segment_once() {
        let plan = whole();
        let runs: Vec<_> = plan.steps.iter().map(|s| (s.run.pack, s.run.offset, s.run.length)).collect();
        let mib = 1 << 20;
        let long = [(1, 50, mib), (1, 50 + mib, mib), (1, 50 + 2 * mib, mib)];
        assert_eq!(runs[..3], [(1, 0, 10), (0, 5, 5), (0, 0, 0)]);
        assert_eq!(runs[3..], long);
        let ends: Vec<_> = plan.steps.iter().map(|s| s.ends).collect();
        assert_eq!(ends, [None, Some(0), Some(1), None, None, Some(2)]);
        assert_eq!((plan.first_whole, &plan.packs[..]), (0, &[1, 0][..]));
    }

    #[test]
    fn a_pack_is_let_go_after_its_last_use_and_the_next_use_is_known() {
        let plan = whole();
        let last: Vec<_> = (0..6).map(|n| plan.is_last_use(n)).collect();
        assert_eq!(last, [false, true, false, false, false, true]);
        assert_eq!(plan.next_use(1, 0), Some(0));
        assert_eq!(plan.next_use(1, 1), Some(3));
        assert_eq!(plan.next_use(0, 2), None);
    }

    #[test]
    fn a_range_takes_only_what_it_needs_and_verifies_whole_segments_only() {
        let plan = Plan::new(&segments(), 8, 10, 2).unwrap();
        let runs: Vec<_> = plan.steps.iter().map(|s| (s.run.pack, s.run.offset, s.run.length)).collect();
        assert_eq!(runs, [(1, 8, 2), (0, 5, 5), (0, 0, 0), (1, 50, 3)]);
        assert_eq!(plan.first_whole, 1);
        assert_eq!(plan.steps[3].ends, None);
        assert!(
            Plan::new(&segments(), 15 + (3 << 20), 0, 2).unwrap().steps.iter().all(|s| s.run.length == 0)
        );
    }

    #[test]
    fn ranges_beyond_the_end_and_packs_beyond_the_list_are_refused() {
        let kind = |plan: Result<Plan>| plan.err().map(|e| e.kind());
        assert_eq!(kind(Plan::new(&segments(), 16 + (3 << 20), 0, 2)), Some(Kind::Usage));
        assert_eq!(kind(Plan::new(&segments(), 5, u64::MAX, 2)), Some(Kind::Usage));
        assert_eq!(kind(Plan::new(&segments(), 0, 15, 1)), Some(Kind::Damaged));
        let mut odd = segments();
        odd[0].size_bytes += 1;
        assert_eq!(kind(Plan::new(&odd, 0, 3, 2)), Some(Kind::Damaged));
        odd[0].extents[0].offset = u32::MAX;
        odd[0].size_bytes -= 1;
        assert_eq!(kind(Plan::new(&odd, 5, 3, 2)), Some(Kind::Damaged));
    }
}
