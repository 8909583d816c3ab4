//! A browser of one's own for each test: a profile that nobody else has, and its tabs.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::http;
use fantoccini::{
    Client, ClientBuilder, Locator,
    wd::{WebDriverCompatibleCommand, WindowHandle},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// What a test waits for at most. On a machine that is busy a browser takes its time.
const PATIENCE: Duration = Duration::from_secs(20);

/// chromedriver, which ends with the test.
pub(crate) struct Driver {
    child: Child,
    url: String,
}

impl Driver {
    pub(crate) fn start() -> Self {
        // The port that it picks by itself is sometimes taken by another, and it gives up.
        (0..5)
            .find_map(|_| Self::try_start())
            .expect("chromedriver says its port")
    }

    fn try_start() -> Option<Self> {
        let child = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.expect(
            "chromedriver is installed by `cargo xtask test`, or by `apt-get install chromium chromium-driver`",
        );
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let port = stdout.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // From here on it ends when this is dropped.
        let driver = Self {
            child,
            url: format!("http://127.0.0.1:{}", port.unwrap_or_default()),
        };
        port.map(|_| driver)
    }

    /// A browser with nothing in it.
    pub(crate) async fn browser(&self) -> Browser {
        let profile = tempfile::tempdir().expect("a folder for a profile");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1200,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ]
        .map(str::to_owned);
        let options = json!({ "args": arguments });
        let capabilities = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&self.url)
            .await
            .expect("a browser");
        Browser {
            client,
            _profile: profile,
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Its browsers go with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Browser {
    pub(crate) client: Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.expect(url);
    }

    /// One more tab, which is in front from then on.
    pub(crate) async fn tab(&self, url: &str) -> WindowHandle {
        let tab = self.client.new_window(true).await.expect("a tab").handle;
        self.front(&tab).await;
        self.open(url).await;
        tab
    }

    pub(crate) async fn first_tab(&self) -> WindowHandle {
        self.client.window().await.expect("a tab")
    }

    pub(crate) async fn front(&self, tab: &WindowHandle) {
        self.client.switch_to_window(tab.clone()).await.expect("the tab");
    }

    /// What an expression is in the page.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        self.client.execute(&script, Vec::new()).await.expect(expression)
    }

    /// What an expression comes to.
    pub(crate) async fn eval_async(&self, expression: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; Promise.resolve({expression}).then(done, (error) => done('error: ' + error))"
        );
        self.client.execute_async(&script, Vec::new()).await.expect(expression)
    }

    /// Waits until an expression is true. (The page itself says so; looking again is WebDriver's way to wait.)
    pub(crate) async fn until(&self, expression: &str) {
        let begun = std::time::Instant::now();
        // An error: the page is just being replaced.
        while self
            .client
            .execute(&format!("return !!({expression})"), Vec::new())
            .await
            .ok()
            != Some(true.into())
        {
            if begun.elapsed() > PATIENCE {
                self.shot("failed").await;
                panic!(
                    "never: {expression}; the page says: {}",
                    self.eval("document.body.innerText").await
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn click(&self, css: &str) {
        let element = self
            .client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css(css))
            .await;
        element.expect(css).click().await.expect(css);
    }

    pub(crate) async fn count(&self, n: usize) {
        self.until(&format!("document.querySelector('#count')?.textContent === '{n}'"))
            .await;
    }

    pub(crate) async fn live(&self) {
        self.until("document.documentElement.dataset.live === 'open'").await;
    }

    pub(crate) async fn sign_in(&self, name: &str) {
        let field = self
            .client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css("#name"))
            .await;
        field.expect("the form").send_keys(name).await.expect("typed");
        self.click("#login button").await;
        self.until(&format!("document.querySelector('#user')?.textContent === '{name}'"))
            .await;
        self.live().await;
    }

    /// Says why the session has ended, and shows nothing else.
    pub(crate) async fn ended(&self, reason: &str) {
        self.until(&format!(
            "!document.querySelector('#ended').hidden && document.querySelector('#ended').dataset.reason === '{reason}'"
        ))
        .await;
        assert_eq!(
            self.eval("document.querySelectorAll('#user, #cart, [data-add]').length")
                .await,
            0
        );
    }

    /// A command of Chrome's own protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let command = Devtools(json!({ "cmd": command, "params": parameters }));
        self.client.issue_cmd(command).await.expect("a command of Chrome's")
    }

    pub(crate) async fn size(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub(crate) async fn scheme(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Keeps a picture of the page.
    pub(crate) async fn shot(&self, name: &str) -> Vec<u8> {
        let png = self.client.screenshot().await.expect("a picture");
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        std::fs::write(folder.join(format!("{name}.png")), &png).expect("a picture");
        png
    }
}

#[derive(Debug)]
struct Devtools(Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}
