//! Which packs a new snapshot may refer to: rewriting on sight, as a pure function.
//!
//! A host that cannot read packs cannot repack them. So waste and scatter are bounded when writing: what lies in
//! a pack that is mostly dead, or in one small pack too many, counts as unknown and is written again.

use std::collections::{HashMap, HashSet};

use crate::id::PackId;

/// Packs that a new snapshot may not refer to, however much of them is live.
#[derive(Debug, Default)]
pub struct Barred {
    /// Those that void marks name, that were tampered with, or that are known to be damaged.
    pub void: HashSet<PackId>,
    /// What the store holds, with lengths: a pack that it does not hold as it was written is barred. None: not asked.
    pub held: Option<HashMap<PackId, u64>>,
}

impl Barred {
    /// Tells whether the store lacks the pack, or has it in another length.
    pub fn lacks(&self, pack: &PackId, size_bytes: u64) -> bool {
        self.held.as_ref().is_some_and(|held| held.get(pack) != Some(&size_bytes))
    }

    /// Tells whether a new snapshot may not refer to the pack.
    pub fn bars(&self, pack: &PackId, size_bytes: u64) -> bool {
        self.void.contains(pack) || self.lacks(pack, size_bytes)
    }
}

/// A pack is known only if at least this share of what it held is live: one half.
const LIVE_SHARE: u64 = 2;

/// So many small packs may be referred to; with one more, all of them are written anew, as one.
const MOST_SMALL: usize = 12;

/// A pack is small if less than this is live in it, in bytes, and less than a tenth of all that is live.
const SMALL_BYTES: u64 = 8 * 1024 * 1024;
const SMALL_SHARE: u64 = 10;

/// A pack that the tenant's previous snapshot refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackUse {
    /// What it held when it was written.
    pub decompressed_bytes: u64,
    /// How much of that the previous snapshot refers to.
    pub live_bytes: u64,
}

/// Tells of each pack whether a new snapshot may refer to it.
pub fn reusable(packs: &[PackUse]) -> Vec<bool> {
    let half_live =
        |p: &PackUse| p.live_bytes > 0 && p.live_bytes.saturating_mul(LIVE_SHARE) >= p.decompressed_bytes;
    let all: u64 = packs.iter().map(|p| p.live_bytes).sum();
    let small = |p: &PackUse| p.live_bytes < SMALL_BYTES && p.live_bytes.saturating_mul(SMALL_SHARE) < all;
    let too_many = packs.iter().filter(|p| half_live(p) && small(p)).count() > MOST_SMALL;
    packs.iter().map(|p| half_live(p) && !(too_many && small(p))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn pack(decompressed_bytes: u64, live_bytes: u64) -> PackUse {
        PackUse { decompressed_bytes, live_bytes }
    }

    #[test]
    fn a_pack_is_known_while_half_of_it_is_live() {
        let packs = [pack(100, 100), pack(100, 50), pack(100, 49), pack(100, 0), pack(0, 0)];
        assert_eq!(reusable(&packs), [true, true, false, false, false]);
    }

    #[test]
    fn one_small_pack_too_many_has_all_small_ones_written_anew() {
        let mut packs = vec![pack(100 << 20, 100 << 20)];
        packs.extend([pack(1 << 20, 1 << 20); MOST_SMALL]);
        assert!(reusable(&packs).into_iter().all(|known| known));
        packs.push(pack(1 << 20, 1 << 20));
        let known = reusable(&packs);
        assert!(known[0] && known[1..].iter().all(|known| !known));
    }

    #[test]
    fn full_packs_of_a_large_tenant_are_never_small() {
        let packs = vec![pack(50 << 20, 30 << 20); 500];
        assert!(reusable(&packs).into_iter().all(|known| known));
    }

    /// What 90 nights come to.
    #[derive(Debug)]
    struct Nights {
        /// Bytes of all referenced packs over bytes needed, at worst.
        read: f64,
        packs: usize,
        /// Bytes kept for the last 30 nights over bytes of the tenant.
        stored: f64,
        /// Bytes written in a night over bytes of the first.
        average: f64,
        most: f64,
    }

    /// Groups of rows, 5100 bytes each and three a chunk; each night 1 % are new and 0.6 % changed, scattered.
    fn nights(rows: u64, rule: fn(&[PackUse]) -> Vec<bool>) -> Nights {
        const ROW: u64 = 5100;
        const FULL: u64 = 48 << 20;
        let mut random = StdRng::seed_from_u64(1);
        let mut chunks: Vec<(u64, u64)> = (0..rows / 3).map(|id| (id, 3)).collect();
        let mut next = rows;
        let (mut sizes, mut place, mut live) = (Vec::new(), HashMap::new(), BTreeMap::new());
        let (mut snapshots, mut written) = (Vec::new(), Vec::new());
        let mut result = Nights { read: 0.0, packs: 0, stored: 0.0, average: 0.0, most: 0.0 };
        for night in 0..90 {
            if night > 0 {
                chunks = changed(&chunks, &mut next, &mut random);
            }
            let numbers: Vec<usize> = live.keys().copied().collect();
            let uses: Vec<_> = live.iter().map(|(&n, &bytes)| pack(sizes[n], bytes)).collect();
            let known: HashMap<_, _> = numbers.into_iter().zip(rule(&uses)).collect();
            let (mut now, mut holds, mut up, mut open) = (HashMap::new(), BTreeMap::new(), 0, None);
            for (id, rows) in &chunks {
                let old = place.get(id).copied().filter(|n| known[n]);
                let at = old.unwrap_or_else(|| {
                    let full = open.is_none_or(|n: usize| sizes[n] >= FULL);
                    if full {
                        sizes.push(0);
                    }
                    let n = if full { sizes.len() - 1 } else { open.unwrap_or_default() };
                    open = Some(n);
                    sizes[n] += rows * ROW;
                    up += rows * ROW;
                    n
                });
                now.insert(*id, at);
                *holds.entry(at).or_insert(0) += rows * ROW;
            }
            (place, live) = (now, holds);
            let read: u64 = live.keys().map(|&n| sizes[n]).sum();
            let total: u64 = live.values().sum();
            result.read = result.read.max(read as f64 / total as f64);
            result.packs = result.packs.max(live.len());
            snapshots.push(live.keys().copied().collect::<Vec<_>>());
            written.push(up as f64);
        }
        let kept: std::collections::BTreeSet<_> = snapshots[60..].iter().flatten().collect();
        let total: u64 = live.values().sum();
        result.stored = kept.iter().map(|&&n| sizes[n]).sum::<u64>() as f64 / total as f64;
        result.average = written[1..].iter().sum::<f64>() / 89.0 / written[0];
        result.most = written[1..].iter().copied().fold(0.0, f64::max) / written[0];
        result
    }

    fn changed(chunks: &[(u64, u64)], next: &mut u64, random: &mut StdRng) -> Vec<(u64, u64)> {
        let mut out = Vec::with_capacity(chunks.len());
        let mut new = |rows: u64| {
            *next += 1;
            (*next, rows)
        };
        for &(id, rows) in chunks {
            let hits: Vec<f64> = (0..rows).map(|_| random.random::<f64>()).filter(|x| *x < 0.016).collect();
            let grown = rows + hits.iter().filter(|x| **x < 0.010).count() as u64;
            match (hits.is_empty(), grown) {
                (true, _) => out.push((id, rows)),
                (false, ..=5) => out.push(new(grown)),
                (false, _) => out.extend([new(grown / 2), new(grown - grown / 2)]),
            }
        }
        out
    }

    #[test]
    fn ninety_nights_stay_readable_from_few_packs_at_a_bounded_price() {
        for (rows, packs) in [(6_000, 20), (40_000, 40)] {
            let bounded = nights(rows, reusable);
            let free = nights(rows, |packs| vec![true; packs.len()]);
            println!("{rows} rows: {bounded:?}, without the rule {free:?}");
            assert!(bounded.read < 1.8 && bounded.packs <= packs, "{bounded:?}");
            assert!(
                bounded.stored < 1.1 * free.stored && bounded.average < 2.2 * free.average,
                "{bounded:?}"
            );
            assert!(free.read > 4.0 && free.packs > 80, "{free:?}");
        }
    }
}
