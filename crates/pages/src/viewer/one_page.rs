//! Whether a fault concerns one page, and for good.
//!
//! A refusal, a row without text, or an answer with other rows than those asked
//! for can mean that the whole dataset is out of reach, that something passes,
//! or that this one page can never be read. The last is believed only when the
//! server, asked several times over, keeps failing at this page and serves
//! another one at the same time. Then the run can do without it; a run that
//! waited would wait for ever.

use backon::BackoffBuilder as _;
use ledger::PageId;
use run::ROWS_PER_PAGE;

use super::client::DatasetViewer;
use crate::source::SourceError;

/// How often a page is asked for again before it is given up, if the policy
/// allows as many attempts.
const ASKED_AGAIN: usize = 3;

impl DatasetViewer {
    /// The texts of a page that could not be had at first, or what that means.
    pub(super) async fn insist(
        &self,
        page: PageId,
        first: SourceError,
    ) -> Result<Vec<String>, SourceError> {
        let mut error = first;
        // Where nothing is served to this client, nothing is gained by patience.
        if !may_pass(&error) && !self.serves_another(page).await {
            return Err(error);
        }
        for wait in self.retry().backoff().build().take(ASKED_AGAIN) {
            tokio::time::sleep(wait).await;
            match self.fetch(page, ROWS_PER_PAGE, true).await {
                Ok(answer) => return Ok(answer.texts),
                Err(again) if may_concern_one_page(&again) => error = again,
                Err(other) => return Err(other),
            }
        }
        if !self.serves_another(page).await {
            return Err(error);
        }
        Err(SourceError::PageUnreadable {
            page: page.0,
            reason: format!("the dataset server serves other pages, but not this one: {error}"),
        })
    }

    async fn serves_another(&self, page: PageId) -> bool {
        let another = PageId(u64::from(page.0 == 0));
        self.fetch(another, 1, false).await.is_ok()
    }
}

/// Whether an error may be about a page alone.
pub(super) fn may_concern_one_page(error: &SourceError) -> bool {
    match error {
        // 401 and 403 are about who asks.
        SourceError::Refused { status, .. } => !matches!(status, 401 | 403),
        SourceError::Column { .. } | SourceError::OtherRows { .. } => true,
        _ => false,
    }
}

fn may_pass(error: &SourceError) -> bool {
    matches!(error, SourceError::OtherRows { .. })
}
