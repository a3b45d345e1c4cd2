//! Where clients come from: whom to refuse, and whom to believe about somebody else's address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use regex_lite::Regex;

use crate::lock;

/// A list of patterns that refuses clients by their address; clones are handles to one list, so
/// that the application can change it while the server runs.
///
/// A pattern is a regular expression and need not match the whole address, as at pomelo:
/// `10.0.0.1` matches `10.0.0.12` and `110.0.0.1` too, `^10\.0\.0\.1$` does not. It is tried on
/// `1.2.3.4` and on `::ffff:1.2.3.4`, the form in which pomelo sees IPv4 clients. Connections
/// that are already there stay.
#[derive(Debug, Clone, Default)]
pub struct Blacklist {
    patterns: Arc<Mutex<Patterns>>,
}

/// A pattern that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a pattern: {problem}")]
pub struct PatternError {
    pattern: String,
    problem: String,
}

impl Blacklist {
    /// A list of these patterns.
    ///
    /// # Errors
    ///
    /// [`PatternError`] names the first that is none.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, PatternError> {
        let list = Self::default();
        for pattern in patterns {
            list.add(pattern.as_ref())?;
        }
        Ok(list)
    }

    /// Adds a pattern; one that is there already stays there once.
    ///
    /// # Errors
    ///
    /// [`PatternError`].
    pub fn add(&self, pattern: &str) -> Result<(), PatternError> {
        let compiled = compile(pattern)?;
        let mut patterns = lock(&self.patterns);
        if !patterns.texts().any(|text| text == pattern) {
            patterns.0 = patterns.0.iter().cloned().chain([compiled]).collect();
        }
        Ok(())
    }

    /// Takes a pattern away, given as it was added; `false` if it is not there.
    pub fn remove(&self, pattern: &str) -> bool {
        let mut patterns = lock(&self.patterns);
        let before = patterns.0.len();
        let left = patterns.0.iter().filter(|one| one.as_str() != pattern);
        patterns.0 = left.cloned().collect();
        patterns.0.len() < before
    }

    /// The patterns.
    pub fn patterns(&self) -> Vec<String> {
        lock(&self.patterns).texts().map(str::to_owned).collect()
    }

    pub(crate) fn matches(&self, address: IpAddr) -> bool {
        let patterns = lock(&self.patterns).clone();
        patterns.matches(address)
    }
}

#[derive(Debug, Clone, Default)]
struct Patterns(Arc<[Regex]>);

impl Patterns {
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Regex::as_str)
    }

    fn matches(&self, address: IpAddr) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let text = address.to_string();
        let mapped = format!("::ffff:{text}");
        let texts = [Some(&text), address.is_ipv4().then_some(&mapped)];
        texts
            .into_iter()
            .flatten()
            .any(|text| self.0.iter().any(|pattern| pattern.is_match(text)))
    }
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    Regex::new(pattern).map_err(|error| PatternError {
        pattern: pattern.to_owned(),
        problem: error.to_string(),
    })
}

/// The future of a `blacklist_fun`.
pub(crate) type Listing = Pin<Box<dyn Future<Output = Option<Vec<String>>> + Send>>;

/// The whole host filter of a connector.
#[derive(Clone, Default)]
pub(crate) struct HostFilter {
    pub(crate) list: Blacklist,
    pub(crate) fun: Option<Arc<dyn Fn() -> Listing + Send + Sync>>,
    /// What the function answered last: it is asked for each client and rarely says anything new.
    last: Arc<Mutex<Patterns>>,
}

impl fmt::Debug for HostFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFilter")
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

impl HostFilter {
    /// Whether a client from there is refused. An error of the function lets it in, as at pomelo.
    pub(crate) async fn refuses(&self, address: IpAddr) -> bool {
        if self.list.matches(address) {
            return true;
        }
        let Some(fun) = &self.fun else { return false };
        let Some(texts) = fun().await else {
            return false;
        };
        self.compiled(&texts).matches(address)
    }

    fn compiled(&self, texts: &[String]) -> Patterns {
        let last = lock(&self.last).clone();
        if last.texts().eq(texts.iter().map(String::as_str)) {
            return last;
        }
        let usable = texts.iter().filter_map(|text| {
            compile(text)
                .inspect_err(|error| tracing::warn!(%error, "entry of the blacklist is skipped"))
                .ok()
        });
        let patterns = Patterns(usable.collect());
        *lock(&self.last) = patterns.clone();
        patterns
    }
}

/// Addresses that begin with the same bits: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address, and not an address with a prefix length like 10.0.0.0/8")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| NetworkError)?,
            None => bits,
        };
        if prefix > bits {
            return Err(NetworkError);
        }
        Ok(Self { address, prefix })
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let differ = Ipv4Addr::to_bits(net) ^ Ipv4Addr::to_bits(address);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let differ = Ipv6Addr::to_bits(net) ^ Ipv6Addr::to_bits(address);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_are_not_anchored_and_see_both_forms_of_an_ipv4_address() {
        let list = Blacklist::new(["10.0.0.1"]).unwrap();
        assert!(list.matches(ip("10.0.0.1")) && list.matches(ip("110.0.0.12")));
        assert!(!list.matches(ip("10.0.1.1")));
        for pattern in [r"^1\.2\.3\.4$", r"^::ffff:1\.2\.", "ffff"] {
            let list = Blacklist::new([pattern]).unwrap();
            assert!(list.matches(ip("1.2.3.4")), "{pattern}");
            assert!(!list.matches(ip("2001:db8::1")), "{pattern}");
        }
    }

    #[test]
    fn a_list_changes_while_it_is_used() {
        let list = Blacklist::default();
        let handle = list.clone();
        handle.add("^1").unwrap();
        handle.add("^1").unwrap();
        assert_eq!(list.patterns(), ["^1"]);
        let error = handle.add("(").unwrap_err();
        assert!(error.to_string().starts_with("\"(\" is not a pattern: "));
        assert!(list.matches(ip("1.1.1.1")));
        assert!(handle.remove("^1") && !handle.remove("^1"));
        assert!(!list.matches(ip("1.1.1.1")));
    }

    #[test]
    fn networks_hold_what_they_say() {
        let net = |text: &str| text.parse::<Network>();
        assert!(net("10.0.0.0/8").unwrap().contains(ip("10.255.0.1")));
        assert!(!net("10.0.0.0/8").unwrap().contains(ip("11.0.0.1")));
        assert!(net("0.0.0.0/0").unwrap().contains(ip("255.1.1.1")));
        assert!(!net("0.0.0.0/0").unwrap().contains(ip("::1")));
        assert!(net("::1").unwrap().contains(ip("::1")));
        assert!(net("127.0.0.1").unwrap().contains(ip("::ffff:127.0.0.1")));
        assert!(net("fd00::/8").unwrap().contains(ip("fdff::1")));
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0/8",
            "1.2.3.4/",
        ] {
            assert_eq!(net(text), Err(NetworkError), "{text}");
        }
    }
}
