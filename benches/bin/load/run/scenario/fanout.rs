//! Broadcasts: `depth` of them are in flight, always; one is over when every member has it.

use std::collections::VecDeque;
use std::time::Instant;

use crate::run::Error;
use crate::run::args::Options;
use crate::run::fleet::{Fleet, Happening};

use super::{Course, Outcome, Text, check, histogram, join, open, record};

pub(super) fn run(fleet: &mut Fleet, options: &Options, pids: &[u32]) -> Result<Outcome, Error> {
    let members = open(fleet, options, options.connections)?;
    join(fleet, options, "load", &members)?;
    let (route, text) = (options.route("broadcast"), "x".repeat(options.size));
    let message = Text { msg: &text };
    let mut flight = Flight::new(options.connections);
    let mut times = histogram()?;
    let mut course = Course::new(options, pids);
    loop {
        let now = Instant::now();
        if !course.goes_on(now)? {
            break;
        }
        while flight.len() < options.depth {
            let sender = fleet.client(0).ok_or(Error::Stalled)?;
            sender.request(&route, &message, now)?;
            flight.launch(now);
        }
        fleet.flush(0)?;
        let measured = course.is_measured();
        fleet.turn(course.end, |_, key, happening| match happening {
            Happening::Push { at } => {
                course.progress = at;
                if let Some(since) = flight.land(key)
                    && measured
                {
                    record(&mut times, at - since);
                }
                Ok(())
            }
            Happening::Response { body, .. } => check(&body),
            Happening::Ready => Ok(()),
            Happening::Lost(reason) => Err(Error::Lost(reason)),
        })?;
    }
    let window = course.finish()?;
    Ok(Outcome {
        latency: Some(("delivery, from the broadcast's request", times.clone())),
        ..Outcome::new("deliveries", times.len(), window)
    })
}

/// Broadcasts on their way. A member gets them in the order sent, so its nth push is the nth
/// broadcast, and nothing needs to be read from the push.
#[derive(Debug)]
struct Flight {
    /// For each member the number of pushes it has.
    landed: Vec<u64>,
    /// When it was sent, and how many members do not have it yet.
    flying: VecDeque<(Instant, usize)>,
    /// How many broadcasts are over.
    over: u64,
}

impl Flight {
    fn new(members: usize) -> Self {
        Self {
            landed: vec![0; members],
            flying: VecDeque::new(),
            over: 0,
        }
    }

    fn len(&self) -> usize {
        self.flying.len()
    }

    fn launch(&mut self, at: Instant) {
        self.flying.push_back((at, self.landed.len()));
    }

    /// A push has come to a member: when its broadcast was sent.
    fn land(&mut self, member: usize) -> Option<Instant> {
        let landed = self.landed.get_mut(member)?;
        let index = usize::try_from(landed.checked_sub(self.over)?).ok()?;
        let (since, missing) = self.flying.get_mut(index)?;
        *landed += 1;
        *missing -= 1;
        let since = *since;
        while self
            .flying
            .front()
            .is_some_and(|(_, missing)| *missing == 0)
        {
            self.flying.pop_front();
            self.over += 1;
        }
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_broadcast_is_over_when_every_member_has_it() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut flight = Flight::new(2);
        flight.launch(start);
        flight.launch(later);
        assert_eq!(flight.land(0), Some(start));
        assert_eq!(flight.land(0), Some(later));
        assert_eq!(flight.land(0), None);
        assert_eq!(flight.len(), 2);
        assert_eq!(flight.land(1), Some(start));
        assert_eq!(flight.len(), 1);
        assert_eq!(flight.land(1), Some(later));
        assert_eq!(flight.len(), 0);
        assert_eq!(flight.land(2), None);
    }
}
