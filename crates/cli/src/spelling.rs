//! `--num_epochs` and `--num-epochs` are one flag.
//!
//! Flags that miners know from earlier tools are spelled with underscores,
//! newer ones with hyphens, and nobody should have to remember which is which.

use clap::{Arg, Command};

/// Lets every long flag of `command` and of all its subcommands be spelled with
/// hyphens or with underscores throughout. Help shows the spelling that the
/// flag was declared with.
///
/// A spelling that another flag of the same command already has is left to it.
#[must_use]
pub fn either_way(command: Command) -> Command {
    let taken: Vec<String> = command.get_arguments().flat_map(long_spellings).collect();
    command
        .mut_args(|arg| with_aliases(arg, &taken))
        .mut_subcommands(either_way)
}

fn long_spellings(arg: &Arg) -> Vec<String> {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let long = arg.get_long().into_iter();
    long.chain(aliases).map(str::to_owned).collect()
}

fn with_aliases(arg: Arg, taken: &[String]) -> Arg {
    let mut added: Vec<String> = Vec::new();
    for spelling in long_spellings(&arg) {
        for other in [spelling.replace('_', "-"), spelling.replace('-', "_")] {
            if !taken.contains(&other) && !added.contains(&other) {
                added.push(other);
            }
        }
    }
    arg.aliases(added)
}

#[cfg(test)]
mod tests {
    use clap::{ArgAction, Parser, Subcommand};

    use super::*;

    fn value_of(command: &Command, argv: &[&str], id: &str) -> Option<String> {
        let matches = command.clone().try_get_matches_from(argv).ok()?;
        matches.get_one::<String>(id).cloned()
    }

    #[test]
    fn both_spellings_of_a_flag_are_understood() {
        let command = either_way(Command::new("x").args([
            Arg::new("epochs").long("num_epochs"),
            Arg::new("batch").long("global-batch"),
            Arg::new("mixed").long("a_b-c"),
            Arg::new("wallet").long("wallet.hot_key"),
        ]));
        for (flag, id) in [
            ("--num_epochs", "epochs"),
            ("--num-epochs", "epochs"),
            ("--global-batch", "batch"),
            ("--global_batch", "batch"),
            ("--a_b-c", "mixed"),
            ("--a-b-c", "mixed"),
            ("--a_b_c", "mixed"),
            ("--wallet.hot_key", "wallet"),
            ("--wallet.hot-key", "wallet"),
        ] {
            let separate = value_of(&command, &["x", flag, "7"], id);
            assert_eq!(separate.as_deref(), Some("7"), "{flag} 7");
            let joined = value_of(&command, &["x", &format!("{flag}=7")], id);
            assert_eq!(joined.as_deref(), Some("7"), "{flag}=7");
        }
    }

    #[test]
    fn a_declared_alias_gets_its_other_spelling_too() {
        let arg = Arg::new("dir").long("model_dir").alias("save_to");
        let command = either_way(Command::new("x").arg(arg));
        for flag in ["--model_dir", "--model-dir", "--save_to", "--save-to"] {
            assert!(value_of(&command, &["x", flag, "d"], "dir").is_some());
        }
    }

    #[test]
    fn a_spelling_that_is_another_flag_stays_that_flag() {
        let command = either_way(
            Command::new("x").args([Arg::new("one").long("a_b"), Arg::new("two").long("a-b")]),
        );
        command.clone().debug_assert();
        let argv = ["x", "--a_b", "1", "--a-b", "2"];
        assert_eq!(value_of(&command, &argv, "one").as_deref(), Some("1"));
        assert_eq!(value_of(&command, &argv, "two").as_deref(), Some("2"));
    }

    #[derive(Parser)]
    struct Outer {
        #[command(subcommand)]
        inner: Inner,
    }

    #[derive(Subcommand)]
    enum Inner {
        Score {
            #[arg(long = "load_model_dir", action = ArgAction::Set)]
            load_model_dir: String,
        },
    }

    #[test]
    fn subcommands_are_walked_too() {
        use clap::{CommandFactory, FromArgMatches};
        let command = either_way(Outer::command());
        command.clone().debug_assert();
        let argv = ["x", "score", "--load-model-dir", "d"];
        let matches = command.try_get_matches_from(argv).unwrap();
        let Inner::Score { load_model_dir } = Outer::from_arg_matches(&matches).unwrap().inner;
        assert_eq!(load_model_dir, "d");
    }

    #[test]
    fn help_shows_the_declared_spelling_alone() {
        let arg = Arg::new("epochs").long("num_epochs").help("passes");
        let mut command = either_way(Command::new("x").arg(arg));
        let help = command.render_long_help().to_string();
        assert!(help.contains("--num_epochs"), "{help}");
        assert!(!help.contains("num-epochs"), "{help}");
    }
}
