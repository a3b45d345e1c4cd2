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

fn nanos(at: Instant) -> u64 {
    u64::try_from(at.since_origin().as_nanos()).unwrap_or(u64::MAX)
}
