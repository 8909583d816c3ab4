//! Snapshots of another type, of another version, and of nobody.

use session_process::{
    CallError, LoadError,
    store::{Change, Edit, Expect, Op, Snapshot},
};

use super::*;

/// What `Ledger` was in its first version, and how it is read now.
#[derive(Serialize, Deserialize)]
struct Renamed {
    total: u64,
}

impl Process for Renamed {
    const DURABILITY: Durability<Self> =
        Durability::write_through(Schema::json("ledger", 2).upgrade(|version, bytes| match version {
            1 => Ok(Self {
                total: serde_json::from_slice::<Ledger>(bytes)?.sum,
            }),
            _ => Err("there was no such version".into()),
        }));
}

impl Handle<Total> for Renamed {
    type Reply = u64;
    async fn handle(&mut self, _: Total, _: &mut Context<Self>) -> u64 {
        self.total
    }
}

async fn put(node: &Node, id: &SessionId, snapshot: Snapshot) {
    let edit = Edit {
        snapshot: Some(Some(snapshot)),
        ..Edit::default()
    };
    let change = Change {
        key: SessionKey::of(id),
        expect: Expect::default(),
        op: Op::Edit(Box::new(edit)),
    };
    node.store
        .inner
        .commit(vec![change])
        .await
        .unwrap()
        .pop()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_newer_version_of_a_type_reads_what_the_older_one_wrote() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    let next = node.again();
    let renamed = next.sessions.of::<Renamed>();
    assert_eq!(renamed.call(&id, Total).await.unwrap(), 7);
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"total":7}"#);
    assert_eq!(node.record(&id).await.unwrap().snapshot.unwrap().schema, 2);
}

#[tokio::test]
async fn a_snapshot_that_nobody_can_read_is_kept_and_reported() {
    let (node, id) = Node::started().await;
    let damaged = |kind: &str, schema, bytes: &[u8]| Snapshot {
        kind: kind.into(),
        schema,
        bytes: bytes.into(),
    };
    for (snapshot, what) in [
        (damaged("basket", 1, b"{}"), "kind"),
        (damaged("ledger", 1, b"\xff\x00 not JSON"), "unreadable"),
        (damaged("ledger", 9, br#"{"sum":1}"#), "unreadable"),
    ] {
        put(&node, &id, snapshot.clone()).await;
        let next = node.again();
        match next.sessions.call(&id, Total).await {
            Err(CallError::NotLoaded { source, .. }) => assert_eq!(source.kind(), what),
            other => panic!("{what}: {other:?}"),
        }
        let error = next.sessions.start_with(&id, New).await.unwrap_err();
        assert_eq!(error.kind(), "not_loaded");
        assert_eq!(node.record(&id).await.unwrap().snapshot, Some(snapshot), "{what}");
    }
}

#[tokio::test]
async fn the_error_names_both_types() {
    let (node, id) = Node::started().await;
    put(
        &node,
        &id,
        Snapshot {
            kind: "basket".into(),
            schema: 1,
            bytes: b"{}"[..].into(),
        },
    )
    .await;
    let Err(CallError::NotLoaded { source, .. }) = node.again().sessions.call(&id, Total).await else {
        panic!("a basket is no ledger");
    };
    assert!(matches!(source, LoadError::Kind { .. }));
    assert_eq!(
        source.to_string(),
        r#"the session's state is a "basket", not a "ledger""#
    );
}

#[tokio::test]
async fn a_record_without_a_process_gets_one() {
    let node = Node::<Ledger>::new();
    let new = session_process::records::NewSession::for_user("ada");
    let created = node.records.create(new).await.unwrap();
    assert!(node.sessions.start_with(&created.id, New).await.unwrap());
    assert_eq!(node.sessions.call(&created.id, Add(1)).await.unwrap(), 1);
    let record = node.record(&created.id).await.unwrap();
    assert_eq!(record.user_id.unwrap().as_str(), "ada");
}
