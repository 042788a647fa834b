//! What was used last, up to a number of bytes.

use std::hash::Hash;

use lru::LruCache;

/// Values by key; the one that was not asked for the longest goes first.
pub(super) struct Cache<K: Hash + Eq, V> {
    values: LruCache<K, (V, usize)>,
    held_bytes: usize,
    limit_bytes: usize,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// Holds at most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Cache { values: LruCache::unbounded(), held_bytes: 0, limit_bytes }
    }

    /// Returns a value, which is the last used now.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.values.get(key).map(|(value, _)| value.clone())
    }

    /// Keeps a value that takes `size_bytes`, and drops others for it; one beyond the limit is not kept.
    pub fn put(&mut self, key: K, value: V, size_bytes: usize) {
        if size_bytes > self.limit_bytes {
            return;
        }
        // First the new one: it may replace its like.
        self.held_bytes += size_bytes;
        if let Some((_, (_, old))) = self.values.push(key, (value, size_bytes)) {
            self.held_bytes -= old;
        }
        while self.held_bytes > self.limit_bytes
            && let Some((_, (_, old))) = self.values.pop_lru()
        {
            self.held_bytes -= old;
        }
    }

    /// Drops all values.
    pub fn clear(&mut self) {
        self.values.clear();
        self.held_bytes = 0;
    }

    /// Returns how much is held.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first() {
        let mut cache = Cache::new(10);
        cache.put(1, 'a', 4);
        cache.put(2, 'b', 4);
        assert_eq!(cache.get(&1), Some('a'));
        cache.put(3, 'c', 4);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some('a'), None, Some('c')));
        cache.put(4, 'd', 11);
        assert_eq!(cache.get(&4), None);
        assert_eq!(cache.held_bytes(), 8);
    }

    proptest! {
        #[test]
        fn no_more_than_the_limit_is_ever_held(puts in prop::collection::vec((0_u8..20, 0_usize..50), 0..200)) {
            let mut cache = Cache::new(100);
            for (key, size) in puts {
                cache.put(key, (), size);
                prop_assert!(cache.held_bytes() <= 100);
                let held: usize = cache.values.iter().map(|(_, (_, size))| size).sum();
                prop_assert_eq!(held, cache.held_bytes());
            }
        }
    }
}
