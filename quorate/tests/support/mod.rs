//! A demo of real processes for one test, with ports of its own.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "real processes live in real time"
)]

pub mod faults;
pub mod frontiers;
pub mod raw;
pub mod tools;

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio_postgres::{Client, NoTls};

pub struct Demo {
    dir: tempfile::TempDir,
    offset: u16,
    nodes: u16,
    /// What else `quorate demo` is told.
    options: Vec<&'static str>,
    /// Nodes started by hand.
    children: Mutex<Vec<Child>>,
    /// Nodes may log errors: the test has given them cause to.
    troubled: AtomicBool,
}

/// A demo may grow by so many nodes.
const MORE: u16 = 2;

impl Demo {
    /// On ports that nobody listens on, so that tests can run side by side.
    pub fn start() -> Demo {
        Demo::start_with(&[])
    }

    pub fn start_with(options: &[&'static str]) -> Demo {
        let nodes = 3;
        let offset = free_offset(nodes + MORE);
        let (dir, options) = (tempfile::tempdir().unwrap(), options.to_vec());
        let (children, troubled) = (Mutex::default(), AtomicBool::new(false));
        let demo = Demo { dir, offset, nodes, options, children, troubled };
        demo.up();
        demo.keep_still();
        demo
    }

    /// Tests that look on where things lie want them to stay there.
    fn keep_still(&self) {
        let rpc = self.rpc(1);
        let still = ["setting", "set", "placement.moves", "0", "--host", &rpc];
        let set = || {
            let mut command = Command::new(binary());
            command.args(still).stdin(Stdio::null()).output().unwrap().status.success()
        };
        // The placement driver may be without a leader for a moment.
        let done = (0..100).any(|_| {
            set() || {
                std::thread::sleep(Duration::from_millis(200));
                false
            }
        });
        assert!(done, "placement.moves cannot be set");
    }

    /// Starts the nodes that do not run and waits until each answers SQL.
    pub fn up(&self) {
        let offset = self.offset.to_string();
        let up = ["demo", "--background", "--base-port-offset", &offset, "--data", self.data()];
        self.quorate(&[&up[..], &self.options].concat());
    }

    pub fn restart(&self, node: u16) {
        self.quorate(&["demo", "restart", &node.to_string(), "--data", self.data()]);
    }

    /// Starts a node by hand, with the default roles and its standard error in `n{node}.err`; it ends with the demo.
    pub fn spawn(&self, node: u16) {
        let join: Vec<String> = self.nodes().map(|node| self.rpc(node)).collect();
        let sql = format!("127.0.0.1:{}", self.sql_port(node));
        let [data, pid, log] = ["", ".pid", ".log"].map(|end| format!("n{node}{end}"));
        let err = std::fs::File::create(self.dir.path().join(format!("n{node}.err"))).unwrap();
        let child = Command::new(binary())
            .args(["start", "--node-id", &node.to_string(), "--data", &data, "--clock-bound", "1ms"])
            .args(["--rpc", &self.rpc(node), "--sql", &sql, "--http", &self.http(node)])
            .args(["--join", &join.join(","), "--pid-file", &pid, "--log-file", &log])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(err)
            .spawn()
            .unwrap();
        self.children.lock().unwrap().push(child);
    }

    /// Waits until the node that was started last has ended by itself, and returns what it said.
    pub async fn said_at_its_end(&self, node: u16) -> String {
        for _ in 0..600 {
            let ended = self.children.lock().unwrap().last_mut().unwrap().try_wait().unwrap();
            if let Some(status) = ended {
                assert!(!status.success());
                return std::fs::read_to_string(self.dir.path().join(format!("n{node}.err"))).unwrap();
            }
            pause(Duration::from_millis(100)).await;
        }
        panic!("node {node} goes on");
    }

    /// All that the node has stored is gone.
    pub fn wipe(&self, node: u16) {
        let data = self.dir.path().join(format!("n{node}"));
        // A process that was killed a moment ago may still be ending.
        let removed = (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            std::fs::remove_dir_all(&data).is_ok() || !data.exists()
        });
        assert!(removed, "{} stays", data.display());
    }

    pub fn data(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// Runs the binary to its end and returns what it printed.
    pub fn quorate(&self, arguments: &[&str]) -> String {
        let output = Command::new(binary()).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(
            output.status.success(),
            "quorate {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn nodes(&self) -> impl Iterator<Item = u16> {
        1..=self.nodes
    }

    /// All nodes have the same, but in an isolated demo.
    pub fn ip(&self, node: u16) -> String {
        if !self.options.contains(&"--isolated") {
            return "127.0.0.1".into();
        }
        let text = std::fs::read_to_string(self.dir.path().join("cluster.json")).unwrap();
        let cluster: serde_json::Value = serde_json::from_str(&text).unwrap();
        cluster["nodes"][usize::from(node - 1)]["ip"].as_str().unwrap().to_owned()
    }

    pub fn sql_port(&self, node: u16) -> u16 {
        5450 + node + self.offset
    }

    pub fn rpc(&self, node: u16) -> String {
        format!("{}:{}", self.ip(node), 7450 + node + self.offset)
    }

    pub fn http(&self, node: u16) -> String {
        format!("{}:{}", self.ip(node), 8450 + node + self.offset)
    }

    pub fn url(&self, node: u16) -> String {
        let (ip, port) = (self.ip(node), self.sql_port(node));
        format!("postgresql://root@{ip}:{port}/quorate?connect_timeout=5")
    }

    pub async fn client(&self, node: u16) -> Client {
        self.try_client(node).await.unwrap()
    }

    pub async fn try_client(&self, node: u16) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(node), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub fn pid(&self, node: u16) -> i32 {
        let file: PathBuf = self.dir.path().join(format!("n{node}.pid"));
        std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }

    /// No farewell, no flush: SIGKILL.
    pub fn kill(&self, node: u16) {
        let pid = self.pid(node).to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }

    /// Its connections stay, and nobody answers: SIGSTOP, or SIGCONT.
    pub fn freeze(&self, node: u16, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &self.pid(node).to_string()]).status().unwrap().success());
    }

    /// As a supervisor asks: SIGTERM.
    pub fn terminate(&self, node: u16) {
        terminate(self.pid(node) as u32);
    }

    pub fn log(&self, node: u16) -> String {
        std::fs::read_to_string(self.log_file(node)).unwrap()
    }

    fn log_file(&self, node: u16) -> PathBuf {
        self.dir.path().join(format!("n{node}.log"))
    }

    /// Of those that have been.
    fn logs(&self) -> impl Iterator<Item = (u16, String)> {
        let ever = (1..=self.nodes + MORE).filter(|node| self.log_file(*node).exists());
        ever.map(|node| (node, self.log(node)))
    }

    /// Hands the leadership of all shards of a table to a node, in good order.
    pub async fn lead(&self, table: &str, node: u16) {
        let client = self.client(1).await;
        for row in client.query(&format!("SHOW SHARDS FROM TABLE {table}"), &[]).await.unwrap() {
            let (shard, node) = (row.get::<_, i64>("shard_id").to_string(), node.to_string());
            self.quorate(&["shard", "transfer-leader", &shard, "--to", &node, "--host", &self.rpc(1)]);
        }
    }

    /// Every node answers, and none has logged an error.
    pub async fn assert_healthy(&self) {
        for node in self.nodes() {
            let client = self.client(node).await;
            let one: i32 = client.query_one("SELECT 1", &[]).await.unwrap().get(0);
            assert_eq!(one, 1);
        }
        assert_eq!(self.errors(), Vec::<String>::new());
    }

    /// From here on nodes have cause to log errors; else one that is found when the demo ends fails its test.
    pub fn expect_errors(&self) {
        self.troubled.store(true, Ordering::SeqCst);
    }

    fn errors(&self) -> Vec<String> {
        let is_error = |line: &&str| line.contains("\"level\":\"ERROR\"") || line.contains("panicked");
        let of = |(node, log): (u16, String)| {
            log.lines().filter(is_error).map(|line| format!("node {node}: {line}")).collect::<Vec<_>>()
        };
        self.logs().flat_map(of).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (node, log) in self.logs() {
                let lines: Vec<&str> = log.lines().rev().take(15).collect();
                eprintln!(
                    "--- end of n{node}.log\n{}",
                    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
        }
        // Disks of their own would stay mounted.
        let end = if self.options.contains(&"--disk-size") { "remove" } else { "stop" };
        let stopped =
            Command::new(binary()).args(["demo", end, "--data", self.data()]).stderr(Stdio::null()).status();
        if stopped.is_err() {
            eprintln!("the demo in {} was not stopped", self.data());
        }
        for child in self.children.lock().unwrap().iter_mut() {
            // It may have ended before.
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() && !self.troubled.load(Ordering::SeqCst) {
            assert_eq!(self.errors(), Vec::<String>::new());
        }
    }
}

pub fn terminate(pid: u32) {
    assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
}

pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Until `look` finds something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("this never comes: {what}");
}

/// The binary under test: the one that was built with the tests, or `QUORATE_TEST_BINARY` (a path that does not depend on where it is
/// used from), such as one that is to be shipped.
pub fn binary() -> PathBuf {
    std::env::var_os("QUORATE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_quorate").into()).into()
}

/// Seconds that a long test runs: `QUORATE_TEST_SECONDS`, else what the test says.
pub fn seconds(default: u64) -> Duration {
    let given = std::env::var("QUORATE_TEST_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(given.unwrap_or(default))
}

/// Ports stay below the range that outgoing connections use.
const OFFSETS: u32 = 2400;
const NODE_PORTS: [u16; 3] = [5450, 7450, 8450];

fn free_offset(nodes: u16) -> u16 {
    static DEMOS: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(37) + DEMOS.fetch_add(1, Ordering::Relaxed) * 5;
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..OFFSETS)
        .map(|n| ((first.wrapping_add(n) % OFFSETS) * 10) as u16)
        .find(|offset| NODE_PORTS.iter().all(|base| (1..=nodes).all(|node| free(base + offset + node))))
        .expect("no free ports")
}

/// A number below `bound` (xorshift, Marsaglia 2003).
pub fn below(state: &mut u64, bound: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % bound
}
