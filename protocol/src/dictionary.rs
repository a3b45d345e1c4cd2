//! The route dictionary: names to 16-bit codes, the same on every frontend because it is computed
//! from the sorted routes of all server types.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};
use serde_json::{Map, Value};

use crate::error::EncodeError;
use crate::message::{Route, RouteCode};

/// A table of routes and their codes, with its version and its texts for the handshake. A clone
/// costs a reference count.
///
/// Built exactly as pomelo 2.2.7 does (`components/dictionary.js`), so that the version strings
/// that old clients stored stay valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Dictionary(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    codes: HashMap<Route, RouteCode>,
    /// Index is code - 1.
    routes: Vec<Option<Route>>,
    dict_text: String,
    code_to_route_text: String,
    version: String,
}

/// Why a dictionary cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DictionaryError {
    /// Codes have 16 bits and start at 1.
    #[error("more than 65535 routes")]
    TooManyRoutes,
    /// A route does not fit a message.
    #[error("route {name:?}")]
    Route {
        /// The route.
        name: String,
        /// What is wrong with it.
        source: EncodeError,
    },
}

impl Dictionary {
    /// The dictionary of a server: `handler_routes` (`serverType.handler.method` of every server
    /// type, in any order) are sorted by UTF-16 code unit and numbered from 1; `extra`, the
    /// entries of `config/dictionary.json`, are numbered on in their order. A route that appears
    /// again gets the later code, and both codes decode.
    ///
    /// # Errors
    /// [`DictionaryError`] when there are too many routes or one is too long.
    pub fn build<'a>(
        handler_routes: impl IntoIterator<Item = &'a str>,
        extra: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, DictionaryError> {
        let mut names: Vec<&str> = handler_routes.into_iter().collect();
        names.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
        let mut dict = Map::new();
        let mut pairs = Vec::new();
        for (index, name) in names.into_iter().chain(extra).enumerate() {
            let code = u16::try_from(index + 1).map_err(|_| DictionaryError::TooManyRoutes)?;
            let code = RouteCode::new(code).ok_or(DictionaryError::TooManyRoutes)?;
            let route = Route::new(name).map_err(|source| DictionaryError::Route {
                name: name.to_owned(),
                source,
            })?;
            dict.insert(name.to_owned(), code.get().into());
            pairs.push((route, code));
        }
        Ok(Self::new(pairs, &dict))
    }

    /// The dictionary of a client, from `routeToCode` or `dict` of a handshake response. Entries
    /// that are no usable pair are left out: the server simply will not use them.
    pub fn from_handshake(dict: &Map<String, Value>) -> Self {
        // Where two routes share a code the later one gets it, as in a JavaScript client.
        let dict = in_javascript_order(dict);
        let pairs = dict
            .iter()
            .filter_map(|(name, code)| {
                let code = u16::try_from(code.as_u64()?)
                    .ok()
                    .and_then(RouteCode::new)?;
                Some((Route::new(name).ok()?, code))
            })
            .collect();
        Self::new(pairs, &dict)
    }

    fn new(pairs: Vec<(Route, RouteCode)>, dict: &Map<String, Value>) -> Self {
        let mut codes = HashMap::with_capacity(pairs.len());
        let mut routes: Vec<Option<Route>> = Vec::new();
        for (route, code) in pairs {
            let index = usize::from(code.get()) - 1;
            if routes.len() <= index {
                routes.resize(index + 1, None);
            }
            if let Some(slot) = routes.get_mut(index) {
                *slot = Some(route.clone());
            }
            codes.insert(route, code);
        }
        let dict_text = Value::Object(in_javascript_order(dict)).to_string();
        let code_to_route: Map<String, Value> = routes
            .iter()
            .enumerate()
            .filter_map(|(index, route)| {
                Some((
                    (index + 1).to_string(),
                    Value::from(route.as_ref()?.as_str()),
                ))
            })
            .collect();
        let version = BASE64.encode(Md5::digest(dict_text.as_bytes()));
        Self(Arc::new(Inner {
            codes,
            routes,
            dict_text,
            code_to_route_text: Value::Object(code_to_route).to_string(),
            version,
        }))
    }

    /// The code of a route.
    pub fn code(&self, route: &str) -> Option<RouteCode> {
        self.0.codes.get(route).copied()
    }

    /// The route of a code.
    pub fn route(&self, code: RouteCode) -> Option<&Route> {
        self.0.routes.get(usize::from(code.get()) - 1)?.as_ref()
    }

    /// The table's own copy of a route it knows, so that a received name need not be allocated.
    pub(crate) fn known(&self, name: &str) -> Option<&Route> {
        self.0.codes.get_key_value(name).map(|(route, _)| route)
    }

    /// base64 of the MD5 of [`dict_text`](Self::dict_text), the `dictVersion` of the handshake.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// JSON of route to code, as the handshake carries it.
    pub fn dict_text(&self) -> &str {
        &self.0.dict_text
    }

    /// JSON of code to route, as the handshake carries it.
    pub fn code_to_route_text(&self) -> &str {
        &self.0.code_to_route_text
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.0.codes.len()
    }

    /// Whether it has no route.
    pub fn is_empty(&self) -> bool {
        self.0.codes.is_empty()
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary")
            .field("routes", &self.len())
            .field("version", &self.version())
            .finish()
    }
}

/// JavaScript iterates members whose names are array indices first, ascending.
fn in_javascript_order(map: &Map<String, Value>) -> Map<String, Value> {
    let index = |name: &str| {
        let number = name
            .parse::<u32>()
            .ok()
            .filter(|&number| number != u32::MAX)?;
        (number.to_string() == name).then_some(number)
    };
    let mut numbered: Vec<_> = map
        .iter()
        .filter_map(|member| Some((index(member.0)?, member)))
        .collect();
    numbered.sort_by_key(|(number, _)| *number);
    numbered
        .into_iter()
        .map(|(_, member)| member)
        .chain(map.iter().filter(|(name, _)| index(name).is_none()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
