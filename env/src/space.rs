//! What is left of the disk that a node's data lies on. Somebody who can see the disk says it; who leads shards goes by it.

use crate::watch;
use quorate_proto::{Room, Space};
use std::sync::atomic::{AtomicBool, Ordering};

/// At this part of the reserve hardly anything is written any more.
const LAST: u64 = 4;
/// So much more than the limit must be there again, in parts of the limit, so that nothing changes to and fro.
const BACK: u64 = 4;

pub struct SpaceWatch {
    space: watch::Sender<Space>,
    /// The log waits for space.
    stuck: AtomicBool,
}

impl Default for SpaceWatch {
    fn default() -> Self {
        SpaceWatch { space: watch::Sender::new(Space::default()), stuck: AtomicBool::new(false) }
    }
}

impl SpaceWatch {
    /// As last told; plenty before that.
    pub fn get(&self) -> Space {
        *self.space.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<Space> {
        self.space.subscribe()
    }

    pub fn room(&self) -> Room {
        self.get().room
    }

    /// Whether the log could not write when last looked at: then not even a vote can be cast.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Tells what is seen. Returns whether there is more or less room than before.
    pub fn tell(&self, free: u64, reserve: u64, stuck: bool) -> bool {
        let before = self.room();
        let room = if stuck { Room::Full } else { room(before, free, reserve) };
        self.stuck.store(stuck, Ordering::Relaxed);
        self.space.send_replace(Space { free, reserve, room });
        before != room
    }
}

fn room(before: Room, free: u64, reserve: u64) -> Room {
    let below = |limit: u64, was: bool| free < limit + if was { limit / BACK } else { 0 };
    if below(reserve / LAST, before == Room::Full) {
        Room::Full
    } else if below(reserve, before >= Room::Short) {
        Room::Short
    } else {
        Room::Plenty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_follows_and_does_not_flutter() {
        let watch = SpaceWatch::default();
        assert_eq!(watch.room(), Room::Plenty);
        let mut seen = Vec::new();
        for free in [1000, 100, 99, 101, 124, 125, 99, 24, 26, 30, 31, 32, 0, 500] {
            watch.tell(free, 100, false);
            seen.push(watch.room());
        }
        use Room::{Full as F, Plenty as P, Short as S};
        assert_eq!(seen, [P, P, S, S, S, P, S, F, F, F, S, S, F, P]);
        assert!(watch.tell(500, 100, true) && watch.is_stuck(), "whatever seems to be free");
        assert_eq!(watch.room(), F);
        assert!(watch.tell(500, 100, false) && !watch.tell(400, 100, false));
    }
}
