//! The node's SQL server as its other parts reach it. There is none before the node belongs to a cluster, and none at all
//! without the role.

use quorate_proto::placement::{NodeReply, Signal};
use quorate_sql::server::SqlServer;
use std::sync::{Arc, OnceLock};

#[derive(Default)]
pub struct Gateway(OnceLock<Arc<SqlServer>>);

impl Gateway {
    pub fn open(&self, server: Arc<SqlServer>) {
        // A node starts its SQL server once.
        let _ = self.0.set(server);
    }

    /// Ends what a session of this node runs, for a cancel request that came to another node.
    pub fn cancel(&self, pid: u32, secret: u32) -> Result<NodeReply, String> {
        match self.0.get() {
            Some(server) if server.cancel(pid, secret) => Ok(NodeReply::Done),
            _ => Err("no session with this number and secret is here".into()),
        }
    }

    /// What is under way here. A node without SQL begins no transactions.
    pub fn transactions(&self) -> Result<NodeReply, String> {
        let all = self.0.get().map(|server| server.shared().transactions());
        Ok(NodeReply::Transactions(all.unwrap_or_default()))
    }

    pub fn closed(&self) -> Result<NodeReply, String> {
        let all = self.0.get().map(|server| server.shared().cluster.closed());
        Ok(NodeReply::Closed(all.unwrap_or_default()))
    }

    pub fn sessions_under_way(&self) -> Result<NodeReply, String> {
        let all = self.0.get().map(|server| server.shared().sessions_under_way());
        Ok(NodeReply::Sessions(all.unwrap_or_default()))
    }

    pub fn signal(&self, pid: u32, signal: Signal) -> Result<NodeReply, String> {
        Ok(NodeReply::Signaled(self.0.get().is_some_and(|server| server.shared().signal(pid, signal))))
    }

    pub fn sessions(&self) -> usize {
        self.0.get().map_or(0, |server| server.sessions())
    }

    /// Ends the statements that still run: the node goes, and their clients are told so.
    pub fn end_statements(&self) {
        if let Some(server) = self.0.get() {
            server.end_statements();
        }
    }
}
