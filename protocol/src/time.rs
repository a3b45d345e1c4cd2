//! Time as an input: the core never reads a clock.

use core::ops::Add;
use core::time::Duration;

/// A point in time, counted from an origin that the driver picks.
///
/// The core only compares instants and adds durations to them, so the origin may be the start of
/// the process, the opening of the connection or zero in a test. All instants given to one
/// connection must share their origin and must not run backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The instant `since` after the origin.
    pub const fn from_origin(since: Duration) -> Self {
        Self(since)
    }

    /// How long after the origin this instant is.
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: an instant out of reach is a deadline that never comes.
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}
