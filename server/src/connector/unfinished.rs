//! What clients have begun to send and not finished, bounded for all of them together.
//!
//! Each client is bounded by the longest package; a crowd that stops before the last byte is not.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Mutex;

use super::transport::MESSAGE_ROOM;
use crate::lock;
use crate::mailbox::Ending;
use crate::metrics::Cut;
use crate::session::Session;

/// What a connection may have without being counted, so that ordinary ones do not meet here.
const FREE: usize = 4 * 1024;

/// The connections of a frontend that have more than a little.
#[derive(Debug)]
pub(crate) struct Unfinished {
    limit: usize,
    table: Mutex<Table>,
}

/// A place in the table; those who came earlier have smaller ones.
pub(crate) type Place = NonZeroU64;

#[derive(Debug, Default)]
struct Table {
    last: u64,
    bytes: usize,
    holders: BTreeMap<Place, (usize, Session)>,
}

impl Unfinished {
    /// At most `limit` bytes, but never less than one client may need.
    pub(crate) fn new(limit: usize, max_package: u32) -> Self {
        let least = usize::try_from(max_package.saturating_add(MESSAGE_ROOM));
        Self {
            limit: limit.max(least.unwrap_or(usize::MAX)),
            table: Mutex::default(),
        }
    }

    /// The session has this many bytes now. Ends those that wait for longest while all together
    /// have too many.
    pub(crate) fn holds(&self, place: &mut Option<Place>, bytes: usize, session: &Session) {
        if bytes <= FREE {
            return self.lets_go(place);
        }
        for session in self.enter(place, bytes, session) {
            session.end(Ending::Cut(Cut::Unfinished));
        }
    }

    /// The session has finished, or ended.
    pub(crate) fn lets_go(&self, place: &mut Option<Place>) {
        if let Some(place) = place.take() {
            lock(&self.table).remove(place);
        }
    }

    /// How many bytes all of them have.
    pub(crate) fn bytes(&self) -> usize {
        lock(&self.table).bytes
    }

    /// Answers whom to end: not under the lock.
    fn enter(&self, place: &mut Option<Place>, bytes: usize, session: &Session) -> Vec<Session> {
        let mut ended = Vec::new();
        let mut table = lock(&self.table);
        match place {
            Some(place) => match table.holders.get_mut(place) {
                Some((held, _)) => {
                    let before = std::mem::replace(held, bytes);
                    table.bytes = table.bytes - before + bytes;
                }
                // It has been asked to end.
                None => return ended,
            },
            None => {
                table.last += 1;
                let Some(new) = Place::new(table.last) else {
                    return ended;
                };
                table.holders.insert(new, (bytes, session.clone()));
                table.bytes += bytes;
                *place = Some(new);
            }
        }
        while table.bytes > self.limit
            && let Some((longest, _)) = table.holders.first_key_value()
        {
            let longest = *longest;
            ended.extend(table.remove(longest));
        }
        ended
    }
}

impl Table {
    fn remove(&mut self, place: Place) -> Option<Session> {
        let (held, session) = self.holders.remove(&place)?;
        self.bytes -= held;
        Some(session)
    }
}
