//! The members of a channel, by frontend.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::session::{Found, Uid};

/// Who gets a push, on one frontend.
pub(super) trait Receivers {
    fn uids(&self) -> &[Uid];

    /// Where their sessions are found again.
    fn found(&self) -> Option<&Found> {
        None
    }
}

impl Receivers for [Uid] {
    fn uids(&self) -> &[Uid] {
        self
    }
}

/// The members of a channel that are on one frontend, in the order in which they were added.
///
/// Finding one is logarithmic, so that thousands may come and go; a push takes the list as it is.
#[derive(Debug, Default)]
pub(super) struct Group {
    uids: Vec<Uid>,
    /// The number of each addition, at the same place as its uid; ascending.
    numbers: Vec<u64>,
    index: BTreeSet<(Uid, u64)>,
    next: u64,
    found: Found,
}

/// The sessions are found anew: a group is only copied while a push has it, and what is known with
/// it.
impl Clone for Group {
    fn clone(&self) -> Self {
        Self {
            uids: self.uids.clone(),
            numbers: self.numbers.clone(),
            index: self.index.clone(),
            next: self.next,
            found: Found::default(),
        }
    }
}

impl Receivers for Group {
    fn uids(&self) -> &[Uid] {
        &self.uids
    }

    fn found(&self) -> Option<&Found> {
        Some(&self.found)
    }
}

impl Group {
    fn add(&mut self, uid: Uid) {
        let number = self.next;
        self.next += 1;
        self.uids.push(uid.clone());
        self.numbers.push(number);
        self.index.insert((uid, number));
    }

    fn first(&self, uid: &Uid) -> Option<u64> {
        let occurrences = (uid.clone(), 0)..=(uid.clone(), u64::MAX);
        let (_, number) = self.index.range(occurrences).next()?;
        Some(*number)
    }

    /// Takes the first occurrence out.
    fn remove(&mut self, uid: &Uid) -> bool {
        let Some(number) = self.first(uid) else {
            return false;
        };
        self.index.remove(&(uid.clone(), number));
        if let Ok(place) = self.numbers.binary_search(&number) {
            self.numbers.remove(place);
            self.uids.remove(place);
            self.found.remove(place);
        }
        true
    }
}

/// All members of a channel.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// In the order of the first addition. Behind references, so that a push takes them along
    /// without a copy; they are copied only if they change meanwhile.
    groups: Vec<(Arc<str>, Arc<Group>)>,
    /// The frontend each member was last added with.
    records: HashMap<Uid, Arc<str>>,
    len: usize,
}

impl Members {
    /// Adds a user; `false` if the user is there already and `duplicates` are not wanted.
    pub(super) fn add(&mut self, uid: Uid, frontend_id: &str, duplicates: bool) -> bool {
        let place = self.place(frontend_id);
        let id = match place.and_then(|place| self.groups.get_mut(place)) {
            Some((id, group)) => {
                if !duplicates && group.first(&uid).is_some() {
                    return false;
                }
                Arc::make_mut(group).add(uid.clone());
                Arc::clone(id)
            }
            None => {
                let (id, mut group) = (Arc::<str>::from(frontend_id), Group::default());
                group.add(uid.clone());
                self.groups.push((Arc::clone(&id), Arc::new(group)));
                id
            }
        };
        self.records.insert(uid, id);
        self.len += 1;
        true
    }

    /// Takes one occurrence of a user out; `false` if there is none.
    pub(super) fn remove(&mut self, uid: &Uid, frontend_id: &str) -> bool {
        let Some(place) = self.place(frontend_id) else {
            return false;
        };
        let Some((_, group)) = self.groups.get_mut(place) else {
            return false;
        };
        if group.first(uid).is_none() {
            return false;
        }
        Arc::make_mut(group).remove(uid);
        if group.uids.is_empty() {
            self.groups.remove(place);
        }
        self.len -= 1;
        // What remains of the user, if anything, is still to be found.
        let mut groups = self.groups.iter().rev();
        match groups.find(|(_, group)| group.first(uid).is_some()) {
            Some((id, _)) => drop(self.records.insert(uid.clone(), Arc::clone(id))),
            None => drop(self.records.remove(uid)),
        }
        true
    }

    /// Whether the user is there with this frontend.
    pub(super) fn contains(&self, uid: &Uid, frontend_id: &str) -> bool {
        let group = self.groups.iter().find(|(id, _)| **id == *frontend_id);
        group.is_some_and(|(_, group)| group.first(uid).is_some())
    }

    pub(super) fn record(&self, uid: &str) -> Option<Arc<str>> {
        self.records.get(uid).cloned()
    }

    pub(super) fn uids(&self) -> Vec<Uid> {
        let groups = self.groups.iter();
        groups.flat_map(|(_, group)| &group.uids).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn snapshot(&self) -> Vec<(Arc<str>, Arc<Group>)> {
        self.groups.clone()
    }

    fn place(&self, frontend_id: &str) -> Option<usize> {
        self.groups.iter().position(|(id, _)| **id == *frontend_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(members: &Members) -> Vec<String> {
        members.uids().iter().map(Uid::to_string).collect()
    }

    #[test]
    fn members_are_grouped_in_the_order_of_the_first_addition() {
        let mut members = Members::default();
        for (uid, frontend) in [("a", "f1"), ("b", "f2"), ("c", "f1"), ("a", "f2")] {
            assert!(members.add(uid.into(), frontend, false));
        }
        assert!(!members.add("a".into(), "f1", false));
        assert_eq!(texts(&members), ["a", "c", "b", "a"]);
        assert_eq!(
            (members.len(), members.record("a").as_deref()),
            (4, Some("f2"))
        );
        assert!(members.remove(&"a".into(), "f2"));
        assert_eq!(members.record("a").as_deref(), Some("f1"));
        assert!(!members.remove(&"a".into(), "f2"));
        assert!(!members.remove(&"a".into(), "f3"));
        assert!(members.remove(&"b".into(), "f2"));
        assert!(members.add("b".into(), "f2", false));
        assert_eq!(texts(&members), ["a", "c", "b"]);
    }

    #[test]
    fn duplicates_go_one_by_one() {
        let mut members = Members::default();
        for uid in ["a", "b", "a", "a"] {
            assert!(members.add(uid.into(), "f", true));
        }
        assert!(members.remove(&"a".into(), "f"));
        assert_eq!(texts(&members), ["b", "a", "a"]);
        assert!(members.remove(&"a".into(), "f"));
        assert_eq!(members.record("a").as_deref(), Some("f"));
        assert!(members.remove(&"a".into(), "f"));
        assert_eq!((members.record("a"), members.len()), (None, 1));
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut members = Members::default();
        members.add("a".into(), "f", false);
        let snapshot = members.snapshot();
        members.add("b".into(), "f", false);
        members.remove(&"a".into(), "f");
        assert_eq!(snapshot[0].1.uids(), [Uid::from("a")]);
        assert_eq!(texts(&members), ["b"]);
    }

    #[test]
    fn thousands_come_and_go() {
        let mut members = Members::default();
        for n in 0..20_000 {
            members.add(Uid::from(n), "f", false);
        }
        for n in (0..20_000).rev() {
            assert!(members.remove(&Uid::from(n), "f"));
        }
        assert_eq!(members.len(), 0);
        assert!(members.snapshot().is_empty() && members.records.is_empty());
    }
}
