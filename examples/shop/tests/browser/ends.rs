//! Whatever ends a session, its pages say so and can't act.

use std::time::{Duration, Instant};

use crate::{driver::Driver, shops};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_everywhere_else_is_told_to_the_other_browser_on_the_other_node() {
    let driver = Driver::start();
    let [here, there] = shops::nodes().await;
    let (one, two) = (driver.browser().await, driver.browser().await);
    one.open(&format!("{}/sessions", here.url)).await;
    one.sign_in("Ada").await;
    two.open(&there.url).await;
    two.sign_in("Ada").await;
    two.click("[data-add]").await;
    two.count(1).await;
    one.open(&format!("{}/sessions", here.url)).await;
    one.until("document.querySelectorAll('#sessions li').length === 2")
        .await;
    let begun = Instant::now();
    one.click("#end-others").await;
    two.ended("revoked").await;
    let took = begun.elapsed();
    two.shot("ended-revoked").await;
    // A second, and what WebDriver takes to click and to look on a busy machine.
    assert!(took < Duration::from_secs(3), "{took:?}");
    let status = two
        .eval_async("fetch('/api/sessions').then((answer) => answer.status)")
        .await;
    assert_eq!(status, 401);
    one.live().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_in_one_tab_is_told_in_all() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    browser.sign_in("Ada").await;
    let first = browser.first_tab().await;
    browser.tab(&shop.url).await;
    browser.live().await;
    browser.click("#logout").await;
    browser.until("document.querySelector('#login')").await;
    browser.front(&first).await;
    browser.ended("logout").await;
    browser.click("#again").await;
    browser.until("document.querySelector('#login')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_expires_is_said_to_be_over_after_a_warning() {
    let driver = Driver::start();
    let (shop, clock) = shops::timed(|limits| limits.idle_timeout(HOUR), |shop| shop).await;
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    browser.click("[data-add]").await;
    browser.live().await;
    clock.advance(HOUR - Duration::from_secs(40));
    // One that comes back looks at once; to open it anew would be a use.
    let back = "dispatchEvent(new Event('pagehide')), dispatchEvent(new Event('pageshow'))";
    browser.eval(back).await;
    browser.until("!document.querySelector('#expiring').hidden").await;
    browser.shot("expiring").await;
    clock.advance(Duration::from_secs(41));
    shop.shop.sessions().expire_now().await;
    browser.ended("idle").await;
    browser.shot("ended-idle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_button_after_a_logout_shows_nothing_private() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    browser.sign_in("Ada Lovelace").await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    browser.open(&format!("{}/sessions", shop.url)).await;
    browser.live().await;
    browser.click("#logout").await;
    browser.until("document.querySelector('#login')").await;
    browser.client.back().await.unwrap();
    browser.until("document.readyState === 'complete'").await;
    browser
        .until("document.querySelector('#login') || !document.querySelector('#ended').hidden")
        .await;
    let text = browser.eval("document.body.innerText").await;
    assert!(!text.as_str().unwrap().contains("Lovelace"), "{text}");
}
