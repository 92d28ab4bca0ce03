//! openraft's queues. tokio's keep room for 32 messages from the start, which for the four queues of each of ten thousand
//! quiet replicas is most of what they take up; these hold what is waiting, and give the room back.

use openraft::OptionalSend;
use openraft::async_runtime::{Mpsc, MpscReceiver, MpscSender, MpscWeakSender, SendError, TryRecvError};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::Semaphore;
use tokio::task::coop;

/// Room for so many messages is kept by an empty queue.
const KEPT: usize = 4;

pub struct EnvMpsc;

impl Mpsc for EnvMpsc {
    type Sender<T: OptionalSend> = Sender<T>;
    type Receiver<T: OptionalSend> = Receiver<T>;
    type WeakSender<T: OptionalSend> = WeakSender<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (Sender<T>, Receiver<T>) {
        let queue = Arc::new(Queue {
            room: Semaphore::new(buffer),
            waiting: Mutex::new(Waiting { messages: VecDeque::new(), receiver: None }),
            senders: AtomicUsize::new(1),
        });
        (Sender(queue.clone()), Receiver(queue))
    }
}

struct Queue<T> {
    /// Senders get it in the order in which they came.
    room: Semaphore,
    waiting: Mutex<Waiting<T>>,
    senders: AtomicUsize,
}

struct Waiting<T> {
    messages: VecDeque<T>,
    receiver: Option<Waker>,
}

impl<T> Queue<T> {
    fn put(&self, message: T) {
        let waker = {
            let mut waiting = self.waiting.lock();
            waiting.messages.push_back(message);
            waiting.receiver.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn take(&self, waker: Option<&Waker>) -> Result<T, TryRecvError> {
        let mut waiting = self.waiting.lock();
        let Some(message) = waiting.messages.pop_front() else {
            // Looked at under the lock: the last sender wakes after it has gone.
            if self.senders.load(Ordering::Acquire) == 0 {
                return Err(TryRecvError::Disconnected);
            }
            if let Some(waker) = waker {
                waiting.receiver = Some(waker.clone());
            }
            return Err(TryRecvError::Empty);
        };
        if waiting.messages.is_empty() && waiting.messages.capacity() > KEPT {
            waiting.messages = VecDeque::new();
        }
        drop(waiting);
        self.room.add_permits(1);
        Ok(message)
    }
}

pub struct Sender<T>(Arc<Queue<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waker = self.0.waiting.lock().receiver.take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl<T: OptionalSend> MpscSender<EnvMpsc, T> for Sender<T> {
    async fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.0.room.acquire().await {
            Ok(room) => {
                room.forget();
                self.0.put(message);
                Ok(())
            }
            Err(_closed) => Err(SendError(message)),
        }
    }

    fn downgrade(&self) -> WeakSender<T> {
        WeakSender(Arc::downgrade(&self.0))
    }
}

pub struct WeakSender<T>(Weak<Queue<T>>);

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        WeakSender(self.0.clone())
    }
}

impl<T: OptionalSend> MpscWeakSender<EnvMpsc, T> for WeakSender<T> {
    /// `None` once every sender has gone.
    fn upgrade(&self) -> Option<Sender<T>> {
        let queue = self.0.upgrade()?;
        let more = |senders: usize| (senders > 0).then_some(senders + 1);
        queue.senders.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Sender(queue))
    }
}

pub struct Receiver<T>(Arc<Queue<T>>);

impl<T> Receiver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        // A task that always finds messages lets others run now and then.
        let turn = ready!(coop::poll_proceed(cx));
        let taken = match self.0.take(Some(cx.waker())) {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => return Poll::Pending,
        };
        turn.made_progress();
        Poll::Ready(taken)
    }
}

impl<T: OptionalSend> MpscReceiver<T> for Receiver<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> + OptionalSend {
        poll_fn(|cx| self.poll(cx))
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.take(None)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.room.close();
        let messages = std::mem::take(&mut self.0.waiting.lock().messages);
        drop(messages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use futures::executor::block_on;

    fn room(receiver: &Receiver<u64>) -> usize {
        receiver.0.waiting.lock().messages.capacity()
    }

    #[test]
    fn a_queue_holds_no_room_before_a_message_comes_and_gives_it_back() {
        let (sender, mut receiver) = EnvMpsc::channel(1000);
        assert_eq!(room(&receiver), 0);
        for turn in 0..3 {
            (0..100).for_each(|n| block_on(sender.send(n)).unwrap());
            assert!(room(&receiver) >= 100, "turn {turn}");
            (0..100).for_each(|n| assert_eq!(receiver.try_recv(), Ok(n)));
            assert!(room(&receiver) <= KEPT, "turn {turn}");
        }
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    }

    /// What is sent to openraft is to arrive in the order in which it was first polled.
    #[test]
    fn who_waits_for_room_gets_it_before_those_who_come_later() {
        let (sender, mut receiver) = EnvMpsc::channel(1);
        block_on(sender.send(1)).unwrap();
        let mut second = Box::pin(sender.send(2));
        assert!(second.as_mut().now_or_never().is_none(), "it is full");
        assert_eq!(receiver.try_recv(), Ok(1));
        let mut third = Box::pin(sender.send(3));
        assert!(third.as_mut().now_or_never().is_none(), "the room is the second's");
        assert_eq!(second.now_or_never(), Some(Ok(())));
        assert_eq!(block_on(receiver.recv()), Some(2));
        assert_eq!(third.now_or_never(), Some(Ok(())));
        assert_eq!(block_on(receiver.recv()), Some(3));
    }

    #[test]
    fn each_side_learns_that_the_other_has_gone() {
        let (sender, mut receiver) = EnvMpsc::channel(4);
        let weak = sender.downgrade();
        let other = weak.upgrade().unwrap();
        block_on(other.send(7)).unwrap();
        drop(sender);
        assert_eq!(block_on(receiver.recv()), Some(7));
        let mut waiting = Box::pin(receiver.recv());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(other);
        assert_eq!(waiting.now_or_never(), Some(None));
        assert!(weak.upgrade().is_none());
        let (sender, receiver) = EnvMpsc::channel(4);
        drop(receiver);
        assert_eq!(block_on(sender.send(8)), Err(SendError(8)));
    }
}
