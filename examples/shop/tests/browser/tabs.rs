//! What is changed in one tab is seen in the other.

use std::time::Duration;

use session_process::redux;

use crate::{driver::Driver, shops};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_one_tab_is_seen_in_the_other() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    for transport in ["/", "/?ws"] {
        let browser = driver.browser().await;
        let url = format!("{}{transport}", shop.url);
        browser.open(&url).await;
        let first = browser.first_tab().await;
        let second = browser.tab(&url).await;
        // The session begins in the one, and the other hears of it.
        browser.click("[data-add]").await;
        browser.count(1).await;
        browser.front(&first).await;
        browser.count(1).await;
        browser.live().await;
        browser.click("[data-add]").await;
        browser.count(2).await;
        browser.shot("two-tabs-one").await;
        browser.front(&second).await;
        browser.count(2).await;
        browser.shot("two-tabs-other").await;
        browser.client.close_window().await.unwrap();
        browser.front(&first).await;
        // Whichever had the connection, the one that is left goes on.
        browser.click("[data-add]").await;
        browser.count(3).await;
        browser.live().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_one_node_is_seen_at_the_other() {
    let driver = Driver::start();
    let [here, there] = shops::nodes().await;
    let browser = driver.browser().await;
    // Cookies know no ports: it is one session.
    browser.open(&here.url).await;
    let first = browser.first_tab().await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    browser.live().await;
    let second = browser.tab(&there.url).await;
    browser.count(1).await;
    browser.live().await;
    browser.click("[data-add]").await;
    browser.count(2).await;
    browser.front(&first).await;
    browser.count(2).await;
    browser.click("li:nth-child(2) [data-add]").await;
    browser.count(3).await;
    browser.front(&second).await;
    browser.count(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_tells_its_pages_is_told_to_those_of_the_other() {
    let driver = Driver::start();
    let [here, there] = shops::nodes().await;
    let (one, two) = (driver.browser().await, driver.browser().await);
    one.open(&format!("{}/sessions", here.url)).await;
    one.sign_in("Ada").await;
    // To all: what was put into a cart.
    two.open(&there.url).await;
    two.click("[data-add]").await;
    two.live().await;
    let shown = "!document.querySelector('#just-taken').hidden";
    let third = driver.browser().await;
    third.open(&here.url).await;
    third.click("li:nth-child(2) [data-add]").await;
    third.live().await;
    two.until(shown).await;
    let name = third
        .eval("document.querySelectorAll('[data-item]')[1].dataset.name")
        .await;
    let told = format!("document.querySelector('#just-taken').textContent.includes({name})");
    two.until(&told).await;
    // To the sessions of a user: there is one more.
    one.open(&format!("{}/sessions", here.url)).await;
    one.until("document.querySelectorAll('#sessions li').length === 1")
        .await;
    one.live().await;
    two.sign_in("Ada").await;
    one.until("document.querySelectorAll('#sessions li').length === 2")
        .await;
}

/// A login gives the session another id, in the store; both tabs have the new cookie.
#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_at_one_node_is_signed_in_at_the_other_and_not_signed_out() {
    let driver = Driver::start();
    let [here, there] = shops::nodes().await;
    let browser = driver.browser().await;
    browser.open(&here.url).await;
    let first = browser.first_tab().await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    let second = browser.tab(&there.url).await;
    browser.count(1).await;
    browser.live().await;
    browser.front(&first).await;
    browser.sign_in("Ada").await;
    browser.front(&second).await;
    browser
        .until("document.querySelector('#user')?.textContent === 'Ada'")
        .await;
    browser.live().await;
    browser.click("[data-add]").await;
    browser.count(2).await;
    browser.front(&first).await;
    browser.count(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn line_18_a_renewal_of_the_id_is_noticed_by_no_tab() {
    let every = Duration::from_secs(600);
    let driver = Driver::start();
    let (shop, clock) = shops::timed(|limits| limits, |shop| shop.with_renewal(every, every / 20)).await;
    let browser = driver.browser().await;
    for transport in ["/", "/?ws"] {
        let url = format!("{}{transport}", shop.url);
        browser.open(&url).await;
        let first = browser.first_tab().await;
        browser.click("[data-add]").await;
        browser.live().await;
        let second = browser.tab(&url).await;
        browser.live().await;
        let count = "Number(document.querySelector('#count').textContent)";
        let before = browser.eval(count).await.as_u64().unwrap() as usize;
        let id = || shop.shop.sessions().list();
        let old = id();
        clock.advance(every);
        browser.click("[data-add]").await;
        browser.count(before + 1).await;
        assert_ne!(id(), old);
        assert_eq!(id().len(), 1);
        browser.front(&first).await;
        browser.count(before + 1).await;
        browser.live().await;
        // And when the old id is dead.
        clock.advance(every / 20);
        browser.click("[data-add]").await;
        for tab in [&first, &second] {
            browser.front(tab).await;
            browser.count(before + 2).await;
            browser.live().await;
            assert_eq!(browser.eval("document.querySelector('#ended').hidden").await, true);
        }
        assert_eq!(id().len(), 1);
        browser.client.close_window().await.unwrap();
        browser.front(&first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_browser_has_another_cart_and_sees_what_the_house_tells() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let (one, two) = (driver.browser().await, driver.browser().await);
    two.open(&shop.url).await;
    two.click("[data-add]").await;
    two.count(1).await;
    two.live().await;
    one.open(&shop.url).await;
    let item = "document.querySelectorAll('[data-item]')[2].dataset.name";
    let name = one.eval(item).await;
    one.click("li:nth-child(3) [data-add]").await;
    one.count(1).await;
    let told = format!("document.querySelector('#just-taken').textContent.includes({name})");
    two.until(&told).await;
    two.count(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_sessions_is_live() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let (one, two) = (driver.browser().await, driver.browser().await);
    one.open(&format!("{}/sessions", shop.url)).await;
    one.sign_in("Ada").await;
    one.until("document.querySelectorAll('#sessions li').length === 1")
        .await;
    two.open(&format!("{}/sessions", shop.url)).await;
    two.sign_in("Ada").await;
    one.until("document.querySelectorAll('#sessions li').length === 2")
        .await;
    one.shot("my-sessions").await;
    two.click("#logout").await;
    one.until("document.querySelectorAll('#sessions li').length === 1")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_developers_page_is_live_and_travels_in_time() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    let cart = browser.first_tab().await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    let developer = browser.tab(&format!("{}/developer", shop.url)).await;
    browser
        .until("document.querySelectorAll('#moments li').length === 2")
        .await;
    browser.front(&cart).await;
    browser.click("[data-add]").await;
    browser.count(2).await;
    browser.front(&developer).await;
    browser
        .until("document.querySelectorAll('#moments li').length === 3")
        .await;
    browser.click("#back").await;
    browser
        .until("document.querySelector('#where').textContent === '1 of 2'")
        .await;
    browser.shot("developer").await;
    browser.front(&cart).await;
    browser.count(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_changes_a_second_reach_a_slow_page_as_the_latest_state() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    browser.click("[data-add]").await;
    browser.live().await;
    let id = shop.shop.sessions().list().pop().unwrap();
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let wrap = |wrap: bool| redux::dispatch_by_name("preferences.gift_wrap", wrap.into());
    shop.shop.sessions().call(&id, wrap(true)).await.unwrap().unwrap();
    let before = resident();
    // The page does nothing but count for the whole time.
    let busy = browser
        .eval("(() => { const end = Date.now() + 5000; let n = 0; while (Date.now() < end) n++; return n > 0; })()");
    let changes = async {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        for n in 0..801 {
            every.tick().await;
            shop.shop.sessions().call(&id, wrap(n % 2 == 0)).await.unwrap().unwrap();
        }
    };
    tokio::join!(busy, changes);
    let grown = resident().saturating_sub(before);
    browser.until("document.querySelector('#gift-wrap').checked").await;
    browser.live().await;
    // History and store take their part: 800 actions of a few hundred bytes.
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes");
}
