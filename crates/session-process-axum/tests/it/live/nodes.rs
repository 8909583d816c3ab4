//! Events from one node to the pages of another.

use std::sync::Arc;

use session_process::store::{MemoryStore, SessionStore};
use session_process_axum::live::{Pages, PushError, Reach};

use super::*;
use crate::durable::{Ledger, Run};

/// A node: what it runs, its pages, its application.
struct Node {
    run: Run,
    pages: Pages,
    app: Router,
}

impl Node {
    fn over(store: &Arc<MemoryStore>) -> Self {
        let run = Run::over(Arc::clone(store) as Arc<dyn SessionStore>);
        // Whoever has an even sum is Ann.
        let user = |ledger: &Ledger| ledger.sum.is_multiple_of(2).then(|| "ann".to_owned());
        let live = Live::new(&run.sessions, |ledger: &Ledger| ledger.sum).with_user(user);
        let app = live.routes("/live").layer(SessionLayer::new(run.sessions.clone()));
        let pages = live.pages().clone();
        Self { run, pages, app }
    }

    async fn page(&self, id: &SessionId) -> Page {
        let mut page = Page::open(&self.app, &Client::with_id(&self.app, id)).await;
        page.greeted().await;
        page
    }
}

async fn two_nodes() -> (Arc<MemoryStore>, Node, Node, SessionId, SessionId) {
    let store = Arc::new(MemoryStore::new());
    let (here, there) = (Node::over(&store), Node::over(&store));
    assert_eq!(here.pages.join(&here.run.records), Reach::AllNodes);
    assert_eq!(there.pages.join(&there.run.records), Reach::AllNodes);
    let (ann, guest) = (id("ann-s-session"), id("a-guest-s-session"));
    for (id, sum) in [(&ann, 2), (&guest, 1)] {
        here.run.sessions.start(id).await.unwrap();
        here.run.sessions.call(id, crate::durable::Add(sum)).await.unwrap();
    }
    (store, here, there, ann, guest)
}

#[tokio::test]
async fn events_reach_the_pages_of_all_nodes_in_their_order_and_once() {
    let (_store, here, there, ann, guest) = two_nodes().await;
    // One that was open before its node joined a second time, which does nothing.
    let mut pages = vec![here.page(&ann).await, there.page(&ann).await, there.page(&guest).await];
    assert_eq!(there.pages.join(&there.run.records), Reach::AllNodes);
    for n in 0..50 {
        assert_eq!(here.pages.push(&ann, "one", &n).unwrap(), 1, "on this node");
        assert_eq!(here.pages.push_to_user("ann", "user", &n).unwrap(), 1);
        assert_eq!(here.pages.push_to_all("all", &n).unwrap(), 1);
        for (at, names) in [&["one", "user", "all"][..], &["one", "user", "all"], &["all"]]
            .iter()
            .enumerate()
        {
            for name in *names {
                let event = pages[at].frame("event").await;
                assert_eq!((&event["name"], &event["data"]), (&json!(name), &json!(n)), "page {at}");
            }
        }
    }
    assert_eq!(there.pages.push(&guest, "back", &1).unwrap(), 1);
    assert_eq!(pages[2].frame("event").await["name"], "back");
    // Whatever else would come by now, had anything come twice.
    there.pages.push_to_all("last", &0).unwrap();
    for page in &mut pages {
        assert_eq!(page.frame("event").await["name"], "last");
    }
}

#[tokio::test]
async fn a_session_whose_id_changes_is_reached_under_its_new_one() {
    let (_store, here, there, ann, _) = two_nodes().await;
    drop(there.page(&ann).await);
    let moved = here.run.sessions.rotate(&ann).await.unwrap();
    let mut page = there.page(&moved).await;
    here.pages.push(&ann, "old", &1).unwrap();
    here.pages.push(&moved, "new", &1).unwrap();
    assert_eq!(page.frame("event").await["name"], "new");
}

#[tokio::test]
async fn an_event_that_is_too_large_for_other_nodes_is_told_to_nobody() {
    let (_store, here, there, ann, _) = two_nodes().await;
    let (mut page, mut other) = (here.page(&ann).await, there.page(&ann).await);
    let much = "x".repeat(8_000);
    match here.pages.push_to_all("much", &much) {
        Err(PushError::TooLarge { bytes, max }) => assert!(bytes > 8_000 && max < 8_000, "{bytes} of {max}"),
        other => panic!("{other:?}"),
    }
    here.pages.push_to_all("little", &1).unwrap();
    assert_eq!(page.frame("event").await["name"], "little");
    assert_eq!(other.frame("event").await["name"], "little");
    // Where nobody is joined, there is no such limit.
    let alone = Site::new();
    let client = alone.visitor().await;
    let mut page = alone.open(&client).await;
    page.greeted().await;
    alone.live.pages().push_to_all("much", &much).unwrap();
    assert_eq!(page.frame("event").await["data"], much);
}

#[tokio::test]
async fn no_id_goes_to_other_nodes_and_what_is_not_understood_is_passed_over() {
    let (store, here, there, ann, _) = two_nodes().await;
    let channel = store.channel().unwrap();
    let mut messages = channel.subscribe();
    let mut page = there.page(&ann).await;
    let strange = [
        "",
        "{}",
        "\u{1F600}",
        r#"{"from":1,"number":0,"to":{"session":"x"},"name":"a","data":1}"#,
    ];
    channel.send(strange.map(str::to_owned).to_vec()).await.unwrap();
    here.pages.push(&ann, "one", &1).unwrap();
    assert_eq!(page.frame("event").await["name"], "one");
    for _ in strange {
        messages.next().await.unwrap();
    }
    let sent = messages.next().await.unwrap();
    assert!(sent.contains("\"one\"") && !sent.contains(ann.expose()), "{sent}");
}

#[tokio::test]
async fn a_store_without_a_channel_says_so_and_its_pages_are_told_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = session_process_sqlite::SqliteStore::open(folder.path().join("sessions.db"))
        .await
        .unwrap();
    let records = session_process::records::SessionRecords::builder(store)
        .build()
        .unwrap();
    let site = Site::new();
    assert_eq!(site.live.pages().join(&records), Reach::ThisNode);
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    assert_eq!(site.live.pages().push_to_all("x", &1).unwrap(), 1);
    assert_eq!(page.frame("event").await["name"], "x");
}

#[tokio::test]
async fn nothing_goes_on_for_pages_that_are_gone() {
    let (_store, here, there, ann, _) = two_nodes().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let pages = Pages::new();
    pages.join(&here.run.records);
    assert_eq!(tasks(), before + 1);
    drop(pages);
    // It notices in its turn.
    while tasks() > before {
        tokio::task::yield_now().await;
    }
    here.pages.push(&ann, "x", &1).unwrap();
    drop(there);
}

/// From a node that is not there.
const FROM_AFAR: &str = r#"{"from":1,"number":0,"to":"all","name":"afar","data":1}"#;

#[tokio::test]
async fn it_listens_when_it_has_joined() {
    let store = Arc::new(MemoryStore::new());
    let node = Node::over(&store);
    let ann = id("ann-s-session");
    node.run.sessions.start(&ann).await.unwrap();
    let mut page = node.page(&ann).await;
    node.pages.join(&node.run.records);
    // This doesn't wait for anything, so nothing else runs meanwhile.
    store.channel().unwrap().send(vec![FROM_AFAR.to_owned()]).await.unwrap();
    node.pages.push_to_all("here", &1).unwrap();
    let names = [page.frame("event").await, page.frame("event").await].map(|event| event["name"].clone());
    assert_eq!(names, ["here", "afar"]);
}

#[tokio::test]
async fn a_node_whose_exchange_is_gone_tells_its_own_pages_and_can_join_again() {
    let store = Arc::new(MemoryStore::new());
    let (here, there) = (Node::over(&store), Node::over(&store));
    there.pages.join(&there.run.records);
    let (pages, records) = (here.pages.clone(), here.run.records.clone());
    let short = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        assert_eq!(pages.join(&records), Reach::AllNodes);
    });
    short.join().unwrap();
    let ann = id("ann-s-session");
    here.run.sessions.start(&ann).await.unwrap();
    let (mut page, mut other) = (here.page(&ann).await, there.page(&ann).await);
    // Too large for other nodes, of which there are none.
    let much = "x".repeat(8_000);
    assert_eq!(here.pages.push(&ann, "here", &much).unwrap(), 1);
    assert_eq!(page.frame("event").await["name"], "here");

    assert_eq!(here.pages.join(&here.run.records), Reach::AllNodes);
    here.pages.push(&ann, "both", &1).unwrap();
    assert_eq!(page.frame("event").await["name"], "both");
    assert_eq!(other.frame("event").await["name"], "both");
    there.pages.push(&ann, "back", &1).unwrap();
    assert_eq!(page.frame("event").await["name"], "back");
}

#[tokio::test]
async fn whoever_joins_over_another_store_leaves_the_first() {
    let (_store, here, there, ann, _) = two_nodes().await;
    let mut page = there.page(&ann).await;
    let elsewhere = Arc::new(MemoryStore::new());
    let far = Node::over(&elsewhere);
    far.pages.join(&far.run.records);
    far.run.sessions.start(&ann).await.unwrap();
    let mut other = far.page(&ann).await;
    assert_eq!(here.pages.join(&far.run.records), Reach::AllNodes);
    here.pages.push(&ann, "one", &1).unwrap();
    assert_eq!(other.frame("event").await["name"], "one");
    there.pages.push(&ann, "two", &1).unwrap();
    assert_eq!(
        page.frame("event").await["name"],
        "two",
        "and not the first, which went elsewhere"
    );
}
