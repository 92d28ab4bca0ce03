//! Shards on three simulated nodes: what must hold when leaders change, shards split and copies come and go.

#![recursion_limit = "256"]

mod clocks;
mod closing;
mod damage;
mod disks;
mod forgetting;
mod gc;
mod grouping;
mod hand_overs;
mod harness;
mod leaders;
mod locking;
mod membership;
mod merges;
mod revive;
mod split_locks;
mod splits;
mod strain;
