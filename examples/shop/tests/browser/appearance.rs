//! Pictures of the pages for people to look at, and what can be said of them by measure: nothing sticks out.

use crate::{driver::Driver, shops};

#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_phones_and_desktops_light_and_dark() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    browser.sign_in("Ada").await;
    for item in [1, 2, 2, 5] {
        browser.click(&format!("li:nth-child({item}) [data-add]")).await;
    }
    browser.count(4).await;
    for (device, width, height) in [("phone", 390, 844), ("desktop", 1280, 900)] {
        browser.size(width, height).await;
        for scheme in ["light", "dark"] {
            browser.scheme(scheme).await;
            for (page, path) in [("shop", "/"), ("sessions", "/sessions"), ("developer", "/developer")] {
                browser.open(&format!("{}{path}", shop.url)).await;
                browser.live().await;
                if page == "shop" {
                    browser.count(4).await;
                }
                let wide = browser.eval("document.documentElement.scrollWidth").await;
                assert!(
                    wide.as_u64().unwrap() <= u64::from(width),
                    "{page} on a {device}: {wide}"
                );
                browser.shot(&format!("{page}-{device}-{scheme}")).await;
            }
        }
    }
    let dark = browser
        .eval("getComputedStyle(document.documentElement).backgroundColor")
        .await;
    assert_eq!(dark, "rgb(25, 21, 18)", "the dark one");
}
