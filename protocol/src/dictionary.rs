//! The route dictionary: names to 16-bit codes, the same on every frontend because it is computed
//! from the sorted routes of all server types.

use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};
use serde_json::{Map, Value};

use crate::error::EncodeError;
use crate::json::{Json, map_in_js_order};
use crate::message::{Route, RouteCode, RouteName};
use crate::names::Routes;

/// A table of routes and their codes, with its version and its texts for the handshake. A clone
/// costs a reference count.
///
/// Built exactly as pomelo 2.2.7 does (`components/dictionary.js`), so that the version strings
/// that old clients stored stay valid.
#[derive(Clone)]
pub struct Dictionary(Arc<Inner>);

struct Inner {
    /// As given.
    pairs: Vec<(Route, RouteCode)>,
    codes: Routes,
    /// Index is code - 1.
    routes: Vec<Option<Route>>,
    /// For servers; clients have no use for them.
    texts: OnceLock<Texts>,
}

struct Texts {
    dict: String,
    code_to_route: String,
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
        let mut pairs = Vec::new();
        for (index, name) in names.into_iter().chain(extra).enumerate() {
            let code = u16::try_from(index + 1).map_err(|_| DictionaryError::TooManyRoutes)?;
            let code = RouteCode::new(code).ok_or(DictionaryError::TooManyRoutes)?;
            let route = Route::new(name).map_err(|source| DictionaryError::Route {
                name: name.to_owned(),
                source,
            })?;
            pairs.push((route, code));
        }
        Ok(Self::new(pairs))
    }

    /// The dictionary of a client, from `routeToCode` or `dict` of a handshake response. Entries
    /// that are no usable pair are left out: the server simply will not use them.
    pub fn from_handshake<J: Json>(dict: &J) -> Self {
        // Where two routes share a code the later one gets it, as in a JavaScript client.
        let members = dict.members().unwrap_or_default();
        let pairs = members
            .iter()
            .filter_map(|(name, code)| Some((Route::new(name).ok()?, route_code(code.as_f64()?)?)))
            .collect();
        Self::new(pairs)
    }

    fn new(pairs: Vec<(Route, RouteCode)>) -> Self {
        let mut routes: Vec<Option<Route>> = Vec::new();
        for (route, code) in &pairs {
            let index = usize::from(code.get()) - 1;
            if routes.len() <= index {
                routes.resize(index + 1, None);
            }
            if let Some(slot) = routes.get_mut(index) {
                *slot = Some(route.clone());
            }
        }
        let codes = pairs
            .iter()
            .map(|(route, code)| (route.shared(), code.get().into()));
        Self(Arc::new(Inner {
            codes: Routes::new(codes.collect()),
            pairs,
            routes,
            texts: OnceLock::new(),
        }))
    }

    fn texts(&self) -> &Texts {
        self.0.texts.get_or_init(|| {
            let pairs = self.0.pairs.iter();
            let dict: Map<String, Value> = pairs
                .map(|(route, code)| (route.as_str().to_owned(), code.get().into()))
                .collect();
            let dict = Value::Object(map_in_js_order(dict)).to_string();
            let code_to_route: Map<String, Value> = (1_u32..)
                .zip(&self.0.routes)
                .filter_map(|(code, route)| {
                    Some((code.to_string(), Value::from(route.as_ref()?.as_str())))
                })
                .collect();
            Texts {
                code_to_route: Value::Object(code_to_route).to_string(),
                version: BASE64.encode(Md5::digest(dict.as_bytes())),
                dict,
            }
        })
    }

    /// The code of a route.
    pub fn code(&self, route: &str) -> Option<RouteCode> {
        let code = self.0.codes.get(route)?;
        RouteCode::new(u16::try_from(code).ok()?)
    }

    /// The route of a code.
    pub fn route(&self, code: RouteCode) -> Option<&Route> {
        self.0.routes.get(usize::from(code.get()) - 1)?.as_ref()
    }

    /// The table's own copy of a route it knows, so that a received name need not be allocated.
    pub(crate) fn known(&self, name: RouteName<'_>) -> Option<Route> {
        let (name, _) = self.0.codes.entry(name.as_bytes())?;
        Some(Route::from_shared(Arc::clone(name)))
    }

    /// Whether it is the same table, not only an equal one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// base64 of the MD5 of [`dict_text`](Self::dict_text), the `dictVersion` of the handshake.
    pub fn version(&self) -> &str {
        &self.texts().version
    }

    /// JSON of route to code, as the handshake carries it.
    pub fn dict_text(&self) -> &str {
        &self.texts().dict
    }

    /// JSON of code to route, as the handshake carries it.
    pub fn code_to_route_text(&self) -> &str {
        &self.texts().code_to_route
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

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.0.pairs.iter();
        self.len() == other.len()
            && self.0.routes == other.0.routes
            && pairs.all(|(route, _)| self.code(route) == other.code(route))
    }
}

impl Eq for Dictionary {}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary")
            .field("routes", &self.len())
            .field("version", &self.version())
            .finish()
    }
}

fn route_code(code: f64) -> Option<RouteCode> {
    if code.fract() != 0.0 || !(0.0..=f64::from(u16::MAX)).contains(&code) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an integer in the range of u16"
    )]
    let code = code as u16;
    RouteCode::new(code)
}
