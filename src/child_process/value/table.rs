//! Entries in the order they came in, found by key: what objects, maps and sets are made of.
//!
//! A few entries are searched one by one, which is faster than hashing; above that there is a hash
//! index beside them, seeded at random, because the keys come from another process. Invariant:
//! with an index, every entry has exactly one slot in it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Up to this many entries are searched in a row.
const LINEAR: usize = 16;

/// Entries that the first one makes room for.
const FIRST: usize = 4;

/// What can be a key of a [`Table`].
pub(super) trait Key {
    /// Feeds what [`Key::same`] compares into the hasher.
    fn feed<H: Hasher>(&self, state: &mut H);
    /// Whether both are the same key.
    fn same(&self, other: &Self) -> bool;
}

#[derive(Clone)]
pub(super) struct Table<K, V> {
    entries: Vec<(K, V)>,
    index: Option<Box<Index>>,
}

/// Positions of the entries plus one, by hash; zero is an empty slot.
#[derive(Clone)]
struct Index {
    state: RandomState,
    slots: Vec<u32>,
}

impl Index {
    fn hash(&self, feed: impl FnOnce(&mut std::hash::DefaultHasher)) -> usize {
        let mut hasher = self.state.build_hasher();
        feed(&mut hasher);
        hasher.finish() as usize
    }

    /// The position of the entry, or the slot where it belongs.
    fn probe(&self, hash: usize, mut found: impl FnMut(usize) -> bool) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash & mask;
        loop {
            match self.slots[slot] {
                0 => return Err(slot),
                position if found(position as usize - 1) => return Ok(position as usize - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table { entries: Vec::new(), index: None }
    }
}

impl<K: Key, V> Table<K, V> {
    pub(super) fn entries(&self) -> &[(K, V)] {
        &self.entries
    }

    /// The values may be changed, the keys must stay what they are.
    pub(super) fn entries_mut(&mut self) -> &mut [(K, V)] {
        &mut self.entries
    }

    pub(super) fn into_entries(self) -> Vec<(K, V)> {
        self.entries
    }

    /// Where the entry is that `feed` and `same` describe.
    #[inline]
    pub(super) fn find(
        &self,
        feed: impl FnOnce(&mut std::hash::DefaultHasher),
        same: impl Fn(&K) -> bool,
    ) -> Option<usize> {
        match &self.index {
            None => self.entries.iter().position(|(key, _)| same(key)),
            Some(index) => self.find_by_hash(index, feed, same),
        }
    }

    #[inline(never)]
    fn find_by_hash(
        &self,
        index: &Index,
        feed: impl FnOnce(&mut std::hash::DefaultHasher),
        same: impl Fn(&K) -> bool,
    ) -> Option<usize> {
        index.probe(index.hash(feed), |position| same(&self.entries[position].0)).ok()
    }

    #[inline]
    pub(super) fn find_key(&self, key: &K) -> Option<usize> {
        self.find(|hasher| key.feed(hasher), |other| other.same(key))
    }

    /// Adds a key that is not there yet as the last one.
    #[inline]
    pub(super) fn push_new(&mut self, key: K, value: V) {
        if self.entries.capacity() == 0 {
            // At once what growing would give, and cheaper.
            self.entries = Vec::with_capacity(FIRST);
        }
        self.entries.push((key, value));
        if self.entries.len() > LINEAR {
            self.index_last();
        }
    }

    fn index_last(&mut self) {
        let length = self.entries.len();
        match &mut self.index {
            Some(index) if length * 2 <= index.slots.len() => {
                let hash = index.hash(|hasher| self.entries[length - 1].0.feed(hasher));
                if let Err(slot) = index.probe(hash, |_| false) {
                    index.slots[slot] = length as u32;
                }
            }
            _ => self.reindex(),
        }
    }

    /// Replaces or adds.
    #[inline]
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(position) = self.find_key(&key) {
            return Some(std::mem::replace(&mut self.entries[position].1, value));
        }
        self.push_new(key, value);
        None
    }

    /// Adds a key that is not there yet at a place of its own.
    pub(super) fn insert_new_at(&mut self, position: usize, key: K, value: V) {
        if position == self.entries.len() {
            return self.push_new(key, value);
        }
        self.entries.insert(position, (key, value));
        self.reindex();
    }

    pub(super) fn remove(&mut self, position: usize) -> (K, V) {
        let entry = self.entries.remove(position);
        self.reindex();
        entry
    }

    /// Sorts the entries, those with equal ranks in the order they have.
    pub(super) fn sort_by_rank(&mut self, rank: impl Fn(&K) -> u64) {
        self.entries.sort_by_cached_key(|(key, _)| rank(key));
        self.reindex();
    }

    fn reindex(&mut self) {
        if self.entries.len() <= LINEAR {
            self.index = None;
            return;
        }
        let state = self.index.take().map_or_else(RandomState::new, |index| index.state);
        let slots = vec![0; (self.entries.len() * 4).next_power_of_two()];
        let mut index = Index { state, slots };
        for (position, (key, _)) in self.entries.iter().enumerate() {
            let hash = index.hash(|hasher| key.feed(hasher));
            if let Err(slot) = index.probe(hash, |_| false) {
                index.slots[slot] = position as u32 + 1;
            }
        }
        self.index = Some(Box::new(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Key for u32 {
        fn feed<H: Hasher>(&self, state: &mut H) {
            state.write_u32(*self);
        }

        fn same(&self, other: &u32) -> bool {
            self == other
        }
    }

    #[test]
    fn entries_are_found_at_every_size_and_after_removals() {
        let mut table = Table::default();
        for key in 0..1000u32 {
            assert_eq!(table.insert(key, key * 2), None);
            assert_eq!(table.insert(key / 2, key / 2 * 2), Some(key / 2 * 2));
        }
        for key in (0..1000).step_by(97) {
            let position = table.find_key(&key).unwrap();
            assert_eq!(table.remove(position), (key, key * 2));
            assert_eq!(table.find_key(&key), None);
        }
        table.sort_by_rank(|key| u64::from(1000 - key));
        assert_eq!(table.entries()[0].0, 999);
        assert_eq!(table.find_key(&999), Some(0));
    }
}
