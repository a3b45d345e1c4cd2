//! What happens, in numbers: atomics that the hot path adds to, and the text page that Prometheus
//! reads (text exposition format 0.0.4).
//!
//! Every label has a bounded set of values: server ids, the routes registered at the start (all
//! others under `other`), and the closed lists in this file.

mod page;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pomelo_protocol::CloseReason;
use tokio::time::Instant;

pub(crate) use self::page::page;

/// Upper bounds of the latency buckets: from a handler that only looks something up to one that
/// waits for pomelo's RPC limit in vain.
const BUCKETS: [(Duration, &str); 14] = [
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2_500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_millis(2_500), "2.5"),
    (Duration::from_secs(5), "5"),
    (Duration::from_secs(30), "30"),
];

/// Why a connection was closed before its first package was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `max-connections` is reached.
    MaxConnections,
    /// The host filter matched.
    Blacklist,
    /// The first bytes are neither a package, HTTP, TLS nor the proxy header that must come.
    FirstBytes,
    /// HTTP that is not a WebSocket upgrade.
    Http,
    /// It was not clear in time what the client wants.
    Timeout,
    /// The transport failed, in TLS for example.
    Transport,
    /// The server is stopping.
    Stopping,
}

const REFUSALS: [&str; 7] = [
    "max_connections",
    "blacklist",
    "first_bytes",
    "http",
    "timeout",
    "transport",
    "stopping",
];

const CLOSES: [&str; 16] = [
    "local",
    "peer",
    "kicked",
    "heartbeat_timeout",
    "handshake_timeout",
    "rejected",
    "handshake",
    "protocol",
    "outbox_full",
    "transport",
    "rate_limit",
    "server_stop",
    "other",
    "unfinished",
    "inflated",
    "unread",
];

/// Why a connection ended, where the server knows better than the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended<'a> {
    Because(&'a CloseReason),
    ServerStop,
    Cut(Cut),
}

/// A limit of the connector's that a client is cut by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It sent more than its rate allows.
    RateLimit,
    /// Others need the room that its unfinished package takes.
    Unfinished,
    /// Others need the room that what it does not read takes.
    Unread,
    /// A body of it becomes too much once inflated.
    Inflated,
}

impl Ended<'_> {
    fn index(self) -> usize {
        match self {
            Self::Because(reason) => match reason {
                CloseReason::Local => 0,
                CloseReason::Peer => 1,
                CloseReason::Kicked(_) => 2,
                CloseReason::HeartbeatTimeout => 3,
                CloseReason::HandshakeTimeout => 4,
                CloseReason::Rejected(_) => 5,
                CloseReason::Handshake(_) => 6,
                CloseReason::Protocol(_) => 7,
                CloseReason::OutboxFull => 8,
                CloseReason::Transport => 9,
                _ => 12,
            },
            Self::Cut(Cut::RateLimit) => 10,
            Self::ServerStop => 11,
            Self::Cut(Cut::Unfinished) => 13,
            Self::Cut(Cut::Inflated) => 14,
            Self::Cut(Cut::Unread) => 15,
        }
    }
}

/// The numbers of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    measure: bool,
    /// Connections whose socket is open.
    open: AtomicU64,
    accepted: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
    closed: [AtomicU64; CLOSES.len()],
    traffic: [Shard; SHARDS],
    running: AtomicU64,
    handlers: Routes,
    remotes: Routes,
}

/// Worker threads beyond this many share.
const SHARDS: usize = 16;

/// The traffic of one worker thread, on cache lines of its own (two, since processors fetch them
/// in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Traffic<AtomicU64>);

thread_local! {
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

/// What went through connections. A connection counts for itself and adds to the server's
/// numbers when it has nothing else to do, so that connections do not fight for cache lines.
#[derive(Debug, Default)]
pub(crate) struct Traffic<N = u64> {
    pub(crate) requests: N,
    pub(crate) notifies: N,
    pub(crate) ignored: N,
    pub(crate) responses: N,
    pub(crate) pushes: N,
    pub(crate) bytes_in: N,
    pub(crate) bytes_out: N,
    pub(crate) throttled: N,
}

impl Metrics {
    /// `measure`: whether latencies are measured, which reads the clock twice per request.
    pub(crate) fn new<'a>(
        measure: bool,
        handlers: impl Iterator<Item = &'a str>,
        remotes: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self {
            measure,
            open: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: Default::default(),
            closed: Default::default(),
            traffic: Default::default(),
            running: AtomicU64::new(0),
            handlers: Routes::new(handlers),
            remotes: Routes::new(remotes),
        }
    }

    /// Whether latencies are wanted.
    pub(crate) fn measures(&self) -> bool {
        self.measure
    }

    /// A handler of a client's message and the filters around it took this long, wherever they
    /// ran.
    pub(crate) fn handled(&self, route: &str, took: Duration) {
        self.handlers.record(route, took);
    }

    /// A handler of a client's message, or a filter around it, failed.
    pub(crate) fn failed(&self, route: &str) {
        add(Some(&self.handlers.of(route).failures), 1);
    }

    /// A remote call that `started` then, if that was looked at, has ended.
    pub(crate) fn called(&self, route: &str, started: Option<Instant>, failed: bool) {
        if let Some(started) = started {
            self.remotes.record(route, started.elapsed());
        }
        if failed {
            add(Some(&self.remotes.of(route).failures), 1);
        }
    }

    pub(crate) fn opened(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn gone(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many sockets are open.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self, why: Refusal) {
        add(self.refused.get(why as usize), 1);
    }

    pub(crate) fn closed(&self, why: Ended<'_>) {
        add(self.closed.get(why.index()), 1);
    }

    /// A connection that had `before` handlers at work has `now`.
    pub(crate) fn running(&self, before: u64, now: u64) {
        if before != now {
            self.running
                .fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Takes what a connection counted.
    pub(crate) fn add(&self, traffic: &mut Traffic) {
        let Traffic {
            requests,
            notifies,
            ignored,
            responses,
            pushes,
            bytes_in,
            bytes_out,
            throttled,
        } = std::mem::take(traffic);
        let Some(Shard(all)) = SHARD.with(|shard| self.traffic.get(*shard)) else {
            return;
        };
        for (counter, counted) in [
            (&all.requests, requests),
            (&all.notifies, notifies),
            (&all.ignored, ignored),
            (&all.responses, responses),
            (&all.pushes, pushes),
            (&all.bytes_in, bytes_in),
            (&all.bytes_out, bytes_out),
            (&all.throttled, throttled),
        ] {
            add(Some(counter), counted);
        }
    }
}

impl Metrics {
    /// One number of the traffic, over all threads.
    fn sum(&self, of: impl Fn(&Traffic<AtomicU64>) -> &AtomicU64) -> u64 {
        self.traffic.iter().map(|shard| load(of(&shard.0))).sum()
    }
}

fn add(counter: Option<&AtomicU64>, counted: u64) {
    if let Some(counter) = counter
        && counted > 0
    {
        counter.fetch_add(counted, Ordering::Relaxed);
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Latencies by route. What is not registered shares one entry: clients choose routes freely.
#[derive(Debug)]
struct Routes {
    /// Made when a route is first used: most of the routes of most servers never are.
    known: HashMap<Box<str>, OnceLock<Box<Histogram>>>,
    other: OnceLock<Box<Histogram>>,
}

#[derive(Debug, Default)]
struct Histogram {
    /// One per bucket, not yet summed up, and one for what is above them all.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    failures: AtomicU64,
}

impl Routes {
    fn new<'a>(routes: impl Iterator<Item = &'a str>) -> Self {
        Self {
            known: routes
                .map(|route| (route.into(), OnceLock::new()))
                .collect(),
            other: OnceLock::new(),
        }
    }

    fn of(&self, route: &str) -> &Histogram {
        let histogram = self.known.get(route).unwrap_or(&self.other);
        histogram.get_or_init(Box::default)
    }

    fn record(&self, route: &str, took: Duration) {
        let histogram = self.of(route);
        let index = BUCKETS.partition_point(|(bound, _)| *bound < took);
        add(histogram.buckets.get(index), 1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        histogram.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn each(&self) -> impl Iterator<Item = (&str, &Histogram)> {
        let mut known: Vec<_> = self
            .known
            .iter()
            .filter_map(|(route, histogram)| Some((&**route, &**histogram.get()?)))
            .collect();
        known.sort_unstable_by_key(|(route, _)| *route);
        let other = self.other.get().map(|histogram| ("other", &**histogram));
        known.into_iter().chain(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_nobody_registered_share_one_entry() {
        let routes = Routes::new(["a.b.c"].into_iter());
        routes.record("a.b.c", Duration::from_micros(500));
        routes.record("x", Duration::from_secs(3600));
        routes.record("y", Duration::ZERO);
        let all: Vec<_> = routes.each().collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].0, load(&all[0].1.buckets[0])), ("a.b.c", 1));
        let other = all[1].1;
        assert_eq!(
            (load(&other.buckets[0]), load(&other.buckets[BUCKETS.len()])),
            (1, 1)
        );
        assert_eq!(load(&other.micros), 3_600_000_000);
    }
}
