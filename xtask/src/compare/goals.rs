//! How far ours has come, and how far one could come here.

use std::fmt;

use super::figures::{Figures, Summary};
use super::numbers::{cell_of, number, ratio, ratio_of, with_unit};
use super::scenarios::{EPOLL, Figure, GATHER, Goal};
use super::servers::{self, OURS};

/// How a goal stands. As text, three cells of a table: the goal, what ours reached, and what a bare
/// server did.
#[derive(Debug)]
pub(crate) struct Standing {
    goal: String,
    reached: String,
    limit: String,
    pub(crate) met: Met,
}

/// Whether a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    Yes,
    No,
    /// A server that does nothing but what the wire makes unavoidable fails, too.
    OutOfReach,
    NotMeasured,
}

impl Met {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Yes => "met",
            Self::No => "**not met**",
            Self::OutOfReach => "out of reach here",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Standing {
    pub(crate) fn new(figures: &Figures, figure: &Figure, goal: Goal) -> Self {
        let ours = reached(figures, figure, goal, OURS);
        let limit = limit(figures, figure, goal);
        let is_enough = |value: Summary| is_enough(figure, goal, value.median);
        let met = match ours {
            None => Met::NotMeasured,
            Some(ours) if is_enough(ours) => Met::Yes,
            Some(_) if limit.is_some_and(|(_, limit)| !is_enough(limit)) => Met::OutOfReach,
            Some(_) => Met::No,
        };
        let is_ratio = !matches!(goal, Goal::Absolute(_));
        let reached = ours.map_or_else(String::new, |value| match is_ratio {
            true => ratio_of(value),
            false => cell_of(value, figure.unit),
        });
        let limit = limit.map_or_else(String::new, |(server, value)| {
            let value = match is_ratio {
                true => ratio(value.median),
                false => number(value.median, figure.unit),
            };
            let how = if server == GATHER { ", gathering" } else { "" };
            format!("{value}{how}")
        });
        Self {
            goal: words(figure, goal),
            reached,
            limit,
            met,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {} | {}", self.goal, self.reached, self.limit)
    }
}

fn words(figure: &Figure, goal: Goal) -> String {
    let title = |name: &str| {
        let found = servers::all().iter().find(|one| one.name == name);
        found.map_or("", |server| server.title)
    };
    match goal {
        Goal::AtLeast(least, to) => format!("at least {least} of {}", title(to)),
        Goal::AtMost(most, to) => format!("at most {most} times {}", title(to)),
        Goal::Originals(least) => format!("{least} times the better of pomelo and pinus"),
        Goal::Ahead => "ahead of nano and pitaya".to_owned(),
        Goal::Absolute(most) => format!("at most {}", with_unit(most, figure.unit)),
    }
}

/// What a server has of what the goal is about.
fn reached(figures: &Figures, figure: &Figure, goal: Goal, server: &str) -> Option<Summary> {
    let ratio = |to: &str| figures.ratio(figure.name, server, to);
    match goal {
        Goal::AtLeast(_, to) | Goal::AtMost(_, to) => ratio(to),
        Goal::Originals(_) => to_the_better(figure, ["pomelo", "pinus"].map(ratio)),
        Goal::Ahead => to_the_better(figure, ["nano", "pitaya"].map(ratio)),
        Goal::Absolute(_) => figures.summary(figure.name, server),
    }
}

/// Of the ratios to several servers the one that looks worse.
fn to_the_better(figure: &Figure, ratios: [Option<Summary>; 2]) -> Option<Summary> {
    let order = |a: &Summary, b: &Summary| a.median.total_cmp(&b.median);
    let known = ratios.into_iter().flatten();
    if figure.unit.more_is_better() {
        known.min_by(order)
    } else {
        known.max_by(order)
    }
}

fn is_enough(figure: &Figure, goal: Goal, value: f64) -> bool {
    match goal {
        Goal::AtLeast(least, _) | Goal::Originals(least) => value >= least,
        Goal::AtMost(most, _) | Goal::Absolute(most) => value <= most,
        Goal::Ahead if figure.unit.more_is_better() => value > 1.0,
        Goal::Ahead => value < 1.0,
    }
}

/// The better bare server, where the goal is not about one already: other goals were set on another
/// machine, and no server reaches what the machine does not allow.
fn limit(figures: &Figures, figure: &Figure, goal: Goal) -> Option<(&'static str, Summary)> {
    if !matches!(goal, Goal::Originals(_) | Goal::Absolute(_)) {
        return None;
    }
    let bare = [EPOLL, GATHER].into_iter();
    let known = bare.filter_map(|name| Some((name, reached(figures, figure, goal, name)?)));
    known.max_by(|(_, a), (_, b)| {
        let order = a.median.total_cmp(&b.median);
        if figure.unit.more_is_better() {
            order
        } else {
            order.reverse()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::scenarios;

    fn figure(name: &str) -> &'static Figure {
        let chosen = scenarios::chosen(&[name.to_owned()]);
        &chosen[0].figures[0]
    }

    fn figures(figure: &Figure, values: &[(&'static str, f64)]) -> Figures {
        let mut figures = Figures::default();
        for (server, value) in values {
            figures.add(figure.name, server, 0, *value);
        }
        figures
    }

    #[test]
    fn goals_are_judged() {
        let echo = figure("echo");
        let figures = figures(
            echo,
            &[
                ("ours", 70.0),
                (EPOLL, 100.0),
                ("pinus", 10.0),
                ("pomelo", 11.0),
            ],
        );
        let standing = |goal| Standing::new(&figures, echo, goal);
        let limit = standing(Goal::AtLeast(0.75, EPOLL));
        assert_eq!((limit.reached.as_str(), limit.met), ("0.70", Met::No));
        assert_eq!(limit.limit, "");
        let peers = standing(Goal::Originals(6.0));
        assert_eq!(
            peers.to_string(),
            "6 times the better of pomelo and pinus | 6.36 | 9.09"
        );
        assert_eq!(peers.met, Met::Yes);
        assert_eq!(standing(Goal::Originals(9.0)).met, Met::No);
        assert_eq!(standing(Goal::Originals(9.1)).met, Met::OutOfReach);
        assert_eq!(standing(Goal::Ahead).met, Met::NotMeasured);
    }

    #[test]
    fn ahead_is_ahead_of_everybody() {
        let standing = |name, nano, pitaya| {
            let figure = figure(name);
            let values = [("ours", 10.0), ("nano", nano), ("pitaya", pitaya)];
            let figures = figures(figure, &values);
            let standing = Standing::new(&figures, figure, Goal::Ahead);
            (standing.reached, standing.met)
        };
        let expected = |ratio: &str, met| (ratio.to_owned(), met);
        assert_eq!(standing("echo", 5.0, 2.0), expected("2.00", Met::Yes));
        assert_eq!(standing("echo", 5.0, 20.0), expected("0.50", Met::No));
        assert_eq!(
            standing("heartbeat", 20.0, 40.0),
            expected("0.50", Met::Yes)
        );
        assert_eq!(standing("heartbeat", 20.0, 5.0), expected("2.00", Met::No));
    }

    #[test]
    fn the_better_bare_server_is_the_limit() {
        let push = figure("push-deep");
        let values = [
            ("ours", 90.0),
            (EPOLL, 20.0),
            (GATHER, 140.0),
            ("pinus", 10.0),
        ];
        let standing = Standing::new(&figures(push, &values), push, Goal::Originals(15.0));
        assert_eq!(
            (standing.limit.as_str(), standing.met),
            ("14.0, gathering", Met::OutOfReach)
        );
        let beats = figure("heartbeat");
        let goal = Goal::Absolute(8.0);
        let slow = figures(beats, &[("ours", 12.0), (EPOLL, 9.7)]);
        assert_eq!(Standing::new(&slow, beats, goal).met, Met::OutOfReach);
        let fast = figures(beats, &[("ours", 12.0), (EPOLL, 4.5)]);
        let missed = Standing::new(&fast, beats, goal);
        assert_eq!(missed.to_string(), "at most 8 us | 12.0 | 4.5");
        assert_eq!(missed.met, Met::No);
    }
}
