//! Requests in an open loop: they leave on a schedule that knows nothing of the answers. Latency
//! counts from the time on the schedule, so that a server's pause is paid by all requests it
//! delays.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::run::Error;
use crate::run::args::Options;
use crate::run::fleet::{Fleet, Happening};
use crate::run::process::{Meter, Window};
use crate::run::stalled::Stalled;

use super::{Outcome, PATIENCE, Text, check_echo, connect, histogram, record};

/// A tool that polls with realtime priority leaves nothing of its core to others, and after 0.95 s
/// without any the kernel gives them 50 ms by force: "fair server" and, before Linux 6.12,
/// `sched_rt_runtime_us`. So the schedule rests before that, and for longer.
const BURST: Duration = Duration::from_millis(400);
const REST: Duration = Duration::from_millis(100);

/// What requests on a schedule came to.
#[derive(Debug)]
pub(crate) struct Paced {
    /// Nanoseconds from the time on the schedule to the answer.
    pub(crate) times: Histogram<u64>,
    /// How late this tool itself sent, in nanoseconds.
    pub(crate) lag: Histogram<u64>,
    pub(crate) unanswered: u64,
    pub(crate) window: Window,
}

pub(super) fn run(
    fleet: &mut Fleet,
    options: &Options,
    rate: u32,
    pids: &[u32],
) -> Result<Outcome, Error> {
    connect(fleet, options)?;
    let Paced {
        times,
        lag,
        unanswered,
        window,
    } = paced(fleet, options, rate, pids)?;
    Ok(Outcome {
        latency: Some(("request, from its time on the schedule", times.clone())),
        lag: Some(lag),
        unanswered,
        ..Outcome::new("requests", times.len(), window)
    })
}

/// Echoes on a schedule over connections that are there; measured after the warm-up.
pub(crate) fn paced(
    fleet: &mut Fleet,
    options: &Options,
    rate: u32,
    pids: &[u32],
) -> Result<Paced, Error> {
    let mut stalled = Stalled::join(fleet, options)?;
    let (route, text) = (options.route(&options.method), "x".repeat(options.size));
    let echo = Text { msg: &text };
    let schedule = Schedule::new(options, rate, Instant::now());
    let (begin, end) = (
        schedule.due(schedule.first_measured),
        schedule.due(schedule.requests),
    );
    let (mut times, mut lag) = (histogram()?, histogram()?);
    let (mut meter, mut window) = (None, None);
    let mut waited = Duration::ZERO;
    let (mut next, mut unanswered) = (0, 0_u64);
    let mut keys = (0..options.connections).cycle();
    loop {
        let now = Instant::now();
        if meter.is_none() && window.is_none() && now >= begin {
            meter = Some(Meter::start(pids)?);
            waited = fleet.waited();
        }
        while let Some(due) = schedule.request(next).filter(|due| *due <= now) {
            let key = keys.next().unwrap_or_default();
            if let Some(client) = fleet.client(key) {
                client.request(&route, &echo, due)?;
            }
            fleet.flush(key)?;
            if next >= schedule.first_measured {
                record(&mut lag, Instant::now() - due);
            }
            unanswered += 1;
            next += 1;
        }
        stalled.speak(fleet, now)?;
        if now >= end && window.is_none() {
            window = meter.take().map(Meter::stop).transpose()?;
            if let Some(window) = window.as_mut().filter(|_| options.poll) {
                // To poll is no work.
                let waited = fleet.waited().saturating_sub(waited);
                window.tool = window.wall.saturating_sub(waited);
            }
        }
        if now >= end && (unanswered == 0 || now >= end + PATIENCE) {
            break;
        }
        let wake = match schedule.request(next) {
            Some(due) => due,
            None if now < end => end,
            None => end + PATIENCE,
        };
        let wake = stalled.next().map_or(wake, |next| next.min(wake));
        fleet.poll(options.poll && !schedule.rests_before(next));
        fleet.turn(wake, |_, key, happening| match happening {
            _ if stalled.has(key) => Ok(()),
            Happening::Response { since, at, body } => {
                check_echo(&body, options)?;
                unanswered -= 1;
                if since >= begin {
                    record(&mut times, at - since);
                }
                Ok(())
            }
            Happening::Ready | Happening::Push { .. } => Ok(()),
            Happening::Lost(reason) => Err(Error::Lost(reason)),
        })?;
    }
    fleet.poll(false);
    let window = window.ok_or(Error::Stalled)?;
    Ok(Paced {
        unanswered: lag.len().saturating_sub(times.len()),
        times,
        lag,
        window,
    })
}

/// When requests are due, which are numbered from 0.
#[derive(Debug)]
struct Schedule {
    start: Instant,
    rate: u32,
    requests: u64,
    first_measured: u64,
    /// After so many of them it rests.
    burst: Option<u64>,
}

impl Schedule {
    fn new(options: &Options, rate: u32, start: Instant) -> Self {
        let within = |time: Duration| {
            let requests = time.as_nanos() * u128::from(rate) / 1_000_000_000;
            u64::try_from(requests).unwrap_or(u64::MAX)
        };
        let first_measured = within(options.warmup);
        Self {
            start,
            rate,
            requests: first_measured.saturating_add(within(options.measured)),
            first_measured,
            burst: options.poll.then(|| within(BURST).max(1)),
        }
    }

    /// When the request is due; `None`: there is none such.
    fn request(&self, number: u64) -> Option<Instant> {
        (number < self.requests).then(|| self.due(number))
    }

    fn due(&self, number: u64) -> Instant {
        let seconds = number / u64::from(self.rate);
        let nanos = number % u64::from(self.rate) * 1_000_000_000 / u64::from(self.rate);
        let rests = self.burst.map_or(0, |burst| number / burst);
        let rests = u32::try_from(rests).unwrap_or(u32::MAX);
        self.start + Duration::from_secs(seconds) + Duration::from_nanos(nanos) + REST * rests
    }

    fn rests_before(&self, number: u64) -> bool {
        number >= self.requests || self.burst.is_some_and(|burst| number.is_multiple_of(burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::args::Scenario;

    #[test]
    fn requests_are_due_at_their_rate() {
        let options = Options {
            warmup: Duration::from_millis(500),
            measured: Duration::from_secs(1),
            ..Options::new(Scenario::Requests)
        };
        let start = Instant::now();
        let schedule = Schedule::new(&options, 3000, start);
        assert_eq!((schedule.first_measured, schedule.requests), (1500, 4500));
        assert_eq!(schedule.request(0), Some(start));
        assert_eq!(
            schedule.request(4),
            Some(start + Duration::from_nanos(1_333_333))
        );
        assert_eq!(
            schedule.due(4500),
            start + Duration::from_millis(1500),
            "no rounding adds up"
        );
        assert_eq!(schedule.request(4500), None);
        assert!(!schedule.rests_before(0) && schedule.rests_before(4500));
    }

    #[test]
    fn a_schedule_for_polling_rests() {
        let options = Options {
            poll: true,
            ..Options::new(Scenario::Requests)
        };
        let start = Instant::now();
        let schedule = Schedule::new(&options, 1000, start);
        let due = |number| schedule.due(number) - start;
        assert_eq!(due(399), Duration::from_millis(399));
        assert_eq!(due(400), Duration::from_millis(500));
        assert_eq!(due(800), Duration::from_millis(1000));
        assert!(schedule.rests_before(400) && !schedule.rests_before(401));
        // One that hardly sends anything.
        let slow = Schedule::new(&options, 1, start);
        assert_eq!(slow.due(1), start + Duration::from_secs(1) + REST);
    }
}
