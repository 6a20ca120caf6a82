//! What the flags say to train on, described by its source.

use std::path::Path;

use cli::{Refused, hub_token};
use pages::{
    DatasetViewer, ErrorClass, LocalFiles, RetryPolicy, Secret, ServerAccess, Source, SourceError,
    SourceInfo, Tokenizer, ViewerConfig,
};
use run::{DataManifest, Dataset};

use crate::args::DataArgs;

const DEFAULT_DATASET: &str = "tiiuae/falcon-refinedweb";
const DEFAULT_CONFIG: &str = "default";
const DEFAULT_SPLIT: &str = "train";
const DEFAULT_COLUMN: &str = "content";

/// Describes the dataset of a new run, or of a resumed one whose flags name
/// one: asks the dataset server, or reads local files once.
///
/// A server that is away is no reason to refuse flags that were right yesterday: a
/// new run waits for it, until whoever waits drops the future; a resumed one goes
/// by what it was planned on.
///
/// # Errors
/// Refused if the rows cannot be had, now or later, naming the flag.
pub(crate) async fn describe(
    args: &DataArgs,
    stored: Option<&DataManifest>,
) -> Result<Dataset, Refused> {
    let (tokenizer, vocabulary) = tokenizer(args, stored).await?;
    let (source, rows) = match stored {
        // The rows are pinned; whether they are still there is seen when a
        // worker reads them.
        Some(stored) if !args.names_rows() => (stored.source.clone(), stored.rows),
        _ => rows(args, stored).await?,
    };
    Ok(Dataset {
        source,
        rows,
        tokenizer,
        vocabulary,
    })
}

async fn rows(
    args: &DataArgs,
    stored: Option<&DataManifest>,
) -> Result<(run::Source, u64), Refused> {
    let column = args.column.as_deref().unwrap_or(DEFAULT_COLUMN);
    match &args.data {
        Some(path) => local_rows(path, column).await,
        None => hub_rows(args, column, stored, RetryPolicy::default()).await,
    }
}

async fn local_rows(path: &Path, column: &str) -> Result<(run::Source, u64), Refused> {
    let refuse = |problem: &dyn std::fmt::Display| {
        Refused::new(format!("--data {}: {problem}", path.display()))
    };
    // Workers on this machine may run in another folder.
    let absolute = std::path::absolute(path).map_err(|error| refuse(&error))?;
    let opened = {
        let (absolute, column) = (absolute.clone(), column.to_owned());
        tokio::task::spawn_blocking(move || LocalFiles::open(&absolute, &column)).await
    };
    let files = opened
        .map_err(|error| refuse(&error))?
        .map_err(|error| refuse(&error))?;
    let SourceInfo { rows, revision } = files.info().clone();
    let source = run::Source::Files {
        path: absolute.to_string_lossy().into_owned(),
        column: column.to_owned(),
        revision,
    };
    Ok((source, rows))
}

async fn hub_rows(
    args: &DataArgs,
    column: &str,
    stored: Option<&DataManifest>,
    retry: RetryPolicy,
) -> Result<(run::Source, u64), Refused> {
    let dataset = args.dataset.as_deref().unwrap_or(DEFAULT_DATASET);
    let config = args.dataset_config.as_deref().unwrap_or(DEFAULT_CONFIG);
    let split = args.dataset_split.as_deref().unwrap_or(DEFAULT_SPLIT);
    let refuse =
        |problem: &dyn std::fmt::Display| Refused::new(format!("--dataset {dataset}: {problem}"));
    let viewer = ViewerConfig {
        dataset: dataset.to_owned(),
        config: config.to_owned(),
        split: split.to_owned(),
        column: column.to_owned(),
        pinned: None,
    };
    let access = ServerAccess {
        endpoint: args.dataset_endpoint.clone(),
        token: hub_token().map(|token| Secret::new(token.expose())),
        retry,
        ..ServerAccess::default()
    };
    let viewer = DatasetViewer::new(viewer, access).map_err(|error| refuse(&error))?;
    let SourceInfo { rows, revision } = match (ask(&viewer).await, stored) {
        (Answer::Info(info), _) => info,
        (Answer::Refusal(error), _) => return Err(refuse(&error)),
        (Answer::Away(error), Some(stored)) => {
            tracing::warn!(
                "--dataset {dataset}: {error}; going on with the rows that the run was planned on"
            );
            as_planned(stored)
        }
        (Answer::Away(error), None) => wait(&viewer, dataset, error)
            .await
            .map_err(|error| refuse(&error))?,
    };
    let source = run::Source::Falcon {
        dataset: dataset.to_owned(),
        config: config.to_owned(),
        split: split.to_owned(),
        column: column.to_owned(),
        revision,
    };
    Ok((source, rows))
}

/// What came of asking the dataset server, as often as its client does.
enum Answer {
    Info(SourceInfo),
    /// It will say so again.
    Refusal(SourceError),
    /// It was not there, or too busy; it may be later.
    Away(SourceError),
}

async fn ask(viewer: &DatasetViewer) -> Answer {
    match viewer.describe().await {
        Ok(info) => Answer::Info(info),
        Err(error) => match error.class() {
            ErrorClass::Retry { .. } => Answer::Away(error),
            ErrorClass::Fatal | ErrorClass::Skip { .. } => Answer::Refusal(error),
        },
    }
}

/// Asks until there is an answer: there is no run without it.
async fn wait(
    viewer: &DatasetViewer,
    dataset: &str,
    mut error: SourceError,
) -> Result<SourceInfo, SourceError> {
    loop {
        let ErrorClass::Retry { after } = error.class() else {
            return Err(error);
        };
        // It says itself when it will be asked again.
        tracing::warn!("the run waits for --dataset {dataset}: {error}");
        tokio::time::sleep(after).await;
        error = match ask(viewer).await {
            Answer::Info(info) => return Ok(info),
            Answer::Refusal(error) | Answer::Away(error) => error,
        };
    }
}

/// The rows of a run, which are pinned: workers refuse all others. So whatever the
/// flags name beside them can be compared with the run all the same.
fn as_planned(stored: &DataManifest) -> SourceInfo {
    SourceInfo {
        rows: stored.rows,
        revision: stored.source.revision().to_owned(),
    }
}

/// The tokenizer's identity and how many ids it has.
async fn tokenizer(
    args: &DataArgs,
    stored: Option<&DataManifest>,
) -> Result<(String, u32), Refused> {
    if let (None, Some(stored)) = (&args.tokenizer, stored) {
        return Ok((stored.tokenizer.clone(), stored.vocabulary));
    }
    let file = args.tokenizer.clone();
    let opened = tokio::task::spawn_blocking(move || match file {
        Some(file) => Tokenizer::from_file(&file)
            .map_err(|error| Refused::new(format!("--tokenizer {}: {error}", file.display()))),
        None => Tokenizer::gpt2().map_err(Refused::because),
    });
    let tokenizer = opened.await.map_err(Refused::because)??;
    Ok((tokenizer.identity().to_owned(), tokenizer.vocabulary_size()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const ONCE: RetryPolicy = RetryPolicy {
        attempts: 1,
        first_wait: Duration::from_millis(1),
        longest_backoff: Duration::from_millis(1),
        longest_told_wait: Duration::from_millis(1),
    };

    /// A dataset server that gives these answers, one to each request, and is gone.
    fn server(answers: Vec<(&'static str, String)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let request = BufReader::new(stream.try_clone().unwrap()).lines();
                let head = request.map_while(Result::ok);
                assert!(head.take_while(|line| !line.is_empty()).count() > 0);
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nX-Revision: 5eed\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
        });
        endpoint
    }

    fn rows() -> (&'static str, String) {
        let row = r#"{"row_idx":0,"row":{"content":"text"},"truncated_cells":[]}"#;
        let body = format!(r#"{{"rows":[{row}],"num_rows_total":9950,"partial":false}}"#);
        ("200 OK", body)
    }

    fn fault(status: &'static str) -> (&'static str, String) {
        (status, r#"{"error":"words of the server"}"#.to_owned())
    }

    async fn described(
        endpoint: String,
        stored: Option<&DataManifest>,
    ) -> Result<(run::Source, u64), String> {
        let args = DataArgs {
            dataset: Some("somebody/text".to_owned()),
            dataset_endpoint: endpoint,
            ..DataArgs::default()
        };
        let described = hub_rows(&args, DEFAULT_COLUMN, stored, ONCE).await;
        described.map_err(|refused| refused.to_string())
    }

    fn source(dataset: &str, revision: &str) -> run::Source {
        run::Source::Falcon {
            dataset: dataset.to_owned(),
            config: DEFAULT_CONFIG.to_owned(),
            split: DEFAULT_SPLIT.to_owned(),
            column: DEFAULT_COLUMN.to_owned(),
            revision: revision.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_new_run_waits_for_a_server_that_is_busy() {
        let busy = ["503 Service Unavailable", "429 Too Many Requests"];
        let mut answers: Vec<_> = busy.map(fault).into();
        answers.extend([fault("500 Internal Server Error"), rows()]);
        let described = described(server(answers), None).await;
        assert_eq!(described, Ok((source("somebody/text", "5eed"), 9950)));
    }

    #[tokio::test]
    async fn what_the_server_will_say_again_is_refused_also_after_it_was_busy() {
        let answers = vec![fault("503 Service Unavailable"), fault("404 Not Found")];
        let refused = described(server(answers), None).await.unwrap_err();
        assert!(refused.contains("--dataset somebody/text"), "{refused}");
        assert!(refused.contains("404"), "{refused}");
    }

    #[tokio::test]
    async fn a_resumed_run_goes_by_its_plan_and_still_tells_another_dataset() {
        for dataset in ["somebody/text", "somebody/else"] {
            let stored = DataManifest {
                source: source(dataset, "pinned"),
                rows: 700,
                ..crate::store::tests::run_record().config.data
            };
            let away = described(server(Vec::new()), Some(&stored)).await;
            // As the flags name it, to be compared with what is stored.
            assert_eq!(away, Ok((source("somebody/text", "pinned"), 700)));
            let refused = vec![fault("401 Unauthorized")];
            let refused = described(server(refused), Some(&stored)).await;
            assert!(refused.unwrap_err().contains("401"));
        }
    }
}
