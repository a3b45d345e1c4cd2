//! Requests that wait for their responses.

use crate::message::{RequestId, Route};

#[cfg(not(target_family = "wasm"))]
type Routes = std::collections::HashMap<RequestId, Route>;
/// A page has few requests pending, and a hash table would be a tenth of its module.
#[cfg(target_family = "wasm")]
type Routes = Vec<(RequestId, Route)>;

/// A response carries no route, and its schema is that of the request's route.
#[derive(Debug, Default)]
pub(super) struct Pending(Routes);

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(not(target_family = "wasm"))]
impl Pending {
    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.0.contains_key(&id)
    }

    /// `id` is not pending.
    pub(super) fn insert(&mut self, id: RequestId, route: Route) {
        self.0.insert(id, route);
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Route> {
        self.0.remove(&id)
    }
}

#[cfg(target_family = "wasm")]
impl Pending {
    fn place(&self, id: RequestId) -> Option<usize> {
        self.0.iter().position(|(known, _)| *known == id)
    }

    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.place(id).is_some()
    }

    /// `id` is not pending.
    pub(super) fn insert(&mut self, id: RequestId, route: Route) {
        self.0.push((id, route));
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Route> {
        Some(self.0.swap_remove(self.place(id)?).1)
    }
}
