//! What waits to be written to one stream, and the stream that writes it in batches.

use crate::{
    Clock,
    scope::Scope,
    time::{self, Sleep},
    troubles,
};
use futures::Stream;
use parking_lot::Mutex;
use quorate_proto::link::{Batch, Frame, Hello};
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// One batch takes no further frame once it holds this many bytes.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_FRAMES: usize = 1024;
/// What a frame costs besides its body.
const FRAME_OVERHEAD: usize = 32;

/// A bounded queue of frames. It outlives the streams that drain it; each of them has a number, and only the latest
/// gets frames.
pub(crate) struct Outbox {
    state: Mutex<State>,
    scope: Arc<Scope>,
}

struct State {
    frames: VecDeque<Held>,
    bytes: usize,
    stream: u64,
    /// Whether the latest stream may send more than its greeting.
    open: bool,
    waker: Option<Waker>,
}

struct Held {
    frame: Frame,
    /// It leaves no earlier, and neither does what is behind it.
    due: Option<Duration>,
}

/// There was no room.
#[derive(Debug)]
pub(crate) struct Full;

impl Outbox {
    pub(crate) fn new(scope: Arc<Scope>) -> Arc<Self> {
        let state = State { frames: VecDeque::new(), bytes: 0, stream: 0, open: false, waker: None };
        Arc::new(Outbox { state: Mutex::new(state), scope })
    }

    pub(crate) fn push(&self, frame: Frame, max_frames: usize, max_bytes: usize) -> Result<(), Full> {
        let due = troubles::frame_due(&self.scope.random);
        let mut state = self.state.lock();
        let size = frame.body.len() + FRAME_OVERHEAD;
        if state.frames.len() >= max_frames || (state.bytes + size > max_bytes && !state.frames.is_empty()) {
            return Err(Full);
        }
        state.bytes += size;
        state.frames.push_back(Held { frame, due });
        let waker = if state.open { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes a request back that has not been written yet.
    pub(crate) fn withdraw(&self, call_id: u64) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.frames.iter().position(|held| held.frame.call_id == call_id) else {
            return false;
        };
        if let Some(held) = state.frames.remove(at) {
            state.bytes -= held.frame.body.len() + FRAME_OVERHEAD;
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().frames.is_empty()
    }

    /// Ends the present stream and starts another one, which greets first and sends the rest when [`Outbox::open`] says so.
    pub(crate) fn stream(self: &Arc<Self>, hello: Hello, clock: Arc<Clock>) -> Outgoing {
        let mut state = self.state.lock();
        state.stream += 1;
        state.open = false;
        let waker = state.waker.take();
        let outgoing = Outgoing {
            outbox: self.clone(),
            stream: state.stream,
            hello: Some(hello),
            clock,
            gave_way: false,
            pause: None,
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        outgoing
    }

    /// Lets the latest stream send.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock();
        state.open = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the present stream and returns what it had not written.
    pub(crate) fn close(&self) -> VecDeque<Frame> {
        let mut state = self.state.lock();
        state.stream += 1;
        state.open = false;
        state.bytes = 0;
        let frames = std::mem::take(&mut state.frames).into_iter().map(|held| held.frame).collect();
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
    /// Until the first frame is due.
    pause: Option<Sleep>,
}

impl Outgoing {
    /// Whether the first frame must not leave yet; this is polled again when it may.
    fn holds_back(&mut self, due: Option<Duration>, cx: &mut Context<'_>) -> bool {
        let Some(due) = due else { return false };
        while due > time::now() {
            let pause = self.pause.get_or_insert_with(|| time::sleep_until(due));
            if Pin::new(pause).poll(cx).is_pending() {
                return true;
            }
            self.pause = None;
        }
        self.pause = None;
        false
    }

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
        let mut state = outbox.state.lock();
        if state.stream != self.stream {
            return Poll::Ready(None);
        }
        let due = state.frames.front().and_then(|held| held.due);
        if !state.open || state.frames.is_empty() || self.holds_back(due, cx) {
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
        let now = due.map_or(Duration::ZERO, |_| time::now());
        let mut bytes = 0;
        while frames.len() < BATCH_FRAMES && bytes < BATCH_BYTES {
            let Some(held) = state.frames.pop_front_if(|held| held.due.is_none_or(|due| due <= now)) else {
                break;
            };
            bytes += held.frame.body.len() + FRAME_OVERHEAD;
            frames.push(held.frame);
        }
        state.bytes -= bytes;
        drop(state);
        crate::count!("quorate_env_net_batches_sent_total");
        crate::count!("quorate_env_net_frames_sent_total", frames.len() as u64);
        crate::count!("quorate_env_sent_bytes_total", bytes as u64);
        Poll::Ready(Some(self.batch(frames, None)))
    }
}
