//! A logged ERROR fails a run: it says that something met what it should never meet.

use parking_lot::Mutex;
use quorate_env::sim::START;
use std::{fmt, sync::Arc};
use tracing::{Event, Level, Subscriber, field::Field};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};
use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, layer::Context, layer::SubscriberExt, util::SubscriberInitExt,
};

/// The errors logged so far.
#[derive(Clone, Default)]
pub struct Errors(Arc<Mutex<Vec<String>>>);

impl Errors {
    /// Without those by which a replica stops that has met a bad block while it applied an entry: the plan has made it. Its core says why,
    /// the driver of groups that it has stopped, and what has become of the copy is looked at in the end.
    pub fn take(&self) -> Vec<String> {
        let mut all = std::mem::take(&mut *self.0.lock());
        if all.iter().any(|text| text.contains(BAD_BLOCK)) {
            all.retain(|text| !text.contains(BAD_BLOCK) && !text.starts_with(STOPPED));
        }
        all
    }
}

const BAD_BLOCK: &str = "block checksum mismatch (injected)";
const STOPPED: &str = "quorate_consensus::driver: the replica has stopped";

struct Text(String);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}

/// What openraft logs as errors without there being one: a change of members that it refuses to a leader without a recent word
/// of its quorum, which is asked for then (`consensus/src/change.rs`); that someone's request found its replica stopped; and that a
/// heartbeat was answered when its leader was closed already. Why a replica stops, if nobody stops it, is told by its core. And a
/// damaged copy is what the plan has made.
const ORDINARY: [&str; 4] = [
    "openraft::raft::api::management",
    "openraft::raft::raft_inner",
    "openraft::core::heartbeat::worker",
    "quorate_shard_server::damage",
];

impl<S: Subscriber> Layer<S> for Errors {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR && !ORDINARY.contains(&event.metadata().target()) {
            let mut text = Text(format!("{}: ", event.metadata().target()));
            event.record(&mut text);
            self.0.lock().push(text.0.trim_end().to_owned());
        }
    }
}

/// Virtual seconds since the world's start.
struct WorldTime;

impl FormatTime for WorldTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.6}", (quorate_env::time::now() - START).as_secs_f64())
    }
}

/// Collects errors from now on; `verbose` also writes the log (by `RUST_LOG`) to standard error.
pub fn collect(verbose: bool) -> Errors {
    let errors = Errors::default();
    let log = verbose.then(|| {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_timer(WorldTime)
            .with_writer(std::io::stderr)
            .with_filter(filter)
    });
    // Only the first caller in a process gets its wish; the binary runs one seed.
    let _ = tracing_subscriber::registry()
        .with(errors.clone().with_filter(LevelFilter::ERROR))
        .with(log)
        .try_init();
    errors
}
