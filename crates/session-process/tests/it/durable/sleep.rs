//! Many more sessions than memory: those that are not used sleep in the store.

use std::sync::atomic::Ordering::SeqCst;

use super::*;

async fn asleep() -> (Node, SessionId) {
    let node = Node::with(|builder| builder.sleep_after(MINUTE));
    let id = id("a");
    node.sessions.start_with(&id, New).await.unwrap();
    node.sessions.call(&id, Add(7)).await.unwrap();
    node.clock.advance(MINUTE);
    falls_asleep(&node).await;
    (node, id)
}

async fn falls_asleep(node: &Node) {
    while node.sessions.stats().sessions > 0 {
        node.sessions.expire_now().await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_session_that_is_not_used_leaves_memory_and_comes_back_with_its_next_message() {
    let (node, id) = asleep().await;
    assert!(!node.sessions.is_started(&id) && node.sessions.exists(&id).await.unwrap());
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 7);
    assert_eq!(node.runs.inits.load(SeqCst), 1);
    assert_eq!(node.runs.hooks.load(SeqCst), 0, "sleep is no end");
}

#[tokio::test]
async fn one_load_wakes_a_session_for_all_who_wait() {
    let (node, id) = asleep().await;
    node.records.clear_cache();
    let (loads, started) = (node.store.loads.load(SeqCst), node.sessions.stats().started);
    let calls: Vec<_> = (0..64).map(|_| node.add(&id, 1)).collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 71);
    assert_eq!(node.sessions.stats().started - started, 1);
    assert_eq!(node.store.loads.load(SeqCst) - loads, 1);
}

#[tokio::test]
async fn a_cast_wakes_too_and_comes_before_the_call_after_it() {
    let (node, id) = asleep().await;
    node.sessions.cast(&id, Add(1)).unwrap();
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 8);
}

#[tokio::test]
async fn a_cast_to_a_session_that_never_was_leaves_nothing_behind() {
    let node = Node::<Ledger>::new();
    let unknown = id("unknown");
    node.sessions.cast(&unknown, Add(1)).unwrap();
    while node.sessions.stats().sessions > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        node.sessions.call(&unknown, Total).await.unwrap_err().kind(),
        "not_started"
    );
}

#[tokio::test]
async fn a_session_that_is_followed_stays_awake() {
    let node = Node::with(|builder| builder.sleep_after(MINUTE));
    let id = id("a");
    node.sessions.start_with(&id, New).await.unwrap();
    let monitor = node.sessions.monitor(&id).unwrap();
    node.clock.advance(MINUTE);
    node.sessions.expire_now().await;
    assert!(node.sessions.is_started(&id));
    drop(monitor);
    falls_asleep(&node).await;
    assert!(node.sessions.exists(&id).await.unwrap());
}

#[tokio::test]
async fn a_sleeping_session_expires_all_the_same() {
    let (node, id) = asleep().await;
    node.clock.advance(HOUR);
    assert_eq!(node.sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
    assert!(!node.sessions.exists(&id).await.unwrap());
}

#[tokio::test]
async fn its_clocks_go_on_while_it_sleeps() {
    let node = Node::with(|builder| builder.sleep_after(MINUTE).max_lifetime(10 * MINUTE));
    let id = id("a");
    node.sessions.start_with(&id, New).await.unwrap();
    node.clock.advance(6 * MINUTE);
    falls_asleep(&node).await;
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 0);
    let stats = node.sessions.session_stats(&id).unwrap();
    assert_eq!(stats.age, 6 * MINUTE);
    node.clock.advance(4 * MINUTE);
    assert_eq!(node.sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
}

#[tokio::test]
async fn use_keeps_the_record_alive() {
    let (node, id) = Node::started().await;
    for _ in 0..8 {
        node.clock.advance(HOUR / 2);
        assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 0);
        // The store hears of it in time.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    assert!(node.sessions.exists(&id).await.unwrap());
    node.clock.advance(HOUR);
    assert!(!node.sessions.exists(&id).await.unwrap());
}

#[tokio::test]
async fn sleep_racing_with_calls_loses_nothing() {
    let node = Arc::new(Node::<Ledger>::with(|builder| builder.sleep_after(MINUTE)));
    let id = id("a");
    node.sessions.start_with(&id, New).await.unwrap();
    let sleeper = {
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            for _ in 0..200 {
                node.clock.advance(MINUTE);
                node.sessions.expire_now().await;
                node.sessions.touch(&super::id("a")).ok();
                tokio::task::yield_now().await;
            }
        })
    };
    let mut done = 0;
    while !sleeper.is_finished() {
        // The records may find the store too slow for their time limit, by a clock that runs so fast.
        if node.sessions.call(&id, Add(1)).await.is_ok() {
            done += 1;
        }
    }
    sleeper.await.unwrap();
    let sum = node.sessions.call(&id, Total).await.unwrap();
    assert!(sum >= done, "{sum} of {done} that were acknowledged");
}

type Asked = (std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

/// Takes its time to say whether it may sleep.
#[derive(Default, Serialize, Deserialize)]
struct Drowsy {
    sum: u64,
    #[serde(skip)]
    asked: Option<std::sync::Mutex<Asked>>,
}

impl Process for Drowsy {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("drowsy", 1));

    fn may_sleep(&self) -> bool {
        if let Some(asked) = &self.asked {
            let (begun, go_on) = &*asked.lock().unwrap();
            // An error: nobody holds it up any more.
            let _ = begun.send(()).map(|()| go_on.recv());
        }
        true
    }
}

impl Handle<Add> for Drowsy {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.sum
    }
}

struct Install(Asked);

impl Handle<Install> for Drowsy {
    type Reply = ();
    async fn handle(&mut self, Install(asked): Install, cx: &mut Context<Self>) {
        cx.unchanged();
        self.asked = Some(std::sync::Mutex::new(asked));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cast_that_was_accepted_survives_sleep() {
    let node = Node::<Drowsy>::with(|builder| builder.sleep_after(MINUTE));
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel();
    node.sessions.call(&id, Install((begun, wait))).await.unwrap();
    node.clock.advance(MINUTE);
    let sessions = node.sessions.clone();
    let sweep = tokio::spawn(async move { sessions.expire_now().await });
    has_begun.recv().unwrap();
    node.sessions.cast(&id, Add(1)).unwrap();
    // Both the one that asks and, if the sweeper comes again, whoever asks next.
    drop((has_begun, go_on));
    let _ = sweep.await;
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 2);
}
