//! Sessions end: one, many, all but one, here and elsewhere.

use std::sync::Mutex;

use session_process::{
    Event,
    records::{Because, Ending, NewSession, RecordError, RecordHandle, SessionRecords},
    store::{OwnerLimit, SessionKey},
};

use super::*;

const NO_LIMIT: Option<OwnerLimit> = None;

type Told = Arc<Mutex<Vec<(SessionKey, Because)>>>;

fn endings(records: &SessionRecords) -> Told {
    let told = Told::default();
    let tell = Arc::clone(&told);
    records.on_ending(move |ending| {
        if let Ending::Removed { key, because, .. } = ending {
            tell.lock().unwrap().push((*key, *because));
        }
    });
    told
}

#[tokio::test]
async fn a_user_with_over_a_thousand_sessions_is_signed_out_everywhere_on_every_node() {
    let bench = Bench::with(|builder| builder.sessions_per_user(NO_LIMIT));
    let other = bench.another();
    let (here, there) = (endings(&bench.records), endings(&other));
    let mut ids = Vec::new();
    for _ in 0..1_200 {
        ids.push(bench.session().await);
    }
    let bobs = bench.create(NewSession::for_user("bob")).await.id;
    assert_eq!(bench.records.delete_all(&user("ada")).await.unwrap(), 1_200);
    assert!(bench.records.get(&bobs).await.unwrap().is_some());
    assert_eq!(bench.store.inner.len(), 1);
    assert_eq!(
        here.lock().unwrap().len(),
        1_200,
        "each is told, before the deletion returns"
    );
    crate::support::until(|| there.lock().unwrap().len() == 1_200).await;
    assert!(
        there
            .lock()
            .unwrap()
            .iter()
            .all(|(_, because)| *because == Because::Elsewhere)
    );
    for id in &ids {
        assert!(bench.records.get(id).await.unwrap().is_none());
        assert!(other.get(id).await.unwrap().is_none());
    }
    assert_eq!(here.lock().unwrap().len(), 1_200, "and once");
}

#[tokio::test]
async fn all_but_mine_a_groups_and_everybodys() {
    let bench = Bench::new();
    let mine = bench.create(NewSession::for_user("ada").group("acme")).await.id;
    let phone = bench.create(NewSession::for_user("ada")).await.id;
    let bobs = bench.create(NewSession::for_user("bob").group("acme")).await.id;
    let alone = bench.create(NewSession::new()).await.id;
    assert_eq!(bench.records.delete_all_but(&user("ada"), &mine).await.unwrap(), 1);
    assert!(bench.records.get(&phone).await.unwrap().is_none());
    assert!(bench.records.get(&mine).await.unwrap().is_some());
    let acme = Owner::Group(OwnerText::new("acme").unwrap());
    assert_eq!(bench.records.delete_all(&acme).await.unwrap(), 2);
    assert!(bench.records.get(&bobs).await.unwrap().is_none());
    assert_eq!(bench.records.delete_all(&Owner::Everyone).await.unwrap(), 1);
    assert!(bench.records.get(&alone).await.unwrap().is_none());
    assert!(!bench.records.delete(&alone).await.unwrap());
}

#[tokio::test]
async fn a_session_that_was_given_to_somebody_else_meanwhile_stays() {
    let bench = Bench::new();
    let id = bench.session().await;
    let gate = bench.store.gate("listed");
    let records = bench.records.clone();
    let delete = begun(async move { records.delete_all(&user("ada")).await }).await;
    gate.reached().await;
    bench.records.set_user(&id, Some("bob")).await.unwrap();
    gate.open_for_all();
    assert_eq!(delete.await.unwrap().unwrap(), 0);
    assert!(bench.records.get(&id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_session_that_is_changed_all_the_time_is_deleted_all_the_same() {
    let bench = Bench::new();
    bench.session().await;
    bench.store.meddles.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(bench.records.delete_all(&user("ada")).await.unwrap(), 1);
    assert!(bench.store.inner.is_empty());
}

#[tokio::test]
async fn the_list_shows_devices_and_ends_one_by_its_handle_but_only_ones_own() {
    let bench = Bench::new();
    let laptop = bench
        .create(NewSession::for_user("ada").label("Firefox on Linux"))
        .await;
    bench.clock.advance(MINUTE);
    let phone = bench.create(NewSession::for_user("ada").label("Safari on iOS")).await;
    let bobs = bench.create(NewSession::for_user("bob")).await;
    bench.clock.advance(MINUTE);
    bench.records.get(&laptop.id).await.unwrap();

    let list = bench.records.list(&user("ada"), None, 10).await.unwrap();
    assert_eq!(list.len(), 2);
    let of = |id: &SessionId| {
        list.iter()
            .find(|listed| listed.handle == RecordHandle::of(id))
            .unwrap()
    };
    let listed = of(&laptop.id);
    assert_eq!(listed.label.as_ref().unwrap().as_str(), "Firefox on Linux");
    assert_eq!(listed.created_at, laptop.session.created_at());
    assert_eq!(
        listed.accessed_at,
        bench.records.now(),
        "though the store was not told yet"
    );
    let page = bench.records.list(&user("ada"), Some(list[0].key), 10).await.unwrap();
    assert_eq!(page.len(), 1);

    let theirs = RecordHandle::of(&bobs.id);
    assert!(!bench.records.delete_listed(&user("ada"), theirs).await.unwrap());
    assert!(bench.records.get(&bobs.id).await.unwrap().is_some());
    assert!(
        bench
            .records
            .delete_listed(&user("ada"), of(&phone.id).handle)
            .await
            .unwrap()
    );
    assert!(bench.records.get(&phone.id).await.unwrap().is_none());
    let shown = format!("{list:?} {:?} {:?}", laptop.session, bench.records);
    assert!(!shown.contains(laptop.id.expose()));
}

#[tokio::test]
async fn an_attribute_is_removed_from_all_of_a_users_sessions() {
    let bench = Bench::new();
    let one = bench
        .create(NewSession::for_user("ada").attribute("otp", 1).attribute("n", 0))
        .await
        .id;
    let two = bench.create(NewSession::for_user("ada").attribute("otp", 2)).await.id;
    bench.create(NewSession::for_user("ada")).await;
    let bobs = bench.create(NewSession::for_user("bob").attribute("otp", 3)).await.id;
    assert_eq!(bench.records.remove_attribute(&user("ada"), "otp").await.unwrap(), 2);
    for id in [&one, &two] {
        assert!(bench.records.get(id).await.unwrap().unwrap().attribute("otp").is_none());
    }
    assert_eq!(
        bench.records.get(&bobs).await.unwrap().unwrap().get("otp").unwrap(),
        Some(3)
    );
}

#[tokio::test]
async fn a_rotated_session_goes_on_under_its_new_id_alone() {
    let bench = Bench::new();
    let other = bench.another();
    let id = bench.session().await;
    let all_of = |records: &SessionRecords| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        records.on_ending(move |ending| tell.lock().unwrap().push(ending.clone()));
        told
    };
    let (told, there) = (all_of(&bench.records), all_of(&other));
    add(&bench.records, &id).await.unwrap();
    assert_eq!(read(&other, &id).await, Some(1));
    let new = bench.records.rotate(&id).await.unwrap();
    assert!(bench.records.get(&id).await.unwrap().is_none());
    assert_eq!(read(&bench.records, &new).await, Some(1));
    crate::support::until(|| !there.lock().unwrap().is_empty()).await;
    assert!(other.get(&id).await.unwrap().is_none());
    assert_eq!(add(&other, &new).await.unwrap(), 2);
    let rotated = Ending::Rotated {
        from: (&id).into(),
        to: (&new).into(),
    };
    for told in [told, there] {
        let told = told.lock().unwrap();
        assert_eq!(*told, std::slice::from_ref(&rotated), "no end is told of what goes on");
    }
    let taken = bench.session().await;
    assert!(matches!(
        bench.records.rotate_to(&new, &taken).await,
        Err(RecordError::Exists)
    ));
    assert!(matches!(bench.records.rotate(&id).await, Err(RecordError::Missing)));
}

#[tokio::test]
async fn five_hundred_expired_sessions_are_cleaned_up_in_slices_and_told_on_every_node() {
    let bench = Bench::with(|builder| builder.sessions_per_user(NO_LIMIT).idle_timeout(MINUTE));
    let other = bench.another();
    let mut ids = Vec::new();
    for _ in 0..500 {
        let id = bench.session().await;
        other.get(&id).await.unwrap();
        ids.push(id);
    }
    let (here, there) = (endings(&bench.records), endings(&other));
    bench.clock.advance(MINUTE);
    assert_eq!(bench.records.clean_up().await.unwrap(), 500);
    assert!(bench.store.inner.is_empty());
    assert!(
        here.lock()
            .unwrap()
            .iter()
            .all(|(_, because)| *because == Because::Expired)
    );
    crate::support::until(|| there.lock().unwrap().len() == 500).await;
    for id in &ids {
        assert!(other.get(id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn cleanup_goes_on_after_errors_of_the_store() {
    let bench = Bench::with(|builder| builder.cleanup_interval(MINUTE).idle_timeout(MINUTE));
    let mut events = bench.records.events();
    bench.session().await;
    bench.store.fail("delete_expired", 3);
    let records = bench.records.clone();
    let found = tokio::spawn(async move {
        let mut failures = 0;
        let cleaned = events.find(|event| match event {
            Event::RecordCleanupFailed { error } => {
                assert_eq!(*error, "unavailable");
                failures += 1;
                None
            }
            Event::RecordsCleaned { expired, .. } => Some(*expired),
            _ => None,
        });
        (cleaned.await, failures)
    });
    while !found.is_finished() {
        bench.clock.advance(SECOND);
        tokio::task::yield_now().await;
    }
    assert_eq!(found.await.unwrap(), (Some(1), 3));
    drop(records);
}

#[tokio::test]
async fn an_observer_that_panics_is_in_nobodys_way() {
    let bench = Bench::new();
    bench.records.on_ending(|_| panic!("as told"));
    let told = endings(&bench.records);
    let id = bench.session().await;
    assert!(bench.records.delete(&id).await.unwrap());
    assert_eq!(*told.lock().unwrap(), [((&id).into(), Because::Deleted)]);
}

#[tokio::test]
async fn an_id_that_lives_again_is_not_ended_by_late_news() {
    let bench = Bench::new();
    let told = endings(&bench.records);
    let id: SessionId = "room-42".parse().unwrap();
    for _ in 0..3 {
        bench
            .records
            .create_with_id(id.clone(), NewSession::new())
            .await
            .unwrap();
        assert!(matches!(
            bench.records.create_with_id(id.clone(), NewSession::new()).await,
            Err(RecordError::Exists)
        ));
        assert!(bench.records.delete(&id).await.unwrap());
    }
    bench
        .records
        .create_with_id(id.clone(), NewSession::new())
        .await
        .unwrap();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(told.lock().unwrap().len(), 3);
    assert!(bench.records.get(&id).await.unwrap().is_some());
}
