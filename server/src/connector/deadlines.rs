//! Until when the clients of a frontend may be silent, all in one place.
//!
//! A timer of tokio takes 112 bytes of every connection, and when it fires a turn of the task, only
//! to find that the client is well. Here it is 16 bytes, which the connection moves to a later time
//! itself when its client has said something, and which are looked through when the earliest time
//! has come: with clients that are well, less often than these send heartbeats.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use pomelo_protocol::Instant;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::lock;

/// Sessions that are woken before others get a turn.
const TURN: usize = 64;

/// Entries that are looked through before others get a turn: some microseconds of work.
const PART: usize = 4096;

/// After each look through the table there is none for a millisecond for so many entries: clients
/// that vanish one by one are not to take more than a hundredth of the time.
const PER_MILLI: usize = 10_000;

/// Whose place in the table is vacant.
const NOBODY: u64 = u64::MAX;

/// The sessions of a frontend, each with the time at which its connection is to be woken.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    table: Mutex<Table>,
    /// There is an earlier one than before.
    changed: Notify,
}

/// A place in the table, counted from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched(NonZeroU32);

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    vacant: Vec<Watched>,
    /// No entry is earlier.
    next: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Not set once it has been woken.
    at: Option<Instant>,
    /// Of the session, or [`NOBODY`].
    id: u64,
}

impl Deadlines {
    /// Has the connection of the session with this id woken then, or somewhat later, and no more at
    /// the time it has entered before.
    pub(crate) fn enter(&self, place: &mut Option<Watched>, at: Instant, id: u64) {
        let mut table = lock(&self.table);
        *place = table.enter(*place, Entry { at: Some(at), id });
        if table.next.is_none_or(|next| at < next) {
            table.next = Some(at);
            drop(table);
            self.changed.notify_one();
        }
    }

    /// The connection of the session with this id is not to be woken any more.
    pub(crate) fn leave(&self, place: &mut Option<Watched>, id: u64) {
        if let Some(place) = place.take() {
            lock(&self.table).leave(place, id);
        }
    }

    /// Wakes connections until it is dropped. `clock` tells what time it is, `wake` whether there
    /// still is a session with that id.
    pub(crate) async fn run(&self, clock: impl Fn() -> Instant, wake: impl Fn(u64) -> bool) {
        let mut due = Vec::new();
        let mut rested = Instant::default();
        loop {
            let next = lock(&self.table).next;
            let wait = next.map(|next| next.max(rested).saturating_since(clock()));
            if wait != Some(Duration::ZERO) {
                let next = async {
                    match wait {
                        Some(wait) => sleep(wait).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = next => {}
                    () = self.changed.notified() => {}
                }
                continue;
            }
            lock(&self.table).next = None;
            let mut looked = 0;
            while self.take(looked, clock(), &mut due) {
                looked += PART;
                yield_now().await;
            }
            let pause = u64::try_from(looked / PER_MILLI).unwrap_or(u64::MAX);
            rested = clock() + Duration::from_millis(pause);
            for (number, (place, id)) in due.drain(..).enumerate() {
                if number % TURN == TURN - 1 {
                    yield_now().await;
                }
                if !wake(id) {
                    self.leave(&mut Some(place), id);
                }
            }
            due.shrink_to(PART);
        }
    }

    /// Takes what is due out of the [`PART`] entries from there on; answers whether there are more
    /// behind them.
    fn take(&self, from: usize, now: Instant, due: &mut Vec<(Watched, u64)>) -> bool {
        let mut table = lock(&self.table);
        let Table { entries, next, .. } = &mut *table;
        for (index, entry) in entries.iter_mut().enumerate().skip(from).take(PART) {
            let Some(at) = entry.at else { continue };
            if at > now {
                *next = Some(next.map_or(at, |next| next.min(at)));
            } else if let Some(place) = Watched::new(index) {
                entry.at = None;
                due.push((place, entry.id));
            }
        }
        let more = table.entries.len() > from + PART;
        if !more {
            table.shrink();
        }
        more
    }
}

impl Watched {
    /// `None` behind four billion others.
    fn new(index: usize) -> Option<Self> {
        let number = u32::try_from(index).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(Self)
    }

    fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

impl Table {
    fn enter(&mut self, place: Option<Watched>, entry: Entry) -> Option<Watched> {
        if let Some(place) = place.or_else(|| self.vacant.pop()) {
            *self.entries.get_mut(place.index())? = entry;
            return Some(place);
        }
        let place = Watched::new(self.entries.len())?;
        self.entries.push(entry);
        Some(place)
    }

    fn leave(&mut self, place: Watched, id: u64) {
        let entry = self.entries.get_mut(place.index());
        let Some(entry) = entry.filter(|entry| entry.id == id) else {
            return;
        };
        *entry = Entry {
            at: None,
            id: NOBODY,
        };
        self.vacant.push(place);
        if self.vacant.len() == self.entries.len() {
            self.entries = Vec::new();
            self.vacant = Vec::new();
        }
    }

    /// Lets go of what a crowd has left behind, as far as nobody is after it.
    fn shrink(&mut self) {
        let last = self.entries.iter().rposition(|entry| entry.id != NOBODY);
        let left = last.map_or(0, |last| last + 1);
        if left < self.entries.len() / 2 {
            self.entries.truncate(left);
            self.entries.shrink_to_fit();
            self.vacant.retain(|place| place.index() < left);
            self.vacant.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use tokio::task::AbortHandle;

    use super::*;

    /// Of the sessions those below `ended` have ended; tells who is woken, and when.
    fn running(ended: u64) -> (Arc<Deadlines>, AbortHandle, mpsc::Receiver<(u64, u64)>) {
        let origin = tokio::time::Instant::now();
        let deadlines = Arc::new(Deadlines::default());
        let (sender, woken) = mpsc::channel(16 * 1024);
        let task = tokio::spawn({
            let deadlines = Arc::clone(&deadlines);
            async move {
                let wake = |id| {
                    if id >= ended {
                        let when = u64::try_from(origin.elapsed().as_millis()).unwrap();
                        sender.try_send((id, when)).unwrap();
                    }
                    id >= ended
                };
                let clock = || Instant::from_origin(origin.elapsed());
                deadlines.run(clock, wake).await;
            }
        });
        (deadlines, task.abort_handle(), woken)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_woken_in_its_time_whatever_the_order_they_came_in() {
        let (deadlines, task, mut woken) = running(0);
        deadlines.enter(&mut None, at(60_000), 1);
        yield_now().await;
        deadlines.enter(&mut None, at(30_000), 2);
        deadlines.enter(&mut None, at(30_000), 3);
        deadlines.enter(&mut None, Instant::default() + Duration::MAX, 4);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(woken.recv().await.unwrap());
        }
        assert_eq!(seen, [(2, 30_000), (3, 30_000), (1, 60_000)]);
        deadlines.enter(&mut None, at(60_000), 5);
        assert_eq!(
            woken.recv().await,
            Some((5, 60_000)),
            "at once when it is late"
        );
        task.abort();
        assert_eq!(woken.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_on_or_leaves_is_not_woken_at_the_old_time() {
        let (deadlines, _, mut woken) = running(0);
        let (mut first, mut second, mut third) = (None, None, None);
        deadlines.enter(&mut first, at(1_000), 1);
        deadlines.enter(&mut second, at(2_000), 2);
        deadlines.enter(&mut first, at(3_000), 1);
        let mut left = second;
        deadlines.leave(&mut second, 2);
        deadlines.enter(&mut third, at(2_500), 3);
        // Too late: the place is another's.
        deadlines.leave(&mut left, 2);
        assert_eq!(woken.recv().await, Some((3, 2_500)));
        assert_eq!(woken.recv().await, Some((1, 3_000)));
        assert_eq!(lock(&deadlines.table).entries.len(), 2);
        // Who was woken may move on, too.
        deadlines.enter(&mut third, at(4_000), 3);
        assert_eq!(woken.recv().await, Some((3, 4_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_many_is_woken() {
        let (deadlines, _, mut woken) = running(0);
        let many = 3 * PART as u64;
        let time = |id| 1_000 + id / 64;
        for id in 0..many {
            deadlines.enter(&mut None, at(time(id)), id);
        }
        for id in 0..many {
            let (who, when) = woken.recv().await.unwrap();
            assert_eq!(who, id);
            assert!((time(id)..=time(id) + 2).contains(&when), "{id}: {when}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_comes_and_goes_leaves_no_room_behind() {
        let last = 100_000;
        let (deadlines, _, mut woken) = running(last);
        let room = || {
            let table = lock(&deadlines.table);
            table.entries.capacity().max(table.vacant.capacity())
        };
        for id in 0..last {
            let mut place = None;
            deadlines.enter(&mut place, at(60_000), id);
            assert!(room() <= 16);
            deadlines.leave(&mut place, id);
        }
        assert_eq!(room(), 0);
        deadlines.enter(&mut None, at(70_000), last);
        // These end without a word.
        for id in 0..last {
            deadlines.enter(&mut None, at(60_000), id);
        }
        assert_eq!(woken.recv().await, Some((last, 70_000)));
        assert!(room() <= 16);
    }
}
