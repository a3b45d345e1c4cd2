//! Writes pushes for connections that have nothing else to do.

use std::sync::Mutex;

use pomelo_protocol::Instant;
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::lock;
use crate::metrics::{Metrics, Traffic};
use crate::session::Session;

/// Sessions that are written to before others get a turn: some 100 microseconds of work.
const TURN: usize = 64;

/// Room for this many sessions is kept between two rounds.
const KEPT: usize = 4096;

/// More lanes than this would only divide a broadcast into pieces too small to matter.
const MAX_LANES: usize = 16;

/// Writes what was pushed to sessions while their connections' tasks wait: one task for many
/// sessions, a turn of the event loop later, so that everything pushed in that turn leaves in one
/// write. Sessions are divided among lanes, which run side by side.
#[derive(Debug)]
pub(crate) struct Flusher {
    lanes: Box<[Lane]>,
}

#[derive(Debug, Default)]
struct Lane {
    listed: Mutex<Listed>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Listed {
    sessions: Vec<Session>,
    /// Nobody comes for them any more.
    ended: bool,
}

impl Flusher {
    /// One lane for each worker thread.
    pub(crate) fn new(workers: usize) -> Self {
        let lanes = workers.clamp(1, MAX_LANES);
        Self {
            lanes: std::iter::repeat_with(Lane::default).take(lanes).collect(),
        }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Has the session written to. Each session is listed once until then, which its mailbox
    /// sees to.
    pub(crate) fn list(&self, session: Session) {
        let lanes = self.lanes.len().max(1) as u64;
        let lane = usize::try_from(session.id() % lanes).unwrap_or_default();
        let Some(lane) = self.lanes.get(lane) else {
            return;
        };
        {
            let mut listed = lock(&lane.listed);
            if listed.ended {
                return;
            }
            listed.sessions.push(session);
            if listed.sessions.len() > 1 {
                return;
            }
        }
        lane.arrived.notify_one();
    }

    /// Works off one lane until it is dropped.
    pub(crate) async fn run(&self, lane: usize, clock: impl Fn() -> Instant, metrics: &Metrics) {
        let Some(lane) = self.lanes.get(lane) else {
            return;
        };
        let _end = EndOf(lane);
        let mut sessions = Vec::new();
        let mut traffic = Traffic::default();
        loop {
            lane.arrived.notified().await;
            // Whoever is ready to push, too, comes first.
            yield_now().await;
            std::mem::swap(&mut lock(&lane.listed).sessions, &mut sessions);
            let mut now = clock();
            for (place, session) in sessions.drain(..).enumerate() {
                if place % TURN == TURN - 1 {
                    yield_now().await;
                    now = clock();
                }
                session.flush(&mut traffic, now);
            }
            metrics.add(&mut traffic);
            if sessions.capacity() > KEPT {
                sessions = Vec::new();
            }
        }
    }
}

/// Lets go of the sessions when nobody writes to them any more.
struct EndOf<'a>(&'a Lane);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        let mut listed = lock(&self.0.listed);
        listed.ended = true;
        let sessions = std::mem::take(&mut listed.sessions);
        drop(listed);
        drop(sessions);
    }
}
