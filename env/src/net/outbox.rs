//! What waits to be written to one stream, and the stream that writes it in batches.

use crate::Clock;
use futures::Stream;
use parking_lot::Mutex;
use quorate_proto::link::{Batch, Frame, Hello};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// One batch takes no further frame once it holds this many bytes.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_FRAMES: usize = 1024;
/// What a frame costs besides its body.
const FRAME_OVERHEAD: usize = 32;

/// A bounded queue of frames. It outlives the streams that drain it; each of them has a number, and only the latest
/// gets frames.
pub(crate) struct Outbox(Mutex<State>);

struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    stream: u64,
    /// Whether the latest stream may send more than its greeting.
    open: bool,
    waker: Option<Waker>,
}

/// There was no room.
#[derive(Debug)]
pub(crate) struct Full;

impl Outbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Outbox(Mutex::new(State {
            frames: VecDeque::new(),
            bytes: 0,
            stream: 0,
            open: false,
            waker: None,
        })))
    }

    pub(crate) fn push(&self, frame: Frame, max_frames: usize, max_bytes: usize) -> Result<(), Full> {
        let mut state = self.0.lock();
        let size = frame.body.len() + FRAME_OVERHEAD;
        if state.frames.len() >= max_frames || (state.bytes + size > max_bytes && !state.frames.is_empty()) {
            return Err(Full);
        }
        state.bytes += size;
        state.frames.push_back(frame);
        let waker = if state.open { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes a request back that has not been written yet.
    pub(crate) fn withdraw(&self, call_id: u64) -> bool {
        let mut state = self.0.lock();
        let Some(at) = state.frames.iter().position(|frame| frame.call_id == call_id) else { return false };
        if let Some(frame) = state.frames.remove(at) {
            state.bytes -= frame.body.len() + FRAME_OVERHEAD;
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().frames.is_empty()
    }

    /// Ends the present stream and starts another one, which greets first and sends the rest when [`Outbox::open`] says so.
    pub(crate) fn stream(self: &Arc<Self>, hello: Hello, clock: Arc<Clock>) -> Outgoing {
        let mut state = self.0.lock();
        state.stream += 1;
        state.open = false;
        let waker = state.waker.take();
        let outgoing = Outgoing {
            outbox: self.clone(),
            stream: state.stream,
            hello: Some(hello),
            clock,
            gave_way: false,
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        outgoing
    }

    /// Lets the latest stream send.
    pub(crate) fn open(&self) {
        let mut state = self.0.lock();
        state.open = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the present stream and returns what it had not written.
    pub(crate) fn close(&self) -> VecDeque<Frame> {
        let mut state = self.0.lock();
        state.stream += 1;
        state.open = false;
        state.bytes = 0;
        let frames = std::mem::take(&mut state.frames);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        frames
    }
}

/// Writes what waits, as much as there is, whenever the connection can take more.
pub(crate) struct Outgoing {
    outbox: Arc<Outbox>,
    stream: u64,
    hello: Option<Hello>,
    clock: Arc<Clock>,
    /// The other tasks had a turn since there was something to write.
    gave_way: bool,
}

impl Outgoing {
    fn batch(&self, frames: Vec<Frame>, hello: Option<Hello>) -> Batch {
        let hlc = if self.clock.is_fenced() { 0 } else { self.clock.now().0 };
        Batch { hlc, frames, hello }
    }
}

impl Stream for Outgoing {
    type Item = Batch;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(self.batch(Vec::new(), Some(hello))));
        }
        let outbox = self.outbox.clone();
        let mut state = outbox.0.lock();
        if state.stream != self.stream {
            return Poll::Ready(None);
        }
        if !state.open || state.frames.is_empty() {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // Whoever could run as well may have frames to add: a batch costs much more than a turn.
        self.gave_way = !self.gave_way;
        if self.gave_way {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut frames = Vec::with_capacity(state.frames.len().min(BATCH_FRAMES));
        let mut bytes = 0;
        while frames.len() < BATCH_FRAMES && bytes < BATCH_BYTES {
            let Some(frame) = state.frames.pop_front() else { break };
            bytes += frame.body.len() + FRAME_OVERHEAD;
            frames.push(frame);
        }
        state.bytes -= bytes;
        drop(state);
        crate::count!("quorate_env_net_batches_sent_total");
        crate::count!("quorate_env_net_frames_sent_total", frames.len() as u64);
        crate::count!("quorate_env_sent_bytes_total", bytes as u64);
        Poll::Ready(Some(self.batch(frames, None)))
    }
}
