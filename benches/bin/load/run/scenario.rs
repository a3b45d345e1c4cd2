//! What is done to the server.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pomelo_protocol::Body;
use serde::{Deserialize, Serialize};

use crate::run::Error;
use crate::run::args::{Options, Scenario, Target};
use crate::run::fleet::{Client, Fleet, Happening};
use crate::run::process::{Kernel, Meter, Window, kernel, resident};
use crate::run::stalled::Stalled;

/// Connections that shake hands at the same time while a run is prepared: fewer than any
/// server's backlog.
const CONNECTING: usize = 100;

/// An hour.
const LONGEST_NANOS: u64 = 3_600_000_000_000;

/// No progress for so long ends a run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Before memory is measured, the kernel is looked at this often, until it has freed nothing so many
/// times; and no more than so many times.
const GLANCE: Duration = Duration::from_millis(100);
const QUIET: u32 = 3;
const SETTLING: u32 = 30;

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

/// Resident memory of the server in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) per_connection: u64,
    /// For the server's socket: what each socket on the machine that came meanwhile is to the kernel.
    /// `None`: unknown to all but root, and when many others went.
    pub(crate) kernel_per_connection: Option<u64>,
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
        (Scenario::Requests, None) => closed_loop(&mut fleet, options, pids),
        (Scenario::Requests, Some(rate)) => open_loop(&mut fleet, options, rate, pids),
        (Scenario::Fanout, _) => fanout(&mut fleet, options, pids),
        (Scenario::Idle, _) => idle(&mut fleet, options, pids),
        (Scenario::Storm, _) => storm(&mut fleet, options, pids),
    }
}

/// `depth` requests are in flight on each connection, always.
fn closed_loop(fleet: &mut Fleet, options: &Options, pids: &[u32]) -> Result<Outcome, Error> {
    connect(fleet, options)?;
    let (route, text) = (options.route(&options.method), "x".repeat(options.size));
    let echo = Text { msg: &text };
    for key in 0..options.connections {
        if let Some(client) = fleet.client(key) {
            for _ in 0..options.depth {
                client.request(&route, &echo, Instant::now())?;
            }
        }
        fleet.flush(key)?;
    }
    let mut times = histogram()?;
    let window = measure(
        fleet,
        options,
        pids,
        |client, _, happening, measuring| match happening {
            Happening::Response { since, at, body } => {
                check_echo(&body, options)?;
                if measuring {
                    record(&mut times, at - since);
                }
                client.request(&route, &echo, Instant::now())
            }
            Happening::Ready | Happening::Push { .. } => Ok(()),
            Happening::Lost(reason) => Err(Error::Lost(reason)),
        },
    )?;
    Ok(Outcome {
        latency: Some(("request", times.clone())),
        ..Outcome::new("requests", times.len(), window)
    })
}

/// Requests leave on a schedule that knows nothing of the answers. Latency counts from the time
/// on the schedule, so that a server's pause is paid by all requests it delays.
fn open_loop(
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
    let interval = Duration::from_secs(1) / rate;
    let mut due = Instant::now();
    let begin = due + options.warmup;
    let end = begin + options.measured;
    let (mut times, mut lag) = (histogram()?, histogram()?);
    let (mut meter, mut window) = (None, None);
    let (mut sent, mut scheduled, mut unanswered) = (0, 0_u64, 0_u64);
    loop {
        let now = Instant::now();
        if meter.is_none() && now >= begin {
            meter = Some(Meter::start(pids)?);
        }
        while due <= now && due < end {
            let key = sent % options.connections;
            if let Some(client) = fleet.client(key) {
                client.request(&route, &echo, due)?;
            }
            fleet.flush(key)?;
            if due >= begin {
                record(&mut lag, Instant::now() - due);
                scheduled += 1;
            }
            unanswered += 1;
            sent += 1;
            due += interval;
        }
        stalled.speak(fleet, now)?;
        if now >= end && window.is_none() {
            window = meter.take().map(Meter::stop).transpose()?;
        }
        if now >= end && (unanswered == 0 || now >= end + PATIENCE) {
            break;
        }
        let wake = if due < end {
            due
        } else if now < end {
            end
        } else {
            end + PATIENCE
        };
        let wake = stalled.next().map_or(wake, |next| next.min(wake));
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
    let window = window.ok_or(Error::Stalled)?;
    Ok(Paced {
        unanswered: scheduled.saturating_sub(times.len()),
        times,
        lag,
        window,
    })
}

/// `depth` broadcasts are in flight, always: one is over when every member has it.
fn fanout(fleet: &mut Fleet, options: &Options, pids: &[u32]) -> Result<Outcome, Error> {
    let members = open(fleet, options, options.connections)?;
    join(fleet, options, "load", &members)?;
    let (route, text) = (options.route("broadcast"), "x".repeat(options.size));
    let message = Text { msg: &text };
    let mut flight = Flight::new(options.connections);
    let mut times = histogram()?;
    let begin = Instant::now() + options.warmup;
    let end = begin + options.measured;
    let mut meter = None;
    let mut progress = Instant::now();
    loop {
        let now = Instant::now();
        if meter.is_none() && now >= begin {
            meter = Some(Meter::start(pids)?);
        }
        if now >= end {
            break;
        }
        if now >= progress + PATIENCE {
            return Err(Error::Stalled);
        }
        while flight.len() < options.depth {
            let sender = fleet.client(0).ok_or(Error::Stalled)?;
            sender.request(&route, &message, now)?;
            flight.launch(now);
        }
        fleet.flush(0)?;
        let measuring = meter.is_some();
        fleet.turn(end, |_, key, happening| match happening {
            Happening::Push { at } => {
                progress = at;
                if let Some(since) = flight.land(key)
                    && measuring
                {
                    record(&mut times, at - since);
                }
                Ok(())
            }
            Happening::Response { body, .. } => check(&body),
            Happening::Ready => Ok(()),
            Happening::Lost(reason) => Err(Error::Lost(reason)),
        })?;
    }
    let window = meter.ok_or(Error::Stalled)?.stop()?;
    Ok(Outcome {
        latency: Some(("delivery, from the broadcast's request", times.clone())),
        ..Outcome::new("deliveries", times.len(), window)
    })
}

/// Broadcasts on their way. A member gets them in the order sent, so its nth push is the nth
/// broadcast, and nothing needs to be read from the push.
#[derive(Debug)]
struct Flight {
    /// For each member the number of pushes it has.
    landed: Vec<u64>,
    /// When it was sent, and how many members do not have it yet.
    flying: VecDeque<(Instant, usize)>,
    /// How many broadcasts are over.
    over: u64,
}

impl Flight {
    fn new(members: usize) -> Self {
        Self {
            landed: vec![0; members],
            flying: VecDeque::new(),
            over: 0,
        }
    }

    fn len(&self) -> usize {
        self.flying.len()
    }

    fn launch(&mut self, at: Instant) {
        self.flying.push_back((at, self.landed.len()));
    }

    /// A push has come to a member: when its broadcast was sent.
    fn land(&mut self, member: usize) -> Option<Instant> {
        let landed = self.landed.get_mut(member)?;
        let index = usize::try_from(landed.checked_sub(self.over)?).ok()?;
        let (since, missing) = self.flying.get_mut(index)?;
        *landed += 1;
        *missing -= 1;
        let since = *since;
        while self
            .flying
            .front()
            .is_some_and(|(_, missing)| *missing == 0)
        {
            self.flying.pop_front();
            self.over += 1;
        }
        Some(since)
    }
}

/// All connections are bound and then send nothing but heartbeats.
fn idle(fleet: &mut Fleet, options: &Options, pids: &[u32]) -> Result<Outcome, Error> {
    let kernel_before = settled(fleet)?;
    let before = resident(pids)?;
    connect(fleet, options)?;
    let mut lost = 0;
    let settled = Instant::now() + options.warmup;
    let end = settled + options.measured;
    let mut hold = |fleet: &mut Fleet, until: Instant| {
        while Instant::now() < until {
            fleet.turn(until, |_, _, happening| {
                lost += u64::from(matches!(happening, Happening::Lost(_)));
                Ok(())
            })?;
        }
        Ok::<_, Error>(())
    };
    hold(fleet, settled)?;
    let meter = Meter::start(pids)?;
    let beats = fleet.heartbeats();
    hold(fleet, end)?;
    let window = meter.stop()?;
    let connections = options.connections as u64;
    let held = kernel_before.zip(kernel());
    let memory = before.zip(resident(pids)?).map(|(before, after)| Memory {
        before,
        after,
        per_connection: after.saturating_sub(before) / connections,
        kernel_per_connection: held
            .and_then(|(before, after)| after.per_socket(before, connections)),
    });
    Ok(Outcome {
        memory,
        lost,
        ..Outcome::new("heartbeats", fleet.heartbeats() - beats, window)
    })
}

/// What the kernel holds once it has freed the sockets of an earlier run, which it does after a while
/// and after their server has closed them.
fn settled(fleet: &mut Fleet) -> Result<Option<Kernel>, Error> {
    let mut least = kernel();
    let mut quiet = 0;
    for _ in 0..SETTLING {
        fleet.turn(Instant::now() + GLANCE, |_, _, _| Ok(()))?;
        let now = kernel();
        if now.map(|now| now.bytes) < least.map(|least| least.bytes) {
            (quiet, least) = (0, now);
        } else {
            quiet += 1;
        }
        if quiet == QUIET {
            break;
        }
    }
    Ok(least)
}

/// `connections` at a time connect, shake hands, make one request and close.
fn storm(fleet: &mut Fleet, options: &Options, pids: &[u32]) -> Result<Outcome, Error> {
    let route = options.route("entry");
    let mut opened = vec![Instant::now(); options.connections];
    let mut times = histogram()?;
    let begin = Instant::now() + options.warmup;
    let end = begin + options.measured;
    let mut meter = None;
    let (mut lost, mut done, mut missing) = (0, Vec::new(), options.connections);
    let (mut progress, mut last_loss) = (Instant::now(), String::new());
    loop {
        let now = Instant::now();
        if meter.is_none() && now >= begin {
            meter = Some(Meter::start(pids)?);
        }
        if now >= end {
            break;
        }
        if now >= progress + PATIENCE {
            return Err(if last_loss.is_empty() {
                Error::Stalled
            } else {
                Error::Lost(last_loss)
            });
        }
        missing += done.len();
        for key in done.drain(..) {
            fleet.close(key);
        }
        for _ in 0..std::mem::take(&mut missing) {
            let at = Instant::now();
            let key = fleet.open()?;
            if let Some(place) = opened.get_mut(key) {
                *place = at;
            }
        }
        let measuring = meter.is_some();
        fleet.turn(end, |client, key, happening| match happening {
            Happening::Ready => {
                let since = opened.get(key).copied().unwrap_or(now);
                client.request(&route, &Empty {}, since)
            }
            Happening::Response { since, at, body } => {
                check(&body)?;
                progress = at;
                if measuring {
                    record(&mut times, at - since);
                }
                done.push(key);
                Ok(())
            }
            Happening::Push { .. } => Ok(()),
            Happening::Lost(reason) => {
                // One that was answered is replaced already.
                if !done.contains(&key) {
                    missing += 1;
                    lost += 1;
                    last_loss = reason;
                }
                Ok(())
            }
        })?;
    }
    let window = meter.ok_or(Error::Stalled)?.stop()?;
    Ok(Outcome {
        latency: Some(("connect, handshake and request", times.clone())),
        lost,
        ..Outcome::new("sessions", times.len(), window)
    })
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
    let (mut keys, mut bound) = (Vec::with_capacity(connections), 0);
    let mut progress = Instant::now();
    while bound < connections {
        while keys.len() < connections && keys.len() - bound < CONNECTING {
            keys.push(fleet.open()?);
        }
        fleet.turn(
            progress + PATIENCE,
            |client, _, happening| match happening {
                Happening::Ready => client.request(&route, &Empty {}, Instant::now()),
                Happening::Response { at, body, .. } => {
                    check(&body)?;
                    progress = at;
                    bound += 1;
                    Ok(())
                }
                Happening::Push { .. } => Ok(()),
                Happening::Lost(reason) => Err(Error::Lost(reason)),
            },
        )?;
        if progress.elapsed() >= PATIENCE {
            return Err(Error::Stalled);
        }
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
    let mut joined = 0;
    let mut progress = Instant::now();
    while joined < keys.len() {
        fleet.turn(progress + PATIENCE, |_, _, happening| match happening {
            Happening::Response { at, body, .. } => {
                check(&body)?;
                progress = at;
                joined += 1;
                Ok(())
            }
            Happening::Ready | Happening::Push { .. } => Ok(()),
            Happening::Lost(reason) => Err(Error::Lost(reason)),
        })?;
        if progress.elapsed() >= PATIENCE {
            return Err(Error::Stalled);
        }
    }
    Ok(())
}

/// Turns the fleet for the warm-up and the measured time; `tell` hears which it is.
fn measure(
    fleet: &mut Fleet,
    options: &Options,
    pids: &[u32],
    mut tell: impl FnMut(&mut Client, usize, Happening, bool) -> Result<(), Error>,
) -> Result<Window, Error> {
    let begin = Instant::now() + options.warmup;
    while Instant::now() < begin {
        fleet.turn(begin, |client, key, what| tell(client, key, what, false))?;
    }
    let meter = Meter::start(pids)?;
    let end = Instant::now() + options.measured;
    while Instant::now() < end {
        fleet.turn(end, |client, key, what| tell(client, key, what, true))?;
    }
    meter.stop()
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
    fn a_broadcast_is_over_when_every_member_has_it() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut flight = Flight::new(2);
        flight.launch(start);
        flight.launch(later);
        assert_eq!(flight.land(0), Some(start));
        assert_eq!(flight.land(0), Some(later));
        assert_eq!(flight.land(0), None);
        assert_eq!(flight.len(), 2);
        assert_eq!(flight.land(1), Some(start));
        assert_eq!(flight.len(), 1);
        assert_eq!(flight.land(1), Some(later));
        assert_eq!(flight.len(), 0);
        assert_eq!(flight.land(2), None);
    }

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
}
