//! Clients that live short lives: they enter, ask, join, talk, push, kick, and go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::run::args::Target;
use crate::run::fleet::{Client, Fleet, Happening};
use crate::run::{Error, scenario};

/// Channels; everybody who joins takes one of these.
const ROOMS: u64 = 8;

/// At most this long between two requests of a client.
const LONGEST_THOUGHT: u64 = 100;

/// The most requests in a life.
const LONGEST_LIFE: u64 = 60;

/// The longest text in a message.
const LONGEST_TEXT: u64 = 3000;

/// How clients of one transport behave.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    pub(crate) target: Target,
    /// How many are there at the same time.
    pub(crate) size: usize,
    pub(crate) prefix: String,
    pub(crate) seed: u64,
}

/// What became of a crowd.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lives {
    pub(crate) begun: u64,
    pub(crate) answers: u64,
    pub(crate) pushes: u64,
    /// Ended by the server: kicked.
    pub(crate) kicked: u64,
    /// Ended by a FIN and by a reset.
    pub(crate) closed: u64,
    pub(crate) reset: u64,
}

#[derive(Debug, Serialize)]
struct Uid<'a> {
    uid: &'a str,
}

#[derive(Debug, Serialize)]
struct Room<'a> {
    room: &'a str,
}

#[derive(Debug, Serialize)]
struct Text<'a> {
    msg: &'a str,
}

#[derive(Debug, Serialize)]
struct Push<'a> {
    uid: &'a str,
    msg: &'a str,
}

/// Lets the crowd live until then; at the end everybody goes, one half by a reset.
pub(crate) fn live(crowd: &Crowd, until: Instant) -> Result<Lives, Error> {
    let mut fleet = Fleet::new(crowd.target.clone(), 1)?;
    let mut stage = Stage::new(crowd);
    while Instant::now() < until {
        while stage.alive < crowd.size {
            let key = fleet.open()?;
            stage.begin(key);
        }
        let now = Instant::now();
        while let Some(key) = stage.due(now) {
            stage.act(&mut fleet, key, now)?;
        }
        let wake = stage.next_due().unwrap_or(until).min(until);
        fleet.turn(wake, |client, key, happening| {
            stage.hear(client, key, happening)
        })?;
    }
    for key in 0..stage.actors.len() {
        stage.go(&mut fleet, key)?;
    }
    Ok(stage.lives)
}

/// Where the actors are, by the keys of the fleet.
struct Stage<'a> {
    crowd: &'a Crowd,
    text: String,
    actors: Vec<Option<Actor>>,
    alive: usize,
    /// When which actor of which generation wants to do something.
    wants: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    random: Random,
    lives: Lives,
}

struct Actor {
    /// Places are used again.
    generation: u64,
    joined: bool,
    left: u64,
}

impl<'a> Stage<'a> {
    fn new(crowd: &'a Crowd) -> Self {
        Self {
            crowd,
            text: "x".repeat(usize::try_from(LONGEST_TEXT).unwrap_or_default()),
            actors: Vec::new(),
            alive: 0,
            wants: BinaryHeap::new(),
            random: Random::new(crowd.seed),
            lives: Lives::default(),
        }
    }

    fn begin(&mut self, key: usize) {
        if self.actors.len() <= key {
            self.actors.resize_with(key + 1, || None);
        }
        self.alive += 1;
        self.lives.begun += 1;
        let actor = Actor {
            generation: self.lives.begun,
            joined: false,
            left: self.random.below(LONGEST_LIFE),
        };
        if let Some(place) = self.actors.get_mut(key) {
            *place = Some(actor);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.wants.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next actor who wants to do something by now.
    fn due(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((at, key, generation))) = self.wants.peek().copied() {
            if at > now {
                return None;
            }
            self.wants.pop();
            let actor = self.actors.get(key).and_then(Option::as_ref);
            if actor.is_some_and(|actor| actor.generation == generation) {
                return Some(key);
            }
        }
        None
    }

    fn hear(&mut self, client: &mut Client, key: usize, happening: Happening) -> Result<(), Error> {
        match happening {
            Happening::Ready => {
                let uid = self.uid(key);
                let route = self.route("enter");
                client.request(&route, &Uid { uid: &uid }, Instant::now())?;
            }
            Happening::Response { at, body, .. } => {
                scenario::check(&body)?;
                self.lives.answers += 1;
                let thought = Duration::from_millis(self.random.below(LONGEST_THOUGHT));
                if let Some(Some(actor)) = self.actors.get(key) {
                    self.wants
                        .push(Reverse((at + thought, key, actor.generation)));
                }
            }
            Happening::Push { .. } => self.lives.pushes += 1,
            // The server has no other reason to end these.
            Happening::Lost(_) => {
                if let Some(place) = self.actors.get_mut(key)
                    && place.take().is_some()
                {
                    self.alive -= 1;
                    self.lives.kicked += 1;
                }
            }
        }
        Ok(())
    }

    /// The next thing an actor does.
    fn act(&mut self, fleet: &mut Fleet, key: usize, now: Instant) -> Result<(), Error> {
        let Some(Some(actor)) = self.actors.get_mut(key) else {
            return Ok(());
        };
        if actor.left == 0 {
            return self.go(fleet, key);
        }
        actor.left -= 1;
        let joined = actor.joined;
        let len = usize::try_from(self.random.below(LONGEST_TEXT)).unwrap_or_default();
        let other = self.random.below(self.crowd.size as u64);
        let choice = self.random.below(100);
        let (uid, room) = (name(other), self.random.below(ROOMS).to_string());
        let text = self.text.get(..len).unwrap_or_default();
        let Some(client) = fleet.client(key) else {
            return Ok(());
        };
        let route = |method| self.route(method);
        match choice {
            0..40 => client.request(&route("echo"), &Text { msg: text }, now)?,
            40..65 => {
                let push = Push {
                    uid: &uid,
                    msg: text,
                };
                client.request(&route("push"), &push, now)?;
            }
            65..66 => client.request(&route("kick"), &Uid { uid: &uid }, now)?,
            _ if joined => client.request(&route("broadcast"), &Text { msg: text }, now)?,
            _ => {
                client.request(&route("join"), &Room { room: &room }, now)?;
                if let Some(Some(actor)) = self.actors.get_mut(key) {
                    actor.joined = true;
                }
            }
        }
        match fleet.flush(key) {
            // Kicked a moment ago; the next turn tells.
            Err(Error::Io(_)) => Ok(()),
            other => other,
        }
    }

    fn go(&mut self, fleet: &mut Fleet, key: usize) -> Result<(), Error> {
        let Some(place) = self.actors.get_mut(key) else {
            return Ok(());
        };
        if place.take().is_none() {
            return Ok(());
        }
        self.alive -= 1;
        if self.random.below(2) == 0 {
            self.lives.closed += 1;
            fleet.close(key);
            Ok(())
        } else {
            self.lives.reset += 1;
            fleet.reset(key)
        }
    }

    /// Names are used again by those who come later, and shared by both transports.
    fn uid(&self, key: usize) -> String {
        name((key % self.crowd.size) as u64)
    }

    fn route(&self, method: &str) -> String {
        format!("{}.{method}", self.crowd.prefix)
    }
}

fn name(number: u64) -> String {
    format!("user-{number}")
}

/// xorshift64*: the same lives for the same seed, as far as time allows.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_repeats_itself_and_reaches_everything() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.below(8)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for number in 0..8 {
            let times = draw(0).iter().filter(|drawn| **drawn == number).count();
            assert!((60..200).contains(&times), "{number}: {times}");
        }
    }
}
