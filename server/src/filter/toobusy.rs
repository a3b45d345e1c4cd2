//! Refusing work while the process is behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::Filter;
use crate::error::Error;
use crate::handler::Request;

/// pomelo's `DEFAULT_MAXLAG`.
pub(crate) const DEFAULT_MAX_LAG: Duration = Duration::from_millis(70);

/// Often enough to notice a stall within a few samples, too seldom to matter.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Refuses requests with code 500 while tasks wait too long for a thread of the runtime.
///
/// How long they wait is measured by a task that sleeps and looks how late it wakes, as node's
/// `toobusy` does with its event loop. It starts with the first request and ends with the filter.
#[derive(Debug)]
pub struct TooBusy {
    max_lag: Duration,
    meter: LagMeter,
}

impl Default for TooBusy {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_LAG)
    }
}

impl TooBusy {
    /// With the lag above which requests are refused; pomelo's, and the
    /// [default](Self::default), is 70 ms.
    pub fn new(max_lag: Duration) -> Self {
        Self {
            max_lag,
            meter: LagMeter::default(),
        }
    }
}

impl Filter for TooBusy {
    async fn before(&self, request: &mut Request) -> Result<(), Error> {
        let lag = self.meter.lag();
        if lag > self.max_lag {
            tracing::warn!(target: "con-log", route = request.route().as_str(), ?lag, "toobusy: request refused");
            return Err(Error::new("Server toobusy!"));
        }
        Ok(())
    }
}

/// Measures how late tasks run, from the first question on.
#[derive(Debug, Default)]
pub(crate) struct LagMeter {
    sampler: OnceLock<(Arc<Samples>, AbortHandle)>,
}

impl LagMeter {
    /// How late tasks run now: a mean in which the past counts less and less.
    pub(crate) fn lag(&self) -> Duration {
        let (samples, _) = self.sampler.get_or_init(|| {
            let samples = Arc::new(Samples {
                origin: Instant::now(),
                last: AtomicU64::new(0),
                lag: AtomicU64::new(0),
            });
            let task = tokio::spawn(sample(Arc::downgrade(&samples)));
            (samples, task.abort_handle())
        });
        samples.lag()
    }
}

impl Drop for LagMeter {
    fn drop(&mut self) {
        if let Some((_, sampler)) = self.sampler.get() {
            sampler.abort();
        }
    }
}

#[derive(Debug)]
struct Samples {
    origin: Instant,
    /// Microseconds from the origin to the last sample.
    last: AtomicU64,
    /// The mean in microseconds.
    lag: AtomicU64,
}

impl Samples {
    /// What a sample taken now would make of the mean: after a stall requests may run before the
    /// sampler does.
    fn lag(&self) -> Duration {
        let mean = self.lag.load(Ordering::Relaxed);
        let late = self.late();
        Duration::from_micros(if late > 0 { blend(mean, late) } else { mean })
    }

    /// Microseconds since the next sample was due.
    fn late(&self) -> u64 {
        let now = micros(self.origin.elapsed());
        let last = self.last.load(Ordering::Relaxed);
        now.saturating_sub(last)
            .saturating_sub(micros(SAMPLE_EVERY))
    }

    fn take(&self) {
        let mean = blend(self.lag.load(Ordering::Relaxed), self.late());
        self.lag.store(mean, Ordering::Relaxed);
        self.last
            .store(micros(self.origin.elapsed()), Ordering::Relaxed);
    }
}

async fn sample(samples: Weak<Samples>) {
    loop {
        sleep(SAMPLE_EVERY).await;
        let Some(samples) = samples.upgrade() else {
            return;
        };
        samples.take();
    }
}

/// A third of the new and two thirds of the old, as toobusy-js weighs them.
fn blend(mean: u64, late: u64) -> u64 {
    mean.saturating_mul(2).saturating_add(late) / 3
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_seen_at_once_and_forgotten_slowly() {
        let meter = LagMeter::default();
        assert_eq!(meter.lag(), Duration::ZERO);
        for _ in 0..10 {
            sleep(SAMPLE_EVERY).await;
            // The tests' clock is in milliseconds, and so is how late a sleep may be.
            assert!(meter.lag() <= Duration::from_millis(1));
        }
        // Nothing runs meanwhile, as if somebody blocked the thread.
        advance(SAMPLE_EVERY + Duration::from_millis(300)).await;
        let seen = meter.lag();
        assert!(seen >= Duration::from_millis(90), "{seen:?}");
        let mut before = seen;
        for _ in 0..20 {
            sleep(SAMPLE_EVERY).await;
            assert!(meter.lag() <= before);
            before = meter.lag();
        }
        assert!(before < Duration::from_millis(5), "{before:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_sampler_ends_with_its_meter() {
        let meter = LagMeter::default();
        meter.lag();
        let sampler = meter.sampler.get().unwrap().1.clone();
        drop(meter);
        tokio::task::yield_now().await;
        assert!(sampler.is_finished());
    }
}
