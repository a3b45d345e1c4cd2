//! How much a client may send: two token buckets per connection, in 24 bytes.

use std::time::Duration;

use pomelo_protocol::Instant;

const NANOS: u64 = 1_000_000_000;

/// What happens to a client above its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Excess {
    /// It is not read until its rate allows more: nothing is lost, it waits in the client's own
    /// buffers.
    #[default]
    Throttle,
    /// It is kicked with the reason `rate limit`.
    Disconnect,
}

/// How much one client may send.
///
/// The default is 1000 messages a second with 5000 at once, and 4 MiB a second with 16 MiB at
/// once, throttled: a client that sends its input 60 times a second is far below, one that only
/// wants to keep the server busy is held. Heartbeats count as messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct RateLimit {
    messages: Rate,
    bytes: Rate,
    pub(crate) excess: Excess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    per_second: u32,
    burst: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            messages: Rate {
                per_second: 1000,
                burst: 5000,
            },
            bytes: Rate {
                per_second: 4 << 20,
                burst: 16 << 20,
            },
            excess: Excess::Throttle,
        }
    }
}

impl RateLimit {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Messages in the long run, and how many at once; at least one of each.
    pub fn messages(mut self, per_second: u32, burst: u32) -> Self {
        self.messages = Rate::new(per_second, burst);
        self
    }

    /// Bytes in the long run, and how many at once; at least one of each.
    pub fn bytes(mut self, per_second: u32, burst: u32) -> Self {
        self.bytes = Rate::new(per_second, burst);
        self
    }

    /// What happens above it. Default: [`Excess::Throttle`].
    pub fn excess(mut self, excess: Excess) -> Self {
        self.excess = excess;
        self
    }
}

impl Rate {
    fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            burst: burst.max(1),
        }
    }

    /// How long `amount` takes at this rate, in nanoseconds.
    fn nanos(self, amount: u64) -> u64 {
        amount.saturating_mul(NANOS) / u64::from(self.per_second)
    }
}

/// What a connection has used of its limit: for each bucket the time at which it is full again.
#[derive(Debug, Default)]
pub(crate) struct Used {
    messages: u64,
    bytes: u64,
}

impl Used {
    /// Takes tokens. `Some`: more than allowed, and when the next are there.
    pub(crate) fn take(
        &mut self,
        limit: &RateLimit,
        now: Instant,
        messages: u64,
        bytes: u64,
    ) -> Option<Instant> {
        let now = u64::try_from(now.since_origin().as_nanos()).unwrap_or(u64::MAX);
        let until = take(&mut self.messages, limit.messages, now, messages).max(take(
            &mut self.bytes,
            limit.bytes,
            now,
            bytes,
        ));
        (until > now).then(|| Instant::from_origin(Duration::from_nanos(until)))
    }
}

fn take(full: &mut u64, rate: Rate, now: u64, amount: u64) -> u64 {
    *full = (*full).max(now).saturating_add(rate.nanos(amount));
    full.saturating_sub(rate.nanos(rate.burst.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let limit = RateLimit::new().messages(10, 5).bytes(1000, 1000);
        let mut used = Used::default();
        for _ in 0..5 {
            assert_eq!(used.take(&limit, at(0), 1, 0), None);
        }
        assert_eq!(used.take(&limit, at(0), 1, 0), Some(at(100)));
        assert_eq!(used.take(&limit, at(100), 0, 0), None);
        assert_eq!(used.take(&limit, at(100), 1, 0), Some(at(200)));
        // Idle time is not saved up beyond the burst.
        assert_eq!(used.take(&limit, at(60_000), 5, 0), None);
        assert_eq!(used.take(&limit, at(60_000), 1, 0), Some(at(60_100)));
        assert_eq!(used.take(&limit, at(120_000), 0, 1500), Some(at(120_500)));
    }

    #[test]
    fn nothing_overflows() {
        let limit = RateLimit::new().messages(1, 1).bytes(1, u32::MAX);
        let mut used = Used::default();
        let end = Instant::from_origin(Duration::MAX);
        assert_eq!(used.take(&limit, end, u64::MAX, u64::MAX), None);
        assert!(used.take(&limit, at(1), 1, 1).is_some());
    }
}
