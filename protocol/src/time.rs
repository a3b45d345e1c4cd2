//! Time as an input: the core never reads a clock.

use core::num::NonZeroU64;
use core::ops::Add;
use core::time::Duration;

/// A point in time, counted from an origin that the driver picks.
///
/// The core only compares instants and adds durations to them, so the origin may be the start of
/// the process, the opening of the connection or zero in a test. All instants given to one
/// connection must share their origin and must not run backwards. An instant more than 584 years
/// after the origin is one that never comes.
///
/// An `Option<Instant>` is 8 bytes long, as an instant is: a server has many, most of them not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    /// Nanoseconds since the origin, and one.
    nanos: NonZeroU64,
}

impl Instant {
    /// The instant `since` after the origin.
    pub fn from_origin(since: Duration) -> Self {
        Self::default() + since
    }

    /// How long after the origin this instant is.
    pub const fn since_origin(self) -> Duration {
        Duration::from_nanos(self.nanos.get() - 1)
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.get().saturating_sub(earlier.nanos.get()))
    }
}

impl Default for Instant {
    /// The origin.
    fn default() -> Self {
        Self {
            nanos: NonZeroU64::MIN,
        }
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: an instant out of reach is a deadline that never comes.
    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self {
            nanos: self.nanos.saturating_add(nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_counts_from_its_origin_and_saturates() {
        let second = Duration::from_secs(1);
        let at = Instant::from_origin(second);
        assert_eq!(at.since_origin(), second);
        assert_eq!(Instant::default().since_origin(), Duration::ZERO);
        assert_eq!((at + second).saturating_since(at), second);
        assert_eq!(at.saturating_since(at + second), Duration::ZERO);
        let never = at + Duration::MAX;
        assert_eq!(never, never + second);
        assert!(never > at + Duration::from_secs(584 * 365 * 86_400));
        assert_eq!(size_of::<Option<Instant>>(), 8);
    }
}
