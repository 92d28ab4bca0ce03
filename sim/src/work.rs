//! What clients do while trouble strikes, and how it is judged: the bank in every run, and beside it those of the other
//! workloads that the seed draws.

pub mod bank;
mod batches;
mod directory;
mod duty;
pub mod ground;
mod judged;
mod lists;
mod once;
mod past;
mod queue;
mod registers;
mod ring;
mod rows;
pub mod transfers;

use crate::{cluster::Cluster, node::Node};
use async_trait::async_trait;
use quorate_env::{Task, sim::SimWorld};
use quorate_proto::Key;
use quorate_txn::Isolation;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Each has a stretch of keys of its own.
#[async_trait]
pub trait Workload: Send + Sync {
    fn ground(&self) -> &ground::Ground;

    /// Lays out what the clients expect to find.
    ///
    /// # Errors
    /// When the cluster does not come to serve within its patience.
    async fn open(&self) -> Result<(), String>;

    /// One client's next piece of work, through a node.
    async fn step(&self, node: &Node);

    /// Reads everything back once all is healed, and judges the whole run; what is wrong, in words.
    ///
    /// # Errors
    /// When the cluster does not answer again.
    async fn settle(&self) -> Result<Vec<String>, String>;
}

/// The workloads that a seed may draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Lists(Isolation),
    Registers,
    Duty,
    Directory,
    Ring,
    Batches,
    Once,
    Queue,
}

impl Kind {
    pub const ALL: [Kind; 10] = [
        Kind::Lists(Isolation::Serializable),
        Kind::Lists(Isolation::RepeatableRead),
        Kind::Lists(Isolation::ReadCommitted),
        Kind::Registers,
        Kind::Duty,
        Kind::Directory,
        Kind::Ring,
        Kind::Batches,
        Kind::Once,
        Kind::Queue,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Lists(Isolation::Serializable) => "lists",
            Kind::Lists(Isolation::RepeatableRead) => "lists at repeatable read",
            Kind::Lists(Isolation::ReadCommitted) => "lists at read committed",
            Kind::Registers => "registers",
            Kind::Duty => "duty",
            Kind::Directory => "directory",
            Kind::Ring => "ring",
            Kind::Batches => "batches",
            Kind::Once => "once",
            Kind::Queue => "queue",
        }
    }

    /// The byte with which all of its keys begin.
    fn area(self) -> u8 {
        let place = Kind::ALL.iter().position(|kind| *kind == self);
        bank::AREA + 1 + place.expect("all of them are listed") as u8
    }

    /// A key of its stretch: 0x80 divides it in halves, in both of which each workload has rows.
    pub fn key(self, at: u8) -> Key {
        vec![self.area(), at].into()
    }

    /// `strict`: what was acknowledged comes before what began later.
    fn workload(self, cluster: &Cluster, strict: bool) -> Arc<dyn Workload> {
        let ground = ground::Ground::new(self.name(), self.area(), cluster.clone());
        match self {
            Kind::Lists(isolation) => Arc::new(lists::Lists::new(ground, isolation, strict)),
            Kind::Registers => Arc::new(registers::Registers::new(ground)),
            Kind::Duty => Arc::new(duty::Duty::new(ground)),
            Kind::Directory => Arc::new(directory::Directory::new(ground)),
            Kind::Ring => Arc::new(ring::Ring::new(ground)),
            Kind::Batches => Arc::new(batches::Batches::new(ground)),
            Kind::Once => Arc::new(once::Once::new(ground)),
            Kind::Queue => Arc::new(queue::Queue::new(ground)),
        }
    }
}

/// Where the key space is divided at first.
pub fn splits(kinds: &[Kind]) -> Vec<Key> {
    bank::splits().into_iter().chain(kinds.iter().map(|kind| kind.key(0x80))).collect()
}

/// The workloads of a run, and the clients that work on them.
#[derive(Clone)]
pub struct Work {
    cluster: Cluster,
    bank: Arc<dyn Workload>,
    others: Vec<Arc<dyn Workload>>,
    closed: Arc<AtomicBool>,
}

impl Work {
    /// `strict`: what was acknowledged comes before what began later.
    pub fn new(cluster: &Cluster, kinds: &[Kind], strict: bool) -> Self {
        Work {
            cluster: cluster.clone(),
            bank: Arc::new(bank::Bank::new(cluster.clone(), strict)),
            others: kinds.iter().map(|kind| kind.workload(cluster, strict)).collect(),
            closed: Arc::default(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<dyn Workload>> {
        std::iter::once(&self.bank).chain(&self.others)
    }

    /// # Errors
    /// When the cluster does not come to serve within its patience.
    pub async fn open(&self) -> Result<(), String> {
        for workload in self.all() {
            workload.open().await?;
        }
        Ok(())
    }

    /// Starts clients that work until [`Work::close`].
    pub fn clients(&self, count: u64) -> Vec<Task<()>> {
        (0..count).map(|_| self.cluster.world.spawn("client", self.clone().client())).collect()
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    async fn client(self) {
        let world = self.cluster.world.clone();
        while !self.closed.load(Ordering::Relaxed) {
            world.sleep(Duration::from_micros(world.random().range(0..60_000))).await;
            let Some(node) = self.cluster.running.any(&world) else { continue };
            self.draw(&world).step(&node).await;
        }
    }

    /// The bank in half of all cases, if there is anything else.
    fn draw(&self, world: &SimWorld) -> &dyn Workload {
        if self.others.is_empty() || world.random().chance(0.5) {
            return &*self.bank;
        }
        let at = world.random().range(0..self.others.len() as u64);
        &*self.others[at as usize]
    }

    /// Transactions acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.all().map(|workload| workload.ground().tally().acknowledged).sum()
    }

    /// Judges them all.
    ///
    /// # Errors
    /// When the cluster does not answer again.
    pub async fn settle(&self) -> Result<Vec<String>, String> {
        let mut problems = Vec::new();
        for workload in self.all() {
            let name = workload.ground().name;
            problems.extend(workload.settle().await?.into_iter().map(|what| format!("{name}: {what}")));
        }
        Ok(problems)
    }

    /// What the clients were told, in a line for each workload.
    pub fn told(&self) -> Vec<String> {
        let told = |workload: &Arc<dyn Workload>| {
            format!("{}: {}", workload.ground().name, workload.ground().tally())
        };
        self.all().map(told).collect()
    }
}
