//! Who takes part: the one list of all sides.

use crate::{
    contender::Contender,
    ours::Ours,
    peers::{actix::Actix, kameo::Kameo, ractor::Ractor, tokio_task::TokioTask},
};

/// Something to be done with each side, or with one that is known by its name only.
pub trait Visitor {
    /// What comes of one visit.
    type Output;

    /// Does it with the side `C`.
    fn visit<C: Contender>(&mut self) -> Self::Output;
}

/// Visits every side, ours first.
pub fn everyone<V: Visitor>(visitor: &mut V) -> Vec<V::Output> {
    vec![
        visitor.visit::<Ours>(),
        visitor.visit::<TokioTask>(),
        visitor.visit::<Kameo>(),
        visitor.visit::<Ractor>(),
        visitor.visit::<Actix>(),
    ]
}

/// Visits the side called `name`, if there is one.
pub fn named<V: Visitor>(name: &str, visitor: &mut V) -> Option<V::Output> {
    Some(match name {
        Ours::NAME => visitor.visit::<Ours>(),
        TokioTask::NAME => visitor.visit::<TokioTask>(),
        Kameo::NAME => visitor.visit::<Kameo>(),
        Ractor::NAME => visitor.visit::<Ractor>(),
        Actix::NAME => visitor.visit::<Actix>(),
        _ => return None,
    })
}

/// The names of all sides, ours first.
#[must_use]
pub fn names() -> Vec<&'static str> {
    everyone(&mut Name)
}

struct Name;

impl Visitor for Name {
    type Output = &'static str;

    fn visit<C: Contender>(&mut self) -> &'static str {
        C::NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_side_is_found_by_its_name() {
        for name in names() {
            assert_eq!(named(name, &mut Name), Some(name));
        }
    }
}
