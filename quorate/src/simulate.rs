//! `quorate sim`: becomes the simulator, a program of its own that lies beside this one. It takes the operating system's entropy away
//! from its whole process, which a node must never happen to.

use anyhow::{Context, Result};
use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

const PROGRAM: &str = "quorate-sim";
/// What it calls itself in the commands that it prints.
const CALLED: (&str, &str) = ("QUORATE_SIM_CALLED", "quorate sim");

#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub struct SimArgs {
    /// `--help` tells them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

/// # Errors
/// When there is no simulator beside this program. Otherwise it does not return.
pub fn run(args: SimArgs) -> Result<()> {
    let beside = std::env::current_exe()?.with_file_name(PROGRAM);
    let error = Command::new(&beside).args(args.arguments).env(CALLED.0, CALLED.1).exec();
    let why =
        || format!("cannot start the simulator, {}, which `cargo xtask dist` lays there", beside.display());
    Err(error).with_context(why)
}
