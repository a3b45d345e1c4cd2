//! Tables of names that are made once and only read then.

use std::sync::Arc;

/// Names and a number for each, in the order of the names: for a few of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Box<[(Arc<str>, u32)]>);

impl Names {
    /// Of two equal names the later counts.
    pub(crate) fn new(mut names: Vec<(Arc<str>, u32)>) -> Self {
        names.sort_by(|(a, _), (b, _)| order(a.as_bytes(), b.as_bytes()));
        names.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
        Self(names.into())
    }

    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        Some(self.entry(name.as_bytes())?.1)
    }

    /// The table's own copy of the name, too; the name as its bytes stand in a message.
    pub(crate) fn entry(&self, name: &[u8]) -> Option<(&Arc<str>, u32)> {
        let place = self
            .0
            .binary_search_by(|(known, _)| order(known.as_bytes(), name));
        self.0
            .get(place.ok()?)
            .map(|(known, number)| (known, *number))
    }

    #[cfg_attr(not(target_family = "wasm"), cfg(test))]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg_attr(not(target_family = "wasm"), cfg(test))]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// [`Names`] for a few hundred of them, which every message is looked up in; nobody but who gives
/// them puts anything in.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(std::collections::HashMap<ByBytes, u32, foldhash::fast::RandomState>);

/// A name that is found by its bytes.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByBytes(Arc<str>);

#[cfg(not(target_family = "wasm"))]
impl std::hash::Hash for ByBytes {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

#[cfg(not(target_family = "wasm"))]
impl std::borrow::Borrow<[u8]> for ByBytes {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A page has a message now and then, and a hash table would be a tenth of its module.
#[cfg(target_family = "wasm")]
pub(crate) type Routes = Names;

#[cfg(not(target_family = "wasm"))]
impl Routes {
    pub(crate) fn new(names: Vec<(Arc<str>, u32)>) -> Self {
        let names = names.into_iter();
        Self(
            names
                .map(|(name, number)| (ByBytes(name), number))
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        self.0.get(name.as_bytes()).copied()
    }

    pub(crate) fn entry(&self, name: &[u8]) -> Option<(&Arc<str>, u32)> {
        let (ByBytes(known), number) = self.0.get_key_value(name)?;
        Some((known, *number))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Shorter names first: most comparisons need not look at the text, and routes begin alike.
#[inline]
fn order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Names, Routes};
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_answers_like_a_map(pairs in proptest::collection::vec(("[a-c]{0,3}", any::<u32>()), 0..40), other in "[a-d]{0,3}") {
            let map: HashMap<&str, u32> = pairs.iter().map(|(name, number)| (name.as_str(), *number)).collect();
            let pairs = || pairs.iter().map(|(name, number)| (name.as_str().into(), *number)).collect();
            let (names, routes) = (Names::new(pairs()), Routes::new(pairs()));
            prop_assert_eq!([names.len(), routes.len()], [map.len(); 2]);
            prop_assert_eq!([names.is_empty(), routes.is_empty()], [map.is_empty(); 2]);
            for (name, number) in map.iter().map(|(name, number)| (*name, Some(*number))).chain([(other.as_str(), map.get(&*other).copied())]) {
                prop_assert_eq!([names.get(name), routes.get(name)], [number; 2]);
                let entry = number.map(|number| (name, number));
                prop_assert_eq!(names.entry(name.as_bytes()).map(|(name, number)| (&**name, number)), entry);
                prop_assert_eq!(routes.entry(name.as_bytes()).map(|(name, number)| (&**name, number)), entry);
            }
        }
    }
}
