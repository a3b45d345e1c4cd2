//! What was measured: for each figure and server, a value of each round.

use std::collections::BTreeMap;

/// All values of a run.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// By figure and server; the round and its value.
    values: BTreeMap<(&'static str, &'static str), Vec<(usize, f64)>>,
    /// Why a scenario gave no value on a server.
    failures: BTreeMap<(&'static str, &'static str), String>,
}

/// What the values of all rounds say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Figures {
    pub(crate) fn add(
        &mut self,
        figure: &'static str,
        server: &'static str,
        round: usize,
        value: f64,
    ) {
        let values = self.values.entry((figure, server)).or_default();
        values.push((round, value));
    }

    pub(crate) fn fail(&mut self, scenario: &'static str, server: &'static str, why: String) {
        self.failures.insert((scenario, server), why);
    }

    pub(crate) fn summary(&self, figure: &str, server: &str) -> Option<Summary> {
        Summary::of(self.values(figure, server).map(|(_, value)| value))
    }

    /// One server's value divided by another's, round by round: what changes the machine's speed
    /// between two rounds is in neither.
    pub(crate) fn ratio(&self, figure: &str, of: &str, to: &str) -> Option<Summary> {
        let by_round: BTreeMap<usize, f64> = self.values(figure, to).collect();
        Summary::of(self.values(figure, of).filter_map(|(round, value)| {
            let to = by_round.get(&round)?;
            Some(value / to)
        }))
    }

    /// Scenario, server, reason.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let failures = self.failures.iter();
        failures.map(|((scenario, server), why)| (*scenario, *server, why.as_str()))
    }

    /// Figure, server, values in the order of rounds.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str, Vec<f64>)> {
        self.values.iter().map(|((figure, server), values)| {
            let values = values.iter().map(|(_, value)| *value).collect();
            (*figure, *server, values)
        })
    }

    fn values(&self, figure: &str, server: &str) -> impl Iterator<Item = (usize, f64)> {
        let found = self.values.iter();
        found
            .filter(move |((a, b), _)| *a == figure && *b == server)
            .flat_map(|(_, values)| values.iter().copied())
    }
}

impl Summary {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len().checked_sub(1)? / 2;
        let (lower, upper) = (values.get(middle)?, values.get(values.len() / 2)?);
        Some(Self {
            median: f64::midpoint(*lower, *upper),
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_rounds() {
        let mut figures = Figures::default();
        for (round, value) in [9.0, 1.0, 4.0].into_iter().enumerate() {
            figures.add("echo", "ours", round, value);
        }
        let summary = figures.summary("echo", "ours").unwrap();
        assert_eq!(summary.median, 4.0);
        assert_eq!((summary.least, summary.most), (1.0, 9.0));
        figures.add("echo", "ours", 3, 6.0);
        assert_eq!(figures.summary("echo", "ours").unwrap().median, 5.0);
        assert_eq!(figures.summary("echo", "theirs"), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut figures = Figures::default();
        // The machine gets twice as fast, and one server fails in the first round.
        for (round, (ours, bare)) in [(3.0, 4.0), (6.0, 8.0)].into_iter().enumerate() {
            figures.add("echo", "ours", round, ours);
            figures.add("echo", "bare", round, bare);
        }
        figures.add("echo", "late", 1, 12.0);
        let ratio = figures.ratio("echo", "ours", "bare").unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (0.75, 0.75, 0.75));
        assert_eq!(figures.ratio("echo", "late", "bare").unwrap().median, 1.5);
    }
}
