//! A client that speaks the protocol by hand, for what drivers hide.

use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Whatever the server does with what it is sent, it answers or closes within this.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn startup() -> Vec<u8> {
    let parameters = b"user\0root\0database\0quorate\0\0";
    let mut out = (8 + parameters.len() as u32).to_be_bytes().to_vec();
    out.extend([0, 3, 0, 0]);
    out.extend(parameters);
    out
}

/// Sends raw bytes and waits, at most some seconds, until the server has closed; what it said before.
pub async fn send(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The server may close in the middle of what it is sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the server neither answers nor closes");
    answer
}

/// Asks the server behind `port` to cancel; returns when the request is dealt with.
pub async fn cancel(port: u16, pid: u32, secret: u32) {
    let mut packet = 16u32.to_be_bytes().to_vec();
    packet.extend(80_877_102u32.to_be_bytes());
    packet.extend(pid.to_be_bytes());
    packet.extend(secret.to_be_bytes());
    let answer = send(port, &packet).await;
    assert!(answer.is_empty(), "a cancel request has no answer");
}

pub struct Session {
    stream: TcpStream,
    pub pid: u32,
    pub secret: u32,
}

impl Session {
    pub async fn open(port: u16) -> Session {
        Session::try_open(port).await.unwrap()
    }

    pub async fn try_open(port: u16) -> io::Result<Session> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(&startup()).await?;
        let mut session = Session { stream, pid: 0, secret: 0 };
        loop {
            match session.message().await? {
                (b'K', body) => {
                    let number = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
                    (session.pid, session.secret) = (number(0), number(4));
                }
                (b'Z', _) => return Ok(session),
                (b'E', body) => return Err(io::Error::other(String::from_utf8_lossy(&body))),
                _ => {}
            }
        }
    }

    pub async fn send(&mut self, sql: &str) {
        self.send_bytes(&query(sql)).await.unwrap();
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    async fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await?;
        let length = self.stream.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body).await?;
        Ok((kind, body))
    }

    /// The end of what was sent: the SQLSTATE of its error, if it has failed.
    pub async fn outcome(&mut self) -> Option<String> {
        self.try_outcome().await.unwrap()
    }

    pub async fn try_outcome(&mut self) -> io::Result<Option<String>> {
        let mut state = None;
        loop {
            match self.message().await? {
                (b'E', body) => state = field(&body, b'C'),
                (b'Z', _) => return Ok(state),
                _ => {}
            }
        }
    }

    /// The connection breaks: nobody says goodbye, and what has not arrived yet is lost.
    pub fn cut(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// The message with which the simple protocol asks for the text.
pub fn query(sql: &str) -> Vec<u8> {
    let mut packet = vec![b'Q'];
    packet.extend((5 + sql.len() as u32).to_be_bytes());
    packet.extend(sql.as_bytes());
    packet.push(0);
    packet
}

/// A field of an error or a notice.
pub fn field(body: &[u8], code: u8) -> Option<String> {
    let mut fields = body.split(|byte| *byte == 0);
    let found = fields.find(|field| field.first() == Some(&code))?;
    Some(String::from_utf8_lossy(&found[1..]).into_owned())
}
