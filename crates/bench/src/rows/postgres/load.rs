//! wrk, which asks a route of a server as quickly as it answers.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

/// Connections at a time, and sessions.
pub(super) const CONNECTIONS: usize = 64;

/// A server of a route that counts, and the cookies of the sessions on it.
pub(super) struct Target {
    address: String,
    cookies: Vec<String>,
    /// How many requests were answered.
    answered: u64,
}

impl Target {
    /// A session for each connection.
    pub(super) fn new(address: String) -> Self {
        let cookies = (0..CONNECTIONS)
            .map(|_| get(&address, None).1.expect("a cookie"))
            .collect();
        Self {
            address,
            cookies,
            answered: CONNECTIONS as u64,
        }
    }

    /// Requests a second.
    ///
    /// # Panics
    /// If there is no wrk, or one of the answers was an error.
    pub(super) fn round(&mut self, length: Duration) -> f64 {
        let script = env::temp_dir().join(format!("session-process-wrk-{}.lua", std::process::id()));
        let cookies: Vec<String> = self.cookies.iter().map(|cookie| format!("{cookie:?}")).collect();
        let text = format!(
            "local cookies = {{{}}}\nlocal n = 0\nrequest = function()\n  n = n % #cookies + 1\n  return wrk.format(\"GET\", \
             \"/\", {{[\"Cookie\"] = cookies[n]}})\nend\n",
            cookies.join(", ")
        );
        fs::write(&script, text).expect("a temporary file");
        let output = Command::new("wrk")
            .args(["-t", "2", "-c", &CONNECTIONS.to_string(), "-d"])
            .arg(format!("{}s", length.as_secs().max(1)))
            .arg("-s")
            .arg(&script)
            .arg(format!("http://{}/", self.address))
            .output();
        let output = output.unwrap_or_else(|error| {
            panic!("no wrk for this row ({error}): `apt-get install wrk`, or leave the row out by `--only`")
        });
        let _ = fs::remove_file(&script);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !text.contains("Non-2xx"), "{text}");
        let number = |before: &str, after: &str| -> Option<f64> {
            let (line, _) = text.split_once(after)?;
            line.rsplit_once(before)?.1.trim().parse().ok()
        };
        self.answered += number("\n", " requests in").expect("wrk counts") as u64;
        let (_, rate) = text.split_once("Requests/sec:").expect("wrk counts");
        rate.split_whitespace()
            .next()
            .and_then(|rate| rate.parse().ok())
            .expect("a number")
    }

    /// Whether every request that was answered has been counted.
    pub(super) fn has_counted_all(&self) -> bool {
        let counted = self.cookies.iter().map(|cookie| get(&self.address, Some(cookie)).0 - 1);
        counted.sum::<u64>() >= self.answered
    }
}

/// The counter after this request, and the cookie that was set.
fn get(address: &str, cookie: Option<&str>) -> (u64, Option<String>) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{cookie}\r\n"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "the route answers with an error");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let set = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie")
            .then(|| value.split(';').next().unwrap_or_default().to_owned())
    });
    (body.trim().parse().expect("a counter"), set)
}
