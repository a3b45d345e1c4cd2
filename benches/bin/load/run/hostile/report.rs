//! The table and the JSON.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::run::counters::Counters;
use crate::run::hostile::cases::Case;
use crate::run::hostile::{Latency, Options, Priorities, Round};
use crate::run::process::Priority;

/// The most a server may grow.
const MOST_GROWN: u64 = 32 << 20;

/// The most a 99th percentile may be above that of the undisturbed window.
const MOST_SLOWER: f64 = 3.0;

/// What was counted, and what it is called in the table.
const FAMILIES: [(&str, &str); 2] = [
    ("pomelo_connections_closed_total", "closed"),
    ("pomelo_connections_refused_total", "refused"),
];

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    transport: &'static str,
    connections: usize,
    rate: u32,
    seconds: f64,
    rounds: usize,
    /// Without these no latency can be compared with another.
    priorities: Priorities,
    cases: Vec<Outcome>,
}

/// What a case came to: medians over its rounds, sums of what was counted.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    case: &'static str,
    about: &'static str,
    #[serde(skip)]
    priorities: Priorities,
    /// Why the server did not survive, or somebody else with it.
    problem: Option<String>,
    unanswered: u64,
    alone: Window,
    beside: Window,
    slower: f64,
    grown_bytes: u64,
    socket_bytes: u64,
    peers: u64,
    peers_left: u64,
    /// What the server did about it, and how often.
    stopped_by: Vec<(String, u64)>,
    /// Limits that should have acted and did not.
    missing: Vec<&'static str>,
}

/// Latencies in microseconds, and how many cores the server kept busy.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Window {
    p50: f64,
    p99: f64,
    max: f64,
    tool_p99: f64,
    server_cores: f64,
}

impl Outcome {
    pub(super) fn new(
        case: &Case,
        rounds: &[Round],
        problem: Option<String>,
        before: &Counters,
        after: &Counters,
    ) -> Self {
        let mut stopped_by = Vec::new();
        for (family, name) in FAMILIES {
            for label in after.labels(family) {
                let number = after.since(before, &format!("{family}{{{label}}}"));
                // Those who went on their own were not stopped.
                if number > 0 && label != "peer" {
                    stopped_by.push((format!("{name} {label}"), number));
                }
            }
        }
        for (counter, name) in [
            ("pomelo_throttled_total", "throttled"),
            (
                "pomelo_handler_errors_total{connector.entryHandler.echo}",
                "handler error",
            ),
        ] {
            let number = after.since(before, counter);
            if number > 0 {
                stopped_by.push((name.to_owned(), number));
            }
        }
        let missing = case.stopped_by.iter().copied();
        let missing = missing.filter(|name| after.since(before, name) == 0);
        let mut priorities = Priorities::default();
        for round in rounds {
            priorities.extend(&round.priorities);
        }
        Self {
            priorities,
            case: case.name,
            about: case.about,
            missing: missing.collect(),
            problem,
            unanswered: rounds.iter().map(|round| round.unanswered).sum(),
            alone: window(rounds, |round| round.alone),
            beside: window(rounds, |round| round.beside),
            slower: median(rounds.iter().map(|round| {
                let alone = round.alone.p99.max(1);
                round.beside.p99 as f64 / alone as f64
            })),
            grown_bytes: most(rounds, |round| round.grown),
            socket_bytes: most(rounds, |round| round.kernel),
            peers: rounds.iter().map(|round| round.tally.opened).sum(),
            peers_left: most(rounds, |round| round.tally.left),
            stopped_by,
        }
    }

    fn failed(&self) -> bool {
        self.problem.is_some()
            || self.unanswered > 0
            || self.grown_bytes > MOST_GROWN
            || !self.missing.is_empty()
    }
}

impl Report {
    pub(super) fn new(options: &Options, cases: Vec<Outcome>) -> Self {
        let mut priorities = Priorities::default();
        for case in &cases {
            priorities.extend(&case.priorities);
        }
        Self {
            transport: if options.websocket {
                "WebSocket"
            } else {
                "TCP"
            },
            connections: options.healthy.connections,
            rate: options.rate,
            seconds: options.healthy.measured.as_secs_f64(),
            rounds: options.rounds,
            priorities,
            cases,
        }
    }

    /// How many cases ended badly. A slow one is not among them: on a machine that others use, a
    /// percentile proves nothing alone.
    pub(crate) fn failures(&self) -> usize {
        self.cases.iter().filter(|case| case.failed()).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} connections over {} with {} requests/s on schedule, hostile peers beside them \
             for {} s, {} rounds",
            self.connections, self.transport, self.rate, self.seconds, self.rounds
        )?;
        writeln!(
            f,
            "priorities: server {}, tool {}, hostile peers {}\n",
            either(&self.priorities.server),
            either(&self.priorities.tool),
            either(&self.priorities.peers)
        )?;
        writeln!(
            f,
            "| case | survived | memory | cores | p99 alone | beside | ratio | peers | stopped by |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for case in &self.cases {
            let stopped: Vec<_> = case
                .stopped_by
                .iter()
                .map(|(name, number)| format!("{name} {number}"))
                .collect();
            writeln!(
                f,
                "| {} | {} | {}{:.1} MB | {:.2} | {:.0} us | {:.0} us | {}{:.1} | {} | {} |",
                case.case,
                if case.problem.is_none() && case.unanswered == 0 {
                    "yes"
                } else {
                    "NO"
                },
                mark(case.grown_bytes > MOST_GROWN),
                case.grown_bytes as f64 / f64::from(1 << 20),
                case.beside.server_cores,
                case.alone.p99,
                case.beside.p99,
                mark(case.slower > MOST_SLOWER),
                case.slower,
                case.peers,
                stopped.join(", ")
            )?;
        }
        writeln!(
            f,
            "\nGoals: at most 32 MB more, p99 at most {MOST_SLOWER} times that alone; (!) misses one."
        )?;
        for case in &self.cases {
            let name = case.case;
            if let Some(problem) = &case.problem {
                writeln!(f, "{name}: {problem}")?;
            }
            if case.unanswered > 0 {
                writeln!(f, "{name}: {} requests were not answered", case.unanswered)?;
            }
            for missing in &case.missing {
                writeln!(f, "{name}: {missing} did not act")?;
            }
            if case.peers_left > 0 {
                writeln!(f, "{name}: {} peers saw no end", case.peers_left)?;
            }
            if case.beside.tool_p99 > case.beside.p99 / 2.0 {
                writeln!(f, "{name}: half of the p99 beside is the tool's own delay")?;
            }
        }
        Ok(())
    }
}

fn either(priorities: &BTreeSet<Priority>) -> String {
    let told: Vec<_> = priorities.iter().map(Priority::to_string).collect();
    if told.is_empty() {
        return "unknown".to_owned();
    }
    told.join(" or ")
}

const fn mark(missed: bool) -> &'static str {
    if missed { "(!) " } else { "" }
}

fn window(rounds: &[Round], of: impl Fn(&Round) -> Latency) -> Window {
    let at = |part: fn(&Latency) -> u64| {
        median(rounds.iter().map(|round| part(&of(round)) as f64 / 1000.0))
    };
    Window {
        p50: at(|latency| latency.p50),
        p99: at(|latency| latency.p99),
        max: at(|latency| latency.max),
        tool_p99: at(|latency| latency.lag_p99),
        server_cores: median(rounds.iter().map(|round| of(round).cores)),
    }
}

fn most(rounds: &[Round], of: impl Fn(&Round) -> u64) -> u64 {
    rounds.iter().map(of).max().unwrap_or_default()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
