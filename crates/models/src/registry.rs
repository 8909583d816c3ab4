//! The registry: one entry an id, an exact count, rotation in one step.

use std::sync::Arc;

use loom::thread;

use crate::{
    SessionId,
    engine::{
        registry::{Insert, Make, Registry},
        session::AnySession,
    },
    sync::Mutex,
};

struct Session(Mutex<SessionId>);

impl Session {
    fn new(id: &SessionId) -> Arc<Self> {
        Arc::new(Self(Mutex::new(id.clone())))
    }
}

impl AnySession for Session {
    fn is(&self, id: &SessionId) -> bool {
        *self.0.lock() == *id
    }

    fn id(&self) -> SessionId {
        self.0.lock().clone()
    }

    fn set_id(&self, id: SessionId) {
        *self.0.lock() = id;
    }

    fn due_at(&self) -> u64 {
        0
    }
}

const A: SessionId = SessionId("a");
const B: SessionId = SessionId("b");

fn insert(registry: &Registry, id: &SessionId, max: usize) -> Option<bool> {
    let admit = || registry.reserve(max).then_some(()).ok_or(());
    match registry.get_or_insert(id, admit, Make::Ahead, || Session::new(id)) {
        Insert::Inserted(_) => Some(true),
        Insert::Found(_) => Some(false),
        Insert::Refused(()) => None,
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}

#[test]
fn of_two_who_insert_one_id_one_does() {
    model(|| {
        let registry = loom::sync::Arc::new(Registry::new());
        let other = {
            let registry = registry.clone();
            thread::spawn(move || insert(&registry, &A, 10))
        };
        let mine = insert(&registry, &A, 10);
        let theirs = other.join().unwrap();
        assert_eq!(mine.into_iter().chain(theirs).filter(|new| *new).count(), 1);
        assert_eq!(registry.len(), 1);
    });
}

#[test]
fn the_last_place_is_given_once() {
    model(|| {
        let registry = loom::sync::Arc::new(Registry::new());
        let other = {
            let registry = registry.clone();
            thread::spawn(move || insert(&registry, &A, 1))
        };
        let mine = insert(&registry, &B, 1);
        let theirs = other.join().unwrap();
        assert_eq!(mine.is_some() as u32 + theirs.is_some() as u32, 1);
        assert_eq!(registry.len(), 1);
    });
}

#[test]
fn a_session_that_is_rotated_while_it_ends_leaves_nothing_behind() {
    model(|| {
        let registry = loom::sync::Arc::new(Registry::new());
        insert(&registry, &A, 10);
        let session = registry.get(&A).expect("just inserted");
        let rotator = {
            let registry = registry.clone();
            thread::spawn(move || registry.rotate(&A, &B).is_ok())
        };
        registry.remove(&*session);
        rotator.join().unwrap();
        assert_eq!(registry.len(), 0);
        assert!(registry.get(&A).is_none() && registry.get(&B).is_none());
    });
}

#[test]
fn a_session_that_is_rotated_is_always_found_under_one_of_its_ids() {
    model(|| {
        let registry = loom::sync::Arc::new(Registry::new());
        insert(&registry, &A, 10);
        let rotator = {
            let registry = registry.clone();
            thread::spawn(move || assert!(registry.rotate(&A, &B).is_ok()))
        };
        // In this order: the old id is dead only once the new one lives.
        let old = registry.get(&A).is_some();
        let new = registry.get(&B).is_some();
        assert!(old || new);
        rotator.join().unwrap();
        assert!(registry.get(&A).is_none() && registry.get(&B).is_some());
        assert_eq!(registry.len(), 1);
    });
}
