//! What time has to say: heartbeats, silence, and how fast a client may send.

use std::time::Duration;

use pomelo_protocol::CloseReason;
use tokio::time::Instant;

use super::{Driver, Turn};
use crate::connector::{Excess, Transport};

impl Driver {
    /// When [`on_time`](Self::on_time) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let machine = self.machine.poll_timeout();
        let machine = machine.map(|at| self.front.origin + at.since_origin());
        [machine, self.idle_until(), self.throttled, self.stopping]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn on_time(&mut self, turn: &Turn<'_, '_>) {
        self.machine.handle_timeout(turn.time());
        if self.throttled.is_some_and(|until| turn.now >= until) {
            self.throttled = None;
        }
        if self.idle_until().is_some_and(|until| turn.now >= until) {
            self.machine.close(CloseReason::HeartbeatTimeout);
        }
    }

    /// Whether silence ends the connection: on raw TCP, where no heartbeat watches over it.
    pub(super) fn may_idle(&self) -> bool {
        matches!(self.transport, Transport::Tcp) && self.front.hybrid.heartbeat.is_none()
    }

    pub(super) fn idle_until(&self) -> Option<Instant> {
        if !self.may_idle() || !self.machine.is_working() {
            return None;
        }
        let wrote = self
            .session
            .as_ref()
            .and_then(|session| session.mailbox().wrote());
        let active = wrote.map_or(self.active, |wrote| wrote.max(self.active));
        active.checked_add(self.front.hybrid.idle_timeout?)
    }

    pub(super) fn received(&mut self, bytes: usize, turn: &mut Turn<'_, '_>) {
        let bytes = bytes as u64;
        self.active = turn.now;
        turn.traffic.bytes_in += bytes;
        if let Some(limit) = &self.front.hybrid.rate_limit {
            let until = self.used.bytes(limit, turn.nanos, bytes);
            self.over(limit.excess, until, turn);
        }
    }

    /// Takes from what the client may send, and holds it or ends it when there is no more.
    pub(super) fn charge(&mut self, messages: u64, turn: &mut Turn<'_, '_>) {
        if let Some(limit) = &self.front.hybrid.rate_limit {
            let until = self.used.messages(limit, turn.nanos, messages);
            self.over(limit.excess, until, turn);
        }
    }

    fn over(&mut self, excess: Excess, until: Option<u64>, turn: &mut Turn<'_, '_>) {
        let Some(until) = until else { return };
        match excess {
            Excess::Throttle => {
                if self.throttled.is_none() {
                    turn.traffic.throttled += 1;
                }
                self.throttled = self.front.origin.checked_add(Duration::from_nanos(until));
            }
            Excess::Disconnect => {
                self.over_limit = true;
                self.machine.kick("rate limit");
            }
        }
    }
}
