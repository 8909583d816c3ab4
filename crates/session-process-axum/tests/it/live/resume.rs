//! Pages that come back.

use super::*;

fn patched() -> Site {
    Site::with(Live::with_patches)
}

/// Where a page was that has been there and is gone.
async fn left(site: &Site, client: &Client) -> String {
    let mut page = site.open(client).await;
    page.greeted().await;
    page.at.clone().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_page_that_missed_nothing_is_told_nothing_again() {
    let site = Site::new();
    let client = site.visitor().await;
    let at = left(&site, &client).await;
    let mut page = Page::back(&site.app, &client, &at).await;
    assert_eq!(page.frame("hello").await["resumed"], true);
    assert_eq!(page.waiting().await, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_was_away_gets_what_it_missed() {
    let site = patched();
    let mut client = site.visitor().await;
    let at = left(&site, &client).await;
    client.post("/add/1").await;
    let mut page = Page::back(&site.app, &client, &at).await;
    page.frame("hello").await;
    // As short as its patch, so it is the whole.
    assert_eq!(page.frame("state").await["data"], total(2));
}

#[tokio::test(start_paused = true)]
async fn after_a_while_it_is_the_whole_state_anew() {
    let site = patched();
    let mut client = site.visitor().await;
    let at = left(&site, &client).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    client.post("/add/1").await;
    let mut page = Page::back(&site.app, &client, &at).await;
    assert_eq!(page.frame("hello").await["resumed"], false);
    assert_eq!(page.frame("state").await["data"], total(2));
    assert_ne!(page.at.unwrap().split('-').next(), at.split('-').next());
}

#[tokio::test(start_paused = true)]
async fn nonsense_for_a_place_is_the_whole_state() {
    let site = patched();
    let client = site.visitor().await;
    for at in ["", "-", "x-1", "0000000000000000-1", "🦀-99999999999999999999", "a-b-c"] {
        let mut page = Page::back(&site.app, &client, &at.replace('🦀', "c")).await;
        assert_eq!(page.greeted().await, total(1), "{at}");
    }
}
