//! Decompressed frames in memory, of all streams of a reader together, the least recently used leaving first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::super::extent::Extent;
use super::super::pack::FramePlace;
use super::shelf::OpenPack;
use crate::error::{Context, Kind, Result};

/// A frame by pack and number.
type Name = (u32, usize);

/// The frames and the order in which they were used.
pub struct Frames {
    limit_bytes: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    frames: HashMap<Name, Slot>,
    order: BTreeMap<u64, Name>,
    clock: u64,
    size_bytes: usize,
}

struct Slot {
    cell: Arc<OnceCell<Bytes>>,
    size_bytes: usize,
    used: u64,
}

impl Frames {
    /// Holds at most `limit_bytes`, or one frame.
    pub fn new(limit_bytes: usize) -> Frames {
        Frames { limit_bytes, held: Mutex::default() }
    }

    /// Returns the bytes of a run, in the pieces that frames cut it into.
    pub async fn read(&self, pack: &Arc<OpenPack>, run: Extent) -> Result<Vec<Bytes>> {
        let mut pieces = Vec::with_capacity(2);
        let (mut at, end) = (u64::from(run.offset), u64::from(run.offset) + u64::from(run.length));
        while at < end {
            let (number, place) = pack.layout.frame_of(at).ok_or_else(|| pack.too_short())?;
            let frame = self.frame(pack, (run.pack, number), place).await?;
            let stop = end.min(place.holds + u64::from(place.decompressed));
            // Both lie within the frame, which is shorter than 4 GiB.
            pieces.push(frame.slice((at - place.holds) as usize..(stop - place.holds) as usize));
            at = stop;
        }
        Ok(pieces)
    }

    async fn frame(&self, pack: &Arc<OpenPack>, name: Name, place: FramePlace) -> Result<Bytes> {
        let cell = self.slot(name, place.decompressed as usize);
        let frame = cell.get_or_try_init(|| async {
            let pack = Arc::clone(pack);
            let opened = tokio::task::spawn_blocking(move || pack.frame(place)).await;
            opened.context(Kind::Bug, "opening a frame")?
        });
        frame.await.cloned()
    }

    /// Finds or makes a frame's slot, and lets go of others beyond the limit.
    fn slot(&self, name: Name, size_bytes: usize) -> Arc<OnceCell<Bytes>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clock += 1;
        let now = held.clock;
        let Held { frames, order, size_bytes: sum, .. } = &mut *held;
        let slot = frames.entry(name).or_insert_with(|| {
            *sum += size_bytes;
            Slot { cell: Arc::default(), size_bytes, used: now }
        });
        order.remove(&slot.used);
        slot.used = now;
        let cell = Arc::clone(&slot.cell);
        order.insert(now, name);
        while *sum > self.limit_bytes && frames.len() > 1 {
            let Some((_, oldest)) = order.pop_first() else { break };
            *sum -= frames.remove(&oldest).map_or(0, |slot| slot.size_bytes);
        }
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_bytes(frames: &Frames) -> usize {
        frames.held.lock().unwrap().size_bytes
    }

    #[test]
    fn the_least_recently_used_frame_leaves_first_and_the_limit_holds() {
        let frames = Frames::new(100);
        let first = frames.slot((0, 0), 40);
        frames.slot((0, 1), 40);
        assert!(Arc::ptr_eq(&first, &frames.slot((0, 0), 40)));
        frames.slot((0, 2), 40);
        assert_eq!(size_bytes(&frames), 80);
        assert!(Arc::ptr_eq(&first, &frames.slot((0, 0), 40)), "it was used after the other");
        frames.slot((0, 3), 500);
        assert_eq!(size_bytes(&frames), 500, "one frame is always held");
        assert!(!Arc::ptr_eq(&first, &frames.slot((0, 0), 40)));
    }
}
