//! Requests in a closed loop: `depth` of them are in flight on each connection, always.

use std::time::Instant;

use crate::run::Error;
use crate::run::args::Options;
use crate::run::fleet::{Fleet, Happening};

use super::{Course, Outcome, Text, check_echo, connect, histogram, record};

pub(super) fn run(fleet: &mut Fleet, options: &Options, pids: &[u32]) -> Result<Outcome, Error> {
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
    let mut course = Course::new(options, pids);
    while course.goes_on(Instant::now())? {
        let measured = course.is_measured();
        let deadline = if measured { course.end } else { course.begin };
        fleet.turn(deadline, |client, _, happening| match happening {
            Happening::Response { since, at, body } => {
                check_echo(&body, options)?;
                course.progress = at;
                if measured {
                    record(&mut times, at - since);
                }
                client.request(&route, &echo, Instant::now())
            }
            Happening::Ready | Happening::Push { .. } => Ok(()),
            Happening::Lost(reason) => Err(Error::Lost(reason)),
        })?;
    }
    let window = course.finish()?;
    Ok(Outcome {
        latency: Some(("request", times.clone())),
        ..Outcome::new("requests", times.len(), window)
    })
}
