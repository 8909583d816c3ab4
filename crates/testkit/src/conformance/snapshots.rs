//! The state of a process, as bytes.

use session_process::store::{Create, Edit, Snapshot};

use super::{
    StoreUnderTest,
    fixture::{created, done, edit, labelled, snapshot, there, touch, with_attributes},
};

fn with(snapshot: Option<Snapshot>) -> Edit {
    Edit {
        snapshot: Some(snapshot),
        ..Edit::default()
    }
}

pub async fn a_snapshot_is_set_replaced_and_removed(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let other = Snapshot {
        kind: "other \u{1F980}".into(),
        schema: u32::MAX,
        bytes: b"3".as_slice().into(),
    };
    for state in [
        Some(snapshot(b"1")),
        Some(snapshot(b"22")),
        Some(other),
        None,
        Some(snapshot(b"")),
    ] {
        done(&store, key, edit(with(state.clone()))).await;
        assert_eq!(there(&store, key).await.snapshot, state);
    }
}

pub async fn other_edits_leave_the_snapshot_alone(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(
        &store,
        Create {
            snapshot: Some(snapshot(b"state")),
            ..Create::default()
        },
    )
    .await;
    done(&store, key, edit(labelled("x"))).await;
    done(&store, key, edit(with_attributes(&[("a", "1")]))).await;
    touch(&store, key, store.now()).await;
    assert_eq!(there(&store, key).await.snapshot, Some(snapshot(b"state")));
}

pub async fn any_bytes_and_any_size_are_kept(under: impl StoreUnderTest) {
    let store = under.store();
    let every_byte: Vec<u8> = (0..=255).collect();
    for bytes in [Vec::new(), vec![0], every_byte.clone(), every_byte.repeat(8192)] {
        let key = created(
            &store,
            Create {
                snapshot: Some(snapshot(&bytes)),
                ..Create::default()
            },
        )
        .await;
        assert_eq!(there(&store, key).await.snapshot, Some(snapshot(&bytes)));
        done(&store, key, edit(with(Some(snapshot(b"small"))))).await;
        done(&store, key, edit(with(Some(snapshot(&bytes))))).await;
        assert_eq!(there(&store, key).await.snapshot, Some(snapshot(&bytes)));
    }
}
