//! Ordered maps and sets, filled one by one. `collect` sorts what it is given first, with a sort of its own for each type: three
//! kilobytes of program every time, and the agent's whole program may have four megabytes. What is filled here is short.

use std::collections::{BTreeMap, BTreeSet};

/// A map of these pairs; of two with the same key the later one counts.
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}

/// A set of these.
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}
