//! Keeping the process's memory out of crash output.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Makes sure that a crash of this process leaves no image of its memory, in which
/// a key would be. To be called before a wallet is opened; it cannot be taken back.
///
/// On Linux this also keeps debuggers of the same user away from the process.
///
/// # Errors
/// If the operating system refuses, which it has no reason to.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    // The limit does not bind the programs that Linux may be told to pipe dumps to.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::getrlimit;

    use super::*;

    #[test]
    fn afterwards_there_is_no_dump_and_no_limit_to_raise() {
        forbid_core_dumps().unwrap();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        #[cfg(target_os = "linux")]
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            rustix::process::DumpableBehavior::NotDumpable
        );
        // It may be asked for twice.
        forbid_core_dumps().unwrap();
    }
}
