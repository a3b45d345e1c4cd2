//! The figures as text and as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::run::args::{Options, Scenario};
use crate::run::scenario::{Memory, Outcome};

/// Below this a server's CPU time says little; some kernels count it in steps of 10 ms.
const LEAST_CPU: Duration = Duration::from_millis(500);

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scenario: &'static str,
    transport: &'static str,
    server: String,
    connections: usize,
    depth: Option<usize>,
    rate: Option<u32>,
    size: usize,
    unit: &'static str,
    work: u64,
    seconds: f64,
    per_second: f64,
    server_cpu_seconds: Option<f64>,
    per_server_cpu_second: Option<f64>,
    tool_cpu_seconds: f64,
    latency_micros: Option<Latency>,
    send_lag_micros: Option<Latency>,
    memory: Option<Memory>,
    lost_connections: u64,
    unanswered: u64,
    /// What to keep in mind when reading the rest.
    notes: Vec<String>,
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    of: &'static str,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Latency {
    fn new(of: &'static str, times: &Histogram<u64>) -> Self {
        let at = |quantile| micros(times.value_at_quantile(quantile));
        Self {
            of,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(times.max()),
        }
    }
}

impl Report {
    pub(crate) fn new(options: &Options, server: String, outcome: &Outcome) -> Self {
        let window = outcome.window;
        let work = outcome.work as f64;
        let cpu = window.server.map(|cpu| cpu.as_secs_f64());
        Self {
            scenario: options.scenario.name(),
            transport: if server.starts_with("ws:") {
                "WebSocket"
            } else {
                "TCP"
            },
            server,
            connections: options.connections,
            depth: has_depth(options).then_some(options.depth),
            rate: options.rate,
            size: options.size,
            unit: outcome.unit,
            work: outcome.work,
            seconds: window.wall.as_secs_f64(),
            per_second: work / window.wall.as_secs_f64(),
            server_cpu_seconds: cpu,
            per_server_cpu_second: cpu
                .filter(|cpu| *cpu > 0.0 && outcome.work > 0)
                .map(|cpu| work / cpu),
            tool_cpu_seconds: window.tool.as_secs_f64(),
            latency_micros: outcome
                .latency
                .as_ref()
                .map(|(of, times)| Latency::new(of, times)),
            send_lag_micros: outcome
                .lag
                .as_ref()
                .map(|lag| Latency::new("tool's own delay", lag)),
            memory: outcome.memory,
            lost_connections: outcome.lost,
            unanswered: outcome.unanswered,
            notes: notes(outcome),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            transport,
            connections,
            work,
            unit,
            ..
        } = self;
        writeln!(f, "{scenario} over {transport} at {}", self.server)?;
        write!(f, "  {connections} connections")?;
        if let Some(depth) = self.depth {
            write!(f, ", depth {depth}")?;
        }
        if let Some(rate) = self.rate {
            write!(f, ", {rate} requests/s on schedule")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "  {work} {unit} in {:.1} s, {:.0}/s",
            self.seconds, self.per_second
        )?;
        if let Some(cpu) = self.server_cpu_seconds {
            write!(f, "  server {cpu:.2} CPU s, ")?;
        } else {
            write!(f, "  ")?;
        }
        writeln!(f, "tool {:.2} CPU s", self.tool_cpu_seconds)?;
        if let Some(rate) = self.per_server_cpu_second {
            writeln!(f, "  {rate:.0} {unit} per server CPU second")?;
        }
        for latency in [&self.latency_micros, &self.send_lag_micros]
            .into_iter()
            .flatten()
        {
            let Latency {
                of,
                p50,
                p90,
                p99,
                p999,
                max,
            } = latency;
            writeln!(
                f,
                "  {of}: p50 {p50:.0} p90 {p90:.0} p99 {p99:.0} p99.9 {p999:.0} max {max:.0} us"
            )?;
        }
        if let Some(memory) = self.memory {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (before, after) = (mib(memory.before), mib(memory.after));
            let each = memory.per_connection;
            writeln!(
                f,
                "  {each} bytes per connection ({before:.1} to {after:.1} MiB)"
            )?;
            if let Some(kernel) = memory.kernel_per_connection {
                writeln!(f, "  about {kernel} bytes more in the kernel")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}

/// Whether the option means something in this run.
fn has_depth(options: &Options) -> bool {
    match options.scenario {
        Scenario::Requests => options.rate.is_none(),
        Scenario::Fanout => true,
        Scenario::Idle | Scenario::Storm => false,
    }
}

fn notes(outcome: &Outcome) -> Vec<String> {
    let window = outcome.window;
    let mut notes = Vec::new();
    match window.server {
        None => notes.push("no --pid: the server's CPU time and memory are unknown".to_owned()),
        Some(server) => {
            if window.tool > server {
                notes.push(
                    "the tool used more CPU than the server: requests per second and latency \
                     are the tool's; only work per server CPU second is the server's"
                        .to_owned(),
                );
            }
            if server < LEAST_CPU {
                notes.push("the server used too little CPU time to divide by".to_owned());
            }
        }
    }
    if let (Some((_, times)), Some(lag)) = (&outcome.latency, &outcome.lag)
        && lag.value_at_quantile(0.99) > times.value_at_quantile(0.99) / 2
    {
        notes.push("half of the 99th percentile is the tool's own delay".to_owned());
    }
    if outcome.lost > 0 {
        notes.push(format!("{} connections were lost", outcome.lost));
    }
    if outcome.unanswered > 0 {
        notes.push(format!(
            "{} requests were not answered and are in no percentile",
            outcome.unanswered
        ));
    }
    notes
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}
