//! Memory that clients make the server hold, bounded for all of them together.
//!
//! Each client alone is bounded by the longest package and by its mailbox; a crowd that stops
//! before the last byte, or never reads, is not.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use crate::lock;

/// What a connection may have without being counted, so that ordinary ones do not meet here.
pub(crate) const FREE: usize = 4 * 1024;

/// How many bytes all connections together may have. What is right for ten thousand players is
/// careless with two hundred peers, so it grows with them unless it is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) given: Option<usize>,
    /// However few connections there are.
    pub(crate) few: usize,
    /// For each connection there is, unless a limit is given.
    pub(crate) share: usize,
    /// What one client may need.
    pub(crate) least: usize,
}

impl Bound {
    fn limit(self, connections: usize) -> usize {
        let grown = || connections.saturating_mul(self.share).max(self.few);
        self.given.unwrap_or_else(grown).max(self.least)
    }
}

/// The connections of a frontend that have more than a little. `H` is how one is told to end.
#[derive(Debug)]
pub(crate) struct Room<H = Waker> {
    bound: Bound,
    table: Mutex<Table<H>>,
    /// A copy of what the table knows, for those who only want to look.
    full: AtomicBool,
}

/// A place in the table; those who came earlier have smaller ones.
pub(crate) type Place = NonZeroU64;

#[derive(Debug)]
struct Table<H> {
    limit: usize,
    last: u64,
    /// Of all.
    bytes: usize,
    /// Of those who have been told to end and have not let go yet.
    leaving: usize,
    holders: BTreeMap<Place, (usize, H)>,
    told: BTreeMap<Place, usize>,
}

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self {
            limit: usize::MAX,
            last: 0,
            bytes: 0,
            leaving: 0,
            holders: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }
}

impl<H> Room<H> {
    pub(crate) fn new(bound: Bound) -> Self {
        Self {
            bound,
            table: Mutex::default(),
            full: AtomicBool::new(false),
        }
    }

    /// A client has this many bytes now, one of `connections`. While all together have too many,
    /// those that have been here for longest are to end: they are answered, and get no second word.
    #[must_use]
    pub(crate) fn holds(
        &self,
        place: &mut Option<Place>,
        bytes: usize,
        connections: impl FnOnce() -> usize,
        handle: impl FnOnce() -> H,
    ) -> Vec<H> {
        if bytes <= FREE {
            self.lets_go(place);
            return Vec::new();
        }
        let limit = self.bound.limit(connections());
        let mut table = lock(&self.table);
        table.limit = limit;
        table.enter(place, bytes, handle);
        let ended = table.shrink();
        self.look(&table);
        ended
    }

    /// The client has given back what it had.
    pub(crate) fn lets_go(&self, place: &mut Option<Place>) {
        if let Some(place) = place.take() {
            let mut table = lock(&self.table);
            table.remove(place);
            self.look(&table);
        }
    }

    /// Whether who has this place was told to end.
    pub(crate) fn told(&self, place: Option<Place>) -> bool {
        place.is_some_and(|place| lock(&self.table).told.contains_key(&place))
    }

    /// Whether there is too much until those who were told to end have let go.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// How many bytes all of them have.
    pub(crate) fn bytes(&self) -> usize {
        lock(&self.table).bytes
    }

    fn look(&self, table: &Table<H>) {
        let full = table.bytes > table.limit && table.leaving > 0;
        self.full.store(full, Ordering::Relaxed);
    }
}

impl<H> Table<H> {
    fn enter(&mut self, place: &mut Option<Place>, bytes: usize, handle: impl FnOnce() -> H) {
        if let Some(place) = place {
            let held = match self.holders.get_mut(place) {
                Some((held, _)) => held,
                None => match self.told.get_mut(place) {
                    Some(held) => {
                        self.leaving = self.leaving - *held + bytes;
                        held
                    }
                    None => return,
                },
            };
            let before = std::mem::replace(held, bytes);
            self.bytes = self.bytes - before + bytes;
            return;
        }
        self.last += 1;
        if let Some(new) = Place::new(self.last) {
            self.holders.insert(new, (bytes, handle()));
            self.bytes += bytes;
            *place = Some(new);
        }
    }

    /// Whom to tell: not under the lock.
    fn shrink(&mut self) -> Vec<H> {
        let mut ended = Vec::new();
        // One alone has what one may have.
        while self.bytes - self.leaving > self.limit
            && self.holders.len() > 1
            && let Some((place, (held, handle))) = self.holders.pop_first()
        {
            self.leaving += held;
            self.told.insert(place, held);
            ended.push(handle);
        }
        ended
    }

    fn remove(&mut self, place: Place) {
        if let Some((held, _)) = self.holders.remove(&place) {
            self.bytes -= held;
        } else if let Some(held) = self.told.remove(&place) {
            self.bytes -= held;
            self.leaving -= held;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(limit: usize, least: usize) -> Bound {
        Bound {
            given: Some(limit),
            few: 1 << 30,
            share: 1 << 20,
            least,
        }
    }

    #[test]
    fn room_grows_with_the_crowd_unless_it_is_given() {
        let grown = Bound {
            given: None,
            few: 16 << 20,
            share: 4096,
            least: 1 << 20,
        };
        assert_eq!(grown.limit(0), 16 << 20);
        assert_eq!(grown.limit(4096), 16 << 20);
        assert_eq!(grown.limit(100_000), 409_600_000);
        assert_eq!(given(10, 0).limit(100_000), 10);
        assert_eq!(given(10, 20).limit(100_000), 20);
    }

    #[test]
    fn those_who_came_first_go_first_and_room_is_theirs_until_they_let_go() {
        let room = Room::new(given(100_000, 0));
        let mut places = [None; 4];
        let mut hold = |who: usize, bytes| room.holds(&mut places[who], bytes, || 4, || who);
        assert!(hold(0, 40_000).is_empty());
        assert!(hold(1, 50_000).is_empty());
        assert!(hold(2, FREE).is_empty(), "a little is free");
        assert_eq!(hold(3, 30_000), [0]);
        assert!(hold(3, 30_000).is_empty(), "told once");
        assert_eq!(room.bytes(), 120_000);
        assert!(room.is_full() && room.told(places[0]) && !room.told(places[1]));
        // What it still takes in is counted, and makes nobody else end.
        assert!(room.holds(&mut places[0], 60_000, || 4, || 0).is_empty());
        assert_eq!(room.bytes(), 140_000);
        room.lets_go(&mut places[0]);
        assert_eq!((room.bytes(), room.is_full()), (80_000, false));
        assert_eq!(places[0], None);
        // Whoever becomes small lets go, too.
        assert!(room.holds(&mut places[1], 100, || 4, || 1).is_empty());
        assert_eq!((room.bytes(), places[1]), (30_000, None));
    }

    #[test]
    fn one_alone_is_never_told() {
        let room = Room::new(given(10_000, 20_000));
        let mut place = None;
        for bytes in [20_000, 1 << 20] {
            assert!(room.holds(&mut place, bytes, || 1, || ()).is_empty());
        }
        assert!(!room.is_full() && !room.told(place));
        assert_eq!(room.holds(&mut None, 5_000, || 2, || ()).len(), 1);
        assert!(room.is_full() && room.told(place));
    }
}
