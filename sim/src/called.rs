//! What its user has called: this program is started by others.

/// The variable in which another one than `cargo xtask sim` names itself.
const VARIABLE: &str = "QUORATE_SIM_CALLED";

pub fn name() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| "cargo xtask sim".into())
}

/// How to have a run again.
pub fn replay(arguments: &[String]) -> String {
    format!("replay: {} {}", name(), arguments.join(" "))
}
