//! The two halves of a client's connection.

use super::frontend::{self, Frontend, ProtocolError, Startup};
use bytes::{Buf, BytesMut};
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
    /// Whole messages that belong to no answer and go ahead of the buffer.
    ahead: BytesMut,
    written: u64,
    /// A message of the buffer may be on its way in part.
    torn: bool,
}

impl Outbox {
    pub fn new(stream: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        let (buffer, ahead) = (BytesMut::with_capacity(8 << 10), BytesMut::new());
        Outbox { stream, buffer, ahead, written: 0, torn: false }
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether everything from `position` on is still here.
    pub fn holds(&self, position: u64) -> bool {
        position >= self.written
    }

    /// What was appended since `position`; `None` if some of it is on its way.
    pub fn since(&self, position: u64) -> Option<&[u8]> {
        self.buffer.get(position.checked_sub(self.written)? as usize..)
    }

    /// Takes back what was appended since `position`; `None` if some of it is on its way.
    pub fn take_back(&mut self, position: u64) -> Option<BytesMut> {
        let at = position.checked_sub(self.written)?;
        Some(self.buffer.split_off((at as usize).min(self.buffer.len())))
    }

    /// Whether something waits for [`Outbox::send_ahead`].
    pub fn has_ahead(&self) -> bool {
        !self.ahead.is_empty() && !self.torn
    }

    /// Adds a message that the client is to have at once. It takes nothing of what has gathered with it, which may still be
    /// taken back.
    pub fn ahead(&mut self, message: impl FnOnce(&mut BytesMut)) {
        message(&mut self.ahead);
    }

    /// Dropping the future loses nothing.
    pub async fn send_ahead(&mut self) -> io::Result<()> {
        while !self.ahead.is_empty() {
            match write(&mut *self.stream, &self.ahead).await {
                Ok(sent) => self.ahead.advance(sent),
                Err(error) => {
                    self.ahead.clear();
                    return Err(error);
                }
            }
        }
        self.stream.flush().await
    }

    /// Dropping the future loses nothing, and sends nothing twice.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.has_ahead() {
            self.send_ahead().await?;
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.send_buffer().await?;
        // What came while a message was on its way in part.
        self.send_ahead().await
    }

    async fn send_buffer(&mut self) -> io::Result<()> {
        let grown = self.buffer.capacity() > KEEP;
        self.torn = true;
        while !self.buffer.is_empty() {
            let sent = write(&mut *self.stream, &self.buffer).await?;
            self.buffer.advance(sent);
            self.written += sent as u64;
        }
        self.torn = false;
        if grown {
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

async fn write(stream: &mut (dyn AsyncWrite + Send + Unpin), bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        sent => Ok(sent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::duplex;

    /// A statement that is ended while its client does not read leaves its output where it is.
    #[tokio::test]
    async fn a_flush_that_is_dropped_sends_nothing_twice() {
        let (client, mut server) = duplex(10);
        let mut out = Outbox::new(Box::new(client));
        out.buffer.extend_from_slice(b"0123456789abcdef");
        assert!(out.flush().now_or_never().is_none(), "there is no room");
        assert_eq!((out.position(), out.holds(10), out.holds(9)), (16, true, false));
        out.buffer.extend_from_slice(b"error");
        let read = async {
            let mut all = vec![0; 21];
            server.read_exact(&mut all).await.unwrap();
            all
        };
        let (sent, all) = tokio::join!(out.flush(), read);
        sent.unwrap();
        assert_eq!(all, b"0123456789abcdeferror");
    }

    #[tokio::test]
    async fn what_goes_ahead_leaves_the_rest_and_waits_for_the_end_of_a_message() {
        let (client, mut server) = duplex(4);
        let mut out = Outbox::new(Box::new(client));
        out.buffer.extend_from_slice(b"answer");
        out.ahead(|buffer| buffer.extend_from_slice(b"note"));
        out.send_ahead().await.unwrap();
        assert_eq!(out.take_back(0).as_deref(), Some(&b"answer"[..]), "it can still be taken back");
        let mut all = vec![0; 4];
        server.read_exact(&mut all).await.unwrap();
        assert_eq!(all, b"note");
        out.buffer.extend_from_slice(b"answer");
        assert!(out.flush().now_or_never().is_none());
        out.ahead(|buffer| buffer.extend_from_slice(b"note"));
        assert!(!out.has_ahead(), "half of the answer is under way");
        let read = async {
            let mut all = vec![0; 10];
            server.read_exact(&mut all).await.unwrap();
            all
        };
        let (sent, all) = tokio::join!(out.flush(), read);
        sent.unwrap();
        assert_eq!(all, b"answernote");
    }
}
