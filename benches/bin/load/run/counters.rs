//! What a server says about itself on its metrics page.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::run::Error;

/// A page that takes longer does not come.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The numbers of a page, each under its name and labels, that of the server left out:
/// `pomelo_sessions`, `pomelo_connections_closed_total{peer}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Asks the admin port of a bench server.
    pub(crate) fn read(admin: SocketAddr) -> Result<Self, Error> {
        let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(Self::parse(&page))
    }

    fn parse(page: &str) -> Self {
        let mut counters = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with("pomelo_")) {
            // Only what is whole is counted; sums of seconds are not.
            if let Some((name, number)) = line.rsplit_once(' ')
                && let Ok(number) = number.parse::<u64>()
            {
                *counters.entry(short(name)).or_default() += number;
            }
        }
        Self(counters)
    }

    /// One number; a counter that is not on the page is 0.
    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// How much one number has grown since an earlier page.
    pub(crate) fn since(&self, earlier: &Self, name: &str) -> u64 {
        self.of(name).saturating_sub(earlier.of(name))
    }

    /// The labels of a family.
    pub(crate) fn labels<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.keys().filter_map(move |name| {
            let label = name.strip_prefix(family)?.strip_prefix('{')?;
            label.strip_suffix('}')
        })
    }
}

/// `name{server="connector-1",reason="peer"}` is `name{peer}`.
fn short(name: &str) -> String {
    let Some((family, labels)) = name.split_once('{') else {
        return name.to_owned();
    };
    let values: Vec<_> = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.starts_with("server="))
        .filter_map(|label| Some(label.split_once('=')?.1.trim_matches('"')))
        .collect();
    if values.is_empty() {
        family.to_owned()
    } else {
        format!("{family}{{{}}}", values.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_numbers() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# HELP pomelo_sessions s\n\
            pomelo_sessions{server=\"connector-1\"} 7\n\
            pomelo_connections_closed_total{server=\"connector-1\",reason=\"peer\"} 3\n\
            pomelo_connections_closed_total{server=\"connector-2\",reason=\"peer\"} 4\n\
            pomelo_handler_seconds_sum{server=\"connector-1\",route=\"a.b.c\"} 0.5\n";
        let counters = Counters::parse(page);
        assert_eq!(counters.of("pomelo_sessions"), 7);
        let closed = "pomelo_connections_closed_total";
        assert_eq!(counters.of(&format!("{closed}{{peer}}")), 7);
        assert_eq!(counters.labels(closed).collect::<Vec<_>>(), ["peer"]);
        assert_eq!(counters.of("pomelo_handler_seconds_sum{a.b.c}"), 0);
        let earlier = Counters::default();
        assert_eq!(counters.since(&earlier, "pomelo_sessions"), 7);
        assert_eq!(earlier.since(&counters, "pomelo_sessions"), 0);
    }
}
