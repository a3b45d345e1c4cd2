//! One request of a session at a time.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Filter;
use crate::error::Error;
use crate::handler::Request;
use crate::lock;
use crate::reply::Reply;

/// pomelo's `taskManager.timeout`.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the requests of one session one after another: the next starts when the one before has
/// run its after filters, however often its handler waits.
///
/// A request that takes longer than the timeout no longer holds up the next one, and fails when
/// it is done at last: its client gets code 500 although the handler answered, as at pomelo.
/// Requests that fail, panic or are given up make way at once. What waits when the session
/// closes fails without reaching the handler.
#[derive(Debug)]
pub struct Serial(Arc<Lanes>);

impl Default for Serial {
    fn default() -> Self {
        Self::new(TIMEOUT)
    }
}

impl Serial {
    /// With the time that a request may hold up the next; pomelo's, and the
    /// [default](Self::default), is 3 s.
    pub fn new(timeout: Duration) -> Self {
        Self(Arc::new(Lanes {
            timeout,
            next_id: AtomicU64::new(0),
            map: Mutex::default(),
        }))
    }
}

impl Filter for Serial {
    async fn before(&self, request: &mut Request) -> Result<(), Error> {
        let Some(session) = request.session() else {
            return Ok(());
        };
        // Session ids are counted by each frontend, so the id alone would mix up sessions here.
        let key = (session.shared_frontend_id(), session.id());
        let turn = self.0.enter(key).await;
        if session.is_closed() {
            return Err(Error::new("the session closed before the request's turn"));
        }
        request.extensions_mut().insert(Arc::new(turn));
        Ok(())
    }

    async fn after(
        &self,
        request: &mut Request,
        outcome: Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        let Some(turn) = request.extensions_mut().remove::<Arc<Turn>>() else {
            return outcome;
        };
        // Nobody else has it.
        let was_over = Arc::into_inner(turn).is_some_and(Turn::end);
        if outcome.is_ok() && was_over {
            let route = request.route();
            return Err(Error::new(format!("task time out. route:{route}")));
        }
        outcome
    }
}

/// A session: its frontend's id and its own.
type Key = (Arc<str>, u64);

/// The sessions that have a request running; others have no entry.
#[derive(Debug)]
struct Lanes {
    timeout: Duration,
    next_id: AtomicU64,
    /// Asked twice a request; the keys are not the clients' choice.
    map: Mutex<HashMap<Key, Lane, RandomState>>,
}

#[derive(Debug)]
struct Lane {
    running: u64,
    until: Instant,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Lanes {
    /// Waits for the turn. Given up, it leaves nothing behind.
    async fn enter(self: &Arc<Self>, key: Key) -> Turn {
        // Made before the place in the lane, so that dropping it frees the place.
        let turn = Turn {
            lanes: Arc::clone(self),
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            key,
            has_ended: false,
        };
        if let Some((called, until)) = self.line_up(&turn) {
            // Most do not wait, and need not be as large as those that do.
            Box::pin(self.wait(&turn.key, called, until)).await;
        }
        turn
    }

    async fn wait(&self, key: &Key, mut called: oneshot::Receiver<()>, mut until: Instant) {
        loop {
            tokio::select! {
                biased;
                _ = &mut called => return,
                () = sleep_until(until) => {}
            }
            until = self.overtake(key);
        }
    }

    /// `None`: the lane is free, it is this one's turn.
    fn line_up(&self, turn: &Turn) -> Option<(oneshot::Receiver<()>, Instant)> {
        match lock(&self.map).entry(turn.key.clone()) {
            Entry::Vacant(free) => {
                free.insert(Lane {
                    running: turn.id,
                    until: Instant::now() + self.timeout,
                    waiting: VecDeque::new(),
                });
                None
            }
            Entry::Occupied(mut busy) => {
                let (call, called) = oneshot::channel();
                let lane = busy.get_mut();
                lane.waiting.push_back((turn.id, call));
                Some((called, lane.until))
            }
        }
    }

    /// Calls the next if the time of the running one is over: whoever waits and notices first
    /// does it. Answers when to look again.
    fn overtake(&self, key: &Key) -> Instant {
        let mut map = lock(&self.map);
        let now = Instant::now();
        let Some(lane) = map.get_mut(key) else {
            return now + self.timeout;
        };
        if lane.until <= now {
            lane.call_next(now + self.timeout);
        }
        lane.until
    }

    /// Calls the next; answers whether that was done because of the time, or would have been.
    fn leave(&self, turn: &Turn) -> bool {
        let mut map = lock(&self.map);
        let Entry::Occupied(mut entry) = map.entry(turn.key.clone()) else {
            return true;
        };
        let lane = entry.get_mut();
        if lane.running != turn.id {
            lane.waiting.retain(|(id, _)| *id != turn.id);
            return true;
        }
        let now = Instant::now();
        let is_over = lane.until <= now;
        if !lane.call_next(now + self.timeout) {
            entry.remove();
        }
        is_over
    }
}

impl Lane {
    /// `false`: nobody waits.
    fn call_next(&mut self, until: Instant) -> bool {
        while let Some((id, call)) = self.waiting.pop_front() {
            if call.send(()).is_ok() {
                (self.running, self.until) = (id, until);
                return true;
            }
        }
        false
    }
}

/// The place of a request in its lane. Dropping it calls the next.
#[derive(Debug)]
struct Turn {
    lanes: Arc<Lanes>,
    key: Key,
    id: u64,
    has_ended: bool,
}

impl Turn {
    /// Whether the time is over.
    fn end(mut self) -> bool {
        self.has_ended = true;
        self.lanes.leave(&self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.has_ended {
            self.lanes.leave(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use tokio::runtime::Builder;
    use tokio::time::advance;

    use super::*;

    fn lanes() -> Arc<Lanes> {
        Serial::default().0
    }

    fn key(id: u64) -> Key {
        ("connector-1".into(), id)
    }

    fn is_empty(lanes: &Lanes) -> bool {
        lock(&lanes.map).is_empty()
    }

    fn is_over(turn: &Turn) -> bool {
        let map = lock(&turn.lanes.map);
        map.get(&turn.key)
            .is_none_or(|lane| lane.running != turn.id || lane.until <= Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_order_and_nothing_stays() {
        let lanes = lanes();
        let first = lanes.enter(key(1)).await;
        let mut second = Box::pin(lanes.enter(key(1)));
        let mut third = Box::pin(lanes.enter(key(1)));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        let other = lanes.enter(key(2)).await;
        drop(first);
        assert!((&mut third).now_or_never().is_none());
        let second = second.await;
        drop(second);
        drop(third.await);
        drop(other);
        assert!(is_empty(&lanes));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_is_skipped() {
        let lanes = lanes();
        let first = lanes.enter(key(1)).await;
        let mut second = Box::pin(lanes.enter(key(1)));
        let mut third = Box::pin(lanes.enter(key(1)));
        let mut fourth = Box::pin(lanes.enter(key(1)));
        for waiting in [&mut second, &mut third, &mut fourth] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(second);
        drop(first);
        // Called, and given up before it looked.
        drop(third);
        drop(fourth.await);
        assert!(is_empty(&lanes));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_does_not_wait_longer_than_the_timeout() {
        let lanes = lanes();
        let start = Instant::now();
        let first = lanes.enter(key(1)).await;
        let (second, third) = tokio::join!(lanes.enter(key(1)), async {
            let third = lanes.enter(key(1)).await;
            (third, Instant::now() - start)
        });
        let (third, waited) = third;
        assert_eq!(waited, 2 * TIMEOUT);
        assert!(first.end() && second.end());
        assert!(!is_empty(&lanes));
        assert!(!third.end());
        assert!(is_empty(&lanes));
    }

    /// What may happen to three sessions with their requests.
    #[derive(Debug, Clone)]
    enum Op {
        Enter(u64),
        /// One whose turn it is.
        End(Index),
        /// One that waits.
        GiveUp(Index),
        Advance(Duration),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => (0..3_u64).prop_map(Op::Enter),
            1 => any::<Index>().prop_map(Op::End),
            1 => any::<Index>().prop_map(Op::GiveUp),
            1 => (1..4_u32).prop_map(|part| Op::Advance(TIMEOUT / part)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_sequence_keeps_one_turn_per_lane_and_leaves_nothing(ops in vec(op(), 0..100)) {
            let runtime = Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(one_turn_per_lane(ops));
        }
    }

    async fn one_turn_per_lane(ops: Vec<Op>) {
        let lanes = lanes();
        let mut waiting: Vec<Pin<Box<dyn Future<Output = Turn>>>> = Vec::new();
        let mut running: Vec<Turn> = Vec::new();
        for op in ops {
            match op {
                Op::Enter(id) => {
                    let lanes = Arc::clone(&lanes);
                    waiting.push(Box::pin(async move { lanes.enter(key(id)).await }));
                }
                Op::End(one) if !running.is_empty() => {
                    drop(running.remove(one.index(running.len())))
                }
                Op::GiveUp(one) if !waiting.is_empty() => {
                    drop(waiting.remove(one.index(waiting.len())))
                }
                Op::End(_) | Op::GiveUp(_) => {}
                Op::Advance(time) => advance(time).await,
            }
            let mut still = Vec::new();
            for mut one in waiting.drain(..) {
                match one.as_mut().now_or_never() {
                    Some(turn) => running.push(turn),
                    None => still.push(one),
                }
            }
            waiting = still;
            let on_time: Vec<_> = running.iter().filter(|turn| !is_over(turn)).collect();
            for turn in &on_time {
                let same = on_time.iter().filter(|other| other.key == turn.key);
                assert_eq!(same.count(), 1);
            }
        }
        running.clear();
        for one in waiting {
            drop(one.await);
        }
        assert!(is_empty(&lanes));
    }
}
