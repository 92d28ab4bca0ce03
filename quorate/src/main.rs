//! `quorate`: the node, and the tools around it.

mod admin;
mod check;
mod cli;
mod demo;
mod fault;
mod logging;
mod node;
mod progress;
mod shell;
mod simulate;

use clap::Parser;
use std::process::ExitCode;

/// Of the whole process, RocksDB's C++ too: the system's allocator, whose place it takes (by a feature of the crate), keeps what many
/// threads have freed.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by it before `main`: what was freed goes back to the system after two seconds, by threads that do nothing else.
// SAFETY: no other crate defines it, and it is of the type that jemalloc declares (a pointer to text that ends in a zero byte).
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: Option<&'static libc::c_char> =
    // SAFETY: the text lives as long as the program.
    Some(unsafe { &*c"background_thread:true,dirty_decay_ms:2000".as_ptr() });

fn main() -> ExitCode {
    let cli = match cli::arguments_with_config_file(std::env::args_os().collect()) {
        Ok(arguments) => cli::Cli::parse_from(arguments),
        Err(error) => return fail(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("quorate: {error:#}");
    ExitCode::FAILURE
}

fn run(cli: cli::Cli) -> anyhow::Result<()> {
    use cli::Command::*;
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if let Start(_) = &cli.command {
        node::threads::batch();
        threads.worker_threads(node::threads::for_node());
        threads.on_thread_start(quorate_env::contention::watch_this_thread);
    }
    let runtime = threads.enable_all().build()?;
    match cli.command {
        Start(args) => runtime.block_on(node::run(args)),
        Init(args) => runtime.block_on(admin::init(&args)),
        Demo(args) => runtime.block_on(demo::run(args)),
        Sql(args) => runtime.block_on(shell::run(args)),
        Node(args) => runtime.block_on(admin::node(args)),
        Shard(args) => runtime.block_on(admin::shard(args)),
        Setting(args) => runtime.block_on(admin::setting(args)),
        Bench(args) => runtime.block_on(quorate_bench::run(args, progress::held)),
        Check(args) => runtime.block_on(check::run(args)),
        Fault(args) => runtime.block_on(fault::run(args)),
        Sim(args) => simulate::run(args),
    }
}
