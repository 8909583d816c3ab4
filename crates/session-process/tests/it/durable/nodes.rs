//! Until a session has one process in the whole cluster, two nodes may each run one: nothing is overwritten.

use session_process::{CallError, SaveError};

use super::*;

#[tokio::test]
async fn of_two_nodes_that_run_one_session_the_later_writer_gives_way_and_repeats() {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    assert_eq!(a.sessions.call(&id, Add(1)).await.unwrap(), 1);
    let error = b.sessions.call(&id, Add(10)).await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::NotSaved {
                source: SaveError::Conflict,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        b.sessions.call(&id, Total).await.unwrap(),
        1,
        "it has taken over the other's state"
    );
    assert_eq!(b.sessions.call(&id, Add(10)).await.unwrap(), 11);
}

#[tokio::test]
async fn two_nodes_that_repeat_lose_no_change() {
    let (a, id) = Node::started().await;
    let b = a.again();
    let work = |node: &Node| {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                while let Err(error) = sessions.call(&id, Add(1)).await {
                    assert_eq!(error.kind(), "not_saved", "{error}");
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let both = [work(&a), work(&b)];
    for work in both {
        work.await.unwrap();
    }
    assert_eq!(a.stored(&id).await.unwrap(), r#"{"sum":100}"#);
}
