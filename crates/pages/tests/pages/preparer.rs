//! From a page's number to its packed page: once, in bounded numbers, and from the cache.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::server::{REVISION, ROWS, Server, error, good};
use ledger::PageId;
use pages::{
    BoxFuture, CacheConfig, ErrorClass, PrepareError, Preparer, PreparerConfig, ServerAccess,
    Source, SourceError, SourceInfo, SourceMetrics, Tokenizer, open, pack,
};
use run::{DataManifest, PACKING_VERSION};
use tempfile::TempDir;
use tokio::sync::Semaphore;

const SL: u32 = 16;

fn tokenizer() -> Arc<Tokenizer> {
    static GPT2: std::sync::OnceLock<Arc<Tokenizer>> = std::sync::OnceLock::new();
    Arc::clone(GPT2.get_or_init(|| Arc::new(Tokenizer::gpt2().unwrap())))
}

fn manifest_of(source: run::Source, rows: u64) -> DataManifest {
    DataManifest {
        source,
        rows,
        tokenizer: tokenizer().identity().to_owned(),
        vocabulary: tokenizer().vocabulary_size(),
        keep_long_documents: false,
        packing: PACKING_VERSION,
    }
}

fn manifest() -> DataManifest {
    let source = run::Source::Falcon {
        dataset: "tiiuae/falcon-refinedweb".into(),
        config: "default".into(),
        split: "train".into(),
        column: "content".into(),
        revision: REVISION.into(),
    };
    manifest_of(source, ROWS)
}

/// A source in memory, which holds its answers back until it is allowed to give them.
#[derive(Debug)]
struct Gated {
    gate: Semaphore,
    asked: Mutex<Vec<PageId>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Gated {
    fn new(open: usize) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(open),
            asked: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> Vec<PageId> {
        self.asked.lock().unwrap().clone()
    }

    fn rows(page: PageId) -> Vec<String> {
        (0..100).map(|row| format!("row {row} of {page}")).collect()
    }
}

impl Source for Gated {
    fn describe(&self) -> BoxFuture<'_, Result<SourceInfo, SourceError>> {
        Box::pin(async {
            Ok(SourceInfo {
                rows: ROWS,
                revision: REVISION.into(),
            })
        })
    }

    fn page(&self, page: PageId) -> BoxFuture<'_, Result<Vec<String>, SourceError>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(page);
            let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            if page == PageId(9) {
                let reason = "a torn page".to_owned();
                return Err(SourceError::PageUnreadable { page: 9, reason });
            }
            Ok(Self::rows(page))
        })
    }

    fn metrics(&self) -> SourceMetrics {
        SourceMetrics::default()
    }
}

fn preparer(source: Arc<dyn Source>, concurrency: usize, cache: Option<CacheConfig>) -> Preparer {
    let config = PreparerConfig {
        concurrency: NonZeroUsize::new(concurrency).unwrap(),
        cache,
    };
    Preparer::new(source, tokenizer(), &manifest(), SL, config).unwrap()
}

fn cache_in(folder: &Path) -> CacheConfig {
    CacheConfig {
        folder: folder.to_owned(),
        max_bytes: 1 << 30,
    }
}

fn packed(page: u64) -> ledger::PackedPage {
    pack(
        PageId(page),
        &Gated::rows(PageId(page)),
        &tokenizer(),
        SL,
        false,
    )
    .unwrap()
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_page_comes_over_http_as_its_sequences_with_one_request() {
    let server = Server::start(|_, request| good(request)).await;
    let source = open(&manifest(), &server.access()).await.unwrap();
    let preparer = preparer(source, 2, None);
    let page = preparer.prepare(PageId(10)).await.unwrap();
    let rows: Vec<String> = (1000..1015).map(crate::server::text).collect();
    assert_eq!(
        page,
        pack(PageId(10), &rows, &tokenizer(), SL, false).unwrap()
    );
    assert_eq!(server.requests().len(), 1);
    let metrics = preparer.metrics();
    assert_eq!((metrics.source.requests, metrics.prepared_pages), (1, 1));
    assert_eq!(metrics.packed_tokens, page.ids().len() as u64);
    assert_eq!(metrics.dropped_tokens, u64::from(page.dropped_tokens()));
}

#[tokio::test]
async fn those_who_ask_for_one_page_share_its_preparation() {
    let source = Gated::new(100);
    let preparer = preparer(source.clone(), 8, None);
    let (a, b, c) = tokio::join!(
        preparer.prepare(PageId(1)),
        preparer.prepare(PageId(1)),
        preparer.prepare(PageId(2))
    );
    assert_eq!(a.unwrap(), packed(1));
    assert_eq!(b.unwrap(), packed(1));
    assert_eq!(c.unwrap(), packed(2));
    assert_eq!(source.asked(), [PageId(1), PageId(2)]);
}

#[tokio::test]
async fn no_more_pages_are_prepared_at_once_than_allowed() {
    let source = Gated::new(0);
    let preparer = preparer(source.clone(), 3, None);
    let all = futures_join((0..9).map(|page| preparer.prepare(PageId(page))));
    let let_through = async {
        // All nine were polled before this, and the gate is closed.
        assert_eq!(source.asked().len(), 3);
        source.gate.add_permits(9);
    };
    let (pages, ()) = tokio::join!(all, let_through);
    assert!(pages.iter().all(Result::is_ok));
    assert_eq!(source.asked().len(), 9);
    assert_eq!(source.most_at_once.load(Ordering::SeqCst), 3);
}

/// Polls all futures to their ends, in one task.
async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        match futures.iter().all(|(_, output)| output.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    futures
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

#[tokio::test]
async fn a_page_given_up_can_be_prepared_again() {
    let source = Gated::new(0);
    let preparer = preparer(source.clone(), 1, None);
    {
        let given_up = preparer.prepare(PageId(1));
        tokio::pin!(given_up);
        let asked = async {
            while source.asked().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = &mut given_up => panic!("the gate is closed"),
            () = asked => {}
        }
    }
    source.gate.add_permits(1);
    assert_eq!(preparer.prepare(PageId(1)).await.unwrap(), packed(1));
}

#[tokio::test]
async fn the_sources_errors_keep_their_class_and_are_not_kept() {
    let folder = TempDir::new().unwrap();
    let source = Gated::new(100);
    let preparer = preparer(source.clone(), 1, Some(cache_in(folder.path())));
    for _ in 0..2 {
        let failure = preparer.prepare(PageId(9)).await.unwrap_err();
        assert_eq!(
            failure.class(),
            ErrorClass::Skip {
                reason: "a torn page".into()
            }
        );
    }
    assert_eq!(source.asked().len(), 2);

    let server = Server::start(|_, _| error(404, None)).await;
    let source = open(&manifest(), &server.access()).await.unwrap();
    let preparer = self::preparer(source, 1, None);
    assert_eq!(
        preparer.prepare(PageId(1)).await.unwrap_err().class(),
        ErrorClass::Fatal
    );
}

#[tokio::test]
async fn a_kept_page_is_not_fetched_again_even_by_another_process() {
    let folder = TempDir::new().unwrap();
    let source = Gated::new(100);
    for _ in 0..2 {
        let preparer = preparer(source.clone(), 1, Some(cache_in(folder.path())));
        assert_eq!(preparer.prepare(PageId(4)).await.unwrap(), packed(4));
        assert_eq!(preparer.prepare(PageId(4)).await.unwrap(), packed(4));
    }
    assert_eq!(source.asked(), [PageId(4)]);
    let last = preparer(source.clone(), 1, Some(cache_in(folder.path())));
    last.prepare(PageId(4)).await.unwrap();
    last.prepare(PageId(5)).await.unwrap();
    let metrics = last.metrics();
    assert_eq!(
        (
            metrics.cache_hits,
            metrics.cache_misses,
            metrics.prepared_pages
        ),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn what_packs_differently_is_kept_apart() {
    let folder = TempDir::new().unwrap();
    let source = Gated::new(100);
    let prepare = async |manifest: DataManifest, sl: u32| {
        let config = PreparerConfig {
            cache: Some(cache_in(folder.path())),
            ..PreparerConfig::default()
        };
        let preparer = Preparer::new(source.clone(), tokenizer(), &manifest, sl, config).unwrap();
        assert_eq!(preparer.prepare(PageId(4)).await.unwrap().sl(), sl);
    };
    prepare(manifest(), 16).await;
    prepare(manifest(), 32).await;
    prepare(
        DataManifest {
            keep_long_documents: true,
            ..manifest()
        },
        16,
    )
    .await;
    prepare(manifest(), 16).await;
    assert_eq!(source.asked().len(), 3);
}

#[tokio::test]
async fn a_damaged_entry_is_found_out_and_replaced() {
    let folder = TempDir::new().unwrap();
    let source = Gated::new(100);
    let preparer = preparer(source.clone(), 1, Some(cache_in(folder.path())));
    preparer.prepare(PageId(4)).await.unwrap();
    let [entry] = files(folder.path()).try_into().unwrap();
    let whole = fs::read(&entry).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    let other_page = packed(5).encode();
    for damaged in [
        flipped,
        whole[..whole.len() / 2].to_vec(),
        Vec::new(),
        other_page,
    ] {
        fs::write(&entry, damaged).unwrap();
        assert_eq!(preparer.prepare(PageId(4)).await.unwrap(), packed(4));
        assert_eq!(fs::read(&entry).unwrap(), whole);
    }
    assert_eq!(preparer.metrics().cache_damaged, 4);
    assert_eq!(source.asked().len(), 5);
}

#[tokio::test]
async fn the_oldest_entries_go_when_the_cache_is_full() {
    let folder = TempDir::new().unwrap();
    let other_file = folder.path().join("thesis.odt");
    fs::write(&other_file, [0; 100_000]).unwrap();
    let entry_bytes = packed(1).encode().len() as u64;
    let cache = CacheConfig {
        folder: folder.path().to_owned(),
        max_bytes: 5 * entry_bytes + entry_bytes / 2,
    };
    let source = Gated::new(100);
    let preparer = preparer(source.clone(), 1, Some(cache));
    for page in 0..6 {
        preparer.prepare(PageId(page)).await.unwrap();
        // Files written within one tick of the clock would be equally old.
        for path in files(folder.path()) {
            if path.ends_with(format!("{page}.page")) {
                let written =
                    std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(page);
                fs::File::options()
                    .append(true)
                    .open(path)
                    .unwrap()
                    .set_modified(written)
                    .unwrap();
            }
        }
    }
    let kept: Vec<String> = files(folder.path())
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(kept, ["2.page", "3.page", "4.page", "5.page", "thesis.odt"]);
    assert_eq!(preparer.metrics().cache_evictions, 2);
    let asked = source.asked().len();
    preparer.prepare(PageId(5)).await.unwrap();
    assert_eq!(source.asked().len(), asked);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_any_more_costs_speed_only() {
    let folder = TempDir::new().unwrap();
    let source = Gated::new(100);
    let preparer = preparer(source, 1, Some(cache_in(folder.path())));
    // The folder for this page's entry cannot be made: a file has its name.
    let below = folder.path().join(manifest().digest(SL));
    fs::write(below.join("000000"), "in the way").unwrap();
    assert_eq!(preparer.prepare(PageId(4)).await.unwrap(), packed(4));
    assert_eq!(preparer.metrics().cache_write_failures, 1);
}

#[test]
fn what_cannot_serve_the_run_is_refused_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    let refused = |manifest: DataManifest, cache: Option<CacheConfig>| {
        let config = PreparerConfig {
            cache,
            ..PreparerConfig::default()
        };
        Preparer::new(Gated::new(0), tokenizer(), &manifest, SL, config).unwrap_err()
    };
    let other = DataManifest {
        tokenizer: "other sha256:00".into(),
        ..manifest()
    };
    let failure = refused(other, None);
    assert!(matches!(failure, PrepareError::Tokenizer { .. }));
    assert!(failure.to_string().contains("--tokenizer"), "{failure}");
    let other = DataManifest {
        packing: PACKING_VERSION + 1,
        ..manifest()
    };
    assert!(matches!(
        refused(other, None),
        PrepareError::PackingVersion { .. }
    ));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let failure = refused(manifest(), Some(cache_in(&file)));
    assert!(
        failure.to_string().contains(file.to_str().unwrap()),
        "{failure}"
    );
}

#[tokio::test]
async fn local_files_are_opened_only_as_the_run_was_planned_on_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("demo.txt");
    fs::write(&path, "one\n\ntwo\n\nthree\n").unwrap();
    let info = pages::LocalFiles::open(&path, "").unwrap().info().clone();
    let planned = |revision: &str, rows: u64| {
        let source = run::Source::Files {
            path: path.to_str().unwrap().to_owned(),
            column: String::new(),
            revision: revision.to_owned(),
        };
        manifest_of(source, rows)
    };
    let access = ServerAccess::default();
    let source = open(&planned(&info.revision, 3), &access).await.unwrap();
    assert_eq!(
        source.page(PageId(0)).await.unwrap(),
        ["one", "two", "three"]
    );
    let failure = open(&planned("blake3:00", 3), &access).await.unwrap_err();
    assert!(
        matches!(failure, SourceError::RevisionChanged { .. }),
        "{failure}"
    );
    let failure = open(&planned(&info.revision, 4), &access)
        .await
        .unwrap_err();
    assert!(
        matches!(
            failure,
            SourceError::RowsChanged {
                pinned: 4,
                served: 3,
                ..
            }
        ),
        "{failure}"
    );
}
