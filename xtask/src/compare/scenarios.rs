//! What is done to the servers, what is read off, and what we want of ours.

/// One run of the load tool on each server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) section: Section,
    pub(crate) websocket: bool,
    /// For the load tool.
    pub(crate) arguments: &'static [&'static str],
    pub(crate) work: Work,
    pub(crate) figures: &'static [Figure],
}

/// A part of the page, with a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Requests,
    Fanout,
    Sessions,
    Latency,
    Memory,
    Idle,
}

/// What kind of run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// As long as the options say, on a server that has done other things, on all servers.
    Usual,
    /// The same, with the gathering bare server as well.
    Gathering,
    /// Only on servers of ours: the others have no such route.
    Raw,
    /// The same, where ours has filters, which the bare ones know nothing of.
    Filtered,
    /// With realtime priority, if we may, and a tool that polls: on a busy machine a percentile of the
    /// latency is otherwise the scheduler's. So many seconds more warm-up, for the kernel's buffers to
    /// fill.
    Paced(u8),
    /// Many connections on a server that has done nothing before.
    IdleMemory,
    /// Connections with a heartbeat every other second on a server that has done nothing before.
    Heartbeats,
}

/// A number read off a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) read: Read,
    pub(crate) unit: Unit,
    pub(crate) goals: &'static [Goal],
}

/// Where the number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A pointer into the load tool's JSON.
    Json(&'static str),
    /// The server's CPU time for each piece of work, from the same JSON.
    CpuOfWork,
    /// The same at the rate of an open loop: percent of a core.
    Share,
    /// Known without load, once for each started server.
    Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Pieces of work per server CPU second: the only unit where more is better.
    Rate,
    Micros,
    Millis,
    Bytes,
    Mebibytes,
    Percent,
}

impl Unit {
    pub(crate) const fn more_is_better(self) -> bool {
        matches!(self, Self::Rate)
    }
}

/// What ours is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// So many times a server's figure, or more.
    AtLeast(f64, &'static str),
    /// So many times a server's figure, or less.
    AtMost(f64, &'static str),
    /// So many times the better of pomelo and pinus, or more.
    Originals(f64),
    /// Better than nano and pitaya.
    Ahead,
    /// This or less, in the figure's unit.
    Absolute(f64),
}

const RATE: Read = Read::Json("/per_server_cpu_second");

pub(crate) const EPOLL: &str = "bare-epoll";
pub(crate) const GATHER: &str = "bare-epoll-gather";

const SHALLOW: &[Goal] = &[
    Goal::AtLeast(0.75, EPOLL),
    Goal::Originals(6.0),
    Goal::Ahead,
];
const DEEP: &[Goal] = &[
    Goal::AtLeast(0.3, EPOLL),
    Goal::Originals(20.0),
    Goal::Ahead,
];
const RAW: &[Goal] = &[Goal::AtLeast(0.5, EPOLL)];
const FILTERED: &[Goal] = &[Goal::AtLeast(0.25, EPOLL)];
const PUSH: &[Goal] = &[Goal::AtLeast(0.85, EPOLL), Goal::Ahead];
const GATHERED: &[Goal] = &[
    Goal::AtLeast(0.5, GATHER),
    Goal::Originals(15.0),
    Goal::Ahead,
];
const STORM: &[Goal] = &[Goal::AtLeast(0.7, EPOLL), Goal::Originals(4.0), Goal::Ahead];
const TAIL: &[Goal] = &[Goal::AtMost(1.5, EPOLL), Goal::Ahead];

macro_rules! rate {
    ($name:literal, $title:literal, $section:ident, $work:expr, $websocket:literal, $goals:ident, $($argument:literal)*) => {
        Scenario {
            name: $name,
            title: $title,
            section: Section::$section,
            websocket: $websocket,
            arguments: &[$($argument),*],
            work: $work,
            figures: &[Figure { name: $name, title: $title, read: RATE, unit: Unit::Rate, goals: $goals }],
        }
    };
}

macro_rules! tail {
    ($name:literal, $title:literal, $warmup:literal, $($argument:literal)*) => {
        Scenario {
            name: $name,
            title: $title,
            section: Section::Latency,
            websocket: false,
            arguments: &["requests", "--connections", "1000", $($argument),*],
            work: Work::Paced($warmup),
            figures: &[
                Figure {
                    name: concat!($name, "-p50"),
                    title: concat!($title, ", p50"),
                    read: Read::Json("/latency_micros/p50"),
                    unit: Unit::Micros,
                    goals: &[],
                },
                Figure {
                    name: $name,
                    title: concat!($title, ", p99"),
                    read: Read::Json("/latency_micros/p99"),
                    unit: Unit::Micros,
                    goals: TAIL,
                },
                Figure {
                    name: concat!($name, "-p999"),
                    title: concat!($title, ", p99.9"),
                    read: Read::Json("/latency_micros/p999"),
                    unit: Unit::Micros,
                    goals: &[],
                },
                Figure {
                    name: concat!($name, "-share"),
                    title: concat!($title, ", the server's share of the core"),
                    read: Read::Share,
                    unit: Unit::Percent,
                    goals: &[],
                },
            ],
        }
    };
}

macro_rules! memory {
    ($name:literal, $kernel:literal, $transport:literal, $websocket:literal, $most:literal) => {
        Scenario {
            name: $name,
            title: concat!("idle sessions, bound, ", $transport),
            section: Section::Memory,
            websocket: $websocket,
            arguments: &[
                "idle",
                "--sources",
                "4",
                "--seconds",
                "0.5",
                "--warmup",
                "0.5",
            ],
            work: Work::IdleMemory,
            figures: &[
                Figure {
                    name: $name,
                    title: concat!("user memory, ", $transport),
                    read: Read::Json("/memory/per_connection"),
                    unit: Unit::Bytes,
                    goals: &[Goal::Absolute($most), Goal::Ahead],
                },
                Figure {
                    name: $kernel,
                    title: concat!("kernel memory, about, ", $transport),
                    read: Read::Json("/memory/kernel_per_connection"),
                    unit: Unit::Bytes,
                    goals: &[],
                },
            ],
        }
    };
}

/// In the order in which they run.
const ALL: &[Scenario] = &[
    rate!(
        "echo",
        "50 connections, depth 1",
        Requests,
        Work::Usual,
        false,
        SHALLOW,
        "requests"
    ),
    rate!("echo-deep", "50 connections, depth 16", Requests, Work::Usual, false, DEEP, "requests" "--depth" "16"),
    rate!("echo-many", "1,000 connections, depth 1", Requests, Work::Usual, false, SHALLOW, "requests" "--connections" "1000"),
    rate!(
        "echo-ws",
        "50 connections, depth 1, WebSocket",
        Requests,
        Work::Usual,
        true,
        SHALLOW,
        "requests"
    ),
    rate!("echo-deep-ws", "50 connections, depth 16, WebSocket", Requests, Work::Usual, true, DEEP, "requests" "--depth" "16"),
    rate!("echo-many-ws", "1,000 connections, depth 1, WebSocket", Requests, Work::Usual, true, SHALLOW, "requests" "--connections" "1000"),
    rate!("raw-deep", "raw body, 50 connections, depth 16", Requests, Work::Raw, false, RAW, "requests" "--method" "raw" "--depth" "16"),
    rate!("filtered", "50 connections, depth 16, three filters", Requests, Work::Filtered, false, FILTERED, "requests" "--depth" "16"),
    rate!("push", "one push to 1,000 members", Fanout, Work::Usual, false, PUSH, "fanout" "--connections" "1000"),
    rate!("push-5000", "one push to 5,000 members", Fanout, Work::Usual, false, PUSH, "fanout" "--connections" "5000"),
    rate!("push-deep", "16 broadcasts in flight, 1,000 members", Fanout, Work::Gathering, false, GATHERED, "fanout" "--connections" "1000" "--depth" "16"),
    rate!("push-ws", "one push to 1,000 members, WebSocket", Fanout, Work::Usual, true, PUSH, "fanout" "--connections" "1000"),
    rate!("push-5000-ws", "one push to 5,000 members, WebSocket", Fanout, Work::Usual, true, PUSH, "fanout" "--connections" "5000"),
    rate!("push-deep-ws", "16 broadcasts in flight, 1,000 members, WebSocket", Fanout, Work::Gathering, true, GATHERED, "fanout" "--connections" "1000" "--depth" "16"),
    rate!("storm", "connect, handshake, request, close", Sessions, Work::Usual, false, STORM, "storm" "--sources" "8"),
    rate!("storm-ws", "connect, handshake, request, close, WebSocket", Sessions, Work::Usual, true, STORM, "storm" "--sources" "8"),
    tail!("paced", "20,000 requests/s over 1,000 connections", 0, "--rate" "20000"),
    tail!("paced-calm", "5,000 requests/s over 1,000 connections", 0, "--rate" "5000"),
    tail!(
        "paced-stalled",
        "5,000 requests/s, and 4 receivers that never read",
        1,
        "--rate" "5000" "--stalled" "4"
    ),
    memory!("idle", "idle-kernel", "TCP", false, 1536.0),
    memory!("idle-ws", "idle-kernel-ws", "WebSocket", true, 2048.0),
    Scenario {
        name: "heartbeat",
        title: "4,000 idle connections, a heartbeat every 2 s",
        section: Section::Idle,
        websocket: false,
        arguments: &[
            "idle",
            "--connections",
            "4000",
            "--seconds",
            "3",
            "--warmup",
            "2.5",
        ],
        work: Work::Heartbeats,
        figures: &[Figure {
            name: "heartbeat",
            title: "CPU for each heartbeat exchange",
            read: Read::CpuOfWork,
            unit: Unit::Micros,
            goals: &[Goal::Absolute(8.0), Goal::AtMost(1.8, EPOLL), Goal::Ahead],
        }],
    },
    Scenario {
        name: "start",
        title: "a server that has just started",
        section: Section::Idle,
        websocket: false,
        arguments: &[],
        work: Work::Usual,
        figures: &[START, EMPTY],
    },
];

pub(crate) const START: Figure = Figure {
    name: "start",
    title: "start to accepting",
    read: Read::Start,
    unit: Unit::Millis,
    goals: &[Goal::Absolute(20.0), Goal::Ahead],
};

pub(crate) const EMPTY: Figure = Figure {
    name: "empty",
    title: "memory of an empty server",
    read: Read::Start,
    unit: Unit::Mebibytes,
    goals: &[Goal::Absolute(8.0), Goal::Ahead],
};

/// Those that `only` names, where `echo*` is all that begin so; without any, all.
pub(crate) fn chosen(only: &[String]) -> Vec<Scenario> {
    let is = |name: &str, pattern: &str| match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == pattern,
    };
    let wanted = |scenario: &&Scenario| {
        only.is_empty() || only.iter().any(|pattern| is(scenario.name, pattern))
    };
    ALL.iter().filter(wanted).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::compare::servers;

    #[test]
    fn names_differ() {
        let names: HashSet<_> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
        let figures = || ALL.iter().flat_map(|scenario| scenario.figures);
        let names: HashSet<_> = figures().map(|figure| figure.name).collect();
        assert_eq!(names.len(), figures().count());
    }

    #[test]
    fn goals_name_servers_and_directions() {
        for figure in ALL.iter().flat_map(|scenario| scenario.figures) {
            for goal in figure.goals {
                match *goal {
                    Goal::AtLeast(_, to) => {
                        assert!(figure.unit.more_is_better());
                        assert!(servers::all().iter().any(|server| server.name == to));
                    }
                    Goal::AtMost(_, to) => {
                        assert!(!figure.unit.more_is_better());
                        assert!(servers::all().iter().any(|server| server.name == to));
                    }
                    Goal::Originals(_) => assert!(figure.unit.more_is_better()),
                    Goal::Absolute(_) => assert!(!figure.unit.more_is_better()),
                    Goal::Ahead => {}
                }
            }
        }
    }

    #[test]
    fn some_can_be_chosen() {
        assert_eq!(chosen(&[]).len(), ALL.len());
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|part| (*part).to_owned()).collect();
            chosen(&only).iter().map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["storm"]), ["storm"]);
        assert_eq!(names(&["storm*", "start"]), ["storm", "storm-ws", "start"]);
        assert!(names(&["nothing"]).is_empty());
    }
}
