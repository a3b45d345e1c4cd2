//! What time has to say: heartbeats, silence, and how fast a client may send.

use pomelo_protocol::CloseReason;
use tokio::time::Instant;

use super::Driver;
use crate::connector::{Excess, Transport};

impl Driver<'_> {
    /// When [`on_time`](Self::on_time) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let machine = self.machine.poll_timeout();
        let machine = machine.map(|at| self.front.origin + at.since_origin());
        [machine, self.idle_until(), self.throttled, self.stopping]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn on_time(&mut self) {
        self.machine.handle_timeout(self.front.now());
        self.now = Instant::now();
        if self.throttled.is_some_and(|until| self.now >= until) {
            self.throttled = None;
        }
        if self.idle_until().is_some_and(|until| self.now >= until) {
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
        self.active.checked_add(self.front.hybrid.idle_timeout?)
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.now = Instant::now();
        self.active = self.now;
        self.traffic.bytes_in += bytes as u64;
        self.charge(0, bytes as u64);
    }

    /// Takes from what the client may send, and holds it or ends it when there is no more.
    pub(super) fn charge(&mut self, messages: u64, bytes: u64) {
        let Some(limit) = &self.front.hybrid.rate_limit else {
            return;
        };
        let now = pomelo_protocol::Instant::from_origin(self.now - self.front.origin);
        let Some(until) = self.used.take(limit, now, messages, bytes) else {
            return;
        };
        match limit.excess {
            Excess::Throttle => {
                if self.throttled.is_none() {
                    self.traffic.throttled += 1;
                }
                self.throttled = Some(self.front.origin + until.since_origin());
            }
            Excess::Disconnect => {
                self.over_limit = true;
                self.machine.kick("rate limit");
            }
        }
    }
}
