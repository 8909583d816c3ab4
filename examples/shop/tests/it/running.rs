//! The program as a process of its own, and a browser.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use ureq::http::{Response, header};

/// In memory, unless the arguments say otherwise.
const MEMORY: [&str; 2] = ["--store", "memory"];

pub(crate) struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it logs, read all the time so that it never waits for us. None: stopped.
    log: Option<JoinHandle<String>>,
    pub(crate) url: String,
}

impl Program {
    pub(crate) fn start() -> Self {
        Self::with(&MEMORY)
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap().trim_end().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self {
            child,
            stdout,
            log: Some(log),
            url,
        }
    }

    /// As a crash or a power cut of the machine would: nothing of it runs any more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and returns its status, its last words and all that it has logged.
    pub(crate) fn stop(mut self) -> (Option<i32>, String, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap().code();
        let log = self.log.take().unwrap().join().unwrap();
        (status, rest, log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After a failed assertion; otherwise it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    pub(crate) cookie: String,
}

impl Client {
    pub(crate) fn new(url: &str, cookie: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)));
        Self {
            agent: config.build().new_agent(),
            url: url.to_owned(),
            cookie: cookie.to_owned(),
        }
    }

    pub(crate) fn get(&mut self, path: &str) -> (u16, Value) {
        self.try_get(path).unwrap()
    }

    pub(crate) fn delete(&mut self, path: &str) -> (u16, Value) {
        let request = self.agent.delete(format!("{}{path}", self.url));
        let response = request.header(header::COOKIE, &self.cookie).call().unwrap();
        self.read(response)
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> (u16, Value) {
        self.try_post(path, body).unwrap()
    }

    /// An error: no answer came.
    pub(crate) fn try_get(&mut self, path: &str) -> Result<(u16, Value), ureq::Error> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let response = request.header(header::COOKIE, &self.cookie).call()?;
        Ok(self.read(response))
    }

    /// The same.
    pub(crate) fn try_post(&mut self, path: &str, body: &str) -> Result<(u16, Value), ureq::Error> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request
            .header(header::COOKIE, &self.cookie)
            .content_type("application/json");
        let response = request.send(body)?;
        Ok(self.read(response))
    }

    /// As the page does: what another node was ahead of is asked for again.
    pub(crate) fn add(&mut self, item: &str) -> Result<Value, ureq::Error> {
        loop {
            let (status, answer) = self.try_post("/api/cart", &format!(r#"{{"item": "{item}"}}"#))?;
            match status {
                200 => return Ok(answer),
                409 if answer["error"] == "repeat" => {}
                _ => panic!("{status}: {answer}"),
            }
        }
    }

    fn read(&mut self, mut response: Response<ureq::Body>) -> (u16, Value) {
        if let Some(set) = response.headers().get(header::SET_COOKIE) {
            let (pair, _) = set.to_str().unwrap().split_once(';').unwrap();
            pair.clone_into(&mut self.cookie);
        }
        let text = response.body_mut().read_to_string().unwrap();
        (
            response.status().as_u16(),
            serde_json::from_str(&text).unwrap_or(Value::Null),
        )
    }
}
