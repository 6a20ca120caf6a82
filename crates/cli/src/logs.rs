//! Logs: to standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal as _};

use clap::{Args, ValueEnum};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::Refused;

/// What is logged when nothing else is asked for. The libraries named tell their
/// own story at `info`, a line for every piece of a file.
const DEFAULT_FILTER: &str = "info,tk_encode=warn,xet=warn,xet_client=warn,\
     xet_core_structures=warn,xet_data=warn,xet_runtime=warn";

/// The flags about logs. [`crate::main`] adds them to every binary and to all
/// its subcommands.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace, off), or levels by
    /// module such as info,worker=debug.
    #[arg(
        long = "log",
        value_name = "FILTER",
        env = "RUST_LOG",
        default_value = DEFAULT_FILTER,
        global = true
    )]
    pub log: String,

    /// How log lines are written to standard error.
    #[arg(long = "log-format", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
}

impl Default for LogArgs {
    fn default() -> Self {
        Self {
            log: DEFAULT_FILTER.to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text an event, coloured if a person is watching.
    #[default]
    Text,
    /// One JSON object a line, with the event's fields at its top level.
    Json,
}

/// Starts logging to standard error for the whole process.
///
/// # Errors
/// Refused if the filter cannot be understood, or if logs were started before.
pub fn start(args: &LogArgs) -> Result<(), Refused> {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = io::stderr().is_terminal() && !no_colour;
    subscriber(args, io::stderr, colour)?
        .try_init()
        .map_err(Refused::because)
}

/// What turns events into lines, for [`start`] and for tests with a writer of
/// their own.
fn subscriber<W>(
    args: &LogArgs,
    writer: W,
    colour: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, Refused>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    // RUST_LOG= is how people take it back for one command.
    let filter = match args.log.trim() {
        "" => DEFAULT_FILTER,
        given => given,
    };
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Refused::new(format!(
            "--log (or RUST_LOG) {filter:?}: {error}; give a level such as debug, or levels by \
             module such as info,worker=debug"
        ))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colour);
    Ok(match args.log_format {
        LogFormat::Text => Box::new(lines.finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(args: &LogArgs) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(args, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(step = 7, loss = 2.5, "stepped");
            tracing::debug!("detail");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn args(log: &str, log_format: LogFormat) -> LogArgs {
        LogArgs {
            log: log.to_owned(),
            log_format,
        }
    }

    #[test]
    fn text_has_a_line_an_event_and_no_colour_codes() {
        let text = logged(&args("info", LogFormat::Text));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("stepped step=7 loss=2.5"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn json_has_an_object_a_line_with_the_fields_at_its_top() {
        let text = logged(&args("debug", LogFormat::Json));
        let events: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0]["message"], "stepped");
        assert_eq!(events[0]["step"], 7);
        assert_eq!(events[1]["level"], "DEBUG");
    }

    #[test]
    fn a_filter_can_name_modules() {
        assert_eq!(logged(&args("info,cli=off", LogFormat::Text)), "");
        assert!(logged(&args("off,cli=debug", LogFormat::Text)).contains("detail"));
    }

    #[test]
    fn a_blank_filter_is_the_default() {
        let text = logged(&args(" ", LogFormat::Text));
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused_by_name() {
        let bad = args("info,worker=loud", LogFormat::Text);
        let refused = subscriber(&bad, io::sink, false).err().unwrap();
        let text = refused.to_string();
        assert!(
            text.contains("--log") && text.contains("RUST_LOG"),
            "{text}"
        );
    }
}
