//! From a page's number to its packed page: fetched, tokenized, packed and kept.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ledger::{PackedPage, PageId};
use run::{DataManifest, PACKING_VERSION};
use tokio::sync::Semaphore;

use crate::cache::{CacheConfig, PageCache};
use crate::metrics::{Counter, Metrics};
use crate::packing::{PackError, pack};
use crate::single_flight::SingleFlight;
use crate::source::{ErrorClass, Source, SourceError};
use crate::tokenizer::Tokenizer;

/// How much a [`Preparer`] does at once, and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparerConfig {
    /// Pages fetched and packed at once. Also the bound on memory: so many pages' rows.
    pub concurrency: NonZeroUsize,
    /// The cache on disk; none keeps nothing.
    pub cache: Option<CacheConfig>,
}

impl Default for PreparerConfig {
    /// Four pages at once, no cache.
    fn default() -> Self {
        Self {
            concurrency: NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN),
            cache: None,
        }
    }
}

/// Why a page could not be prepared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// Its rows could not be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its rows could not be packed.
    #[error("cannot pack page {page}: {error}")]
    Pack {
        /// The page.
        page: u64,
        /// Why.
        error: PackError,
    },
    /// The tokenizer is not the run's.
    #[error(
        "the run was planned with the tokenizer `{planned}`, this one is `{given}`; use the run's with --tokenizer"
    )]
    Tokenizer {
        /// The manifest's tokenizer.
        planned: String,
        /// The tokenizer that was passed.
        given: String,
    },
    /// The run's pages are packed by another rule.
    #[error(
        "the run packs its pages by rule {planned}, this program by rule {known}; use the program that the run was begun with"
    )]
    PackingVersion {
        /// The manifest's rule.
        planned: u32,
        /// The rule of [`pack`].
        known: u32,
    },
    /// The cache cannot be used.
    #[error("cannot keep packed pages in {folder}: {problem}; choose another folder", folder = .folder.display())]
    Cache {
        /// The cache's folder.
        folder: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The thread that packed the page died, or the process is about to end.
    #[error("preparing page {page} was cut off: {problem}")]
    CutOff {
        /// The page.
        page: u64,
        /// What the runtime says.
        problem: String,
    },
}

impl PrepareError {
    /// Whether to stop, to wait, or to record the page as skipped.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Source(error) => error.class(),
            Self::Pack { error, .. } => match error {
                PackError::Tokenizer(error) => ErrorClass::Skip {
                    reason: error.to_string(),
                },
                PackError::Packed(_) => ErrorClass::Fatal,
            },
            Self::Tokenizer { .. }
            | Self::PackingVersion { .. }
            | Self::Cache { .. }
            | Self::CutOff { .. } => ErrorClass::Fatal,
        }
    }
}

/// Prepares pages of one run. Share it by reference or in an `Arc`.
#[derive(Debug)]
pub struct Preparer {
    source: Arc<dyn Source>,
    tokenizer: Arc<Tokenizer>,
    sl: u32,
    keep_long_documents: bool,
    permits: Semaphore,
    flights: SingleFlight<PageId, Result<PackedPage, PrepareError>>,
    cache: Option<Arc<PageCache>>,
    prepared_pages: Counter,
    packed_tokens: Counter,
    dropped_tokens: Counter,
    packing_micros: Arc<Counter>,
}

impl Preparer {
    /// A preparer for sequences of `sl` ids of the manifest's data. Opens the cache, so it may
    /// read a folder's names.
    ///
    /// # Errors
    /// [`PrepareError::Tokenizer`] or [`PrepareError::PackingVersion`] if the tokenizer or the rule
    /// of packing is not the manifest's, [`PrepareError::Cache`] if the cache's folder cannot be written.
    pub fn new(
        source: Arc<dyn Source>,
        tokenizer: Arc<Tokenizer>,
        manifest: &DataManifest,
        sl: u32,
        config: PreparerConfig,
    ) -> Result<Self, PrepareError> {
        if manifest.tokenizer != tokenizer.identity() {
            return Err(PrepareError::Tokenizer {
                planned: manifest.tokenizer.clone(),
                given: tokenizer.identity().to_owned(),
            });
        }
        if manifest.packing != PACKING_VERSION {
            return Err(PrepareError::PackingVersion {
                planned: manifest.packing,
                known: PACKING_VERSION,
            });
        }
        let cache = match config.cache {
            None => None,
            Some(cache) => {
                let folder = cache.folder.clone();
                let opened = PageCache::open(cache, &manifest.digest(sl), sl);
                let cache = opened.map_err(|error| PrepareError::Cache {
                    folder,
                    problem: error.to_string(),
                })?;
                Some(Arc::new(cache))
            }
        };
        Ok(Self {
            source,
            tokenizer,
            sl,
            keep_long_documents: manifest.keep_long_documents,
            permits: Semaphore::new(config.concurrency.get().min(Semaphore::MAX_PERMITS)),
            flights: SingleFlight::new(),
            cache,
            prepared_pages: Counter::default(),
            packed_tokens: Counter::default(),
            dropped_tokens: Counter::default(),
            packing_micros: Arc::default(),
        })
    }

    /// The packed page: from the cache, from whoever is preparing it already, or prepared now.
    ///
    /// At most the configured number of pages are prepared at once; the others wait here.
    /// Dropping the future gives the page up unless others wait for it.
    ///
    /// # Errors
    /// [`PrepareError`]; its [class](PrepareError::class) says what to do.
    pub async fn prepare(&self, page: PageId) -> Result<PackedPage, PrepareError> {
        self.flights
            .run(page, || self.look_up_or_prepare(page))
            .await
    }

    /// What was done so far, the source's part included.
    pub fn metrics(&self) -> Metrics {
        let cache = self.cache.as_deref();
        let of_cache =
            |counter: fn(&PageCache) -> &Counter| cache.map_or(0, |cache| counter(cache).get());
        Metrics {
            source: self.source.metrics(),
            prepared_pages: self.prepared_pages.get(),
            packed_tokens: self.packed_tokens.get(),
            dropped_tokens: self.dropped_tokens.get(),
            packing_micros: self.packing_micros.get(),
            cache_hits: of_cache(|cache| &cache.hits),
            cache_misses: of_cache(|cache| &cache.misses),
            cache_damaged: of_cache(|cache| &cache.damaged),
            cache_evictions: of_cache(|cache| &cache.evictions),
            cache_write_failures: of_cache(|cache| &cache.write_failures),
        }
    }

    async fn look_up_or_prepare(&self, page: PageId) -> Result<PackedPage, PrepareError> {
        if let Some(cache) = &self.cache {
            let cache = Arc::clone(cache);
            if let Some(packed) = blocking(page, move || cache.get(page)).await? {
                return Ok(packed);
            }
        }
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|error| cut_off(page, &error))?;
        let rows = self.source.page(page).await?;

        let (tokenizer, sl) = (Arc::clone(&self.tokenizer), self.sl);
        let (keep_long_documents, cache) = (self.keep_long_documents, self.cache.clone());
        let packing_micros = Arc::clone(&self.packing_micros);
        let packed = blocking(page, move || {
            let start = Instant::now();
            let packed = pack(page, &rows, &tokenizer, sl, keep_long_documents)?;
            packing_micros.add(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
            if let Some(cache) = cache {
                cache.put(&packed);
            }
            Ok::<PackedPage, PackError>(packed)
        })
        .await?
        .map_err(|error| PrepareError::Pack {
            page: page.0,
            error,
        })?;

        self.prepared_pages.add(1);
        self.packed_tokens.add(packed.ids().len() as u64);
        self.dropped_tokens.add(u64::from(packed.dropped_tokens()));
        Ok(packed)
    }
}

/// Runs what blocks on a thread made for it.
async fn blocking<T: Send + 'static>(
    page: PageId,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PrepareError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| cut_off(page, &error))
}

fn cut_off(page: PageId, error: &dyn std::error::Error) -> PrepareError {
    PrepareError::CutOff {
        page: page.0,
        problem: error.to_string(),
    }
}
