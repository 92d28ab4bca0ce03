//! One question to whoever answers at an address, for those who are no node or do not know yet which node lives there.

use super::{MAX_MESSAGE, connect};
use crate::{Clock, TransportError, time};
use quorate_proto::{
    WIRE_VERSION,
    link::{Batch, Frame, Hello, frame::Kind, link_client::LinkClient},
    rpc::{Rpc, decode, encode},
};
use std::time::Duration;

/// Sends one request to the node at `address` (`host:port`) over a connection of its own.
///
/// # Errors
/// As [`crate::Transport::call`].
pub async fn ask<R: Rpc>(address: &str, request: &R, timeout: Duration) -> Result<R::Answer, TransportError> {
    let mut sent = false;
    match time::timeout(timeout, exchange(address, request, &mut sent)).await {
        Ok(outcome) => outcome,
        Err(_) if sent => Err(TransportError::Lost(format!("no answer of {address} within {timeout:?}"))),
        Err(_) => Err(TransportError::NotSent(format!("no connection to {address} within {timeout:?}"))),
    }
}

async fn exchange<R: Rpc>(address: &str, request: &R, sent: &mut bool) -> Result<R::Answer, TransportError> {
    let not_sent = |why: String| TransportError::NotSent(format!("{address}: {why}"));
    let mut client = LinkClient::new(connect(address).await.map_err(not_sent)?)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let hello = Hello { wire_version: WIRE_VERSION, ..Hello::default() };
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let hlc = Clock::real(Duration::ZERO).now().0;
    let _ = sender.send(Batch { hlc, frames: Vec::new(), hello: Some(hello) }).await;
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let answer = client.exchange(outgoing).await.map_err(|status| not_sent(status.message().into()))?;
    let mut incoming = answer.into_inner();
    *sent = true;
    let frame =
        Frame { kind: Kind::Request as i32, service: R::SERVICE as u32, call_id: 1, body: encode(request) };
    let _ = sender.send(Batch { hlc, frames: vec![frame], hello: None }).await;
    let lost = |why: &str| TransportError::Lost(format!("{address}: {why}"));
    loop {
        let batch = incoming.message().await.map_err(|status| lost(status.message()))?;
        let batch = batch.ok_or_else(|| lost("the stream ended"))?;
        let Some(frame) = batch.frames.into_iter().find(|frame| frame.call_id == 1) else { continue };
        return match frame.kind() {
            Kind::Reply => decode(&frame.body).map_err(|error| lost(&format!("unreadable answer: {error}"))),
            _ => Err(TransportError::Refused(String::from_utf8_lossy(&frame.body).into_owned())),
        };
    }
}
