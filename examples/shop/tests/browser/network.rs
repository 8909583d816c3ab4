//! Servers that restart, networks that are cut, pages that were away.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use session_process::store::SessionStore;

use crate::{
    driver::Driver,
    shops::{self, Away, Network, Program},
};

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_back_to_a_server_that_was_killed_and_show_the_current_state() {
    let (driver, folder) = (Driver::start(), tempfile::tempdir().unwrap());
    let server = Program::start(folder.path());
    let network = Network::to(server.address).await;
    let browser = driver.browser().await;
    browser.open(&network.url).await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    browser.live().await;
    drop(server);
    browser.until("document.documentElement.dataset.live !== 'open'").await;
    browser.shot("offline").await;
    let server = Program::start(folder.path());
    network.mend(server.address);
    browser.live().await;
    browser.count(1).await;
    browser.click("[data-add]").await;
    browser.count(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_network_was_cut_shows_what_it_missed() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let network = Network::to(shop.address).await;
    let browser = driver.browser().await;
    browser.open(&network.url).await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    browser.live().await;
    network.cut();
    browser.until("document.documentElement.dataset.live !== 'open'").await;
    let id = shop.shop.sessions().list().pop().unwrap();
    let add = session_process::redux::dispatch_by_name("preferences.gift_wrap", true.into());
    shop.shop.sessions().call(&id, add).await.unwrap().unwrap();
    network.mend(shop.address);
    browser.live().await;
    browser.until("document.querySelector('#gift-wrap').checked").await;
}

/// It comes back to a node that has not seen its session yet, and can't ask for it.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_a_page_keeps_trying_and_then_it_is_there_with_its_session() {
    let driver = Driver::start();
    let store = Arc::new(Away::default());
    let first = shops::node(Arc::clone(&store) as Arc<dyn SessionStore>).await;
    let network = Network::to(first.address).await;
    let browser = driver.browser().await;
    browser.open(&network.url).await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    browser.live().await;
    // Counts its tries, and how each was answered.
    let count = "(() => { window.answers = []; const real = window.fetch; window.fetch = async (...request) => { \
                 const answer = await real(...request); window.answers.push(answer.status); return answer; }; })()";
    browser.eval(count).await;
    store.is_away.store(true, SeqCst);
    let second = shops::node(Arc::clone(&store) as Arc<dyn SessionStore>).await;
    network.mend(second.address);
    browser
        .until("window.answers.filter((status) => status === 503).length >= 2")
        .await;
    assert_eq!(
        browser.eval("document.querySelector('#ended').hidden").await,
        true,
        "nobody is signed out"
    );
    browser.shot("store-away").await;
    store.is_away.store(false, SeqCst);
    browser.live().await;
    browser.count(1).await;
    browser.click("[data-add]").await;
    browser.count(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_away_shows_the_current_state() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    browser.click("[data-add]").await;
    browser.live().await;
    let id = shop.shop.sessions().list().pop().unwrap();
    let wrap = |on: bool| session_process::redux::dispatch_by_name("preferences.gift_wrap", on.into());
    // To another page, and back by the button.
    browser.open("about:blank").await;
    shop.shop.sessions().call(&id, wrap(true)).await.unwrap().unwrap();
    browser.client.back().await.unwrap();
    browser.until("document.querySelector('#gift-wrap')?.checked").await;
    browser.live().await;
    // Frozen, as a phone does it.
    browser
        .devtools("Page.setWebLifecycleState", serde_json::json!({ "state": "frozen" }))
        .await;
    shop.shop.sessions().call(&id, wrap(false)).await.unwrap().unwrap();
    browser
        .devtools("Page.setWebLifecycleState", serde_json::json!({ "state": "active" }))
        .await;
    browser.until("!document.querySelector('#gift-wrap').checked").await;
    browser.live().await;
}
