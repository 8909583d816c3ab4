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

fn shard_of(id: &SessionId) -> usize {
    let registry = Registry::new();
    insert(&registry, id, 1);
    let holds_it = |shard: &usize| !registry.collect(*shard).is_empty();
    (0..registry.shards()).find(holds_it).expect("it is in one")
}

/// Two more ids, in the shard of `id` or in the other one.
fn neighbours(id: &SessionId, same_shard: bool) -> [SessionId; 2] {
    let more = ["c", "d", "e", "f", "g", "h", "i", "j"].map(SessionId).into_iter();
    let mut found = more.filter(|other| (shard_of(id) == shard_of(other)) == same_shard);
    [(); 2].map(|()| found.next().expect("two of eight"))
}

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

/// As `rotate::in_memory` does.
fn rotate(registry: &Registry, from: &SessionId, to: &SessionId) -> bool {
    let session = registry.get(from);
    session.is_some_and(|session| registry.rotate(&session, from, to).is_ok())
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
            thread::spawn(move || rotate(&registry, &A, &B))
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
            thread::spawn(move || assert!(rotate(&registry, &A, &B)))
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

/// Each needs both locks.
#[test]
fn two_rotations_in_opposite_directions_get_done() {
    model(|| {
        let registry = loom::sync::Arc::new(Registry::new());
        let ([there, forth], [back, _]) = (neighbours(&A, false), neighbours(&A, true));
        insert(&registry, &A, 10);
        insert(&registry, &there, 10);
        let rotator = {
            let (registry, there, back) = (registry.clone(), there.clone(), back.clone());
            thread::spawn(move || assert!(rotate(&registry, &there, &back)))
        };
        assert!(rotate(&registry, &A, &forth));
        rotator.join().unwrap();
        assert!(registry.get(&A).is_none() && registry.get(&there).is_none());
        assert!(registry.get(&back).is_some() && registry.get(&forth).is_some());
        assert_eq!(registry.len(), 2);
    });
}

#[test]
fn of_a_rotation_within_a_shard_and_a_start_one_gets_the_new_id() {
    model(|| {
        let registry = loom::sync::Arc::new(Registry::new());
        let [new, _] = neighbours(&A, true);
        insert(&registry, &A, 10);
        let starter = {
            let (registry, new) = (registry.clone(), new.clone());
            thread::spawn(move || insert(&registry, &new, 10).expect("there is room"))
        };
        let rotated = rotate(&registry, &A, &new);
        let started = starter.join().unwrap();
        assert!(rotated != started, "one of the two");
        assert_eq!(registry.get(&A).is_some(), !rotated);
        assert!(registry.get(&new).is_some());
        assert_eq!(registry.len(), if rotated { 1 } else { 2 });
    });
}

#[test]
fn a_pass_meets_also_a_session_that_is_rotated_meanwhile() {
    model(|| {
        let registry = loom::sync::Arc::new(Registry::new());
        // From the shard that is seen last to the one that is seen first.
        let [other, _] = neighbours(&A, false);
        let (from, to) = if shard_of(&A) > shard_of(&other) {
            (A, other)
        } else {
            (other, A)
        };
        insert(&registry, &from, 10);
        let rotator = {
            let registry = registry.clone();
            thread::spawn(move || assert!(rotate(&registry, &from, &to)))
        };
        let pass = registry.pass();
        let in_shards: usize = (0..registry.shards()).map(|shard| registry.collect(shard).len()).sum();
        assert!(in_shards + pass.moved().len() >= 1, "nobody is missed");
        drop(pass);
        rotator.join().unwrap();
        assert!(registry.pass().moved().is_empty(), "nor kept for the next");
    });
}
