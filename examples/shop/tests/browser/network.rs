//! Servers that restart, networks that are cut, pages that were away.

use crate::{
    driver::Driver,
    shops::{self, Network, Program},
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
