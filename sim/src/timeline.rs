//! What happened to whom, on standard output, narrowed to what is asked for.

use clap::Args;
use quorate_env::{
    sim::START,
    timeline::{self, Narrowed},
};
use quorate_proto::{Key, NodeId, ShardId};
use std::io::Write;

#[derive(Args, Debug)]
pub struct Timeline {
    /// Tell what happens to whom
    #[arg(long = "timeline", conflicts_with_all = ["seeds", "plan", "shrink"])]
    told: bool,
    /// Of requests and entries, only those about these keys (in hexadecimal)
    #[arg(long, value_name = "HEX", value_delimiter = ',', requires = "told", value_parser = key)]
    key: Vec<Key>,
    /// …about these transactions (how their ids begin)
    #[arg(long, value_name = "ID", value_delimiter = ',', requires = "told")]
    txn: Vec<String>,
    /// …of these shards
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "told")]
    shard: Vec<u64>,
    /// …on these nodes
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "told")]
    node: Vec<u64>,
}

fn key(text: &str) -> Result<Key, String> {
    let byte = |at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.map(Key::from).ok_or_else(|| format!("`{text}` is not a key in hexadecimal"))
}

impl Timeline {
    /// From now on, if it is asked for.
    pub fn listen(&self) {
        if !self.told {
            return;
        }
        let narrowed = Narrowed {
            keys: self.key.clone(),
            txns: self.txn.iter().map(|id| id.to_lowercase()).collect(),
            shards: self.shard.iter().copied().map(ShardId).collect(),
            nodes: self.node.iter().copied().map(NodeId).collect(),
        };
        timeline::listen(narrowed, START, |line| say(&format!("|{line}")));
    }
}

/// Prints a line; whoever has read enough of them ends the process.
pub fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hexadecimal() {
        assert_eq!(key("4003"), Ok(Key::from(vec![0x40, 3])));
        assert_eq!(key(""), Ok(Key::from(Vec::new())));
        for wrong in ["4", "4x", "400", "ä"] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }
}
