//! The table, the arithmetic and the JSON.

use std::fmt;

use serde::Serialize;

use crate::run::scale::{Options, Outcome};

/// What the arithmetic goes on to.
const GOALS: [u64; 2] = [300_000, 1_000_000];

/// All figures of a run. Bytes, unless a name says otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    transport: &'static str,
    connections: u64,
    server_processes: usize,
    connecting_seconds: f64,
    held_seconds: f64,
    heartbeat_seconds: u32,
    lost_connections: u64,
    sessions: u64,
    bound: u64,
    heartbeats: u64,
    /// Of all servers with nothing connected.
    empty_resident: u64,
    resident_per_session: u64,
    proportional_per_session: u64,
    /// Of the kernel, for both ends of a connection, since both are on this machine.
    slab_per_pair: u64,
    queued_per_pair: u64,
    /// Both of these.
    kernel_per_pair: u64,
    /// What the whole machine has less than before, servers, holders and strangers included.
    available_before: u64,
    available_after: u64,
    holder_per_connection: u64,
    server_cpu_seconds: f64,
    server_cores: f64,
    cpu_micros_per_heartbeat: f64,
    arithmetic: Vec<Estimate>,
}

/// What so many connections would cost a server.
#[derive(Debug, Serialize)]
struct Estimate {
    connections: u64,
    user: u64,
    kernel: u64,
    cores: f64,
}

impl Report {
    pub(super) fn new(options: &Options, outcome: &Outcome) -> Self {
        let (before, after) = (outcome.before, outcome.after);
        let all = options.connections as u64;
        let each = |before: u64, after: u64| after.saturating_sub(before) / all;
        let cpu = outcome.servers.server.unwrap_or_default().as_secs_f64();
        let held = outcome.servers.wall.as_secs_f64();
        let heartbeat = cpu / outcome.heartbeats.max(1) as f64;
        let mut report = Self {
            transport: if options.websocket {
                "WebSocket"
            } else {
                "TCP"
            },
            connections: all,
            server_processes: outcome.processes,
            connecting_seconds: outcome.connecting.as_secs_f64(),
            held_seconds: held,
            heartbeat_seconds: options.heartbeat,
            lost_connections: outcome.lost,
            sessions: outcome.sessions,
            bound: outcome.bound,
            heartbeats: outcome.heartbeats,
            empty_resident: before.resident,
            resident_per_session: each(before.resident, after.resident),
            proportional_per_session: each(before.proportional, after.proportional),
            slab_per_pair: each(before.slab, after.slab),
            queued_per_pair: each(before.sockets, after.sockets),
            kernel_per_pair: each(before.slab + before.sockets, after.slab + after.sockets),
            available_before: before.available,
            available_after: after.available,
            holder_per_connection: after.holders / all,
            server_cpu_seconds: cpu,
            server_cores: cpu / held,
            cpu_micros_per_heartbeat: heartbeat * 1e6,
            arithmetic: Vec::new(),
        };
        report.arithmetic = GOALS.map(|connections| report.estimate(connections)).into();
        report
    }

    fn estimate(&self, connections: u64) -> Estimate {
        let rate = connections as f64 / f64::from(self.heartbeat_seconds);
        Estimate {
            connections,
            user: connections * self.resident_per_session,
            kernel: connections * self.kernel_per_pair / 2,
            cores: rate * self.cpu_micros_per_heartbeat / 1e6,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            transport,
            connections,
            server_processes,
            heartbeat_seconds,
            ..
        } = self;
        writeln!(
            f,
            "{connections} connections over {transport} to {server_processes} server processes, \
             a heartbeat every {heartbeat_seconds} s, held for {:.0} s\n",
            self.held_seconds
        )?;
        writeln!(f, "| | |\n|---|---|")?;
        writeln!(
            f,
            "| connected and bound | {} sessions, {} bound, {} lost; after {:.1} s |",
            self.sessions, self.bound, self.lost_connections, self.connecting_seconds
        )?;
        writeln!(
            f,
            "| user memory of the servers | {} B per session resident, {} B proportional; \
             {:.1} MiB empty |",
            self.resident_per_session,
            self.proportional_per_session,
            mib(self.empty_resident)
        )?;
        writeln!(
            f,
            "| kernel memory, both ends | {} B per connection: slabs {} B, queued {} B |",
            self.kernel_per_pair, self.slab_per_pair, self.queued_per_pair
        )?;
        writeln!(
            f,
            "| the whole machine | {:.2} GB available before, {:.2} GB after, with all there is on it |",
            giga(self.available_before),
            giga(self.available_after)
        )?;
        writeln!(
            f,
            "| heartbeats | {} in {:.1} s; {:.2} server CPU seconds, {:.1} us each |",
            self.heartbeats,
            self.held_seconds,
            self.server_cpu_seconds,
            self.cpu_micros_per_heartbeat
        )?;
        writeln!(
            f,
            "\n| connections | user memory | kernel memory, the server's half | cores |\n\
             |---|---|---|---|"
        )?;
        writeln!(
            f,
            "| {connections}, measured | {:.2} GB | {:.2} GB | {:.3} |",
            giga(connections * self.resident_per_session),
            giga(connections * self.kernel_per_pair / 2),
            self.server_cores
        )?;
        for estimate in &self.arithmetic {
            writeln!(
                f,
                "| {}, by arithmetic | {:.2} GB | {:.2} GB | {:.3} |",
                estimate.connections,
                giga(estimate.user),
                giga(estimate.kernel),
                estimate.cores
            )?;
        }
        Ok(())
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn giga(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::process::Window;
    use crate::run::scale::Memory;

    #[test]
    fn bytes_are_divided_and_multiplied() {
        let options = Options {
            connections: 1000,
            per_process: 1000,
            hold: Duration::from_secs(10),
            settle: Duration::ZERO,
            heartbeat: 10,
            sources: 1,
            websocket: false,
            workers: 1,
            json: None,
            markdown: None,
        };
        let after = Memory {
            resident: 3_000_000,
            proportional: 2_000_000,
            holders: 1_000_000,
            slab: 9_000_000,
            sockets: 0,
            available: 88_000_000,
        };
        let before = Memory {
            resident: 1_000_000,
            available: 100_000_000,
            ..Memory::default()
        };
        let outcome = Outcome {
            processes: 1,
            connecting: Duration::from_secs(1),
            before,
            after,
            servers: Window {
                wall: Duration::from_secs(10),
                server: Some(Duration::from_millis(20)),
                tool: Duration::ZERO,
            },
            heartbeats: 1000,
            lost: 0,
            sessions: 1000,
            bound: 1000,
        };
        let report = Report::new(&options, &outcome);
        assert_eq!(report.resident_per_session, 2000);
        assert_eq!(report.kernel_per_pair, 9000);
        assert!((report.cpu_micros_per_heartbeat - 20.0).abs() < 1e-9);
        let million = &report.arithmetic[1];
        assert_eq!(
            (million.user, million.kernel),
            (2_000_000_000, 4_500_000_000)
        );
        assert!((million.cores - 2.0).abs() < 1e-9);
        assert!(
            report
                .to_string()
                .contains("| 1000000, by arithmetic | 2.00 GB | 4.50 GB | 2.000 |")
        );
    }
}
