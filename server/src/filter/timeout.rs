//! Requests that take too long.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;
use pomelo_protocol::Route;
use tokio::time::{Instant, sleep_until};

use super::Filter;
use crate::error::Error;
use crate::handler::Request;
use crate::lock;
use crate::reply::Reply;

/// pomelo's `DEFAULT_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(3);

/// pomelo's `DEFAULT_SIZE`.
const MAX_SIZE: usize = 500;

/// Logs requests that take longer than a timeout, while they run; on demand answers in their place.
#[derive(Debug)]
pub struct Timeout {
    timeout: Duration,
    max_size: usize,
    answers: bool,
    watch: Arc<Mutex<Watch>>,
}

impl Default for Timeout {
    fn default() -> Self {
        Self::new(TIMEOUT)
    }
}

impl Timeout {
    /// With the time that a request may take; pomelo's, and the [default](Self::default), is 3 s.
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            max_size: MAX_SIZE,
            answers: false,
            watch: Arc::default(),
        }
    }

    /// How many requests are watched at a time; what comes while there are more is not.
    /// Default: 500, as at pomelo.
    #[must_use]
    pub fn max_size(mut self, requests: usize) -> Self {
        self.max_size = requests;
        self
    }

    /// Also ends the request: its handler is dropped where it waits, and its client gets
    /// `{"code":500}`. Default: it goes on, as at pomelo. Applies to all requests, however many.
    #[must_use]
    pub fn answering(mut self) -> Self {
        self.answers = true;
        self
    }
}

impl Timeout {
    /// `None`: too many are watched already.
    fn watch(&self, route: &Route, deadline: Instant) -> Option<Watched> {
        let mut watch = lock(&self.watch);
        if watch.running.len() > self.max_size {
            return None;
        }
        watch.forget_done();
        let id = watch.next_id;
        watch.next_id += 1;
        watch.running.insert(id, route.clone());
        watch.deadlines.push_back((deadline, id));
        if !std::mem::replace(&mut watch.is_watched, true) {
            tokio::spawn(watch_over(Arc::downgrade(&self.watch), deadline));
        }
        drop(watch);
        Some(Watched {
            watch: Arc::clone(&self.watch),
            id,
        })
    }
}

impl Filter for Timeout {
    async fn before(&self, request: &mut Request) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeout;
        if self.answers {
            request.limit(deadline);
        }
        match self.watch(request.route(), deadline) {
            Some(watched) => drop(request.extensions_mut().insert(Arc::new(watched))),
            None => tracing::warn!(max_size = self.max_size, "timeout filter is out of range"),
        }
        Ok(())
    }

    async fn after(
        &self,
        request: &mut Request,
        outcome: Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        drop(request.extensions_mut().remove::<Arc<Watched>>());
        outcome
    }
}

#[derive(Debug, Default)]
struct Watch {
    next_id: u64,
    running: HashMap<u64, Route, RandomState>,
    /// The same timeout for all, so the first to come is the first to be late.
    deadlines: VecDeque<(Instant, u64)>,
    /// Whether the task is there.
    is_watched: bool,
}

/// A request that is being watched. Dropping it ends that.
#[derive(Debug)]
struct Watched {
    watch: Arc<Mutex<Watch>>,
    id: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.watch).running.remove(&self.id);
    }
}

/// One task for all requests of a filter, there while any is watched.
async fn watch_over(watch: Weak<Mutex<Watch>>, mut next: Instant) {
    loop {
        sleep_until(next).await;
        let Some(watch) = watch.upgrade() else { return };
        let (late, at) = lock(&watch).late(Instant::now());
        for route in late {
            tracing::error!(route = route.as_str(), "request timeout");
        }
        match at {
            Some(at) => next = at,
            None => return,
        }
    }
}

impl Watch {
    /// Keeps the queue as short as what runs, not as long as the timeout.
    fn forget_done(&mut self) {
        while let Some((_, id)) = self.deadlines.front()
            && !self.running.contains_key(id)
        {
            self.deadlines.pop_front();
        }
    }

    /// Takes out what is late; answers when to look again, if ever.
    fn late(&mut self, now: Instant) -> (Vec<Route>, Option<Instant>) {
        let mut late = Vec::new();
        while let Some((deadline, id)) = self.deadlines.front().copied() {
            match self.running.get(&id) {
                Some(_) if deadline > now => return (late, Some(deadline)),
                running => late.extend(running.cloned()),
            }
            self.deadlines.pop_front();
        }
        self.is_watched = false;
        (late, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_done_is_forgotten() {
        let filter = Timeout::default();
        let route = Route::new("chat.h.m").unwrap();
        let begin = |filter: &Timeout| filter.watch(&route, Instant::now() + TIMEOUT);
        for _ in 0..1_000 {
            drop(begin(&filter).unwrap());
        }
        assert!(lock(&filter.watch).running.is_empty());
        assert_eq!(lock(&filter.watch).deadlines.len(), 1);
        // The task goes when there is nothing to watch, and comes again.
        tokio::time::sleep(2 * TIMEOUT).await;
        assert!(!lock(&filter.watch).is_watched);
        let late = begin(&filter).unwrap();
        tokio::time::sleep(TIMEOUT / 2).await;
        let later = begin(&filter).unwrap();
        assert!(lock(&filter.watch).is_watched);
        tokio::time::sleep(TIMEOUT).await;
        assert_eq!(lock(&filter.watch).deadlines.len(), 1);
        drop((late, later));
        tokio::time::sleep(TIMEOUT).await;
        assert!(!lock(&filter.watch).is_watched);
        assert!(lock(&filter.watch).deadlines.is_empty());
    }
}
