//! Heartbeats as pure deadlines.
//!
//! A server of pomelo never sends one on its own time: it sends one on the acknowledgement of the
//! handshake and one in answer to each that comes (`commands/heartbeat.js`). The client paces.

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
    /// Clients: the pace and the next own heartbeat. A server has none, and many of these.
    pace: Option<Box<(Duration, Instant)>>,
    patience: Duration,
    deadline: Instant,
}

impl Heartbeat {
    /// The server's half: silence of `timeout` ends the connection.
    pub(crate) fn server(now: Instant, timeout: Duration) -> Self {
        Self {
            pace: None,
            patience: timeout,
            deadline: now + timeout,
        }
    }

    /// The client's half: one heartbeat every `interval`, the first one interval from now,
    /// whether or not the server's first one came; silence of twice that ends the connection.
    pub(crate) fn client(now: Instant, interval: Duration) -> Self {
        let patience = interval.saturating_mul(2).saturating_add(GAP);
        Self {
            pace: Some(Box::new((interval, now + interval))),
            patience,
            deadline: now + patience,
        }
    }

    /// Something came that counts as a sign of life.
    pub(crate) fn alive(&mut self, now: Instant) {
        self.deadline = now + self.patience;
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.pace
            .as_deref()
            .map_or(self.deadline, |(_, next)| self.deadline.min(*next))
    }

    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now >= self.deadline {
            return Due::Dead;
        }
        match self.pace.as_deref_mut() {
            Some((interval, next)) if now >= *next => {
                // From now, not from `next`: a stalled client must not catch up in a burst.
                *next = now + *interval;
                Due::Send
            }
            _ => Due::Nothing,
        }
    }
}
