//! What is done to the server.

mod fanout;
mod idle;
mod paced;
mod requests;
mod storm;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pomelo_protocol::Body;
use serde::{Deserialize, Serialize};

use crate::run::Error;
use crate::run::args::{Options, Scenario, Target};
use crate::run::fleet::{Fleet, Happening};
use crate::run::process::{Meter, Window};

pub(crate) use idle::Memory;
pub(crate) use paced::{Paced, paced};

/// Connections that shake hands at the same time while a run is prepared: fewer than any
/// server's backlog.
const CONNECTING: usize = 100;

/// An hour.
const LONGEST_NANOS: u64 = 3_600_000_000_000;

/// No progress for so long ends a run.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What one piece of work is, in the plural.
    pub(crate) unit: &'static str,
    pub(crate) work: u64,
    pub(crate) window: Window,
    /// What was timed, and the times in nanoseconds.
    pub(crate) latency: Option<(&'static str, Histogram<u64>)>,
    /// Open loop: how late this tool itself sent, in nanoseconds.
    pub(crate) lag: Option<Histogram<u64>>,
    pub(crate) memory: Option<Memory>,
    /// Connections that ended on their own, requests that were never answered.
    pub(crate) lost: u64,
    pub(crate) unanswered: u64,
}

impl Outcome {
    fn new(unit: &'static str, work: u64, window: Window) -> Self {
        Self {
            unit,
            work,
            window,
            latency: None,
            lag: None,
            memory: None,
            lost: 0,
            unanswered: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Empty {}

/// What is echoed and pushed.
#[derive(Debug, Serialize)]
pub(crate) struct Text<'a> {
    pub(crate) msg: &'a str,
}

#[derive(Debug, Serialize)]
struct Join<'a> {
    room: &'a str,
}

/// Runs the scenario; `pids` are the server's processes.
pub(crate) fn run(options: &Options, target: Target, pids: &[u32]) -> Result<Outcome, Error> {
    let mut fleet = Fleet::new(target, options.sources)?;
    match (options.scenario, options.rate) {
        (Scenario::Requests, None) => requests::run(&mut fleet, options, pids),
        (Scenario::Requests, Some(rate)) => paced::run(&mut fleet, options, rate, pids),
        (Scenario::Fanout, _) => fanout::run(&mut fleet, options, pids),
        (Scenario::Idle, _) => idle::run(&mut fleet, options, pids),
        (Scenario::Storm, _) => storm::run(&mut fleet, options, pids),
    }
}

/// A warm-up and a measured time, in which something has to happen all the while.
struct Course<'a> {
    pids: &'a [u32],
    begin: Instant,
    end: Instant,
    meter: Option<Meter>,
    /// When something happened last.
    progress: Instant,
}

impl<'a> Course<'a> {
    fn new(options: &Options, pids: &'a [u32]) -> Self {
        let now = Instant::now();
        let begin = now + options.warmup;
        Self {
            pids,
            begin,
            end: begin + options.measured,
            meter: None,
            progress: now,
        }
    }

    /// Whether it goes on at this time; begins to measure when the warm-up is over.
    fn goes_on(&mut self, now: Instant) -> Result<bool, Error> {
        if self.meter.is_none() && now >= self.begin {
            self.meter = Some(Meter::start(self.pids)?);
        }
        if now < self.end && now >= self.progress + PATIENCE {
            return Err(Error::Stalled);
        }
        Ok(now < self.end)
    }

    fn is_measured(&self) -> bool {
        self.meter.is_some()
    }

    fn finish(self) -> Result<Window, Error> {
        self.meter.ok_or(Error::Stalled)?.stop()
    }
}

/// Opens all connections and binds each to a uid.
pub(crate) fn connect(fleet: &mut Fleet, options: &Options) -> Result<(), Error> {
    open(fleet, options, options.connections)?;
    Ok(())
}

/// Opens so many connections and binds each to a uid; tells their keys.
pub(crate) fn open(
    fleet: &mut Fleet,
    options: &Options,
    connections: usize,
) -> Result<Vec<usize>, Error> {
    let route = options.route("entry");
    let mut keys = Vec::with_capacity(connections);
    let mut answers = Answers::new();
    while answers.count < connections {
        while keys.len() < connections && keys.len() - answers.count < CONNECTING {
            keys.push(fleet.open()?);
        }
        answers.turn(fleet, Some(&route))?;
    }
    Ok(keys)
}

/// Makes connections members of one channel.
pub(crate) fn join(
    fleet: &mut Fleet,
    options: &Options,
    room: &str,
    keys: &[usize],
) -> Result<(), Error> {
    let route = options.route("join");
    for &key in keys {
        if let Some(client) = fleet.client(key) {
            client.request(&route, &Join { room }, Instant::now())?;
        }
        fleet.flush(key)?;
    }
    let mut answers = Answers::new();
    while answers.count < keys.len() {
        answers.turn(fleet, None)?;
    }
    Ok(())
}

/// Answers that must come before a run can begin.
struct Answers {
    count: usize,
    progress: Instant,
}

impl Answers {
    fn new() -> Self {
        Self {
            count: 0,
            progress: Instant::now(),
        }
    }

    /// Counts the answers of a turn; a client that gets ready asks for `first`.
    fn turn(&mut self, fleet: &mut Fleet, first: Option<&str>) -> Result<(), Error> {
        let deadline = self.progress + PATIENCE;
        fleet.turn(deadline, |client, _, happening| match happening {
            Happening::Response { at, body, .. } => {
                check(&body)?;
                self.progress = at;
                self.count += 1;
                Ok(())
            }
            Happening::Ready => match first {
                Some(route) => client.request(route, &Empty {}, Instant::now()),
                None => Ok(()),
            },
            Happening::Push { .. } => Ok(()),
            Happening::Lost(reason) => Err(Error::Lost(reason)),
        })?;
        if self.progress.elapsed() >= PATIENCE {
            return Err(Error::Stalled);
        }
        Ok(())
    }
}

/// A server that refuses does less work, and would look fast.
pub(crate) fn check(body: &Body) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Answer {
        code: i64,
    }

    match body.decode() {
        Ok(Answer { code: 200 }) => Ok(()),
        _ => Err(refused(body)),
    }
}

/// The same for echoes, by their length: to parse each would be the tool's largest cost.
fn check_echo(body: &Body, options: &Options) -> Result<(), Error> {
    match body.bytes() {
        Ok(bytes) if bytes.len() >= options.size => Ok(()),
        _ => Err(refused(body)),
    }
}

fn refused(body: &Body) -> Error {
    let answer = body.bytes().unwrap_or_default();
    Error::Refused(String::from_utf8_lossy(&answer).into_owned())
}

/// Nanoseconds with three digits.
fn histogram() -> Result<Histogram<u64>, Error> {
    Ok(Histogram::new_with_bounds(1, LONGEST_NANOS, 3)?)
}

fn record(times: &mut Histogram<u64>, time: Duration) {
    // No run is as long as the histogram's longest time.
    times.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        let mut times = histogram().unwrap();
        for millis in 1..=1000 {
            record(&mut times, Duration::from_millis(millis));
        }
        let median = times.value_at_quantile(0.5);
        assert!(median.abs_diff(500_000_000) < 500_000, "{median}");
        assert_eq!(times.len(), 1000);
    }

    #[test]
    fn a_course_without_progress_ends() {
        let options = Options {
            warmup: Duration::ZERO,
            measured: PATIENCE * 2,
            ..Options::new(Scenario::Requests)
        };
        let mut course = Course::new(&options, &[]);
        let begin = course.begin;
        assert!(!course.is_measured());
        assert!(course.goes_on(begin).unwrap() && course.is_measured());
        assert!(matches!(
            course.goes_on(begin + PATIENCE),
            Err(Error::Stalled)
        ));
        course.progress = begin + PATIENCE;
        assert!(course.goes_on(begin + PATIENCE).unwrap());
        assert!(!course.goes_on(course.end).unwrap());
        course.finish().unwrap();
    }
}
