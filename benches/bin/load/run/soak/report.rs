//! The table and the JSON.

use std::fmt;

use serde::Serialize;

use crate::run::soak::{Options, Round, ZEROS};

/// The lowest that memory came down to in the second half of the rounds may be this much above that
/// in the first: rounds do not peak alike, and what lies between two pieces is not given back.
const TOLERANCE: u64 = 8 << 20;

/// With fewer rounds memory is told, but not judged: the first one or two still fill caches.
const LEAST_ROUNDS: usize = 4;

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    seconds: f64,
    clients: usize,
    seed: u64,
    /// Bytes before the first round.
    resident_before: u64,
    /// Bytes by which the lowest of the second half is above that of the first.
    grown: u64,
    rounds: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    lives: u64,
    answers: u64,
    pushes: u64,
    kicked: u64,
    closed: u64,
    reset: u64,
    hostile: u64,
    counters: Vec<Counter>,
    resident_after: u64,
}

/// One of the server's counters.
#[derive(Debug, Serialize)]
struct Counter {
    name: &'static str,
    most: u64,
    left: u64,
}

impl Row {
    fn new(round: &Round) -> Self {
        let sum = |of: fn(&super::Lives) -> u64| round.lives.iter().map(of).sum();
        let counters = ZEROS.iter().zip(round.most).zip(round.left);
        Self {
            lives: sum(|lives| lives.begun),
            answers: sum(|lives| lives.answers),
            pushes: sum(|lives| lives.pushes),
            kicked: sum(|lives| lives.kicked),
            closed: sum(|lives| lives.closed),
            reset: sum(|lives| lives.reset),
            hostile: round.hostile,
            counters: counters
                .map(|(((_, name), most), left)| Counter { name, most, left })
                .collect(),
            resident_after: round.resident,
        }
    }
}

impl Report {
    pub(super) fn new(options: &Options, begin: u64, rounds: &[Round]) -> Self {
        let (first, second) = rounds.split_at(rounds.len() / 2);
        let lowest = |rounds: &[Round]| rounds.iter().map(|round| round.resident).min();
        let grown = lowest(second).zip(lowest(first));
        Self {
            seconds: options.time.as_secs_f64(),
            clients: options.clients,
            seed: options.seed,
            resident_before: begin,
            grown: grown.map_or(0, |(second, first)| second.saturating_sub(first)),
            rounds: rounds.iter().map(Row::new).collect(),
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.has_grown() || self.left().next().is_some()
    }

    fn has_grown(&self) -> bool {
        self.rounds.len() >= LEAST_ROUNDS && self.grown > TOLERANCE
    }

    /// Whatever was not zero after a round.
    fn left(&self) -> impl Iterator<Item = (usize, &Counter)> {
        self.rounds.iter().enumerate().flat_map(|(number, row)| {
            let left = row.counters.iter().filter(|counter| counter.left > 0);
            left.map(move |counter| (number, counter))
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = &self.rounds;
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        writeln!(
            f,
            "{} clients at a time for {} s in {} rounds, seed {}",
            self.clients,
            self.seconds,
            rows.len(),
            self.seed
        )?;
        writeln!(
            f,
            "  {} lives, {} answers, {} pushes; {} closed, {} reset, {} kicked; {} hostile peers\n",
            sum(|row| row.lives),
            sum(|row| row.answers),
            sum(|row| row.pushes),
            sum(|row| row.closed),
            sum(|row| row.reset),
            sum(|row| row.kicked),
            sum(|row| row.hostile)
        )?;
        writeln!(f, "| on the server | most | left |")?;
        writeln!(f, "|---|---|---|")?;
        for (index, (_, name)) in ZEROS.iter().enumerate() {
            let all = rows.iter().filter_map(|row| row.counters.get(index));
            let most = all.clone().map(|counter| counter.most).max();
            let left = all.map(|counter| counter.left).max();
            let (most, left) = (most.unwrap_or_default(), left.unwrap_or_default());
            writeln!(f, "| {name} | {most} | {left} |")?;
        }
        let after: Vec<_> = rows
            .iter()
            .map(|row| format!("{:.1}", mib(row.resident_after)))
            .collect();
        writeln!(
            f,
            "\nmemory: {:.1} MB at first, after the rounds {} MB",
            mib(self.resident_before),
            after.join(", ")
        )?;
        for (number, counter) in self.left() {
            let Counter { name, left, .. } = counter;
            writeln!(f, "FAILED: round {number} left {left} {name}")?;
        }
        if self.has_grown() {
            writeln!(f, "FAILED: memory has grown by {:.1} MB", mib(self.grown))?;
        }
        Ok(())
    }
}

/// What is told while rounds go on.
pub(crate) fn line(number: u32, round: &Round) -> String {
    let row = Row::new(round);
    let left: u64 = row.counters.iter().map(|counter| counter.left).sum();
    format!(
        "round {number}: {} lives, {} hostile peers, {left} left, {:.1} MB",
        row.lives,
        row.hostile,
        mib(row.resident_after)
    )
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn options() -> Options {
        Options {
            time: Duration::from_secs(2),
            rounds: 2,
            clients: 2,
            workers: None,
            seed: 1,
            json: None,
        }
    }

    fn round(members: u64, resident: u64) -> Round {
        let mut left = [0; ZEROS.len()];
        left[3] = members;
        Round {
            lives: Default::default(),
            hostile: 0,
            most: [7; ZEROS.len()],
            left,
            resident,
        }
    }

    #[test]
    fn what_is_left_fails_and_is_named() {
        let report = |rounds: [Round; 4]| Report::new(&options(), 0, &rounds);
        let lowest = |second| {
            [
                round(0, 5),
                round(0, 9),
                round(0, second + 9),
                round(0, second),
            ]
        };
        let clean = report(lowest(5 + TOLERANCE));
        assert!(!clean.failed(), "{clean}");
        let grown = report(lowest(6 + TOLERANCE));
        assert!(grown.failed() && grown.to_string().contains("grown by 8.0 MB"));
        let left = report([round(2, 5), round(0, 5), round(0, 5), round(0, 5)]);
        assert!(left.failed());
        let text = left.to_string();
        assert!(text.contains("round 0 left 2 members"), "{text}");
        assert!(text.contains("| members | 7 | 2 |"), "{text}");
    }
}
