//! The page: tables, goals and versions between markers, everything else stays as it was written.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::figures::Figures;
use super::goals::{Met, Standing};
use super::machine::Machine;
use super::network::Network;
use super::numbers::{cell_of, number};
use super::scenarios::{Figure, Scenario, Section};
use super::servers::{OURS, ROOT, Server, WORK, target};
use super::versions::versions;
use super::{Error, Options, plot};

const PAGE: &str = "docs/benchmarks.md";
const PLOTS: &str = "docs/benchmarks";

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) machine: Machine,
    pub(crate) network: Network,
    pub(crate) core: usize,
    pub(crate) scenarios: &'a [Scenario],
    pub(crate) servers: &'a [Server],
    pub(crate) left_out: &'a [(Server, String)],
    pub(crate) figures: &'a Figures,
    /// How many there was time for.
    pub(crate) rounds: usize,
    pub(crate) minutes: f64,
}

impl Section {
    pub(crate) const ALL: [Self; 6] = [
        Self::Requests,
        Self::Fanout,
        Self::Sessions,
        Self::Latency,
        Self::Memory,
        Self::Idle,
    ];

    /// The name of the plot and of the place in the page.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Fanout => "fanout",
            Self::Sessions => "sessions",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Idle => "idle",
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Requests => "Requests per server CPU second, 64 bytes echoed",
            Self::Fanout => "Deliveries per server CPU second, 64 bytes pushed",
            Self::Sessions => "Sessions per server CPU second",
            Self::Latency => "99th percentile of the latency, in microseconds",
            Self::Memory => "Bytes for each idle session",
            Self::Idle => "What idling costs, and starting",
        }
    }
}

impl Run<'_> {
    /// Tables to the terminal.
    pub(crate) fn print(&self) {
        println!("{}", self.facts());
        for section in Section::ALL {
            let table = self.section(section, false);
            if !table.is_empty() {
                println!("{}\n\n{table}", section.title());
            }
        }
        println!("{}", self.verdict());
    }

    pub(crate) fn write_json(&self) -> Result<(), Error> {
        let figures: Vec<_> = self
            .figures
            .all()
            .map(|(figure, server, values)| {
                json!({"figure": figure, "server": server, "values": values})
            })
            .collect();
        let failures: Vec<_> = self
            .figures
            .failures()
            .map(|(scenario, server, why)| {
                json!({"scenario": scenario, "server": server, "reason": why})
            })
            .collect();
        let all = json!({
            "processor": self.machine.processor,
            "kernel": self.machine.kernel,
            "network": self.network.to_string(),
            "rounds": self.rounds,
            "seconds": self.options.seconds,
            "figures": figures,
            "failures": failures,
        });
        write(
            &target().join(WORK).join("figures.json"),
            &format!("{all:#}\n"),
        )
    }

    pub(crate) fn write_page(&self) -> Result<(), Error> {
        let path = Path::new(ROOT).join(PAGE);
        let text = fs::read_to_string(&path);
        let mut text = text.map_err(|error| Error::File {
            path: path.clone(),
            error,
        })?;
        text = fill(&text, "facts", &self.facts())?;
        text = fill(&text, "verdict", &self.verdict())?;
        for section in Section::ALL {
            text = fill(&text, section.name(), &self.section(section, true))?;
        }
        let plots = Path::new(ROOT).join(PLOTS);
        fs::create_dir_all(&plots).map_err(|error| Error::File {
            path: plots.clone(),
            error,
        })?;
        for section in Section::ALL {
            let svg = plot::svg(section.title(), &self.groups(section));
            write(&plots.join(format!("{}.svg", section.name())), &svg)?;
        }
        write(&path, &text)
    }

    /// Machine, versions, how it was run.
    fn facts(&self) -> String {
        let machine = &self.machine;
        let mut text = String::from("| what | |\n|---|---|\n");
        let mut row = |what: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {what} | {value} |");
        };
        row(
            "machine",
            &format!(
                "{}, {} cores, {:.0} GiB; {}",
                machine.processor, machine.cores, machine.memory_gib, machine.kernel
            ),
        );
        row(
            "run",
            &format!(
                "rounds: {}, of {} s for each measurement; server and load tool on core {}; {:.0} minutes; load average at the start {:.1}",
                self.rounds, self.options.seconds, self.core, self.minutes, machine.load
            ),
        );
        row("network", &self.network.to_string());
        for (what, version) in versions(self.servers) {
            row(&what, &version);
        }
        for (server, why) in self.left_out {
            row(server.title, &format!("left out: {why}"));
        }
        for (scenario, server, why) in self.figures.failures() {
            row(
                &format!("{scenario} on {server}"),
                &format!("failed: {why}"),
            );
        }
        text
    }

    /// Which goals are met.
    fn verdict(&self) -> String {
        let standings: Vec<(&Figure, Standing)> = self
            .figures_of(|_| true)
            .flat_map(|figure| figure.goals.iter().map(move |goal| (figure, goal)))
            .map(|(figure, goal)| (figure, Standing::new(self.figures, figure, *goal)))
            .collect();
        let are = |met| move |(_, one): &&(&Figure, Standing)| one.met == met;
        let count = |met| standings.iter().filter(are(met)).count();
        let (met, missed, beyond) = (count(Met::Yes), count(Met::No), count(Met::OutOfReach));
        let mut text = format!("{met} of {} goals are met.\n", met + missed + beyond);
        for (met, title) in [
            (Met::No, "Not met:"),
            (
                Met::OutOfReach,
                "Out of reach on this machine, since not even bare epoll gets there:",
            ),
        ] {
            let mut rows = standings.iter().filter(are(met)).peekable();
            if rows.peek().is_none() {
                continue;
            }
            let _ = writeln!(
                text,
                "\n{title}\n\n| figure | goal | reached | bare epoll |\n|---|---|---|---|"
            );
            for (figure, standing) in rows {
                let _ = writeln!(text, "| {} | {standing} |", figure.title);
            }
        }
        text
    }

    /// The tables of a section; empty when nothing of it was run.
    fn section(&self, section: Section, plot: bool) -> String {
        let figures: Vec<&Figure> = self
            .figures_of(|scenario| scenario.section == section)
            .filter(|figure| {
                self.servers
                    .iter()
                    .any(|server| self.is_known(figure, server))
            })
            .collect();
        if figures.is_empty() {
            return String::new();
        }
        let servers: Vec<&Server> = self
            .servers
            .iter()
            .filter(|server| figures.iter().any(|figure| self.is_known(figure, server)))
            .collect();
        let mut text = String::new();
        if plot {
            let name = section.name();
            let _ = writeln!(text, "![{}]({PLOTS}/{name}.svg)\n", section.title());
            text = text.replace("docs/", "");
        }
        text.push('|');
        for server in &servers {
            let _ = write!(text, " | {}", server.title);
        }
        text.push_str(" |\n|---");
        text.push_str(&"|---:".repeat(servers.len()));
        text.push_str("|\n");
        for figure in &figures {
            let _ = write!(text, "| {}", figure.title);
            for server in &servers {
                let cell = self.figures.summary(figure.name, server.name);
                let cell = cell.map_or_else(|| "–".to_owned(), |value| cell_of(value, figure.unit));
                let _ = write!(text, " | {cell}");
            }
            text.push_str(" |\n");
        }
        let mut goals = String::new();
        for figure in &figures {
            for goal in figure.goals {
                let standing = Standing::new(self.figures, figure, *goal);
                let met = standing.met.words();
                let _ = writeln!(goals, "| {} | {standing} | {met} |", figure.title);
            }
        }
        if !goals.is_empty() {
            text.push_str("\n| goal of ours | | reached | bare epoll | |\n|---|---|---|---|---|\n");
            text.push_str(&goals);
        }
        text
    }

    fn groups(&self, section: Section) -> Vec<plot::Group> {
        // The plot of latencies is of the percentile that a goal is set for.
        let plotted = |figure: &&Figure| section != Section::Latency || !figure.goals.is_empty();
        self.figures_of(|scenario| scenario.section == section)
            .filter(plotted)
            .map(|figure| plot::Group {
                title: figure.title.to_owned(),
                bars: self
                    .servers
                    .iter()
                    .filter_map(|server| {
                        let summary = self.figures.summary(figure.name, server.name)?;
                        Some(plot::Bar {
                            title: server.title.to_owned(),
                            label: number(summary.median, figure.unit),
                            summary,
                            ours: server.name == OURS,
                            limit: server.has_raw(),
                        })
                    })
                    .collect(),
            })
            .filter(|group| !group.bars.is_empty())
            .collect()
    }

    fn figures_of(
        &self,
        wanted: impl Fn(&Scenario) -> bool,
    ) -> impl Iterator<Item = &'static Figure> {
        let scenarios = self.scenarios.iter();
        scenarios
            .filter(move |scenario| wanted(scenario))
            .flat_map(|scenario| scenario.figures)
    }

    fn is_known(&self, figure: &Figure, server: &Server) -> bool {
        self.figures.summary(figure.name, server.name).is_some()
    }
}

/// Puts text between the markers of a name.
fn fill(page: &str, name: &'static str, text: &str) -> Result<String, Error> {
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->"),
    );
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or(Error::NoPlace(name))?;
    Ok(format!(
        "{before}{begin}\n{}\n\n{end}{after}",
        text.trim_end()
    ))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| Error::File {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{scenarios, servers};

    #[test]
    fn what_is_written_by_hand_stays() {
        let page = "# a\n<!-- begin idle -->\nold\n<!-- end idle -->\nby hand\n";
        let filled = fill(page, "idle", "new\n").unwrap();
        assert_eq!(
            filled,
            "# a\n<!-- begin idle -->\n\nnew\n\n<!-- end idle -->\nby hand\n"
        );
        assert_eq!(fill(&filled, "idle", "new").unwrap(), filled);
        assert!(fill(page, "memory", "").is_err());
    }

    #[test]
    fn the_page_has_all_places() {
        let page = fs::read_to_string(Path::new(ROOT).join(PAGE)).unwrap();
        for name in ["facts", "verdict"]
            .into_iter()
            .chain(Section::ALL.map(Section::name))
        {
            assert!(fill(&page, name, "").is_ok(), "{name}");
        }
    }

    #[test]
    fn a_run_becomes_tables() {
        let mut figures = Figures::default();
        for (server, value) in [
            ("ours", 70.0),
            ("bare-epoll", 100.0),
            ("pinus", 10.0),
            ("pomelo", 11.0),
        ] {
            figures.add("echo", server, 0, value);
        }
        let chosen = scenarios::chosen(&["echo".to_owned()]);
        let run = Run {
            options: &Options::parse(lexopt::Parser::from_args::<[&str; 0]>([]))
                .unwrap()
                .unwrap(),
            machine: Machine::look(),
            network: Network::Own,
            core: 0,
            scenarios: &chosen,
            servers: servers::all(),
            left_out: &[],
            figures: &figures,
            rounds: 1,
            minutes: 1.0,
        };
        let verdict = run.verdict();
        assert!(verdict.starts_with("1 of 2 goals are met.\n\nNot met:\n"));
        assert!(!verdict.contains("Out of reach"), "{verdict}");
        let table = run.section(Section::Requests, true);
        assert!(
            table.contains("| 50 connections, depth 1 | 100 | 70 | 10 | 11 |"),
            "{table}"
        );
        assert_eq!(run.section(Section::Memory, true), "");
    }
}
