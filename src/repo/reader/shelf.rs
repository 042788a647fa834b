//! Which packs are fetched next, which are kept, and which make room for others.
//!
//! A pure state machine: it hears what streams need and what became of fetches, and answers with steps. Owns the
//! folder's limit and that nobody waits for ever: a pack is held fast only while somebody reads one frame of it or
//! is just waking up to, so the pack that was asked for first always gets room in the end.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Names what one stream still needs.
pub(super) type NeedId = u64;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Fetch this pack; answered by [`Shelf::fetched`] or [`Shelf::not_fetched`].
    Fetch(u32),
    /// Remove this pack's file.
    Remove(u32),
}

/// A stream that nobody reads yet is needed later than any that somebody reads; more than all runs of a manifest.
const NOT_BEGUN: u64 = 1 << 32;

/// How far ahead the next use of a pack is looked for, in runs; whatever comes later is far enough away.
const HORIZON: usize = 1 << 20;

/// What one stream needs: packs by number in the order of reading, neighbours merged.
struct Need {
    stream: String,
    runs: Vec<u32>,
    /// The run that is being read; those before it are over.
    cursor: usize,
    /// All packs of the runs before this one are here or on their way.
    ahead: usize,
    begun: bool,
    whole: bool,
}

#[derive(Default)]
struct Slot {
    here: bool,
    pins: u32,
    /// Kept while there is room although no stream needs it: it was read in parts, and parts often come one by one.
    spare: bool,
}

/// The packs of one reader: here, on their way, or needed.
pub(super) struct Shelf {
    sizes: Vec<u64>,
    limit_bytes: u64,
    used_bytes: u64,
    fetches: usize,
    fetching: usize,
    slots: HashMap<u32, Slot>,
    /// In how many runs ahead, of all needs, a pack stands.
    uses: HashMap<u32, u32>,
    needs: BTreeMap<NeedId, Need>,
    next_need: NeedId,
    /// How many wait for a pack.
    waiting: HashMap<u32, u32>,
    /// Packs that somebody waits for, in the order of asking.
    demands: VecDeque<u32>,
    /// Packs that are not fetched ahead, because that failed.
    barred: HashSet<u32>,
    /// Something happened that may ask for steps. Most progress does not, and looking is not free.
    changed: bool,
}

impl Shelf {
    /// Starts empty; `sizes` are those of all packs by number.
    pub fn new(sizes: Vec<u64>, limit_bytes: u64, fetches: usize) -> Self {
        Shelf {
            sizes,
            limit_bytes,
            used_bytes: 0,
            fetches,
            fetching: 0,
            slots: HashMap::new(),
            uses: HashMap::new(),
            needs: BTreeMap::new(),
            next_need: 0,
            waiting: HashMap::new(),
            demands: VecDeque::new(),
            barred: HashSet::new(),
            changed: false,
        }
    }

    /// Tells whether [`Shelf::next_steps`] may have any, or somebody who waits may go on.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Notes that a stream will be read whole.
    pub fn announce(&mut self, stream: String, runs: Vec<u32>) {
        self.add(stream, runs, false, true);
    }

    /// Notes that a stream, or a part of it, is read now; takes the announcement of a whole one over.
    pub fn begin(&mut self, stream: String, runs: Vec<u32>, whole: bool) -> NeedId {
        let announced = self.needs.iter_mut().find(|(_, n)| whole && !n.begun && n.stream == stream);
        if let Some((id, need)) = announced
            && need.runs == runs
        {
            need.begun = true;
            self.changed = true;
            return *id;
        }
        self.add(stream, runs, true, whole)
    }

    fn add(&mut self, stream: String, runs: Vec<u32>, begun: bool, whole: bool) -> NeedId {
        for pack in &runs {
            *self.uses.entry(*pack).or_default() += 1;
        }
        self.changed = true;
        let id = self.next_need;
        self.next_need += 1;
        self.needs.insert(id, Need { stream, runs, cursor: 0, ahead: 0, begun, whole });
        id
    }

    /// Tells whether a need is still there.
    pub fn has(&self, need: NeedId) -> bool {
        self.needs.contains_key(&need)
    }

    /// Notes that a stream has come to this run.
    pub fn advance(&mut self, id: NeedId, run: usize) {
        let Some(need) = self.needs.get_mut(&id) else { return };
        let run = run.min(need.runs.len());
        let (cursor, whole) = (need.cursor, need.whole);
        let over: Vec<u32> = need.runs.get(cursor..run).unwrap_or(&[]).to_vec();
        need.cursor = cursor.max(run);
        for pack in over {
            self.used(pack, !whole);
        }
    }

    /// Forgets a need.
    pub fn retire(&mut self, id: NeedId) {
        if let Some(need) = self.needs.remove(&id) {
            for pack in &need.runs[need.cursor..] {
                self.used(*pack, !need.whole);
            }
            self.changed = true;
        }
    }

    fn used(&mut self, pack: u32, spare: bool) {
        if let Some(n) = self.uses.get_mut(&pack) {
            *n -= 1;
            if *n == 0 {
                self.uses.remove(&pack);
                self.changed = true;
            }
        }
        if let Some(slot) = self.slots.get_mut(&pack) {
            slot.spare = spare;
        }
    }

    /// Notes that somebody waits for a pack, who then takes it with [`Shelf::pin`] or gives up with [`Shelf::unwant`].
    pub fn want(&mut self, pack: u32) {
        *self.waiting.entry(pack).or_default() += 1;
        self.demands.push_back(pack);
        self.changed = true;
        self.barred.remove(&pack);
    }

    /// Notes that one who waited does so no longer.
    pub fn unwant(&mut self, pack: u32) {
        if let Some(n) = self.waiting.get_mut(&pack) {
            *n -= 1;
            if *n == 0 {
                self.waiting.remove(&pack);
                // It may have kept a pack that no stream needs any more.
                self.changed |= !self.demands.is_empty() || !self.uses.contains_key(&pack);
            }
        }
    }

    /// Holds a pack fast, if it is here. Whoever does must not wait for anything before [`Shelf::unpin`].
    pub fn pin(&mut self, pack: u32) -> bool {
        match self.slots.get_mut(&pack) {
            Some(slot) if slot.here => {
                slot.pins += 1;
                true
            }
            _ => false,
        }
    }

    /// Lets go of a pack.
    pub fn unpin(&mut self, pack: u32) {
        if let Some(slot) = self.slots.get_mut(&pack) {
            slot.pins -= 1;
            let matters = !self.demands.is_empty() || !self.uses.contains_key(&pack);
            self.changed |= slot.pins == 0 && matters;
        }
    }

    /// Notes that a pack is here.
    pub fn fetched(&mut self, pack: u32) {
        if let Some(slot) = self.slots.get_mut(&pack) {
            slot.here = true;
            self.fetching -= 1;
            self.changed = true;
        }
    }

    /// Notes that a pack could not be fetched. True where that was for want of room on the disk, and others can make
    /// some: then it is tried again if somebody waits for it, and no more than fits is fetched from now on.
    pub fn not_fetched(&mut self, pack: u32, disk_full: bool) -> bool {
        self.changed = true;
        if self.slots.remove(&pack).is_some() {
            self.fetching -= 1;
            self.used_bytes -= self.size(pack);
            self.look_again();
        }
        if disk_full && self.used_bytes > 0 {
            // Less than what is here with this one: the next attempt removes something first.
            self.limit_bytes = self.limit_bytes.min(self.used_bytes);
            self.demands.push_front(pack);
            return true;
        }
        self.barred.insert(pack);
        false
    }

    /// Lists the packs that are here.
    pub fn here(&self) -> Vec<u32> {
        self.slots.iter().filter(|(_, s)| s.here).map(|(pack, _)| *pack).collect()
    }

    /// Returns what is to be done now; to be asked after every change.
    pub fn next_steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        if !std::mem::take(&mut self.changed) {
            return steps;
        }
        let unneeded = |(pack, slot): (&u32, &Slot)| {
            let free = self.is_free(*pack, slot) && !slot.spare && !self.uses.contains_key(pack);
            free.then_some(*pack)
        };
        for pack in self.slots.iter().filter_map(unneeded).collect::<Vec<_>>() {
            self.remove(pack, &mut steps);
        }
        while let Some(pack) = self.first_demand() {
            if self.fetching >= self.fetches || !self.make_room(pack, None, &mut steps) {
                return steps;
            }
            self.fetch(pack, &mut steps);
        }
        while self.fetching < self.fetches
            && let Some((pack, distance)) = self.next_ahead()
            && self.make_room(pack, Some(distance), &mut steps)
        {
            self.fetch(pack, &mut steps);
        }
        steps
    }

    fn size(&self, pack: u32) -> u64 {
        self.sizes.get(pack as usize).copied().unwrap_or(0)
    }

    fn is_free(&self, pack: u32, slot: &Slot) -> bool {
        slot.here && slot.pins == 0 && !self.waiting.contains_key(&pack)
    }

    fn fetch(&mut self, pack: u32, steps: &mut Vec<Step>) {
        self.slots.insert(pack, Slot::default());
        self.used_bytes += self.size(pack);
        self.fetching += 1;
        steps.push(Step::Fetch(pack));
    }

    fn remove(&mut self, pack: u32, steps: &mut Vec<Step>) {
        if self.slots.remove(&pack).is_some() {
            self.used_bytes -= self.size(pack);
            steps.push(Step::Remove(pack));
        }
    }

    /// Returns the pack that was asked for first and is neither here nor on its way.
    fn first_demand(&mut self) -> Option<u32> {
        while let Some(pack) = self.demands.front().copied() {
            if self.waiting.contains_key(&pack) && !self.slots.contains_key(&pack) {
                return Some(pack);
            }
            self.demands.pop_front();
        }
        None
    }

    /// Returns the pack that is needed next of those that are neither here nor on their way, and how many runs ahead.
    fn next_ahead(&mut self) -> Option<(u32, u64)> {
        let mut best: Option<(u32, u64)> = None;
        let mut later = 0;
        for need in self.needs.values_mut() {
            need.ahead = need.ahead.max(need.cursor);
            while let Some(pack) = need.runs.get(need.ahead)
                && (self.slots.contains_key(pack) || self.barred.contains(pack))
            {
                need.ahead += 1;
            }
            let base = base(need, &mut later);
            if let Some(pack) = need.runs.get(need.ahead) {
                let distance = base + (need.ahead - need.cursor) as u64;
                if best.is_none_or(|(_, least)| distance < least) {
                    best = Some((*pack, distance));
                }
            }
        }
        best
    }

    /// Removes packs until this one fits: any that nobody holds for a demand, else only those that are needed later
    /// than `distance` runs ahead. Removes nothing where that would not suffice.
    fn make_room(&mut self, pack: u32, distance: Option<u64>, steps: &mut Vec<Step>) -> bool {
        let size = self.size(pack);
        // Whatever the limit has come to, one pack alone always fits.
        let mut excess = (self.used_bytes + size).saturating_sub(self.limit_bytes.max(size));
        if excess == 0 {
            return true;
        }
        let next = self.next_uses();
        let ahead = |pack: &u32| next.get(pack).copied().unwrap_or(u64::MAX);
        let mut victims: Vec<u32> = (self.slots.iter())
            .filter(|(p, slot)| self.is_free(**p, slot) && distance.is_none_or(|d| ahead(p) > d))
            .map(|(p, _)| *p)
            .collect();
        victims.sort_unstable_by_key(|p| std::cmp::Reverse((ahead(p), *p)));
        let mut count = 0;
        while excess > 0 {
            let Some(victim) = victims.get(count) else { return false };
            excess = excess.saturating_sub(self.size(*victim));
            count += 1;
        }
        for victim in &victims[..count] {
            self.remove(*victim, steps);
        }
        self.look_again();
        true
    }

    /// Something that was here is not any more.
    fn look_again(&mut self) {
        for need in self.needs.values_mut() {
            need.ahead = need.cursor;
        }
    }

    /// Tells for the packs that are here how many runs ahead each is needed.
    fn next_uses(&self) -> HashMap<u32, u64> {
        let mut next: HashMap<u32, u64> = HashMap::new();
        let mut later = 0;
        for need in self.needs.values() {
            let base = base(need, &mut later);
            let mut unseen: HashSet<u32> = self.slots.keys().copied().collect();
            for (n, pack) in need.runs[need.cursor..].iter().take(HORIZON).enumerate() {
                if unseen.remove(pack) {
                    let distance = base + n as u64;
                    next.entry(*pack).and_modify(|d| *d = distance.min(*d)).or_insert(distance);
                    if unseen.is_empty() {
                        break;
                    }
                }
            }
        }
        next
    }
}

/// How far away a need's cursor is; `later` counts those that are not begun, in the order of announcement.
fn base(need: &Need, later: &mut u64) -> u64 {
    if need.begun {
        return 0;
    }
    *later += 1;
    *later * NOT_BEGUN
}

#[cfg(test)]
mod tests;
