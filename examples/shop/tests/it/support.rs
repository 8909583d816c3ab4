//! A browser that talks to a router.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header, request},
};
use http_body_util::BodyExt;
use serde_json::Value;
use session_process::Sessions;
use shop::{Shop, app};
use tower::ServiceExt;

pub(crate) fn shop() -> (Shop, Router) {
    let shop = Shop::new(Sessions::builder()).unwrap();
    let app = app(&shop);
    (shop, app)
}

pub(crate) struct Browser {
    app: Router,
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json", "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Browser {
    pub(crate) fn new(app: &Router) -> Self {
        Self {
            app: app.clone(),
            cookie: None,
        }
    }

    pub(crate) fn with_cookie(app: &Router, cookie: &str) -> Self {
        Self {
            app: app.clone(),
            cookie: Some(cookie.to_owned()),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path), "").await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Answer {
        self.send(Request::delete(path), "").await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request, body).await
    }

    pub(crate) async fn add(&mut self, item: &str) -> Answer {
        self.post("/api/cart", &format!(r#"{{"item": "{item}"}}"#)).await
    }

    pub(crate) async fn login(&mut self, name: &str) -> Answer {
        let body = serde_json::json!({ "name": name }).to_string();
        self.post("/api/login", &body).await
    }

    pub(crate) async fn send(&mut self, mut request: request::Builder, body: &str) -> Answer {
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        if let Some(set) = parts.headers.get(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (pair, _) = set.split_once(';').unwrap();
            self.cookie = (!set.contains("Max-Age=0")).then(|| pair.to_owned());
        }
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }
}
