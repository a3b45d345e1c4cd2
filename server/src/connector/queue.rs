//! Who of a frontend's connections has its turn before whom.
//!
//! A runtime polls all that are ready, one after the other. Two hundred peers that send as fast as
//! they can are always ready, and a player's request would wait for a turn of each. So whoever has
//! much to do stands in a queue, and one at a time is let in, after all those that have little.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use pomelo_protocol::Instant;
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::nanos;
use crate::lock;

/// One is let in for each turn of the event loop, however long that is; more, while those in the
/// queue have had less than one part of the time for so many of the others. So neither do they wait
/// for ever on a busy server, nor can they take more than a quarter of it from the others.
const OTHERS: u64 = 3;

/// For so many nanoseconds, at most, one is let in after another before the others have a turn.
const LONGEST: u64 = 1_000_000;

/// Room for this many is kept while nobody waits.
const KEPT: usize = 1024;

/// More lanes than 16 would only be so many more that are empty.
const LANE_BITS: u32 = 4;

/// The connections of a frontend that have much to do. There is a lane for each worker thread.
#[derive(Debug)]
pub(crate) struct Queue {
    lanes: Box<[Lane]>,
    /// Tells the lane of the next to come.
    next: AtomicUsize,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// How many were let in.
    served: AtomicU64,
    /// When the last of them was let in or, since then, had its turn: in nanoseconds.
    done: AtomicU64,
    /// Until when one that has had its turn lets in the next.
    until: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How many have come so far.
    last: u64,
    wakers: VecDeque<Waker>,
}

/// A place in the queue: which in its lane, and the lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(NonZeroU64);

impl Queue {
    /// As many as there are worker threads may have their turns side by side.
    pub(crate) fn new(workers: usize) -> Self {
        let lanes = workers.clamp(1, 1 << LANE_BITS);
        Self {
            lanes: std::iter::repeat_with(Lane::default).take(lanes).collect(),
            next: AtomicUsize::new(0),
        }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The task is woken when [`is_served`](Self::is_served) has become true.
    pub(crate) fn enter(&self, waker: &Waker) -> Ticket {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len().max(1);
        let number = self.lanes.get(place).map_or(0, |lane| lane.enter(waker));
        let ticket = number << LANE_BITS | place as u64;
        // The first in a lane is number 1.
        Ticket(NonZeroU64::new(ticket).unwrap_or(NonZeroU64::MIN))
    }

    /// Whether it is the turn of who has this ticket.
    pub(crate) fn is_served(&self, ticket: Ticket) -> bool {
        let (lane, number) = self.find(ticket);
        lane.is_none_or(|lane| lane.served.load(Ordering::Acquire) >= number)
    }

    /// Who had this ticket has had its turn.
    pub(crate) fn done(&self, ticket: Ticket, now: Instant) {
        if let (Some(lane), _) = self.find(ticket) {
            lane.done.store(nanos(now), Ordering::Relaxed);
            if nanos(now) < lane.until.load(Ordering::Relaxed) {
                lane.serve();
            }
        }
    }

    /// Waits for a turn. Cancel safe: the turn of who has gone is skipped. Only one task may poll
    /// it.
    pub(crate) async fn turn(&self) {
        let mut ticket = None;
        poll_fn(|context| {
            let ticket = *ticket.get_or_insert_with(|| self.enter(context.waker()));
            if self.is_served(ticket) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Serves those in a lane until it is dropped.
    pub(crate) async fn run(&self, lane: usize, clock: impl Fn() -> Instant) {
        let Some(lane) = self.lanes.get(lane) else {
            return;
        };
        loop {
            let now = nanos(clock());
            let others = now.saturating_sub(lane.done.swap(now, Ordering::Relaxed));
            let share = (others / OTHERS).min(LONGEST);
            lane.until.store(now + share, Ordering::Relaxed);
            if lane.serve() {
                // Behind all who are ready, and those of whom the system has yet to tell.
                yield_now().await;
            } else {
                lane.arrived.notified().await;
                // The others have kept nobody waiting until now.
                lane.done.store(nanos(clock()), Ordering::Relaxed);
            }
        }
    }

    fn find(&self, Ticket(ticket): Ticket) -> (Option<&Lane>, u64) {
        let place = ticket.get() & ((1 << LANE_BITS) - 1);
        let lane = usize::try_from(place).ok();
        let lane = lane.and_then(|place| self.lanes.get(place));
        (lane, ticket.get() >> LANE_BITS)
    }
}

impl Lane {
    fn enter(&self, waker: &Waker) -> u64 {
        let mut waiting = lock(&self.waiting);
        waiting.last += 1;
        waiting.wakers.push_back(waker.clone());
        let number = waiting.last;
        let first = waiting.wakers.len() == 1;
        drop(waiting);
        if first {
            self.arrived.notify_one();
        }
        number
    }

    /// Lets the next one in, if there is any.
    fn serve(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        let Some(waker) = waiting.wakers.pop_front() else {
            waiting.wakers.shrink_to(KEPT);
            return false;
        };
        let served = waiting.last - waiting.wakers.len() as u64;
        self.served.store(served, Ordering::Release);
        drop(waiting);
        waker.wake();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use futures_util::task::noop_waker;
    use tokio::task::JoinSet;

    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_origin(Duration::from_micros(micros))
    }

    /// A queue of which one lane is served, at a time that is always the same.
    fn served(lanes: usize) -> (Arc<Queue>, JoinSet<()>) {
        let queue = Arc::new(Queue::new(lanes));
        let mut tasks = JoinSet::new();
        for lane in 0..queue.lanes() {
            let queue = Arc::clone(&queue);
            tasks.spawn(async move { queue.run(lane, || at(7)).await });
        }
        (queue, tasks)
    }

    #[tokio::test]
    async fn those_who_wait_are_let_in_as_they_came_one_for_each_turn_of_the_loop() {
        let (queue, _running) = served(1);
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for who in ["first", "second", "third"] {
            let (queue, log) = (Arc::clone(&queue), Arc::clone(&log));
            tasks.spawn(async move {
                queue.turn().await;
                lock(&log).push(who);
            });
        }
        let others = Arc::clone(&log);
        tasks.spawn(async move {
            for _ in 0..3 {
                yield_now().await;
                lock(&others).push("others");
            }
        });
        while tasks.join_next().await.is_some() {}
        let log = lock(&log).clone();
        let waited: Vec<_> = log.iter().filter(|who| **who != "others").collect();
        assert_eq!(waited, [&"first", &"second", &"third"]);
        // Whoever has little to do is never behind two of them.
        let longest = log.split(|who| *who == "others").map(<[_]>::len).max();
        assert_eq!(longest, Some(1), "{log:?}");
    }

    #[tokio::test]
    async fn every_lane_serves_its_own() {
        let (queue, _running) = served(100);
        assert_eq!(queue.lanes(), 16);
        let tickets: Vec<_> = (0..50).map(|_| queue.enter(&noop_waker())).collect();
        assert!(tickets.iter().all(|ticket| !queue.is_served(*ticket)));
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(tickets.iter().all(|ticket| queue.is_served(*ticket)));
    }

    #[test]
    fn a_long_turn_of_others_is_made_up_for() {
        let queue = Queue::new(1);
        let tickets: Vec<_> = (0..4).map(|_| queue.enter(&noop_waker())).collect();
        let served = || tickets.iter().filter(|t| queue.is_served(**t)).count();
        assert!(queue.run(0, || at(1000)).now_or_never().is_none());
        // The others had 1000 us, so these have 333.
        assert_eq!(served(), 1);
        queue.done(tickets[0], at(1200));
        queue.done(tickets[1], at(1300));
        assert_eq!(served(), 3);
        queue.done(tickets[2], at(1400));
        assert_eq!(served(), 3, "time is over");
    }

    #[tokio::test]
    async fn who_goes_away_keeps_nobody_waiting() {
        let (queue, _running) = served(1);
        assert!(queue.turn().now_or_never().is_none());
        queue.turn().await;
    }
}
