//! The pages.

use axum::http::header;

use crate::support::{Browser, shop};

#[tokio::test]
async fn the_page_shows_the_catalogue_and_loads_nothing_from_elsewhere() {
    let (_shop, app) = shop();
    let answer = Browser::new(&app).get("/").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text.matches("class=\"card\"").count(), 8);
    assert!(!answer.text.contains("{{") && !answer.text.contains("http://") && !answer.text.contains("https://"));
    let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    // What the policy forbids, the page doesn't have.
    assert!(!answer.text.contains("style=") && !answer.text.contains("onclick") && !answer.text.contains("<style"));
    assert_eq!(answer.text.matches("<script").count(), 1);
}

#[tokio::test]
async fn a_name_is_text_on_every_page() {
    let (_shop, app) = shop();
    let mut browser = Browser::new(&app);
    browser.login("<script>alert('1')</script>").await;
    for path in ["/", "/sessions"] {
        let page = browser.get(path).await.text;
        assert!(!page.contains("<script>alert"), "{path}");
        assert!(
            page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_of_a_careful_site() {
    let (_shop, app) = shop();
    for path in ["/", "/app.js", "/app.css", "/icon.svg", "/api/cart", "/nowhere"] {
        let answer = Browser::new(&app).get(path).await;
        assert!(answer.headers.contains_key(header::CONTENT_SECURITY_POLICY), "{path}");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
    }
}

#[tokio::test]
async fn a_page_that_is_not_there_says_so() {
    let (_shop, app) = shop();
    let answer = Browser::new(&app).get("/nowhere").await;
    assert_eq!(answer.status, 404);
    assert!(answer.text.contains("no such page"));
}
