//! How much a client may send: two token buckets per connection, in 16 bytes.

/// Costs are kept in nanoseconds with this many binary places: a byte may cost less than one.
const PLACES: u32 = 10;

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
    /// What one costs, in parts of a nanosecond.
    cost: u64,
    /// What a full bucket is worth, in nanoseconds.
    full: u64,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            messages: Rate::new(1000, 5000),
            bytes: Rate::new(4 << 20, 16 << 20),
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
        const SECOND: u64 = 1_000_000_000 << PLACES;
        let cost = SECOND / u64::from(per_second.max(1));
        Self {
            cost,
            full: u64::from(burst.max(1)).saturating_mul(cost) >> PLACES,
        }
    }

    /// `Some`: more than allowed, and when the next may come. Times are in nanoseconds from an
    /// origin of the caller; `full_at` is when the bucket will be full again.
    fn take(self, full_at: &mut u64, now: u64, amount: u64) -> Option<u64> {
        let cost = amount.saturating_mul(self.cost) >> PLACES;
        *full_at = (*full_at).max(now).saturating_add(cost);
        let until = full_at.saturating_sub(self.full);
        (until > now).then_some(until)
    }
}

/// What a connection has used of its limit: for each bucket the time at which it is full again.
#[derive(Debug, Default)]
pub(crate) struct Used {
    messages: u64,
    bytes: u64,
}

impl Used {
    /// Takes a token for each message. `Some`: there were not enough, and when there are again,
    /// in nanoseconds like `now`.
    pub(crate) fn messages(&mut self, limit: &RateLimit, now: u64, amount: u64) -> Option<u64> {
        limit.messages.take(&mut self.messages, now, amount)
    }

    /// The same for bytes.
    pub(crate) fn bytes(&mut self, limit: &RateLimit, now: u64, amount: u64) -> Option<u64> {
        limit.bytes.take(&mut self.bytes, now, amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds.
    fn at(millis: u64) -> u64 {
        millis * 1_000_000
    }

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let limit = RateLimit::new().messages(10, 5).bytes(1000, 1000);
        let mut used = Used::default();
        for _ in 0..5 {
            assert_eq!(used.messages(&limit, at(0), 1), None);
        }
        assert_eq!(used.messages(&limit, at(0), 1), Some(at(100)));
        assert_eq!(used.messages(&limit, at(100), 0), None);
        assert_eq!(used.messages(&limit, at(100), 1), Some(at(200)));
        // Idle time is not saved up beyond the burst.
        assert_eq!(used.messages(&limit, at(60_000), 5), None);
        assert_eq!(used.messages(&limit, at(60_000), 1), Some(at(60_100)));
        assert_eq!(used.bytes(&limit, at(120_000), 1500), Some(at(120_500)));
    }

    #[test]
    fn nothing_overflows_and_the_highest_rate_is_nearly_free() {
        let slow = RateLimit::new().messages(0, 0).bytes(1, u32::MAX);
        let mut used = Used::default();
        assert_eq!(used.messages(&slow, u64::MAX, u64::MAX), None);
        assert_eq!(used.bytes(&slow, u64::MAX, u64::MAX), None);
        assert!(used.messages(&slow, 1, 1).is_some());
        let fast = RateLimit::new().bytes(u32::MAX, u32::MAX);
        let mut used = Used::default();
        assert_eq!(used.bytes(&fast, 0, 3 << 30), None);
    }
}
