//! Flags and data sets that the tests share.

use clap::Parser;
use run::{Dataset, RunArgs, RunConfig, RunError, Source};

#[derive(Parser)]
#[command(about = "the coordinator's own description")]
pub(crate) struct CommandLine {
    #[command(flatten)]
    run: RunArgs,
}

/// The flags, as the coordinator's command line would give them.
pub(crate) fn flags(line: &str) -> RunArgs {
    let arguments = std::iter::once("coordinator").chain(line.split_whitespace());
    CommandLine::parse_from(arguments).run
}

/// A corpus of 20 pages.
pub(crate) fn dataset() -> Dataset {
    Dataset {
        source: Source::Files {
            path: "/data/corpus".to_owned(),
            column: "content".to_owned(),
            revision: "5eed".to_owned(),
        },
        rows: 1950,
        tokenizer: "gpt2 1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
            .to_owned(),
        vocabulary: 50_257,
    }
}

/// The run of these flags, started with two workers from scratch.
pub(crate) fn run_of(line: &str) -> Result<RunConfig, RunError> {
    flags(line).settings(2, None)?.with_data("first", dataset())
}
