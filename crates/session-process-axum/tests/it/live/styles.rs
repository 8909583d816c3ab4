//! The same pages over the three styles of state.

use session_process::{
    Attributes, Builder,
    redux::{Reducer, Setup, Store},
};

use super::*;

async fn page<P: session_process::Process>(live: &Live<P>, sessions: &Sessions<P>) -> (Router, Client, Page) {
    let app: Router = live.routes("/live").layer(SessionLayer::new(sessions.clone()));
    let client = Client::with_id(&app, &id("room"));
    let page = Page::open(&app, &client).await;
    (app, client, page)
}

#[tokio::test(start_paused = true)]
async fn a_reducers_state_is_live_and_takes_actions_by_name() {
    #[derive(Clone, Default)]
    struct Todo(Vec<String>);
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Action {
        Add(String),
        Clear,
    }
    impl Reducer for Todo {
        type Action = Action;
        fn reduce(&mut self, action: &Action) {
            match action {
                Action::Add(text) => self.0.push(text.clone()),
                Action::Clear => self.0.clear(),
            }
        }
    }
    let builder: Builder<Store<Todo>> = Sessions::builder();
    let sessions = builder
        .extension(Setup::<Todo>::new().accept_by_name(["add"]))
        .build()
        .unwrap();
    sessions.start(&id("room")).await.unwrap();
    let live = Live::of_store(&sessions, |todo: &Todo| todo.0.clone()).with_actions();
    let (app, client, mut page) = page(&live, &sessions).await;
    assert_eq!(page.greeted().await, json!([]));
    let add = json!({"t": "send", "id": 1, "name": "add", "data": "tea"});
    assert_eq!(up(&app, &client, &add).await.0, StatusCode::OK);
    assert_eq!(page.frame("state").await["data"], json!(["tea"]));
    let (status, _) = up(&app, &client, &json!({"t": "send", "name": "clear"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "not one that pages may send");
    sessions.dispatch(&id("room"), Action::Clear).await.unwrap();
    assert_eq!(page.frame("state").await["data"], json!([]));
    sessions.undo(&id("room")).await.unwrap();
    assert_eq!(page.frame("state").await["data"], json!(["tea"]));
}

#[tokio::test(start_paused = true)]
async fn attributes_are_live() {
    let sessions = <Sessions>::builder().build().unwrap();
    sessions.start(&id("room")).await.unwrap();
    let live = Live::new(&sessions, Attributes::to_json);
    let (_app, _client, mut page) = page(&live, &sessions).await;
    assert_eq!(page.greeted().await, json!({}));
    sessions.insert(&id("room"), "theme", "dark").await.unwrap();
    assert_eq!(page.frame("state").await["data"], json!({"theme": "dark"}));
    let _: Option<String> = sessions.get(&id("room"), "theme").await.unwrap();
    assert_eq!(page.waiting().await, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn patches_are_sent_where_they_are_shorter() {
    let sessions = <Sessions>::builder().build().unwrap();
    sessions.start(&id("room")).await.unwrap();
    sessions.insert(&id("room"), "long", "x".repeat(100)).await.unwrap();
    let live = Live::new(&sessions, Attributes::to_json)
        .with_patches()
        .with_min_interval(Duration::ZERO);
    let (_app, _client, mut page) = page(&live, &sessions).await;
    let mut seen = page.greeted().await;
    sessions.insert(&id("room"), "n", 1).await.unwrap();
    sessions.insert(&id("room"), "n", 2).await.unwrap();
    for n in 1..=2 {
        let patch = page.frame("patch").await;
        assert_eq!((&patch["from"], &patch["rev"]), (&json!(n), &json!(n + 1)));
        json_patch::merge(&mut seen, &patch["data"]);
    }
    assert_eq!(seen["n"], 2);
    let at = page.at.clone().unwrap();
    drop(page);
    sessions.remove::<i64>(&id("room"), "n").await.unwrap();
    let app: Router = live.routes("/live").layer(SessionLayer::new(sessions.clone()));
    let mut page = Page::back(&app, &Client::with_id(&app, &id("room")), &at).await;
    assert_eq!(page.frame("hello").await["resumed"], true);
    let patch = page.frame("patch").await;
    assert_eq!(patch["data"], json!({"n": null}));
}
