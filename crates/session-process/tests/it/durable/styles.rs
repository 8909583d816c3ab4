//! The other two styles of state are durable by choice.

use session_process::{
    Attributes,
    redux::{Reducer, Store},
};

use super::*;

#[tokio::test]
async fn attributes_are_durable_where_there_are_records() {
    let node = Node::<Attributes>::new();
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    node.sessions.insert(&id, "theme", "dark").await.unwrap();
    let next = node.again();
    let theme: Option<String> = next.sessions.get(&id, "theme").await.unwrap();
    assert_eq!(theme.as_deref(), Some("dark"));
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Count(i64);

impl Reducer for Count {
    type Action = i64;
    const DURABILITY: Durability<Store<Self>> = Durability::write_through(Schema::json("count", 1));

    fn reduce(&mut self, n: &i64) {
        self.0 += n;
    }
}

#[tokio::test]
async fn a_store_comes_back_with_its_history() {
    let node = Node::<Store<Count>>::new();
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    for n in 1..=3 {
        node.sessions.dispatch(&id, n).await.unwrap();
    }
    let next = node.again();
    assert_eq!(next.sessions.state(&id).await.unwrap().0, 6);
    next.sessions.undo(&id).await.unwrap();
    assert_eq!(next.sessions.state(&id).await.unwrap().0, 3);
}

#[tokio::test]
async fn a_subscription_hears_of_durable_states_alone() {
    let node = Node::<Store<Count>>::new();
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    let mut subscription = node.sessions.subscribe(&id, |count: &Count| count.0).await.unwrap();
    assert_eq!(subscription.next().await, Some(0));

    let gate = node.store.gate("commit");
    let dispatch = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.dispatch(&id, 1).await.map(|_| ()) })
    };
    gate.reached().await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let early = tokio::select! {
        biased;
        value = subscription.next() => Some(value),
        () = async {} => None,
    };
    assert_eq!(early, None);
    node.store.ungate("commit");
    dispatch.await.unwrap().unwrap();
    assert_eq!(subscription.next().await, Some(1));
}
