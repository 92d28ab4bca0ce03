//! What clients say. A strict decoder of our own: pgwire's reads past short frames and panics on them, and these bytes come
//! from anybody. A frame is cut out whole by its length before its body is looked at.

use bytes::{Buf, Bytes, BytesMut};

/// The bytes make no sense, or too much of it. The connection answers with the code and closes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProtocolError {
    pub sqlstate: &'static str,
    pub message: String,
}

impl ProtocolError {
    pub fn violation(message: impl Into<String>) -> Self {
        ProtocolError { sqlstate: "08P01", message: message.into() }
    }
}

/// The first packet of a connection. It has no type byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    Ssl,
    Gss,
    Cancel {
        pid: u32,
        secret: u32,
    },
    /// Minor protocol version, and parameters in the order given.
    Start {
        minor: u16,
        parameters: Vec<(String, String)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Statement,
    Portal,
}

/// Texts are bytes here; whether they are UTF-8 is a matter of the statement, not of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frontend {
    Query(Bytes),
    Parse {
        name: Bytes,
        sql: Bytes,
        types: Vec<u32>,
    },
    Bind {
        portal: Bytes,
        statement: Bytes,
        /// None: all text; one: for all; else one each.
        formats: Vec<i16>,
        parameters: Vec<Option<Bytes>>,
        results: Vec<i16>,
    },
    Describe(Target, Bytes),
    Execute {
        portal: Bytes,
        /// 0 or less: all.
        max_rows: i32,
    },
    Close(Target, Bytes),
    Flush,
    Sync,
    CopyData(Bytes),
    CopyDone,
    CopyFail(Bytes),
    Password(Bytes),
    FunctionCall,
    Terminate,
    /// A whole frame of this type whose body makes no sense.
    Malformed(ProtocolError, u8),
}

/// Longest startup packet (PostgreSQL's MAX_STARTUP_PACKET_LENGTH).
const MAX_STARTUP: usize = 10_000;

/// Takes a startup packet off `input`; `None` when more bytes are needed.
pub fn take_startup(input: &mut BytesMut) -> Result<Option<Startup>, ProtocolError> {
    let Some(head) = input.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if !(8..=MAX_STARTUP).contains(&length) {
        return Err(ProtocolError::violation("invalid length of startup packet"));
    }
    if input.len() < length {
        return Ok(None);
    }
    let mut body = Body(input.split_to(length).freeze());
    body.0.advance(4);
    let (major, minor) = (body.u16()?, body.u16()?);
    let startup = match (major, minor) {
        (1234, 5679) => Startup::Ssl,
        (1234, 5680) => Startup::Gss,
        (1234, 5678) => Startup::Cancel { pid: body.u32()?, secret: body.u32()? },
        (3, minor) => Startup::Start { minor, parameters: startup_parameters(&mut body)? },
        (major, minor) => {
            return Err(ProtocolError {
                sqlstate: "0A000",
                message: format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"),
            });
        }
    };
    Ok(Some(startup))
}

fn startup_parameters(body: &mut Body) -> Result<Vec<(String, String)>, ProtocolError> {
    let text = |raw: Bytes| {
        String::from_utf8(raw.into())
            .map_err(|_| ProtocolError::violation("invalid byte sequence in startup packet"))
    };
    let mut parameters = Vec::new();
    loop {
        let name = text(body.cstring()?)?;
        if name.is_empty() {
            break;
        }
        parameters.push((name, text(body.cstring()?)?));
    }
    if !body.0.is_empty() {
        return Err(ProtocolError::violation(
            "invalid startup packet layout: expected terminator as last byte",
        ));
    }
    Ok(parameters)
}

/// Takes one message off `input`; `None` when more bytes are needed. `max` bounds the length of a frame.
pub fn take_message(input: &mut BytesMut, max: usize) -> Result<Option<Frontend>, ProtocolError> {
    let Some(&kind) = input.first() else { return Ok(None) };
    if !b"QPBDECHSdcfpFX".contains(&kind) {
        return Err(ProtocolError::violation(format!("invalid frontend message type {kind}")));
    }
    let Some(head) = input.get(1..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length < 4 {
        return Err(ProtocolError::violation("invalid message length"));
    }
    if length > max {
        return Err(ProtocolError::violation(format!(
            "message of {length} bytes is longer than the {max} allowed"
        )));
    }
    if input.len() < length + 1 {
        return Ok(None);
    }
    let mut body = Body(input.split_to(length + 1).freeze());
    body.0.advance(5);
    // The frame is cut out, so the next one can be read whatever this one holds.
    Ok(Some(match parse_body(kind, &mut body) {
        Ok(message) if body.0.is_empty() => message,
        Ok(_) => Frontend::Malformed(ProtocolError::violation("invalid message format"), kind),
        Err(error) => Frontend::Malformed(error, kind),
    }))
}

fn parse_body(kind: u8, body: &mut Body) -> Result<Frontend, ProtocolError> {
    Ok(match kind {
        b'Q' => Frontend::Query(body.cstring()?),
        b'P' => {
            let (name, sql) = (body.cstring()?, body.cstring()?);
            let count = body.count(4)?;
            let types = (0..count).map(|_| body.u32()).collect::<Result<_, _>>()?;
            Frontend::Parse { name, sql, types }
        }
        b'B' => {
            let (portal, statement) = (body.cstring()?, body.cstring()?);
            let formats = body.formats()?;
            let count = body.count(4)?;
            let parameters = (0..count).map(|_| body.value()).collect::<Result<_, _>>()?;
            Frontend::Bind { portal, statement, formats, parameters, results: body.formats()? }
        }
        b'D' => Frontend::Describe(body.target()?, body.cstring()?),
        b'C' => Frontend::Close(body.target()?, body.cstring()?),
        b'E' => Frontend::Execute { portal: body.cstring()?, max_rows: body.u32()? as i32 },
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        b'd' => Frontend::CopyData(std::mem::take(&mut body.0)),
        // What it holds says nothing.
        b'c' => {
            body.0.clear();
            Frontend::CopyDone
        }
        b'f' => Frontend::CopyFail(body.cstring()?),
        b'p' => Frontend::Password(std::mem::take(&mut body.0)),
        b'F' => {
            body.0.clear();
            Frontend::FunctionCall
        }
        _ => Frontend::Terminate,
    })
}

/// What is left of a frame; every read is checked.
struct Body(Bytes);

impl Body {
    fn short() -> ProtocolError {
        ProtocolError::violation("insufficient data left in message")
    }

    fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.0.try_get_u16().map_err(|_| Self::short())
    }

    fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.0.try_get_u32().map_err(|_| Self::short())
    }

    fn cstring(&mut self) -> Result<Bytes, ProtocolError> {
        let end = self
            .0
            .iter()
            .position(|&b| b == 0)
            .ok_or_else(|| ProtocolError::violation("invalid string in message"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        Ok(text)
    }

    /// A number of elements of at least `size` bytes each, believed only if the frame can hold them.
    fn count(&mut self, size: usize) -> Result<usize, ProtocolError> {
        let count = self.u16()? as usize;
        if count * size > self.0.len() {
            return Err(Self::short());
        }
        Ok(count)
    }

    fn formats(&mut self) -> Result<Vec<i16>, ProtocolError> {
        let count = self.count(2)?;
        (0..count)
            .map(|_| match self.u16()? {
                code @ (0 | 1) => Ok(code as i16),
                code => Err(ProtocolError::violation(format!("unsupported format code: {}", code as i16))),
            })
            .collect()
    }

    fn value(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        match self.u32()? as i32 {
            -1 => Ok(None),
            length if length >= 0 && length as usize <= self.0.len() => {
                Ok(Some(self.0.split_to(length as usize)))
            }
            _ => Err(Self::short()),
        }
    }

    fn target(&mut self) -> Result<Target, ProtocolError> {
        match self.0.try_get_u8().map_err(|_| Self::short())? {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => Err(ProtocolError::violation(format!("invalid message subtype {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::from(&[kind][..]);
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn waits_for_whole_frames() {
        let whole = frame(b'Q', b"select 1\0");
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert_eq!(take_message(&mut part, 1000).unwrap(), None);
        }
        let mut both = whole.clone();
        both.extend_from_slice(&frame(b'S', b""));
        let query = take_message(&mut both, 1000).unwrap();
        assert_eq!(query, Some(Frontend::Query(Bytes::from_static(b"select 1"))));
        assert_eq!(take_message(&mut both, 1000).unwrap(), Some(Frontend::Sync));
        assert!(both.is_empty());
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let malformed =
            |frame: &mut BytesMut| matches!(take_message(frame, 1000), Ok(Some(Frontend::Malformed(..))));
        assert!(malformed(&mut frame(b'Q', b"no end")));
        assert!(malformed(&mut frame(b'Q', b"a\0b")));
        assert!(malformed(&mut frame(b'P', b"\0select\0\xff\xff")));
        assert!(malformed(&mut frame(b'B', b"\0\0\0\0\0\x01\0\0\0\x09abc\0\0")));
        assert!(malformed(&mut frame(b'E', b"\0\0")));
        assert!(take_message(&mut frame(b'?', b""), 1000).is_err());
        let mut huge = BytesMut::from(&b"Q\x7f\xff\xff\xff"[..]);
        assert!(take_message(&mut huge, 1000).is_err());
        let mut tiny = BytesMut::from(&b"Q\0\0\0\x03"[..]);
        assert!(take_message(&mut tiny, 1000).is_err());
    }

    #[test]
    fn startup_packets() {
        let mut raw = BytesMut::new();
        raw.extend_from_slice(&33u32.to_be_bytes());
        raw.extend_from_slice(&196_608u32.to_be_bytes());
        raw.extend_from_slice(b"user\0root\0database\0quo\0\0");
        raw[3] = raw.len() as u8;
        let Some(Startup::Start { minor: 0, parameters }) = take_startup(&mut raw).unwrap() else { panic!() };
        assert_eq!(parameters[1], ("database".into(), "quo".into()));
        let mut ssl = BytesMut::from(&[0, 0, 0, 8, 4, 210, 22, 47][..]);
        assert_eq!(take_startup(&mut ssl).unwrap(), Some(Startup::Ssl));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(raw: Vec<u8>, kind in prop::sample::select(b"QPBDECHSdcfpFX".to_vec())) {
            let mut any = BytesMut::from(&raw[..]);
            while let Ok(Some(_)) = take_message(&mut any, 4096) {}
            let _ = take_startup(&mut BytesMut::from(&raw[..]));
            let _ = take_message(&mut frame(kind, &raw), 1 << 20);
        }
    }
}
