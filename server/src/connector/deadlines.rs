//! When the connections of a frontend want to be woken, all in one place.
//!
//! A timer of tokio takes 112 bytes of every connection. Nearly all that connections ever wait for
//! is the silence of their clients, and for that 16 bytes will do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;

use pomelo_protocol::Instant;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::lock;

/// Sessions that are woken before others get a turn.
const TURN: usize = 64;

/// Entries of sessions that have ended are let go of when there are this many in all, or later.
const CROWD: usize = 1024;

/// The sessions of a frontend, each with the time at which its connection is to be woken.
#[derive(Debug)]
pub(crate) struct Deadlines {
    table: Mutex<Table>,
    /// There is an earlier one than before, or too many.
    changed: Notify,
}

#[derive(Debug)]
struct Table {
    /// Instants with the ids of sessions, of which some may have ended.
    waiting: BinaryHeap<Reverse<(Instant, u64)>>,
    /// At this length it is time to look for those.
    crowded: usize,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self {
            table: Mutex::new(Table {
                waiting: BinaryHeap::new(),
                crowded: CROWD,
            }),
            changed: Notify::new(),
        }
    }

    /// Has the connection of the session with this id woken then, or somewhat later. A session that
    /// ends before is forgotten by and by.
    pub(crate) fn enter(&self, at: Instant, id: u64) {
        let mut table = lock(&self.table);
        let first = table
            .waiting
            .peek()
            .is_none_or(|Reverse((first, _))| at < *first);
        table.waiting.push(Reverse((at, id)));
        let crowded = table.waiting.len() >= table.crowded;
        drop(table);
        if first || crowded {
            self.changed.notify_one();
        }
    }

    /// Wakes connections until it is dropped. `clock` tells what time it is, `has` whether there
    /// still is a session.
    pub(crate) async fn run(
        &self,
        clock: impl Fn() -> Instant,
        has: impl Fn(u64) -> bool,
        wake: impl Fn(u64),
    ) {
        let mut due = Vec::new();
        loop {
            let next = self.take(clock(), &has, &mut due);
            for (place, id) in due.drain(..).enumerate() {
                if place % TURN == TURN - 1 {
                    yield_now().await;
                }
                wake(id);
            }
            let next = async {
                match next {
                    Some(next) => sleep(next.saturating_since(clock())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = next => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Takes out what is due; answers when the next one is.
    fn take(&self, now: Instant, has: impl Fn(u64) -> bool, due: &mut Vec<u64>) -> Option<Instant> {
        let mut table = lock(&self.table);
        if table.waiting.len() >= table.crowded {
            table.waiting.retain(|Reverse((_, id))| has(*id));
            table.waiting.shrink_to(CROWD);
            table.crowded = CROWD.max(table.waiting.len().saturating_mul(2));
        }
        while let Some(Reverse((at, id))) = table.waiting.peek() {
            if *at > now {
                return Some(*at);
            }
            due.push(*id);
            table.waiting.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::task::AbortHandle;

    use super::*;

    /// Of the sessions those below `ended` have ended; tells who is woken, and when.
    fn running(ended: u64) -> (Arc<Deadlines>, AbortHandle, mpsc::Receiver<(u64, u128)>) {
        let origin = tokio::time::Instant::now();
        let deadlines = Arc::new(Deadlines::new());
        let (sender, woken) = mpsc::channel(16);
        let task = tokio::spawn({
            let deadlines = Arc::clone(&deadlines);
            async move {
                let wake = |id| {
                    if id >= ended {
                        sender.try_send((id, origin.elapsed().as_millis())).unwrap();
                    }
                };
                let clock = || Instant::from_origin(origin.elapsed());
                deadlines.run(clock, |id| id >= ended, wake).await;
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
        deadlines.enter(at(60_000), 1);
        yield_now().await;
        deadlines.enter(at(30_000), 2);
        deadlines.enter(at(30_000), 3);
        deadlines.enter(Instant::default() + Duration::MAX, 4);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(woken.recv().await.unwrap());
        }
        assert_eq!(seen, [(2, 30_000), (3, 30_000), (1, 60_000)]);
        deadlines.enter(at(60_000), 5);
        assert_eq!(
            woken.recv().await,
            Some((5, 60_000)),
            "at once when it is late"
        );
        task.abort();
        assert_eq!(woken.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_comes_and_goes_leaves_no_room_behind() {
        let last = 100_000;
        let (deadlines, _, mut woken) = running(last);
        for id in 0..=last {
            deadlines.enter(at(60_000 + id), id);
            yield_now().await;
            assert!(lock(&deadlines.table).waiting.capacity() <= 2 * CROWD);
        }
        assert_eq!(woken.recv().await, Some((last, 60_000 + u128::from(last))));
    }
}
