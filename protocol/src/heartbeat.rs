//! The client's heartbeats as pure deadlines.
//!
//! The client paces: a server of pomelo never sends one on its own time, it sends one on the
//! acknowledgement of the handshake and one in answer to each that comes
//! (`commands/heartbeat.js`).

use std::time::Duration;

use crate::time::Instant;

/// Added to the client's patience, as the browser client does ("gap threshold").
const GAP: Duration = Duration::from_millis(100);

/// What is due on a connection's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Send a heartbeat.
    Send,
    /// The peer has been silent for too long.
    Dead,
}

#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Duration,
    /// When the next own heartbeat is due.
    next: Instant,
    patience: Duration,
    /// Until when something must have come.
    deadline: Instant,
}

impl Heartbeat {
    /// One heartbeat every `interval`, the first one interval from now, whether or not the
    /// server's first one came; silence of twice that ends the connection.
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        let patience = interval.saturating_mul(2).saturating_add(GAP);
        Self {
            interval,
            next: now + interval,
            patience,
            deadline: now + patience,
        }
    }

    /// Something came that counts as a sign of life.
    pub(crate) fn alive(&mut self, now: Instant) {
        self.deadline = now + self.patience;
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.deadline.min(self.next)
    }

    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now >= self.deadline {
            return Due::Dead;
        }
        if now >= self.next {
            // From now, not from `next`: a stalled client must not catch up in a burst.
            self.next = now + self.interval;
            return Due::Send;
        }
        Due::Nothing
    }
}
