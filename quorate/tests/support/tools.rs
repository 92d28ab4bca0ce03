//! The operators' side of a demo: commands that may fail, and the nodes' pages.

use super::{Demo, binary};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};

/// No command that is expected to fail takes longer, and no page.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// What it printed, as JSON; besides this it has said nothing.
    pub fn json(&self) -> serde_json::Value {
        assert!(self.code == Some(0) && self.err.is_empty(), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It has failed and said this.
    pub fn fails(&self, code: i32, why: &str) {
        assert!(self.code == Some(code) && self.err.contains(why), "not {code} with `{why}`: {self:?}");
    }
}

/// The binary with these arguments; it goes with what is made of this.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the binary to its end, whatever that is.
pub async fn quorate(arguments: &[&str]) -> Ran {
    let output = timeout(PATIENCE, command(arguments).output()).await;
    let output = output.unwrap_or_else(|_| panic!("quorate {} does not end", arguments.join(" "))).unwrap();
    let text = |raw| String::from_utf8(raw).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Status and body of a page; `None` when nobody listens.
pub async fn page(address: &str, path: &str) -> Option<(u16, String)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{address}{path} does not answer"))
}

/// A metric's values over all its labels, summed.
pub async fn metric(address: &str, name: &str) -> Option<f64> {
    let (_, body) = page(address, "/metrics").await?;
    let of = |line: &str| {
        let (full, value) = line.rsplit_once(' ')?;
        (full.split('{').next() == Some(name)).then(|| value.parse::<f64>().unwrap())
    };
    let values: Vec<f64> = body.lines().filter(|line| !line.starts_with('#')).filter_map(of).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

impl Demo {
    /// A command for the cluster, sent to a node.
    pub async fn ask(&self, node: u16, arguments: &[&str]) -> Ran {
        quorate(&[arguments, &["--host", &self.rpc(node)]].concat()).await
    }

    /// `quorate fault …` on this demo.
    pub async fn fault(&self, arguments: &[&str]) -> Ran {
        quorate(&[&["fault"][..], arguments, &["--data", self.data()]].concat()).await
    }

    /// `quorate demo …` on this demo.
    pub async fn manage(&self, arguments: &[&str]) -> Ran {
        quorate(&[&["demo"][..], arguments, &["--data", self.data()]].concat()).await
    }
}
