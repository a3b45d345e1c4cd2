//! A storm: `connections` at a time connect, shake hands, make one request and close.

use std::time::Instant;

use crate::run::Error;
use crate::run::args::Options;
use crate::run::fleet::{Fleet, Happening};

use super::{Course, Empty, Outcome, check, histogram, record};

pub(super) fn run(fleet: &mut Fleet, options: &Options, pids: &[u32]) -> Result<Outcome, Error> {
    let route = options.route("entry");
    let mut opened = vec![Instant::now(); options.connections];
    let mut times = histogram()?;
    let mut course = Course::new(options, pids);
    let (mut lost, mut done, mut missing) = (0, Vec::new(), options.connections);
    let mut last_loss = None;
    loop {
        let now = Instant::now();
        match course.goes_on(now) {
            Ok(true) => {}
            Ok(false) => break,
            // Why nothing goes on says more.
            Err(Error::Stalled) => return Err(last_loss.map_or(Error::Stalled, Error::Lost)),
            Err(error) => return Err(error),
        }
        missing += done.len();
        for key in done.drain(..) {
            fleet.close(key);
        }
        for _ in 0..std::mem::take(&mut missing) {
            let at = Instant::now();
            let key = fleet.open()?;
            if let Some(place) = opened.get_mut(key) {
                *place = at;
            }
        }
        let measured = course.is_measured();
        fleet.turn(course.end, |client, key, happening| match happening {
            Happening::Ready => {
                let since = opened.get(key).copied().unwrap_or(now);
                client.request(&route, &Empty {}, since)
            }
            Happening::Response { since, at, body } => {
                check(&body)?;
                course.progress = at;
                if measured {
                    record(&mut times, at - since);
                }
                done.push(key);
                Ok(())
            }
            Happening::Push { .. } => Ok(()),
            Happening::Lost(reason) => {
                // One that was answered is replaced already.
                if !done.contains(&key) {
                    missing += 1;
                    lost += 1;
                    last_loss = Some(reason);
                }
                Ok(())
            }
        })?;
    }
    let window = course.finish()?;
    Ok(Outcome {
        latency: Some(("connect, handshake and request", times.clone())),
        lost,
        ..Outcome::new("sessions", times.len(), window)
    })
}
