//! The two halves of a client's connection.

use super::frontend::{self, Frontend, ProtocolError, Startup};
use bytes::BytesMut;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Read ahead at most this much while a statement runs.
const READ_AHEAD: usize = 64 << 10;
/// Output is written to the client when this much has gathered.
const WRITE_AT: usize = 32 << 10;
/// Buffers that grew beyond this are given back once empty.
const KEEP: usize = 256 << 10;

/// Bytes from the client.
pub struct Inbox {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    max_message: usize,
    closed: bool,
}

/// Why no message came.
#[derive(Debug)]
pub enum Lost {
    /// The client went away.
    Closed,
    Protocol(ProtocolError),
}

impl Inbox {
    pub fn new(stream: Box<dyn AsyncRead + Send + Unpin>, max_message: usize) -> Self {
        Inbox { stream, buffer: BytesMut::with_capacity(8 << 10), max_message, closed: false }
    }

    async fn more(&mut self) -> Result<(), Lost> {
        if self.closed {
            return Err(Lost::Closed);
        }
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(n) if n > 0 => Ok(()),
            _ => {
                self.closed = true;
                Err(Lost::Closed)
            }
        }
    }

    /// Bytes that were sent behind a request for encryption could have been put there by somebody in between.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub async fn startup(&mut self) -> Result<Startup, Lost> {
        loop {
            if let Some(startup) = frontend::take_startup(&mut self.buffer).map_err(Lost::Protocol)? {
                return Ok(startup);
            }
            self.more().await?;
        }
    }

    /// The next message. Dropping the future loses nothing.
    pub async fn message(&mut self) -> Result<Frontend, Lost> {
        loop {
            let message = frontend::take_message(&mut self.buffer, self.max_message);
            if let Some(message) = message.map_err(Lost::Protocol)? {
                if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
                    self.buffer = BytesMut::with_capacity(8 << 10);
                }
                return Ok(message);
            }
            self.more().await?;
        }
    }

    /// Reads ahead until the client is gone, then returns. With a full buffer it waits forever instead.
    pub async fn gone(&mut self) {
        while self.buffer.len() < READ_AHEAD {
            if self.more().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }
}

/// Bytes to the client. Positions count all bytes ever appended.
pub struct Outbox {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    pub buffer: BytesMut,
    written: u64,
}

impl Outbox {
    pub fn new(stream: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Outbox { stream, buffer: BytesMut::with_capacity(8 << 10), written: 0 }
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether everything from `position` on is still here.
    pub fn holds(&self, position: u64) -> bool {
        position >= self.written
    }

    /// Takes back what was appended since `position`; `None` if some of it is on its way.
    pub fn take_back(&mut self, position: u64) -> Option<BytesMut> {
        let at = position.checked_sub(self.written)?;
        Some(self.buffer.split_off((at as usize).min(self.buffer.len())))
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.buffer).await?;
        self.stream.flush().await?;
        self.written += self.buffer.len() as u64;
        if self.buffer.capacity() > KEEP {
            self.buffer = BytesMut::with_capacity(8 << 10);
        } else {
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes if much has gathered; the client's pace is the statement's.
    pub async fn relieve(&mut self) -> io::Result<()> {
        if self.buffer.len() >= WRITE_AT { self.flush().await } else { Ok(()) }
    }

    pub async fn close(&mut self) {
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }
}
