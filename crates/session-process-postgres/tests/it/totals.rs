//! Many updates of the same sessions from two nodes: the sums are exact.
//!
//! 20,000 of them in the normal run; `cargo xtask test --long` does a million.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use session_process::{SessionId, records::NewSession};

use crate::support::{fresh, records};

const SESSIONS: usize = 1_000;
/// Callers on each node.
const CALLERS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_a_thousand_sessions_on_two_nodes_add_up() {
    let updates = testkit::long_or(20_000, 1_000_000);
    let fresh = fresh().await;
    let nodes = [fresh.store.clone(), fresh.node().await].map(|store| records(&store));
    let mut ids: Vec<SessionId> = Vec::new();
    for _ in 0..SESSIONS / 50 {
        let new: Vec<_> = (0..50)
            .map(|_| {
                let node = nodes[0].clone();
                tokio::spawn(async move { node.create(NewSession::new().attribute("n", 0_u64)).await.unwrap().id })
            })
            .collect();
        for id in new {
            ids.push(id.await.unwrap());
        }
    }
    let ids = Arc::new(ids);
    let (next, added) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let progress = Arc::new(testkit::Progress::new("updates", updates));
    let callers: Vec<_> = (0..2 * CALLERS)
        .map(|caller| {
            let (node, ids) = (nodes[caller % 2].clone(), Arc::clone(&ids));
            let (next, added, progress) = (Arc::clone(&next), Arc::clone(&added), Arc::clone(&progress));
            tokio::spawn(async move {
                // Xorshift: which session, and how much.
                let mut chance = caller as u64 + 1;
                while next.fetch_add(1, Ordering::Relaxed) < updates {
                    chance ^= chance << 13;
                    chance ^= chance >> 7;
                    chance ^= chance << 17;
                    let (id, by) = (&ids[chance as usize % SESSIONS], chance >> 32 & 7);
                    let update = node.update(id, |attributes| {
                        attributes.update("n", |n: &mut u64| *n += by)?;
                        attributes.update("updates", |n: &mut u64| *n += 1)
                    });
                    update.await.expect("no update is lost, and none gives up");
                    added.fetch_add(by, Ordering::Relaxed);
                    progress.step();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let (mut sum, mut count) = (0, 0);
    for id in ids.iter() {
        let found = nodes[1].get_fresh(id).await.unwrap().expect("it is there");
        sum += found.get::<u64>("n").unwrap().unwrap();
        count += found.get::<u64>("updates").unwrap().unwrap_or(0);
    }
    assert_eq!((count, sum), (updates, added.load(Ordering::Relaxed)));
}
