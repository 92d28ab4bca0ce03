//! Reading and writing scripts.

use std::path::Path;

#[derive(Debug, Default)]
pub struct Block {
    pub comments: Vec<String>,
    pub sql: String,
    pub expected: Vec<String>,
    pub line: usize,
}

impl Block {
    fn has(&self, mark: &str) -> bool {
        self.comments.iter().any(|c| c.trim_start_matches("# ").starts_with(mark))
    }

    /// Its answer is not PostgreSQL's.
    pub fn is_ours(&self) -> bool {
        self.has("ours")
    }

    /// What to tell of an answer, if it is not the one expected. `path` is the script's.
    pub fn differs(&self, path: &Path, got: Vec<String>) -> Option<String> {
        let got = self.arrange(got);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        (got != self.expected).then(|| {
            let (expected, got) = (self.expected.join("\n"), got.join("\n"));
            format!("{name}:{}\n{}\n---- expected\n{expected}\n---- got\n{got}\n", self.line, self.sql)
        })
    }

    pub fn arrange(&self, mut rows: Vec<String>) -> Vec<String> {
        if self.has("sorted") {
            rows.sort();
        }
        rows
    }
}

#[derive(Debug, Default)]
pub struct Script {
    pub blocks: Vec<Block>,
}

impl Script {
    pub fn read(path: &Path) -> Script {
        let text = std::fs::read_to_string(path).expect("a readable script");
        let mut blocks = Vec::new();
        let mut block = Block::default();
        let mut answering = false;
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() {
                if !block.sql.is_empty() || !block.comments.is_empty() {
                    blocks.push(std::mem::take(&mut block));
                }
                answering = false;
            } else if line == "----" {
                answering = true;
            } else if answering {
                block.expected.push(line.to_string());
            } else if line.starts_with('#') {
                block.comments.push(line.to_string());
            } else {
                if block.sql.is_empty() {
                    block.line = at + 1;
                } else {
                    block.sql.push('\n');
                }
                block.sql.push_str(line);
            }
        }
        if !block.sql.is_empty() {
            blocks.push(block);
        }
        Script { blocks }
    }

    pub fn write(&self, path: &Path) {
        let mut out = String::new();
        for block in &self.blocks {
            for comment in &block.comments {
                out.push_str(comment);
                out.push('\n');
            }
            if !block.sql.is_empty() {
                out.push_str(&block.sql);
                out.push_str("\n----\n");
                for line in &block.expected {
                    out.push_str(line);
                    out.push('\n');
                }
            }
            out.push('\n');
        }
        std::fs::write(path, out.trim_end().to_string() + "\n").expect("a writable script");
    }
}
